//! Responsible for parsing the requirements that an ELF file records.

use std::{
    collections::BTreeSet,
    io::{Read, Seek},
    path::Path,
};

use object::{
    Endianness, ReadCache, ReadRef,
    elf::{self, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use crate::machine::Mpi;

/// Fields of an ELF file that findings depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// Architecture as `uname -m` prints it; `None` for processors that do not run a node, such as
    /// GPUs.
    pub architecture: Option<&'static str>,
    /// Whether the file names a dynamic linker, and so is a program that can be started.
    pub is_program: bool,
    /// Names of the libraries that the file needs.
    pub needed: Vec<String>,
    /// Directories to search before all others.
    pub rpath: Vec<String>,
    /// Directories to search after LD_LIBRARY_PATH. If there are any, RPATH is ignored.
    pub runpath: Vec<String>,
    /// Needed versions of symbols, each after the name of the library that must have it.
    pub wanted: Vec<(String, String)>,
    /// Versions of symbols that the file defines.
    pub defined: BTreeSet<String>,
    /// Level of x86-64 that the file records as needed.
    pub cpu_level: Option<u8>,
}

/// Type of the GNU property that holds the needed levels of x86-64, with one bit each starting at
/// the baseline.
const ISA_1_NEEDED: u32 = 0xc000_8002;

impl Elf {
    /// Reads the needed parts of a file on disk. Returns `None` if the file is not an ELF file of
    /// 64 bits.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn load(path: &Path) -> std::io::Result<Option<Self>> {
        Self::load_from(condense_input::open(path)?)
    }

    /// Reads the needed parts of an open file like [`Elf::load`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn load_from(mut file: impl Read + Seek) -> std::io::Result<Option<Self>> {
        let mut head = [0; 4];
        match file.read_exact(&mut head) {
            Ok(()) if head == elf::ELFMAG => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        file.rewind()?;
        Ok(Self::read(&ReadCache::new(file)))
    }

    /// Parses a file in memory.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes)
    }

    /// Parses a file. Damaged parts count as absent: a damaged file fails to start long before the
    /// properties that are judged here matter.
    fn read<'d, R: ReadRef<'d>>(data: R) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut found = Self {
            architecture: match header.e_machine(endian) {
                elf::EM_X86_64 => Some("x86_64"),
                elf::EM_AARCH64 => Some("aarch64"),
                elf::EM_PPC64 => Some("ppc64le"),
                elf::EM_RISCV => Some("riscv64"),
                _ => None,
            },
            ..Self::default()
        };
        for segment in header.program_headers(endian, data).ok()? {
            if segment.p_type(endian) == elf::PT_INTERP {
                found.is_program = true;
            }
            if let Ok(Some(mut notes)) = segment.notes(endian, data) {
                while let Ok(Some(note)) = notes.next() {
                    let Some(mut properties) = note.gnu_properties(endian) else {
                        continue;
                    };
                    while let Ok(Some(property)) = properties.next() {
                        if property.pr_type() == ISA_1_NEEDED
                            && let Ok(bits @ 1..) = property.data_u32(endian)
                        {
                            found.cpu_level = Some(bits.ilog2() as u8 + 1);
                        }
                    }
                }
            }
        }
        let sections = header.sections(endian, data).ok()?;
        if let Ok(Some((entries, link))) = sections.dynamic(endian, data) {
            let strings = sections.strings(endian, data, link).ok()?;
            let text = |entry: &elf::Dyn64<Endianness>| -> Option<String> {
                let bytes = strings.get(entry.val32(endian)?).ok()?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            };
            let split = |text: String| -> Vec<String> {
                let parts = text.split(':').filter(|part| !part.is_empty());
                parts.map(str::to_owned).collect()
            };
            for entry in entries {
                match entry.tag32(endian) {
                    Some(elf::DT_NEEDED) => found.needed.extend(text(entry)),
                    Some(elf::DT_RPATH) => found.rpath = text(entry).map_or(Vec::new(), split),
                    Some(elf::DT_RUNPATH) => found.runpath = text(entry).map_or(Vec::new(), split),
                    Some(elf::DT_NULL) => break,
                    _ => {}
                }
            }
        }
        if let Ok(Some((mut libraries, link))) = sections.gnu_verneed(endian, data) {
            let strings = sections.strings(endian, data, link).ok()?;
            while let Ok(Some((library, mut versions))) = libraries.next() {
                let file = library.file(endian, strings).ok()?;
                let file = String::from_utf8_lossy(file).into_owned();
                while let Ok(Some(version)) = versions.next() {
                    if version.vna_flags.get(endian) & elf::VER_FLG_WEAK == 0 {
                        let name = version.name(endian, strings).ok()?;
                        let name = String::from_utf8_lossy(name).into_owned();
                        found.wanted.push((file.clone(), name));
                    }
                }
            }
        }
        if let Ok(Some((mut versions, link))) = sections.gnu_verdef(endian, data) {
            let strings = sections.strings(endian, data, link).ok()?;
            while let Ok(Some((_, mut names))) = versions.next() {
                if let Ok(Some(name)) = names.next() {
                    let name = name.name(endian, strings).ok()?;
                    found
                        .defined
                        .insert(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        Some(found)
    }

    /// Returns whether the file needs a library of an MPI directly.
    pub(crate) fn needs_mpi(&self) -> bool {
        let mut libraries = self.needed.iter();
        libraries.any(|name| Mpi::from_library(name).is_some())
    }

    /// Lists the directories in which the linker searches for libraries of this file, with
    /// `$ORIGIN` replaced.
    pub(crate) fn search_path<'a>(
        &'a self,
        origin: &'a Path,
    ) -> impl Iterator<Item = std::path::PathBuf> + 'a {
        let paths = if self.runpath.is_empty() {
            &self.rpath
        } else {
            &self.runpath
        };
        paths.iter().map(|path| {
            let origin = origin.to_string_lossy();
            path.replace("${ORIGIN}", &origin)
                .replace("$ORIGIN", &origin)
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Returns an ELF file of 64 bits without any segment, for the processor of this number.
    fn header(machine: u16) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16] = 3;
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[20] = 1;
        bytes[52] = 64;
        bytes
    }

    #[test]
    fn processors_of_nodes_are_named() {
        for (machine, expected) in [
            (elf::EM_X86_64, Some("x86_64")),
            (elf::EM_AARCH64, Some("aarch64")),
            (elf::EM_PPC64, Some("ppc64le")),
            (elf::EM_RISCV, Some("riscv64")),
            (elf::EM_AMDGPU, None),
        ] {
            let found = Elf::parse(&header(machine)).unwrap();
            assert_eq!(found.architecture, expected);
            assert!(!found.is_program);
        }
    }

    #[test]
    fn files_that_are_no_elf_are_nothing_and_those_that_cannot_be_read_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let load = |bytes: &[u8]| {
            let path = dir.path().join("file");
            fs_err::write(&path, bytes).unwrap();
            Elf::load(&path).unwrap()
        };
        for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF", b"GNU!"] {
            assert_eq!(load(bytes), None, "{bytes:?}");
        }
        // The rest of the file is valid, but the first byte is wrong.
        let mut other = header(62);
        assert!(load(&other).is_some());
        other[0] = b'E';
        assert_eq!(load(&other), None);
        assert!(Elf::load(dir.path()).is_err());
        assert!(Elf::load(&dir.path().join("missing")).is_err());
    }
}

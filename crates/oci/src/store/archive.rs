//! Responsible for finding files in an archive without unpacking it.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StoredRange, invalid};
use crate::Error;

/// Maximum number of links that are followed from one name.
const LINKS_MAX: usize = 10;

/// An archive with the list of its members.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: Arc<fs_err::File>,
    members: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// A link to a name, relative to the archive's root directory.
    Link(String),
}

impl Archive {
    /// Lists an archive. A compressed archive is first decompressed into a file without a name.
    pub(crate) fn open(path: &Path, spool_dir: &Path) -> Result<Archive, Error> {
        let read_failed = || Error::io("read", path);
        let mut file = condense_input::open(path).map_err(Error::io("open", path))?;
        let mut head = Vec::new();
        (&mut file)
            .take(4)
            .read_to_end(&mut head)
            .map_err(read_failed())?;
        file.seek(SeekFrom::Start(0)).map_err(read_failed())?;
        let unpack = |reader: &mut dyn Read| -> Result<fs_err::File, Error> {
            let mut spool = tempfile::tempfile_in(spool_dir)
                .map_err(Error::io("create a file in", spool_dir))?;
            std::io::copy(reader, &mut spool).map_err(Error::io("decompress", path))?;
            spool.seek(SeekFrom::Start(0)).map_err(read_failed())?;
            Ok(fs_err::File::from_parts(spool, path))
        };
        let file = match &head[..] {
            [0x1f, 0x8b, ..] => unpack(&mut flate2::bufread::MultiGzDecoder::new(BufReader::new(
                file,
            )))?,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder = zstd::stream::read::Decoder::new(file).map_err(read_failed())?;
                unpack(&mut decoder)?
            }
            _ => file,
        };
        let mut members = HashMap::new();
        let damaged = |error: std::io::Error| {
            invalid(
                path,
                format!("it is not a tar archive, or a damaged one: {error}"),
            )
        };
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()), "");
            let link = |base: &str| {
                let target = entry.link_name_bytes().unwrap_or_default();
                Member::Link(normal(&String::from_utf8_lossy(&target), base))
            };
            let member = match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => Member::File {
                    offset: entry.raw_file_position(),
                    size: entry.size(),
                },
                // Older versions of `docker save` stored a layer of two images once, and a link to
                // it.
                tar::EntryType::Symlink => link(name.rsplit_once('/').map_or("", |(dir, _)| dir)),
                tar::EntryType::Link => link(""),
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Archive {
            path: path.to_owned(),
            file: Arc::new(file),
            members,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn part(&self, name: &str) -> Option<StoredRange> {
        let mut name = normal(name, "");
        for _ in 0..LINKS_MAX {
            match self.members.get(&name)? {
                Member::Link(target) => name.clone_from(target),
                Member::File { offset, size } => {
                    return Some(StoredRange {
                        file: self.file.clone(),
                        offset: *offset,
                        size: *size,
                    });
                }
            }
        }
        None
    }
}

/// Returns a path below `base` without `.` and `..`.
fn normal(path: &str, base: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { base };
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}

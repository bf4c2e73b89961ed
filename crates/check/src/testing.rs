//! ELF files made by the compiler of this machine, and a system of hand-made libraries around them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use condense_image::{PackOptions, Reader, ScanOptions, Tree};

use crate::{
    checks::check_environment,
    context::{BaseSystem, RuntimeContext},
    elf::Elf,
    finding::Finding,
    inventory::Inventory,
    machine::Machine,
};

/// Directory of files whose mount point is `/env`.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    system: Fake,
    pub(crate) machine: Machine,
}

/// Packs a directory into an image and returns the image's temporary directory and its reader.
pub(crate) fn packed(dir: &Path) -> (tempfile::TempDir, Reader) {
    let out = tempfile::tempdir().unwrap();
    let image = out.path().join("i.sqfs");
    let tree = Tree::scan(dir, &ScanOptions::default()).unwrap();
    condense_image::pack(&tree, &image, &PackOptions::default()).unwrap();
    (out, Reader::open_raw(&image).unwrap())
}

/// System with the given libraries by name, and the given paths.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    libraries: BTreeMap<String, Elf>,
    paths: Vec<PathBuf>,
}

impl BaseSystem for Fake {
    fn library(&self, name: &str) -> Option<Elf> {
        self.libraries.get(name).cloned()
    }

    fn exists(&self, path: &Path) -> bool {
        self.paths.iter().any(|known| known == path)
    }
}

impl Fixture {
    /// Creates an empty directory in a system with the C library of this machine.
    pub(crate) fn new() -> Self {
        let mut fixture = Self {
            dir: tempfile::tempdir().unwrap(),
            system: Fake::default(),
            machine: Machine {
                site: "the site".to_owned(),
                ..Machine::default()
            },
        };
        for name in ["bin", "lib", "other"] {
            fs_err::create_dir(fixture.path(name)).unwrap();
        }
        let libc = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/libc.so.6",
            "/lib/aarch64-linux-gnu/libc.so.6",
        ];
        let libc = libc
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .unwrap();
        fixture.add_base_library("libc.so.6", Elf::load(libc).unwrap().unwrap());
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        fs_err::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs_err::write(self.path(name), text).unwrap();
        self
    }

    pub(crate) fn add_base_library(&mut self, name: &str, elf: Elf) {
        self.system.libraries.insert(name.to_owned(), elf);
    }

    pub(crate) fn add_base_path(&mut self, path: &str) {
        self.system.paths.push(path.into());
    }

    /// Compiles a library with this soname and one function; `more` holds words for the compiler.
    pub(crate) fn library(&self, name: &str, soname: &str, more: &[&str]) -> &Self {
        let function = soname.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let source = format!("int f_{function}(void) {{ return 1; }}\n");
        let soname = format!("-Wl,-soname,{soname}");
        self.compile(
            name,
            &source,
            &[&["-shared", "-fPIC", &soname], more].concat(),
        )
    }

    /// Compiles a program that needs these libraries of the fixture.
    pub(crate) fn program(&self, name: &str, libraries: &[&str], more: &[&str]) -> &Self {
        let paths: Vec<String> = libraries
            .iter()
            .map(|library| self.path(library).display().to_string())
            .collect();
        let mut words = vec!["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"];
        words.extend(paths.iter().map(String::as_str));
        words.extend(more);
        self.compile(name, "int main(void) { return 0; }\n", &words)
    }

    pub(crate) fn compile(&self, name: &str, source: &str, words: &[&str]) -> &Self {
        let file = self.path("source.c");
        fs_err::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs_err::write(&file, source).unwrap();
        let output = Command::new("cc")
            .arg("-o")
            .arg(self.path(name))
            .arg(&file)
            .args(words)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs_err::remove_file(file).unwrap();
        self
    }

    pub(crate) fn inventory(&self) -> Inventory {
        Inventory::from_dir(self.dir.path(), Path::new("/env"), None).unwrap()
    }

    pub(crate) fn runtime_context(&self) -> RuntimeContext<'_> {
        RuntimeContext {
            system: Some(&self.system),
            architecture: Some(std::env::consts::ARCH.to_owned()),
            ..RuntimeContext::default()
        }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        check_environment(&self.inventory(), &self.runtime_context(), &self.machine)
    }

    /// Asserts the codes of all findings and the places at which they were found.
    #[track_caller]
    pub(crate) fn assert_findings(&self, expected: &[(&str, &str)]) {
        let findings = self.findings();
        let found: Vec<(&str, &str)> = findings
            .iter()
            .map(|finding| (finding.code.name, finding.location.as_str()))
            .collect();
        assert_eq!(found, expected, "{findings:#?}");
    }
}

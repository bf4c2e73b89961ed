//! Responsible for writing archives with any entries in any order, even such that no package
//! builder would write.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tar::{EntryType, Header};

#[derive(Clone)]
pub(super) struct Archive {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) depends: Vec<String>,
    pub(super) site_packages: Option<String>,
    conda: bool,
    index: Option<Vec<u8>>,
    listed: Option<Vec<u8>>,
    paths: Vec<Value>,
    first: Vec<(Header, Vec<u8>)>,
    entries: Vec<(Header, Vec<u8>)>,
}

pub(super) fn header(path: &[u8], kind: EntryType, target: &str, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    header
}

impl Archive {
    /// Returns a package with one program.
    pub(super) fn new(name: &str) -> Self {
        let index = json!({ "name": name, "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64" });
        Self {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            depends: Vec::new(),
            site_packages: None,
            conda: false,
            index: Some(index.to_string().into_bytes()),
            listed: None,
            paths: Vec::new(),
            first: Vec::new(),
            entries: Vec::new(),
        }
        .file(&format!("bin/{name}"), "#!/bin/sh\n")
    }

    pub(super) fn noarch_python(self) -> Self {
        let index = json!({ "name": self.name, "version": "1.0", "build": "0", "build_number": 0, "noarch": "python" });
        self.index(index.to_string())
    }

    pub(super) fn conda(mut self) -> Self {
        self.conda = true;
        self
    }

    pub(super) fn depends(mut self, name: &str) -> Self {
        self.depends.push(name.to_owned());
        self
    }

    pub(super) fn index(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.index = Some(text.into());
        self
    }

    pub(super) fn no_index(mut self) -> Self {
        self.index = None;
        self
    }

    /// Adds a file and its entry in paths.json.
    pub(super) fn file(self, path: &str, contents: &str) -> Self {
        self.unlisted(path, EntryType::Regular, "", 0o644, contents)
            .lists(path, "hardlink")
    }

    /// Adds a link and its entry in paths.json.
    pub(super) fn link(self, path: &str, target: &str) -> Self {
        self.unlisted(path, EntryType::Symlink, target, 0o777, "")
            .lists(path, "softlink")
    }

    pub(super) fn unlisted(
        self,
        path: &str,
        kind: EntryType,
        target: &str,
        mode: u32,
        contents: &str,
    ) -> Self {
        let header = header(path.as_bytes(), kind, target, mode, contents.len());
        self.raw(header, contents)
    }

    pub(super) fn raw(mut self, header: Header, contents: &str) -> Self {
        self.entries.push((header, contents.as_bytes().to_vec()));
        self
    }

    /// Adds an entry before all others, even before the files of `info/`.
    pub(super) fn first(mut self, path: &str, kind: EntryType, target: &str) -> Self {
        self.first
            .push((header(path.as_bytes(), kind, target, 0o644, 0), Vec::new()));
        self
    }

    /// Adds a file that paths.json does not list, such as those of `info/`.
    pub(super) fn info(self, name: &str, contents: &str) -> Self {
        self.unlisted(name, EntryType::Regular, "", 0o644, contents)
    }

    pub(super) fn lists(self, path: &str, path_type: &str) -> Self {
        self.lists_entry(json!({ "_path": path, "path_type": path_type }))
    }

    pub(super) fn lists_entry(mut self, entry: Value) -> Self {
        self.paths.push(entry);
        self
    }

    /// Replaces the text of paths.json. An empty text leaves the file out.
    pub(super) fn paths_json(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.listed = Some(text.into());
        self
    }

    pub(super) fn write(&self, dir: &Path) -> PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        let listed = self.listed.clone().unwrap_or_else(|| {
            json!({ "paths": self.paths, "paths_version": 1 })
                .to_string()
                .into_bytes()
        });
        let mut all = self.first.clone();
        for (name, text) in [
            ("info/index.json", self.index.clone().unwrap_or_default()),
            ("info/paths.json", listed),
        ] {
            if !text.is_empty() {
                let header = header(name.as_bytes(), EntryType::Regular, "", 0o644, text.len());
                all.push((header, text));
            }
        }
        all.extend(self.entries.iter().cloned());
        for (header, contents) in all {
            tar.append(&header, contents.as_slice()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let stem = format!("{}-{}-0", self.name, self.version);
        if self.conda {
            let path = dir.join(format!("{stem}.conda"));
            let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
            let stored = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            for (part, bytes) in [
                ("metadata.json".to_owned(), b"{}".to_vec()),
                (
                    format!("info-{stem}.tar.zst"),
                    zstd::encode_all(bytes.as_slice(), 1).unwrap(),
                ),
            ] {
                zip.start_file(part, stored).unwrap();
                zip.write_all(&bytes).unwrap();
            }
            zip.finish().unwrap();
            return path;
        }
        let path = dir.join(format!("{stem}.tar.bz2"));
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = bzip2::write::BzEncoder::new(file, bzip2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
        path
    }
}

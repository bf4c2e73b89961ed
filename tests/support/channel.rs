//! Responsible for a conda channel of hand-made packages, which is written in milliseconds, for
//! tests without a network.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use rattler_conda_types::compression_level::CompressionLevel;
use rattler_digest::{Md5, Sha256, compute_file_digest};
use serde_json::{Value, json};

/// Placeholder prefix of packages, shorter than in real ones. The linker replaces it by the path of
/// the environment.
pub const PLACEHOLDER: &str = concat!(
    "/home/builder/feedstock_root/build_artifacts/test_1700000000000/_h_env_placehold_placehold_placehold_placehold_",
    "placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_pl"
);

/// Build time of every package in milliseconds since 1970.
pub const TIMESTAMP: i64 = 1_700_000_000_000;

#[derive(Clone, Default)]
pub struct Package {
    name: String,
    version: String,
    depends: Vec<String>,
    files: Vec<(String, Vec<u8>, u32)>,
    links: Vec<(String, String)>,
    empty_dirs: Vec<String>,
    noarch_python: bool,
    site_packages: Option<String>,
    tar_bz2: bool,
    md5_only: bool,
}

impl Package {
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        }
    }

    pub fn depends(mut self, spec: &str) -> Self {
        self.depends.push(spec.to_owned());
        self
    }

    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), contents.into(), 0o644));
        self
    }

    pub fn program(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), contents.into(), 0o755));
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// Adds a directory that has nothing in it.
    pub fn empty_dir(mut self, path: &str) -> Self {
        self.empty_dirs.push(path.to_owned());
        self
    }

    /// Sets the directory in which this Python has its packages.
    pub fn site_packages(mut self, path: &str) -> Self {
        self.site_packages = Some(path.to_owned());
        self
    }

    pub fn tar_bz2(mut self) -> Self {
        self.tar_bz2 = true;
        self
    }

    pub fn md5_only(mut self) -> Self {
        self.md5_only = true;
        self
    }

    fn stem(&self) -> String {
        format!("{}-{}-0", self.name, self.version)
    }

    pub fn file_name(&self) -> String {
        format!(
            "{}.{}",
            self.stem(),
            if self.tar_bz2 { "tar.bz2" } else { "conda" }
        )
    }

    /// Writes the archive into `dir` and returns its record.
    fn write(&self, dir: &Path) -> Value {
        let stage = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        let mut entries = Vec::new();
        for (path, contents, mode) in &self.files {
            let full = stage.path().join(path);
            fs_err::create_dir_all(full.parent().unwrap()).unwrap();
            fs_err::write(&full, contents).unwrap();
            fs_err::set_permissions(&full, std::fs::Permissions::from_mode(*mode)).unwrap();
            let mut entry = json!({
                "_path": path, "path_type": "hardlink", "size_in_bytes": contents.len(),
                "sha256": hex::encode(compute_file_digest::<Sha256>(&full).unwrap()),
            });
            let has = contents
                .windows(PLACEHOLDER.len())
                .any(|window| window == PLACEHOLDER.as_bytes());
            if has {
                entry["prefix_placeholder"] = PLACEHOLDER.into();
                entry["file_mode"] = if contents.contains(&0) {
                    "binary"
                } else {
                    "text"
                }
                .into();
            }
            entries.push(entry);
            paths.push(full);
        }
        for (path, target) in &self.links {
            let full = stage.path().join(path);
            fs_err::create_dir_all(full.parent().unwrap()).unwrap();
            symlink(target, &full).unwrap();
            let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            entries.push(json!({ "_path": path, "path_type": "softlink", "sha256": empty, "size_in_bytes": 0 }));
            paths.push(full);
        }
        for path in &self.empty_dirs {
            let full = stage.path().join(path);
            fs_err::create_dir_all(&full).unwrap();
            entries.push(json!({ "_path": path, "path_type": "directory" }));
            paths.push(full);
        }
        let mut index = json!({
            "name": self.name, "version": self.version, "build": "0", "build_number": 0, "depends": self.depends,
            "subdir": "linux-64", "arch": "x86_64", "platform": "linux", "timestamp": TIMESTAMP, "license": "MIT",
        });
        if let Some(path) = &self.site_packages {
            index["python_site_packages_path"] = path.as_str().into();
        }
        let info = [
            ("info/index.json", index.to_string()),
            (
                "info/paths.json",
                json!({ "paths": entries, "paths_version": 1 }).to_string(),
            ),
        ];
        for (path, text) in info {
            let full = stage.path().join(path);
            fs_err::create_dir_all(full.parent().unwrap()).unwrap();
            fs_err::write(&full, text).unwrap();
            paths.push(full);
        }
        let archive = dir.join(self.file_name());
        let mut file = std::fs::File::create(&archive).unwrap();
        let level = CompressionLevel::Default;
        let time = jiff::Timestamp::from_millisecond(TIMESTAMP).unwrap();
        if self.tar_bz2 {
            rattler_package_streaming::write::write_tar_bz2_package(
                &mut file,
                stage.path(),
                &paths,
                level,
                Some(&time),
                None,
            )
            .unwrap();
        } else {
            rattler_package_streaming::write::write_conda_package(
                &mut file,
                stage.path(),
                &paths,
                level,
                Some(1),
                &self.stem(),
                Some(&time),
                None,
            )
            .unwrap();
        }
        let mut record = index;
        record["size"] = fs_err::metadata(&archive).unwrap().len().into();
        record["md5"] = hex::encode(compute_file_digest::<Md5>(&archive).unwrap()).into();
        if !self.md5_only {
            record["sha256"] = hex::encode(compute_file_digest::<Sha256>(&archive).unwrap()).into();
        }
        record
    }
}

/// Writes a channel with these packages into `dir` and returns its URL.
pub fn write_channel(dir: &Path, packages: &[Package]) -> String {
    let linux = dir.join("linux-64");
    let noarch = dir.join("noarch");
    fs_err::create_dir_all(&linux).unwrap();
    fs_err::create_dir_all(&noarch).unwrap();
    let mut old = serde_json::Map::new();
    let mut new = serde_json::Map::new();
    for package in packages {
        let record = package.write(&linux);
        let list = if package.tar_bz2 { &mut old } else { &mut new };
        list.insert(package.file_name(), record);
    }
    let index = |subdir: &str, old: Value, new: Value| {
        json!({ "info": { "subdir": subdir }, "packages": old, "packages.conda": new, "repodata_version": 1 }).to_string()
    };
    fs_err::write(
        linux.join("repodata.json"),
        index("linux-64", old.into(), new.into()),
    )
    .unwrap();
    fs_err::write(
        noarch.join("repodata.json"),
        index("noarch", json!({}), json!({})),
    )
    .unwrap();
    format!("file://{}", dir.display())
}

//! Tests with malformed and hostile packages. Each is refused by name or installed as conda would
//! install it, and no file outside of its environment is touched. All files that the packages aim
//! at are in the test's own directory.
#![allow(clippy::unwrap_used)]

mod archive;
mod installed;

mod refused;
mod together;

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use rattler_conda_types::{PackageRecord, RepoDataRecord, Subdir, package::DistArchiveIdentifier};

use super::*;
use crate::progress::{Phase, Warning};
use archive::Archive;

#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Progress for Listener {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, warning: Warning) {
        self.0.lock().unwrap().push(warning.to_string());
    }
}

/// Directory with files that packages aim at, and an environment to install into.
struct Range {
    dir: tempfile::TempDir,
}

impl Range {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("outside/deep")).unwrap();
        fs_err::create_dir_all(dir.path().join("scratch/packages")).unwrap();
        fs_err::create_dir_all(dir.path().join("scratch/root/env")).unwrap();
        fs_err::write(dir.path().join("victim"), "precious").unwrap();
        fs_err::write(dir.path().join("outside/secret"), "secret").unwrap();
        Self { dir }
    }

    /// Returns the absolute path of a target.
    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Returns a relative path to the target that works from any directory.
    fn up(&self, name: &str) -> String {
        format!("{}{}", "../".repeat(12), &self.at(name)[1..])
    }

    fn env(&self, path: &str) -> PathBuf {
        self.dir.path().join("scratch/root/env").join(path)
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.env(path)).unwrap()
    }

    /// Links all packages. Returns the warnings, or the text of the error.
    fn link(&self, archives: Vec<Archive>) -> Result<Vec<String>, String> {
        let place = Place {
            root: self.dir.path().join("scratch/root"),
            mount_point: "/MOUNT_abc1234".into(),
            environment: "env".into(),
            packages: self.dir.path().join("scratch/packages"),
        };
        // The unpacked packages of an earlier call are removed.
        let _ = fs_err::remove_dir_all(&place.packages);
        fs_err::create_dir(&place.packages).unwrap();
        let mut records = Vec::new();
        let mut paths = Vec::new();
        for archive in archives {
            let path = archive.write(self.dir.path());
            records.push(record(&archive, &path));
            paths.push(path);
        }
        let solution = Solution {
            records,
            channels: Vec::new(),
            specs: Vec::new(),
            subdir: Subdir::Linux64,
            virtual_packages: Vec::new(),
            locked_pip: None,
        };
        let listener = Listener::default();
        let linked = open_prefix(&place.scratch_env()).and_then(|target| {
            let (_, options) = link_options(&solution, &place)?;
            let archives = Archives { paths };
            let job = LinkJob {
                solution: &solution,
                archives: &archives,
                place: &place,
                target: &target,
                options: &options,
                installed: &[],
            };
            link_all(&job, &listener)
        });
        // Every message with text from a package has one line for each error.
        linked
            .map(|_| listener.0.into_inner().unwrap())
            .map_err(|error| {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    words += &format!(": {error}");
                    source = error.source();
                }
                words
            })
    }

    /// Asserts that nothing was added, removed or changed outside of scratch.
    #[track_caller]
    fn is_untouched(&self, case: &str) {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs_err::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| {
                    let extension = Path::new(name).extension();
                    extension.is_none_or(|found| found != "conda" && found != "bz2")
                })
                .collect();
            names.sort();
            names
        };
        let dir = self.dir.path();
        assert_eq!(names(dir), ["outside", "scratch", "victim"], "{case}");
        assert_eq!(names(&dir.join("outside")), ["deep", "secret"], "{case}");
        assert!(names(&dir.join("outside/deep")).is_empty(), "{case}");
        assert_eq!(names(&dir.join("scratch")), ["packages", "root"], "{case}");
        let root = names(&dir.join("scratch/root"));
        assert!(root == ["env"], "{case}: {root:?}");
        assert_eq!(self.text("../../../victim"), "precious", "{case}");
        assert_eq!(self.text("../../../outside/secret"), "secret", "{case}");
    }
}

fn record(archive: &Archive, path: &Path) -> RepoDataRecord {
    let file = path.file_name().unwrap().to_str().unwrap();
    let mut package = PackageRecord::new(
        archive.name.parse().unwrap(),
        archive
            .version
            .parse::<rattler_conda_types::VersionWithSource>()
            .unwrap(),
        "0".parse().unwrap(),
    );
    package.depends.clone_from(&archive.depends);
    package
        .python_site_packages_path
        .clone_from(&archive.site_packages);
    RepoDataRecord {
        package_record: package,
        identifier: DistArchiveIdentifier::try_from_filename(file).unwrap(),
        url: url::Url::from_file_path(path).unwrap(),
        channel: None,
    }
}

//! Solve, fetch and install from a channel of hand-made packages: offline, without a container.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/channel.rs"]
mod channel;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use channel::{PLACEHOLDER, Package, write_channel};
use condense_prefix::{
    Architecture, EnvironmentSpec, Error, Finished, Lock, Network, NetworkSettings, Phase, Place,
    Progress, Runner, Solution, StepRunner, Target, Warning, fetch, install, render_lock, solve,
};

#[derive(Default)]
struct Listener {
    warnings: Mutex<Vec<Warning>>,
}

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
        self.warnings.lock().unwrap().push(warning);
    }
}

/// Container that is never used, because there are no pip requirements.
struct Nobody;

impl StepRunner for Nobody {
    fn run(
        &self,
        argv: &[OsString],
        _: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{argv:?} is run").into())
    }
}

struct Built {
    spec: EnvironmentSpec,
    solution: Solution,
    place: Place,
    finished: Finished,
    warnings: Vec<Warning>,
    _dir: tempfile::TempDir,
}

impl Built {
    fn env(&self, path: &str) -> PathBuf {
        self.place.scratch_env().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.env(path)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.solution
            .listing(&self.finished.pip_packages, &self.finished.replaced_by_pip)
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect()
    }
}

fn target(glibc: &str) -> Target {
    Target {
        architecture: Architecture::X86_64,
        glibc: Some(glibc.to_owned()),
        linux: Some("5.14".to_owned()),
        archspec: Some("x86_64_v3".to_owned()),
        cuda: None,
    }
}

fn build_for(channel: &str, yaml: &str, target: &Target) -> Result<Built, Error> {
    let dir = tempfile::tempdir().unwrap();
    let text = yaml.replace("CHANNEL", channel);
    let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), dir.path())?;
    let runtime = runtime();
    let (network, listener) = (network(&dir), Listener::default());
    let solution = runtime.block_on(solve(&spec, target, &network, dir.path(), &listener))?;
    install_into(dir, spec, solution, listener)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn network(dir: &tempfile::TempDir) -> Network {
    Network::open(NetworkSettings::new(dir.path().join("cache"))).unwrap()
}

fn install_into(
    dir: tempfile::TempDir,
    spec: EnvironmentSpec,
    mut solution: Solution,
    listener: Listener,
) -> Result<Built, Error> {
    let place = Place {
        root: dir.path().join("a scratch root"),
        mount_point: "/MOUNT_abc1234".into(),
        environment: "miniforge/envs/env1".into(),
        packages: dir.path().join("packages"),
    };
    fs_err::create_dir_all(&place.root).unwrap();
    let archives = runtime().block_on(fetch(&solution, &network(&dir), &listener))?;
    let prefix = install(&spec, &mut solution, &archives, &place, &listener)?;
    let finished = prefix.finish(Runner::Host(&Nobody), &listener)?;
    let warnings = listener.warnings.into_inner().unwrap();
    Ok(Built {
        spec,
        solution,
        place,
        finished,
        warnings,
        _dir: dir,
    })
}

fn build_locked(text: &str, yaml: Option<&str>) -> Result<Built, Error> {
    let dir = tempfile::tempdir().unwrap();
    let mut lock = Lock::parse(
        text,
        Path::new("some.lock"),
        dir.path(),
        None,
        &target("2.36"),
    )?;
    let spec = match yaml {
        Some(yaml) => EnvironmentSpec::parse(yaml, Path::new("env.yml"), dir.path())?,
        None => lock.spec(),
    };
    if yaml.is_some() {
        lock.check_fits(&spec)?;
    }
    let solution = lock.solution().clone();
    install_into(dir, spec, solution, Listener::default())
}

fn build(channel: &str, yaml: &str) -> Result<Built, Error> {
    build_for(channel, yaml, &target("2.36"))
}

fn packages() -> Vec<Package> {
    vec![
        Package::new("tool", "1.0")
            .depends("library >=2")
            .program("bin/tool", format!("#!{PLACEHOLDER}/bin/sh\necho tool\n"))
            .file(
                "share/tool/where.bin",
                [b"\0".as_slice(), PLACEHOLDER.as_bytes(), b"/lib\0end"].concat(),
            )
            .link("bin/tool-link", "tool"),
        Package::new("library", "1.0").file("lib/library.txt", "one"),
        Package::new("library", "2.0")
            .file("lib/library.txt", "two")
            .tar_bz2(),
        Package::new("gated", "1.0")
            .depends("__glibc >=2.17")
            .file("gated", "old"),
        Package::new("gated", "2.0")
            .depends("__glibc >=2.36")
            .file("gated", "new"),
        Package::new("first", "1.0").file("share/same.txt", "of first"),
        Package::new("second", "1.0")
            .file("share/same.txt", "of second")
            .file("share/own.txt", "x"),
        Package::new("cuda-only", "1.0").depends("__cuda >=12"),
        Package::new("wants-one", "1.0").depends("library 1.*"),
        Package::new("wants-two", "1.0").depends("library 2.*"),
        Package::new("old-digest", "1.0")
            .file("share/old.txt", "x")
            .md5_only(),
    ]
}

fn channel() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let url = write_channel(dir.path(), &packages());
    (dir, url)
}

#[test]
fn files_contain_the_path_of_the_mount_point() {
    let (_dir, url) = channel();
    let built = build(&url, "channels: [CHANNEL]\ndependencies: [tool]\n").unwrap();
    assert_eq!(built.names(), ["library", "tool"]);
    assert_eq!(
        built.text("bin/tool"),
        "#!/MOUNT_abc1234/miniforge/envs/env1/bin/sh\necho tool\n"
    );
    let binary = fs_err::read(built.env("share/tool/where.bin")).unwrap();
    assert_eq!(
        binary.len(),
        PLACEHOLDER.len() + 9,
        "a binary keeps its length"
    );
    assert!(binary.starts_with(b"\0/MOUNT_abc1234/miniforge/envs/env1/lib\0"));
    assert_eq!(
        fs_err::read_link(built.env("bin/tool-link")).unwrap(),
        Path::new("tool")
    );
    assert_eq!(built.text("lib/library.txt"), "two");
}

#[test]
fn nothing_of_the_build_host_stays_behind() {
    let (_dir, url) = channel();
    let built = build(
        &url,
        "channels: [CHANNEL]\ndependencies: [tool, first, second]\nvariables: {A: b}\n",
    )
    .unwrap();
    let scratch = built.place.root.to_str().unwrap().as_bytes().to_vec();
    let packages = built.place.packages.to_str().unwrap().as_bytes().to_vec();
    let mut dirs = vec![built.place.root.clone()];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                let bytes = fs_err::read(entry.path()).unwrap();
                for path in [&scratch, &packages] {
                    assert!(
                        !bytes.windows(path.len()).any(|window| window == path),
                        "{}",
                        entry.path().display()
                    );
                }
                files += 1;
            }
        }
    }
    assert!(files > 8, "only {files} files were looked at");
}

#[test]
fn records_history_and_state_are_those_of_conda() {
    let (_dir, url) = channel();
    let built = build(
        &url,
        "channels: [CHANNEL]\ndependencies: ['tool =1']\nvariables: {NAME: 'a \"b\"'}\n",
    )
    .unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&built.text("conda-meta/tool-1.0-0.json")).unwrap();
    assert_eq!(record["name"], "tool");
    assert!(
        record["requested_specs"][0]
            .as_str()
            .unwrap()
            .starts_with("tool "),
        "{record}"
    );
    assert!(
        record.get("link").is_none() && record.get("extracted_package_dir").is_none(),
        "{record}"
    );
    let history = built.text("conda-meta/history");
    assert!(
        history.starts_with("==> 2023-11-14 22:13:20 <==\n"),
        "{history}"
    );
    assert!(history.contains("/linux-64::tool-1.0-0\n"), "{history}");
    assert!(history.contains("# update specs: ['tool =1']"), "{history}");
    let state: serde_json::Value = serde_json::from_str(&built.text("conda-meta/state")).unwrap();
    assert_eq!(state["env_vars"]["NAME"], "a \"b\"");
    assert!(!built.finished.activation.steps.is_empty());
}

#[test]
fn the_solver_uses_the_virtual_packages_of_the_target() {
    let (_dir, url) = channel();
    let yaml = "channels: [CHANNEL]\ndependencies: [gated]\n";
    assert_eq!(
        build_for(&url, yaml, &target("2.36"))
            .unwrap()
            .text("gated"),
        "new"
    );
    assert_eq!(
        build_for(&url, yaml, &target("2.31"))
            .unwrap()
            .text("gated"),
        "old"
    );
    let error = build(&url, "channels: [CHANNEL]\ndependencies: [cuda-only]\n")
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("__cuda"), "{error}");
}

#[test]
fn the_lock_has_every_package_with_its_digest() {
    let (_dir, url) = channel();
    let built = build(
        &url,
        "channels: [CHANNEL]\ndependencies: [tool, old-digest]\n",
    )
    .unwrap();
    let lock = render_lock(&built.solution, &built.spec, None, &[]).unwrap();
    for word in [
        "tool-1.0-0.conda",
        "library-2.0-0.tar.bz2",
        "old-digest-1.0-0.conda",
    ] {
        assert!(lock.contains(word), "{word} is not in\n{lock}");
    }
    assert_eq!(lock.matches("sha256: ").count(), 3, "{lock}");
}

/// Returns every file below the environment with its contents.
fn contents(built: &Built) -> Vec<(PathBuf, String)> {
    let root = built.place.scratch_env();
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            } else if !path.is_symlink() {
                let name = path.strip_prefix(&root).unwrap().to_owned();
                let text = String::from_utf8_lossy(&fs_err::read(&path).unwrap()).into_owned();
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_lock_builds_what_it_was_written_from() {
    let (_dir, url) = channel();
    let yaml =
        "channels: [CHANNEL]\ndependencies: [tool, old-digest]\nvariables: {GREETING: hello}\n"
            .replace("CHANNEL", &url);
    let built = build(&url, &yaml).unwrap();
    let text = render_lock(&built.solution, &built.spec, None, &[]).unwrap();
    let with_file = build_locked(&text, Some(&yaml)).unwrap();
    for (one, other) in contents(&with_file).iter().zip(contents(&built)) {
        assert_eq!(*one, other);
    }
    assert_eq!(contents(&with_file).len(), contents(&built).len());
    assert_eq!(
        condense_prefix::mount_point_suffix(&with_file.spec, &with_file.solution),
        condense_prefix::mount_point_suffix(&built.spec, &built.solution)
    );
    let alone = build_locked(&text, None).unwrap();
    assert_eq!(
        alone.text("conda-meta/state"),
        built.text("conda-meta/state")
    );
    assert_eq!(alone.text("bin/tool"), built.text("bin/tool"));
    assert_eq!(contents(&alone), contents(&built));
    let again = render_lock(&alone.solution, &alone.spec, None, &[]).unwrap();
    assert_eq!(again, text);
}

#[test]
fn a_package_that_is_not_the_locked_one_is_refused() {
    let (dir, url) = channel();
    let built = build(&url, "channels: [CHANNEL]\ndependencies: [library]\n").unwrap();
    let text = render_lock(&built.solution, &built.spec, None, &[]).unwrap();
    let sha256 = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("sha256: "))
        .unwrap();
    // A channel may offer other bytes at the URL in the lock, with the same size, and the lock may
    // have only an md5 digest.
    let wrong = text.replace(sha256, &"0".repeat(64));
    let error = build_locked(&wrong, None).err().unwrap().to_string();
    assert!(error.contains("hash mismatch"), "{error}");
    let weak: String = text
        .lines()
        .map(|line| match line.trim().split_once(": ") {
            Some(("sha256", _)) => String::new(),
            Some(("md5", _)) => format!("  md5: {}\n", "0".repeat(32)),
            _ => format!("{line}\n"),
        })
        .collect();
    let error = build_locked(&weak, None).err().unwrap().to_string();
    assert!(error.contains("hash mismatch"), "{error}");
    drop(dir);
    let gone = build_locked(&text, None).err().unwrap().to_string();
    assert!(gone.contains("library-2.0-0"), "{gone}");
}

#[test]
fn one_of_two_files_of_the_same_path_stays_with_a_warning() {
    let (_dir, url) = channel();
    let built = build(&url, "channels: [CHANNEL]\ndependencies: [first, second]\n").unwrap();
    assert!(
        built
            .warnings
            .iter()
            .any(|w| matches!(w, Warning::Clobbered { path, .. } if path == "share/same.txt"))
    );
    assert!(!built.env("__clobbers__").exists());
    let records =
        built.text("conda-meta/first-1.0-0.json") + &built.text("conda-meta/second-1.0-0.json");
    assert!(!records.contains("__clobbers__"), "{records}");
    assert_eq!(
        records.matches("\"share/same.txt\"").count(),
        3,
        "one record has it, as file and as path, and the other as yielded: {records}"
    );
    assert_eq!(records.matches("\"yielded_files\"").count(), 1, "{records}");
}

#[test]
fn unknown_and_contradicting_packages_are_explained() {
    let (_dir, url) = channel();
    let error = build(
        &url,
        "channels: [CHANNEL]\ndependencies: [tool, no-such-thing >2]\n",
    )
    .err()
    .unwrap()
    .to_string();
    assert!(error.starts_with("PackagesNotFoundError"), "{error}");
    assert!(
        error.contains("`no-such-thing >2`") && !error.contains("`tool`"),
        "{error}"
    );
    let error = build(
        &url,
        "channels: [CHANNEL]\ndependencies: [wants-one, wants-two]\n",
    )
    .err()
    .unwrap()
    .to_string();
    assert!(
        error.contains("wants-one") && error.contains("library"),
        "{error}"
    );
    assert!(error.contains("linux-64 with __unix=0"), "{error}");
}

#[test]
fn a_channel_that_is_not_there_is_named() {
    let error = build(
        "file:///no/such/channel",
        "channels: [CHANNEL]\ndependencies: [a]\n",
    )
    .err()
    .unwrap();
    assert!(
        matches!(&error, Error::Channel { channel, .. } if channel.contains("/no/such/channel")),
        "{error:?}"
    );
}

#[test]
fn damaged_and_replaced_archives_are_distinguished() {
    let spoil = |how: &dyn Fn(&Path)| {
        let (dir, url) = channel();
        how(&dir.path().join("linux-64/tool-1.0-0.conda"));
        match build(&url, "channels: [CHANNEL]\ndependencies: [tool]\n")
            .err()
            .unwrap()
        {
            Error::Damaged {
                package, problem, ..
            } => {
                assert_eq!(package, "tool-1.0-0.conda");
                problem
            }
            other => panic!("{other:?}"),
        }
    };
    let cut = spoil(&|path| {
        let bytes = fs_err::read(path).unwrap();
        fs_err::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("bytes, the channel says"), "{cut}");
    let flipped = spoil(&|path| {
        let mut bytes = fs_err::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs_err::write(path, bytes).unwrap();
    });
    assert!(flipped.contains("hash mismatch"), "{flipped}");
    let swapped = spoil(&|path| {
        // The archive stays valid and has the same length, but is not the expected one: a byte of
        // the zip's trailing comment is changed.
        let mut bytes = fs_err::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs_err::write(path, bytes).unwrap();
    });
    assert!(swapped.contains("hash mismatch"), "{swapped}");
}

#[test]
fn a_mount_point_without_room_is_refused() {
    let long = PathBuf::from(format!("/{}", "m".repeat(240)));
    let error = Place::check(&long, Path::new("miniforge/envs/env1")).unwrap_err();
    assert!(
        matches!(error, Error::MountPointTooLong { length: 261, .. }),
        "{error:?}"
    );
    let fits = PathBuf::from(format!("/{}", "m".repeat(234)));
    Place::check(&fits, Path::new("miniforge/envs/env1")).unwrap();
}

#[test]
fn two_installs_are_the_same_bytes() {
    let (_dir, url) = channel();
    let yaml = "channels: [CHANNEL]\ndependencies: [tool, first, second, gated]\nvariables: {B: 2, A: 1}\n";
    let listing = |built: &Built| {
        let mut all = Vec::new();
        let mut dirs = vec![built.place.scratch_env()];
        while let Some(dir) = dirs.pop() {
            for entry in fs_err::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    dirs.push(path);
                } else if !path.is_symlink() {
                    let name = path.strip_prefix(&built.place.root).unwrap().to_owned();
                    all.push((name, fs_err::read(&path).unwrap()));
                }
            }
        }
        all.sort();
        all
    };
    let (one, two) = (build(&url, yaml).unwrap(), build(&url, yaml).unwrap());
    assert_eq!(listing(&one), listing(&two));
}

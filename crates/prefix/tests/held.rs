//! Tests of environments whose files are held back until they are packed: they have the contents of
//! environments in which every file is linked.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/channel.rs"]
mod channel;
#[path = "held/kept.rs"]
mod kept;
#[path = "held/pip.rs"]
mod pip;
#[path = "held/start.rs"]
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use channel::{PLACEHOLDER, Package, write_channel};
use condense_prefix::{
    Architecture, BuildSteps, EnvironmentSpec, Error, Finished, Held, HeldContents, HeldImage,
    Network, NetworkSettings, Phase, Place, Progress, Refusal, Runner, StepRunner, Target, Warning,
    fetch, install, install_held, solve,
};
use kept::{Shelf, bytecode, compare_digests};

#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Progress for Listener {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, warning: Warning) {
        self.0.lock().unwrap().push(warning.to_string());
    }
}

/// Container that is never used.
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

/// Entry at a path of an environment.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Directory,
    Link(PathBuf),
    File {
        bytes: Vec<u8>,
        is_executable: bool,
        /// Number that the names of one file (hard links) share.
        number: u64,
    },
}

/// Environment whose steps have run.
struct Built {
    contents: BTreeMap<PathBuf, What>,
    warnings: Vec<String>,
    landmarks: Vec<PathBuf>,
    holds: bool,
    /// Number of files and links of the prefix in scratch.
    on_disk: usize,
}

fn on_disk(root: &Path) -> BTreeMap<PathBuf, What> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let what = if metadata.is_dir() {
                dirs.push(path.clone());
                What::Directory
            } else if metadata.is_symlink() {
                What::Link(fs_err::read_link(&path).unwrap())
            } else {
                What::File {
                    bytes: fs_err::read(&path).unwrap(),
                    is_executable: metadata.permissions().mode() & 0o111 != 0,
                    number: metadata.ino(),
                }
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), what);
        }
    }
    found
}

/// Installs packages below a directory.
fn installed(
    dir: &Path,
    channel: &str,
    packages: &str,
    shelf: Option<&Shelf>,
    listener: &Listener,
) -> (Place, BuildSteps) {
    let place = Place {
        root: dir.join("root"),
        mount_point: "/MOUNT_abc1234".into(),
        environment: "miniforge/envs/env1".into(),
        packages: dir.join("packages"),
    };
    fs_err::create_dir(&place.root).unwrap();
    let text = format!("channels: ['{channel}']\ndependencies: [{packages}]\n");
    let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), dir).unwrap();
    let network = Network::open(NetworkSettings::new(dir.join("cache"))).unwrap();
    let target = Target {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("5.14".to_owned()),
        archspec: Some("x86_64_v3".to_owned()),
        cuda: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let solved = solve(&spec, &target, &network, dir, listener);
    let mut solution = runtime.block_on(solved).unwrap();
    let fetched = fetch(&solution, &network, listener);
    let archives = runtime.block_on(fetched).unwrap();
    let steps = match shelf {
        Some(kept) => install_held(
            &spec,
            &mut solution,
            &archives,
            &place,
            Some(kept),
            listener,
        ),
        None => install(&spec, &mut solution, &archives, &place, listener),
    };
    let steps = steps.unwrap();
    (place, steps)
}

/// Builds with the packages of a shelf held back, or without a shelf with files.
fn build(channel: &str, packages: &str, shelf: Option<&Shelf>) -> Built {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    let (place, steps) = installed(dir.path(), channel, packages, shelf, &listener);
    fs_err::remove_dir_all(&place.packages).unwrap();
    let mut finished = steps.finish(Runner::Host(&Nobody), &listener).unwrap();
    if let (Some(shelf), Some(held)) = (shelf, &mut finished.held) {
        shelf.keep(held);
    }
    let mut contents = on_disk(&place.scratch_env());
    let is_entry = |what: &&What| **what != What::Directory;
    let on_disk = contents.values().filter(is_entry).count();
    for (path, held) in finished
        .held
        .iter()
        .flat_map(condense_prefix::Held::entries)
    {
        let is_known = contents.contains_key(path);
        assert_eq!(is_known, finished.held.as_ref().unwrap().has_copy(path));
        let what = match held {
            HeldContents::Link(target) => What::Link(target.to_owned()),
            HeldContents::File {
                file,
                number,
                offset,
                head,
                bytes,
                is_executable,
                digests,
            } => {
                let mut read = vec![0; usize::try_from(bytes).unwrap()];
                file.file().read_exact_at(&mut read, offset).unwrap();
                if let Some(head) = head {
                    read[..head.len()].copy_from_slice(&head);
                }
                compare_digests(&read, digests);
                What::File {
                    bytes: read,
                    is_executable,
                    number: number as u64,
                }
            }
        };
        for above in path
            .ancestors()
            .skip(1)
            .filter(|above| !above.as_os_str().is_empty())
        {
            contents.insert(above.to_owned(), What::Directory);
        }
        contents.insert(path.to_owned(), what);
    }
    let mut numbers = HashMap::new();
    for what in contents.values_mut() {
        if let What::File { number, .. } = what {
            let next = numbers.len() as u64;
            *number = *numbers.entry(*number).or_insert(next);
        }
    }
    Built {
        contents,
        warnings: listener.0.into_inner().unwrap(),
        landmarks: finished.landmarks,
        holds: finished.held.is_some(),
        on_disk,
    }
}

/// Returns what is at a path in a form that people can read.
fn shown(what: Option<&What>) -> String {
    match what {
        Some(What::File { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// Builds an environment in all ways, and returns the one whose files are held back. All must have
/// the same contents.
#[track_caller]
fn build_both(channel: &str, packages: &str) -> Built {
    let shelf = Shelf::new();
    let linked = build(channel, packages, None);
    let held = build(channel, packages, Some(&shelf));
    assert!(!linked.holds && *shelf.found.lock().unwrap() == 0);
    assert_same(&held, &linked);
    let kept = build(channel, packages, Some(&shelf));
    assert_eq!(kept.holds, held.holds);
    assert!(!held.holds || *shelf.found.lock().unwrap() > 0);
    assert_same(&kept, &linked);
    held
}

#[track_caller]
fn assert_same(one: &Built, other: &Built) {
    for (path, what) in &other.contents {
        let found = one.contents.get(path);
        assert!(
            found == Some(what),
            "{} differs: {} and {}",
            path.display(),
            shown(found),
            shown(Some(what))
        );
    }
    assert_eq!(one.contents.len(), other.contents.len());
    assert_eq!(one.warnings, other.warnings);
    assert_eq!(one.landmarks, other.landmarks);
}

/// A package with a Python's library, and byte code of several kinds.
fn python() -> Package {
    let time = u32::try_from(channel::TIMESTAMP / 1000).unwrap();
    let fresh = |size| bytecode(0, [time, size]);
    let library = |path: &str| format!("lib/python3.11/{path}");
    Package::new("python", "3.11.2")
        .program("bin/python3.11", format!("no program\0{PLACEHOLDER}\0"))
        .link("bin/python", "python3.11")
        .file(&library("os.py"), "fresh")
        .file(&library("__pycache__/os.cpython-311.pyc"), fresh(5))
        .file(&library("__pycache__/os.cpython-311.opt-1.pyc"), fresh(5))
        .file(&library("__pycache__/os.cpython-311.opt-2.pyc"), fresh(4))
        .file(&library("stale.py"), "stale")
        .file(&library("__pycache__/stale.cpython-311.pyc"), fresh(6))
        .file(&library("patched.py"), format!("at = '{PLACEHOLDER}'\n"))
        .file(&library("__pycache__/patched.cpython-311.pyc"), fresh(300))
        .file(&library("hashed.py"), "")
        .file(
            &library("__pycache__/hashed.cpython-311.pyc"),
            bytecode(3, [0, 0]),
        )
        .file(&library("short.py"), "")
        .file(&library("__pycache__/short.cpython-311.pyc"), "short")
        .file(&library("__pycache__/no-source.py"), "")
        .file(&library("site-packages/odd\nname.py"), "odd = 1\n")
        .link(&library("linked.py"), "os.py")
        .file("include/python3.11/Python.h", "")
}

fn packages() -> Vec<Package> {
    vec![
        python(),
        Package::new("tool", "1.0")
            .program("bin/tool", format!("#!{PLACEHOLDER}/bin/sh\n"))
            .file(
                "share/where.bin",
                [b"\0".as_slice(), PLACEHOLDER.as_bytes(), b"/lib\0end"].concat(),
            )
            .file("share/a name with spaces é \u{1}", "odd")
            .link("share/dangling", "nowhere/at all")
            .link("share/absolute", "/etc/passwd")
            .file("CACHEDIR.TAG", "of a package"),
        Package::new("first", "1.0")
            .depends("python")
            .file("share/same", "of first")
            .file("lib/python3.11/site-packages/tests/same.py", "first = 1\n")
            .file("lib/python3.11/site-packages/first.py", "first = 1\n"),
        Package::new("second", "1.0")
            .depends("python")
            .file("share/same", "of second")
            .file("lib/python3.11/site-packages/tests/same.py", "second = 1\n")
            .file(
                "lib/python3.11/site-packages/tests/__pycache__/same.cpython-311.pyc",
                bytecode(0, [1, 1]),
            )
            .file("etc/conda/env_vars.d/second.json", r#"{"SECOND": "1"}"#),
        Package::new("activated", "1.0")
            .file("etc/conda/activate.d/activated.sh", "export ACTIVATED=1\n")
            .file("share/activated", ""),
        Package::new("post-linked", "1.0").file("bin/.post-linked-post-link.sh", "exit 1\n"),
    ]
}

#[test]
fn files_that_are_held_back_are_those_that_would_be_linked() {
    let dir = tempfile::tempdir().unwrap();
    let url = write_channel(dir.path(), &packages());
    let built = build_both(&url, "tool");
    assert!(built.holds && built.on_disk < 6, "{}", built.on_disk);
    let built = build_both(&url, "tool, first, second, python");
    assert!(built.holds);
    let warnings = built.warnings.concat();
    assert!(warnings.contains("share/same"), "{warnings}");
    let file = |path: &str| match &built.contents[Path::new(path)] {
        What::File { bytes, .. } => bytes.clone(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(
        file("bin/tool"),
        b"#!/MOUNT_abc1234/miniforge/envs/env1/bin/sh\n"
    );
    let compiled = file("lib/python3.11/__pycache__/os.cpython-311.pyc");
    assert_eq!(compiled[4..8], [1, 0, 0, 0], "unchecked hash");
    let stale = Path::new("lib/python3.11/__pycache__/os.cpython-311.opt-2.pyc");
    assert!(!built.contents.contains_key(stale));
    assert!(built.landmarks.is_empty(), "{:?}", built.landmarks);
}

#[test]
fn environments_whose_scripts_need_files_are_linked_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let linked = Package::new("linked", "1.0")
        .link("etc/conda/activate.d/linked.sh", "../../../share/linked.sh")
        .file("share/linked.sh", "export LINKED=1\n");
    let text = "mkdir -p \"$CONDA_PREFIX/var\"\nexport WRITING=1\n";
    let writing = Package::new("writing", "1.0").file("etc/conda/activate.d/writing.sh", text);
    let url = write_channel(dir.path(), &[packages(), vec![linked, writing]].concat());
    for package in ["post-linked", "linked", "writing"] {
        let (dir, asked) = (tempfile::tempdir().unwrap(), format!("{package}, tool"));
        let (_, steps) = installed(
            dir.path(),
            &url,
            &asked,
            Some(&Shelf::new()),
            &Listener::default(),
        );
        assert!(!steps.holds_back(), "{package}");
    }
}

/// Container that compiles one source and runs what captures the activation, or that ends before
/// its first step.
struct Compiler {
    place: Place,
    ends_with: Option<&'static str>,
    /// Lines of what has happened.
    events: Mutex<Vec<String>>,
}

impl Compiler {
    fn new(place: &Place, ends_with: Option<&'static str>) -> Self {
        Self {
            place: place.clone(),
            ends_with,
            events: Mutex::default(),
        }
    }

    fn note(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
    }
}

const REFUSED: &str = "refused: the runtime cannot mount an image of them: FATAL: no squashfuse";
const STALE: &str = "lib/python3.11/__pycache__/stale.cpython-311.pyc";

impl StepRunner for Compiler {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let (build, argv) = (self.place.build_dir(), argv.join(" ".as_ref()));
        self.note(
            argv.to_string_lossy()
                .replace(build.to_str().unwrap(), "BUILD"),
        );
        if let Some(last) = self.ends_with {
            line(last);
            return Ok(255);
        }
        if build.join("sources").exists() {
            assert!(fs_err::read_to_string(build.join("sources"))?.contains("stale"));
            fs_err::write(build.join("bytecode/0"), format!("3 {STALE}\nnew"))?;
            line("::condense-step compiling Python files");
        }
        if build.join("activation.sh").exists() {
            self.note("activation");
            line("::condense-step capturing the activation");
        }
        line("::condense-done");
        Ok(0)
    }
}

impl HeldImage for Compiler {
    fn make(&self, held: &Held) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        assert!(held.end_bytes() > 4096);
        self.note("image");
        Ok(())
    }

    fn place_of_steps(&self) -> &Place {
        &self.place
    }

    fn for_pip(&self) -> Box<dyn StepRunner + '_> {
        Box::new(self)
    }

    fn refuse(&self, refusal: &Refusal) {
        self.note(format!("refused: {refusal}"));
    }
}

/// Environment whose steps have run in a [`Compiler`] with an image, and in one with the prefix.
struct Run {
    dir: tempfile::TempDir,
    place: Place,
    beside: Place,
    finished: Result<Finished, Error>,
    /// Events of the image and of the prefix.
    events: [Vec<String>; 2],
}

fn run_on_image(packages_asked: &str, ends_with: Option<&'static str>) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let url = write_channel(&dir.path().join("channel"), &packages());
    let listener = Listener::default();
    let (place, steps) = installed(
        dir.path(),
        &url,
        packages_asked,
        Some(&Shelf::new()),
        &listener,
    );
    let beside = Place {
        root: dir.path().join("beside"),
        ..place.clone()
    };
    fs_err::create_dir(&beside.root).unwrap();
    steps.name_held(&beside.root.join("held.sqfs")).unwrap();
    fs_err::remove_dir_all(&place.packages).unwrap();
    let image = Compiler::new(&beside, ends_with);
    let container = Compiler::new(&place, None);
    let runner = Runner::Held {
        image: &image,
        container: &container,
    };
    let finished = steps.finish(runner, &listener);
    let events = [image, container].map(|one| one.events.into_inner().unwrap());
    Run {
        dir,
        place,
        beside,
        finished,
        events,
    }
}

/// Builds an environment whose interpreter is in an image of what is held back. Returns what has
/// happened with the image and with the prefix, and whether the prefix has an interpreter.
fn compiled(ends_with: Option<&'static str>) -> ([Vec<String>; 2], bool) {
    let run = run_on_image("python", ends_with);
    let held = run.finished.unwrap().held.unwrap();
    let found = held.entries().find(|(path, _)| *path == Path::new(STALE));
    let Some((_, HeldContents::File { offset, .. })) = found else {
        panic!("{found:?}");
    };
    let mut bytes = [0; 3];
    held.spool()
        .file()
        .read_exact_at(&mut bytes, offset)
        .unwrap();
    assert_eq!(&bytes, b"new");
    for name in ["compile.list", "sources"] {
        assert!(
            !run.beside.build_dir().join(name).exists(),
            "{name} is run again"
        );
    }
    let is_copied = run.place.scratch_env().join("bin/python3.11").exists();
    drop(run.dir);
    (run.events, is_copied)
}

#[test]
fn sources_are_compiled_on_an_image_or_else_with_files() {
    const RUN: &str = "/bin/sh BUILD/run.sh /MOUNT_abc1234/miniforge/envs/env1 BUILD";
    let ([image, container], is_copied) = compiled(None);
    assert_eq!(image, ["image", RUN]);
    assert!(container.is_empty() && !is_copied, "{container:?}");

    let ([image, container], is_copied) = compiled(Some("FATAL: no squashfuse"));
    assert_eq!(image, ["image", RUN, REFUSED]);
    let inside = "/MOUNT_abc1234/.condense-build";
    let run = format!("/bin/sh {inside}/run.sh /MOUNT_abc1234/miniforge/envs/env1 {inside}");
    assert_eq!(container, [run]);
    assert!(is_copied, "the interpreter is not in the prefix");
}

/// One start of the container compiles and captures. The stand-in captures nothing, which must not
/// pass for an activation.
#[test]
fn an_activation_is_captured_on_an_image_or_else_with_files() {
    for (packages, compiles) in [("activated, tool", false), ("activated, python", true)] {
        let run = run_on_image(packages, None);
        let [image, container] = &run.events;
        let events: Vec<&str> = image.iter().map(String::as_str).collect();
        assert!(
            events.len() == 3 && events[0] == "image" && events[2] == "activation",
            "{events:?} {:?}",
            run.finished
        );
        assert!(container.is_empty(), "{container:?}");
        assert!(!run.beside.build_dir().join("activation.sh").exists());
        let has_sources = run.beside.build_dir().join("bytecode").exists();
        assert_eq!(has_sources, compiles);
        let error = run.finished.unwrap_err().to_string();
        assert!(error.contains("activation"), "{error}");
        let programs = on_disk(&run.place.scratch_env());
        assert!(!programs.contains_key(Path::new("share/activated")));
    }
    let run = run_on_image("activated, tool", Some("FATAL: no squashfuse"));
    let [image, container] = &run.events;
    assert_eq!(image.last().unwrap(), REFUSED);
    assert_eq!(container.last().unwrap(), "activation");
    let copied = on_disk(&run.place.scratch_env());
    for path in ["share/activated", "bin/tool", "share/dangling"] {
        assert!(copied.contains_key(Path::new(path)), "{path}");
    }
}

/// The interpreters of the real channel compile the same byte code, whether the sources are files
/// or come to them in one file; and hardly any file of an environment is made in scratch.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn real_environments_are_the_same_with_a_tenth_of_the_files() {
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-parts/channel");
    let url = format!("file://{}", parts.canonicalize().unwrap().display());
    for (python, tenths) in [("3.11", 10), ("3.13", 10)] {
        let packages = format!(
            "python ={python}, numpy, flask, rich, edge-links, edge-names, edge-many-files, edge-noarch-python, edge-prefix"
        );
        let built = build_both(&url, &packages);
        let is_file = |what: &&What| **what != What::Directory;
        let all = built.contents.values().filter(is_file).count();
        assert!(built.holds && built.warnings.iter().all(|said| !said.contains("compile")));
        assert!(
            built.on_disk * tenths < all,
            "{} of {all} files are in scratch",
            built.on_disk
        );
        let compiled = Path::new("lib")
            .join(format!("python{python}/site-packages/rich/__pycache__"))
            .join(format!("box.cpython-{}.pyc", python.replace('.', "")));
        assert!(built.contents.contains_key(&compiled));
    }
}

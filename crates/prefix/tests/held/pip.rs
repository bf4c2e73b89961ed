//! Tests of pip on an image of what is held back: its wheels become files of the environment, and
//! everything becomes files if it needs them.

use std::{ffi::OsString, os::unix::fs::PermissionsExt, path::Path, sync::Mutex};

use condense_prefix::{
    Error, Finished, Held, HeldImage, PipPackage, Place, Refusal, Runner, StepRunner,
};

use crate::{
    Compiler, Listener, Shelf, channel::Package, installed, on_disk, packages, write_channel,
};

const SITE: &str = "lib/python3.11/site-packages";
/// Hash of an empty source by Python 3.11.
const EMPTY_HASH: [u8; 8] = [0x73, 0x8d, 0x9c, 0xd5, 0xd5, 0xe8, 0x7f, 0x73];
const INSTALLS: &str = "::condense-step pip install";

/// Stand-in for pip: gets the directory of build steps, and returns the lines that pip says.
type StandIn = fn(&Path) -> &'static [&'static str];

/// Image whose container runs a stand-in for pip.
struct Image {
    compiler: Compiler,
    pip: StandIn,
    refused: Mutex<Option<String>>,
    /// Sources that the interpreter compiles, with the positions of their texts.
    listed: Mutex<String>,
}

struct Pip<'a>(&'a Image);

impl StepRunner for Pip<'_> {
    fn run(
        &self,
        _: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let build = self.0.compiler.place.build_dir();
        let script = fs_err::read_to_string(build.join("pip.sh"))?;
        assert!(script.contains("pip_beside.py") && build.join("pip_beside.py").exists());
        assert_eq!(
            fs_err::read_to_string(build.join("requirements.txt"))?,
            "edge-wheel\n"
        );
        let root = fs_err::read_to_string(build.join("root"))?;
        // Nothing that pip builds knows where scratch is.
        assert_eq!(root, "/.condense-build/new");
        let lines = (self.0.pip)(&build);
        for text in lines {
            line(text);
        }
        Ok(i32::from(!lines.contains(&"::condense-done")))
    }
}

impl StepRunner for Image {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let index = self.compiler.place.build_dir().join("sources.index");
        *self.listed.lock().unwrap() = fs_err::read_to_string(index)?;
        self.compiler.run(argv, line)
    }
}

impl HeldImage for Image {
    fn make(&self, held: &Held) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.compiler.make(held)
    }

    fn place_of_steps(&self) -> &Place {
        self.compiler.place_of_steps()
    }

    fn for_pip(&self) -> Box<dyn StepRunner + '_> {
        Box::new(Pip(self))
    }

    fn refuse(&self, refusal: &Refusal) {
        *self.refused.lock().unwrap() = Some(refusal.to_string());
    }
}

/// Environment whose steps have run.
struct Run {
    dir: tempfile::TempDir,
    place: Place,
    finished: Result<Finished, Error>,
    refused: Option<String>,
    /// Sources that are compiled on the image.
    listed: Vec<String>,
    /// Lines and warnings that the user gets.
    said: Vec<String>,
    /// Commands of the container with the image and of the one with the prefix.
    events: [Vec<String>; 2],
}

fn packages_with_pip(version: &str) -> Vec<Package> {
    [packages(), vec![Package::new("pip", version)]].concat()
}

fn run(pip: StandIn) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let url = write_channel(&dir.path().join("channel"), &packages_with_pip("26.3"));
    let listener = Listener::default();
    let asked = "python, tool, {pip: [edge-wheel]}";
    let (place, steps) = installed(dir.path(), &url, asked, Some(&Shelf::new()), &listener);
    assert!(steps.holds_back());
    let beside = Place {
        root: dir.path().join("beside"),
        ..place.clone()
    };
    fs_err::create_dir(&beside.root).unwrap();
    steps.name_held(&beside.root.join("held.sqfs")).unwrap();
    fs_err::remove_dir_all(&place.packages).unwrap();
    let image = Image {
        compiler: Compiler::new(&beside, None),
        pip,
        refused: Mutex::default(),
        listed: Mutex::default(),
    };
    let container = Compiler::new(&place, None);
    let runner = Runner::Held {
        image: &image,
        container: &container,
    };
    let finished = steps.finish(runner, &listener);
    let listed = image.listed.into_inner().unwrap();
    let listed = listed.lines().filter_map(|line| line.splitn(3, ' ').nth(2));
    Run {
        listed: listed.map(str::to_owned).collect(),
        said: listener.0.into_inner().unwrap(),
        dir,
        place,
        finished,
        refused: image.refused.into_inner().unwrap(),
        events: [image.compiler, container].map(|one| one.events.into_inner().unwrap()),
    }
}

/// Writes files as pip does below the directory of build steps.
fn write(build: &Path, files: &[(&str, &str)]) {
    let environment = build.join("new/MOUNT_abc1234/miniforge/envs/env1");
    for (name, text) in files {
        let path = environment.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
}

/// Byte code of an empty source for Python 3.11, as the environment's own is.
fn bytecode_of_nothing() -> Vec<u8> {
    let mut bytes = vec![0xa7, 0x0d, 0x0d, 0x0a, 1, 0, 0, 0];
    bytes.extend_from_slice(&EMPTY_HASH);
    bytes
}

fn installs(build: &Path) -> &'static [&'static str] {
    let site = |name: &str| format!("{SITE}/{name}");
    let large = "x".repeat(1 << 20);
    write(
        build,
        &[
            (&site("edge_wheel.py"), "new = 1\n"),
            (&site("edge_wheel-1.5.dist-info/METADATA"), ""),
            (&site("large.so"), &large),
            (&site("large.py"), &large),
            ("lib/python3.11/os.py", "replaced"),
            ("bin/tool", "replaced"),
            ("share/data.py", "no source"),
            (&site("__pycache__/cached.py"), "no source"),
            (&site("hashed.py"), ""),
        ],
    );
    let environment = build.join("new/MOUNT_abc1234/miniforge/envs/env1");
    for name in ["bin/tool", &site("large.so")] {
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(environment.join(name), mode).unwrap();
    }
    // This byte code has the hash of its source.
    let hashed = site("__pycache__/hashed.cpython-311.pyc");
    write(build, &[(&hashed, "")]);
    fs_err::write(environment.join(hashed), bytecode_of_nothing()).unwrap();
    let removed = "share/absolute\n../outside\n";
    fs_err::write(build.join("removed.txt"), removed).unwrap();
    fs_err::write(build.join("pip-report.json"), r#"{"install": []}"#).unwrap();
    &[INSTALLS, "Successfully installed", "::condense-done"]
}

#[test]
fn wheels_become_files_of_the_environment() {
    let run = run(installs);
    let finished = run.finished.unwrap();
    assert_eq!(run.refused, None);
    assert_eq!(
        finished.pip_packages,
        [PipPackage::new("edge-wheel", "1.5")]
    );
    assert!(finished.replaced_by_pip.is_empty() && finished.pip_report.is_some());
    assert_eq!(finished.steps_in_container, 2);
    let [image, container] = run.events;
    assert_eq!(image.len(), 3, "{image:?}");
    assert!(container.is_empty(), "{container:?}");

    let (prefix, held) = (on_disk(&run.place.scratch_env()), finished.held.unwrap());
    let is_held = |name: &str| held.entries().any(|(path, _)| path == Path::new(name));
    let is_file = |name: &str| prefix.contains_key(Path::new(name));
    let site = |name: &str| format!("{SITE}/{name}");
    for name in ["lib/python3.11/os.py", "bin/tool", &site("edge_wheel.py")] {
        assert!(is_file(name) && !is_held(name), "{name}");
    }
    for name in [site("large.so"), site("large.py")] {
        assert!(is_held(&name) && !is_file(&name), "{name}");
    }
    let modes = held
        .entries()
        .filter_map(|(path, contents)| match contents {
            condense_prefix::HeldContents::File { is_executable, .. } => {
                Some((path, is_executable))
            }
            condense_prefix::HeldContents::Link(_) => None,
        });
    let modes: std::collections::BTreeMap<&Path, bool> = modes.collect();
    assert!(modes[Path::new(&site("large.so"))] && !modes[Path::new(&site("large.py"))]);
    assert!(!is_held("share/absolute") && is_held("share/dangling"));
    let expected = [
        "os.py",
        "site-packages/edge_wheel.py",
        "site-packages/large.py",
    ];
    let of_wheels = |name: &String| expected.iter().any(|end| name.ends_with(end));
    let listed: Vec<&String> = run.listed.iter().filter(|name| of_wheels(name)).collect();
    assert_eq!(listed.len(), expected.len(), "{:?}", run.listed);
    let others = ["cached.py", "data.py", "site-packages/hashed.py"];
    assert!(
        !run.listed
            .iter()
            .any(|name| others.iter().any(|end| name.ends_with(end)))
    );
    let beside = run.dir.path().join("beside/.condense-build");
    assert!(!beside.join("pip.sh").exists() && !beside.join("new").exists());
    drop(run.dir);
}

fn needs_more(build: &Path) -> &'static [&'static str] {
    write(build, &[("share/partial", "")]);
    fs_err::write(build.join("whole"), "`edge-wheel` stays a link\n").unwrap();
    &[
        INSTALLS,
        "  Building wheel for edge-wheel: started",
        "  ERROR: Failed building wheel",
        "::condense-failed 1",
    ]
}

fn writes_in_vain(_: &Path) -> &'static [&'static str] {
    &[INSTALLS, "ERROR: [Errno 30] Read-only file system: 'x'"]
}

fn brings_activation(build: &Path) -> &'static [&'static str] {
    write(build, &[("etc/conda/activate.d/new.sh", "")]);
    &[INSTALLS, "::condense-done"]
}

fn writes_behind_a_link(build: &Path) -> &'static [&'static str] {
    write(build, &[("share/dangling/file", "")]);
    &[INSTALLS, "::condense-done"]
}

fn writes_where_a_directory_is(build: &Path) -> &'static [&'static str] {
    write(build, &[("include", "")]);
    &[INSTALLS, "::condense-done"]
}

fn writes_elsewhere(build: &Path) -> &'static [&'static str] {
    write(build, &[("../other", "")]);
    &[INSTALLS, "::condense-done"]
}

fn cannot_run(_: &Path) -> &'static [&'static str] {
    &["FATAL: no squashfuse"]
}

/// Whatever pip needs, it gets the environment as it would have been without an image.
#[test]
fn everything_becomes_files_if_pip_needs_them() {
    let cases: [(StandIn, &str); 7] = [
        (needs_more, "pip needs files: `edge-wheel` stays a link"),
        (writes_in_vain, "wants to write into the environment"),
        (brings_activation, "a wheel brings activation scripts"),
        (writes_behind_a_link, "what is at `share/dangling`"),
        (writes_where_a_directory_is, "what is at `include`"),
        (writes_elsewhere, "which is elsewhere"),
        (cannot_run, "cannot mount an image of them: FATAL: no"),
    ];
    for (pip, reason) in cases {
        let run = run(pip);
        let refused = run.refused.unwrap();
        assert!(refused.contains(reason), "{refused}");
        assert!(run.finished.unwrap().held.is_none(), "{reason}");
        assert!(!run.said.iter().any(|line| line.contains("ERROR")));
        let [image, container] = run.events;
        assert_eq!(image, ["image"], "{reason}");
        assert_eq!(container.len(), 1, "{reason}: {container:?}");
        let build = run.place.build_dir();
        assert!(build.join("pip.sh").exists() && !build.join("root").exists());
        let prefix = on_disk(&run.place.scratch_env());
        for name in ["bin/python3.11", "bin/tool", "share/dangling"] {
            assert!(prefix.contains_key(Path::new(name)), "{reason}: {name}");
        }
        for name in ["share/partial", "etc/conda/activate.d/new.sh", "other"] {
            assert!(!prefix.contains_key(Path::new(name)), "{reason}: {name}");
        }
    }
}

/// A failure of pip that files would not change is the error of the build.
#[test]
fn a_failure_of_pip_is_told() {
    fn fails(_: &Path) -> &'static [&'static str] {
        &[
            INSTALLS,
            "ERROR: No matching distribution found for edge-wheel",
        ]
    }
    let run = run(fails);
    let error = run.finished.unwrap_err().to_string();
    assert!(error.contains("edge-wheel"), "{error}");
    assert_eq!(run.refused, None);
    assert!(run.events[1].is_empty());
}

/// Lines with which pip replaces conda packages never meet an image, and nor do old versions of
/// pip.
#[test]
fn lines_that_pip_cannot_install_beside_get_files_at_once() {
    for (line, pip, holds) in [
        ("rich >=1", "22.2", true),
        ("rich >=1", "22.1.9", false),
        ("x @ https://h/x-1-py3-none-any.whl", "26.3", true),
        ("x @ https://h/x.tar.gz", "26.3", true),
        ("git+https://host/x", "26.3", true),
        ("-e ./here", "26.3", true),
        ("./here", "26.3", true),
        ("--no-binary :all:", "26.3", true),
        // What is plain before pip has looked at any index.
        ("Tool [x] == 2.0; python_version > '3'", "26.3", true),
        ("tool==2.0", "26.3", false),
        ("tool==1.0.0", "26.3", true),
        ("tool>=2.0", "26.3", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let url = write_channel(&dir.path().join("channel"), &packages_with_pip(pip));
        fs_err::create_dir(dir.path().join("here")).unwrap();
        fs_err::write(dir.path().join("here/setup.py"), "").unwrap();
        let asked = format!("python, tool, {{pip: [\"{line}\"]}}");
        let (_, steps) = installed(
            dir.path(),
            &url,
            &asked,
            Some(&Shelf::new()),
            &Listener::default(),
        );
        assert_eq!(steps.holds_back(), holds, "{line} with pip {pip}");
    }
}

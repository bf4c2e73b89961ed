//! Tests of byte code that earlier builds have compiled: it is the same as if it were compiled
//! again, and nothing runs for it.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/channel.rs"]
mod channel;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use channel::{PLACEHOLDER, Package, write_channel};
use condense_prefix::{
    Architecture, CodeKey, CompiledCode, EnvironmentSpec, Finished, Held, HeldContents, HeldImage,
    Network, NetworkSettings, Phase, Place, Progress, Refusal, Runner, StepRunner, Target, Warning,
    fetch, install_held, solve,
};
use sha2::{Digest, Sha256};

type StepError = Box<dyn std::error::Error + Send + Sync>;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, _: Warning) {}
}

/// Byte code of the builds of a test, in memory.
#[derive(Debug, Default)]
struct Kept(Mutex<HashMap<CodeKey, Vec<u8>>>);

impl CompiledCode for Kept {
    fn find(&self, keys: &[CodeKey]) -> Vec<Option<Vec<u8>>> {
        let kept = self.0.lock().unwrap();
        keys.iter().map(|key| kept.get(key).cloned()).collect()
    }

    fn keep(&self, entries: &[(CodeKey, Vec<u8>)]) {
        self.0.lock().unwrap().extend(entries.iter().cloned());
    }
}

/// Interpreter whose byte code is the path and the text of the source, in the way of compile.py.
/// Text with braces does not compile.
struct Interpreter {
    place: Place,
    /// Number of batches that it compiles before it is killed.
    batches: usize,
    /// Whether an activation script changes what it has written.
    is_forging: bool,
    /// Sources that were compiled, or did not compile.
    seen: Mutex<Vec<String>>,
}

impl StepRunner for Interpreter {
    fn run(&self, _: &[OsString], line: &mut dyn FnMut(&str)) -> Result<i32, StepError> {
        let build = self.place.build_dir();
        let read = |name: &str| fs_err::read_to_string(build.join(name)).unwrap();
        let (texts, place, index) = (read("sources"), read("sources.as"), read("sources.index"));
        line("::condense-step compiling Python files");
        for (number, batch) in read("compile.list").split("\n\n").enumerate() {
            let mut written = String::new();
            for source in batch.lines() {
                self.seen.lock().unwrap().push(source.to_owned());
                let end = format!(" {source}");
                let numbers = index.lines().find_map(|line| line.strip_suffix(&end));
                let (at, length) = numbers.unwrap().split_once(' ').unwrap();
                let at: usize = at.parse().unwrap();
                let text = &texts[at..at + length.parse::<usize>().unwrap()];
                if text.contains('{') {
                    continue;
                }
                // The hash of the source is that of another text, if it has a path.
                let code = format!("magi\u{1}\0\0\0--hash--{place}/{source}:{text}");
                let (dir, name) = source.rsplit_once('/').unwrap();
                let name = name.replace(".py", ".cpython-311.pyc");
                written += &format!("{} {dir}/__pycache__/{name}\n{code}", code.len());
            }
            if number == self.batches {
                // It is killed while it writes.
                fs_err::write(build.join(format!("bytecode/{number}")), written).unwrap();
                line("::condense-not-compiled killed");
                break;
            }
            let whole = written + "0 \n";
            let digest = hex::encode(Sha256::digest(&whole));
            line(&format!("::condense-code {number} {digest}"));
            fs_err::write(build.join(format!("bytecode/{number}")), whole).unwrap();
        }
        line("::condense-step capturing the activation");
        if self.is_forging {
            let forged = "0 \n";
            fs_err::write(build.join("bytecode/0"), forged).unwrap();
            let digest = hex::encode(Sha256::digest(forged));
            line("::condense-step compiling Python files");
            line(&format!("::condense-code 0 {digest}"));
        }
        line("::condense-done");
        Ok(0)
    }
}

impl HeldImage for Interpreter {
    fn make(&self, _: &Held) -> Result<(), StepError> {
        Ok(())
    }

    fn place_of_steps(&self) -> &Place {
        &self.place
    }

    fn for_pip(&self) -> Box<dyn StepRunner + '_> {
        panic!("there is nothing for pip");
    }

    fn refuse(&self, refusal: &Refusal) {
        panic!("{refusal}");
    }
}

/// Environment whose steps have run.
struct Built {
    finished: Finished,
    /// Sources that the interpreter has got.
    seen: Vec<String>,
    mount_point: &'static str,
}

impl Built {
    /// Returns all byte code of the environment.
    fn code(&self) -> BTreeMap<PathBuf, String> {
        let held = self.finished.held.as_ref().unwrap();
        let codes = held.entries().filter_map(|(path, contents)| {
            let HeldContents::File { offset, bytes, .. } = contents else {
                return None;
            };
            path.extension().filter(|found| *found == "pyc")?;
            let mut read = vec![0; usize::try_from(bytes).unwrap()];
            held.spool()
                .file()
                .read_exact_at(&mut read, offset)
                .unwrap();
            let (header, code) = read.split_at(16);
            assert!(header.starts_with(b"magi\x01\0\0\0"));
            // That of the patched source is the one of the text that the environment has.
            let is_set = &header[8..] != b"--hash--";
            assert_eq!(is_set, path == Path::new(PATCHED));
            let code = String::from_utf8(code.to_vec()).unwrap();
            Some((path.to_owned(), code))
        });
        codes.collect()
    }

    /// Checks that the byte code is that of an environment at its mount point. `count` is the
    /// number of sources that compile.
    #[track_caller]
    fn names_its_sources(&self, count: usize) {
        let code = self.code();
        assert_eq!(code.len(), count, "{code:?}");
        for (path, code) in code {
            let name = path.to_string_lossy().replace("__pycache__/", "");
            let source = name.replace(".cpython-311.pyc", ".py");
            let expected = format!("{}/miniforge/envs/env1/{source}:", self.mount_point);
            assert!(code.starts_with(&expected), "{code}");
        }
    }
}

const PATCHED: &str = "lib/python3.11/__pycache__/patched.cpython-311.pyc";
const MOUNT_POINT: &str = "/MOUNT_abc1234";

fn python(version: &str) -> Package {
    Package::new("python", version)
        .program("bin/python3.11", "program")
        .file(
            "lib/python3.11/patched.py",
            format!("at = '{PLACEHOLDER}'\n"),
        )
}

fn packages(python: Package, text: &str) -> Vec<Package> {
    let of = |name: &str| Package::new(name, "1.0").depends("python");
    let site = |path: &str| format!("lib/python3.11/site-packages/{path}");
    let mut many = of("many");
    for number in 0..70 {
        many = many.file(&site(&format!("many/m{number:02}.py")), "many");
    }
    vec![
        python,
        of("one")
            .file(&site("one/a.py"), text)
            .file(&site("one/template.py"), "{name}"),
        many,
    ]
}

fn build_at(mount_point: &'static str, channel: &[Package], code: &Arc<Kept>) -> Built {
    build_with((usize::MAX, false), mount_point, channel, code)
}

fn build_with(
    (batches, is_forging): (usize, bool),
    mount_point: &'static str,
    channel: &[Package],
    code: &Arc<Kept>,
) -> Built {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let url = write_channel(&dir.join("channel"), channel);
    let place = Place {
        root: dir.join("root"),
        mount_point: mount_point.into(),
        environment: "miniforge/envs/env1".into(),
        packages: dir.join("packages"),
    };
    let beside = Place {
        root: dir.join("beside"),
        ..place.clone()
    };
    for root in [&place.root, &beside.root] {
        fs_err::create_dir(root).unwrap();
    }
    let text = format!("channels: ['{url}']\ndependencies: [many, one]\n");
    let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), dir).unwrap();
    let network = Network::open(NetworkSettings::new(dir.join("cache"))).unwrap();
    let target = Target {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("5.14".to_owned()),
        archspec: None,
        cuda: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let solved = solve(&spec, &target, &network, dir, &Silent);
    let mut solution = runtime.block_on(solved).unwrap();
    let archives = runtime
        .block_on(fetch(&solution, &network, &Silent))
        .unwrap();
    let mut steps = install_held(&spec, &mut solution, &archives, &place, None, &Silent).unwrap();
    steps.use_code(Arc::clone(code) as Arc<dyn CompiledCode>);
    let image = Interpreter {
        place: beside,
        batches,
        is_forging,
        seen: Mutex::default(),
    };
    let runner = Runner::Held {
        image: &image,
        container: &image,
    };
    let finished = steps.finish(runner, &Silent).unwrap();
    let seen = image.seen.into_inner().unwrap();
    Built {
        finished,
        seen,
        mount_point,
    }
}

#[test]
fn what_was_compiled_once_is_not_compiled_again() {
    let (code, channel) = (Arc::default(), packages(python("3.11.2"), "one"));
    let cold = build_at(MOUNT_POINT, &channel, &code);
    assert_eq!(cold.seen.len(), 73);
    assert_eq!(cold.finished.steps_in_container, 1);
    cold.names_its_sources(72);
    // One batch for `one`, two for `many`, one for the source of Python.
    assert_eq!(code.0.lock().unwrap().len(), 4);

    let hot = build_at(MOUNT_POINT, &channel, &code);
    assert_eq!(hot.seen, [""; 0]);
    assert_eq!(hot.finished.steps_in_container, 0);
    assert_eq!(hot.code(), cold.code());
    assert_eq!(code.0.lock().unwrap().len(), 4);
}

/// The path of the environment is not what byte code depends on, also where linking has written it
/// into a source.
#[test]
fn environments_share_byte_code_wherever_they_are_mounted() {
    let (code, channel) = (Arc::default(), packages(python("3.11.2"), "one"));
    let first = build_at(MOUNT_POINT, &channel, &code);
    let second = build_at("/MOUNT_xyz9876", &channel, &code);
    assert_eq!(second.seen, [""; 0]);
    second.names_its_sources(72);
    assert_ne!(second.code(), first.code());
    let patched = second.code().remove(Path::new(PATCHED)).unwrap();
    assert!(
        patched.ends_with(":at = '/MOUNT_xyz9876/miniforge/envs/env1'\n"),
        "{patched}"
    );
    let alone = build_at("/MOUNT_xyz9876", &channel, &Arc::default());
    assert_eq!(second.code(), alone.code());
    // A path of another length is another one in marshalled byte code.
    let longer = build_at("/MOUNT_longer_abc1234", &channel, &code);
    assert_eq!(longer.seen.len(), 73);
    longer.names_its_sources(72);
}

#[test]
fn a_batch_is_compiled_again_if_its_sources_or_the_interpreter_have_changed() {
    let code = Arc::default();
    build_at(MOUNT_POINT, &packages(python("3.11.2"), "one"), &code);
    let changed = build_at(MOUNT_POINT, &packages(python("3.11.2"), "two"), &code);
    let one = ["a", "template"].map(|it| format!("lib/python3.11/site-packages/one/{it}.py"));
    assert_eq!(changed.seen, one);
    changed.names_its_sources(72);
    assert!(changed.code().values().any(|code| code.ends_with(":two")));

    let other = build_at(MOUNT_POINT, &packages(python("3.11.3"), "one"), &code);
    assert_eq!(other.seen.len(), 73);
    // A package that puts something into the library changes what the interpreter reads.
    let more = Package::new("one", "1.1")
        .depends("python")
        .file("lib/python3.11/site-packages/one/a.py", "one")
        .file("lib/python3.11/added.txt", "");
    let mut channel = packages(python("3.11.2"), "one");
    channel.push(more);
    assert_eq!(build_at(MOUNT_POINT, &channel, &code).seen.len(), 72);
}

/// Builds once more, and checks that some sources are compiled and others taken.
#[track_caller]
fn next_compiles_the_rest(channel: &[Package], code: &Arc<Kept>) {
    let next = build_at(MOUNT_POINT, channel, code);
    assert!(
        !next.seen.is_empty() && next.seen.len() < 73,
        "{:?}",
        next.seen
    );
    next.names_its_sources(72);
}

#[test]
fn batches_that_the_interpreter_has_not_ended_are_not_kept() {
    let (code, channel) = (Arc::default(), packages(python("3.11.2"), "one"));
    build_with((2, false), MOUNT_POINT, &channel, &code);
    assert_eq!(code.0.lock().unwrap().len(), 2);
    next_compiles_the_rest(&channel, &code);
}

/// A package's script can change the environment that it is part of, and no other.
#[test]
fn what_an_activation_script_has_changed_is_not_kept() {
    let (code, channel) = (Arc::default(), packages(python("3.11.2"), "one"));
    build_with((usize::MAX, true), MOUNT_POINT, &channel, &code);
    assert_eq!(code.0.lock().unwrap().len(), 3);
    next_compiles_the_rest(&channel, &code);
}

/// Entries that are not those of the batch are as if they were not there.
#[test]
fn wrong_entries_are_not_used() {
    let (code, channel) = (Arc::<Kept>::default(), packages(python("3.11.2"), "one"));
    let cold = build_at(MOUNT_POINT, &channel, &code);
    let packed = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    for wrong in [
        b"x".to_vec(),
        packed(b""),
        packed(b"x"),
        packed(b"3 lib/python3.11/other.pyc\nbad0 \n"),
    ] {
        for entry in code.0.lock().unwrap().values_mut() {
            entry.clone_from(&wrong);
        }
        let again = build_at(MOUNT_POINT, &channel, &code);
        assert_eq!((again.seen.len(), again.code()), (73, cold.code()));
    }
}

//! Tests of packages with links that lead out of the environment, into a directory that belongs to
//! the test. Nothing in that directory may be written, removed or read. Each package is either
//! refused, or the installed file has the expected content.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/channel.rs"]
mod channel;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use channel::{Package, write_channel};
use condense_prefix::{
    Architecture, BuildSteps, CondaFacts, EnvironmentSpec, Error, Finished, Network,
    NetworkSettings, Phase, Place, Progress, Runner, Scripts, Solution, StepRunner, Target,
    UserScript, Warning, fetch, install, solve,
};

struct Quiet;

impl Progress for Quiet {
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

/// A container that runs no steps. It only calls the function, which changes files below the root
/// as a step could.
struct Acts<'a>(&'a dyn Fn());

impl StepRunner for Acts<'_> {
    fn run(
        &self,
        _: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        (self.0)();
        line("::condense-done");
        Ok(0)
    }
}

/// A temporary directory with a channel, the place of a build, and outside files that must not
/// change.
struct TestDir {
    dir: tempfile::TempDir,
    place: Place,
}

impl TestDir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            root: dir.path().join("root"),
            mount_point: "/MOUNT_abc1234".into(),
            environment: "envs/one".into(),
            packages: dir.path().join("packages"),
        };
        for name in ["root", "channel", "outside/site-packages"] {
            fs_err::create_dir_all(dir.path().join(name)).unwrap();
        }
        for name in ["victim", "state.json", "module.py", "site-packages/victim"] {
            let text = "{\"env_vars\": {\"STOLEN\": \"secret\"}, \"STOLEN\": \"secret\"}\n";
            fs_err::write(dir.path().join("outside").join(name), text).unwrap();
        }
        Self { dir, place }
    }

    fn outside(&self, name: &str) -> String {
        self.dir
            .path()
            .join("outside")
            .join(name)
            .display()
            .to_string()
    }

    /// Returns all files of the outside directory with their bytes.
    fn victims(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![self.dir.path().join("outside")];
        while let Some(dir) = dirs.pop() {
            for entry in fs_err::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let bytes = fs_err::read(&path).unwrap();
                    found.insert(path, bytes);
                }
            }
        }
        found
    }

    fn installed(
        &self,
        packages: &[Package],
        more: &str,
    ) -> Result<(BuildSteps, Solution, EnvironmentSpec), Error> {
        let channel = write_channel(&self.dir.path().join("channel"), packages);
        let text = format!("channels: [{channel}]\ndependencies: [python, odd]\n{more}");
        let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), self.dir.path())?;
        let target = Target {
            architecture: Architecture::X86_64,
            glibc: Some("2.36".to_owned()),
            linux: None,
            archspec: None,
            cuda: None,
        };
        let network = Network::open(NetworkSettings::new(self.dir.path().join("cache")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut solution =
            runtime.block_on(solve(&spec, &target, &network, self.dir.path(), &Quiet))?;
        let archives = runtime.block_on(fetch(&solution, &network, &Quiet))?;
        let steps = install(&spec, &mut solution, &archives, &self.place, &Quiet)?;
        Ok((steps, solution, spec))
    }

    /// Does everything that a build does to an environment. `act` is called instead of the build
    /// steps.
    fn build(&self, odd: Package, more: &str, act: &dyn Fn()) -> Result<Finished, Error> {
        let (mut steps, solution, spec) = self.installed(&[python(), odd], more)?;
        steps.prefix().install_executable_hook()?;
        let script = UserScript {
            name: "post.sh".to_owned(),
            text: ":\n".to_owned(),
        };
        steps.add_scripts(Scripts {
            post_install: Some(script),
            ..Scripts::default()
        });
        let finished = steps.finish(Runner::Container(&Acts(act)), &Quiet)?;
        CondaFacts {
            settings: &condense_prefix::CondaSettings::new(None),
            solution: &solution,
            spec: &spec,
            pip_packages: &finished.pip_packages,
            replaced_by_pip: &finished.replaced_by_pip,
        }
        .write(&self.place)?;
        Ok(finished)
    }
}

fn python() -> Package {
    Package::new("python", "3.11.0")
        .program("bin/python3.11", "#!/bin/sh\nexit 1\n")
        .file("lib/python3.11/os.py", "pass\n")
}

const VARIABLES: &str = "variables: {A: b}\n";

#[test]
fn files_that_are_written_replace_links_of_packages() {
    for (name, has) in [
        ("conda-meta/history", "# cmd: condense"),
        ("conda-meta/state", "env_vars"),
        ("conda-meta/odd-1.0-0.json", "paths_data"),
        (
            "lib/python3.11/site-packages/_condense_executable.pth",
            "import sys",
        ),
    ] {
        let test_dir = TestDir::new();
        let (before, victim) = (test_dir.victims(), test_dir.outside("victim"));
        let odd = Package::new("odd", "1.0").link(name, &victim);
        let built = test_dir.build(odd, VARIABLES, &|| {});
        assert_eq!(test_dir.victims(), before, "{name}");
        if built.is_ok() {
            let path = test_dir.place.scratch_env().join(name);
            assert!(!path.is_symlink(), "{name}");
            assert!(
                fs_err::read_to_string(path).unwrap().contains(has),
                "{name}"
            );
        }
    }
}

#[test]
fn directories_that_lead_out_are_refused_by_name() {
    for name in [
        "conda-meta",
        "lib/python3.11/site-packages",
        "etc/conda/activate.d",
        "etc/conda/env_vars.d",
        "etc",
    ] {
        let test_dir = TestDir::new();
        let (before, outside) = (test_dir.victims(), test_dir.outside("site-packages"));
        let odd = Package::new("odd", "1.0").link(name, &outside);
        let error = test_dir.build(odd, VARIABLES, &|| {}).unwrap_err();
        assert_eq!(test_dir.victims(), before, "{name}");
        let text = format!("{:#}", with_causes(&error));
        assert!(text.contains(name), "{name}: {text}");
    }
}

/// Joins the message of an error and those of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn byte_code_outside_stays_as_it_is() {
    let test_dir = TestDir::new();
    let outside = PathBuf::from(test_dir.outside("byte-code"));
    fs_err::create_dir(&outside).unwrap();
    // The bytes fit `module.py` in all but its time, so byte code inside of the environment would
    // be converted or removed.
    let mut bytes = vec![0xa7, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0];
    bytes.extend([0; 24]);
    for name in [
        "os.cpython-311.pyc",
        "module.cpython-311.opt-1.pyc",
        "module.cpython-311.pyc",
    ] {
        fs_err::write(outside.join(name), &bytes).unwrap();
    }
    let before = test_dir.victims();
    let odd = Package::new("odd", "1.0")
        .file("lib/python3.11/module.py", "pass\n")
        .link("lib/python3.11/__pycache__", &outside.display().to_string());
    let built = test_dir.build(odd, "", &|| {});
    assert_eq!(test_dir.victims(), before);
    assert!(built.is_err());
}

#[test]
fn nothing_outside_is_read_into_the_environment() {
    for name in ["conda-meta/state", "etc/conda/env_vars.d/x.json"] {
        let test_dir = TestDir::new();
        let odd = Package::new("odd", "1.0").link(name, &test_dir.outside("state.json"));
        match test_dir.build(odd, "", &|| {}) {
            Ok(finished) => assert!(!format!("{finished:?}").contains("secret"), "{name}"),
            Err(error) => assert!(with_causes(&error).contains(name), "{name}"),
        }
    }
    let test_dir = TestDir::new();
    let odd = Package::new("odd", "1.0").link("bin/.odd-post-link.sh", &test_dir.outside("victim"));
    if let Ok((prefix, ..)) = test_dir.installed(&[python(), odd], "") {
        assert_eq!(prefix.needs_container(), [""; 0]);
    }
}

#[test]
fn links_that_build_steps_make_do_not_lead_out() {
    // The steps replace results that are read afterwards by links.
    for name in ["pip-report.json", "activation-again/000.output"] {
        let test_dir = TestDir::new();
        let build_dir = test_dir.place.build_dir();
        let target = test_dir.outside("victim");
        let before = test_dir.victims();
        let plant = || {
            let path = build_dir.join(name);
            if name.starts_with("activation") {
                let scripts = test_dir.place.scratch_env().join("etc/conda/activate.d");
                fs_err::create_dir_all(&scripts).unwrap();
                fs_err::write(scripts.join("x.sh"), "export X=y\n").unwrap();
            }
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.is_symlink() {
                symlink(&target, path).unwrap();
            }
        };
        let error = test_dir
            .build(Package::new("odd", "1.0"), "", &plant)
            .unwrap_err();
        assert!(
            with_causes(&error).contains(name),
            "{}",
            with_causes(&error)
        );
        assert_eq!(test_dir.victims(), before);
    }
    // The steps replace files by links. These files are written while steps run and after them.
    let test_dir = TestDir::new();
    let (env, build_dir) = (test_dir.place.scratch_env(), test_dir.place.build_dir());
    let before = test_dir.victims();
    let plant = || {
        for path in [build_dir.join("run.sh"), build_dir.join("compile.py")] {
            let _ = fs_err::remove_file(&path);
            symlink(test_dir.outside("victim"), path).unwrap();
        }
        let _ = fs_err::remove_file(test_dir.place.root.join("bin/conda"));
        for name in ["bin", ".condense", "etc/profile.d"] {
            let path = test_dir.place.root.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs_err::remove_dir_all(&path);
            symlink(test_dir.outside("site-packages"), path).unwrap();
        }
        assert!(env.is_dir());
    };
    let error = test_dir
        .build(Package::new("odd", "1.0"), "", &plant)
        .unwrap_err();
    assert!(matches!(error, Error::LeadsOut(_)), "{error}");
    assert_eq!(test_dir.victims(), before);
}

#[test]
fn links_that_stay_inside_go_on_working() {
    let test_dir = TestDir::new();
    let odd = Package::new("odd", "1.0")
        .file("lib/python3.11/site-packages/odd.py", "pass\n")
        .file("share/odd/env.json", "{\"ODD\": \"1\"}\n")
        .link("lib64", "lib")
        .link(
            "etc/conda/env_vars.d/odd.json",
            "../../../share/odd/env.json",
        );
    let finished = test_dir.build(odd, VARIABLES, &|| {}).unwrap();
    let steps = format!("{:?}", finished.activation.steps);
    assert!(
        steps.contains("\"ODD\"") && steps.contains("\"A\""),
        "{steps}"
    );
    let env = test_dir.place.scratch_env();
    let pth = "lib64/python3.11/site-packages/_condense_executable.pth";
    assert!(env.join(pth).is_file());
    assert!(test_dir.place.root.join("bin/conda").is_file());
}

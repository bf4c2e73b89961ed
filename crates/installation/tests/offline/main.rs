//! Tests of wrappers with a fake runtime that prints how it was called, and of builds that are
//! killed. The tests need no network and run in every installed shell.

#![allow(clippy::unwrap_used)]

mod builds;
mod host_mpi;
mod host_python_and_files;
mod read_ahead;
#[path = "../shared/mod.rs"]
mod shared;

use condense_diagnostics::Hint as _;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use condense_activation::{ActivationStep, ValuePart};
use condense_installation::{
    Assembly, BaseMode, Destination, HostView, Installation, Launch, Program, Runtime, RuntimeKind,
};

const MOUNT_POINT: &str = "/OFFLINE_TYKKY_q7w8e9r";
const ENV_PREFIX: &str = "/OFFLINE_TYKKY_q7w8e9r/env1";

/// Number of programs in each killed build: so many that the build takes a while.
const PROGRAMS: usize = 60;

/// Shells that are `/bin/sh` on some system. Shells that are not installed are left out.
const SHELLS: [&[&str]; 4] = [&["sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];

/// A fake runtime. It prints its arguments and then the variables that it would pass on, each
/// followed by a NUL.
const FAKE: &str = "#!/bin/sh
case $1 in --version) echo 'apptainer version 9.8.7'; exit 0 ;; esac
printf '%s\\0' \"$@\" '--environment--'
exec env -0
";

struct Scene {
    scratch: tempfile::TempDir,
    dir: PathBuf,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Launch)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("runtime")).unwrap();
        let runtime = scratch.path().join("runtime/apptainer");
        fs::write(&runtime, FAKE).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        let mut launch = shared::launch(MOUNT_POINT, ENV_PREFIX, Some(&runtime), HostView::Host);
        change(&mut launch);
        let dir = scratch.path().join("inst");
        build(&dir, scratch.path(), &launch, 2);
        Self { scratch, dir }
    }

    fn wrapper(&self, shell: &[&str], name: &str) -> Command {
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .arg(self.dir.join("bin").join(name));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .current_dir("/");
        command
    }
}

/// Arguments and environment variables with which the fake runtime was called.
struct Call {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Call {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && stderr.is_empty(),
            "{command:?}: {stderr}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.trim_end_matches('\0').split('\0');
        let arguments = words
            .by_ref()
            .take_while(|word| *word != "--environment--")
            .map(str::to_owned)
            .collect();
        let environment = words
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            arguments,
            environment,
        }
    }

    fn binds(&self) -> Vec<&str> {
        let at = self.arguments.iter().position(|word| word == "-B").unwrap();
        self.arguments[at + 1].split(',').collect()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}

/// Runs the check with each installed shell.
fn each_shell(check: impl Fn(&'static [&'static str])) {
    let mut checked = 0;
    for shell in SHELLS {
        if Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ":"])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            check(shell);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

fn build(dir: &Path, scratch: &Path, launch: &Launch, programs: usize) -> Installation {
    let claim = Destination::inspect(dir).unwrap().claim(true).unwrap();
    let image = scratch.join(format!("img-{}", std::process::id()));
    fs::write(&image, "image").unwrap();
    let base = scratch.join("base.sif");
    fs::write(&base, "base").unwrap();
    let programs: Vec<Program> = (0..programs)
        .map(|number| {
            if number == 0 {
                "python3".to_owned()
            } else {
                format!("tool{number}")
            }
        })
        .map(|name| Program {
            target: format!("{ENV_PREFIX}/bin/{name}").into(),
            name: name.into(),
        })
        .collect();
    claim
        .stage(&Assembly {
            image: Some(&image),
            base: &base,
            base_mode: BaseMode::Link,
            launch,
            programs: &programs,
            landmarks: &[],
            share: &[],
            receipt: &shared::receipt(launch),
        })
        .unwrap()
        .publish()
        .unwrap()
}

#[test]
fn the_runtime_gets_the_programs_own_arguments() {
    let scene = Scene::new(|launch| {
        launch.flags = vec!["--cleanenv".to_owned(), "--no-mount=x".to_owned()];
    });
    let words = [
        "",
        "a b",
        "it's",
        "$HOME",
        "two\nlines\n",
        "*",
        "--",
        "-n",
        "\\",
    ];
    each_shell(|shell| {
        let call = Call::of(scene.wrapper(shell, "python3").args(words));
        assert_eq!(
            call.arguments[..5],
            ["-s", "exec", "--cleanenv", "--no-mount=x", "-B"]
        );
        let physical = scene.dir.canonicalize().unwrap().join(".condense/1");
        let tail: Vec<String> = [
            "--pwd".to_owned(),
            "/".to_owned(),
            physical.join("container.sif").display().to_string(),
            scene.dir.join("bin/python3").display().to_string(),
        ]
        .into_iter()
        .chain(words.map(str::to_owned))
        .collect();
        assert_eq!(call.arguments[6..], tail, "{shell:?}");
        let binds = call.binds();
        let own = format!("{0}/_bin:{0}/bin:ro", physical.display());
        let image = format!("{}/img.sqfs:{MOUNT_POINT}:image-src=/", physical.display());
        assert_eq!(
            binds[binds.len() - 3..],
            [own.as_str(), image.as_str(), "ro"]
        );
        assert_eq!(call.variable("CONDA_PREFIX"), Some(ENV_PREFIX));
        assert_eq!(
            call.variable("SINGULARITYENV_PATH"),
            Some(format!("{}/bin:/usr/bin:/bin", scene.dir.display()).as_str())
        );
        assert!(
            call.variable("PATH")
                .unwrap()
                .starts_with(scene.scratch.path().join("runtime").to_str().unwrap())
        );
    });
}

#[test]
fn every_top_level_directory_is_shown_but_the_runtimes_own() {
    let scene = Scene::new(|_| {});
    let call = Call::of(&mut scene.wrapper(&["sh"], "python3"));
    let binds = call.binds();
    for bind in HostView::Host.host_directories().unwrap() {
        let path = bind.destination().to_str().unwrap();
        assert!(
            binds.contains(&format!("{path}:{path}").as_str()),
            "{path}: {binds:?}"
        );
    }
    for own in ["/proc:/proc", "/sys:/sys", "/dev:/dev"] {
        assert!(!binds.contains(&own), "{own}");
    }
    let scene = Scene::new(|launch| launch.host_view = HostView::Base);
    let call = Call::of(&mut scene.wrapper(&["sh"], "python3"));
    let expected: Vec<String> = HostView::Base
        .host_directories()
        .unwrap()
        .iter()
        .map(|bind| format!("{0}:{0}", bind.destination().display()))
        .collect();
    assert_eq!(call.binds()[..expected.len()], expected);
}

#[test]
fn the_users_binds_are_read_as_the_runtime_reads_them() {
    let scene = Scene::new(|_| {});
    each_shell(|shell| {
        let call = Call::of(
            scene
                .wrapper(shell, "python3")
                .env(
                    "APPTAINER_BIND",
                    r"/a\:b:/one:ro, /a\,b:/two,/img:/three:image-src=/,ro,/tmp",
                )
                .env("SINGULARITY_BIND", "/x:/one,/y:/four/,,relative:/five")
                .env("SINGULARITY_BINDPATH", "/z:/six"),
        );
        let text = call.binds().join(",");
        for entry in [
            r"/a\:b:/one:ro",
            r"/a\,b:/two",
            "/img:/three:image-src=/,ro",
            "/y:/four/",
            "/relative:/five",
            "/z:/six",
        ] {
            assert!(
                text.contains(&format!(",{entry},")),
                "{shell:?} {entry}: {text}"
            );
        }
        assert!(
            !text.contains("/x:/one") && !text.contains("/tmp:/tmp"),
            "{text}"
        );
        for name in ["APPTAINER_BIND", "SINGULARITY_BIND", "SINGULARITY_BINDPATH"] {
            assert_eq!(call.variable(name), None, "{name}");
        }
    });
}

#[test]
fn singularity_ce_gets_paths_with_special_characters_as_csv() {
    let scene = Scene::new(|_| {});
    let runtime = scene.scratch.path().join("runtime/apptainer");
    let told = |shell, bind: &str| {
        let mut command = scene.wrapper(shell, "python3");
        Call::of(command.env("SINGULARITY_BIND", bind)).arguments[3].clone()
    };
    let odd = "/a \"b\"\nc:/one:ro";
    each_shell(|shell| assert!(told(shell, odd).contains(&format!(",{odd},"))));
    let fake = FAKE.replace("apptainer version", "singularity-ce version");
    fs::write(&runtime, fake).unwrap();
    each_shell(|shell| {
        let argument = told(shell, odd);
        let quoted = argument
            .strip_prefix('"')
            .unwrap()
            .strip_suffix('"')
            .unwrap();
        let plain = quoted.replace("\"\"", "\0");
        assert!(!plain.contains('"'), "{shell:?}: {argument}");
        assert!(
            plain.contains(",/a \0b\0\nc:/one:ro,"),
            "{shell:?}: {argument}"
        );
        assert!(plain.ends_with(",ro") && told(shell, "/a:/b").ends_with(":image-src=/,ro"));
        let output = scene
            .wrapper(shell, "python3")
            .env("SINGULARITY_BIND", "/a^b:/c")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot show a path with '^'"));
    });
}

#[test]
fn installations_on_path_are_shown_at_their_own_places() {
    let scene = Scene::new(|_| {});
    let places = ["/OTHER_TYKKY_q7w8e9r", "/OTHER TYKKY_q7w8e9r"];
    let others = places.map(|place| Scene::new(|launch| launch.mount_point = place.into()));
    let path = others
        .each_ref()
        .map(|other| other.dir.join("bin").display().to_string())
        .join(":");
    each_shell(|shell| {
        let mut command = scene.wrapper(shell, "python3");
        let text = Call::of(command.env("PATH", format!("{path}:/usr/bin:/bin")))
            .binds()
            .join(",");
        for (other, place) in others.iter().zip(places) {
            let physical = other.dir.canonicalize().unwrap().join(".condense/1");
            let entry = format!(
                ",{0}/_bin:{0}/bin:ro,{0}/img.sqfs:{place}:image-src=/,ro,",
                physical.display()
            );
            assert!(text.contains(&entry), "{shell:?} {entry}: {text}");
        }
    });
}

#[test]
fn an_environments_own_runtime_never_starts_itself() {
    let scene = Scene::new(|launch| launch.runtime = None);
    let runtime = scene.scratch.path().join("runtime");
    symlink("python3", scene.dir.join("bin/apptainer")).unwrap();
    each_shell(|shell| {
        let path = format!(
            "{}:{}:/usr/bin:/bin",
            scene.dir.join("bin").display(),
            runtime.display()
        );
        let call = Call::of(scene.wrapper(shell, "python3").env("PATH", path));
        assert_eq!(call.arguments[..2], ["-s", "exec"], "{shell:?}");
    });
}

#[test]
fn activation_is_replayed_in_every_shell() {
    let odd = "it's \"$HOME\" `x` \\ } {\nnew";
    let variable = |name: &str| ValuePart::Variable {
        name: name.to_owned(),
        before: odd.to_owned(),
        after: "}".to_owned(),
    };
    let scene = Scene::new(|launch| {
        launch.activation.extend([
            ActivationStep::Set {
                name: "ODD".to_owned(),
                value: odd.to_owned(),
            },
            ActivationStep::Join {
                name: "JOINED".to_owned(),
                parts: vec![ValuePart::Literal(odd.to_owned()), variable("HERE")],
            },
            ActivationStep::Join {
                name: "OTHER".to_owned(),
                parts: vec![
                    variable("MISSING"),
                    ValuePart::VariableOr {
                        name: "MISSING".to_owned(),
                        otherwise: odd.to_owned(),
                    },
                ],
            },
            ActivationStep::Set {
                name: "GODEBUG".to_owned(),
                value: odd.to_owned(),
            },
        ]);
    });
    each_shell(|shell| {
        let call = Call::of(scene.wrapper(shell, "python3").env("HERE", odd));
        assert_eq!(call.variable("ODD"), Some(odd), "{shell:?}");
        assert_eq!(
            call.variable("JOINED"),
            Some(format!("{odd}{odd}{odd}}}").as_str()),
            "{shell:?}"
        );
        assert_eq!(call.variable("OTHER"), Some(odd), "{shell:?}");
        // The variable would change the behaviour of the runtime, so the wrapper passes it as
        // `SINGULARITYENV_*`, escaped.
        assert_eq!(call.variable("GODEBUG"), None, "{shell:?}");
        let escaped = odd
            .replace('\\', "\\\\")
            .replace('$', "\\$")
            .replace('`', "\\`");
        assert_eq!(
            call.variable("SINGULARITYENV_GODEBUG"),
            Some(escaped.as_str()),
            "{shell:?}"
        );
    });
}

#[test]
fn the_wrappers_own_failures_are_125() {
    let scene = Scene::new(|launch| launch.runtime = Some("/gone/apptainer".into()));
    each_shell(|shell| {
        let check = |command: &mut Command, expected: &str| {
            let output = command.output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(125), "{shell:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(stderr.contains(expected), "{stderr}");
        };
        let taken = format!("/x:{MOUNT_POINT}");
        let runtime = format!(
            "{}:/usr/bin:/bin",
            scene.scratch.path().join("runtime").display()
        );
        check(
            scene
                .wrapper(shell, "python3")
                .env("PATH", &runtime)
                .env("SINGULARITY_BIND", &taken),
            "python3: SINGULARITY_BIND",
        );
        check(
            scene.wrapper(shell, "_debug_exec").env("PATH", &runtime),
            "_debug_exec: no command given",
        );
    });
}

#[test]
fn a_wrapper_without_a_runtime_names_the_missing_program() {
    let scene = Scene::new(|launch| launch.runtime = None);
    // The wrapper also searches these directories, so the error is expected only on a machine
    // without a runtime in them.
    let here = ["/usr/bin", "/usr/local/bin"].iter().any(|dir| {
        ["apptainer", "singularity"]
            .iter()
            .any(|name| Path::new(dir).join(name).exists())
    });
    let said = |inside: &[&str]| {
        let mut command = scene.wrapper(&["sh"], "python3");
        command.envs(inside.iter().map(|name| (name, "base.sif")));
        let output = command.env("PATH", "/nowhere:relative").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    if !here {
        let (status, stderr) = said(&[]);
        assert_eq!(status, Some(125));
        assert!(stderr.ends_with("found neither apptainer nor singularity\n"));
        for name in ["APPTAINER_NAME", "SINGULARITY_NAME"] {
            let (_, stderr) = said(&[name]);
            assert!(stderr.contains("inside the container base.sif"), "{stderr}");
        }
    }
    let error = Runtime::find(None, OsStr::new("/nowhere:relative")).unwrap_err();
    assert!(error.hint().is_some());
}

#[test]
fn a_named_runtime_is_checked() {
    let scene = Scene::new(|_| {});
    let runtime = scene.scratch.path().join("runtime/apptainer");
    let found = Runtime::find(Some(&runtime), OsStr::new("")).unwrap();
    assert_eq!(
        (found.program(), found.kind(), found.version()),
        (runtime.as_path(), RuntimeKind::Apptainer, "9.8.7")
    );
    let search = runtime.parent().unwrap().as_os_str();
    assert_eq!(Runtime::find(None, search).unwrap(), found);
    assert_eq!(
        Runtime::find(Some(Path::new("apptainer")), search).unwrap(),
        found
    );
    let text = |path: &str| {
        Runtime::find(Some(Path::new(path)), search)
            .unwrap_err()
            .to_string()
    };
    assert!(text("/no/such").ends_with("does not exists"));
    assert!(text("no-such").ends_with("does not exists"));
    assert!(
        text("/bin/sh").ends_with("does not seem to be a valid apptainer/singularity executable")
    );
}

/// B23: both wrappers of condense itself explain, in each shell, and start nothing.
#[test]
fn a_shell_is_explained_like_a_command() {
    let scene = Scene::new(|_| {});
    each_shell(|shell| {
        for (name, verb) in [("_debug_shell", " shell "), ("_debug_exec", " exec ")] {
            let mut command = scene.wrapper(shell, name);
            command.arg("--explain");
            if name == "_debug_exec" {
                command.arg("true");
            }
            let output = command.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let first = text.lines().next().unwrap();
            assert!(output.status.success() && first.contains(verb), "{text}");
            assert!(first.contains(MOUNT_POINT), "{first}");
            assert!(!text.contains('\0'), "the runtime was started: {text}");
        }
    });
}

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use condense_activation::{ActivationStep, ValuePart};
use condense_installation::{HostView, RuntimeKind};

use crate::parts::{ENV_PREFIX, MOUNT_POINT};
use crate::scene::{Account, Place, Report, Scene, each, refusal, runtime, stdout};

const BOTH: [Account; 2] = [Account::Root, Account::Ordinary];

#[test]
#[ignore = "needs: apptainer"]
fn a_program_knows_its_environment() {
    each(|scene| {
        let report = Report::of(&mut scene.command("report"));
        for (name, value) in [
            ("CONDA_PREFIX", ENV_PREFIX),
            ("CONDA_DEFAULT_ENV", "env1"),
            ("CONDA_SHLVL", "1"),
            ("install_root", MOUNT_POINT),
            ("env_root", ENV_PREFIX),
            ("OLD_PATH", "/usr/local/bin:/usr/bin:/bin"),
            (
                "_CW_IS_ISOLATED",
                if scene.view == HostView::Base {
                    "yes"
                } else {
                    "no"
                },
            ),
        ] {
            assert_eq!(report.variable(name), Some(value), "{name}");
        }
        let path = report.variable("PATH").unwrap();
        assert!(
            path.starts_with(&format!("{}:", scene.dir.join("bin").display())),
            "{path}"
        );
        for name in ["generation", "taken", "prefix", "OLDPWD", "in_PATH"] {
            assert_eq!(report.variable(name), None, "{name}");
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn variables_arrive_as_they_were() {
    each(|scene| {
        let odd = "two\nlines, $HOME `id` \\ \"x\" 'y' : é";
        let report = Report::of(
            scene
                .command("report")
                .env("ODD", odd)
                .env("EMPTY", "")
                .env("OLDPWD", "/usr"),
        );
        assert_eq!(report.variable("ODD"), Some(odd));
        assert_eq!(report.variable("EMPTY"), Some(""));
        assert_eq!(report.variable("OLDPWD"), Some("/usr"));
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn the_hosts_paths_pass_through_in_the_hosts_view() {
    for account in BOTH {
        let scene = Scene::new(account, HostView::Host, "/srv");
        let odd = "/opt/My Tools/bin:/a$b:/c`d:/usr/bin:/bin";
        let report = Report::of(
            scene
                .command("report")
                .env("PATH", odd)
                .env("LD_LIBRARY_PATH", "/opt/x y/lib:/z$w"),
        );
        let bin = scene.dir.join("bin");
        assert_eq!(
            report.variable("PATH"),
            Some(format!("{}:{odd}", bin.display()).as_str())
        );
        let ld = report.variable("LD_LIBRARY_PATH").unwrap();
        assert!(ld.starts_with("/opt/x y/lib:/z$w"), "{ld}");
        // A `bin` directory that is in PATH already keeps its rank.
        let ranked = format!("/first:{}:/usr/bin", bin.display());
        let report = Report::of(scene.command("report").env("PATH", &ranked));
        assert_eq!(report.variable("PATH"), Some(ranked.as_str()));
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn what_the_user_wrote_for_the_container_stays() {
    each(|scene| {
        for family in ["SINGULARITYENV", "APPTAINERENV"] {
            let report = Report::of(
                scene
                    .command("report")
                    .env(format!("{family}_PATH"), "/mine:/usr/bin:/bin")
                    .env(format!("{family}_X"), "x")
                    .env(format!("{family}_LD_LIBRARY_PATH"), "/my/lib"),
            );
            let expected = format!("{}:/mine:/usr/bin:/bin", scene.dir.join("bin").display());
            assert_eq!(report.variable("PATH"), Some(expected.as_str()));
            // SingularityCE does not read the variables of apptainer.
            let is_read = family == "SINGULARITYENV" || runtime().kind() == RuntimeKind::Apptainer;
            assert_eq!(report.variable("X"), is_read.then_some("x"));
            let libraries = report.variable("LD_LIBRARY_PATH").unwrap();
            assert_eq!(libraries.starts_with("/my/lib"), is_read);
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn activation_is_replayed() {
    let set = |name: &str, value: &str| ActivationStep::Set {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let join = |name: &str, before: &str| ActivationStep::Join {
        name: name.to_owned(),
        parts: vec![
            ValuePart::Literal(before.to_owned()),
            ValuePart::Variable {
                name: name.to_owned(),
                before: ":".to_owned(),
                after: String::new(),
            },
        ],
    };
    let steps = [
        set("PLAIN", "it's $HOME\nhere"),
        join("XDG_DATA_DIRS", "/m/share"),
        join("PATH", "/m/extra bin"),
        join("LD_LIBRARY_PATH", "/m/$lib"),
        join("FROM_BASE", "/m/base"),
        ActivationStep::Unset {
            name: "GONE".to_owned(),
        },
        ActivationStep::Default {
            name: "KEPT".to_owned(),
            value: "ours".to_owned(),
            or_empty: false,
        },
        ActivationStep::Default {
            name: "EMPTY".to_owned(),
            value: "ours".to_owned(),
            or_empty: true,
        },
    ];
    for account in BOTH {
        let scene = Scene::with(account, HostView::Host, "/srv", |launch| {
            launch.activation.extend(steps.clone());
            launch.base_env_vars = BTreeMap::from([("FROM_BASE".to_owned(), "b$ase".to_owned())]);
        });
        let run = |extra: &[(&str, &str)]| {
            let mut command = scene.command("report");
            command
                .env("GONE", "x")
                .env("KEPT", "")
                .env("EMPTY", "")
                .env("LD_LIBRARY_PATH", "/h");
            Report::of(command.envs(extra.iter().copied()))
        };
        let report = run(&[]);
        assert_eq!(report.variable("PLAIN"), Some("it's $HOME\nhere"));
        assert_eq!(report.variable("XDG_DATA_DIRS"), Some("/m/share"));
        assert!(
            report
                .variable("PATH")
                .unwrap()
                .starts_with("/m/extra bin:")
        );
        assert!(
            report
                .variable("LD_LIBRARY_PATH")
                .unwrap()
                .starts_with("/m/$lib:/h")
        );
        assert_eq!(report.variable("FROM_BASE"), Some("/m/base:b$ase"));
        assert_eq!(report.variable("GONE"), None);
        assert_eq!(report.variable("KEPT"), Some(""));
        assert_eq!(report.variable("EMPTY"), Some("ours"));
        assert_eq!(
            run(&[("XDG_DATA_DIRS", "/h")]).variable("XDG_DATA_DIRS"),
            Some("/m/share:/h")
        );
        let off = run(&[("CW_NO_CONDA_ACTIVATE", "1")]);
        assert_eq!(
            (off.variable("CONDA_PREFIX"), off.variable("PLAIN")),
            (None, None)
        );
        let forced = run(&[
            ("CW_NO_CONDA_ACTIVATE", "1"),
            ("CW_FORCE_CONDA_ACTIVATE", "1"),
        ]);
        assert_eq!(forced.variable("CONDA_PREFIX"), Some(ENV_PREFIX));
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn scripts_that_need_a_shell_are_sourced_inside() {
    for account in BOTH {
        for view in [HostView::Host, HostView::Base] {
            let scene = Scene::with(account, view, "/srv", |launch| {
                launch.launcher = Some(format!("{ENV_PREFIX}/launcher").into());
            });
            let report = Report::of(scene.command("report").args(["a b", "", "$x"]));
            assert_eq!(
                report.variable("FROM_SCRIPT"),
                Some(format!("at {ENV_PREFIX}").as_str())
            );
            assert_eq!(
                report.arguments(),
                [b"a b".to_vec(), b"".to_vec(), b"$x".to_vec()]
            );
            assert_eq!(
                stdout(
                    scene
                        .command("_debug_exec")
                        .args(["printenv", "FROM_SCRIPT"])
                ),
                format!("at {ENV_PREFIX}")
            );
            let off = Report::of(scene.command("report").env("CW_NO_CONDA_ACTIVATE", "1"));
            assert_eq!(off.variable("FROM_SCRIPT"), None);
        }
        let scene = Scene::with(account, HostView::Base, "/srv", |launch| {
            launch.launcher = Some(format!("{ENV_PREFIX}/bad-launcher").into());
        });
        let text = refusal(&mut scene.command("report"));
        assert!(
            text.contains(&format!(
                "report: the activation script {ENV_PREFIX}/etc/conda/activate.d/ends.sh"
            )),
            "{text}"
        );
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn the_users_own_text_runs_on_the_host() {
    for account in BOTH {
        let scene = Scene::with(account, HostView::Host, "/srv", |launch| {
            launch.extra_text = Some(
                "list=(a b)\nexport MINE=\"${list[1]} $env_root ${_CW_IN_CONTAINER-out}\""
                    .to_owned(),
            );
            launch.shell = condense_installation::Shell::Bash;
        });
        let report = Report::of(&mut scene.command("report"));
        assert_eq!(
            report.variable("MINE"),
            Some(format!("b {ENV_PREFIX} out").as_str())
        );
    }
}

/// `srun` and `ssh -o SendEnv` carry the variables of a process in the container to a process on
/// the host.
#[test]
#[ignore = "needs: apptainer"]
fn variables_that_left_a_container_do_no_harm() {
    each(|scene| {
        let shared = Place::new("/srv");
        fs::write(shared.path().join("file"), "theirs").unwrap();
        let bind = format!("{}:/users_data", shared.path().display());
        let inside = Report::of(scene.command("report").env("SINGULARITY_BIND", &bind));
        assert!(inside.variable("SINGULARITY_CONTAINER").is_some());
        let mut again = scene.command("report");
        again.env_clear().envs(&inside.environment);
        let outside = Report::of(&mut again);
        assert_eq!(outside.prefix, ENV_PREFIX);
        assert_eq!(outside.variable("PATH"), inside.variable("PATH"));
        let mut read = scene.command("python3");
        read.env_clear().envs(&inside.environment);
        assert_eq!(
            stdout(read.args(["-c", "print(open('/users_data/file').read())"])),
            "theirs"
        );
        // The variables come from a container of another program. The settings that the runtime
        // exported there are not the user's.
        let foreign = Report::of(
            scene
                .command("report")
                .env("APPTAINER_CONTAINER", "/x.sif")
                .env(
                    "APPTAINER_BIND",
                    format!(
                        "/usr,{MOUNT_POINT},/nowhere/else,{}/bin",
                        scene.dir.display()
                    ),
                ),
        );
        assert_eq!(foreign.prefix, ENV_PREFIX);
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn a_missing_or_hidden_tmpdir_does_no_harm() {
    each(|scene| {
        let missing = scene
            .command("python3")
            .env("TMPDIR", "/scratch/no/such")
            .args(["-c", "print(1)"])
            .output()
            .unwrap();
        assert!(
            missing.status.success() && missing.stderr.is_empty(),
            "{missing:?}"
        );
        let place = Place::new("/opt");
        let code = "import tempfile; print(tempfile.mkdtemp())";
        let made = stdout(
            scene
                .command("python3")
                .env("TMPDIR", place.path())
                .args(["-c", code]),
        );
        assert!(
            Path::new(&made).starts_with(place.path()) && Path::new(&made).is_dir(),
            "{made}"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn a_venv_on_top_is_a_venv() {
    each(|scene| {
        let plain = Place::plain("/srv");
        for (venv, flags) in [
            (scene.place.path().join("a venv"), vec![]),
            (plain.path().join("venv"), vec![]),
            (plain.path().join("sees"), vec!["--system-site-packages"]),
        ] {
            stdout(
                scene
                    .command("python3")
                    .args(["-m", "venv", "--without-pip"])
                    .args(flags)
                    .arg(&venv),
            );
            let bin = venv.join("bin");
            let run = |code: &str| {
                let mut command = scene.account.command(bin.join("python3"));
                command.args(["-c", code]);
                command
            };
            let about = "import sys, os; print(sys.executable, sys.prefix, sys.base_prefix, os.environ.get('CONDA_PREFIX'), \
                         os.environ['PATH'].split(':')[0], sep='\\n')";
            let (python, dir, first) = (bin.join("python3"), venv.display(), bin.display());
            assert_eq!(
                stdout(&mut run(about)),
                format!("{}\n{dir}\n{ENV_PREFIX}\nNone\n{first}", python.display())
            );
            assert_eq!(
                stdout(run(about).env("CW_FORCE_CONDA_ACTIVATE", "1")),
                format!(
                    "{}\n{dir}\n{ENV_PREFIX}\n{ENV_PREFIX}\n{first}",
                    python.display()
                )
            );
            let nested = "import subprocess, sys; print(subprocess.check_output(\
                          [sys.executable, '-c', 'import sys; print(sys.prefix)'], text=True).strip())";
            assert_eq!(stdout(&mut run(nested)), dir.to_string());
            if !venv.to_str().unwrap().contains(' ') {
                let script = bin.join("tool");
                fs::write(
                    &script,
                    format!("#!{}\nimport sys; print(sys.prefix)\n", python.display()),
                )
                .unwrap();
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
                assert_eq!(stdout(&mut scene.account.command(&script)), dir.to_string());
            }
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn pip_works_in_a_venv_on_top() {
    for account in BOTH {
        let scene = Scene::new(account, HostView::Host, "/srv");
        let place = Place::plain("/srv");
        let venv = place.path().join("v");
        stdout(scene.command("python3").args(["-m", "venv"]).arg(&venv));
        let package = scene.place.path().join("thing-1.0-py3-none-any.whl");
        let code = format!(
            "import zipfile; z = zipfile.ZipFile({:?}, 'w'); z.writestr('thing.py', 'def main(): print(\"hello\")'); \
             z.writestr('thing-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n'); \
             z.writestr('thing-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'); \
             z.writestr('thing-1.0.dist-info/entry_points.txt', '[console_scripts]\\nthing = thing:main\\n'); \
             z.writestr('thing-1.0.dist-info/RECORD', ''); z.close()",
            package.to_str().unwrap()
        );
        scene.python(&code);
        let pip = |name: &str| scene.account.command(venv.join("bin").join(name));
        let output = pip("pip")
            .args(["install", "--no-index", "--disable-pip-version-check"])
            .arg(&package)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = Path::new(&stdout(
            pip("python3").args(["-c", "import thing; print(thing.__file__)"]),
        ))
        .to_owned();
        assert!(file.starts_with(&venv), "{file:?}");
        assert_eq!(stdout(&mut pip("thing")), "hello");
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn a_venv_may_be_below_a_system_directory_of_the_base() {
    for account in BOTH {
        let scene = Scene::new(account, HostView::Base, "/srv");
        let place = Place::new("/opt");
        let venv = place.path().join("v");
        stdout(
            scene
                .command("python3")
                .current_dir(place.path())
                .args(["-m", "venv", "--without-pip"])
                .arg(&venv),
        );
        let who = ["-c", "import sys; print(sys.prefix)"];
        assert_eq!(
            stdout(scene.account.command(venv.join("bin/python")).args(who)),
            venv.display().to_string()
        );
        let link = scene.place.path().join("link");
        symlink(&venv, &link).unwrap();
        assert_eq!(
            stdout(scene.account.command(link.join("bin/python")).args(who)),
            link.display().to_string()
        );
    }
}

//! Tests of the whole capture with the bash of this machine, without a container: the environment
//! is at the path of its mount point. The scripts have the shapes of well-known packages' scripts,
//! not their text.

#![allow(clippy::unwrap_used)]

use condense_diagnostics::Hint as _;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Activation, ActivationStep, Capture, Error, ValuePart};

mod replay;
mod shapes;

/// An environment in a temporary directory.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write("bin/tool", "");
        place.write("share/gdal/x", "");
        place.write("share/proj/x", "");
        for (name, text) in scripts {
            place.write(&format!("etc/conda/activate.d/{name}.sh"), text);
        }
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.env().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn env(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    fn plan(&self) -> Result<Option<Capture>, Error> {
        let build = self.dir.path().join("build dir");
        Capture::plan(&self.env(), &self.env(), &build, &build)
    }

    fn capture(&self) -> Result<Activation, Error> {
        let capture = self.plan()?.expect("there are scripts");
        let status = Command::new("sh")
            .arg("-c")
            .arg(capture.command())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .status()
            .unwrap();
        assert!(status.success(), "the command never fails");
        capture.read()
    }

    /// Returns the steps, with the environment's path written as ENV.
    fn steps(&self) -> Vec<String> {
        let activation = self.capture().unwrap();
        assert_eq!(activation.reasons, [], "nothing is dynamic");
        activation
            .steps
            .iter()
            .map(|step| self.shown(&render(step)))
            .collect()
    }

    fn shown(&self, text: &str) -> String {
        text.replace(self.env().to_str().unwrap(), "ENV")
    }
}

/// Writes a step in the syntax of a POSIX shell.
fn render(step: &ActivationStep) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let escaped = |text: &str| {
        let mut escaped = String::new();
        for character in text.chars() {
            if "\\\"$`}".contains(character) {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        escaped
    };
    match step {
        ActivationStep::Set { name, value } => format!("export {name}={}", quoted(value)),
        ActivationStep::Unset { name } => format!("unset {name}"),
        ActivationStep::Default {
            name,
            value,
            or_empty,
        } => {
            let colon = if *or_empty { ":" } else { "" };
            format!(
                "[ \"${{{name}{colon}+x}}\" ] || export {name}={}",
                quoted(value)
            )
        }
        ActivationStep::Join { name, parts } => {
            parts
                .iter()
                .fold(format!("export {name}="), |mut line, part| {
                    match part {
                        ValuePart::Literal(text) => line.push_str(&quoted(text)),
                        ValuePart::VariableOr { name, otherwise } => {
                            write!(line, "\"${{{name}:-{}}}\"", escaped(otherwise)).unwrap();
                        }
                        ValuePart::Variable {
                            name,
                            before,
                            after,
                        } => {
                            write!(
                                line,
                                "\"${{{name}:+{}${{{name}}}{}}}\"",
                                escaped(before),
                                escaped(after)
                            )
                            .unwrap();
                        }
                    }
                    line
                })
        }
    }
}

#[test]
fn declared_variables_come_first_and_the_state_wins() {
    let place = Place::new(&[("a", "export SEEN=\"$ONE $TWO\"; unset THREE\n")]);
    place.write(
        "etc/conda/env_vars.d/b.json",
        r#"{"TWO": "b", "ONE": "b's $x", "FOUR": 4, "GONE": "x"}"#,
    );
    place.write(
        "etc/conda/env_vars.d/a.json",
        r#"{"ONE": "a", "THREE": "a", "PATH": "/x"}"#,
    );
    place.write("etc/conda/env_vars.d/c.txt", "not read");
    place.write(
        "conda-meta/state",
        r#"{"env_vars": {"TWO": "state", "GONE": "***unset***"}, "version": 1}"#,
    );
    let declared = [
        "export ONE='b'\\''s $x'",
        "export THREE='a'",
        "export TWO='state'",
        "export FOUR='4'",
    ];
    let read = Activation::from_variables(&place.env()).unwrap();
    assert_eq!(read.steps.iter().map(render).collect::<Vec<_>>(), declared);
    let steps = place.steps();
    assert_eq!(steps[..4], declared);
    assert_eq!(
        steps[4..],
        ["export SEEN='b'\\''s $x state'", "unset THREE"]
    );
}

#[test]
fn bad_declared_variables_are_refused_by_name() {
    for (text, message) in [
        ("[]", "b.json` does not hold an environment's variables"),
        ("{", "b.json` does not hold an environment's variables"),
        (
            r#"{"1X": "a"}"#,
            "b.json` sets `1X`, which is not a name that a shell can export",
        ),
        (
            r#"{"X": ["a"]}"#,
            "b.json` sets `X`, which has a value that is not text",
        ),
        (
            r#"{"X": "a\u0000b"}"#,
            "b.json` sets `X`, which has a value with a NUL byte",
        ),
    ] {
        let place = Place::new(&[]);
        place.write("etc/conda/env_vars.d/b.json", text);
        let error = Activation::from_variables(&place.env()).unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn without_scripts_there_is_nothing_to_run() {
    let place = Place::new(&[]);
    assert!(place.plan().unwrap().is_none());
    assert_eq!(
        Activation::from_variables(&place.env()).unwrap(),
        Activation::default()
    );
}

#[test]
fn plain_effects() {
    for (script, expected) in [
        ("export A=1", vec!["export A='1'"]),
        (
            "export A=\"it's \\\"q\\\" \\$x\n2\"",
            vec!["export A='it'\\''s \"q\" $x\n2'"],
        ),
        ("unset A", vec!["unset A"]),
        (
            "export A=\"${A-x}\"",
            vec!["[ \"${A+x}\" ] || export A='x'"],
        ),
        (
            "export A=\"${A:-x}\"",
            vec!["[ \"${A:+x}\" ] || export A='x'"],
        ),
        (
            ": ${A:=x}; export A",
            vec!["[ \"${A:+x}\" ] || export A='x'"],
        ),
        ("export A=\"${B:-x}\"", vec!["export A=\"${B:-x}\""]),
        ("export A=p${B:-x}s", vec!["export A='p'\"${B:-x}\"'s'"]),
        (
            "export A=\"${B:+ -ccbin=$B}\"",
            vec!["export A=\"${B:+ -ccbin=${B}}\""],
        ),
        (
            "export A=$B:${C:+$C:}x",
            vec!["export A=\"${B:+${B}}\"':'\"${C:+${C}:}\"'x'"],
        ),
        (
            "export A=$A${A:+:}x${B:+:$B}",
            vec!["export A=\"${A:+${A}:}\"'x'\"${B:+:${B}}\""],
        ),
        (
            "export OLD=$A; export A=new",
            vec!["export OLD=\"${A:+${A}}\"", "export A='new'"],
        ),
        (
            "export CACHE=$HOME/.cache/x",
            vec!["export CACHE=\"${HOME:+${HOME}}\"'/.cache/x'"],
        ),
        (
            "export JOB=\"$SLURM_JOB_ID\"",
            vec!["export JOB=\"${SLURM_JOB_ID:+${SLURM_JOB_ID}}\""],
        ),
        (
            "i=1; for f in a b; do i=$f; done; export A=$i",
            vec!["export A='b'"],
        ),
        ("A=1; b=2; f() { local C=$A; }; f; alias x=y", vec![]),
        (
            "if command -v tool >/dev/null 2>&1; then export A=1; fi",
            vec!["export A='1'"],
        ),
        ("if [ \"$(uname -s)\" = Darwin ]; then hostname; fi", vec![]),
        ("if [ \"$CONDA_BUILD\" = 1 ]; then hostname; fi", vec![]),
        (
            "A_BACKUP=$A; export A_BACKUP; export A=1",
            vec!["export A='1'"],
        ),
        ("false; (exit 3); return 4", vec![]),
        (
            "export A=$(cd \"$CONDA_PREFIX/share\" && pwd)",
            vec!["export A='ENV/share'"],
        ),
        (
            "case \"x$A\" in x) export A=1 ;; esac",
            vec!["[ \"${A:+x}\" ] || export A='1'"],
        ),
        ("export A=\"é\"", vec!["export A='é'"]),
    ] {
        assert_eq!(
            Place::new(&[("script", script)]).steps(),
            expected,
            "{script}"
        );
    }
}

/// Scripts that need a shell, each with the reason that the capture gives.
const DYNAMIC: &[(&str, &str)] = &[
    ("export A=$(hostname)", "runs `hostname`"),
    ("export A=$(nproc)", "runs `nproc`"),
    ("export A=$HOSTNAME", "reads `HOSTNAME`"),
    ("export A=$$", "reads `$$`; gives something else each time"),
    (
        "if [ \"$HOME\" = /root ]; then export A=1; fi",
        "compares a variable with `/root`",
    ),
    (
        "[ \"$A\" = no ] || export B=1",
        "compares a variable with `no`",
    ),
    (
        "case $A in *foo*) ;; *) export B=1 ;; esac",
        "compares $A with patterns",
    ),
    (
        "case \":$PATH:\" in *:/x:*) ;; *) export PATH=/x:$PATH ;; esac",
        "compares \":$PATH:\" with patterns",
    ),
    (
        "[ -n \"$A\" ] && export B=1",
        "sets `B` to what no simple rule gives",
    ),
    (
        "[ -n \"$A\" ] && export A=x:$A",
        "sets `A` to what no simple rule gives",
    ),
    (
        "[ -n \"$A\" ] && A=x",
        "sets `A` to what no simple rule gives",
    ),
    (
        "if [ -n \"$A\" ]; then export B=$C; fi",
        "sets `B` to what no simple rule gives",
    ),
    ("export A=${A%:}:x", "sets `A` to what no simple rule gives"),
    (
        "export A=${B//:/ }",
        "sets `A` to what no simple rule gives",
    ),
    (
        "export A=$(echo $B | tr / _)",
        "sets `A` to what no simple rule gives",
    ),
    ("x=$A; export A=$B; export B=$x", "exchanges `A` and `B`"),
    (
        "[ -d /usr/share/fonts ] && export A=1",
        "looks at `/usr/share/fonts`, outside the environment",
    ),
    (
        "[ -d \"$HOME/.x\" ] && export A=1",
        "looks at a file that a variable names",
    ),
    (
        "if which gcc; then export A=1; fi",
        "looks for `gcc` on PATH",
    ),
    (
        "\"$CONDA_PREFIX/bin/tool\" --setup",
        "runs `\"$CONDA_PREFIX/bin/tool\"`",
    ),
    ("echo x > \"$HOME/x\"", "writes a file"),
    ("mkdir -p \"$HOME/.x\"", "runs `mkdir`"),
    (
        "{ echo; } > \"$HOME/x\"",
        "redirects what ends with `}` from or to a file",
    ),
    ("umask 077", "runs `umask`; changes the shell's umask"),
    (
        "cd \"$CONDA_PREFIX\"",
        "changes the shell's working directory",
    ),
    ("set -u", "changes the shell's options"),
    ("IFS=:", "changes the shell's separators"),
    ("export CONDA_PREFIX=/x", "changes `CONDA_PREFIX`"),
    ("f() { :; }; export -f f", "changes the shell's functions"),
    (". \"$CONDA_PREFIX/share/x.sh\"", "runs `.`"),
    ("trap : EXIT", "runs `trap`"),
    (
        "[ -z \"$A\" ] || exit 1",
        "ends or hangs the shell when some variables are preset",
    ),
    ("read -r x; export A=$x", "reads its standard input"),
];

#[test]
fn scripts_that_need_a_shell_are_dynamic() {
    for (script, expected) in DYNAMIC {
        let place = Place::new(&[
            ("1", "export FIRST=1"),
            ("2", script),
            ("3", "export LAST=1"),
        ]);
        let activation = place.capture().unwrap();
        let dynamic: Vec<String> = activation
            .dynamic
            .iter()
            .map(|path| place.shown(path))
            .collect();
        assert_eq!(
            dynamic,
            [
                "ENV/etc/conda/activate.d/2.sh",
                "ENV/etc/conda/activate.d/3.sh"
            ],
            "{script}"
        );
        assert_eq!(
            activation.steps.iter().map(render).collect::<Vec<_>>(),
            ["export FIRST='1'"],
            "{script}"
        );
        assert_eq!(activation.reasons[0].1, *expected, "{script}");
        assert!(
            activation.reasons[1].1.ends_with("2.sh`"),
            "{}",
            activation.reasons[1].1
        );
    }
}

#[test]
fn what_scripts_write_is_kept_from_the_real_activation_only() {
    let place = Place::new(&[
        (
            "once",
            "[ -f \"$CONDA_PREFIX/etc/made\" ] || echo \"home=$HOME\" > \"$CONDA_PREFIX/etc/made\"\n",
        ),
        (
            "always",
            "mkdir -p \"$CONDA_PREFIX/var\"; echo \"x$A\" >> \"$CONDA_PREFIX/var/log\"; export B=1\n",
        ),
        (
            "r",
            "R CMD javareconf > /dev/null 2>&1 || true; export RSTUDIO_WHICH_R=\"$CONDA_PREFIX/bin/R\"\n",
        ),
    ]);
    place.write(
        "bin/R",
        "#!/bin/sh\necho run >> \"$CONDA_PREFIX/etc/javaconf\"\n",
    );
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(place.env().join("bin/R"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        place.steps(),
        ["export B='1'", "export RSTUDIO_WHICH_R='ENV/bin/R'"]
    );
    let text = |name: &str| fs_err::read_to_string(place.env().join(name)).unwrap();
    assert_eq!(text("etc/made"), "home=/nonexistent/home\n");
    assert_eq!(text("var/log"), "x\n");
    assert_eq!(text("etc/javaconf"), "run\n");
}

#[test]
fn scripts_that_end_the_shell_are_named() {
    for script in [
        "echo before; exit 3",
        "echo before; set -e; false",
        "echo before; exec true",
        "echo before; : ${A?missing}",
    ] {
        let place = Place::new(&[("1", "export A_1=1"), ("2", script)]);
        let error = place.capture().unwrap_err();
        let Error::Script {
            script: named,
            output,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(place.shown(named), "ENV/etc/conda/activate.d/2.sh");
        assert!(output.starts_with("before"), "{output}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn scripts_that_hang_are_named() {
    for (script, named) in [
        ("while :; do :; done", true),
        ("while [ -n \"$A\" ]; do :; done", false),
    ] {
        let place = Place::new(&[("1", "export ONE=1"), ("2", script)]);
        let capture = place.plan().unwrap().unwrap();
        let build = place.dir.path().join("build dir");
        fs_err::write(build.join("limit"), "3\n").unwrap();
        assert!(
            Command::new("sh")
                .arg("-c")
                .arg(capture.command())
                .status()
                .unwrap()
                .success()
        );
        match capture.read() {
            Err(Error::Endless { script, .. }) => {
                assert!(named && script.ends_with("/2.sh"), "{script}");
            }
            Ok(activation) => {
                assert!(!named);
                assert_eq!(
                    activation.reasons[0].1,
                    "ends or hangs the shell when some variables are preset"
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn without_bash_every_script_is_sourced() {
    let place = Place::new(&[("a", "export A=1")]);
    let capture = place.plan().unwrap().unwrap();
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg(capture.command())
        .env("PATH", "/nonexistent")
        .status()
        .unwrap();
    assert!(status.success());
    let activation = capture.read().unwrap();
    assert_eq!(activation.dynamic.len(), 1);
    assert_eq!(
        activation.reasons[0].1,
        "`bash`, needed to try it out, is not in the base image"
    );
}

#[test]
fn a_capture_that_was_not_run_says_so() {
    let place = Place::new(&[("a", "export A=1")]);
    let error = place.plan().unwrap().unwrap().read().unwrap_err();
    assert!(matches!(error, Error::NotCaptured { .. }), "{error}");
}

#[test]
fn an_environment_that_is_not_at_its_mount_point_is_noticed() {
    let place = Place::new(&[("a", "export A=1")]);
    let build = place.dir.path().join("build dir");
    let capture = Capture::plan(&place.env(), Path::new("/nonexistent/env"), &build, &build)
        .unwrap()
        .unwrap();
    assert!(
        Command::new("sh")
            .arg("-c")
            .arg(capture.command())
            .status()
            .unwrap()
            .success()
    );
    let error = capture.read().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("cannot read /nonexistent/env/etc/conda/activate.d/a.sh"),
        "{error}"
    );
}

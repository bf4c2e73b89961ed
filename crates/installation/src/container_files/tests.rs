#![allow(clippy::unwrap_used)]
use std::process::Command;

use super::*;
use condense_activation::{ActivationStep, ValuePart};

fn environment(steps: Vec<ActivationStep>) -> ContainerEnvironment {
    ContainerEnvironment {
        kind: EnvironmentKind::Conda,
        prefix: "/opt/x/envs/e".into(),
        conda: Some("/opt/x/bin/conda".into()),
        steps,
        dynamic: Vec::new(),
        has_python: true,
        packages: 3,
    }
}

fn container(base: BaseFiles) -> ContainerFiles {
    ContainerFiles {
        base,
        labels: BTreeMap::from([("mine".to_owned(), "1".to_owned())]),
        definition: "bootstrap: localimage\nfrom: b.sif\n".to_owned(),
        environment: Some(environment(Vec::new())),
        site: ContainerSite::default(),
        last_on_path: None,
    }
}

fn text(container: &ContainerFiles, name: &str) -> Option<String> {
    let path = PathBuf::from(DIRECTORY).join(name);
    let found = container.files().unwrap().into_iter();
    let mut found = found.filter(|(name, _, _)| *name == path);
    found
        .next()
        .map(|(_, bytes, _)| String::from_utf8(bytes).unwrap())
}

/// Returns the value of `name` after a shell with the variables `before` has run the script; "none"
/// if `name` is unset.
fn value(steps: Vec<ActivationStep>, name: &str, before: &[(&str, &str)]) -> String {
    let container = ContainerFiles {
        environment: Some(environment(steps)),
        ..container(BaseFiles::default())
    };
    let script = text(&container, ENVIRONMENT).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-euc", &format!("{script}printf %s \"${{{name}-none}}\"")])
        .env_clear()
        .envs(before.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?} of {script}");
    String::from_utf8(output.stdout).unwrap()
}

fn set(name: &str, value: &str) -> ActivationStep {
    ActivationStep::Set {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn variables_of_conda_and_the_path() {
    for (name, expected) in [
        ("CONDA_PREFIX", "/opt/x/envs/e"),
        ("CONDA_DEFAULT_ENV", "e"),
        ("CONDA_SHLVL", "1"),
        ("CONDA_EXE", "/opt/x/bin/conda"),
        ("CONDA_PYTHON_EXE", "/opt/x/envs/e/bin/python"),
        ("PATH", "/opt/x/envs/e/bin:/opt/x/condabin:/a:/b"),
    ] {
        assert_eq!(
            value(Vec::new(), name, &[("PATH", "/a:/b")]),
            expected,
            "{name}"
        );
    }
}

#[test]
fn every_step_changes_its_variable() {
    let odd = "it's \\ \"$HOME\" `x` }\nnext";
    assert_eq!(value(vec![set("A", odd)], "A", &[]), odd);
    let unset = ActivationStep::Unset {
        name: "A".to_owned(),
    };
    assert_eq!(value(vec![unset], "A", &[("A", "x")]), "");
    for (or_empty, before, expected) in [
        (false, None, odd),
        (false, Some(""), ""),
        (true, Some(""), odd),
        (true, Some("x"), "x"),
    ] {
        let step = ActivationStep::Default {
            name: "A".to_owned(),
            value: odd.to_owned(),
            or_empty,
        };
        let before: Vec<(&str, &str)> = before.iter().map(|value| ("A", *value)).collect();
        assert_eq!(value(vec![step], "A", &before), expected);
    }
    let join = ActivationStep::Join {
        name: "A".to_owned(),
        parts: vec![
            ValuePart::Literal(odd.to_owned()),
            ValuePart::Variable {
                name: "A".to_owned(),
                before: ":'".to_owned(),
                after: ";".to_owned(),
            },
            ValuePart::VariableOr {
                name: "B".to_owned(),
                otherwise: "}b".to_owned(),
            },
        ],
    };
    assert_eq!(value(vec![join.clone()], "A", &[]), format!("{odd}}}b"));
    let both = [("A", "a"), ("B", "c")];
    assert_eq!(value(vec![join], "A", &both), format!("{odd}:'a;c"));
}

/// Run scripts are behind all other programs, and once, also in an image on top of another one.
#[test]
fn the_run_scripts_are_last_on_path() {
    let mut container = ContainerFiles {
        last_on_path: Some("/runscripts".into()),
        ..container(BaseFiles::default())
    };
    container.base.environment = text(&container, ENVIRONMENT);
    let script = text(&container, ENVIRONMENT).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-euc", &format!("{script}printf %s \"$PATH\"")])
        .env_clear()
        .env("PATH", "/usr/bin")
        .output()
        .unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(path.ends_with(":/usr/bin:/runscripts"), "{path}");
    assert_eq!(path.matches("/runscripts").count(), 1, "{path}");
    container.environment = None;
    container.base.environment = None;
    assert!(
        text(&container, ENVIRONMENT)
            .unwrap()
            .contains("/runscripts")
    );
}

/// A base without runtime files has no script that sets PATH.
#[test]
fn programs_of_a_base_without_runtime_files_are_on_path() {
    let path = value(Vec::new(), "PATH", &[("PATH", "")]);
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert!(path.ends_with(usual), "{path}");
    let path = value(Vec::new(), "PATH", &[("PATH", "/a")]);
    assert!(path.ends_with(":/a"), "{path}");
}

#[test]
fn a_name_that_no_shell_can_set_is_refused() {
    let container = ContainerFiles {
        environment: Some(environment(vec![set("A B", "x")])),
        ..container(BaseFiles::default())
    };
    assert!(container.files().is_err() && container.inspect_metadata().is_err());
}

#[test]
fn files_of_the_base_are_kept() {
    let container = container(BaseFiles {
        definition: Some("of the base".to_owned()),
        ancestors: 1,
        labels: [
            ("org.label-schema.build-date", "then"),
            ("org.label-schema.build-arch", "amd64"),
            ("mine", "0"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        runscript: Some("#!/bin/sh\necho hello\n".to_owned()),
        test: Some("#!/bin/sh\necho tested\n".to_owned()),
        help: Some("of the base\n".to_owned()),
        environment: Some("#!/bin/sh\nexport EARLIER=1".to_owned()),
        metadata: Some(
            br#"{"data":{"attributes":{"apps":{"a":1},"environment":{"/x":"y"},"labels":{"old":"1"}}}}"#.to_vec(),
        ),
    });
    assert_eq!(text(&container, "runscript"), None);
    assert_eq!(
        text(&container, "bootstrap_history/Singularity1").unwrap(),
        "of the base"
    );
    assert!(text(&container, "test").unwrap().contains("echo tested"));
    assert!(
        text(&container, "runscript.help")
            .unwrap()
            .starts_with("of the base\n")
    );
    let script = text(&container, ENVIRONMENT).unwrap();
    assert!(
        script.starts_with("#!/bin/sh\nexport EARLIER=1\n# Written by condense"),
        "{script}"
    );
    let labels = text(&container, "labels.json").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&labels).unwrap(),
        json!({"mine": "1", "org.label-schema.build-arch": "amd64"})
    );
    let metadata: Value = serde_json::from_slice(&container.inspect_metadata().unwrap()).unwrap();
    let attributes = &metadata["data"]["attributes"];
    assert_eq!(attributes["apps"]["a"], 1);
    assert_eq!(attributes["environment"]["/x"], "y");
    assert_eq!(
        attributes["labels"],
        serde_json::from_str::<Value>(&labels).unwrap()
    );
    assert!(attributes["environment"]["/.singularity.d/env/92-cotainr-env.sh"].is_string());
}

#[test]
fn a_base_without_files_gets_all_of_them() {
    let mut container = container(BaseFiles {
        runscript: Some(format!("#!/bin/sh\necho \"{NO_RUNSCRIPT}\\n\"\n")),
        ..BaseFiles::default()
    });
    for name in ["runscript", "test", "runscript.help", "Singularity"] {
        assert!(text(&container, name).is_some(), "{name}");
    }
    for (path, _, mode) in container.files().unwrap() {
        let script = path.ends_with("runscript")
            || path.ends_with("test")
            || path.starts_with(".singularity.d/env");
        assert_eq!(
            mode,
            if script { 0o755 } else { 0o644 },
            "{}",
            path.display()
        );
    }
    // Without an environment and a site, the new image differs from the base only in a label.
    container.environment = None;
    let names: Vec<PathBuf> = container
        .files()
        .unwrap()
        .into_iter()
        .map(|file| file.0)
        .collect();
    assert_eq!(
        names,
        [".singularity.d/Singularity", ".singularity.d/labels.json"].map(PathBuf::from)
    );
}

fn variable(name: &str, value: &str, path: Option<&str>) -> SiteVariable {
    SiteVariable {
        name: name.to_owned(),
        value: value.to_owned(),
        path: path.map(PathBuf::from),
    }
}

/// Returns the value of `X` after the script has run. The script finds the user's variables in
/// `listed`, the list that a runtime passes, or in `own`, the variables of the shell.
fn of_site(variables: &[SiteVariable], listed: Option<&str>, own: &[(&str, &str)]) -> String {
    let mut container = container(BaseFiles::default());
    container.environment = None;
    container.site.variables = variables.to_vec();
    let script = text(&container, ENVIRONMENT).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-euc", &format!("{script}printf %s \"${{X-none}}\"")])
        .env_clear()
        .envs(own.iter().copied());
    if let Some(list) = listed {
        command.env("__exported_env__", list);
    }
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?} of {script}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_sites_variables_are_set_unless_the_user_has_set_them() {
    let cache = "/tmp/${USER}-${SLURM_JOB_ID}.x";
    for (value, path, listed, own, expected) in [
        ("hsn", None, None, &[][..], "hsn"),
        ("hsn", Some("/"), Some("A=1"), &[], "hsn"),
        ("hsn", Some("/no/such 'place"), None, &[], "none"),
        // X set by the user, X set by the base, and a variable whose name only begins with X.
        ("hsn", None, Some("A=1\nX=eth0\nB=2"), &[], "none"),
        ("hsn", None, Some("X="), &[], "none"),
        ("hsn", None, Some("A=1"), &[("X", "eth1")], "eth1"),
        ("hsn", None, Some("XX=1\nA=X=2"), &[], "hsn"),
        (
            cache,
            None,
            Some("SLURM_JOB_ID=7\nUSER=$(me)*"),
            &[],
            "/tmp/$(me)*-7.x",
        ),
        (
            cache,
            None,
            None,
            &[("USER", "me"), ("SLURM_JOB_ID", "8")],
            "/tmp/me-8.x",
        ),
        (cache, None, Some("A=1"), &[("UID", "1000")], "/tmp/1000-.x"),
        (
            "a\"b'c$d`e`}f{\\",
            None,
            Some("A=1"),
            &[],
            "a\"b'c$d`e`}f{\\",
        ),
    ] {
        let said = of_site(&[variable("X", value, path)], listed, own);
        assert_eq!(said, expected, "{value} {listed:?} {own:?}");
    }
    let one = variable("Y", "y", None);
    assert_eq!(of_site(&[one, variable("X", "${Y}", None)], None, &[]), "y");
}

/// A value that the environment sets wins over the site's.
#[test]
fn a_sites_variables_follow_the_environments() {
    let mut container = container(BaseFiles::default());
    container.environment = Some(environment(vec![set("X", "mine")]));
    container.site.variables = vec![variable("X", "the site's", None)];
    let script = text(&container, ENVIRONMENT).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{script}echo $X")]);
    let said = shell.env_clear().output().unwrap().stdout;
    assert_eq!(said, b"mine\n");
    container.site.variables = vec![variable("X Y", "", None)];
    assert!(container.files().is_err());
}

#[test]
fn help_names_the_settings_that_an_image_cannot_store() {
    let mut container = container(BaseFiles::default());
    let help = |container: &ContainerFiles| text(container, "runscript.help").unwrap_or_default();
    assert!(!help(&container).contains("-B"));
    container.site = ContainerSite {
        name: "lumi-g".to_owned(),
        binds: vec![
            Bind::path("/a,b", "/c").unwrap(),
            Bind::path("/d", "/d").unwrap(),
        ],
        flags: vec!["--rocm".to_owned()],
        ..ContainerSite::default()
    };
    let line = "apptainer exec --rocm -B /a\\,b:/c,/d:/d IMAGE COMMAND\n";
    assert!(help(&container).contains(line), "{}", help(&container));
    container.environment = None;
    assert!(help(&container).contains(line));
}

/// Usability row A6: an image that was built so hides the user's own Python packages.
#[test]
fn the_user_s_python_packages_are_hidden_unless_a_start_asks_for_them() {
    let mut container = container(BaseFiles::default());
    container.site.no_user_site = true;
    let script = text(&container, ENVIRONMENT).unwrap();
    for (variable, expected) in [(None, "1"), (Some("1"), "1"), (Some("0"), "")] {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{script}\necho \"${{PYTHONNOUSERSITE-}}\"")]);
        shell.env_clear();
        if let Some(value) = variable {
            shell.env("CONDENSE_NO_USER_SITE", value);
        }
        let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        assert_eq!(said.trim(), expected, "{variable:?}");
    }
}

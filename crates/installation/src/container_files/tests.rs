#![allow(clippy::unwrap_used)]
use std::process::Command;

use super::*;
use crate::{ActivationStep, Part};

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

/// The variable's value when a shell has run the script with these variables; unset is "none".
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
fn every_step_says_what_it_means() {
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
            Part::Literal(odd.to_owned()),
            Part::Variable {
                name: "A".to_owned(),
                before: ":'".to_owned(),
                after: ";".to_owned(),
            },
            Part::VariableOr {
                name: "B".to_owned(),
                otherwise: "}b".to_owned(),
            },
        ],
    };
    assert_eq!(value(vec![join.clone()], "A", &[]), format!("{odd}}}b"));
    let both = [("A", "a"), ("B", "c")];
    assert_eq!(value(vec![join], "A", &both), format!("{odd}:'a;c"));
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
fn what_the_base_says_is_kept() {
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
fn a_base_that_says_nothing_gets_everything() {
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
    // Without an environment the image is the base with another label.
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

//! Tests of `condense kernel` with a hand-made ipykernel.

use serde_json::{Value, json};

use crate::harness::{CommandOutput, Run, TestEnv, packages};
use crate::support::channel::Package;

fn prepared() -> TestEnv {
    let mut all = packages();
    all.extend([
        Package::new("python", "3.12.1").program("bin/python", "#!/bin/sh\n"),
        Package::new("ipykernel", "6.29"),
    ]);
    let test = TestEnv::with(&all);
    let env = test.environment("python, ipykernel");
    test.build(&[env.to_str().unwrap()]).succeeded();
    test
}

fn kernel(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["kernel"][..], words].concat()).run()
}

#[test]
fn a_kernel_is_written_and_removed() {
    let test = prepared();
    let file = test.path("home/.local/share/jupyter/kernels/installation/kernel.json");
    let said = kernel(&test, &["--dry-run", "installation"]).succeeded();
    assert!(!file.exists());
    let shown: Value = serde_json::from_str(&said.stdout).unwrap();
    kernel(&test, &["installation"]).succeeded();
    let written: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    assert_eq!(written, shown);
    let python = test.installation().join("bin/python");
    assert_eq!(
        written["argv"],
        json!([
            python,
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}"
        ])
    );
    assert_eq!(written["display_name"], "Python (installation)");
    assert_eq!(written["interrupt_mode"], "message");
    assert_eq!(written["env"]["PYTHONPATH"], "");
    kernel(&test, &["installation", "--display-name", "Mine"]).succeeded();
    kernel(&test, &["--remove", "installation"]).succeeded();
    assert!(!file.parent().unwrap().exists());
    let said = kernel(&test, &["--remove", "installation"]);
    assert!(said.status == 1 && said.stderr.contains("there is no kernel"));
}

#[test]
fn jupyter_s_directories_are_followed() {
    let test = prepared();
    for (variable, value, expected) in [
        ("JUPYTER_DATA_DIR", "/DIR/j", "j/kernels"),
        ("XDG_DATA_HOME", "/DIR/x", "x/jupyter/kernels"),
    ] {
        let room = test.path("work");
        let value = value.replace("/DIR", room.to_str().unwrap());
        let mut command = test.condense(&["kernel", "installation", "--name", "K1", "--json"]);
        let said = command.env(variable, value).run().succeeded();
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(value["schema"], "condense.kernel/1");
        assert!(room.join(expected).join("k1/kernel.json").exists());
    }
    kernel(&test, &["--prefix", "venv", "installation"]).succeeded();
    let below = "work/venv/share/jupyter/kernels/installation/kernel.json";
    assert!(test.path(below).exists());
}

#[test]
fn an_environment_without_ipykernel_is_refused() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let said = kernel(&test, &["installation"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    assert!(said.stderr.contains("there is no ipykernel"), "{said:?}");
    let hint = "`condense update installation ipykernel`";
    assert!(said.stderr.contains(hint), "{said:?}");
}

#[test]
fn kernels_of_others_stay() {
    let test = prepared();
    let dir = test.path("home/.local/share/jupyter/kernels/installation");
    fs_err::create_dir_all(&dir).unwrap();
    fs_err::write(dir.join("kernel.json"), "{}").unwrap();
    for words in [&["installation"][..], &["--remove", "installation"]] {
        let said = kernel(&test, words);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("not written by condense"), "{said:?}");
    }
    kernel(&test, &["--force", "installation"]).succeeded();
    // Another installation of the same name is another owner.
    let other = test.path("work/other/installation");
    let words = ["--prefix", other.to_str().unwrap(), "env.yml"];
    test.build(&words).succeeded();
    let said = kernel(&test, &[other.to_str().unwrap()]);
    assert!(said.stderr.contains("is the kernel of"), "{said:?}");
    let said = kernel(&test, &["--name", "a b", "installation"]);
    assert_eq!(said.status, 2, "{said:?}");
}

#[test]
fn the_kernel_of_a_sif_starts_the_runtime() {
    let test = prepared();
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let said = kernel(&test, &["--dry-run", "mine.sif"]).succeeded();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    let argv = [
        test.path("programs/apptainer").display().to_string(),
        "-s".to_owned(),
        "exec".to_owned(),
        test.path("work/mine.sif").display().to_string(),
        "python".to_owned(),
    ];
    let found = value["argv"].as_array().unwrap();
    assert_eq!(found[..5], argv.map(Value::from));
    assert_eq!(value["display_name"], "Python (mine)");
}

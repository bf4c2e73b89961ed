//! Tests with base images for the GPUs of the other vendor: a note if no program uses the libraries
//! of the base, an error if programs of the base will run.

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv};

const CUDA: (&str, &str) = (
    "usr/local/cuda/version.json",
    r#"{"cuda": {"version": "12.4.1"}}"#,
);
const ROCM: (&str, &str) = ("opt/rocm/.info/version", "6.2.4-140\n");

fn stage_with(files: &[(&str, &str)]) -> TestEnv {
    let test = TestEnv::new();
    for (name, text) in files {
        let path = test.path("base").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    test
}

fn condense(test: &TestEnv, words: &[&str], allowed: &str) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(words).env("CONDENSE_ALLOW", allowed);
    command.run()
}

#[test]
fn a_base_that_nobody_uses_is_told_once() {
    for (file, site, other, words) in [
        (
            CUDA,
            "lumi-g",
            "puhti",
            "[cuda-libraries] the base image has CUDA 12.4, and lumi-g has AMD GPUs",
        ),
        (
            ROCM,
            "puhti",
            "lumi-g",
            "[rocm-libraries] the base image has ROCm 6.2.4, and puhti has NVIDIA GPUs",
        ),
    ] {
        let test = stage_with(&[file]);
        let env = test.environment("tool");
        let build = |site: &str| {
            let words = ["--force", env.to_str().unwrap(), "--site", site];
            test.build(&words).succeeded().stdout
        };
        let said = build(site);
        assert_eq!(said.matches(words).count(), 1, "{said}");
        assert!(said.contains(&format!("[ WARNING ] {words}")), "{said}");
        let said = build(other);
        assert!(!said.contains("-libraries]"), "{said}");
        // `condense check` reports the finding after the build as well.
        let dir = test.installation();
        let codes = |site: &str| {
            let words = ["check", dir.to_str().unwrap(), "--json", "--site", site];
            let said = condense(&test, &words, "").succeeded();
            let said: Value = serde_json::from_str(&said.stdout).unwrap();
            let findings = said["findings"].as_array().unwrap().clone();
            let codes = findings.iter().map(|it| it["code"].as_str().unwrap());
            codes.map(str::to_owned).collect::<Vec<_>>()
        };
        let code = words.trim_start_matches('[').split(']').next().unwrap();
        assert_eq!(codes(site).iter().filter(|&it| it == code).count(), 1);
        assert!(!codes(other).iter().any(|found| found == code));
    }
}

#[test]
fn programs_of_a_base_for_the_other_gpus_are_refused() {
    let metadata = "usr/lib/python3/dist-packages/torch-2.5.1+cu124.dist-info/METADATA";
    let test = stage_with(&[CUDA, (metadata, "")]);
    let base = test.path("work/base.sqfs");
    let (root, base) = (test.path("base"), base.to_str().unwrap());
    let root = root.to_str().unwrap();
    let pack = ["image", "pack", "--compression", "gzip", root, base];
    condense(&test, &pack, "").succeeded();
    let wrap = ["wrap-container", "-w", "/bin", base, "--prefix"];
    let wrap = |site, name, allowed| {
        let words = [&wrap[..], &[name, "--site", site]].concat();
        condense(&test, &words, allowed)
    };
    let words = [
        "[cuda-on-amd] `torch 2.5.1+cu124` is built for CUDA, and lumi-g has AMD GPUs",
        "packages of the base image",
        "CONDENSE_ALLOW=cuda-on-amd",
    ];
    wrap("lumi-g", "refused", "").failed(1, &words);
    assert!(!test.path("work/refused/bin").exists());
    wrap("lumi-g", "allowed", "cuda-on-amd").succeeded();
    wrap("puhti", "fits", "").succeeded();

    // A SIF that consists of the base alone gets the same finding. An image with an environment of
    // its own brings the libraries that it uses.
    let sif = ["cotainr", "build", "--yes", "--base-image", base];
    let build = |more: &[&str]| {
        let words = [&sif[..], more, &["--site", "lumi-g", "out.sif"]].concat();
        condense(&test, &words, "")
    };
    let said = build(&[]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains(words[0]), "{said:?}");
    assert!(!test.path("work/out.sif").exists());
    let env = test.environment("tool");
    let said = build(&["--conda-env", env.to_str().unwrap()]).succeeded();
    assert!(said.stderr.contains("[cuda-libraries]"), "{said:?}");
}

//! Tests of checks of requests and of solved packages.
#![allow(clippy::unwrap_used)]

use crate::{
    Gpu, Machine,
    checks::{check_packages, check_request},
    context::{Request, RuntimeContext},
    packages::{CondaPackage, PipPackage},
};

fn request_for(pip: &[&str], channels: &[&str]) -> Request {
    Request {
        file: "env.yml".to_owned(),
        channels: channels.iter().map(|&c| c.to_owned()).collect(),
        pip: pip.iter().map(|&l| l.to_owned()).collect(),
        ..Request::default()
    }
}

#[track_caller]
fn assert_request_findings(request: &Request, machine: &Machine, expected: &[&str]) {
    let findings = check_request(request, &RuntimeContext::default(), machine);
    let found: Vec<&str> = findings.iter().map(|finding| finding.code.name).collect();
    assert_eq!(found, expected, "{findings:#?}");
}

#[test]
fn requests_for_pip_are_checked_by_name_and_tag() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        rocm_driver: Some("6.3.4".to_owned()),
        ..Machine::default()
    };
    let nvidia = Machine {
        gpu: Some(Gpu::Nvidia),
        ..Machine::default()
    };
    let rocm = "--extra-index-url https://download.pytorch.org/whl/rocm6.2";
    let cuda = "--index-url=https://download.pytorch.org/whl/cu121";
    for (lines, on_amd, on_nvidia) in [
        (&["torch==2.5.1"][..], &["cuda-on-amd"][..], &[][..]),
        (&["torch==2.5.1+cpu"], &[], &[]),
        (&[rocm, "torch==2.5.1"], &[], &["rocm-on-nvidia"]),
        (
            &[rocm, "torch==2.5.1+rocm6.2"],
            &[],
            &["rocm-on-nvidia", "rocm-on-nvidia"],
        ),
        (&[cuda, "torch"], &["cuda-on-amd"], &[]),
        (&["torch==2.5.1+cu121"], &["cuda-on-amd"], &[]),
        (&["jax[cuda12]"], &["cuda-on-amd"], &[]),
        (&["tensorflow[and-cuda]==2.17"], &["cuda-on-amd"], &[]),
        (&["cupy-cuda12x"], &["cuda-on-amd"], &[]),
        (&["nvidia-cublas-cu12"], &["cuda-libraries"], &[]),
        (
            &["torch==2.1+rocm5.6", rocm],
            &["gpu-driver-range"],
            &["rocm-on-nvidia", "rocm-on-nvidia"],
        ),
        (&["numpy", "mpi4py"], &[], &[]),
    ] {
        assert_request_findings(&request_for(lines, &[]), &amd, on_amd);
        assert_request_findings(&request_for(lines, &[]), &nvidia, on_nvidia);
        assert_request_findings(&request_for(lines, &[]), &Machine::default(), &[]);
    }
    let findings = check_request(
        &request_for(&["torch"], &[]),
        &RuntimeContext::default(),
        &amd,
    );
    assert!(findings[0].fix.contains("whl/rocm6.3"), "{findings:#?}");
}

#[test]
fn requests_for_conda_are_checked_by_name_and_build() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        ..Machine::default()
    };
    let package = |name: &str, build: &str| Request {
        conda: vec![CondaPackage {
            name: name.to_owned(),
            build: build.to_owned(),
            ..CondaPackage::default()
        }],
        ..request_for(&[], &["conda-forge"])
    };
    assert_request_findings(&package("pytorch", "*cuda*"), &amd, &["cuda-on-amd"]);
    assert_request_findings(&package("pytorch-cuda", ""), &amd, &["cuda-on-amd"]);
    assert_request_findings(&package("pytorch", "*cpu*"), &amd, &[]);
    assert_request_findings(&package("pytorch", ""), &amd, &[]);
}

#[test]
fn channels_and_sources_of_a_file() {
    let machine = Machine::default();
    assert_request_findings(
        &request_for(&[], &["https://conda.anaconda.org/conda-forge/"]),
        &machine,
        &[],
    );
    assert_request_findings(
        &request_for(&[], &["defaults", "conda-forge"]),
        &machine,
        &["channel-terms"],
    );
    assert_request_findings(
        &request_for(&["git+https://h/x.git@0123456789"], &[]),
        &machine,
        &[],
    );
    assert_request_findings(
        &request_for(&["git+https://h/x.git"], &[]),
        &machine,
        &["moving-source"],
    );
    let context = RuntimeContext {
        mutable_name: Some("docker://ubuntu:latest".to_owned()),
        ..RuntimeContext::default()
    };
    let findings = check_request(&request_for(&[], &[]), &context, &machine);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.contains("ubuntu:latest"));
}

#[test]
fn solved_packages_are_checked_before_they_are_downloaded() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        ..Machine::default()
    };
    let pip = [
        PipPackage::new("torch", "2.5.1"),
        PipPackage::new("nvidia-nccl-cu12", "2"),
    ];
    let names = |pip: &[PipPackage]| {
        let findings = check_packages(&[], pip, "pip", &amd);
        findings.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&pip), ["cuda-on-amd"]);
    assert_eq!(names(&pip[..1]), Vec::<&str>::new());
}

//! Tests of findings about GPU software.
#![allow(clippy::unwrap_used)]

use crate::{
    Gpu,
    checks::{check_environment, check_request},
    context::{Request, RuntimeContext},
    testing::Fixture,
};

#[test]
fn cuda_on_amd_and_rocm_on_nvidia_by_what_is_linked() {
    for (soname, wrong, right, code) in [
        ("libcudart.so.12", Gpu::Amd, Gpu::Nvidia, "cuda-on-amd"),
        ("libamdhip64.so.6", Gpu::Nvidia, Gpu::Amd, "rocm-on-nvidia"),
    ] {
        let mut fixture = Fixture::new();
        fixture
            .library(&format!("other/{soname}"), soname, &[])
            .program("bin/train", &[&format!("other/{soname}")], &[]);
        fixture.assert_findings(&[]);
        fixture.machine.gpu = Some(right);
        fixture.assert_findings(&[]);
        fixture.machine.gpu = Some(wrong);
        fixture.assert_findings(&[(code, "bin/train")]);
        // A program works without this plugin.
        fs_err::rename(
            fixture.path("bin/train"),
            fixture.path("other/libuct_x.so.0"),
        )
        .unwrap();
        fixture.assert_findings(&[]);
    }
}

#[test]
fn cuda_on_amd_by_packages() {
    let directory = "lib/python3.12/site-packages";
    let mut fixture = Fixture::new();
    fixture.machine.gpu = Some(Gpu::Amd);
    fixture.write(
        &format!("{directory}/torch-2.5.1+rocm6.2.dist-info/WHEEL"),
        "",
    );
    fixture.assert_findings(&[]);
    fixture.write(
        &format!("{directory}/cupy_cuda12x-13.0.dist-info/WHEEL"),
        "",
    );
    fixture.assert_findings(&[("cuda-on-amd", "packages")]);
    fixture.machine.gpu = Some(Gpu::Nvidia);
    fixture.assert_findings(&[("rocm-on-nvidia", "packages")]);
    // These are conda builds for CPU and for CUDA.
    let mut fixture = Fixture::new();
    fixture.machine.gpu = Some(Gpu::Amd);
    let record =
        |build: &str| format!(r#"{{"name": "pytorch", "version": "2.5", "build": "{build}"}}"#);
    fixture.write("conda-meta/pytorch.json", &record("cpu_mkl_h1"));
    fixture.assert_findings(&[]);
    fixture.write("conda-meta/pytorch.json", &record("cuda126_h1"));
    fixture.assert_findings(&[("cuda-on-amd", "packages")]);
}

#[test]
fn cuda_libraries() {
    let mut fixture = Fixture::new();
    fixture.write("lib/nvidia_nccl_cu12-2.2.dist-info/WHEEL", "");
    for (gpu, expected) in [
        (None, &[][..]),
        (Some(Gpu::Nvidia), &[]),
        (Some(Gpu::Amd), &[("cuda-libraries", "packages")]),
        (Some(Gpu::None), &[("cuda-libraries", "packages")]),
    ] {
        fixture.machine.gpu = gpu;
        fixture.assert_findings(expected);
    }
    // The version of PyPI's PyTorch has no tag, but NVIDIA's libraries are installed beside it.
    fixture.machine.gpu = Some(Gpu::Amd);
    fixture.write("lib/torch-2.5.1.dist-info/WHEEL", "");
    fixture.assert_findings(&[("cuda-on-amd", "packages")]);
}

#[test]
fn cuda_libraries_and_rocm_libraries_of_a_base() {
    let mut fixture = Fixture::new();
    let inventory = fixture.inventory();
    let mut codes = |gpu: Option<Gpu>, rocm: Option<&str>, cuda: Option<&str>| {
        fixture.machine.gpu = gpu;
        let context = RuntimeContext {
            rocm: rocm.map(str::to_owned),
            cuda: cuda.map(str::to_owned),
            ..fixture.runtime_context()
        };
        let made = check_environment(&inventory, &context, &fixture.machine);
        let requested = check_request(&Request::default(), &context, &fixture.machine);
        assert_eq!(made, requested);
        assert!(
            made.iter()
                .all(|finding| finding.location == "the base image")
        );
        made.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    let (none, of_cuda, of_rocm) = (&[][..], &["cuda-libraries"][..], &["rocm-libraries"][..]);
    for (gpu, on_rocm, on_cuda) in [
        (None, none, none),
        (Some(Gpu::Amd), none, of_cuda),
        (Some(Gpu::Nvidia), of_rocm, none),
        (Some(Gpu::None), of_rocm, of_cuda),
    ] {
        assert_eq!(codes(gpu, Some("6.2.4"), None), on_rocm, "{gpu:?}");
        assert_eq!(codes(gpu, None, Some("12.4")), on_cuda, "{gpu:?}");
        // A base with both suits either vendor, and a base with neither suits all.
        assert_eq!(codes(gpu, Some("6.2.4"), Some("12.4")), none, "{gpu:?}");
        assert_eq!(codes(gpu, None, None), none, "{gpu:?}");
    }
}

#[test]
fn gpu_driver_range() {
    let mut fixture = Fixture::new();
    fixture.machine.gpu = Some(Gpu::Amd);
    fixture.machine.rocm_driver = Some("6.3.4".to_owned());
    let inventory = fixture.inventory();
    for (rocm, expected) in [("6.2.4", 0), ("5.6.1", 1)] {
        let context = RuntimeContext {
            rocm: Some(rocm.to_owned()),
            ..fixture.runtime_context()
        };
        let findings = check_environment(&inventory, &context, &fixture.machine);
        assert_eq!(findings.len(), expected, "{findings:#?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.code.name == "gpu-driver-range")
        );
    }
    fixture.write("lib/torch-2.5.1+rocm5.6.dist-info/WHEEL", "");
    fixture.assert_findings(&[("gpu-driver-range", "packages: torch 2.5.1+rocm5.6")]);
}

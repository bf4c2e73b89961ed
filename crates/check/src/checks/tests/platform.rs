//! Tests of findings about processors, codecs and interpreters.
#![allow(clippy::unwrap_used)]

use crate::{
    checks::{check_environment, check_packages, check_request},
    context::{MountedImage, Request, RuntimeContext},
    packages::CondaPackage,
    testing::Fixture,
};

#[test]
fn image_codec() {
    let mut fixture = Fixture::new();
    let codes = |fixture: &Fixture| {
        let images = vec![MountedImage {
            name: "base.sif".to_owned(),
            codec: "zstd".to_owned(),
        }];
        let context = RuntimeContext {
            images,
            ..fixture.runtime_context()
        };
        let made = check_environment(&fixture.inventory(), &context, &fixture.machine);
        let requested = check_request(&Request::default(), &context, &fixture.machine);
        [made, requested].map(|findings| findings.iter().map(|it| it.code.name).collect::<Vec<_>>())
    };
    assert_eq!(codes(&fixture), [[""; 0]; 2]);
    fixture.machine.codecs = vec!["gzip".into(), "zstd".into()];
    assert_eq!(codes(&fixture), [[""; 0]; 2]);
    fixture.machine.codecs.pop();
    assert_eq!(codes(&fixture), [["image-codec"], ["image-codec"]]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn cpu_level() {
    let mut fixture = Fixture::new();
    fixture.program("bin/fast", &[], &["-Wl,-z,x86-64-v4"]);
    fixture.assert_findings(&[]);
    fixture.machine.cpu_level = Some(4);
    fixture.assert_findings(&[]);
    fixture.machine.cpu_level = Some(3);
    fixture.assert_findings(&[("cpu-level", "bin/fast")]);
    assert!(fixture.findings()[0].what.contains("v4"));
    let package = |version: &str| {
        let level = CondaPackage {
            name: "_x86_64-microarch-level".to_owned(),
            version: version.to_owned(),
            ..CondaPackage::default()
        };
        check_packages(&[level], &[], "the solution", &fixture.machine).len()
    };
    assert_eq!((package("3"), package("4")), (0, 1));
}

#[test]
fn wrong_architecture() {
    let fixture = Fixture::new();
    fixture.program("bin/program", &[], &[]);
    fixture.assert_findings(&[]);
    let mut bytes = fs_err::read(fixture.path("bin/program")).unwrap();
    // Byte 18 holds the number of the processor: this sets another one than this machine's.
    bytes[18] = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    fs_err::write(fixture.path("bin/program"), bytes).unwrap();
    fixture.assert_findings(&[("wrong-architecture", "bin/program")]);
    // Files for other machines may be in directories from which they are chosen by path.
    fs_err::create_dir_all(fixture.path("prebuilds/other-arch")).unwrap();
    fs_err::rename(
        fixture.path("bin/program"),
        fixture.path("prebuilds/other-arch/x.node"),
    )
    .unwrap();
    fixture.assert_findings(&[]);
    // The base is for another architecture than the site.
    let mut fixture = fixture;
    fixture.machine.architecture = Some("riscv64".to_owned());
    fixture.assert_findings(&[("wrong-architecture", "the base image")]);
}

#[test]
fn python_missing() {
    let mut fixture = Fixture::new();
    fixture.write("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.2\n");
    fixture.assert_findings(&[("python-missing", "venv/pyvenv.cfg")]);
    fixture.add_base_path("/usr/bin/python3.12");
    fixture.assert_findings(&[("python-missing", "venv/pyvenv.cfg")]);
    fixture.add_base_path("/usr/bin/python3.11");
    fixture.assert_findings(&[]);
}

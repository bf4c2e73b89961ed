//! Tests of findings about channels and links.
#![allow(clippy::unwrap_used)]

use crate::{checks::check_environment, context::RuntimeContext, testing::Fixture};

#[test]
fn channel_terms() {
    let fixture = Fixture::new();
    let record =
        |channel: &str| format!(r#"{{"name": "mkl", "version": "1", "channel": "{channel}"}}"#);
    fixture.write(
        "conda-meta/mkl.json",
        &record("https://conda.anaconda.org/conda-forge/"),
    );
    fixture.assert_findings(&[]);
    fixture.write(
        "conda-meta/mkl.json",
        &record("https://repo.anaconda.com/pkgs/main"),
    );
    fixture.assert_findings(&[("channel-terms", "mkl")]);
}

#[test]
fn moving_link() {
    let fixture = Fixture::new();
    let link = |target: &str| {
        let path = fixture.path("lib/data");
        let _ = fs_err::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    for target in ["../other", "/env/other", "/usr/share/data"] {
        link(target);
        fixture.assert_findings(&[]);
    }
    link("/scratch/project/data");
    fixture.assert_findings(&[("moving-link", "lib/data -> /scratch/project/data")]);
    link("../other");
    let context = RuntimeContext {
        linked_base: Some("/appl/base.sif".to_owned()),
        ..fixture.runtime_context()
    };
    let findings = check_environment(&fixture.inventory(), &context, &fixture.machine);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].location, "container.sif");
}

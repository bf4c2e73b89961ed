//! Tests with a base that a real runtime has made.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use condense_base::{BaseImage, BaseKind};

fn part(name: &str) -> PathBuf {
    let parts = std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../target/test-parts"
            ))
        },
        PathBuf::from,
    );
    let path = parts.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `scripts/setup-tests`",
        path.display()
    );
    path
}

#[test]
#[ignore = "needs: apptainer"]
fn the_facts_of_a_real_base_are_read_at_once() {
    let path = part("base.sif");
    let base = BaseImage::open(path.to_str().unwrap()).unwrap();
    base.check_architecture().unwrap();
    let facts = base.facts().unwrap();
    assert_eq!(base.kind(), BaseKind::Sif);
    assert_eq!(facts.architecture.as_deref(), Some(std::env::consts::ARCH));
    let distribution = facts.distribution.unwrap();
    assert_eq!(distribution.id.as_deref(), Some("debian"));
    assert_eq!(distribution.version_id.as_deref(), Some("12"));
    assert_eq!(facts.glibc.as_deref(), Some("2.36"));
    assert!(facts.has_sh && facts.has_bash);
    assert!(
        facts
            .environment_scripts
            .contains(&"90-environment.sh".to_owned()),
        "{:?}",
        facts.environment_scripts
    );
    assert!(
        facts
            .labels
            .contains_key("org.label-schema.usage.apptainer.version"),
        "{:?}",
        facts.labels
    );
    assert!(base.exists("/etc/passwd").unwrap());
    assert!(!base.exists("/no/such/path").unwrap());
}

#[test]
#[ignore = "needs: apptainer"]
fn glibc_is_the_bases_and_not_the_hosts() {
    let glibc = |name: &str| {
        let base = BaseImage::open(part(name).to_str().unwrap()).unwrap();
        base.facts().unwrap().glibc.unwrap()
    };
    assert_ne!(glibc("base-other-glibc.sif"), glibc("base.sif"));
}

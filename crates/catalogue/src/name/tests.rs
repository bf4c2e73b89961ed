#![allow(clippy::unwrap_used)]
use super::{ImageName, is_a};

/// Names of all files and modules that LUMI has had.
const NAMES: &str = include_str!("../../../../fixtures/lumi-image-names.tsv");

fn show(name: &ImageName) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let list = |words: Vec<String>| {
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(" ")
        }
    };
    let packages = name.packages.iter().map(|(n, v)| format!("{n}={v}"));
    [
        text(&name.rocm),
        text(&name.python),
        list(packages.collect()),
        list(name.variants.clone()),
        text(&name.date),
        text(&name.docker_hash),
    ]
    .join("\t")
}

#[test]
fn every_name_of_lumi_is_read() {
    let mut seen = 0;
    for line in NAMES.lines().filter(|line| !line.starts_with('#')) {
        let (name, expected) = line.split_once('\t').unwrap();
        let found = ImageName::parse(name).unwrap_or_else(|| panic!("`{name}` is not read"));
        assert_eq!(show(&found), expected, "{name}");
        seen += 1;
    }
    assert!(seen > 130, "only {seen} names");
}

#[test]
fn names_that_are_not_in_the_list() {
    for (name, expected) in [
        (
            "/appl/local/containers/sif-images/lumi-pytorch-rocm-7.0.1-python-3.13-pytorch-v2.10.0.sif",
            "7.0.1\t3.13\tpytorch=2.10.0\t-\t-\t-",
        ),
        ("lumi-rocm-rocm-6.2.4.sif", "6.2.4\t-\t-\t-\t-\t-"),
        (
            "lumi-multitorch-mpich-u24r64f21m43t29-20260225_144743.sif",
            "6.4\t-\tlibfabric=2.1 mpich=4.3 pytorch=2.9 ubuntu=24.04\tmpich\t20260225\t-",
        ),
        (
            "lumi-multitorch-u24r70f115m50t210-20270101_000000",
            "7.0\t-\tlibfabric=1.15 mpich=5.0 pytorch=2.10 ubuntu=24.04\t-\t20270101\t-",
        ),
    ] {
        let found = ImageName::parse(name).unwrap_or_else(|| panic!("`{name}` is not read"));
        assert_eq!(show(&found), expected, "{name}");
    }
}

#[test]
fn what_follows_no_convention_says_nothing() {
    for name in [
        "base.sif",
        "debian_12.sif",
        "my-image.sif",
        "my-image-1.0.sif",
        "",
        "-",
        "ubuntu-24.04",
        "docker://ubuntu:24.04",
        "lumi.sif",
        "lumi-",
    ] {
        assert_eq!(ImageName::parse(name), None, "{name}");
    }
}

#[test]
fn names_without_a_digest_or_a_day_move() {
    let moves = |name: &str| ImageName::parse(name).unwrap().is_moving();
    assert!(moves(
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1.sif"
    ));
    assert!(moves("lumi-rocm-rocm-6.2.4.sif"));
    assert!(!moves("lumi-rocm-rocm-6.2.2-dockerhash-1cc098de6a0f.sif"));
    assert!(!moves("rocm-6.2.2-singularity-20241007"));
    assert!(!moves("cpe-25.03-SP5.sif"));
}

#[test]
fn a_version_is_met_by_more_exact_ones() {
    assert!(is_a("6.2.4", "6.2") && is_a("6.2", "6.2") && is_a("v2.7.1", "2.7"));
    assert!(!is_a("6.20", "6.2") && !is_a("6.1", "6.2") && !is_a("6", "6.2"));
}

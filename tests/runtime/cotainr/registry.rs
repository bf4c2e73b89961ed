//! Test of a base image in a registry, from its name to a running program.

use super::{ENVIRONMENT, apptainer, condense};
use crate::harness::{Account, Registry, Run, TestDir, parts};

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_of_a_registry_becomes_an_image_that_runs() {
    let test = TestDir::new(Account::Root, "cotainr-registry");
    condense(&test)
        .args(["image", "extract"])
        .arg(parts().base())
        .arg("root")
        .run()
        .succeeded();
    let registry = Registry::start(&test);
    let variables = ["PATH=/usr/bin:/bin", "OF_THE_BASE=seen"];
    let reference = registry.push(&test, &test.path("root"), &variables, "site/base:1");

    test.environment("python=3.11");
    let mut command = condense(&test);
    command
        .args(["cotainr", "build", "--conda-env", "env.yml"])
        .args(["--base-image", &reference, "out.sif"])
        .env("APPTAINER_NOHTTPS", "1");
    command.run().succeeded();
    let show =
        "python -c 'import sys; print(sys.prefix)'; echo $OF_THE_BASE; . /etc/os-release; echo $ID";
    apptainer(&test, &["exec", "out.sif", "sh", "-c", show])
        .says(&format!("{ENVIRONMENT}\nseen\ndebian"));
    let labels = apptainer(&test, &["inspect", "out.sif"]).succeeded().text();
    for text in [
        format!("condense.base: {reference}"),
        "condense.base.digest: sha256:".to_owned(),
    ] {
        assert!(labels.contains(&text), "{labels}");
    }
    let definition = apptainer(&test, &["inspect", "-d", "out.sif"]).text();
    assert!(
        definition.starts_with("bootstrap: docker\nfrom: 127.0.0.1:"),
        "{definition}"
    );
    test.left_nothing();
}

//! D14: a bind variable of a loaded module never ends a build.

use crate::harness::{Run, TestEnv};

/// Runtime that fails as apptainer does when it is to bind something to a place that the image does
/// not have.
const RUNTIME: &str = r#"#!/bin/sh
case $1 in --version) echo apptainer version 1.4.5; exit ;; esac
echo "$*" >>"$0.started"
for name in BIND BINDPATH MOUNT; do
  eval "value=\${APPTAINER_$name-}\${SINGULARITY_$name-}"
  case "$value $*" in *slurmd*)
    echo "$name: $value $*" >>"$0.reached"
    echo "FATAL: while mounting /var/spool/slurmd: destination doesn't exist" >&2; exit 255 ;;
  esac
done
"#;
/// Variables that modules of bind mounts set.
const VARIABLES: [&str; 6] = [
    "APPTAINER_BIND",
    "APPTAINER_BINDPATH",
    "APPTAINER_MOUNT",
    "SINGULARITY_BIND",
    "SINGULARITY_BINDPATH",
    "SINGULARITY_MOUNT",
];
/// Command lines of each builder. Those behind `!` run programs in the container whose work the
/// runtime of this test does not do, so that they fail later.
const BUILDERS: [&str; 13] = [
    "condense new ./new env.yml --base-image ../base",
    "! condense new ./scripted env.yml --base-image ../base --post-install post.sh",
    "! condense update ./new --post-install post.sh",
    "condense update ./new --environ environ.sh",
    "condense build build.sif env.yml --base-image ../base",
    "! condense build scripted.sif env.yml --base-image ../base --post true",
    "condense build definition.sif my.def",
    "cotainr build cotainr.sif --conda-env env.yml --base-image ../base",
    "! cotainr build scripted.sif --conda-env env.yml --base-image ../base --post true",
    "conda-containerize new --prefix conda --base-image ../base env.yml",
    "! pip-containerize new --prefix pip --base-image ../base requirements.txt",
    "wrap-container --prefix wrapped -w /bin/sh ../base",
    "wrap-install --prefix wrapped-too -w bin --base-image ../base software",
];

#[test]
fn bind_variables_of_modules_end_no_build() {
    let test = TestEnv::new();
    test.environment("tool");
    test.fake_program("apptainer", RUNTIME);
    for name in ["post.sh", "environ.sh"] {
        test.write(name, "true\n");
    }
    test.write("requirements.txt", "rich\n");
    let definition = "Bootstrap: localimage\nFrom: ../base\n%test\n  true\n";
    test.write("my.def", definition);
    for path in ["work/software/bin/tool", "base/usr/bin/python3"] {
        fs_err::create_dir_all(test.path(path).parent().unwrap()).unwrap();
        fs_err::copy("/bin/sh", test.path(path)).unwrap();
    }
    let note = |end: &str| test.path(format!("programs/apptainer.{end}"));
    for line in BUILDERS {
        let (line, may_fail) = match line.strip_prefix("! ") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let words: Vec<&str> = line.trim_start_matches("condense ").split(' ').collect();
        let value = "/var/spool/slurmd,/missing/slurmd:/other";
        let variables = VARIABLES.map(|name| (name, value));
        let said = test.condense(&words).envs(variables).run();
        assert!(said.status == 0 || may_fail, "{line}: {said:?}");
        let reached = fs_err::read_to_string(note("reached"));
        assert!(reached.is_err(), "{line}: {reached:?}");
        assert!(note("started").exists(), "{line}: no container: {said:?}");
        let _ = fs_err::remove_file(note("started"));
    }
}

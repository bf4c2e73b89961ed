//! Tests of `--dry-run` of each builder (A8): snapshots of what it prints, and the errors that it
//! shares with builds.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    harness::{CommandOutput, Run, TestEnv, packages},
    pull::layout,
    support::{channel::Package, snapshot::snapshot},
};

/// Fake runtime that names a version and starts every container.
const RUNTIME: &str = "#!/bin/sh\necho apptainer version 1.4.5\n";
/// Fake uv that answers with a wheel of each package, and refuses `none`.
const UV: &str = r#"#!/bin/sh
while [ $# -gt 1 ]; do
  [ "$1" != --output-file ] || out=$2
  shift
done
case $(cat "$1") in
  *none*) echo 'error: No solution found when resolving dependencies'
    echo '  cause: Because none was not found in the package registry and you require none, we can conclude that your requirements are unsatisfiable.'
    exit 1 ;;
  *source*) echo 'error: No solution found when resolving dependencies'
    echo '  cause: Because source has no usable wheels and you require source, we can conclude that your requirements are unsatisfiable.'
    exit 1 ;;
esac
name=$(cat "$1")
printf '[[packages]]\nname = "%s"\nversion = "2.0"\nwheels = [{ url = "https://h/x-2.0-py3-none-any.whl", size = 5000000 }]\n' "$name" >"$out"
"#;

/// Returns a test with an input of each kind.
fn prepared() -> TestEnv {
    let mut all = packages();
    all.push(Package::new("pip", "24.0"));
    let test = TestEnv::with(&all);
    test.environment("tool");
    test.write("requirements.txt", "rich\n");
    for name in ["pre.sh", "post.sh", "environ.sh"] {
        test.write(name, "true\n");
    }
    test.write(
        "advanced.yml",
        "env_file: env.yml\ninstallation_prefix: out\ncontainer_src: ../base\npost_install: [make]\n",
    );
    for path in ["work/software/bin/tool", "base/usr/bin/python3"] {
        fs_err::create_dir_all(test.path(path).parent().unwrap()).unwrap();
        fs_err::copy("/bin/sh", test.path(path)).unwrap();
    }
    test.fake_program("apptainer", RUNTIME);
    test
}

/// Returns all paths below a directory, with the times of their last change.
fn listing(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
        found.push((path, metadata.modified().unwrap()));
    }
    found.sort();
    found
}

#[track_caller]
fn check(test: &TestEnv, name: &str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let before = listing(&test.path("work"));
    let output = test.condense(&words).arg("--dry-run").run().succeeded();
    assert_eq!(listing(&test.path("work")), before, "{line}");
    snapshot!(&format!("dry-run/{name}"), output, test.paths());
    test.left_nothing();
}

#[test]
fn conda_containerize() {
    let test = prepared();
    check(
        &test,
        "conda-new",
        "conda-containerize new --prefix out --base-image ../base env.yml",
    );
    check(
        &test,
        "conda-new-with-all-inputs",
        "conda-containerize new --prefix out --base-image ../base -r requirements.txt --pre-install pre.sh \
         --post-install post.sh --environ environ.sh -w /bin/sh,lib --compression xz:6 --block-size 1M \
         --tmpdir ../tmp --nocache --uv --jobs 3 env.yml",
    );
    check(
        &test,
        "conda-new-at-a-site",
        "conda-containerize new --prefix out --site lumi-c --base-image ../base env.yml",
    );
    check(
        &test,
        "conda-advanced",
        "conda-containerize advanced advanced.yml",
    );
}

#[test]
fn conda_containerize_update() {
    let test = prepared();
    test.build(&["env.yml"]).succeeded();
    check(
        &test,
        "conda-update",
        "conda-containerize update installation",
    );
    check(
        &test,
        "conda-update-with-all-inputs",
        "conda-containerize update -r requirements.txt --pre-install pre.sh --post-install post.sh \
         --environ environ.sh -w /bin/sh --compression gzip:9 installation",
    );
}

#[test]
fn pip_containerize() {
    let test = prepared();
    check(
        &test,
        "pip-new",
        "pip-containerize new --prefix out --base-image ../base requirements.txt",
    );
    check(
        &test,
        "pip-new-uv",
        "pip-containerize new --prefix out --base-image ../base --uv --pyver 3.12 requirements.txt",
    );
}

#[test]
fn wrap_container_and_wrap_install() {
    let test = prepared();
    check(
        &test,
        "wrap-container",
        "wrap-container --prefix out -w /bin/sh ../base",
    );
    check(
        &test,
        "wrap-install",
        "wrap-install --prefix out -w bin --base-image ../base software",
    );
    check(
        &test,
        "wrap-install-mask",
        "wrap-install --prefix out -w bin --mask --base-image ../base --post-install post.sh software",
    );
}

#[test]
fn cotainr_build() {
    let test = prepared();
    check(
        &test,
        "cotainr-build",
        "cotainr build --base-image ../base --conda-env env.yml out.sif",
    );
    check(
        &test,
        "cotainr-build-with-all-inputs",
        "cotainr build --base-image ../base --conda-env env.yml --requirements requirements.txt --post make \
         --copy software:/opt/software out.sif",
    );
}

/// Runs a command with `--dry-run` and without, and checks that both fail in the same way. Returns
/// the error.
#[track_caller]
fn fails_as_the_build(test: &TestEnv, line: &str, words: &[&str]) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let error = |said: &CommandOutput| {
        let text = format!("{}{}", said.stdout, said.stderr);
        let start = text.find("ERROR").unwrap_or_else(|| panic!("{said:?}"));
        text[start..].to_owned()
    };
    let dry = test.condense(&arguments).arg("--dry-run").run();
    assert_eq!(dry.status, 1, "{line}: {dry:?}");
    test.left_nothing();
    let built = test.condense(&arguments).run();
    assert_eq!(built.status, 1, "{line}: {built:?}");
    let text = error(&dry);
    assert_eq!(text, error(&built), "{line}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
    text
}

/// Row A8: a package that no channel has, CUDA at a site with AMD's GPUs, an environment file in
/// place of requirements, a base without Python.
#[test]
fn a_dry_run_fails_as_the_build_would() {
    let mut all = packages();
    all.push(Package::new("pytorch-cuda", "12.1"));
    let test = TestEnv::with(&all);
    test.fake_program("apptainer", RUNTIME);
    test.write("requirements.txt", "rich\n");
    let new = "conda-containerize new --prefix out --base-image ../base";
    test.environment("numpi");
    fails_as_the_build(
        &test,
        &format!("{new} env.yml"),
        &["numpi", "no channel has"],
    );
    test.environment("wants-one, wants-two");
    fails_as_the_build(&test, &format!("{new} env.yml"), &["cannot solve"]);
    test.environment("pytorch-cuda");
    fails_as_the_build(
        &test,
        &format!("{new} --site lumi-g env.yml"),
        &["cuda-on-amd"],
    );
    let new = "pip-containerize new --prefix out --base-image ../base";
    fails_as_the_build(&test, &format!("{new} env.yml"), &["env.yml"]);
    let python = format!("{new} requirements.txt");
    fails_as_the_build(
        &test,
        &python,
        &["has no `python3`", "--interpreter PROGRAM"],
    );
    test.environment("tool");
    for base in ["../no-such-base", "env.yml"] {
        let line = format!("conda-containerize new --prefix out --base-image {base} env.yml");
        fails_as_the_build(&test, &line, &[base.trim_start_matches("../")]);
    }
    let cotainr = "cotainr build --base-image ../base --conda-env env.yml";
    fails_as_the_build(
        &test,
        &format!("{cotainr} nowhere/out.sif"),
        &["no directory"],
    );
    fs_err::create_dir(test.path("work/dir")).unwrap();
    fails_as_the_build(&test, &format!("{cotainr} dir"), &["directory"]);
    fails_as_the_build(
        &test,
        "wrap-install -w bin/no --prefix out --base-image ../base dir",
        &["no program at"],
    );
}

#[test]
fn a_dry_run_looks_at_its_destination_first() {
    let test = TestEnv::new();
    test.environment("tool");
    test.build(&["env.yml"]).succeeded();
    let new = "conda-containerize new --base-image ../base --prefix";
    fails_as_the_build(&test, &format!("{new} installation env.yml"), &["--force"]);
    test.write("file", "");
    fails_as_the_build(
        &test,
        &format!("{new} file env.yml"),
        &["is not a directory"],
    );
    let line = format!("{new} installation --force env.yml --dry-run");
    let words: Vec<&str> = line.split(' ').collect();
    test.condense(&words).run().succeeded();
    fails_as_the_build(&test, "conda-containerize update nothing", &["nothing"]);
}

#[test]
fn a_dry_run_is_data_for_programs() {
    let test = prepared();
    let json = |line: &str| -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        let said = test.condense(&words).args(["--dry-run", "--json"]).run();
        let said = said.succeeded();
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
    };
    for line in [
        "conda-containerize new --prefix out --base-image ../base env.yml",
        "cotainr build --base-image ../base --conda-env env.yml out.sif",
    ] {
        let found = json(line);
        assert_eq!(found["schema"], "condense.dry-run/1");
        let packages = found["packages"].as_array().unwrap();
        let names: Vec<&str> = packages
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        assert_eq!(names, ["library", "tool"]);
        assert_eq!(
            (&packages[1]["version"], &packages[1]["build"]),
            (&"1.0".into(), &"0".into())
        );
        assert!(packages[0]["size"].as_u64().unwrap() > 100);
        assert_eq!(packages[0]["cached"], true);
        assert_eq!(
            packages[0]["channel"]
                .as_str()
                .unwrap()
                .trim_end_matches('/'),
            test.channel
        );
        for number in ["download_bytes", "image_bytes", "seconds"] {
            assert!(found[number].is_u64(), "{number}: {found}");
        }
        for list in ["pip", "findings", "steps"] {
            assert!(found[list].is_array(), "{list}: {found}");
        }
        assert_eq!(found["base"]["reference"], "../base");
    }
    let found = json("pip-containerize new --prefix out --base-image ../base requirements.txt");
    assert_eq!(found["pip_lines"], serde_json::json!(["rich"]));
    assert!(found["pip_resolved_by"].is_null() && found["pip_unresolved"].is_string());
    let found = json("wrap-container --prefix out -w /bin/sh ../base");
    assert!(found["image_bytes"].is_null(), "{found}");
    test.left_nothing();
}

#[test]
fn uv_names_what_pip_would_install() {
    let test = prepared();
    test.fake_program("uv", UV);
    fs_err::rename(
        test.path("base/usr/bin/python3"),
        test.path("base/usr/bin/python3.12"),
    )
    .unwrap();
    std::os::unix::fs::symlink("python3.12", test.path("base/usr/bin/python3")).unwrap();
    let dry = |requirements: &str, more: &[&str]| {
        test.write("requirements.txt", requirements);
        let words = [
            "pip-containerize",
            "new",
            "--prefix",
            "out",
            "--base-image",
            "../base",
        ];
        let mut command = test.condense(&words);
        command
            .args(["requirements.txt", "--dry-run"])
            .args(more)
            .run()
    };
    let found = dry("rich\n", &["--json"]).succeeded();
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    let rich = serde_json::json!([{"name": "rich", "version": "2.0", "size": 5_000_000}]);
    assert_eq!(
        (&found["pip"], &found["pip_resolved_by"]),
        (&rich, &"uv".into())
    );
    assert_eq!(found["download_bytes"], 5_000_000);
    // The checks that a build makes of pip's packages are made as well.
    let refused = dry("jax-cuda12-plugin\n", &["--site", "lumi-g"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("cuda-on-amd"), "{refused:?}");
    // Without `--uv`, pip's configuration on this machine might name another index.
    let refused = dry("none\n", &["--uv", "--pyver", "3.12"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("because none was not found"),
        "{refused:?}"
    );
    // Sources would have to be built to be known.
    let open = dry("source\n", &[]).succeeded();
    assert!(
        open.stdout
            .contains("resolved during the build: uv: because source has no usable")
    );
    let open = dry("git+https://host/x\n", &[]).succeeded();
    assert!(
        open.stdout.contains("`git+https://host/x` has to be built"),
        "{open:?}"
    );
    test.left_nothing();
}

/// A dry run reads the manifest of a base that is not here, and fetches no layer.
#[test]
fn a_base_that_is_elsewhere_is_not_fetched() {
    let test = TestEnv::new();
    test.environment("tool");
    layout(&test);
    fs_err::remove_dir_all(test.path("tmp")).unwrap();
    let words = [
        "conda-containerize",
        "new",
        "--prefix",
        "out",
        "--base-image",
        "oci:layout",
    ];
    let dry = || {
        let mut command = test.condense(&words);
        let said = command.args(["env.yml", "--dry-run", "--json"]).run();
        let said = said.succeeded();
        let found: Value = serde_json::from_str(&said.stdout).unwrap();
        found
    };
    let found = dry();
    assert!(found["base"]["path"].is_null(), "{found}");
    assert!(
        found["base"]["manifest_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(found["base"]["glibc"], "2.28");
    assert!(!test.path("cache/oci/sif").exists());
    assert!(
        !test.path("tmp").exists(),
        "a dry run makes no parent of scratch"
    );
    test.condense(&["pull", "oci:layout", "x.sif"])
        .run()
        .succeeded();
    test.condense(&words).arg("env.yml").run().succeeded();
    fs_err::remove_dir_all(test.path("work/out")).unwrap();
    let found = dry();
    assert!(found["base"]["path"].is_string(), "{found}");
}

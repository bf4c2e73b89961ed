//! Tests of `--json`: the shape of each command's result, and errors as JSON. The shapes are a
//! promise to scripts, so a snapshot that changes needs a new number in `schema`.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    contents::{look, prepared},
    harness::{CommandOutput, Run, TestEnv},
    support::snapshot,
};

/// Returns the value with the names of types instead of scalars, and with one element for each
/// array, which has the types of all elements.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(list) => {
            let merged = list.iter().map(shape).reduce(merged);
            merged.into_iter().collect()
        }
        Value::Object(object) => {
            let pairs = object.iter();
            let pairs = pairs.map(|(key, value)| match key.as_str() {
                "schema" => (key.clone(), value.clone()),
                _ => (key.clone(), shape(value)),
            });
            pairs.collect::<serde_json::Map<_, _>>().into()
        }
    }
}

/// Returns the shape of values that have either shape. An object or an array says more than `null`.
fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (one, other) if one == other => one,
        (Value::Object(mut one), Value::Object(other)) => {
            for (key, value) in other {
                let value = match one.remove(&key) {
                    Some(before) => merged(before, value),
                    None => value,
                };
                one.insert(key, value);
            }
            one.sort_keys();
            one.into()
        }
        (Value::Array(one), Value::Array(other)) => {
            let elements = one.into_iter().chain(other);
            elements.reduce(merged).into_iter().collect()
        }
        (Value::String(one), Value::String(other)) => {
            let mut types: Vec<&str> = one.split(" or ").chain(other.split(" or ")).collect();
            types.sort_unstable();
            types.dedup();
            types.join(" or ").into()
        }
        (Value::String(_), other) => other,
        (one, _) => one,
    }
}

/// Parses standard output, which has exactly one object.
#[track_caller]
fn parsed(said: &CommandOutput) -> Value {
    let value = serde_json::from_str(&said.stdout);
    let value: Value = value.unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert!(value.is_object(), "{said:?}");
    value
}

/// Runs each line, and compares the shape of its JSON with a snapshot.
#[track_caller]
fn check(test: &TestEnv, lines: &[(&str, &str)]) {
    for (name, line) in lines {
        let said = look(test, &line.replace("CHANNEL", &test.channel));
        let found = parsed(&said);
        assert_eq!(found["schema"], format!("condense.{name}/1"), "{said:?}");
        assert_eq!(found.as_object().unwrap().keys().next().unwrap(), "schema");
        let text = serde_json::to_string_pretty(&shape(&found)).unwrap();
        snapshot::settings("json").bind(|| insta::assert_snapshot!(*name, text));
    }
}

#[test]
fn results_about_packages_have_their_shape() {
    let test = prepared();
    let file = test.write(
        "three.yml",
        "channels: [CHANNEL]\ndependencies: [gated, no-programs]\n",
    );
    test.build(&[file.to_str().unwrap()]).succeeded();
    check(
        &test,
        &[
            ("packages", "packages --json mine"),
            ("size", "size --json wheels.sqfs"),
            ("diff", "diff --json mine ./installation"),
            ("why", "why --json mine library"),
            ("tree", "tree --json mine"),
            ("export", "export --json mine"),
            ("spec", "spec --json three.yml"),
            ("check", "check --json --site lumi-g three.yml"),
            ("lock", "lock --json one.yml"),
        ],
    );
}

#[test]
fn results_about_installations_have_their_shape() {
    let test = prepared();
    check(
        &test,
        &[
            ("list", "list --json"),
            ("info", "info --json mine"),
            ("verify", "verify --json --no-start mine"),
            ("rollback", "rollback --json mine"),
            ("gc", "gc --json --keep 0 mine"),
            ("remove", "remove --json --yes mine"),
        ],
    );
    assert!(!test.path("work/envs/mine").exists());
}

/// The builders say at the end what they have made, and nothing else on standard output.
#[test]
fn results_of_builds_have_their_shape() {
    let test = TestEnv::new();
    test.environment("tool");
    check(
        &test,
        &[
            (
                "dry-run",
                "new --json --dry-run ./made --base-image ../base env.yml",
            ),
            ("new", "new --json ./made --base-image ../base env.yml"),
            ("update", "update --json ./made no-programs -c CHANNEL"),
            ("build", "build --json out.sif --base-image ../base env.yml"),
        ],
    );
    // The names of other tools give the same objects.
    for (schema, line) in [
        (
            "condense.new/1",
            "conda-containerize new --json --prefix other --base-image ../base env.yml",
        ),
        (
            "condense.build/1",
            "cotainr build --json other.sif --base-image ../base --conda-env env.yml",
        ),
        (
            "condense.new/1",
            "wrap-container --json --prefix wrapped -w /bin/sh ../base",
        ),
    ] {
        let said = look(&test, line);
        assert_eq!(parsed(&said)["schema"], schema, "{said:?}");
    }
    error(&test, "new --json ./made --base-image ../base env.yml", 1);
    error(&test, "build --json out.sif", 2);
    let again = "cotainr build --json other.sif --base-image ../base --conda-env env.yml";
    assert_eq!(error(&test, again, 1)["hint"], "add `--yes`");
}

#[test]
fn results_about_images_have_their_shape() {
    let test = prepared();
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests");
    for (from, to) in [
        ("images/zstd.sqfs", "root.sqfs"),
        ("keys/plain.secret.asc", "secret.asc"),
        ("keys/plain.asc", "public.asc"),
    ] {
        fs_err::copy(stored.join(from), test.path("work").join(to)).unwrap();
    }
    check(
        &test,
        &[
            ("image-pack", "image pack --json wheels again.sqfs"),
            ("image-info", "image info --json root.sqfs"),
            ("image-ls", "image ls --json root.sqfs"),
            ("image-verify", "image verify --json root.sqfs"),
            ("image-diff", "image diff --json root.sqfs wheels.sqfs"),
            ("image-extract", "image extract --json wheels.sqfs out"),
            ("sif-new", "sif new --json new.sif"),
            ("sif-add", "sif add --json --type generic new.sif one.yml"),
            ("sif-sign", "sif sign --json --key secret.asc new.sif"),
            ("sif-verify", "sif verify --json --key public.asc new.sif"),
            ("sif-list", "sif list --json new.sif"),
            ("sif-del", "sif del --json new.sif 2"),
            ("sif-inspect", "sif inspect --json mine.sif"),
            (
                "job",
                "job --json --site lumi-g --account p mine.sif -- ./a.out",
            ),
            ("job-masks", "job masks --json --site lumi-g"),
            ("stage", "stage --json --to node mine.sif"),
        ],
    );
}

#[test]
fn results_about_the_machine_have_their_shape() {
    let test = prepared();
    test.write(
        "catalogue.toml",
        &format!(
            "schema = 1\n[image.mine]\nlocation = [\"{}\"]\n",
            test.path("base").display()
        ),
    );
    check(
        &test,
        &[
            ("base-ls", "base ls --json --catalogue catalogue.toml"),
            (
                "base-show",
                "base show --json mine --catalogue catalogue.toml",
            ),
            ("base-facts", "base facts --json ../base"),
            ("base-sites", "base sites --json"),
            ("base-find", "base find --json rocm=99 pytorch"),
            ("cache-info", "cache info --json"),
            ("cache-clean", "cache clean --json"),
            ("cache-verify", "cache verify --json"),
            ("doctor", "doctor --json --site lumi-g"),
            ("explain", "explain --json mpi-abi"),
        ],
    );
}

/// Runs a line that fails, and returns the error object without its schema.
#[track_caller]
fn error(test: &TestEnv, line: &str, status: i32) -> Value {
    let said = look(test, line);
    let mut value = parsed(&said);
    assert_eq!(said.status, status, "{said:?}");
    assert_eq!(value["schema"], "condense.error/1", "{said:?}");
    assert_eq!(value["exit_code"], status, "{said:?}");
    let message = value["error"]["message"].as_str().unwrap();
    let words: Vec<&str> = said.stderr.split_whitespace().collect();
    let first = message.lines().next().unwrap();
    assert!(words.join(" ").contains(first), "{said:?}");
    value["error"].take()
}

/// An error is one object on standard output and words on standard error, with the same status as
/// without `--json`: B15.
#[test]
fn errors_are_objects_with_the_exit_code() {
    let test = TestEnv::new();
    test.write("bad.yml", "dependencies:\n  - tool ==== 3\n");
    test.write("bad.toml", "schema = 1\n[site.here]\ngpu = 7\n");
    let found = error(&test, "spec --json bad.yml", 1);
    assert_eq!(
        found["location"],
        json!({"file": "bad.yml", "line": 2, "column": 5})
    );
    let found = error(&test, "explain --json mpi", 2);
    assert_eq!(found["hint"], "did you mean `mpi-abi`?");
    assert_eq!(found["location"], Value::Null);
    let found = error(&test, "check --json nosuch", 2);
    assert_eq!(
        found["message"],
        "there is no file, installation or image `nosuch`"
    );
    let found = error(&test, "base --catalogue bad.toml --json ls", 1);
    assert_eq!(found["location"]["line"], 3);
    for line in [
        "info --json nothing",
        "remove --json nothing",
        "sif list --json bad.yml",
    ] {
        error(&test, line, 1);
    }
    // The command line itself may be the mistake.
    let found = error(&test, "info --jsn --json x", 2);
    assert_eq!(found["message"], "unexpected argument '--jsn' found");
    assert_eq!(found["hint"], "did you mean `--json`?");
    error(&test, "info --json", 2);
    error(&test, "frobnicate --json", 2);
}

#[test]
fn a_result_is_not_followed_by_an_error() {
    let test = TestEnv::new();
    let said = look(&test, "base find --json rocm=99");
    let value = parsed(&said);
    assert_eq!((said.status, &value["images"]), (1, &json!([])), "{said:?}");
    assert!(said.stderr.contains("no base image matches"), "{said:?}");
    // Without the option, standard output has no error.
    let said = look(&test, "info nothing");
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    // The option of a program that is run is not the option of `run`.
    let mut command = test.condense(&["run", "nothing", "python", "--json"]);
    let said = command.run();
    assert_eq!(said.stdout, "", "{said:?}");
}

/// Nobody can be asked on standard output while it has JSON.
#[test]
fn removing_with_json_asks_nothing() {
    let test = prepared();
    let found = error(&test, "remove --json mine", 1);
    assert_eq!(found["hint"], "add `--yes`");
    assert!(test.path("work/envs/mine").exists());
}

//! Tests of `condense build` with definition files, without a runtime.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv, finish};

const HEAD: &str = "Bootstrap: localimage\nFrom: ../base\n";

/// Test with a definition file of these sections on a small base.
fn with(sections: &str) -> TestEnv {
    let test = TestEnv::new();
    test.write("my.def", &format!("{HEAD}{sections}"));
    test
}

/// Runs `condense build`. Scratch cannot be made, so a build that needs any fails.
fn build(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.condense(&["build"]);
    command
        .args(arguments)
        .env("TMPDIR", "/nowhere")
        .env("SOURCE_DATE_EPOCH", "1700000000");
    command.run()
}

fn metadata(test: &TestEnv, image: &str) -> Value {
    let said = test.condense(&["sif", "dump", image, "2"]).run();
    let value: Value = serde_json::from_str(&said.succeeded().stdout).unwrap();
    value["data"]["attributes"].clone()
}

fn listing(test: &TestEnv, image: &str) -> String {
    let said = test.condense(&["image", "ls", image]).run();
    said.succeeded().stdout
}

/// Rows D6, D15, D16 and D17: nothing is executed, no scratch is made, the image has everything.
#[test]
fn an_image_without_scripts_is_made_without_a_runtime_and_without_scratch() {
    let test = with(
        "%files\n  tool /opt/\n%environment\n  export A=1\n%labels\n  maker me\n%help\n  Help.\n%runscript\n  exec /opt/tool\n%test\n  true\n",
    );
    test.write("tool", "#!/bin/sh\n");
    let said = build(&test, &["my.def", "out.sif", "--notest"]).succeeded();
    assert!(said.stdout.contains("taken as they are") || said.stderr.contains("taken as they are"));
    let listing = listing(&test, "out.sif");
    for path in [
        "opt/tool",
        ".singularity.d/Singularity",
        ".singularity.d/runscript.help",
        ".singularity.d/test",
    ] {
        assert!(listing.contains(path), "`{path}` is not in {listing}");
    }
    let attributes = metadata(&test, "out.sif");
    assert_eq!(attributes["runscript"], "#!/bin/sh\n\n  exec /opt/tool");
    assert_eq!(attributes["helpfile"], "  Help.");
    let environment = &attributes["environment"]["/.singularity.d/env/90-environment.sh"];
    assert!(
        environment.as_str().unwrap().ends_with("\n  export A=1"),
        "{environment}"
    );
    let labels = &attributes["labels"];
    assert_eq!(labels["maker"], "me");
    let schema = |name: &str| labels[format!("org.label-schema.{name}")].clone();
    assert_eq!(
        schema("build-date"),
        "Tuesday_14_November_2023_22:13:20_UTC"
    );
    assert_eq!(schema("usage.singularity.deffile.from"), "../base");
    assert_eq!(
        labels["condense.base"],
        test.path("base").canonicalize().unwrap().to_str().unwrap()
    );
    test.left_nothing();
}

/// Row D16: the same file gives the same bytes, in either order of the words and with any name.
#[test]
fn the_same_definition_gives_the_same_bytes() {
    let test = with("%files\n  my.def /opt/\n");
    test.write(
        "recipe",
        &format!("# comment\n\n{HEAD}%files\n  my.def /opt/\n"),
    );
    build(&test, &["my.def", "one.sif"]).succeeded();
    build(&test, &["two.sif", "my.def"]).succeeded();
    build(&test, &["three.sif", "./recipe"]).succeeded();
    let read = |name: &str| fs_err::read(test.path("work").join(name)).unwrap();
    assert!(read("one.sif") == read("two.sif"));
    assert_eq!(
        metadata(&test, "three.sif")["deffile"]
            .as_str()
            .unwrap()
            .lines()
            .count(),
        4
    );
    let made = metadata(&test, "one.sif");
    build(&test, &["one.sif", "my.def", "--force"]).succeeded();
    assert_eq!(metadata(&test, "one.sif"), made);
}

/// Row D16: the mode of the image follows the mask, and a file that is there stays without --force.
#[test]
fn the_image_has_the_mode_of_the_mask() {
    let test = with("");
    let mut command = test.command("/bin/sh");
    let line = "umask 027; exec \"$0\" build my.def out.sif";
    command.args(["-c", line, env!("CARGO_BIN_EXE_condense")]);
    command.run().succeeded();
    let mode = |name: &str| {
        fs_err::metadata(test.path(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("work/out.sif") & 0o777, 0o750);
    let said = build(&test, &["my.def", "out.sif"]);
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("is there already"), "{said:?}");
}

/// Rows D3, D5, D8, D12 and D15, and the options of runtimes: one line, and a hint.
#[test]
fn what_cannot_be_built_is_refused_in_one_line() {
    let test = with("%files\n  tol /opt/\n");
    test.write("tool", "x");
    test.write("image.def", "Bootstrap: localimage\nFrom: none.sif\n");
    test.write("name.def", "Bootstrap: localimage\nFrom: debian:12\n");
    test.write(
        "scheme.def",
        "Bootstrap: localimage\nFrom: docker://debian:12\n",
    );
    test.write("bad.def", "Bootstrap: docker\nFrom: A B\n");
    test.write("setup.def", &format!("{HEAD}%setup\n  touch /x\n"));
    test.write("test.def", &format!("{HEAD}%test\n  true\n"));
    test.write("argument.def", &format!("{HEAD}%labels\n  v {{{{ V }}}}\n"));
    test.write(
        "key.def",
        &format!("{HEAD}Fingerprints: {}\n", "A".repeat(40)),
    );
    test.write("circle.def", &format!("{HEAD}%files\n  circle /x\n"));
    fs_err::create_dir(test.path("work/circle")).unwrap();
    std::os::unix::fs::symlink(".", test.path("work/circle/again")).unwrap();
    let lines: &[&[&str]] = &[
        &["my.def"],
        &["my.def", "other.def"],
        &["my.def", "out.sif", "numpy"],
        &["out.sif", "my.def", "numpy"],
        &["my.def", "out.sif", "--pip", "rich"],
        &["my.def", "out.sif", "--base-image", "base.sif"],
        &["my.def", "out.sif", "--layout", "overlay"],
        &["out.sif", "numpy", "--build-arg", "A=1"],
        &["out.sif", "numpy", "--notest"],
        &["my.def", "out.sif"],
        &["none.def", "out.sif"],
        &["my.def", "nowhere/out.sif"],
        &["image.def", "out.sif"],
        &["name.def", "out.sif"],
        &["scheme.def", "out.sif"],
        &["bad.def", "out.sif"],
        &["setup.def", "out.sif"],
        &["test.def", "out.sif"],
        &["argument.def", "out.sif"],
        &["argument.def", "out.sif", "--build-arg", "V"],
        &[
            "argument.def",
            "out.sif",
            "--build-arg",
            "V=1",
            "--build-arg",
            "W=1",
        ],
        &["key.def", "out.sif"],
        &["circle.def", "out.sif"],
        &["my.def", "out.sif", "--section", "fils"],
        &["my.def", "out.sif", "--bind", "/nowhere"],
        &["my.def", "out.sif", "--bind", "/etc:x"],
        &["my.def", "out.sif", "--bind", "/etc:/x:ro"],
        &["my.def", "out.sif", "--sandbox"],
        &["my.def", "out.sif", "--update"],
        &["my.def", "out.sif", "--remote"],
        &["my.def", "out.sif", "--encrypt"],
        &["my.def", "out.sif", "--arch", "riscv64"],
        &["my.def", "out.sif", "--library", "https://x"],
        &["my.def", "out.sif", "--mksquashfs-args", "-comp xz"],
        &["my.def", "out.sif", "--mount", "type=bind"],
        &["my.def", "out.sif", "--writable-tmpfs"],
    ];
    let mut shown = String::new();
    for line in lines {
        let said = build(&test, line);
        assert_ne!(said.status, 0, "{line:?}");
        let text = said
            .stderr
            .replace(&test.path("").display().to_string(), "[TEST]/");
        shown.push_str(&format!(
            "$ build {} -> {}\n{text}\n",
            line.join(" "),
            said.status
        ));
    }
    insta::assert_snapshot!("refused", shown);
    test.left_nothing();
    assert!(!test.path("work/out.sif").exists());
}

/// Row D3: notes about arguments end no build.
#[test]
fn unused_arguments_and_skipped_lines_are_warnings_if_asked() {
    let test = with("%arguments\n  V=1\n  no pair\n%labels\n  v {{ V }}\n");
    test.write("values", "V=2\nnone\n");
    let arguments = ["my.def", "out.sif", "--build-arg-file", "values"];
    let more = ["--build-arg", "W=1", "--warn-unused-build-args"];
    let said = build(&test, &[&arguments[..], &more].concat()).succeeded();
    for words in [
        "values:2:1: `none` is skipped",
        "my.def:5:3: `no pair` is skipped",
        "uses the argument `W`",
    ] {
        assert!(said.stderr.contains(words), "`{words}` is not in {said:?}");
    }
    assert_eq!(metadata(&test, "out.sif")["labels"]["v"], "2");
}

/// Row D4: labels and help of the source stay, unless they are to be replaced.
#[test]
fn labels_and_help_of_the_source_stay_without_force() {
    let test = with("%labels\n  maker one\n%help\n  One.\n");
    build(&test, &["my.def", "one.sif"]).succeeded();
    test.write(
        "two.def",
        "Bootstrap: localimage\nFrom: one.sif\n%labels\n  maker two\n  new yes\n%help\n  Two.\n",
    );
    let said = build(&test, &["two.def", "two.sif"]).succeeded();
    assert!(
        said.stderr
            .contains("the label `maker` of the source stays"),
        "{said:?}"
    );
    assert!(
        said.stderr
            .contains("two.def:6:1: the help of the source stays"),
        "{said:?}"
    );
    let kept = metadata(&test, "two.sif");
    assert_eq!(
        (&kept["labels"]["maker"], &kept["helpfile"]),
        (&"one".into(), &"  One.".into())
    );
    assert_eq!(kept["labels"]["new"], "yes");
    build(&test, &["two.def", "two.sif", "--force"]).succeeded();
    let new = metadata(&test, "two.sif");
    assert_eq!(
        (&new["labels"]["maker"], &new["helpfile"]),
        (&"two".into(), &"  Two.".into())
    );
    let digest = new["labels"]["condense.base.digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert!(listing(&test, "two.sif").contains("bootstrap_history/Apptainer0"));
}

/// Row D8: a source must be signed by the keys of its header.
#[test]
fn a_source_must_be_signed_by_the_keys_that_the_stage_names() {
    let test = with("");
    build(&test, &["my.def", "base.sif"]).succeeded();
    let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/keys");
    test.write("passphrase", "open sesame\n");
    let mut sign = test.condense(&["sif", "sign", "base.sif", "--passphrase-file", "passphrase"]);
    sign.arg("--key").arg(keys.join("locked.secret.asc"));
    sign.run().succeeded();
    let mut verify = test.condense(&["sif", "verify", "--json", "base.sif"]);
    verify.arg("--key").arg(keys.join("locked.asc"));
    let told: Value = serde_json::from_str(&verify.run().succeeded().stdout).unwrap();
    let signer = told["signatures"][0]["fingerprint"].as_str().unwrap();
    let signed_by = |fingerprint: &str| {
        let text = format!("Bootstrap: localimage\nFrom: base.sif\nFingerprints: {fingerprint}\n");
        test.write("signed.def", &text);
        build(&test, &["signed.def", "out.sif", "--force"])
    };
    let refused = |fingerprint: &str, words: &str| {
        let said = signed_by(fingerprint);
        assert_eq!(said.status, 1);
        let words = format!("signed.def:3:15: {words}");
        assert!(said.stderr.contains(&words), "`{words}` is not in {said:?}");
    };
    refused(signer, "the signature of the key");
    fs_err::create_dir_all(test.path("home/.apptainer/keys")).unwrap();
    let ring = test.path("home/.apptainer/keys/pgp-public");
    fs_err::copy(keys.join("locked.asc"), ring).unwrap();
    signed_by(signer).succeeded();
    signed_by(&signer.to_lowercase()).succeeded();
    let other = "0".repeat(40);
    refused(
        &format!("{signer}, {other}"),
        "`base.sif` is not signed by the key 000",
    );
    of_base(&test, &format!("Fingerprints: {signer}\n")).succeeded();
    let said = of_base(&test, "%labels\n  v {{ V }}\n");
    said.failed_on_either_stream(1, &["`V` has no value", "or build the base first"]);
    // Another group of objects, which another key has signed.
    let sif = |words: &[&str]| test.condense(&[&["sif"], words].concat()).run().succeeded();
    sif(&[
        "add",
        "base.sif",
        "passphrase",
        "--type",
        "generic",
        "--group",
        "2",
    ]);
    let secret = keys.join("plain.secret.asc");
    let secret = secret.to_str().unwrap();
    sif(&["sign", "base.sif", "--key", secret, "--group", "2"]);
    refused(
        signer,
        &format!("the key {signer} has not signed the group 2"),
    );
    let words = [
        "sign",
        "base.sif",
        "--passphrase-file",
        "passphrase",
        "--group",
        "2",
    ];
    let locked = keys.join("locked.secret.asc");
    sif(&[&words[..], &["--key", locked.to_str().unwrap()]].concat());
    // The wanted key has signed everything, and nothing is known about the other one.
    refused(signer, "the signature of the key");
}

/// Builds an image on a definition file with these headers.
fn of_base(test: &TestEnv, headers: &str) -> CommandOutput {
    let text = format!("Bootstrap: localimage\nFrom: base.sif\n{headers}");
    test.write("base.def", &text);
    let words = [
        "cotainr",
        "build",
        "on-base.sif",
        "--base-image",
        "base.def",
        "-y",
    ];
    test.condense(&words).run()
}

/// An image that appears while another one is built under its name stays without --force.
#[test]
fn an_image_that_appears_during_the_build_stays() {
    let test = with("%test\n  true\n");
    let image = test.path("work/out.sif");
    let runtime = format!(
        "#!/bin/sh\ncase $* in *--version*) echo apptainer version 1.4.5; exit ;; esac\necho other >{}\n",
        image.display()
    );
    test.fake_program("apptainer", &runtime);
    let of_definition = ["build", "my.def", "out.sif"];
    let of_packages = [
        "build",
        "out.sif",
        "tool",
        "--base-image",
        "../base",
        "--channel",
    ];
    for words in [&of_definition[..], &of_packages] {
        let run = |force: &[&str]| {
            let mut command = test.condense(words);
            if words.last() == Some(&"--channel") {
                command.arg(&test.channel);
            }
            command.args(force).run()
        };
        let said = run(&[]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(
            said.stderr.contains("out.sif` is there already"),
            "{said:?}"
        );
        assert_eq!(fs_err::read_to_string(&image).unwrap(), "other\n");
        run(&["--force"]).succeeded();
        assert!(fs_err::metadata(&image).unwrap().len() > 1000);
        fs_err::remove_file(&image).unwrap();
        test.left_nothing();
    }
}

/// An option that nothing uses is said, and a dry run says how %post would run.
#[test]
fn options_without_effect_are_said() {
    let test = with("%help\n  Help.\n");
    test.write("post.def", &format!("{HEAD}%post\n  true\n"));
    let options = ["--explain", "--no-root", "--bind", "/etc", "--nv", "--rocm"];
    let said = build(&test, &[&["my.def", "out.sif"], &options[..]].concat()).succeeded();
    for words in [
        "`--explain` has no effect: no %post runs",
        "`--no-root` has no effect: no %post runs",
        "`--bind` has no effect: neither %post nor %test runs",
        "`--nv` has no effect: no %test runs",
        "`--rocm` has no effect: no %test runs",
    ] {
        assert!(said.stderr.contains(words), "`{words}` is not in {said:?}");
    }
    let words = ["build", "post.def", "dry.sif", "--dry-run", "--explain"];
    let said = test.condense(&words).run();
    let text = said.text();
    assert!(
        text.contains("%post         the script runs as root in namespaces of its own")
            || text.contains("%post         not with namespaces of its own: ")
            || text.contains("a script cannot run as root here: "),
        "{text}"
    );
    assert!(!text.contains("has no effect"), "{text}");
    test.left_nothing();
}

/// Row D7: a failing test leaves no image, and `--notest` leaves the test out.
#[test]
fn a_failing_test_leaves_no_image() {
    let test = with("%test\n  exit 3\n");
    test.fake_program(
        "apptainer",
        "#!/bin/sh\ncase $* in *--version*) echo apptainer version 1.4.5; exit ;; esac\necho \"$*\" >> calls\necho from the test\nexit 3\n",
    );
    let said = build(&test, &["my.def", "out.sif"]);
    assert_eq!(said.status, 1);
    assert!(
        said.stderr
            .contains("my.def:3:1: %test failed: exit status 3\n  from the test"),
        "{said:?}"
    );
    assert!(!test.path("work/out.sif").exists());
    test.left_nothing();
    build(&test, &["my.def", "out.sif", "--notest"]).succeeded();
}

/// A dry run checks everything and writes nothing.
#[test]
fn a_dry_run_writes_nothing() {
    let test = with("%files\n  my.def /opt/\n%post\n  true\n");
    let mut command = test.condense(&["build", "my.def", "out.sif", "--dry-run"]);
    let said = command.run().succeeded();
    let text = said
        .stdout
        .replace(&test.path("").display().to_string(), "[TEST]/");
    insta::assert_snapshot!("dry_run", text);
    assert!(!test.path("work/out.sif").exists());
    test.left_nothing();
}

/// `cotainr build` and `condense build` take a definition file as base, and build it first.
#[test]
fn a_definition_file_is_the_base_of_another_image() {
    let test = with("%files\n  my.def /opt/\n%labels\n  of the-base\n");
    let cotainr = ["cotainr", "build", "out.sif", "--base-image", "my.def"];
    test.condense(&cotainr).run().succeeded();
    assert!(listing(&test, "out.sif").contains("opt/my.def"));
    assert_eq!(metadata(&test, "out.sif")["labels"]["of"], "the-base");
    let packages = ["out2.sif", "tool", "--base-image", "my.def", "--channel"];
    let mut command = test.condense(&["build"]);
    command.args(packages).arg(&test.channel);
    command.run().succeeded();
    let listing = listing(&test, "out2.sif");
    assert!(listing.contains("opt/my.def") && listing.contains("bin/tool"));
    test.left_nothing();
    let environment = test.environment("tool");
    let mut command = test.program(&["new", "--base-image", "my.def", "--prefix"]);
    command.arg(test.installation()).arg(environment);
    command
        .run()
        .failed_on_either_stream(1, &["is a definition file", "condense build my.def"]);
}

/// Ctrl-C leaves neither an image nor anything beside it.
#[test]
fn an_interrupted_build_leaves_nothing() {
    let test = with("%files\n  bulk /opt/\n");
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 25) as u8
    });
    let bulk: Vec<u8> = noise.take(80_000_000).collect();
    fs_err::write(test.path("work/bulk"), bulk).unwrap();
    for _ in 0..2 {
        let mut command = test.condense(&["build", "my.def", "out.sif"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // The directory beside the image is there while it is written.
        while test.beside().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let id = child.id().to_string();
        let mut kill = std::process::Command::new("kill");
        kill.args(["-INT", &id]).status().unwrap();
        let said = finish(child);
        assert!(said.status == 130, "{said:?}");
        assert!(!test.path("work/out.sif").exists());
        test.left_nothing();
    }
}

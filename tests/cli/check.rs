//! Tests of `condense check`, `explain` and `doctor` with environment files, installations, images
//! and this machine, and of the list of codes.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    harness::{CommandOutput, Run, TestEnv, packages, write_base},
    support::channel::Package,
};

fn condense(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(arguments).run()
}

/// Returns a program that needs a library which does not exist.
fn broken() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs_err::write(at("l.c"), "int f(void) { return 1; }\n").unwrap();
    fs_err::write(at("p.c"), "int f(void); int main(void) { return f(); }\n").unwrap();
    let cc = |words: &[&str]| {
        let status = Command::new("cc")
            .args(words)
            .current_dir(dir.path())
            .status();
        assert!(status.unwrap().success());
    };
    let library = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libnowhere.so.7",
        "-o",
        "l.so",
        "l.c",
    ];
    cc(&library);
    cc(&["-o", "p", "p.c", "l.so"]);
    fs_err::read(at("p")).unwrap()
}

fn codes(json: &str, list: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(json).unwrap();
    let findings = value[list].as_array().unwrap().iter();
    findings
        .map(|finding| {
            for key in ["severity", "what", "seen", "why", "fix"] {
                assert!(!finding[key].as_str().unwrap().is_empty(), "{finding}");
            }
            finding["code"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_file_is_judged_by_the_site() {
    let test = TestEnv::new();
    let file = test.write(
        "gpu.yml",
        "channels: [conda-forge]\ndependencies:\n- python\n- pip\n- pip:\n  - torch==2.5.1\n",
    );
    let file = file.to_str().unwrap();
    let said = condense(&test, &["check", file]).succeeded();
    assert_eq!(said.stdout, "");
    assert_eq!(said.stderr, "no findings\n");
    let said = condense(&test, &["check", file, "--site", "lumi-g"]);
    assert_eq!(said.status, 1, "{said:?}");
    for words in [
        "error[cuda-on-amd]: what PyPI has as `torch`",
        "seen: ",
        "why: ",
        "whl/rocm6.3",
    ] {
        assert!(said.stdout.contains(words), "{said:?}");
    }
    assert_eq!(said.stderr, "1 error\n");
    condense(&test, &["check", file, "--site", "puhti"]).succeeded();

    let allow = [
        "check",
        file,
        "--site",
        "lumi-g",
        "--json",
        "--allow",
        "cuda-on-amd",
    ];
    let said = condense(&test, &allow).succeeded();
    assert_eq!(codes(&said.stdout, "findings"), Vec::<String>::new());
    assert_eq!(codes(&said.stdout, "allowed"), ["cuda-on-amd"]);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    let keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        ["schema", "subject", "kind", "site", "findings", "allowed"]
    );
    assert_eq!(
        (&value["kind"], &value["site"]),
        (&"file".into(), &"lumi-g".into())
    );
    let finding = value["allowed"][0].as_object().unwrap();
    let keys: Vec<&str> = finding.keys().map(String::as_str).collect();
    assert_eq!(keys, ["code", "severity", "what", "seen", "why", "fix"]);
    let said = condense(&test, &allow[..5]);
    assert_eq!(said.status, 1);
    assert_eq!(codes(&said.stdout, "findings"), ["cuda-on-amd"]);

    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(&allow[..4])
        .env("CONDENSE_ALLOW", "moving-source,cuda-on-amd");
    command.run().succeeded();
    command.env("CONDENSE_ALLOW", "cuda-on-amb");
    let said = command.run();
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("`cuda-on-amb`"), "{said:?}");
}

#[test]
fn warnings_alone_are_no_failure() {
    let test = TestEnv::new();
    let file = test.write(
        "env.yml",
        "channels: [defaults]\ndependencies:\n- pip:\n  - git+https://example.org/tool.git\n",
    );
    let said = condense(&test, &["check", file.to_str().unwrap(), "--json"]).succeeded();
    assert_eq!(
        codes(&said.stdout, "findings"),
        ["channel-terms", "moving-source"]
    );
    let base = ["check", file.to_str().unwrap(), "--base", "docker://ubuntu"];
    let said = condense(&test, &base).succeeded();
    assert!(
        said.stdout.contains("`docker://ubuntu` may lead"),
        "{said:?}"
    );
}

#[test]
fn an_installation_is_judged_with_its_base() {
    let mut all = packages();
    all.push(Package::new("broken", "1.0").program("bin/broken", broken()));
    let test = TestEnv::with(&all);
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let dir = test.installation();
    let said = condense(&test, &["check", dir.to_str().unwrap(), "--json"]).succeeded();
    // A base that is a directory can only be linked.
    assert_eq!(codes(&said.stdout, "findings"), ["moving-link"]);

    let env = test.environment("tool, broken");
    let mut build = test.new_command(&["--force", env.to_str().unwrap()]);
    build.env("CONDENSE_ALLOW", "missing-library");
    build.run().succeeded();
    let said = condense(&test, &["check", dir.to_str().unwrap()]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stdout
            .contains("error[missing-library]: `libnowhere.so.7`"),
        "{said:?}"
    );
    assert!(said.stdout.contains("bin/broken"), "{said:?}");
}

#[test]
fn a_build_refuses_what_would_not_run() {
    let mut all = packages();
    all.push(Package::new("broken", "1.0").program("bin/broken", broken()));
    let test = TestEnv::with(&all);
    let env = test.environment("tool, broken");
    let words = [
        "ERROR",
        "[missing-library]",
        "libnowhere.so.7",
        "bin/broken",
        "CONDENSE_ALLOW",
    ];
    test.build(&[env.to_str().unwrap()]).failed(1, &words);
    assert!(!test.installation().join("bin").exists());
    test.left_nothing();
    // `cotainr build` reports findings in its own form.
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let root = test.path("base");
    let base = test.path("work/base.sqfs");
    let pack = [
        "image",
        "pack",
        root.to_str().unwrap(),
        base.to_str().unwrap(),
    ];
    condense(&test, &pack).succeeded();
    command.args([
        "cotainr",
        "build",
        "image.sif",
        "--accept-licenses",
        "--base-image",
    ]);
    command.arg(&base).arg("--conda-env").arg(&env);
    let said = command.run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("[missing-library] `libnowhere.so.7`"),
        "{said:?}"
    );
    assert!(!test.path("work/image.sif").exists());
    command.env("CONDENSE_ALLOW", "missing-library");
    command.run().succeeded();
    // `pip-containerize` reads the same variable, and reports an unknown code before it starts.
    let mut command = test.new_command(&[env.to_str().unwrap()]);
    command.env("CONDENSE_ALLOW", "all");
    command
        .run()
        .failed(1, &["CONDENSE_ALLOW: `all` is no code"]);
}

#[test]
fn a_build_for_the_other_gpus_ends_before_anything_is_fetched() {
    let mut all = packages();
    let cuda = Package::new("pytorch-cuda", "12.1").program("bin/f", "#!/bin/sh\n");
    all.extend([
        cuda,
        Package::new("framework", "1.0").depends("pytorch-cuda"),
    ]);
    let test = TestEnv::with(&all);
    let env = test.environment("framework");
    let said = test.build(&[env.to_str().unwrap(), "--site", "lumi-g"]);
    let words = [
        "[cuda-on-amd] `pytorch-cuda 12.1 0` is built for CUDA",
        "the solution",
    ];
    let said = said.failed(1, &words);
    assert!(!said.stdout.contains("Fetched"), "{said:?}");
    test.left_nothing();
    let requirements = test.write(
        "pip.yml",
        "channels: [CHANNEL]\ndependencies:\n- tool\n- pip\n- pip:\n  - torch\n",
    );
    let said = test.build(&[requirements.to_str().unwrap(), "--site", "lumi-g"]);
    let said = said.failed(
        1,
        &["[cuda-on-amd] what PyPI has as `torch`", "whl/rocm6.3"],
    );
    assert!(!said.stdout.contains("channels in"), "{said:?}");
    test.build(&[env.to_str().unwrap(), "--site", "puhti"])
        .succeeded();
}

#[test]
fn warnings_of_a_build_are_one_line_each() {
    let mut all = packages();
    all.push(
        Package::new("linked", "1.0")
            .link("share/data", "/scratch/project/data")
            .program("bin/l", "#!/bin/sh\n"),
    );
    let test = TestEnv::with(&all);
    let env = test.environment("linked");
    let said = test.build(&[env.to_str().unwrap()]).succeeded();
    let lines = said
        .stdout
        .lines()
        .filter(|line| line.contains("[moving-link]"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{said:?}");
    assert!(lines[0].starts_with("[ WARNING ] "), "{said:?}");
    assert!(
        lines[0].contains("share/data -> /scratch/project/data"),
        "{said:?}"
    );
}

#[test]
fn an_image_and_a_directory_are_judged() {
    let test = TestEnv::new();
    let root = test.path("work/root");
    write_base(&root, "2.36");
    let env = root.join("opt/env");
    fs_err::create_dir_all(env.join("bin")).unwrap();
    fs_err::create_dir_all(env.join("conda-meta")).unwrap();
    let program = env.join("bin/broken");
    fs_err::write(&program, broken()).unwrap();
    fs_err::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let on_disk = [
        "check",
        env.to_str().unwrap(),
        "--base",
        root.to_str().unwrap(),
        "--json",
    ];
    let said = condense(&test, &on_disk);
    assert_eq!(codes(&said.stdout, "findings"), ["missing-library"]);
    let image = test.path("work/image.sqfs");
    let (from, to) = (root.to_str().unwrap(), image.to_str().unwrap());
    condense(&test, &["image", "pack", from, to]).succeeded();
    let said = condense(&test, &["check", to, "--json"]);
    assert_eq!(
        (said.status, codes(&said.stdout, "findings")),
        (1, vec!["missing-library".to_owned()])
    );
    // The image is compressed with zstd, which LUMI's runtime does not read.
    let lumi = [
        "check",
        to,
        "--json",
        "--site",
        "lumi-c",
        "--allow",
        "missing-library",
    ];
    let said = condense(&test, &lumi);
    assert_eq!(
        (said.status, codes(&said.stdout, "findings")),
        (1, vec!["image-codec".to_owned()])
    );
    // There is no finding after the base has the library.
    fs_err::write(root.join("lib/x86_64-linux-gnu/libnowhere.so.7"), "x").unwrap();
    let said = condense(&test, &on_disk).succeeded();
    assert_eq!(codes(&said.stdout, "findings"), Vec::<String>::new());
    let said = condense(&test, &["check", to, "--base", from]);
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("its own base"), "{said:?}");
}

#[test]
fn what_cannot_be_checked_is_no_finding() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    let file = file.to_str().unwrap();
    for (arguments, words) in [
        (&["check", "nowhere.yml"][..], "nowhere.yml"),
        (&["check", file, "--site", "atlantis"], "`atlantis`"),
        (&["check", file, "--allow", "everything"], "everything"),
        (&["check"], "FILE|NAME|DIR|SIF"),
    ] {
        let said = condense(&test, arguments);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}

#[test]
fn codes_are_explained_and_the_page_has_them_all() {
    let test = TestEnv::new();
    let said = condense(&test, &["explain", "mpi-abi"]).succeeded();
    for words in ["error[mpi-abi]", "why: ", "fix: ", "--allow mpi-abi"] {
        assert!(said.stdout.contains(words), "{said:?}");
    }
    let list = condense(&test, &["explain"]).succeeded().stdout;
    let page = condense(&test, &["explain", "--all"]).succeeded().stdout;
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes.md");
    let committed = fs_err::read_to_string(committed).unwrap();
    assert_eq!(
        page, committed,
        "run `condense explain --all > docs/codes.md`"
    );
    assert!(list.lines().count() > 20);
    for line in list.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(page.contains(&format!("### {name}\n")), "{name}");
    }
    let said = condense(&test, &["explain", "nothing"]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""));
    assert!(said.stderr.contains("condense explain"), "{said:?}");
}

#[test]
fn the_doctor_looks_at_this_machine() {
    let test = TestEnv::new();
    // A missing runtime is one error, whatever else is true of this machine.
    let said = condense(
        &test,
        &["doctor", "--offline", "--json", "--site", "lumi-g"],
    );
    assert_eq!(said.status, 1, "{said:?}");
    let found = codes(&said.stdout, "findings");
    assert!(found.contains(&"no-runtime".to_owned()), "{said:?}");
    assert!(!found.contains(&"site-unknown".to_owned()), "{said:?}");
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (value["site"].as_str(), value["facts"]["runtime"].as_str()),
        (Some("lumi-g"), Some("none"))
    );
    for fact in ["memory", "fuse", "overlay", "scratch", "fabric", "gpus"] {
        assert!(value["facts"][fact].is_string(), "{fact}: {said:?}");
    }
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let text = condense(&test, &["doctor", "--offline"]);
    assert!(
        text.stdout.contains("runtime           apptainer 1.4.5\n"),
        "{text:?}"
    );
    assert!(text.stdout.contains("note[site-unknown]"), "{text:?}");
    assert!(!text.stdout.contains("no-runtime"), "{text:?}");
    let said = condense(&test, &["doctor", "--site", "atlantis"]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""));
}

#[test]
fn a_report_is_one_page_that_needs_no_other() {
    let mut all = packages();
    all.push(
        Package::new("heavy", "1.0")
            .file("share/<heavy>", vec![7; 300_000])
            .file("lib/python3.11/site-packages/light/x", vec![1; 1_000])
            .link("share/data", "/scratch/a&b"),
    );
    let test = TestEnv::with(&all);
    let env = test.environment("tool, heavy");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let dir = test.installation();
    let page = test.path("work/report.html");
    let said = condense(
        &test,
        &["report", dir.to_str().unwrap(), "-o", "report.html"],
    );
    assert_eq!(said.succeeded().stdout, "");
    let page = fs_err::read_to_string(page).unwrap();
    for words in [
        "<!DOCTYPE html>",
        "<title>heavy 1.0: ",
        "<span class=\"name\">library</span>",
        "<td class=\"middle version\">2.0</td>",
        "moving-link",
        "share/data -&gt; /scratch/a&amp;b",
        "<th scope=\"row\">image sha256</th>",
        "heavy-1.0-0.conda <span class=\"badge conda\">conda</span></th>",
    ] {
        assert!(page.contains(words), "`{words}` is not in {page}");
    }
    // The page loads no scripts, styles or images from other places, and leads to none.
    for words in [
        "<script ", "<link", " src=", "href=\"h", "href=\"/", "url(", "<heavy>",
    ] {
        assert!(!page.contains(words), "`{words}` is in {page}");
    }
    assert_eq!(page.matches("<script>").count(), 1);
    for element in [
        "svg", "table", "body", "html", "style", "g", "code", "tr", "section",
    ] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
    // The table has one row for each package and one for the heading.
    let rows = page
        .split("id=\"lock\"")
        .nth(1)
        .unwrap()
        .matches("<tr")
        .count();
    assert_eq!(rows, 1 + 3);
    let printed = condense(&test, &["report", dir.to_str().unwrap()])
        .succeeded()
        .stdout;
    assert_eq!(printed, page);
}

#[test]
fn what_is_wrapped_is_judged_too() {
    let test = TestEnv::new();
    let dir = test.path("work/software");
    fs_err::create_dir_all(dir.join("bin")).unwrap();
    let program = dir.join("bin/broken");
    let write = |bytes: &[u8]| {
        fs_err::write(&program, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&program, mode).unwrap();
    };
    write(&broken());
    let wrap = |words: &[&str], allowed: &str| {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        command.args(words).env("CONDENSE_ALLOW", allowed);
        command.run()
    };
    let base = test.path("base");
    let base = base.to_str().unwrap();
    let install = [
        "wrap-install",
        "-w",
        "bin",
        "--base-image",
        base,
        "--prefix",
        "wrapped",
        dir.to_str().unwrap(),
    ];
    let words = [
        "[missing-library] `libnowhere.so.7`",
        "bin/broken",
        "CONDENSE_ALLOW",
    ];
    wrap(&install, "").failed(1, &words);
    assert!(!test.path("work/wrapped/bin").exists());
    test.left_nothing();
    wrap(&install, "missing-library").succeeded();
    write(b"#!/bin/sh\n");
    wrap(&[&install[..], &["--force"]].concat(), "").succeeded();

    // The check of a wrapped container examines the base image only.
    fs_err::create_dir_all(test.path("base/opt/rocm-5.4.3")).unwrap();
    let container = [
        "wrap-container",
        "-w",
        "/bin",
        "--prefix",
        "container",
        "--site",
    ];
    let at = |site| [&container[..], &[site, base]].concat();
    let words = ["[gpu-driver-range] ROCm 5.4.3", "the base image"];
    wrap(&at("lumi-g"), "").failed(1, &words);
    wrap(&at("puhti"), "").succeeded();
}

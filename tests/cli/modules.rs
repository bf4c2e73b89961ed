//! `condense module`, the commands that a module brings, and the images that are known everywhere.
//! Test comments begin with the number of the statement that a test shows.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use crate::harness::{CommandOutput, Run, TestEnv, names};

/// Runtime that prints its arguments, one on each line, and the value of a variable.
const RUNTIME: &str = "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
     for word; do echo \"$word\"; done\necho \"path $SINGULARITYENV_PREPEND_PATH\"\nexit 7\n";

/// Returns a test with a SIF `mine.sif` whose base has Python 3.11, and with a runtime.
pub(crate) fn prepared() -> TestEnv {
    let test = TestEnv::new();
    let python = test.path("base/usr/bin/python3.11");
    fs_err::write(&python, "#!/bin/sh\n").unwrap();
    fs_err::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    fs_err::os::unix::fs::symlink("python3.11", test.path("base/usr/bin/python3")).unwrap();
    test.environment("tool");
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    test.fake_program("apptainer", RUNTIME);
    test
}

pub(crate) fn module(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["module"][..], words].concat()).run()
}

const WORDS: [&str; 7] = [
    "mine.sif",
    "--name",
    "my-torch",
    "--version",
    "1",
    "--to",
    "mods",
];

/// Returns a test with a module, and the directory of the module.
pub(crate) fn written() -> (TestEnv, PathBuf) {
    let test = prepared();
    module(&test, &WORDS).succeeded();
    let root = test.path("work/software/my-torch/1");
    (test, root)
}

pub(crate) fn call(
    test: &TestEnv,
    root: &std::path::Path,
    name: &str,
    words: &[&str],
) -> CommandOutput {
    let mut command = test.command(root.join("bin").join(name));
    command.args(words).run()
}

/// M21: the files, and the two commands to type.
#[test]
fn a_module_is_written_with_its_directory() {
    let test = prepared();
    let said = module(&test, &WORDS).succeeded();
    let mods = test.path("work/mods");
    assert_eq!(
        said.stdout,
        format!("module use {}\nmodule load my-torch/1\n", mods.display())
    );
    assert_eq!(names(&mods.join("my-torch")), ["1", "1.lua"]);
    let root = test.path("work/software/my-torch/1");
    assert_eq!(
        names(&root),
        ["bin", "runscripts", "share", "user-software"]
    );
    let commands = names(&root.join("bin"));
    for name in ["start-shell", "python", "python3.11", "make-squashfs"] {
        assert!(commands.contains(&name.to_owned()), "{commands:?}");
    }
    let venv = root.join("user-software/venv/python/bin/python3.11");
    assert_eq!(
        fs_err::read_link(venv).unwrap(),
        PathBuf::from("/usr/bin/python3.11")
    );
    let text = fs_err::read_to_string(mods.join("my-torch/1.lua")).unwrap();
    let image = test.path("work/mine.sif");
    assert!(
        text.contains(&format!("  \"{}\",\n", image.display())),
        "{text}"
    );
    for word in [
        "SINGULARITYENV_WITH_CONDA",
        "family(\"condense_container\")",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    // M19: nothing of the machine that wrote it.
    let home = test.path("home").display().to_string();
    assert!(!text.contains(&home), "{text}");
    test.left_nothing();
}

/// R5: the run scripts are beside the module, and the user's own stay when it is written again.
#[test]
fn run_scripts_are_beside_the_module() {
    let (test, root) = written();
    let dir = root.join("runscripts");
    for script in condense_jobs::run_scripts() {
        let path = dir.join(script.name);
        assert_eq!(fs_err::read_to_string(&path).unwrap(), script.text);
        let is_executable = fs_err::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
        assert_eq!(is_executable, script.mode & 0o111 != 0, "{}", script.name);
    }
    fs_err::write(dir.join("get-master"), "mine").unwrap();
    fs_err::write(dir.join("own"), "mine").unwrap();
    fs_err::write(dir.join("conda-python-simple"), "old. Part of condense.").unwrap();
    module(&test, &[&WORDS[..], &["--force"]].concat()).succeeded();
    let text = |name: &str| fs_err::read_to_string(dir.join(name)).unwrap();
    assert_eq!(
        (text("get-master"), text("own")),
        ("mine".to_owned(), "mine".to_owned())
    );
    assert!(text("conda-python-simple").contains("exec "));
}

#[test]
fn a_dry_run_prints_the_file_and_writes_nothing() {
    let test = prepared();
    let said = module(
        &test,
        &[&WORDS[..], &["--dry-run", "--format", "tcl"]].concat(),
    );
    assert!(said.stdout.starts_with("#%Module\n"), "{said:?}");
    assert_eq!(said.stderr, "", "{said:?}");
    let odd = ["mine.sif", "--name", "a+b", "--to", "m[x]", "--dry-run"];
    let said = module(&test, &odd).succeeded();
    for words in [
        "finds no modules in",
        "takes what follows `+` for a variant",
    ] {
        assert!(said.stderr.contains(words), "{said:?}");
    }
    assert!(!test.path("work/mods").exists() && !test.path("work/software").exists());
    let said = module(&test, &[&WORDS[..], &["--json"]].concat()).succeeded();
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.module/1");
    assert_eq!(value["commands"][1], "module load my-torch/1");
}

/// M21: the usual place on LUMI, and an empty variable for no place at all.
#[test]
fn modules_go_to_the_users_own_easybuild_software() {
    let test = prepared();
    let run = |prefix: &str| {
        let mut command = test.condense(&["module", "mine.sif", "--name", "a", "--version", "1"]);
        command.env("EBU_USER_PREFIX", prefix).run()
    };
    let prefix = test.path("work/eb");
    let said = run(prefix.to_str().unwrap());
    assert!(said.stderr.contains("no directory for modules"), "{said:?}");
    fs_err::create_dir(&prefix).unwrap();
    run(prefix.to_str().unwrap()).succeeded();
    assert!(prefix.join("modules/container/a/1.lua").is_file());
    assert!(prefix.join("SW/container/a/1/bin/python").exists());
    fs_err::create_dir(test.path("home/EasyBuild")).unwrap();
    let said = run("");
    assert!(said.stderr.contains("--to MODDIR"), "{said:?}");
}

#[test]
fn bad_wishes_are_refused_in_one_line() {
    let (test, root) = written();
    let check = |words: &[&str], why: &str| {
        let said = module(&test, words);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(said.stderr.contains(why), "{why}: {said:?}");
    };
    check(&["nowhere.sif", "--to", "mods"], "nowhere.sif");
    check(&["env.yml", "--to", "mods"], "env.yml");
    check(&["../base", "--to", "mods"], "base");
    check(
        &["mine.sif", "--name", "a b", "--to", "mods"],
        "has a blank",
    );
    check(
        &["mine.sif", "--to", "a:b"],
        "cannot be a directory of modules",
    );
    check(
        &["mine.sif", "--to", "mods", "--root", "a,b"],
        "are split at",
    );
    check(
        &["mine.sif", "--to", "mods", "-w", "toool"],
        "did you mean `tool`?",
    );
    fs_err::write(test.path("work/file"), "").unwrap();
    check(&["mine.sif", "--to", "file"], "cannot write into");
    assert!(!test.path("work/software/mine").exists());

    // A module with the same text is no hindrance; another one is.
    module(&test, &WORDS).succeeded();
    let mine = root.join("user-software/mine");
    fs_err::write(&mine, "kept").unwrap();
    let file = test.path("work/mods/my-torch/1.lua");
    fs_err::write(&file, "-- by hand\n").unwrap();
    check(&WORDS, "is not a module of condense");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "-- by hand\n");
    // B9: `--force` keeps what users have installed, and removes commands that are gone.
    module(&test, &[&WORDS[..], &["--force", "-w", "tool"]].concat()).succeeded();
    assert!(root.join("bin/tool").exists());
    module(&test, &[&WORDS[..], &["--force"]].concat()).succeeded();
    assert!(root.join("bin/tool").symlink_metadata().is_err());
    assert_eq!(fs_err::read_to_string(&mine).unwrap(), "kept");
}

/// B3, B7: commands replace themselves by the runtime, with the binds of the module and the user's.
#[test]
fn commands_run_in_the_image() {
    let (test, root) = written();
    let said = call(&test, &root, "python", &["-c", "a b", ""]);
    let root_text = root.display();
    let binds =
        format!("{root_text}/runscripts:/runscripts,{root_text}/user-software:/user-software");
    let image = test.path("work/mine.sif").display().to_string();
    let expected = [
        "-s",
        "exec",
        "-B",
        &binds,
        &image,
        "python",
        "-c",
        "a b",
        "",
        "path /runscripts:/user-software/venv/python/bin:/usr/bin",
    ];
    assert_eq!(
        said.stdout.lines().collect::<Vec<_>>(),
        expected,
        "{said:?}"
    );
    assert_eq!(said.status, 7);
    // The module may be loaded and older than what lies in the directory now.
    let mut command = test.command(root.join("bin/start-shell"));
    command
        .args(["--", "tool", "x"])
        .env("SINGULARITY_BIND", format!("/mine:/m:ro,{binds}"))
        .env("SINGULARITY_BINDPATH", "/c.sqfs:/d:image-src=/");
    let said = command.run();
    let both = format!("/mine:/m:ro,/c.sqfs:/d:image-src=/,{binds}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(&lines[2..7], ["-B", &both, &image, "tool", "x"], "{said:?}");
    let said = call(&test, &root, "start-shell", &["-c", "pip list"]);
    assert!(said.stdout.contains("\nsh\n-c\npip list\n"), "{said:?}");
    let said = call(&test, &root, "start-shell", &["--"]);
    assert_eq!(said.status, 125, "{said:?}");

    // T3: a missing image is an error of the command, in LUMI's words.
    fs_err::rename(&image, test.path("work/away")).unwrap();
    let said = call(&test, &root, "python", &[]);
    assert_eq!((said.status, said.stdout.as_str()), (125, ""), "{said:?}");
    let words = "ERROR: Cannot locate the singularity container file mine.sif. One potential cause is that it may have been removed from the system.";
    assert!(said.stderr.contains(words), "{said:?}");
    let mut command = test.command(root.join("bin/python"));
    let said = command.env("SIFMYMINTORCH", test.path("work/away")).run();
    assert!(said.stdout.contains("/away\npython\n"), "{said:?}");
}

/// B4, B5, B8, M9: LUMI's exit codes and first words; commands choose the file when they start.
#[test]
fn user_software_becomes_one_file_and_back() {
    let (test, root) = written();
    let (dir, packed) = (
        root.join("user-software"),
        root.join("user-software.squashfs"),
    );
    let said = call(&test, &root, "unmake-squashfs", &[]);
    assert_eq!(said.status, 2);
    let first = "$CONTAINERROOT/user-software.squashfs does not exist so cannot uncompress it.";
    assert!(said.stderr.starts_with(first), "{said:?}");

    let said = call(&test, &root, "make-squashfs", &[]).succeeded();
    assert!(
        said.stderr.contains("Created ") && packed.is_file(),
        "{said:?}"
    );
    let said = call(&test, &root, "make-squashfs", &[]);
    assert_eq!(said.status, 3);
    let first =
        "$CONTAINERROOT/user-software.squashfs already exists. Please remove the file by hand";
    assert!(said.stderr.starts_with(first), "{said:?}");
    let said = call(&test, &root, "unmake-squashfs", &[]);
    assert_eq!(said.status, 3);
    let first = "The $CONTAINERROOT/user-software subdirectory already exists.";
    assert!(said.stderr.starts_with(first), "{said:?}");

    let said = call(&test, &root, "python", &["-m", "pip", "--version"]);
    let bind = format!("{}:/user-software:image-src=/\n", packed.display());
    assert!(said.stdout.contains(&bind), "{said:?}");
    for (name, words) in [
        ("python3", &["-m", "pip", "install", "six"][..]),
        ("python", &["-m", "pip", "-q", "uninstall", "six"]),
    ] {
        let said = call(&test, &root, name, words);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        assert_eq!(
            said.stderr,
            "/user-software is read-only: run unmake-squashfs --edit first\n"
        );
    }
    let said = call(
        &test,
        &root,
        "python",
        &["-m", "pip", "install", "--target", "x", "six"],
    );
    assert_eq!(said.status, 7, "{said:?}");

    fs_err::remove_dir_all(&dir).unwrap();
    call(&test, &root, "unmake-squashfs", &["--edit"]).succeeded();
    assert!(dir.join("venv/python/pyvenv.cfg").is_file() && !packed.exists());
    assert!(root.join("user-software.squashfs.old").is_file());
    call(&test, &root, "make-squashfs", &["--remove"]).succeeded();
    assert!(!dir.exists() && packed.is_file());
    fs_err::remove_file(&packed).unwrap();
    let said = call(&test, &root, "make-squashfs", &[]);
    assert_eq!(said.status, 2);
    let first = "The $CONTAINERROOT/user-software subdirectory does not exist, so there is nothing to put into the SquashFS file.";
    assert!(said.stderr.starts_with(first), "{said:?}");
}

/// B6: packages of the image and the user's, without a container.
#[test]
fn packages_are_listed_without_a_container() {
    let (test, root) = written();
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    let metadata =
        root.join("user-software/venv/python/lib/python3.11/site-packages/six-1.17.dist-info");
    fs_err::create_dir(&metadata).unwrap();
    fs_err::write(metadata.join("METADATA"), "Name: six\nVersion: 1.17\n").unwrap();
    let said = call(&test, &root, "list-packages", &[]).succeeded();
    assert_eq!(
        said.stdout,
        "Package Version\n------- -------\nsix     1.17\n"
    );
    call(&test, &root, "make-squashfs", &["--remove"]).succeeded();
    let said = call(&test, &root, "list-packages", &["--json"]).succeeded();
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["packages"][0]["name"], "six", "{said:?}");
}

/// M8: a copy of the same name may have other bytes.
#[test]
fn the_image_of_a_module_and_its_copies_are_compared() {
    let test = prepared();
    let copies = test.path("work/copies");
    fs_err::create_dir(&copies).unwrap();
    test.write(
        "catalogue.toml",
        "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\n[site.here.module]\n\
             conflicts = [\"other-bindings\"]\nimage_dirs = [\"${MY_IMAGES:-/nowhere}/copies\"]\n",
    );
    let site = ["--site", "here", "--catalogue", "catalogue.toml"];
    module(&test, &[&WORDS[..], &site].concat()).succeeded();
    let text = fs_err::read_to_string(test.path("work/mods/my-torch/1")).unwrap();
    assert!(
        text.contains("conflict \"my-torch\" \"other-bindings\"\n"),
        "{text}"
    );
    let found = |severity: &str, code: &str| format!("{severity}[{code}]: its SHA-256");
    let check = |file: &str| {
        let mut command = test.condense(&["check", &format!("mods/my-torch/{file}")]);
        command.env("MY_IMAGES", test.path("work")).run()
    };
    assert_eq!(check("1.lua").succeeded().stdout, "");
    let copy = copies.join("mine.sif");
    fs_err::copy(test.path("work/mine.sif"), &copy).unwrap();
    assert_eq!(check("1").succeeded().stdout, "");
    let mut bytes = fs_err::read(&copy).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs_err::write(&copy, &bytes).unwrap();
    let said = check("1").succeeded();
    assert!(
        said.stdout.starts_with(&found("warning", "module-copy")),
        "{said:?}"
    );
    fs_err::remove_file(test.path("work/mine.sif")).unwrap();
    let said = check("1.lua");
    assert!(
        said.stdout.starts_with(&found("error", "module-image")),
        "{said:?}"
    );
    assert_eq!(said.status, 1);
    fs_err::remove_file(&copy).unwrap();
    let said = check("1.lua");
    assert!(said.stdout.contains("is neither where it was"), "{said:?}");
}

/// M22: an installation becomes a module without settings of containers.
#[test]
fn an_installation_becomes_a_module() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let words = [
        "installation",
        "--version",
        "2",
        "--to",
        "mods",
        "--format",
        "lua",
    ];
    module(&test, &words).succeeded();
    let text = fs_err::read_to_string(test.path("work/mods/installation/2.lua")).unwrap();
    let root = format!("local root = \"{}\"", test.installation().display());
    assert!(
        text.contains(&root) && !text.contains("SINGULARITY"),
        "{text}"
    );
    assert!(!test.path("work/software").exists());
}

/// Images of LUMI's modules are found on each machine, with what replaces them.
#[test]
fn known_images_are_found_everywhere() {
    let test = TestEnv::new();
    let find = |words: &[&str]| {
        test.condense(&[&["base", "find"][..], words].concat())
            .run()
    };
    let said = find(&["rocm=6.2", "pytorch"]).succeeded();
    let line = "PyTorch-2.7.1-rocm-6.2.4-python-3.12-singularity-20250827";
    let line = said
        .stdout
        .lines()
        .find(|found| found.starts_with(line))
        .unwrap();
    for word in [
        "rocm=6.2.4",
        "python=3.12",
        "pytorch=2.7.1",
        "(not here)",
        "(replaced by lumi-g)",
        "/appl/local/containers/easybuild-sif-images/lumi-pytorch-rocm-6.2.4",
    ] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    let said = find(&["jax", "rocm=5.6"]).succeeded();
    assert!(
        said.stdout.contains("(retired) (replaced by jax-0.4.35"),
        "{said:?}"
    );
    let listed = test.condense(&["base", "ls"]).run().succeeded();
    assert!(!listed.stdout.contains("singularity-2025"), "{listed:?}");
    let shown = test
        .condense(&["base", "show", "rocm/6.2.2-singularity-20241007"])
        .run();
    assert!(shown.stdout.contains("lumi-rocm-rocm-6.2.2"), "{shown:?}");
    let said = module(&test, &["rocm/6.2.2-singularity-20241007", "--to", "mods"]);
    assert!(
        said.stderr.contains("of the catalogue is not here"),
        "{said:?}"
    );
}

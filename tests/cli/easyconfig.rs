//! `condense easyconfig`: recipes for EasyBuild, and the user's software that they keep. Test
//! comments begin with the number of the statement that a test shows.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    harness::{CommandOutput, Run, TestEnv, names},
    modules::{call, module, prepared, written},
};

const WORDS: [&str; 5] = ["mine.sif", "--name", "my-torch", "--version", "1"];
const ARCHIVE: &str = "my-torch-1-condense.tar";

fn easyconfig(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["easyconfig"][..], words].concat()).run()
}

/// Unpacks the archive of a recipe, as EasyBuild does.
fn unpacked(test: &TestEnv, name: &str) -> PathBuf {
    easyconfig(test, &[&WORDS[..], &["-o", "my-torch-1.eb"]].concat()).succeeded();
    let root = test.path(name);
    let archive = fs_err::File::open(test.path("work").join(ARCHIVE)).unwrap();
    tar::Archive::new(archive).unpack(&root).unwrap();
    fs_err::copy(test.path("work/mine.sif"), root.join("mine.sif")).unwrap();
    root
}

/// Runs the script by which a recipe keeps the user's software.
fn keep(root: &Path, variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = Command::new("/bin/sh");
    command
        .arg(root.join("share/condense/keep-user-software"))
        .arg("my-torch-1")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied());
    command.run()
}

/// E4, E7, E9: the recipe names the image and the archive with their digests.
#[test]
fn a_recipe_is_written_with_its_archive() {
    let test = prepared();
    let said = easyconfig(&test, &[&WORDS[..], &["-o", "my-torch-1.eb"]].concat()).succeeded();
    let file = test.path("work/my-torch-1.eb");
    assert_eq!(said.stdout, format!("eb {}\n", file.display()));
    let text = fs_err::read_to_string(&file).unwrap();
    let digest = |name: &str| {
        let bytes = fs_err::read(test.path("work").join(name)).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(bytes);
        format!("    '{}',\n", hex::encode(digest))
    };
    for part in [
        "easyblock = 'Binary'\n",
        "name = 'my-torch'\nversion = '1'\n",
        "toolchain = SYSTEM\n",
        "local_image = 'mine.sif'\n",
        &format!("local_files = '{ARCHIVE}'\n"),
        &digest("mine.sif"),
        &digest(ARCHIVE),
        "    'python --version',\n",
        "= [\"sh '%(installdir)s/share/condense/keep-user-software' my-torch-1\"]\n",
        "modluafooter = \"\"\"\n-- condense: {",
        "modtclfooter = \"\"\"\n# condense: {",
        "\"root\":\"%(installdir)s\"",
        "  \"%(installdir)s/mine.sif\",\n",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // M19: nothing of the machine that wrote it.
    let work = test.path("").display().to_string();
    assert!(!text.contains(work.trim_end_matches('/')), "{text}");

    let printed = easyconfig(&test, &WORDS).succeeded();
    assert_eq!(printed.stdout, text);
    assert!(printed.stderr.contains(ARCHIVE), "{printed:?}");
    let again = [&WORDS[..], &["-o", "my-torch-1.eb", "--json"]].concat();
    let said = easyconfig(&test, &again).succeeded();
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.easyconfig/1");
    assert_eq!(value["text"], text);
    let archive = test.path("work").join(ARCHIVE);
    assert_eq!(value["archive"], archive.display().to_string());
    test.left_nothing();
}

#[test]
fn recipes_that_easybuild_cannot_take_are_refused() {
    let test = prepared();
    let check = |words: &[&str], why: &str| {
        let said = easyconfig(&test, words);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(said.stderr.contains(why), "{why}: {said:?}");
    };
    check(&["mine.sif", "--name", "a/b"], "would make a directory");
    check(&["mine.sif", "-o", "mine.txt"], "does not end in `.eb`");
    check(&["mine.sif", "-o", "none/mine.eb"], "failed to write");
    check(&["env.yml"], "env.yml");
    check(&["nowhere.sif"], "nowhere.sif");
    check(&["mine.sif", "-w", "toool"], "did you mean `tool`?");
    fs_err::copy(test.path("work/mine.sif"), test.path("work/it's.sif")).unwrap();
    let words = ["it's.sif", "--name", "a", "--version", "1", "-o", "a.eb"];
    check(&words, "EasyBuild cannot install a file with `'`");
    assert!(!test.path("work/a.eb").exists());
    assert!(!test.path("work/a-1-condense.tar").exists());
}

/// E5: a recipe of an installation installs no files.
#[test]
fn a_recipe_of_an_installation_refers_to_it() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let said = easyconfig(&test, &["installation", "--version", "2"]).succeeded();
    let dir = test.installation().display().to_string();
    for part in [
        "easyblock = 'Bundle'\n".to_owned(),
        format!("setenv(\"CONTAINERROOT\", \"{dir}\")\nprepend_path(\"PATH\", \"{dir}/bin\")\n"),
        format!("setenv CONTAINERROOT \"{dir}\"\nprepend-path PATH \"{dir}/bin\"\n"),
    ] {
        assert!(said.stdout.contains(&part), "no {part} in {said:?}");
    }
    assert!(!said.stdout.contains("sources = "), "{said:?}");
    assert_eq!(said.stderr, "");
}

/// B9: a recipe links user-software to a directory that a new installation does not remove.
#[test]
fn software_of_users_is_kept_elsewhere() {
    let test = prepared();
    let root = unpacked(&test, "sw");
    let said = keep(&root, &[]).succeeded();
    let data = test.path("sw-user-software");
    assert_eq!(
        said.stdout,
        format!("user-software is in {}\n", data.display())
    );
    let venv = data.join("user-software/venv/python");
    assert!(venv.join("pyvenv.cfg").is_file());
    let mine = venv.join("lib/python3.11/site-packages/mine.py");
    fs_err::write(&mine, "kept").unwrap();
    fs_err::remove_dir_all(&root).unwrap();
    let root = unpacked(&test, "sw");
    fs_err::remove_file(venv.join("pyvenv.cfg")).unwrap();
    keep(&root, &[]).succeeded();
    assert!(venv.join("pyvenv.cfg").is_file());
    let inside = root.join("user-software/venv/python/lib/python3.11/site-packages/mine.py");
    assert_eq!(fs_err::read_to_string(inside).unwrap(), "kept");

    // The user's own place, and LUMI's.
    for (variables, expected) in [
        (
            &[("EBU_USER_PREFIX", "eb")][..],
            "eb/user-software/my-torch-1",
        ),
        (
            &[
                ("EBU_USER_PREFIX", "eb"),
                ("CONDENSE_USER_SOFTWARE", "own dir"),
            ],
            "own dir",
        ),
    ] {
        let root = unpacked(&test, &format!("other/{}", variables.len()));
        let paths: Vec<String> = variables
            .iter()
            .map(|(_, value)| test.path(value).display().to_string())
            .collect();
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .zip(&paths)
            .map(|((name, _), path)| (*name, path.as_str()))
            .collect();
        keep(&root, &variables).succeeded();
        let link = fs_err::read_link(root.join("user-software")).unwrap();
        assert_eq!(link, test.path(expected).join("user-software"));
    }
    let root = unpacked(&test, "bad");
    for (value, why) in [("here", "not an absolute path"), ("/a:b", "its ':' or ','")] {
        let said = keep(&root, &[("CONDENSE_USER_SOFTWARE", value)]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
    }
    assert!(!root.join("user-software").exists());
}

/// B4, B5, B9: packing and unpacking follow the links of a recipe.
#[test]
fn packing_follows_the_links_of_a_recipe() {
    let test = prepared();
    let root = unpacked(&test, "sw");
    keep(&root, &[]).succeeded();
    let data = test.path("sw-user-software");
    let said = call(&test, &root, "unmake-squashfs", &[]);
    assert_eq!(said.status, 2, "{said:?}");
    call(&test, &root, "make-squashfs", &["--remove"]).succeeded();
    assert_eq!(names(&data), ["user-software.squashfs"]);
    let said = call(&test, &root, "make-squashfs", &[]);
    assert_eq!(said.status, 2, "{said:?}");
    let said = call(&test, &root, "python", &["x"]);
    let bind = format!(
        "{}/user-software.squashfs:/user-software:image-src=/",
        root.display()
    );
    assert!(said.stdout.contains(&bind), "{said:?}");

    // A new installation leaves the file alone.
    fs_err::remove_dir_all(&root).unwrap();
    let root = unpacked(&test, "sw");
    keep(&root, &[]).succeeded();
    assert_eq!(names(&data), ["user-software.squashfs"]);
    call(&test, &root, "unmake-squashfs", &["--edit"]).succeeded();
    assert_eq!(
        names(&data),
        ["user-software", "user-software.squashfs.old"]
    );
    assert!(root.join("user-software/venv/python/pyvenv.cfg").is_file());
    let said = call(&test, &root, "python", &["x"]);
    let bind = format!("{}/user-software:/user-software\n", root.display());
    assert!(said.stdout.contains(&bind), "{said:?}");
}

/// B6: without condense on this machine, packages are listed in the container.
#[test]
fn packages_are_listed_in_the_container_without_condense() {
    let (test, root) = written();
    assert!(root.join("runscripts/list-packages").is_file());
    let settings = root.join("share/condense/settings.sh");
    let text = fs_err::read_to_string(&settings).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("  condense="))
        .unwrap();
    fs_err::write(&settings, text.replace(line, "  condense=/none/condense")).unwrap();
    let said = call(&test, &root, "list-packages", &["--json"]);
    assert!(
        said.stdout.contains("\nlist-packages\n--json\n"),
        "{said:?}"
    );
    let said = call(&test, &root, "make-squashfs", &[]);
    assert_eq!(said.status, 125, "{said:?}");
    assert!(said.stderr.contains("condense is not on PATH"), "{said:?}");
}

/// M6, M7: an image whose environment is activated by conda has conda's variables and PATH.
#[test]
fn an_image_with_conda_has_its_variables() {
    let test = TestEnv::new();
    let conda = test.path("base/opt/miniconda3");
    for dir in [
        "bin",
        "condabin",
        "conda-meta",
        "envs/pytorch/bin",
        "envs/pytorch/conda-meta",
    ] {
        fs_err::create_dir_all(conda.join(dir)).unwrap();
    }
    for program in ["bin/conda", "envs/pytorch/bin/python3.12"] {
        fs_err::write(conda.join(program), "#!/bin/sh\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(conda.join(program), mode).unwrap();
    }
    let scripts = test.path("base/.singularity.d/env");
    fs_err::create_dir_all(&scripts).unwrap();
    let line = "export WITH_CONDA='source /opt/miniconda3/bin/activate pytorch'\n";
    fs_err::write(scripts.join("90-environment.sh"), line).unwrap();
    test.environment("tool");
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    let said = module(
        &test,
        &[
            "mine.sif",
            "--name",
            "a",
            "--to",
            "mods",
            "--dry-run",
            "--format",
            "lua",
        ],
    );
    let said = said.succeeded();
    for part in [
        "{ \"SINGULARITYENV_CONDA_DEFAULT_ENV\", \"pytorch\" }",
        "{ \"SINGULARITYENV_CONDA_EXE\", \"/opt/miniconda3/bin/conda\" }",
        "{ \"SINGULARITYENV_CONDA_PREFIX\", \"/opt/miniconda3/envs/pytorch\" }",
        "\"/user-software/venv/pytorch/bin\", \"/opt/miniconda3/envs/pytorch/bin\", \"/opt/miniconda3/condabin\" }",
        "{ \"SINGULARITYENV_WITH_VENV\", \"true\" }",
    ] {
        assert!(said.stdout.contains(part), "no {part} in {said:?}");
    }
    assert!(
        !said.stdout.contains("SINGULARITYENV_WITH_CONDA\""),
        "{said:?}"
    );
}

/// B4: a packing that is killed loses nothing, and the next one removes what it has left.
#[test]
fn a_killed_packing_loses_nothing() {
    let (test, root) = written();
    let dir = root.join("user-software");
    let noise: Vec<u8> = (0..40_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs_err::write(dir.join("noise"), &noise).unwrap();
    let before = names(&root);
    let mut command = test.condense(&["user-software", "pack", "--remove", root.to_str().unwrap()]);
    let mut packing = command.stderr(Stdio::null()).spawn().unwrap();
    while names(&root) == before {
        assert!(packing.try_wait().unwrap().is_none(), "it was too quick");
    }
    packing.kill().unwrap();
    packing.wait().unwrap();
    assert!(!root.join("user-software.squashfs").exists());
    assert_eq!(fs_err::read(dir.join("noise")).unwrap(), noise);
    call(&test, &root, "make-squashfs", &["--remove"]).succeeded();
    let mut expected = before.clone();
    expected.retain(|name| name != "user-software");
    expected.push("user-software.squashfs".to_owned());
    expected.sort();
    assert_eq!(names(&root), expected);
    call(&test, &root, "unmake-squashfs", &[]).succeeded();
    assert_eq!(fs_err::read(dir.join("noise")).unwrap(), noise);
}

//! Tests of the files in an installation after a build without a runtime.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::harness::{CommandOutput, Run, TestEnv, names, write_base};

#[test]
fn the_layout_is_tykky_s() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let said = test.build(&[env.to_str().unwrap()]).succeeded();
    let dir = test.installation();
    assert_eq!(
        names(&dir),
        [
            ".condense",
            "_bin",
            "bin",
            "common.sh",
            "container.sif",
            "img.sqfs",
            "share"
        ]
    );
    for name in [
        "_bin",
        "bin",
        "common.sh",
        "container.sif",
        "img.sqfs",
        "share",
    ] {
        assert_eq!(
            fs_err::read_link(dir.join(name)).unwrap(),
            Path::new(".condense/current").join(name)
        );
        assert!(dir.join(name).exists(), "{name} leads nowhere");
    }
    assert_eq!(
        names(&dir.join("bin")),
        [
            "_debug_exec",
            "_debug_shell",
            "list-packages",
            "other tool",
            "tool",
            "tool-link"
        ]
    );
    let image = dir.join("img.sqfs");
    let output = test
        .condense(&["image", "ls", image.to_str().unwrap()])
        .output();
    let list = CommandOutput::from(output.unwrap()).succeeded();
    assert!(
        list.stdout.contains("runscripts/conda-python-distributed"),
        "{list:?}"
    );
    let target = fs_err::read_link(dir.join("_bin/tool")).unwrap();
    let target = target.to_str().unwrap();
    assert!(
        target.starts_with("/LOCAL_TYKKY_") && target.ends_with("/miniforge/envs/env1/bin/tool"),
        "{target}"
    );
    assert!(
        said.stdout
            .contains(&format!("Program has been installed to {}", dir.display())),
        "{said:?}"
    );
    assert!(
        said.stdout
            .contains(&format!("export PATH=\"{}/bin:$PATH\"", dir.display())),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("does not exist, creating it for you"),
        "{said:?}"
    );
    assert!(said.stderr.is_empty(), "bars reached a pipe: {said:?}");
    test.left_nothing();
}

#[test]
fn share_holds_lock_receipt_and_input() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let share = test.installation().join("share");
    let lock = fs_err::read_to_string(share.join("condense.lock")).unwrap();
    assert_eq!(lock.matches("sha256: ").count(), 2, "{lock}");
    let receipt: serde_json::Value =
        serde_json::from_slice(&fs_err::read(share.join("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["host_view"], "base");
    assert_eq!(receipt["generation"], 1);
    let size = fs_err::metadata(test.installation().join("img.sqfs"))
        .unwrap()
        .len();
    assert_eq!(receipt["image"]["size_bytes"], size);
    let kept = fs_err::read(share.join("previous_input/1/env.yml")).unwrap();
    assert_eq!(kept, fs_err::read(env).unwrap());
    assert!(share.join("conf.yaml").exists() && share.join("VERSION.yml").exists());
}

#[test]
fn the_image_does_not_depend_on_who_builds_it_where() {
    let test = TestEnv::with_bulky();
    let env = test.environment("tool, bulky");
    let build = |name: &str, umask: &str, locale: &str| {
        let dir = test.path("work").join(name);
        let tmp = test.path("tmp").join(name);
        fs_err::create_dir(&tmp).unwrap();
        let mut command = test.command("/bin/sh");
        command
            .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
            .arg(test.path("programs/conda-containerize"))
            .args(["new", "--prefix"])
            .arg(&dir)
            .arg("--base-image")
            .arg(test.path("base"))
            .arg("--tmpdir")
            .arg(&tmp)
            .arg(&env)
            .env("LANG", locale)
            .env("HOME", test.path(format!("home/{name}")));
        command.run().succeeded();
        for path in ["bin/tool", "img.sqfs", "share/receipt.json", "common.sh"] {
            let mode = fs_err::metadata(dir.join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777;
            assert_eq!(
                mode,
                if path == "bin/tool" { 0o755 } else { 0o644 },
                "{path} under umask {umask}"
            );
        }
        fs_err::read(dir.join("img.sqfs")).unwrap()
    };
    let (one, two) = (
        build("one", "022", "C"),
        build("two a", "077", "de_DE.UTF-8"),
    );
    assert!(one == two, "the images differ");
}

#[test]
fn the_base_s_glibc_decides() {
    let test = TestEnv::new();
    let env = test.environment("gated");
    test.build(&[env.to_str().unwrap()]).succeeded();
    assert!(test.installation().join("bin/new").exists());
    fs_err::remove_dir_all(test.path("base")).unwrap();
    write_base(&test.path("base"), "2.31");
    test.build(&["--force", env.to_str().unwrap()]).succeeded();
    assert!(test.installation().join("bin/old").exists());
    let mut command = test.new_command(&["--force", env.to_str().unwrap()]);
    command
        .env("CONDA_OVERRIDE_GLIBC", "2.40")
        .run()
        .succeeded();
    assert!(test.installation().join("bin/new").exists());
}

#[test]
fn force_makes_a_new_generation_with_the_same_mount_point() {
    let test = TestEnv::with_bulky();
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let mount = |dir: &Path| fs_err::read_link(dir.join("_bin/list-packages")).unwrap();
    let before = mount(&test.installation());
    let image = fs_err::File::open(test.installation().join("img.sqfs")).unwrap();
    let env = test.environment("bulky");
    test.build(&["--force", env.to_str().unwrap()]).succeeded();
    assert_eq!(mount(&test.installation()), before);
    assert!(
        test.installation().join("bin/bulky").exists()
            && !test.installation().join("bin/tool").exists()
    );
    assert!(
        test.installation().join(".condense/1/img.sqfs").exists(),
        "a running job's image is gone"
    );
    drop(image);
    test.left_nothing();
}

#[test]
fn an_empty_directory_and_the_current_one_are_built_into() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    fs_err::create_dir(test.installation()).unwrap();
    let mut command = test.program(&["new", "--base-image"]);
    command
        .arg(test.path("base"))
        .arg(&env)
        .current_dir(test.installation());
    command.run().succeeded();
    assert!(test.installation().join("bin/tool").exists());
}

#[test]
fn archives_are_cached_and_nothing_is_unpacked_there() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let mut files = 0;
    let mut dirs = vec![test.path("cache")];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files += 1;
            }
        }
    }
    assert!(files < 10, "{files} files in the cache");
    assert!(test.path("cache/CACHEDIR.TAG").exists());
}

#[test]
fn scratch_stays_when_asked() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let output = test
        .new_command(&[env.to_str().unwrap()])
        .env("CW_DEBUG_KEEP_FILES", "1")
        .output()
        .unwrap();
    CommandOutput::from(output).succeeded();
    let kept = names(&test.path("tmp"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(
        test.path("tmp")
            .join(&kept[0])
            .join("root/miniforge/envs/env1/bin/tool")
            .exists()
    );
}

#[test]
fn the_cheapest_codec_and_the_hardest_give_the_same_tree() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let mut sizes = Vec::new();
    for compression in ["none", "lz4", "gzip:9", "xz:1", "zstd:19"] {
        test.build(&[
            "--force",
            "--compression",
            compression,
            env.to_str().unwrap(),
        ])
        .succeeded();
        let receipt =
            fs_err::read_to_string(test.installation().join("share/receipt.json")).unwrap();
        assert!(receipt.contains(&format!("\"{compression}\"")), "{receipt}");
        sizes.push(
            fs_err::metadata(test.installation().join("img.sqfs"))
                .unwrap()
                .len(),
        );
    }
    assert!(sizes.iter().all(|size| size % 4096 == 0), "{sizes:?}");
}

#[test]
fn further_programs_and_the_user_s_own_lines() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.write("hook.sh", "export HOOK='a b'\n");
    let list = "miniforge/envs/env1/lib,/bin";
    test.build(&["--environ", "hook.sh", "-w", list, env.to_str().unwrap()])
        .failed(1, &["no program at `miniforge/envs/env1/lib`"]);
    test.left_nothing();
    test.build(&["--environ", "hook.sh", "-w/bin", env.to_str().unwrap()])
        .succeeded();
    let dir = test.installation();
    assert_eq!(
        fs_err::read_link(dir.join("_bin/sh")).unwrap(),
        Path::new("/bin/sh")
    );
    assert!(dir.join("bin/tool").exists());
    let common = fs_err::read_to_string(dir.join("common.sh")).unwrap();
    assert!(common.ends_with("export HOOK='a b'\n"), "{common}");
    let taken = test.build(&[
        "--force",
        "-w",
        "/bin,miniforge/envs/env1/bin/tool,miniforge/envs/env1/bin/tool-link",
        env.to_str().unwrap(),
    ]);
    taken.succeeded();
}

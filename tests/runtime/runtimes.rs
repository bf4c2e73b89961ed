//! Tests with runtimes that are missing, cannot start, or cannot mount every image.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use crate::{
    harness::{Account, Run, TestDir, as_both, parts},
    support::server::{Act, Door, serve},
};

/// Makes a directory for PATH with an `apptainer` of this text.
fn fake(test: &TestDir, text: &str) -> PathBuf {
    let dir = test.make_dir("programs");
    let program = test.write("programs/apptainer", text);
    fs_err::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn is_compressed_with(image: &std::path::Path, id: u8) -> bool {
    fs_err::read(image).unwrap()[20] == id
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn one_that_cannot_start_is_told_before_anything_is_downloaded() {
    let text = "#!/bin/sh\ncase $1 in --version) echo 'apptainer version 1.4.5' ;; *) echo 'FATAL:   no more loops today' >&2; exit 255 ;; esac\n";
    as_both(|account| {
        let test = TestDir::new(account, "cannot-start");
        let path = fake(&test, text);
        let server = serve(&parts().path("channel"), Door::Password, |_, _| Act::Serve);
        let environment = test.write(
            "env.yml",
            &format!(
                "channels: ['{}']\ndependencies: [edge-argv]\n",
                server.url()
            ),
        );
        let mut command = test.new_command(&test.installation().dir, &environment);
        let cache = test.path("cache");
        let output = command
            .env("PATH", path)
            .env("CONDENSE_CACHE_DIR", &cache)
            .run();
        test.refused(output, &["no more loops today", "base.sif"]);
        let asked = server.archive_requests().len();
        assert_eq!(asked, 0, "archives were downloaded");
    });
}

/// Runtime that passes all calls to the real one but refuses images that are compressed with zstd.
const NO_ZSTD: &str = r#"#!/bin/sh
for word; do
  for part in $(printf '%s' "$word" | tr ',:' '  '); do
    if [ -f "$part" ] && [ "$(head -c 4 "$part")" = hsqs ] && [ "$(od -An -tu1 -j20 -N1 "$part" | tr -d ' ')" = 6 ]; then
      echo "FATAL:   container creation failed: while mounting image $part: kernel reported a bad superblock for squashfs image partition" >&2
      exit 255
    fi
  done
done
exec RUNTIME "$@"
"#;

fn no_zstd() -> String {
    NO_ZSTD.replace("RUNTIME", parts().runtime().to_str().unwrap())
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn one_that_cannot_mount_zstd_gets_gzip_and_a_note() {
    as_both(|account| {
        let test = TestDir::new(account, "no-zstd");
        let path = format!("{}:/usr/bin:/bin", fake(&test, &no_zstd()).display());
        let installation = test.installation();
        let mut command = test.new_command(
            &installation.dir,
            &test.environment("edge-argv, edge-activate"),
        );
        let said = command.env("PATH", &path).run().succeeded().text();
        test.left_nothing();
        // A runtime that is known to refuse zstd is not tried.
        let words = if parts().reads_zstd() {
            ["[ WARNING ] ", "gzip", "bad superblock"]
        } else {
            ["[ INFO ] ", "gzip", "reads no image"]
        };
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(is_compressed_with(&installation.image(), 1), "not gzip");
        assert_eq!(installation.receipt()["generation"], 1);
        let receipt = installation.receipt();
        assert!(
            receipt["image"]["compression"]
                .as_str()
                .unwrap()
                .starts_with("gzip"),
            "{receipt}"
        );
        assert_eq!(
            receipt["image"]["size_bytes"],
            fs_err::metadata(installation.image()).unwrap().len()
        );
        let mut command = installation.command(account, "edge-env", ["EDGE_VALUE"]);
        assert_eq!(command.run().pieces(), [b"EDGE_VALUE=set by edge-activate"]);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_is_replaced_with_a_runtime_that_cannot_mount_zstd() {
    let test = TestDir::new(Account::Root, "no-zstd-force");
    let installation = test.build("edge-argv");
    let path = format!("{}:/usr/bin:/bin", fake(&test, &no_zstd()).display());
    let mut command = test.new_command(
        &installation.dir,
        &test.environment("edge-argv, edge-prefix"),
    );
    command.arg("--force").env("PATH", &path).run().succeeded();
    test.left_nothing();
    assert!(is_compressed_with(&installation.image(), 1), "not gzip");
    assert_eq!(installation.receipt()["generation"], 2);
    installation
        .command(Account::Root, "edge-exit", ["5"])
        .run()
        .failed(5, &[]);
}

/// The image was made on a machine whose runtime could mount it.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_with_a_runtime_that_cannot_mount_zstd_makes_gzip() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "no-zstd-update");
    let installation = test.build("python=3.11, pip");
    let was_zstd = is_compressed_with(&installation.image(), 6);
    assert_eq!(was_zstd, parts().reads_zstd());
    test.write("req.txt", "edge_pip_lib<1.1\n");
    test.write("more.txt", "edge_pip_lib==1.1\n");
    let path = format!("{}:/usr/bin:/bin", fake(&test, "").display());
    let update = |words: &[&str]| {
        let mut command = test.program(["update"]);
        command.args(words).arg("installation");
        command
            .env("PATH", &path)
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", parts().wheels());
        command.run().succeeded().text()
    };
    let says = |version: &str| {
        let text = "import edge_pip_lib as l; print(l.VERSION)";
        installation.python(account, text).run().says(version);
        assert!(is_compressed_with(&installation.image(), 1), "not gzip");
    };
    // The first runtime refuses because of the kernel, the second because of its version.
    let version =
        "#!/bin/sh\n[ \"$1\" != --version ] || { echo 'apptainer version 1.3.6'; exit; }\n";
    let by_version = no_zstd().replacen("#!/bin/sh\n", version, 1);
    for (text, words) in [
        (no_zstd(), "bad superblock"),
        (by_version, "1.3.6 reads no image"),
    ] {
        fs_err::write(test.path("programs/apptainer"), text).unwrap();
        let said = update(&["-r", "req.txt"]);
        let is_said = said.contains("The image becomes gzip: ") && said.contains(words);
        assert!(is_said || !was_zstd, "{said}");
        says("1.0");
        // The next update packs only the changes.
        let said = update(&["-r", "more.txt"]);
        assert!(!said.contains("unpacked first"), "{said}");
        says("1.1");
        let mut back = test.command(parts().path("programs/condense"));
        back.args(["rollback", "--to", "1", "installation"])
            .run()
            .succeeded();
    }
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_codec_is_mounted_by_the_real_one() {
    for (compression, id) in [
        ("gzip:9", 1),
        ("xz:6", 4),
        ("lz4", 5),
        ("lz4:hc", 5),
        ("zstd:19", 6),
        ("none", 0),
    ] {
        println!("{compression}");
        let test = TestDir::new(Account::Root, "codec");
        let installation = test.installation();
        let mut command = test.new_command(
            &installation.dir,
            &test.environment("edge-argv, edge-prefix"),
        );
        command
            .args(["--compression", compression])
            .run()
            .succeeded();
        let id = if id == 6 && !parts().reads_zstd() {
            1
        } else {
            id
        };
        assert!(
            id == 0 || is_compressed_with(&installation.image(), id),
            "{compression}"
        );
        as_both(|account| {
            let prefix = installation.env_prefix();
            let expected = format!("{prefix}\n{prefix}/etc/edge.conf");
            installation
                .command(account, "edge-cprefix", [""; 0])
                .run()
                .says(&expected);
        });
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn without_one_conda_packages_are_packed_for_later() {
    as_both(|account| {
        let test = TestDir::new(account, "none");
        let dir = test.installation().dir;
        let mut command = test.new_command(&dir, &test.environment("python=3.11, rich, edge-argv"));
        let said = command
            .env("PATH", test.make_dir("empty"))
            .run()
            .succeeded()
            .text();
        for part in [
            "neither apptainer nor singularity is on PATH",
            "the image becomes gzip, which every runtime reads",
        ] {
            assert!(said.contains(part), "{said}");
        }
        // Number of the codec in the superblock.
        let image = fs_err::read(dir.join("img.sqfs")).unwrap();
        assert_eq!(image[20..22], [1, 0]);
        test.left_nothing();
        as_both(|account| {
            let text = "import rich, os; print(os.path.exists(rich.__cached__))";
            test.installation().python(account, text).run().says("True");
        });
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn without_one_pip_installs_wheels() {
    let test = TestDir::new(Account::Ordinary, "wheels");
    let packages = "python=3.11, pip, {pip: [edge-pip-app]}";
    test.new_command(&test.installation().dir, &test.environment(packages))
        .args(["--compression", "gzip"])
        .env("PATH", test.make_dir("empty"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded();
    test.left_nothing();
    let installation = test.installation();
    as_both(|account| {
        installation
            .command(account, "edge-pip-app", [""; 0])
            .run()
            .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
        let text = "import edge_pip_app, os; print(os.path.exists(edge_pip_app.__cached__))";
        installation.python(account, text).run().says("True");
    });
    let script = format!("{}/bin/edge-pip-app", installation.env_prefix());
    let first = installation
        .command(Account::Root, "_debug_exec", ["head", "-1", &script])
        .run();
    first.says(&format!("#!{}/bin/python3.11", installation.env_prefix()));
    // The image has no trace of the machine that built it.
    let scratch = test.scratch().display().to_string();
    let found = installation
        .command(
            Account::Root,
            "_debug_exec",
            ["grep", "-rlF", &scratch, &installation.env_prefix()],
        )
        .run();
    found.failed(1, &[]);
    assert!(installation.dir.join("share/pip-report.json").exists());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn without_one_everything_that_must_run_is_refused_by_name() {
    let test = TestDir::new(Account::Ordinary, "refused");
    let empty = test.make_dir("empty");
    for (packages, words) in [
        (
            "python=3.11, pip, {pip: ['git+https://git.invalid/x']}",
            "pip's build of `git+https://git.invalid/x` must run in a container",
        ),
        (
            "edge-argv, edge-post-link",
            "the post-link script of `edge-post-link`",
        ),
        ("edge-argv, edge-activate", "activation scripts"),
    ] {
        let mut command = test.new_command(&test.installation().dir, &test.environment(packages));
        let output = command.env("PATH", &empty).run();
        test.refused(
            output,
            &[words, "neither apptainer nor singularity is on PATH"],
        );
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_site_names_its_own() {
    let test = TestDir::new(Account::Root, "site");
    let runtime = parts().runtime().with_file_name("singularity");
    let site = test.write(
        "site.yml",
        &format!(
            "defaults:\n  singularity_executable_path: {}\n",
            runtime.display()
        ),
    );
    let mut command = test.new_command(&test.installation().dir, &test.environment("edge-argv"));
    command
        .env("CW_GLOBAL_YAML", site)
        .env("PATH", test.make_dir("empty"))
        .run()
        .succeeded();
    let explained = test
        .installation()
        .command(Account::Ordinary, "_debug_exec", ["--explain", "edge-argv"])
        .run()
        .succeeded();
    assert!(
        explained
            .text()
            .trim_start()
            .starts_with(&format!("{} ", runtime.display())),
        "{explained:?}"
    );
}

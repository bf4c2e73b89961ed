//! Tests of the contents of an image: other programs read the same bytes, Python accepts the byte
//! code, and no path of the build machine is in it.

use std::path::Path;

use crate::harness::{Account, Run, TestDir, as_both, parts, shared};

/// Returns all metadata of a tree, one line for each entry.
fn listing(dir: &Path) -> String {
    let mut command = Account::Root.command("/bin/sh");
    command
        .args([
            "-c",
            "cd \"$1\" && find . -printf '%P %y %m %U:%G %s %T@ %l\\n' | sort",
            "sh",
        ])
        .arg(dir);
    // The size of a directory depends on the file system.
    let without_size = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        if words.get(1) == Some(&"d") {
            [&words[..4], &words[5..]].concat().join(" ")
        } else {
            line.to_owned()
        }
    };
    command
        .run()
        .succeeded()
        .text()
        .lines()
        .map(|line| without_size(line) + "\n")
        .collect()
}

fn unpack(test: &TestDir, image: &Path) -> std::path::PathBuf {
    let tree = test.path("unpacked");
    Account::Root
        .command("unsquashfs")
        .args(["-no-progress", "-d"])
        .arg(&tree)
        .arg(image)
        .run()
        .succeeded();
    tree
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Account::Root.command("umount").arg("-l").arg(&self.0).run();
    }
}

fn check_both_readers(packages: &str) {
    let test = TestDir::new(Account::Root, "readers");
    let installation = test.build(packages);
    let tree = unpack(&test, &installation.image());
    let mounted = Mounted(test.make_dir("mounted"));
    Account::Root
        .command("mount")
        .args(["-t", "squashfs", "-o", "loop,ro"])
        .arg(installation.image())
        .arg(&mounted.0)
        .run()
        .succeeded();
    let (by_program, by_kernel) = (listing(&tree), listing(&mounted.0));
    assert!(by_program.lines().count() > 100);
    for (one, other) in by_program.lines().zip(by_kernel.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(by_program.lines().count(), by_kernel.lines().count());
    Account::Root
        .command("diff")
        .args(["-r", "--no-dereference"])
        .arg(&tree)
        .arg(&mounted.0)
        .run()
        .says("");
    let mut foreign = Account::Root.command("find");
    foreign
        .arg(&mounted.0)
        .args(["!", "-uid", "0", "-o", "!", "-gid", "0"])
        .run()
        .says("");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn unsquashfs_and_the_kernel_read_a_python_environment() {
    check_both_readers("python=3.11, numpy, edge-noarch-python");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn unsquashfs_and_the_kernel_read_everything_odd() {
    check_both_readers(
        "edge-links, edge-links-outside, edge-modes, edge-names, edge-empty, edge-large, edge-many-files, edge-bz2, edge-bin",
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn all_byte_code_is_unchecked() {
    let test = TestDir::new(Account::Root, "pyc");
    let tree = unpack(&test, &shared().image());
    let mut dirs = vec![tree];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pyc") {
                let flags = &fs_err::read(&path).unwrap()[4..8];
                assert_eq!(flags, [1, 0, 0, 0], "{}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 500, "only {count} files of byte code");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_compiles_nothing_and_writes_nothing() {
    let text = "import sys, os, numpy, json, email.message, unittest.mock
modules = [m for m in list(sys.modules.values()) if getattr(m, '__cached__', None)]
missing = [m.__cached__ for m in modules if not os.path.exists(m.__cached__)]
print(len(modules) > 100, missing)";
    as_both(|account| {
        let output = shared()
            .command(account, "python", ["-v", "-c", text])
            .run();
        for line in output.stderr.lines() {
            let compiled = line.starts_with("# code object from")
                && line.trim_end_matches('\'').ends_with(".py");
            assert!(!compiled && !line.starts_with("# wrote"), "{line}");
        }
        output.says("True []");
    });
}

/// All paths of the build (scratch, HOME, DIR and the channel) are below the directory of the
/// parts, so one search for that path finds any of them.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn no_byte_tells_of_the_builder() {
    let test = TestDir::new(Account::Root, "traces");
    let home = test.make_dir("home");
    let packages = "python=3.11, pip, rich, edge-argv, edge-python, edge-prefix, edge-rpath, edge-noarch-python, \
                    edge-activate, edge-post-link, edge-post-link-tool, {pip: [edge-pip-app]}";
    let installation = test.installation();
    test.new_command(&installation.dir, &test.environment(packages))
        .env("HOME", &home)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded();
    let tree = unpack(&test, &installation.image());
    let word = parts().dir().file_name().unwrap();
    let found = Account::Root
        .command("grep")
        .args(["-rlaF", "--"])
        .arg(word)
        .arg(&tree)
        .run();
    for path in found.text().lines() {
        // The records in conda-meta have the URL of each package, and the `conda` command prints
        // it.
        let text = fs_err::read_to_string(path).unwrap_or_default();
        let allowed = path.contains("/conda-meta/") || path.contains("/miniforge/.condense/");
        let rest = text.replace(&parts().channel(), "");
        assert!(
            allowed && !rest.contains(word.to_str().unwrap()),
            "{path} tells of the builder"
        );
    }
    let names = Account::Root
        .command("find")
        .arg(&tree)
        .arg("-lname")
        .arg(format!("*{}*", word.display()))
        .run();
    names.says("");
    let text = fs_err::read_to_string(installation.dir.join("common.sh")).unwrap();
    assert!(
        !text.contains(word.to_str().unwrap()),
        "common.sh tells of the builder:\n{text}"
    );
}

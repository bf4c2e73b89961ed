//! Tests of reproducible images: the same packages give the same bytes for every user, place and
//! number of processors, and so does the lock of an image.

use std::path::{Path, PathBuf};

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, parts};

struct Circumstances {
    account: Account,
    umask: &'static str,
    language: &'static str,
    processors: &'static str,
    by_flag: bool,
    /// The order of sets in byte code depends on the seed of Python's hashes.
    hash_seed: &'static str,
}

const ONE: Circumstances = Circumstances {
    account: Account::Root,
    umask: "007",
    language: "C",
    processors: "0",
    by_flag: true,
    hash_seed: "1",
};
const OTHER: Circumstances = Circumstances {
    account: Account::Ordinary,
    umask: "022",
    language: "de_DE.UTF-8",
    processors: "0,1",
    by_flag: false,
    hash_seed: "random",
};

fn digest(circumstances: &Circumstances, packages: &str) -> String {
    let test = TestDir::new(circumstances.account, "reproducible");
    // The two builds use a file system in memory and one on disk, which list directories in
    // different orders.
    let scratch = if circumstances.by_flag {
        test.scratch().join("a long way away")
    } else {
        test.make_dir("b")
    };
    let home = test.make_dir("home");
    let installation = test.installation();
    let mut command = test.command("taskset");
    command
        .args([
            "-c",
            circumstances.processors,
            "/bin/sh",
            "-c",
            "umask \"$1\"; shift; exec \"$@\"",
            "sh",
            circumstances.umask,
        ])
        .arg(parts().path("programs/conda-containerize"))
        .args(["new", "--base-image"])
        .arg(parts().base())
        .arg("--prefix")
        .arg(&installation.dir)
        .env("LANG", circumstances.language)
        .env("LC_ALL", circumstances.language)
        .env("HOME", &home)
        .env("PYTHONHASHSEED", circumstances.hash_seed)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    if circumstances.by_flag {
        command.arg("--tmpdir").arg(&scratch);
    } else {
        command.env("TMPDIR", &scratch);
    }
    command.arg(test.environment(packages)).run().succeeded();
    let sum = test
        .command("sha256sum")
        .arg(installation.image())
        .run()
        .succeeded()
        .text();
    sum.split(' ').next().unwrap().to_owned()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_with_packages_that_are_compiled_here() {
    let packages = "python=3.11, numpy, rich, edge-noarch-python";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn files_of_all_kinds() {
    let packages = "edge-links, edge-modes, edge-names, edge-large, edge-many-files, edge-prefix, edge-clobber-a, edge-clobber-b";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn link_scripts_activation_and_pip() {
    let packages = "python=3.13, pip, edge-post-link, edge-activate, edge-activate-dynamic, {pip: [edge-pip-app]}";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}

/// Packages with byte code, link scripts, activation and wheels, one of which another one needs.
const ALL: &str = "python=3.11, pip, rich, edge-noarch-python, edge-post-link, edge-activate, {pip: [edge-pip-app]}";

/// Returns the command `condense` with the hand-made wheels as the only source of pip.
fn condense(test: &TestDir, arguments: &[&str]) -> CommandOutput {
    test.command(parts().path("programs/condense"))
        .args(arguments)
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn install(test: &TestDir, packages: &str) -> Vec<u8> {
    let installation = test.installation();
    test.new_command(&installation.dir, &test.environment(packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded();
    fs_err::read(installation.image()).unwrap()
}

fn install_locked(test: &TestDir, lock: &Path) -> Vec<u8> {
    let installation = test.installation();
    test.program(["new", "--prefix"])
        .arg(&installation.dir)
        .arg("--base-image")
        .arg(parts().base())
        .arg("--lock")
        .arg(lock)
        .env("PIP_NO_INDEX", "1")
        .run()
        .succeeded();
    fs_err::read(installation.image()).unwrap()
}

/// Copies the lock of an installation to where it means nothing.
fn lock_of(test: &TestDir, other: &TestDir) -> PathBuf {
    let text = fs_err::read_to_string(test.installation().dir.join("share/condense.lock"));
    other.write("some.lock", &text.unwrap())
}

/// A1: the image of a lock has the bytes of the image that wrote it.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_lock_builds_the_bytes_that_wrote_it() {
    let one = TestDir::new(Account::Root, "relock");
    let first = install(&one, ALL);
    let other = TestDir::new(Account::Ordinary, "relock-elsewhere");
    let lock = lock_of(&one, &other);
    let second = install_locked(&other, &lock);
    if first != second {
        let images = [one.installation().image(), other.installation().image()];
        let images = images.map(|image| image.display().to_string());
        let said = condense(&one, &["image", "diff", &images[0], &images[1]]);
        panic!("the images differ: {said:?}");
    }
    // A lock of a lock is the lock.
    let third = TestDir::new(Account::Root, "relock-again");
    let again = lock_of(&other, &third);
    assert_eq!(
        fs_err::read_to_string(lock).unwrap(),
        fs_err::read_to_string(again).unwrap()
    );
    let dir = other.installation().dir.display().to_string();
    condense(&other, &["verify", "--rebuild", &dir]).succeeded();
    other.left_nothing();
}

/// Builds of one lock give the same image whatever the caches have: nothing (cold), the archives of
/// the packages (warm), or compressed blocks too (hot); on one processor and on two, and for codecs
/// of both kinds.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn cold_warm_and_hot_builds_of_a_lock_are_the_same_bytes() {
    let test = TestDir::new(Account::Ordinary, "cold-warm-hot");
    let environment = test.environment("python=3.11, rich, edge-activate, edge-links");
    let lock = test.path("some.lock");
    let [from, to, base] =
        [&environment, &lock, &parts().base()].map(|path| path.display().to_string());
    condense(&test, &["lock", &from, "-o", &to, "--base-image", &base]).succeeded();
    for codec in ["zstd:3", "gzip:6"] {
        let build = |cache: &str, processors: &str, blocks: &str| {
            let dir = test.path("built");
            let said = test
                .command("taskset")
                .args(["-c", processors])
                .arg(parts().path("programs/conda-containerize"))
                .args(["new", "--verbose", "--compression", codec, "--base-image"])
                .arg(parts().base())
                .arg("--prefix")
                .arg(&dir)
                .arg("--lock")
                .arg(&lock)
                .env("TMPDIR", test.scratch())
                .env("CONDENSE_CACHE_DIR", test.path(cache))
                .env("CONDENSE_BLOCK_CACHE_SIZE", blocks)
                .run()
                .succeeded();
            let image = fs_err::read(dir.join("img.sqfs")).unwrap();
            fs_err::remove_dir_all(dir).unwrap();
            let is_hot = said.stdout.contains("by earlier builds");
            let has_start = said
                .stdout
                .contains("an earlier build has recorded the files");
            assert_eq!(is_hot, has_start, "{said:?}");
            let compiles = said.stdout.contains("compiling Python files");
            assert_eq!(is_hot, !compiles, "{said:?}");
            (image, is_hot)
        };
        let cold = format!("cold-{}", &codec[..4]);
        let first = build(&cold, "0", "1G");
        assert!(!first.1, "{codec}: blocks are used that are not there");
        for (cache, processors, blocks, is_hot) in [
            (&*cold, "0,1", "0", false),
            (&cold, "0", "1G", true),
            (&cold, "0,1", "1G", true),
            ("other", "0,1", "0", false),
        ] {
            let (image, said_hot) = build(cache, processors, blocks);
            let what = format!("{codec} on {processors} with {cache}, {blocks}");
            assert_eq!(said_hot, is_hot, "{what}");
            assert!(image == first.0, "{what}: the images differ");
        }
    }
}

/// Program that checks all byte code of its environment: each code object names its source, the
/// header has the hash of the source, and nothing has the path that the environment had while it
/// was compiled. It ends with the traceback of an error in a package.
const CODE: &str = "
import importlib.util, marshal, os, sys, traceback
stand_in = b'/1837ca26b1409fb091343d56'
def codes(code):
    yield code
    for part in code.co_consts:
        if isinstance(part, type(code)):
            yield from codes(part)
count = 0
for folder, _, names in os.walk(sys.prefix + '/lib/python3.11'):
    for name in names:
        if name.endswith('.cpython-311.pyc'):
            with open(os.path.join(folder, name), 'rb') as file:
                content = file.read()
            source = os.path.join(os.path.dirname(folder), name.split('.')[0] + '.py')
            with open(source, 'rb') as file:
                assert content[8:16] == importlib.util.source_hash(file.read()), source
            assert stand_in not in content, source
            if '/site-packages/rich/' in source or '/_sysconfigdata' in source:
                found = {code.co_filename for code in codes(marshal.loads(content[16:]))}
                assert found == {source}, (source, found)
                count += 1
assert count > 50, count
import sysconfig
assert sysconfig.get_config_var('prefix') == sys.prefix
import rich.color
try:
    rich.color.Color.parse('no color')
except Exception:
    print(traceback.format_exc())
";

/// A package is compiled once for all environments with the same interpreter, wherever they are
/// mounted.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn environments_share_byte_code_that_names_their_sources() {
    let test = TestDir::new(Account::Ordinary, "shared-code");
    let build = |name: &str, packages: &str, cache: &str| {
        let installation = Installation {
            dir: test.path(name),
        };
        let environment = test.environment(packages);
        let mut command = test.new_command(&installation.dir, &environment);
        command.args(["--verbose", "--no-warm"]);
        command.env("CONDENSE_CACHE_DIR", test.path(cache));
        (installation, command.run().succeeded().stdout)
    };
    let compiling = "compiling Python files";
    let (first, said) = build("first", "python=3.11, rich", "cache");
    assert!(said.contains(compiling), "{said}");
    let packages = "python=3.11, rich, edge-prefix";
    let (second, said) = build("second", packages, "cache");
    assert_ne!(first.mount_point(), second.mount_point());
    let earlier = "earlier builds have compiled ";
    let (_, counts) = said.split_once(earlier).unwrap();
    let words: Vec<&str> = counts.split(' ').take(3).collect();
    assert!(words[0] == words[2] && !said.contains(compiling), "{said}");
    let traceback = second.python(Account::Ordinary, CODE).run().succeeded();
    let source = format!(
        "{}/lib/python3.11/site-packages/rich/color.py",
        second.env_prefix()
    );
    let line = format!("File \"{source}\", line ");
    assert!(traceback.text().contains(&line), "{traceback:?}");

    let (alone, said) = build("alone", packages, "other");
    assert!(
        said.contains(compiling) && !said.contains(earlier),
        "{said}"
    );
    let [shared, alone] = [second, alone].map(|one| fs_err::read(one.image()).unwrap());
    assert!(shared == alone, "the images differ");
}

/// A1: the lock of an update builds the files of the updated image.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_lock_of_an_update_builds_its_files() {
    let one = TestDir::new(Account::Root, "relock-update");
    install(&one, "python=3.11, pip, {pip: ['edge_pip_lib<1.1']}");
    // The new version replaces one that is there, and brings a package along.
    let requirements = one.write("more.txt", "edge_pip_app\nedge_pip_lib>=1.1\n");
    one.program(["update", "-r"])
        .arg(requirements)
        .arg(&one.installation().dir)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded();
    let other = TestDir::new(Account::Ordinary, "relock-update-elsewhere");
    let lock = lock_of(&one, &other);
    install_locked(&other, &lock);
    let images = [one.installation().image(), other.installation().image()];
    let images = images.map(|image| image.display().to_string());
    let said = condense(&one, &["image", "diff", &images[0], &images[1]]);
    said.succeeded().says("");
    let dir = one.installation().dir.display().to_string();
    let said = condense(&one, &["verify", "--rebuild", "--json", &dir]);
    let found: serde_json::Value = serde_json::from_str(&said.succeeded().text()).unwrap();
    assert_eq!(found["rebuild"]["same_files"], true, "{found}");
    assert_eq!(found["rebuild"]["updated"], true, "{found}");
    one.left_nothing();
}

/// A1: SIFs of one lock are the same bytes under any name.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn sifs_of_a_lock_are_the_same_bytes() {
    let test = TestDir::new(Account::Ordinary, "relock-sif");
    let environment = test.environment(ALL).display().to_string();
    let base = parts().base().display().to_string();
    let build = |words: &[&str], out: &str| {
        let base_and_out = ["--base-image", &base, out];
        condense(
            &test,
            &[&["cotainr", "build"], words, &base_and_out].concat(),
        )
        .succeeded();
        fs_err::read(test.path(out)).unwrap()
    };
    let first = build(&["--conda-env", &environment], "a.sif");
    condense(&test, &["export", "--lock", "./a.sif", "-o", "a.lock"]).succeeded();
    let second = build(&["--lock", "a.lock"], "another name.sif");
    if first != second {
        let said = condense(&test, &["image", "diff", "a.sif", "another name.sif"]);
        panic!("the SIFs differ: {said:?}");
    }
    for words in [
        &["./a.sif"][..],
        &["--rebuild", "--base-image", &base, "./a.sif"],
    ] {
        condense(&test, &[&["verify"], words].concat()).succeeded();
    }
    test.left_nothing();
}

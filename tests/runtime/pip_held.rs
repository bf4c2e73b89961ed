//! Tests of new environments in which pip installs wheels beside conda packages that are held back:
//! the image is that of a build in which every package is unpacked. Sources have their own tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use condense_image::Reader;

use crate::{
    harness::{Account, CommandOutput, Run, TestDir, parts},
    hot_zone::noting_runtime,
};

/// Program that writes wheels: one with files of every kind, of which one replaces a conda
/// package's, and one of a package that conda has too.
const WHEELS: &str = r##"
import random, sys, zipfile

def write(name, version, files, entry=""):
    stem = "%s-%s" % (name, version)
    info = stem + ".dist-info/"
    text = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)
    files = dict(files, **{
        info + "METADATA": text + "Requires-Dist: edge-pip-lib <1.1\n" * bool(entry),
        info + "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    })
    if entry:
        files[info + "entry_points.txt"] = entry
    names = list(files) + [info + "RECORD"]
    files[info + "RECORD"] = "".join(name + ",,\n" for name in names)
    with zipfile.ZipFile("%s/%s-py3-none-any.whl" % (sys.argv[1], stem), "w") as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            wheel.writestr(entry, data)

data = "edge_beside-1.0.data/"
write("edge_beside", "1.0", {
    "edge_beside/__init__.py": "import json, re\n\n\ndef main():\n    print('beside', json.dumps([1]))\n",
    "edge_beside/bad.py": "this is no Python\n",
    "edge_beside/large.bin": random.Random(1).randbytes(3 << 20),
    "rich/abc.py": "replaced = 'by edge-beside'\n",
    data + "scripts/edge-script": "#!python\nprint('script')\n",
    data + "data/etc/edge-beside.conf": "x = 1\n",
    data + "data/share/edge-beside/a name é": "text\n",
}, "[console_scripts]\nedge-beside = edge_beside:main\n")
write("rich", "99.0", {"rich/__init__.py": "new = 1\n"})
"##;

fn write_wheels(test: &TestDir) -> PathBuf {
    let (dir, program) = (test.make_dir("wheels"), test.write("wheels.py", WHEELS));
    let made = Command::new("python3").arg(program).arg(&dir).status();
    assert!(made.unwrap().success());
    dir
}

fn run(command: &mut Command) -> CommandOutput {
    command
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded()
}

/// Returns everything of an installation that another way of building must not change.
pub(crate) fn results(dir: &Path) -> [String; 3] {
    let text = |name: &str| fs_err::read_to_string(dir.join(name)).unwrap();
    let launch = text("common.sh").replace(dir.to_str().unwrap(), "DIR");
    // One of the builds has a runtime that takes notes.
    let is_runtime = |line: &&str| line.starts_with("runtime=");
    let launch: Vec<&str> = launch.lines().filter(|line| !is_runtime(line)).collect();
    let receipt: serde_json::Value = serde_json::from_str(&text("share/receipt.json")).unwrap();
    let state = &receipt["remembered"];
    assert!(state["pip-packages"].is_array(), "{receipt}");
    let pip = format!("{} {}", state["pip-packages"], state["replaced-by-pip"]);
    [text("share/condense.lock"), launch.join("\n"), pip]
}

#[track_caller]
pub(crate) fn assert_same_results(one: &Path, other: &Path) {
    for (one, other) in results(one).iter().zip(results(other)) {
        let lines = one.lines().zip(other.lines());
        let differ = lines.into_iter().find(|(one, other)| one != other);
        assert_eq!(differ, None);
        assert_eq!(one.len(), other.len());
    }
}

pub(crate) fn same_image(one: &Path, other: &Path) -> bool {
    let read = |dir: &Path| fs_err::read(dir.join("img.sqfs")).unwrap();
    read(one) == read(other)
}

/// Variable that keeps scratch, for which every package is unpacked.
pub(crate) const KEPT: &str = "CW_DEBUG_KEEP_FILES";
pub(crate) const UNPACKED: &str = "packages are unpacked, since";

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn wheels_come_beside_packages_that_are_held_back() {
    let test = TestDir::new(Account::Ordinary, "pip-held");
    let wheels = write_wheels(&test);
    let packages = format!(
        "python=3.11, pip, rich, numpy, edge-activate, {{pip: [edge-pip-app, 'edge-beside @ file://{}/edge_beside-1.0-py3-none-any.whl']}}",
        wheels.display()
    );
    let environment = test.environment(&packages);
    let (held, files) = (test.path("held"), test.path("files"));
    let mut command = test.new_command(&held, &environment);
    command.arg("--verbose");
    command.env("PATH", noting_runtime(&test, ""));
    let said = run(&mut command).text();
    assert!(!said.contains(UNPACKED), "{said}");
    let counts = fs_err::read_to_string(test.path("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.parse().unwrap()).collect();
    let inodes = Reader::open_raw(held.join("img.sqfs"))
        .unwrap()
        .superblock()
        .inode_count;
    println!("{counts:?} files of {inodes}");
    // The image is mounted for pip, to compile and to start.
    assert!(counts.len() >= 2, "{counts:?}");
    let most = inodes / 50 + 250;
    assert!(
        counts.iter().all(|count| *count < most),
        "{counts:?} of {most}"
    );
    test.left_nothing();

    // pip says the same of both.
    let mut command = test.new_command(&files, &environment);
    let unpacked = run(command.arg("--verbose").env(KEPT, "1")).text();
    let of_pip = |said: &str| -> Vec<String> {
        let words = [
            "Successfully installed",
            "pip check",
            "needs edge-pip-lib",
            "edge-pip-lib<",
        ];
        let lines = said
            .lines()
            .filter(|line| words.iter().any(|word| line.contains(word)));
        lines
            .map(|line| line[line.find(']').map_or(0, |at| at + 1)..].to_owned())
            .collect()
    };
    assert_eq!(of_pip(&said), of_pip(&unpacked));
    assert!(same_image(&held, &files), "the images differ");
    assert_same_results(&held, &files);
    test.empty_scratch();

    // So does the lock, in which pip installs by name what it has downloaded by URL.
    let of_lock = ["lock-held", "lock-files"].map(|name| test.path(name));
    for (dir, kept) in of_lock.iter().zip([false, true]) {
        let mut command = test.program(["new", "--prefix"]);
        command.arg(dir).arg("--base-image").arg(parts().base());
        command.arg("--lock").arg(held.join("share/condense.lock"));
        if kept {
            command.env(KEPT, "1");
        }
        let said = run(command.arg("--verbose")).text();
        assert!(!said.contains(UNPACKED), "{said}");
    }
    let [locked, unpacked] = &of_lock;
    assert!(
        same_image(locked, unpacked),
        "the images of the lock differ"
    );
    assert_same_results(locked, unpacked);

    for (program, words) in [
        ("edge-beside", "beside [1]"),
        ("edge-script", "script"),
        ("edge-pip-app", "edge-pip-app 1.0 with edge-pip-lib 1.0"),
    ] {
        let mut command = test.command(held.join("bin").join(program));
        command.run().says(words);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_is_replaced_needs_files() {
    let test = TestDir::new(Account::Ordinary, "pip-held-not");
    let wheels = write_wheels(&test);
    let lines = format!("'--find-links {}', 'rich >15'", wheels.display());
    let environment = test.environment(&format!("python=3.11, pip, rich, {{pip: [{lines}]}}"));
    let (held, files) = (test.path("held"), test.path("files"));
    let mut command = test.new_command(&held, &environment);
    let said = run(command.arg("--verbose")).text();
    let reason = "pip replaces `rich`, which came with a conda package";
    let words = format!("{UNPACKED} pip needs files: {reason}");
    assert_eq!(said.matches(&words).count(), 1, "{said}");
    assert!(!said.contains("ERROR"), "{said}");
    assert!(said.contains("pip has replaced `rich` 15.0.0"), "{said}");
    test.left_nothing();
    run(test.new_command(&files, &environment).env(KEPT, "1"));
    test.empty_scratch();
    assert!(same_image(&held, &files), "the images differ");
    assert_same_results(&held, &files);
}

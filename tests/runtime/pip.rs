//! pip for real: what is built from source, links, repositories, private indexes, and what pip does to conda's packages.

use std::path::{Path, PathBuf};

use crate::harness::{Account, Ended, Installation, Room, Run, stage};

/// A project with a C extension that needs nothing of Python's headers, and a module of one function.
fn project(room: &Room, name: &str, version: &str, with_c: bool) -> PathBuf {
    let dir = room.make_dir(name);
    let extension = if with_c {
        ", ext_modules=[Extension('edge_c', ['edge_c.c'])]"
    } else {
        ""
    };
    for (file, text) in [
        (
            "setup.py",
            format!(
                "from setuptools import setup, Extension\nsetup(name='{name}', version='{version}', py_modules=['{}']{extension})\n",
                name.replace('-', "_")
            ),
        ),
        (
            "pyproject.toml",
            "[build-system]\nrequires = []\nbuild-backend = 'setuptools.build_meta'\n".to_owned(),
        ),
        (
            "edge_c.c",
            "extern void *PyModule_Create2(void *, int);\nvoid *PyInit_edge_c(void) { return 0; }\n"
                .to_owned(),
        ),
    ] {
        room.write(&format!("{name}/{file}"), &text);
    }
    let module = format!("{name}/{}.py", name.replace('-', "_"));
    room.write(
        &module,
        &format!("def version():\n    return '{version}'\n"),
    );
    dir
}

fn build(room: &Room, lines: &str, more: &[&str]) -> Ended {
    let packages = format!("python=3.11, pip, setuptools, wheel, {{pip: [{lines}]}}");
    let mut command = room.new_command(&room.installation().dir, &room.environment(&packages));
    command
        .args(more)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", stage().wheels())
        .run()
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn lock_of(room: &Room) -> String {
    fs_err::read_to_string(room.installation().dir.join("share/condense.lock")).unwrap()
}

fn says(installation: &Installation, text: &str, expected: &str) {
    installation
        .python(Account::Ordinary, text)
        .run()
        .says(expected);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_compiler_that_is_missing_is_named() {
    let room = Room::new(Account::Ordinary, "pip-c");
    let dir = project(&room, "edge-c", "1.0", true);
    let ended = build(&room, &format!("'edge-c @ {}'", file_url(&dir)), &[]);
    room.refused(
        ended,
        &[
            "pip install failed",
            "a C compiler is needed",
            "add `c-compiler` to the conda packages",
        ],
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_directory_is_installed_and_marked_in_the_lock() {
    let room = Room::new(Account::Ordinary, "pip-dir");
    let dir = project(&room, "edge-mine", "1.0", false);
    build(&room, &format!("'edge-mine @ {}'", file_url(&dir)), &[]).succeeded();
    let text =
        "import edge_mine; print(edge_mine.version(), '/site-packages/' in edge_mine.__file__)";
    says(&room.installation(), text, "1.0 True");
    let lock = lock_of(&room);
    let marked = format!("- pypi: {}", dir.display());
    assert!(lock.contains(&marked), "`{marked}` is not in {lock}");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_repository_is_locked_by_its_commit_and_needs_git() {
    let room = Room::new(Account::Ordinary, "pip-git");
    let dir = project(&room, "edge-git", "1.0", false);
    let git = |arguments: &[&str]| {
        room.command("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .arg("-C")
            .arg(&dir)
            .args(arguments)
            .run()
            .succeeded()
            .text()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let line = format!("'edge-git @ git+{}'", file_url(&dir));
    let ended = build(&room, &line, &[]);
    room.refused(
        ended,
        &["`git` is needed", "add `git` to the conda packages"],
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_package_of_conda_s_that_pip_replaces_is_named() {
    let room = Room::new(Account::Root, "pip-replaces");
    let dir = project(&room, "rich", "99.0", false);
    let packages = format!(
        "python=3.11, pip, setuptools, wheel, rich, {{pip: ['rich @ {}', edge-pip-conflict, 'edge-pip-lib <1.1']}}",
        file_url(&dir)
    );
    let said = room
        .new_command(&room.installation().dir, &room.environment(&packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", stage().wheels())
        .run();
    // edge-pip-conflict wants an older library than there is: nothing is installed.
    room.refused(said, &["edge-pip-lib<1.0"]);

    let packages = packages.replace(", edge-pip-conflict, 'edge-pip-lib <1.1'", "");
    let said = room
        .new_command(&room.installation().dir, &room.environment(&packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", stage().wheels())
        .run()
        .succeeded()
        .text();
    let words = "pip has replaced `rich` 15.0.0, which came with the conda package `rich`, by 99.0";
    assert!(said.contains(words), "{said}");
    let installation = room.installation();
    let list = installation
        .command(Account::Root, "list-packages", [""; 0])
        .run()
        .succeeded()
        .text();
    let lines: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("rich "))
        .collect();
    assert!(
        lines.len() == 1 && lines[0].contains("99.0") && lines[0].ends_with("pypi"),
        "{list}"
    );
    // conda's record names nothing that is not its own any more.
    let text = "import glob, json, os, sys; r = json.load(open(glob.glob(sys.prefix + '/conda-meta/rich-*.json')[0])); print([f for f in r['files'] if not os.path.lexists(os.path.join(sys.prefix, f))])";
    says(&installation, text, "[]");
}

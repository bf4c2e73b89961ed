//! Tests of real pip runs: builds from source, links, repositories, private indexes, and changes of
//! packages that conda installed.

use std::path::{Path, PathBuf};

use crate::{
    harness::{Account, CommandOutput, Installation, Run, TestDir, parts},
    support::server::{Act, Door, serve},
};

/// Writes a project with a C extension that needs no headers of Python, and a module with one
/// function.
fn project(test: &TestDir, name: &str, version: &str, with_c: bool) -> PathBuf {
    let dir = test.make_dir(name);
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
            "extern void *PyModule_Create2(void *, int);\nvoid *PyInit_edge_c(void) { return 0; }\nint edge_answer(void) { return 42; }\n"
                .to_owned(),
        ),
    ] {
        test.write(&format!("{name}/{file}"), &text);
    }
    let module = format!("{name}/{}.py", name.replace('-', "_"));
    test.write(
        &module,
        &format!("def version():\n    return '{version}'\n"),
    );
    dir
}

fn build(test: &TestDir, lines: &str, more: &[&str]) -> CommandOutput {
    let packages = format!("python=3.11, pip, setuptools, wheel, {{pip: [{lines}]}}");
    let mut command = test.new_command(&test.installation().dir, &test.environment(&packages));
    command
        .args(more)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn lock_of(test: &TestDir) -> String {
    fs_err::read_to_string(test.installation().dir.join("share/condense.lock")).unwrap()
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
    let test = TestDir::new(Account::Ordinary, "pip-c");
    let dir = project(&test, "edge-c", "1.0", true);
    let output = build(&test, &format!("'edge-c @ {}'", file_url(&dir)), &[]);
    test.refused(
        output,
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
    let test = TestDir::new(Account::Ordinary, "pip-dir");
    let dir = project(&test, "edge-mine", "1.0", false);
    build(&test, &format!("'edge-mine @ {}'", file_url(&dir)), &[]).succeeded();
    let text =
        "import edge_mine; print(edge_mine.version(), '/site-packages/' in edge_mine.__file__)";
    says(&test.installation(), text, "1.0 True");
    let lock = lock_of(&test);
    let marked = format!("- pypi: {}", dir.display());
    assert!(lock.contains(&marked), "`{marked}` is not in {lock}");
}

/// Builds with the host view, in which the compilers and git of the host are visible, as with a
/// site's default base.
fn build_at_site(test: &TestDir, lines: &str, variables: &[(&str, &str)]) -> CommandOutput {
    let base = parts().base();
    let site = test.write(
        "site.yml",
        &format!("defaults:\n  container_src: {}\n", base.display()),
    );
    let packages = format!("python=3.11, pip, setuptools, wheel, {{pip: [{lines}]}}");
    test.program(["new", "--prefix"])
        .arg(&test.installation().dir)
        .arg(test.environment(&packages))
        .env("CW_GLOBAL_YAML", site)
        .env(
            "PIP_NO_INDEX",
            if lines.contains("--index-url") {
                "0"
            } else {
                "1"
            },
        )
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", parts().wheels())
        .envs(variables.iter().copied())
        .run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_c_extension_is_built_with_the_host_s_compiler() {
    let test = TestDir::new(Account::Ordinary, "pip-host-c");
    let dir = project(&test, "edge-c", "1.0", true);
    build_at_site(&test, &format!("'edge-c @ {}'", file_url(&dir)), &[]).succeeded();
    let text = "import ctypes, importlib.util as i; p = i.find_spec('edge_c').origin; print(ctypes.CDLL(p).edge_answer())";
    says(&test.installation(), text, "42");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn editable_projects_become_plain_ones_unless_they_are_kept() {
    for kept in [false, true] {
        let test = TestDir::new(Account::Ordinary, "pip-edited");
        let dir = project(&test, "edge-edited", "1.0", false);
        let more: &[&str] = if kept { &["--keep-editable"] } else { &[] };
        build(&test, "'-e ./edge-edited'", more).succeeded();
        test.write(
            "edge-edited/edge_edited.py",
            "def version():\n    return '2.0'\n",
        );
        let text = "import edge_edited; print(edge_edited.version())";
        says(&test.installation(), text, if kept { "2.0" } else { "1.0" });
        let lock = lock_of(&test);
        assert!(lock.contains(&dir.display().to_string()), "{lock}");
        assert_eq!(lock.contains("editable:"), kept, "{lock}");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_private_index_is_asked_with_its_password_which_nobody_sees() {
    let test = TestDir::new(Account::Ordinary, "pip-index");
    let server = serve(&parts().path("channel"), Door::Password, |_, _| Act::Serve);
    let line = format!(
        "'--index-url {}/wheels/simple/', edge-pip-app",
        server.url()
    );
    let packages = format!("python=3.11, pip, {{pip: [{line}]}}");
    let said = test
        .new_command(&test.installation().dir, &test.environment(&packages))
        .run()
        .succeeded()
        .text();
    assert!(
        said.contains("edge_pip_app") && !said.contains("secret-word"),
        "{said}"
    );
    test.installation()
        .command(Account::Ordinary, "edge-pip-app", [""; 0])
        .run()
        .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
    let kept = test.installation().dir.join(".condense");
    let found = test
        .command("grep")
        .args(["-rlF", "secret-word"])
        .arg(kept)
        .run();
    found.failed(1, &[]);
    let image = test
        .installation()
        .command(
            Account::Ordinary,
            "_debug_exec",
            [
                "grep",
                "-rlF",
                "secret-word",
                &test.installation().env_prefix(),
            ],
        )
        .run();
    image.failed(1, &[]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_does_not_fit_together_in_the_end_is_said() {
    let test = TestDir::new(Account::Ordinary, "pip-check");
    let dir = project(&test, "markdown-it-py", "0.1", false);
    let packages = format!(
        "python=3.11, pip, setuptools, wheel, rich, {{pip: ['markdown-it-py @ {}']}}",
        file_url(&dir)
    );
    let said = test
        .new_command(&test.installation().dir, &test.environment(&packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .run()
        .succeeded()
        .text();
    let words = "pip check: rich 15.0.0 has requirement markdown-it-py";
    assert!(said.contains(words), "{said}");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_repository_is_locked_by_its_commit_and_needs_git() {
    let test = TestDir::new(Account::Ordinary, "pip-git");
    let dir = project(&test, "edge-git", "1.0", false);
    let git = |arguments: &[&str]| {
        test.command("git")
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
    let output = build(&test, &line, &[]);
    test.refused(
        output,
        &["`git` is needed", "add `git` to the conda packages"],
    );
    let commit = git(&["rev-parse", "HEAD"]);
    build_at_site(&test, &line, &[]).succeeded();
    let text = "import edge_git; print(edge_git.version())";
    says(&test.installation(), text, "1.0");
    let lock = lock_of(&test);
    assert!(lock.contains(commit.trim()), "{lock}");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_package_of_conda_s_that_pip_replaces_is_named() {
    let test = TestDir::new(Account::Root, "pip-replaces");
    let dir = project(&test, "rich", "99.0", false);
    let packages = format!(
        "python=3.11, pip, setuptools, wheel, rich, {{pip: ['rich @ {}', edge-pip-conflict, 'edge-pip-lib <1.1']}}",
        file_url(&dir)
    );
    let said = test
        .new_command(&test.installation().dir, &test.environment(&packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run();
    // edge-pip-conflict needs an older library than the channel has, so nothing is installed.
    test.refused(said, &["edge-pip-lib<1.0"]);

    let packages = packages.replace(", edge-pip-conflict, 'edge-pip-lib <1.1'", "");
    let said = test
        .new_command(&test.installation().dir, &test.environment(&packages))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded()
        .text();
    let words = "pip has replaced `rich` 15.0.0, which came with the conda package `rich`, by 99.0";
    assert!(said.contains(words), "{said}");
    let installation = test.installation();
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
    // The record of conda lists only files that still belong to its package.
    let text = "import glob, json, os, sys; r = json.load(open(glob.glob(sys.prefix + '/conda-meta/rich-*.json')[0])); print([f for f in r['files'] if not os.path.lexists(os.path.join(sys.prefix, f))])";
    says(&installation, text, "[]");
}

/// Returns the error of a build, without the paths of this run.
fn error_of(test: &TestDir, output: &CommandOutput) -> String {
    assert_eq!(output.status, 1, "{output:?}");
    let text = output.stdout.clone();
    let at = text.find("[ ERROR ]").unwrap_or_default();
    let machine = std::env::consts::ARCH;
    text[at..]
        .replace(&parts().wheels().display().to_string(), "[WHEELS]")
        .replace(&test.path("").display().to_string(), "[TEST]/")
        .replace(machine, "[MACHINE]")
        .lines()
        .filter(|line| !line.contains("all of its output is in"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Row B16: each failure of pip is one error with the way out, and its words come once.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn failures_of_pip_are_told_once_and_in_short() {
    let test = TestDir::new(Account::Ordinary, "pip-failures");
    let broken = project(&test, "edge-c", "1.0", true);
    test.write("edge-c/edge_c.c", "int f(void) { return nope; }\n");
    let wheel = "edge_pip_lib==1.0 --hash=sha256:";
    let zeros = "0".repeat(64);
    let hashed = test.write("hashed.txt", &format!("{wheel}{zeros}\n"));
    let mut told = String::new();
    for (name, lines) in [
        ("version", "'edge_pip_lib>=9'".to_owned()),
        ("name", "edge_pip_lid".to_owned()),
        ("conflict", "'edge_pip_app', 'edge_pip_conflict'".to_owned()),
        ("hash", format!("-r {}", hashed.display())),
        ("compiler", format!("'edge-c @ {}'", file_url(&broken))),
        (
            "network",
            "'--index-url http://127.0.0.1:9/simple', edge_pip_lid".to_owned(),
        ),
    ] {
        let output = build_at_site(&test, &lines, &[("PIP_RETRIES", "0")]);
        let mut error = error_of(&test, &output);
        if name == "compiler" {
            assert!(error.contains("nope"), "{error}");
            // Compilers differ in the rest.
            let is_ours = |line: &&str| line.contains("cannot be built") || line.contains("hint:");
            error = error.lines().filter(is_ours).collect::<Vec<_>>().join("\n");
        }
        told.push_str(&format!("== {name}\n{error}\n"));
        assert_eq!(output.stdout.matches("ERROR").count(), 1, "{output:?}");
    }
    for words in [
        "no version of `edge_pip_lib` fits `edge_pip_lib>=9`",
        "there is no `edge_pip_lid` in",
        "these requirements exclude each other",
        "has another digest than the file asks for",
        "`edge-c` cannot be built: the compiler reports errors",
        "does not answer: connection refused",
    ] {
        assert!(told.contains(words), "no `{words}` in {told}");
    }
}

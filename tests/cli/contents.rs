//! Tests of the commands that read the packages of an installation, a generation, a SIF, an image
//! or a lock: `condense packages`, `size`, `diff`, `why`, `tree` and `export`.

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv};

/// Returns a test with an installation `envs/mine` of two generations, of which the second one has
/// one more package, a SIF `mine.sif`, a lock `mine.lock`, and an image `wheels.sqfs` with packages
/// of pip.
pub fn prepared() -> TestEnv {
    let test = TestEnv::new();
    let prefix = test.path("work/envs/mine");
    for (packages, name) in [
        ("tool", "one.yml"),
        ("tool, no-programs, gated 1.*", "two.yml"),
    ] {
        let file = test.write(
            name,
            &format!(
                "channels: [CHANNEL]\ndependencies: [{packages}]\nvariables: {{GREETING: hello}}\n"
            ),
        );
        let words = ["--force", "--prefix", prefix.to_str().unwrap()];
        let words = [&words[..], &[file.to_str().unwrap()]].concat();
        test.build(&words).succeeded();
    }
    let build = "cotainr build --base-image ../base --conda-env one.yml mine.sif";
    look(&test, build).succeeded();
    look(&test, "export --lock -o mine.lock mine@1").succeeded();
    for (path, text) in [
        (
            "rich-13.0.dist-info/METADATA",
            "Name: rich\nVersion: 13.0\nRequires-Dist: Pygments>=2\nRequires-Dist: tomli ; python_version < '3'\n",
        ),
        ("rich-13.0.dist-info/REQUESTED", ""),
        ("rich-13.0.dist-info/RECORD", "rich/__init__.py,,\n"),
        ("rich/__init__.py", "rich"),
        ("rich/tests/test_rich.py", "test"),
        (
            "pygments-2.18.dist-info/METADATA",
            "Name: Pygments\nVersion: 2.18\n",
        ),
    ] {
        let path = test
            .path("work/wheels/venv/lib/python3.12/site-packages")
            .join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let settings = test.path("work/wheels/venv/pyvenv.cfg");
    fs_err::write(settings, "home = /usr/bin\nversion = 3.12.4\n").unwrap();
    look(&test, "image pack wheels wheels.sqfs").succeeded();
    test
}

/// Runs `condense` with the words of a line.
pub fn look(test: &TestEnv, line: &str) -> CommandOutput {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = test.condense(&words);
    command.env("TYKKY_PATH", test.path("work/envs")).run()
}

fn json(test: &TestEnv, line: &str) -> Value {
    let said = look(test, line).succeeded();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Returns the words of each line of standard output.
fn table(said: &CommandOutput) -> Vec<Vec<&str>> {
    let lines = said.stdout.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn packages_are_listed_for_whatever_has_some() {
    let test = prepared();
    let said = look(&test, "packages mine").succeeded();
    let rows = table(&said);
    assert_eq!(rows[0][..4], ["PACKAGE", "VERSION", "BUILD", "KIND"]);
    let names: Vec<&str> = rows.iter().skip(1).map(|row| row[0]).collect();
    assert_eq!(names, ["gated", "library", "no-programs", "tool"]);
    assert_eq!(rows[1][..4], ["gated", "1.0", "0", "conda"]);
    assert!(said.stderr.contains("4 packages: "), "{said:?}");

    for (line, expected) in [
        ("packages mine@1", &["library", "tool"][..]),
        ("packages envs/mine@1", &["library", "tool"]),
        ("packages mine.sif", &["library", "tool"]),
        ("packages mine.lock", &["library", "tool"]),
        ("packages wheels.sqfs", &["pygments", "rich"]),
        (
            "packages --requested mine",
            &["gated", "no-programs", "tool"],
        ),
        ("packages --requested wheels.sqfs", &["rich"]),
        ("packages --kind pip mine", &[]),
        ("packages mine lib", &["library"]),
    ] {
        let rows = json(&test, &format!("{line} --json"));
        let rows = rows["packages"].as_array().unwrap();
        let names: Vec<&str> = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{line}");
    }
    let rows = json(&test, "packages --json mine");
    let tool = &rows["packages"][3];
    assert_eq!(tool["requested"][0], "tool");
    assert_eq!(tool["depends"][0]["package"], "library");
    assert!(tool["size"]["bytes"].as_u64().unwrap() > 20, "{tool}");
    assert_eq!(rows["subject"]["generation"], 2);
    // A lock knows no sizes in an image.
    let rows = json(&test, "packages --json mine.lock");
    assert_eq!(rows["packages"][0]["size"], Value::Null);
}

#[test]
fn the_size_names_packages_kinds_and_ways_to_shrink() {
    let test = prepared();
    let said = look(&test, "size mine").succeeded();
    for words in [
        "PACKAGE",
        "tool 1.0",
        "files of no package",
        "1 older generations have",
        "To make it smaller:",
        "`condense gc --keep 0 ",
    ] {
        assert!(said.stdout.contains(words), "`{words}` is not in {said:?}");
    }
    let found = json(&test, "size --json mine.sif");
    let parts = found["packages"].as_array().unwrap();
    let sum = |key: &str| -> u64 {
        let sizes = parts.iter().map(|part| part["size"][key].as_u64().unwrap());
        sizes.sum()
    };
    assert_eq!(
        sum("bytes"),
        found["image"]["total"]["bytes"].as_u64().unwrap()
    );
    assert_eq!(
        sum("files"),
        found["image"]["total"]["files"].as_u64().unwrap()
    );
    let said = look(&test, "size --top 1 mine").succeeded();
    assert!(said.stdout.contains(" others)"), "{said:?}");
}

/// The report compares each generation with the one before it, with the engine of `diff`.
#[test]
fn the_report_says_what_changed_between_generations() {
    let test = prepared();
    let page = look(&test, "report mine").succeeded().stdout;
    let section = |number: u32| {
        let begin = format!("id=\"generation-{number}\">");
        let text = page
            .split(&begin)
            .nth(1)
            .unwrap_or_else(|| panic!("{page}"));
        text.split("</article>").next().unwrap()
    };
    let difference = look(&test, "diff mine@1 mine").succeeded();
    let rows = table(&difference);
    let summary = "2 added, 0 removed, 0 changed; image ";
    assert!(difference.stderr.contains(summary), "{difference:?}");
    assert!(section(2).contains("Since generation 1: 2 added, 0 removed, 0 changed; image "));
    assert_eq!(section(2).matches("</b> added</span></td>").count(), 2);
    // The first row has the names of the columns.
    for row in &rows[1..] {
        let name = format!("<span class=\"name\">{}</span>", row[1]);
        let version = format!("<td class=\"middle version\">{}</td>", row[4]);
        for words in [name, version] {
            assert!(
                section(2).contains(&words),
                "`{words}` is not in {}",
                section(2)
            );
        }
    }
    assert!(section(1).contains("The oldest generation that is kept: "));
    // A generation that is damaged hides no other one.
    look(&test, "rollback mine").succeeded();
    fs_err::remove_file(test.path("work/envs/mine/.condense/2/img.sqfs")).unwrap();
    fs_err::write(test.path("work/envs/mine/.condense/2/img.sqfs"), "hsqs").unwrap();
    let page = look(&test, "report mine").succeeded().stdout;
    assert!(page.contains("Generation 2 cannot be read: "), "{page}");
    assert!(page.contains("<b>1 of 2</b>"), "{page}");
}

#[test]
fn differences_are_named_and_counted() {
    let test = prepared();
    let said = look(&test, "diff mine@1 mine").succeeded();
    let rows = table(&said);
    assert_eq!(rows[1][..5], ["+", "gated", "conda", "-", "1.0"]);
    assert_eq!(rows[2][..2], ["+", "no-programs"]);
    assert!(
        said.stderr
            .contains("2 added, 0 removed, 0 changed; image "),
        "{said:?}"
    );

    let newer = test.write("three.yml", "channels: [CHANNEL]\ndependencies: [gated]\n");
    test.build(&[newer.to_str().unwrap()]).succeeded();
    let said = look(&test, "diff mine ./installation").succeeded();
    assert_eq!(table(&said)[1][..5], ["~", "gated", "conda", "1.0", "2.0"]);
    assert_eq!(table(&said)[2][..2], ["-", "library"]);

    look(&test, "diff --exit-code mine@1 mine").failed(1, &["gated"]);
    for (line, packages) in [
        ("diff --exit-code mine@1 mine.lock", 2),
        ("diff --exit-code mine.sif mine@1", 2),
    ] {
        let said = look(&test, line).succeeded();
        assert!(said.stdout.is_empty(), "{said:?}");
        assert!(
            said.stderr
                .contains(&format!("the same {packages} packages")),
            "{said:?}"
        );
    }
}

#[test]
fn a_package_is_explained_by_what_needs_it() {
    let test = prepared();
    let said = look(&test, "why mine.sif library").succeeded();
    assert_eq!(
        said.stdout,
        "library 2.0\nneeded by:\n  tool 1.0 needs library >=2\ninstalled for:\n  tool -> library\n"
    );
    let said = look(&test, "why wheels.sqfs Pygments").succeeded();
    assert!(
        said.stdout.contains("rich 13.0 (pip) needs pygments >=2"),
        "{said:?}"
    );
    let said = look(&test, "why mine tool").succeeded();
    assert_eq!(said.stdout, "tool 1.0\nasked for as: tool\n");
    // A lock does not say what was asked for.
    let said = look(&test, "why mine.lock tool").succeeded();
    assert!(
        said.stdout.contains("no request for it is recorded"),
        "{said:?}"
    );
}

#[test]
fn trees_start_from_what_was_asked_for() {
    let test = prepared();
    let said = look(&test, "tree mine@1").succeeded();
    assert_eq!(said.stdout, "tool 1.0\n└── library 2.0 [>=2]\n");
    let said = look(&test, "tree --depth 0 mine").succeeded();
    assert_eq!(said.stdout, "gated 1.0\nno-programs 1.0\ntool 1.0\n");
    let said = look(&test, "tree --invert mine library").succeeded();
    assert_eq!(said.stdout, "library 2.0\n└── tool 1.0 [>=2]\n");
    let said = look(&test, "tree wheels.sqfs").succeeded();
    assert_eq!(
        said.stdout,
        "rich 13.0 (pip)\n└── pygments 2.18 (pip) [>=2]\n"
    );
}

#[test]
fn an_exported_environment_file_gives_the_same_packages() {
    let test = prepared();
    let said = look(&test, "export mine -o again.yml").succeeded();
    assert_eq!(said.stdout, "");
    let text = fs_err::read_to_string(test.path("work/again.yml")).unwrap();
    for words in [
        &test.channel[..],
        "- tool\n",
        "- gated 1.*\n",
        "GREETING: hello\n",
    ] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    assert!(!text.contains("library"), "{text}");
    for (name, options) in [
        ("again.yml", ""),
        ("pinned.yml", "--pinned "),
        ("of-sif.yml", ""),
    ] {
        let subject = if name == "of-sif.yml" {
            "mine.sif"
        } else {
            "mine"
        };
        look(&test, &format!("export {options}{subject} -o {name}")).succeeded();
        test.build(&["--force", name]).succeeded();
        let with = if subject == "mine" { "mine" } else { "mine@1" };
        look(&test, &format!("diff --exit-code {with} ./installation")).succeeded();
    }
    let pinned = fs_err::read_to_string(test.path("work/pinned.yml")).unwrap();
    assert!(
        pinned.contains("- gated=1.0\n") && pinned.contains("- tool=1.0\n"),
        "{pinned}"
    );
}

#[test]
fn locks_and_requirements_are_exported() {
    let test = prepared();
    let lock = look(&test, "export --lock mine.sif").succeeded().stdout;
    assert!(
        lock.starts_with("version: ") && lock.contains("library-2.0"),
        "{lock}"
    );
    let kept = test.path("work/envs/mine/share/condense.lock");
    assert_eq!(
        look(&test, "export --lock mine").succeeded().stdout,
        fs_err::read_to_string(kept).unwrap()
    );
    let said = look(&test, "export --requirements wheels.sqfs").succeeded();
    assert_eq!(said.stdout, "pygments==2.18\nrich==13.0\n");
    let said = look(&test, "export --requirements mine").succeeded();
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr.contains("no package was installed by pip"),
        "{said:?}"
    );
    look(&test, "export --lock --yaml mine").failed(2, &[]);
}

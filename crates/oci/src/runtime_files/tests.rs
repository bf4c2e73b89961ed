#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use condense_image::{Kind, Source};

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns words in the format in which the program prints them.
fn shown<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    format!("<{}>", words.join("><"))
}

/// Runs the runscript with a program that prints its arguments, and returns the output.
fn run(entrypoint: &[&str], cmd: &[&str], arguments: &[&str], is_literal: bool) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let show = scratch.path().join("show");
    fs_err::write(&show, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
    fs_err::set_permissions(&show, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = |words: &[&str]| {
        words
            .iter()
            .map(|word| word.replace("SHOW", show.to_str().unwrap()))
            .collect()
    };
    let script = render_runscript(&Run {
        entrypoint: program(entrypoint),
        cmd: program(cmd),
        ..Run::default()
    });
    let path = scratch.path().join("runscript");
    fs_err::write(&path, script).unwrap();
    let mut command = Command::new("sh");
    command.arg(&path).env_clear().env("HOME", "/home/me");
    command.args(program(arguments));
    if is_literal {
        command.env("SINGULARITY_NO_EVAL", "1");
    }
    let output = command.output().unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_image_s_own_words_arrive_as_they_are() {
    let odd = [
        "a b",
        "$HOME",
        "it's",
        "\"q\"",
        "`id`",
        "back\\slash",
        "",
        "*",
        "-n",
        "two\nlines",
    ];
    let shown = shown(odd.iter().copied());
    for is_literal in [true, false] {
        let with_odd = |first: &[&'static str]| [first, &odd].concat();
        assert_eq!(run(&with_odd(&["SHOW"]), &[], &[], is_literal), shown);
        assert_eq!(run(&[], &with_odd(&["SHOW"]), &[], is_literal), shown);
        assert_eq!(run(&["SHOW"], &odd, &[], is_literal), shown);
        // Arguments replace CMD, and follow ENTRYPOINT.
        assert_eq!(run(&["SHOW", "e"], &["c"], &["x"], is_literal), "<e><x>");
        assert_eq!(run(&[], &["c"], &["SHOW", "x y"], is_literal), "<x y>");
    }
    assert_eq!(
        run(&["SHOW"], &[], &["$HOME", "a b"], false),
        "</home/me><a b>"
    );
    assert_eq!(
        run(&["SHOW"], &[], &["$HOME", "\"", "-x"], true),
        "<$HOME><\"><-x>"
    );
    assert_eq!(run(&["SHOW"], &[], &["-x"], false), "<-x>");
}

#[test]
fn an_image_without_words_runs_a_shell() {
    let script = render_runscript(&Run::default());
    assert!(script.ends_with("[ $# -gt 0 ] || set -- /bin/sh\nexec \"$@\"\n"));
    assert_eq!(run(&[], &[], &["SHOW", "x"], false), "<x>");
}

#[test]
fn variables_arrive_as_they_are() {
    let values = [
        "one",
        "a b  c",
        "it's \"quoted\"",
        "$HOME/${X}",
        "a=b",
        "ä€",
        "back\\slash",
        "1\n2",
        "`id`",
        "",
    ];
    let mut env: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(number, value)| format!("V{number}={value}"))
        .collect();
    env.extend(words(&[
        "PATH=/opt/bin:/bin",
        "KEPT=image's",
        "bad.name=x",
        "1x=y",
        "=z",
        "LONE",
    ]));
    let (script, unusable) = render_environment(&env);
    assert_eq!(unusable, ["bad.name", "1x", ""]);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("env.sh");
    fs_err::write(&path, script).unwrap();
    let names = (0..values.len())
        .map(|number| format!("\"$V{number}\""))
        .collect::<Vec<_>>();
    let show = format!(
        ". \"$0\"; printf '<%s>' {} \"$PATH\" \"$KEPT\" \"${{LONE-unset}}\"",
        names.join(" ")
    );
    // PATH has none of this machine's programs, so the shell must do everything itself.
    let output = Command::new("/bin/sh")
        .args(["-euc", &show])
        .arg(&path)
        .env_clear()
        .env("PATH", "/host")
        .env("KEPT", "host's")
        .output()
        .unwrap();
    let expected = shown(values.into_iter().chain(["/opt/bin:/bin", "host's", ""]));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns the paths of the installed files, with their modes and contents.
fn installed(files: &RuntimeFiles, mut root: RootFs) -> BTreeMap<String, (u16, String)> {
    files.install(&mut root).unwrap();
    root.into_tree()
        .unwrap()
        .walk()
        .map(|(path, entry)| {
            let content = match &entry.kind {
                Kind::File {
                    source: Source::Bytes(bytes),
                    ..
                } => String::from_utf8(bytes.to_vec()).unwrap(),
                Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                _ => String::new(),
            };
            (path.display().to_string(), (entry.mode, content))
        })
        .collect()
}

#[test]
fn a_runtime_finds_what_it_looks_for() {
    let run = Run {
        labels: BTreeMap::from([("z.label".to_owned(), "a \"b\"".to_owned())]),
        ..Run::default()
    };
    let files = RuntimeFiles::new(&run, "docker", "debian:12", "amd64", "Thursday_1");
    let mut root = RootFs::new(0);
    root.put_file("etc/hosts", b"127.0.0.1 builder".into(), 0o755)
        .unwrap();
    root.put_symlink("etc/resolv.conf", "../run/resolv.conf")
        .unwrap();
    root.put_file(".singularity.d/env/91-other.sh", b"old".into(), 0o755)
        .unwrap();
    root.ensure_directory("var/tmp", 0o1777).unwrap();
    let found = installed(&files, root);
    assert_eq!(found["etc/hosts"], (0o644, String::new()));
    assert_eq!(found["etc/resolv.conf"].1, "-> ../run/resolv.conf");
    assert_eq!(found["var/tmp"].0, 0o1777, "what is there stays");
    assert!(!found.contains_key(".singularity.d/env/91-other.sh"));
    assert_eq!(found["singularity"].1, "-> .singularity.d/runscript");
    assert_eq!(found[".singularity.d/libs"].0, 0o755);
    assert_eq!(found[".singularity.d/runscript"].0, 0o755);
    assert_eq!(
        found[".singularity.d/Singularity"],
        (0o644, "bootstrap: docker\nfrom: debian:12\n\n".to_owned())
    );
    let labels = &found[".singularity.d/labels.json"];
    assert_eq!(labels.0, 0o644);
    assert_eq!(
        labels.1,
        "{\n\t\"org.label-schema.build-arch\": \"amd64\",\n\t\"org.label-schema.build-date\": \"Thursday_1\",\n\t\"org.label-schema.schema-version\": \"1.0\",\n\t\"org.label-schema.usage.singularity.deffile.bootstrap\": \"docker\",\n\t\"org.label-schema.usage.singularity.deffile.from\": \"debian:12\",\n\t\"z.label\": \"a \\\"b\\\"\"\n}"
    );
    let metadata = files.inspect_metadata();
    assert_eq!(metadata["type"], "container");
    let attributes = &metadata["data"]["attributes"];
    assert_eq!(attributes["labels"]["z.label"], "a \"b\"");
    assert_eq!(attributes["deffile"], "bootstrap: docker\nfrom: debian:12");
}

#[test]
fn every_script_is_valid_posix_shell() {
    for (path, text) in SCRIPTS {
        let checked = Command::new("sh")
            .args(["-n", "-c", text])
            .output()
            .unwrap();
        assert!(
            checked.status.success() && checked.stderr.is_empty(),
            "{path}"
        );
    }
}

#[test]
fn paths_and_libraries_of_the_runtime_are_added() {
    let show = |script: &str, before: &[(&str, &str)], name: &str| {
        let shown = format!("{script}\nprintf %s \"${name}\"");
        let output = Command::new("/bin/sh")
            .args(["-euc", &shown])
            .env_clear()
            .envs(before.iter().copied())
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let base = include_str!("base.sh");
    assert_eq!(show(base, &[], "LD_LIBRARY_PATH"), "/.singularity.d/libs");
    let own = [("LD_LIBRARY_PATH", "/x")];
    assert_eq!(
        show(base, &own, "LD_LIBRARY_PATH"),
        "/x:/.singularity.d/libs"
    );
    assert_eq!(show(base, &[("PS1", "")], "PS1"), "Apptainer> ");
    let variables = include_str!("runtime-variables.sh");
    let path = ("PATH", "/bin");
    for (asked, expected) in [
        (vec![], "/bin"),
        (vec![("SING_USER_DEFINED_PREPEND_PATH", "/p")], "/p:/bin"),
        (vec![("SING_USER_DEFINED_APPEND_PATH", "/a")], "/bin:/a"),
        (vec![("SING_USER_DEFINED_PATH", "/only")], "/only"),
    ] {
        let before: Vec<_> = asked.into_iter().chain([path]).collect();
        assert_eq!(show(variables, &before, "PATH"), expected);
    }
}

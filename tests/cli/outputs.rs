//! Result files that the user names. They are either replaced completely or left unchanged.

use std::{
    io::{Read, Seek},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use crate::harness::{CommandOutput, Run, TestEnv};

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(words).run()
}

#[test]
fn a_result_takes_the_place_of_the_old_one_in_one_step() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    for words in [
        &["lock", "env.yml", "-o", "named"][..],
        &["report", "installation", "-o", "named"],
    ] {
        let target = test.write("target", "the old one\n");
        let mode = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(&target, mode).unwrap();
        let named = test.path("work/named");
        symlink("target", &named).unwrap();
        let mut old = fs_err::File::open(&target).unwrap();
        condense(&test, words).succeeded();
        // A program that has opened the old file can still read all of it after the replacement.
        let mut text = String::new();
        old.rewind().unwrap();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the old one\n", "{words:?}");
        assert!(named.is_symlink());
        let new = fs_err::metadata(&target).unwrap();
        assert!(new.len() > 100 && new.mode() & 0o777 == 0o640, "{words:?}");
        fs_err::remove_file(named).unwrap();
    }
    assert_eq!(test.beside(), [""; 0]);
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_the_old_one_stays() {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("old", "the old one\n");
    let words = ["lock", "env.yml", "-o"];
    let said = condense(&test, &[&words[..], &["/dev/full"]].concat());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("No space left"), "{said:?}");
    // The limit on the size of files has the same effect here as a quota.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = test.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = command.args(words).arg("old").run();
    assert_eq!(said.status, 1, "{said:?}");
    let old = fs_err::read_to_string(test.path("work/old")).unwrap();
    assert_eq!(old, "the old one\n");
    test.left_nothing();
}

#[test]
fn pipes_and_standard_output_are_written_to() {
    let test = TestEnv::new();
    test.environment("tool");
    let expected = condense(&test, &["lock", "env.yml"]).succeeded().stdout;
    let said = condense(&test, &["lock", "env.yml", "-o", "/dev/stdout"]).succeeded();
    assert_eq!(said.stdout, expected);
    let script = "\"$1\" lock env.yml -o /dev/stdout >out && cat out";
    let mut command = test.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = command.run().succeeded();
    assert_eq!(said.stdout, expected);
}

/// One command that writes, with `OUT` in place of the path.
struct Writer {
    words: &'static [&'static str],
    /// Kind of the result.
    kind: Written,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// A file that is replaced without a question.
    File,
    /// A file that is refused if it exists.
    NewFile,
    /// An installation, whose missing parents are made.
    Installation,
    /// A directory below which files are written, whose missing parents are made.
    Below,
}

/// Inputs of these commands do not exist, are not valid or have no packages: an error about them
/// would show that a command has looked at them before its output.
const WRITERS: &[Writer] = &[
    Writer {
        words: &["new", "OUT", "unsolvable.yml"],
        kind: Written::Installation,
    },
    Writer {
        words: &[
            "conda-containerize",
            "new",
            "--prefix",
            "OUT",
            "unsolvable.yml",
        ],
        kind: Written::Installation,
    },
    Writer {
        words: &["pip-containerize", "new", "--prefix", "OUT", "junk.txt"],
        kind: Written::Installation,
    },
    Writer {
        words: &[
            "wrap-container",
            "-w",
            "/nothing/here",
            "--prefix",
            "OUT",
            "junk.sif",
        ],
        kind: Written::Installation,
    },
    Writer {
        words: &["build", "OUT", "unsolvable.yml", "--base-image", "junk.sif"],
        kind: Written::NewFile,
    },
    Writer {
        words: &[
            "cotainr",
            "build",
            "OUT",
            "--base-image",
            "junk.sif",
            "--conda-env",
            "unsolvable.yml",
            "--accept-licenses",
            "--yes",
        ],
        kind: Written::File,
    },
    Writer {
        words: &["lock", "unsolvable.yml", "-o", "OUT"],
        kind: Written::File,
    },
    Writer {
        words: &["export", "junk.sif", "-o", "OUT"],
        kind: Written::File,
    },
    Writer {
        words: &["report", "junk.sif", "-o", "OUT"],
        kind: Written::File,
    },
    Writer {
        words: &["image", "pack", "not-there", "OUT"],
        kind: Written::NewFile,
    },
    Writer {
        words: &["image", "extract", "junk.sif", "OUT"],
        kind: Written::NewFile,
    },
    Writer {
        words: &["pull", "docker://127.0.0.1:9/nothing", "OUT"],
        kind: Written::NewFile,
    },
    Writer {
        words: &["sif", "dump", "junk.sif", "1", "-o", "OUT"],
        kind: Written::NewFile,
    },
    Writer {
        words: &["sif", "new", "OUT"],
        kind: Written::NewFile,
    },
    Writer {
        words: &["kernel", "junk.sif", "--prefix", "OUT"],
        kind: Written::Below,
    },
];

/// Row B17: each command that writes says that it cannot before it does anything else. The
/// addresses of its inputs answer nothing.
#[test]
fn outputs_are_checked_before_any_work() {
    let test = TestEnv::new();
    test.write(
        "unsolvable.yml",
        "channels: [http://127.0.0.1:9/c]\ndependencies: [nosuch]\n",
    );
    test.write("junk.txt", "nosuch @ http://127.0.0.1:9/x.whl\n");
    test.write("junk.sif", "no image\n");
    test.write("taken", "the old one\n");
    fs_err::create_dir(test.path("work/dir")).unwrap();
    fs_err::write(test.path("work/dir/x"), "").unwrap();
    fs_err::create_dir(test.path("work/closed")).unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    fs_err::set_permissions(test.path("work/closed"), closed).unwrap();
    let mut wrong = Vec::new();
    for Writer { words, kind } in WRITERS {
        for (out, expected) in refusals(*kind) {
            let out = test.path("work").join(out).display().to_string();
            let words: Vec<&str> = words
                .iter()
                .map(|word| if *word == "OUT" { out.as_str() } else { word })
                .collect();
            let said = if out.contains("closed") {
                as_other_user(&test, &words)
            } else {
                condense(&test, &words)
            };
            let text = format!("{}{}", said.stdout, said.stderr);
            let asked = text.contains("127.0.0.1:9");
            if said.status != 1 || asked || !expected.iter().any(|words| text.contains(words)) {
                wrong.push(format!("{words:?}: {} {text}", said.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let old = fs_err::read_to_string(test.path("work/taken")).unwrap();
    assert_eq!(old, "the old one\n");
    test.left_nothing();
}

/// An image takes the place of a file, and of nothing else that is no directory: not with the
/// option that replaces, and without it the refusal does not advise that option.
#[test]
fn an_image_does_not_take_the_place_of_what_is_no_file() {
    let test = TestEnv::new();
    let definition = "Bootstrap: localimage\nFrom: junk.sif\n";
    test.write("app.def", definition);
    test.write("junk.sif", "no image\n");
    test.write("unsolvable.yml", "dependencies: [nosuch]\n");
    let fifo = test.path("work/fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(test.path("work/socket")).unwrap();
    symlink("fifo", test.path("work/link")).unwrap();
    let base = ["--base-image", "junk.sif"];
    let build = ["build", "OUT", "unsolvable.yml", base[0], base[1]];
    let cotainr = [
        "cotainr",
        "build",
        "OUT",
        base[0],
        base[1],
        "--accept-licenses",
    ];
    let pull = ["pull", "docker://127.0.0.1:9/nothing", "OUT"];
    for (words, force) in [
        (&build[..], Some("--force")),
        (&["build", "OUT", "app.def"], Some("--force")),
        (&cotainr, Some("--yes")),
        (&pull, Some("--force")),
        (&["image", "pack", "not-there", "OUT"], None),
        (&["sif", "new", "OUT"], None),
    ] {
        for out in ["fifo", "link", "socket"] {
            for force in [None, force] {
                let words = words
                    .iter()
                    .map(|word| if *word == "OUT" { out } else { word });
                let words: Vec<&str> = words.chain(force).collect();
                let said = condense(&test, &words);
                let told = format!("{}{}", said.stdout, said.stderr);
                assert_eq!(said.status, 1, "{said:?}");
                assert!(told.contains(": it is no file"), "{said:?}");
                assert!(
                    !told.contains("--force") && !told.contains("127.0.0.1"),
                    "{said:?}"
                );
            }
        }
    }
    let kind = fs_err::metadata(test.path("work/link"))
        .unwrap()
        .file_type();
    assert!(!kind.is_file() && test.path("work/link").is_symlink());
    test.left_nothing();
}

/// Returns the places that cannot be written, each with words of the refusal.
fn refusals(kind: Written) -> Vec<(&'static str, &'static [&'static str])> {
    let no_directory: &[&str] = &["is no directory", "is not a directory"];
    let mut refusals: Vec<(&str, &[&str])> = vec![
        ("taken/out", no_directory),
        (
            "closed/out",
            &["does not let you write", "Permission denied"],
        ),
    ];
    refusals.extend(match kind {
        Written::File => [
            ("none/out", &["there is no directory `"] as &[&str]),
            ("dir", &["it is a directory"]),
        ],
        Written::NewFile => [
            ("none/out", &["there is no directory `"] as &[&str]),
            ("taken", &["is there already"]),
        ],
        Written::Installation => [("taken", no_directory), ("dir", &["is not empty"])],
        Written::Below => [("taken", no_directory), ("taken/x/y", no_directory)],
    });
    refusals
}

/// Runs the program as a user whom permissions hold for, since they do not hold for root.
fn as_other_user(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let program = env!("CARGO_BIN_EXE_condense");
    if !rustix::process::geteuid().is_root() {
        return condense(test, words);
    }
    let all = std::process::Command::new("chmod")
        .args(["a+rx"])
        .arg(test.path(""))
        .status();
    assert!(all.unwrap().success());
    // The program itself may be below a directory that only root can enter.
    let copy = test.path("programs/condense");
    if !copy.exists() {
        fs_err::copy(program, &copy).unwrap();
    }
    let mut command = test.command("/usr/bin/setpriv");
    command
        .args(["--reuid=54321", "--regid=54321", "--clear-groups"])
        .arg(copy)
        .args(words)
        .env("CONDENSE_CACHE_DIR", "/nonexistent/cache");
    command.run()
}

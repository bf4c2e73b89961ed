//! Tests of the families, versions and answers of runtimes.

#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn versions_of_all_families() {
    let check = |text: &str, expected: Option<(RuntimeKind, &str)>| {
        assert_eq!(
            parse_version(text),
            expected.map(|(kind, version)| (kind, version.to_owned())),
            "{text}"
        );
    };
    check(
        "apptainer version 1.4.5\n",
        Some((RuntimeKind::Apptainer, "1.4.5")),
    );
    check(
        "singularity-ce version 4.1.5-jammy\n",
        Some((RuntimeKind::Singularity, "4.1.5-jammy")),
    );
    check(
        "singularity version 3.8.7-1.el8\n",
        Some((RuntimeKind::Singularity, "3.8.7-1.el8")),
    );
    check("GNU bash, version 5.2\n", None);
    check("", None);
}

#[test]
fn setuid_by_the_starter_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, mode: u32| {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        // Another process writes the file. If this process wrote it, a test that forks at the
        // same time would hold the file open for writing, and the file could not be started.
        let write = "printf '#!/bin/sh\\necho apptainer version 1.4.5\\n' >\"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&path).status();
        assert!(written.unwrap().success());
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let program = make("bin/apptainer", 0o755);
    let runtime = Runtime::find(Some(&program), OsStr::new("")).unwrap();
    make("libexec/apptainer/bin/starter-suid", 0o755);
    assert!(!runtime.is_setuid());
    let of_debian = make("lib/x86_64-linux-gnu/apptainer/bin/starter-suid", 0o4755);
    assert!(runtime.is_setuid());
    fs_err::remove_file(of_debian).unwrap();
    make("libexec/apptainer/bin/starter-suid", 0o4755);
    assert!(runtime.is_setuid());
}

#[test]
fn the_cause_is_the_fatal_line() {
    let stderr = "\u{1b}[33mWARNING: x\u{1b}[0m\n\u{1b}[31mFATAL:   container creation failed: no loop devices\u{1b}[0m\n";
    assert_eq!(
        find_cause(stderr),
        "container creation failed: no loop devices"
    );
    assert_eq!(find_cause("plain words\n"), "plain words");
    let help = "Error for command \"exec\": unknown flag: --x\n\nOptions for exec command:\n  -B\n";
    assert_eq!(
        find_cause(help),
        "Error for command \"exec\": unknown flag: --x"
    );
    assert_eq!(find_cause(""), "it wrote nothing to stderr");
}

#[test]
fn the_command_line_of_a_contained_container() {
    let runtime = Runtime {
        program: "/usr/bin/apptainer".into(),
        kind: RuntimeKind::Apptainer,
        version: "1.4.5".to_owned(),
        flags: Vec::new(),
    };
    let command = runtime.exec(&Exec {
        base: "/b.sif".into(),
        binds: vec![Bind::path("/scratch dir", "/MOUNT").unwrap()],
        env_vars: vec![("X".to_owned(), "a$b`c\\d e".into())],
        working_dir: Some("/MOUNT".into()),
        isolation: Isolation {
            contain: true,
            clean_env: true,
            ..Isolation::default()
        },
        argv: vec!["sh".into(), "-c".into(), "exit 3".into()],
    });
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "-s",
            "exec",
            "--contain",
            "--cleanenv",
            "-B",
            "/scratch dir:/MOUNT",
            "--pwd",
            "/MOUNT",
            "/b.sif",
            "sh",
            "-c",
            "exit 3"
        ]
    );
    let set: Vec<_> = command
        .get_envs()
        .filter(|(name, _)| *name == "SINGULARITYENV_X")
        .collect();
    assert_eq!(set[0].1.unwrap(), r"a\$b\`c\\d e");
}

#[test]
fn zstd_is_read_by_apptainer_since_1_4() {
    for (text, reads) in [
        ("apptainer version 1.4.5\n", true),
        ("apptainer version 1.4.0-rc.1\n", true),
        ("apptainer version 2.0.0\n", true),
        ("apptainer version 1.3.6-1.el9\n", false),
        ("singularity-ce version 4.5.1\n", false),
        ("singularity version 3.8.7\n", false),
    ] {
        let (kind, version) = parse_version(text).unwrap();
        let program = "/usr/bin/x".into();
        let runtime = Runtime {
            program,
            kind,
            version,
            flags: Vec::new(),
        };
        assert_eq!(runtime.reads_zstd(), reads, "{text}");
    }
}

#[test]
fn paths_with_special_characters_are_passed_in_each_family_s_syntax() {
    let binds = |kind, odd: &str| {
        let runtime = Runtime {
            program: "/usr/bin/x".into(),
            kind,
            version: "4.1.5".to_owned(),
            flags: Vec::new(),
        };
        let command = runtime.exec(&Exec {
            base: "/b.sif".into(),
            binds: vec![
                Bind::path("/plain", "/one").unwrap().read_only(),
                Bind::image(odd, "/two").unwrap(),
            ],
            ..Exec::default()
        });
        let words = command.get_args().map(|word| word.to_str().unwrap());
        words.skip(2).take(4).collect::<Vec<_>>().join(" ")
    };
    let odd = "/a \"b\", c:d";
    assert_eq!(
        binds(RuntimeKind::Apptainer, odd),
        r#"-B /plain:/one:ro -B /a "b"\, c\:d:/two:image-src=/,ro"#
    );
    assert_eq!(
        binds(RuntimeKind::Singularity, "/a b"),
        "-B /plain:/one:ro -B /a b:/two:image-src=/,ro"
    );
    assert_eq!(
        binds(RuntimeKind::Singularity, odd),
        r#"--mount type=bind,"source=/plain","destination=/one",ro --mount type=bind,"source=/a ""b"", c:d","destination=/two",image-src=/,ro"#
    );
    for odd in ["/a^b", "/a\nb"] {
        assert!(binds(RuntimeKind::Singularity, odd).starts_with("--mount "));
    }
}

/// The reasons are those of apptainer 1.4.5 and squashfuse 0.5, as root and as another user.
#[test]
fn only_an_unknown_format_or_codec_is_a_refusal() {
    let paths = ["/base.sif", "/bad superblock/compression.sqfs"].map(Path::new);
    for cause in [
        "while loading data bind images: failed to load data image /i.sqfs: corrupted image: unknown compression algorithm value 99",
        "mount hook function failure: mount /proc/self/fd/6->/d/0 error: while mounting image /proc/self/fd/6: kernel reported a bad superblock for squashfs image partition, possible causes are that your kernel doesn't support the compression algorithm or the image is corrupted",
        "container creation failed: image driver mount failure: image driver squashfuse_ll instance exited with error: squashfuse_ll exited: Squashfs image uses lzma compression, this version supports only lzo, xz, zlib, lz4, zstd.",
        "image format not recognized",
    ] {
        assert!(names_unknown_format(cause, &paths), "{cause}");
    }
    for cause in [
        "",
        "it wrote nothing to stderr",
        "fork/exec /usr/libexec/apptainer/bin/starter: resource temporarily unavailable",
        "while mounting image /bad superblock/compression.sqfs: failed to mount squashfs filesystem: input/output error",
        "image driver squashfuse_ll instance exited with error: signal: killed",
        "failed to open /bad superblock/compression.sqfs for its compression: too many open files",
    ] {
        assert!(!names_unknown_format(cause, &paths), "{cause}");
    }
}

/// Writes a program by another process: a thread of this one that starts a program meanwhile would
/// keep the file open, and a file that is open for writing does not start.
fn write_program(path: &Path, text: &str) {
    let script = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\"; chmod 755 \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(path).arg(text);
    assert!(command.status().unwrap().success());
}

/// Nothing goes on after a stop, and singularity is not tried instead.
#[test]
fn a_runtime_that_hangs_ends_when_the_search_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let started = dir.path().join("started");
    let text = format!("echo $$ >>'{}'\nexec sleep 60", started.display());
    for name in NAMES {
        write_program(&dir.path().join(name), &text);
    }
    let stopped = || fs_err::read_to_string(&started).is_ok_and(|text| text.ends_with('\n'));
    let error = Runtime::find_unless(&stopped, None, dir.path().as_os_str()).unwrap_err();
    let Error::Io(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    let pids = fs_err::read_to_string(&started).unwrap();
    let pids: Vec<&str> = pids.lines().collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert!(!Path::new("/proc").join(pids[0]).exists(), "{pids:?}");
}

/// A child of the program may keep its output open, and a program may print without an end.
#[test]
fn a_version_is_one_line_and_ends_with_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("apptainer");
    write_program(&program, "sleep 20 &\necho apptainer version 1.4.5");
    let before = std::time::Instant::now();
    assert_eq!(
        Runtime::find(Some(&program), OsStr::new(""))
            .unwrap()
            .version(),
        "1.4.5"
    );
    write_program(&program, "while :; do echo apptainer version 1.4.5; done");
    let error = Runtime::find(Some(&program), OsStr::new("")).unwrap_err();
    assert!(matches!(error, Error::RuntimeInvalid { .. }), "{error}");
    assert!(before.elapsed().as_secs() < 15);
}

/// A runtime that is stopped by a limit is not a missing one, whoever says so: the system, or the
/// runtime itself.
#[test]
fn a_runtime_that_a_limit_stops_is_not_missing() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("apptainer");
    let find = |text: &str| {
        write_program(&program, text);
        Runtime::find(None, dir.path().as_os_str())
    };
    for said in [
        "fatal error: failed to reserve page summary memory",
        "runtime: out of memory: cannot allocate 4194304-byte block (7798784 in use)",
        "runtime/cgo: pthread_create failed: Resource temporarily unavailable",
        "error while loading shared libraries: libc.so.6: failed to map: Cannot allocate memory",
    ] {
        let error = find(&format!("echo '{said}' >&2; exit 2")).unwrap_err();
        assert!(matches!(error, Error::RuntimeNotStarted { .. }), "{error}");
        assert!(error.to_string().ends_with(said) && error.to_string().contains("apptainer`"));
    }
    assert!(matches!(find("exit 2").unwrap_err(), Error::NoRuntime));
    assert!(find("echo apptainer version 1.4.5").is_ok());
    let limits = [Errno::NOMEM, Errno::AGAIN, Errno::MFILE, Errno::NFILE];
    assert!(limits.map(std::io::Error::from).iter().all(is_limit));
    assert!(!is_limit(&Errno::NOENT.into()));
}

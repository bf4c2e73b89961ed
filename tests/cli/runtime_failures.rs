//! Failures of a runtime that pass, and those that tell of a codec, with a fake runtime.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Stdio},
    time::Duration,
};

use crate::harness::{CommandOutput, Run, TestEnv, finish};

const BAD_CODEC: &str = "FATAL:   container creation failed: kernel reported a bad superblock for \
                         squashfs image partition, possible causes are that your kernel doesn't \
                         support the compression algorithm";

/// Makes an installation with zstd.
fn built() -> TestEnv {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&["--compression", "zstd:1", file.to_str().unwrap()])
        .succeeded();
    test
}

/// Makes a runtime that does `each` for every container, whose number from 1 is in `n`.
fn fake(test: &TestEnv, each: &str) {
    let _ = fs_err::remove_file(test.path("starts"));
    let text = format!(
        "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
         echo >>'{0}'; n=$(wc -l <'{0}')\n{each}\n",
        test.path("starts").display()
    );
    test.fake_program("apptainer", &text);
}

fn starts(test: &TestEnv) -> usize {
    let text = fs_err::read_to_string(test.path("starts")).unwrap_or_default();
    text.lines().count()
}

fn update(test: &TestEnv, word: &str) -> CommandOutput {
    test.run(&["update", "installation", word])
}

/// Starts an update in a process group of its own, as a shell does.
fn start_update(test: &TestEnv) -> Child {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["update", "./installation", "tool"]);
    command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A failure that says nothing of the codec is repeated once, and then it is the error.
#[test]
fn a_failure_that_passes_does_not_make_gzip() {
    let test = built();
    for said in [
        "FATAL:   fork/exec /proc/self/exe: resource temporarily unavailable",
        "ERROR  : Failed to create communication socket: Too many open files",
        "FATAL:   cannot allocate memory, for a compression of pages",
        "",
    ] {
        fake(&test, &format!("echo '{said}' >&2; exit 255"));
        let words = said.split_once(":   ").map_or(said, |(_, words)| words);
        let told = update(&test, "tool");
        let told = told.failed_on_either_stream(1, &["the container runtime failed", words]);
        assert!(!told.stdout.contains("gzip"), "{told:?}");
        assert_eq!(starts(&test), 2, "{said}");
        test.left_nothing();
        let once = format!("[ $n -gt 1 ] || {{ echo '{said}' >&2; exit 255; }}");
        fake(&test, &once);
        let told = update(&test, "tool").succeeded();
        assert!(told.stdout.contains("nothing to do"), "{told:?}");
        assert_eq!(starts(&test), 2, "{said}");
    }
}

/// The old image is mounted by the first and the third start: it is tried before a change is begun,
/// and for the compression of the new image. A start without it follows each of them.
#[test]
fn an_unknown_codec_makes_gzip() {
    let test = built();
    let refuses =
        format!("case $*$n in *image-src*[13]) echo \"{BAD_CODEC}\" >&2; exit 255 ;; esac");
    fake(&test, &refuses);
    let told = update(&test, "tool");
    let words = "The image becomes gzip: container creation failed: kernel reported";
    assert!(told.stdout.contains(words), "{told:?}");
}

/// An interrupted probe says nothing of the runtime or of the image. A terminal interrupts
/// both.
#[test]
fn an_interrupted_probe_is_an_interruption() {
    let test = built();
    fake(&test, "exec sleep 20");
    let child = start_update(&test);
    for _ in 0..200 {
        if starts(&test) > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(id, rustix::process::Signal::INT).unwrap();
    let told = finish(child);
    assert_eq!((told.status, starts(&test)), (130, 1), "{told:?}");
    let text = format!("{}{}", told.stdout, told.stderr);
    assert!(
        !text.contains("gzip") && !text.contains("runtime failed"),
        "{text}"
    );
    test.left_nothing();
}

/// A runtime that hangs keeps neither an error nor an interruption, and nothing of it stays.
#[test]
fn a_runtime_that_hangs_can_be_left() {
    let test = built();
    let hanging = test.path("hanging");
    let text = format!(
        "#!/bin/sh\necho $$ >>'{}'\nexec sleep 300\n",
        hanging.display()
    );
    for name in ["apptainer", "singularity"] {
        test.fake_program(name, &text);
    }
    let file = test.environment("tool");
    let before = std::time::Instant::now();
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["new", "--base-image", "none.sif", "other"]);
    let told = command.arg(&file).run();
    told.failed_on_either_stream(1, &["none.sif"]);
    assert!(before.elapsed().as_secs() < 60);
    let _ = fs_err::remove_file(&hanging);
    let child = start_update(&test);
    let has_started = || fs_err::read_to_string(&hanging).is_ok_and(|text| text.ends_with('\n'));
    while !has_started() && before.elapsed().as_secs() < 120 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(has_started());
    let before = std::time::Instant::now();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let told = finish(child);
    assert_eq!(told.status, 130, "{told:?}");
    assert!(
        format!("{}{}", told.stdout, told.stderr).contains("interrupted"),
        "{told:?}"
    );
    assert!(
        before.elapsed().as_secs() < 9,
        "it has waited for the runtime"
    );
    for pid in fs_err::read_to_string(&hanging).unwrap().lines() {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid}");
    }
    test.left_nothing();
}

/// A runtime that lacks memory is there, and the error says what it lacks.
#[test]
fn a_runtime_that_lacks_memory_is_not_missing() {
    let test = built();
    let text = "#!/bin/sh\necho 'fatal error: failed to reserve page summary memory' >&2\nexit 2\n";
    test.fake_program("apptainer", text);
    let words = [
        "cannot start `",
        "failed to reserve page summary memory",
        "ulimit -a",
    ];
    update(&test, "tool").failed_on_either_stream(1, &words);
    // A definition file may do without a runtime, but not without one that only lacks memory.
    test.write("app.def", "Bootstrap: localimage\nFrom: none.sif\n");
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let said = command.args(["build", "out.sif", "app.def"]).run();
    said.failed_on_either_stream(1, &words);
    test.fake_program("apptainer", "#!/bin/sh\nexit 2\n");
    update(&test, "tool").succeeded();
}

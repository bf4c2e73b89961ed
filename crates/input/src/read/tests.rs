#![allow(clippy::unwrap_used)]
use super::*;
use std::{io::Write, os::fd::AsRawFd, time::Instant};

const HASTE: Patience = Patience {
    writer: Duration::from_millis(50),
    bytes: Duration::from_millis(200),
};

fn refusal(error: &io::Error) -> Option<&Refused> {
    error.get_ref()?.downcast_ref()
}

fn fifo(dir: &Path) -> PathBuf {
    let path = dir.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    path
}

#[test]
fn what_never_ends_is_refused_at_once_by_every_reader() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let began = Instant::now();
    for (path, is) in [
        ("/dev/zero".as_ref(), "a device"),
        ("/dev/full".as_ref(), "a device"),
        (fifo.as_path(), "a pipe"),
    ] {
        for error in [
            read(path, 10).unwrap_err(),
            read_to_string(path, 10).unwrap_err(),
            check(path, 10).unwrap_err(),
            open(path).unwrap_err(),
        ] {
            assert!(
                matches!(refusal(&error), Some(Refused::NotAFile { found, .. }) if *found == is),
                "{error}"
            );
            assert!(error.to_string().contains(&path.display().to_string()));
        }
    }
    let error = read_named("/dev/zero", 10).unwrap_err();
    assert!(matches!(refusal(&error), Some(Refused::NotAFile { .. })));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_directory_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    for error in [
        read(dir.path(), 1 << 20).unwrap_err(),
        read_named(dir.path(), 1 << 20).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::IsADirectory, "{error}");
    }
}

#[test]
fn a_long_file_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long");
    // The file has a length of 1 TiB but occupies no blocks.
    fs_err::File::create(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    for error in [
        read(&path, TEN).unwrap_err(),
        read_named(&path, TEN).unwrap_err(),
        check(&path, TEN).unwrap_err(),
    ] {
        assert!(
            matches!(refusal(&error), Some(Refused::TooLong { most: TEN, .. })),
            "{error}"
        );
    }
    fs_err::File::create(&path).unwrap().set_len(TEN).unwrap();
    assert_eq!(read(&path, TEN).unwrap().len() as u64, TEN);
    // The reported length of this file is 0 until it is read.
    assert!(read("/proc/self/maps", 5).is_err());
    assert!(!read("/proc/self/maps", 1 << 20).unwrap().is_empty());
}

const TEN: u64 = 10 << 20;

#[test]
fn dev_null_is_read_as_an_empty_file() {
    assert_eq!(read("/dev/null", 10).unwrap(), b"");
    assert_eq!(read_named("/dev/null", 10).unwrap(), b"");
    let error = read("/nowhere/at/all", 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[test]
fn a_pipe_that_nobody_writes_to_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let error = read_patiently(&fifo, 10, HASTE).unwrap_err();
    assert!(
        matches!(refusal(&error), Some(Refused::Silent { .. })),
        "{error}"
    );
    // This pipe has a writer, which sends nothing.
    let reader = open_any(&fifo).unwrap();
    let writer = fs_err::OpenOptions::new().write(true).open(&fifo).unwrap();
    let error = read_patiently(&fifo, 10, HASTE).unwrap_err();
    assert!(
        matches!(refusal(&error), Some(Refused::Silent { .. })),
        "{error}"
    );
    drop((reader, writer));
}

#[test]
fn pipes_are_read_to_their_end_however_slow_and_no_further_than_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let write = |count: usize| {
        let fifo = fifo.clone();
        std::thread::spawn(move || {
            let mut writer = fs_err::OpenOptions::new().write(true).open(fifo).unwrap();
            for _ in 0..count {
                // The write fails once the reader has read enough and closed the pipe.
                if writer.write_all(b"line\n").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let patience = Patience {
        writer: Duration::from_secs(20),
        bytes: Duration::from_secs(20),
    };
    let writer = write(5);
    let bytes = read_patiently(&fifo, 25, patience).unwrap();
    assert_eq!(bytes, b"line\n".repeat(5));
    writer.join().unwrap();
    let writer = write(1000);
    let error = read_patiently(&fifo, 24, patience).unwrap_err();
    assert!(
        matches!(refusal(&error), Some(Refused::TooLong { .. })),
        "{error}"
    );
    writer.join().unwrap();
}

#[test]
fn a_shell_s_pipe_is_read_though_its_writer_has_gone() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"python\n").unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert_eq!(read_named_to_string(path, 100).unwrap(), "python\n");
    // A pipe that was never written to is empty, not silent.
    let (reader, writer) = io::pipe().unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert_eq!(read_named(path, 100).unwrap(), b"");
}

//! Responsible for finding out whether a program uses a file: a process that has it open, or a loop
//! device of the kernel.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns whether a process of this user, or a loop device, has the file open. `/proc` and `/sys`
/// are below `root`. Processes of other users cannot be looked into, and cannot open the file.
pub(super) fn is_in_use(path: &Path, root: &Path) -> bool {
    let Ok(file) = std::fs::metadata(path) else {
        return false;
    };
    let wanted = (file.dev(), file.ino());
    has_loop_device(path, root) || is_open(wanted, root)
}

fn is_open(wanted: (u64, u64), root: &Path) -> bool {
    let processes = std::fs::read_dir(root.join("proc")).into_iter().flatten();
    processes.flatten().any(|process| {
        let name = process.file_name();
        if !name
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            return false;
        }
        let files = std::fs::read_dir(process.path().join("fd"));
        files.into_iter().flatten().flatten().any(|open| {
            let found = std::fs::metadata(open.path());
            found.is_ok_and(|found| (found.dev(), found.ino()) == wanted)
        })
    })
}

/// Looks for a loop device of the file: the kernel lists the path of each.
fn has_loop_device(path: &Path, root: &Path) -> bool {
    let devices = std::fs::read_dir(root.join("sys/block"))
        .into_iter()
        .flatten();
    devices.flatten().any(|device| {
        let file = device.path().join("loop/backing_file");
        std::fs::read(file).is_ok_and(|text| {
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            text == path.as_os_str().as_encoded_bytes()
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn open_files_and_loop_devices_count() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("img.sqfs");
        fs_err::write(&path, "bytes").unwrap();
        let real = Path::new("/");
        assert!(!is_in_use(&path, real));
        let open = fs_err::File::open(&path).unwrap();
        assert!(is_in_use(&path, real));
        drop(open);
        // A child of another test has the file open until it executes its program.
        for _ in 0..500 {
            if !is_in_use(&path, real) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!is_in_use(&path, real));
        let device = scratch.path().join("sys/block/loop7/loop");
        fs_err::create_dir_all(&device).unwrap();
        let text = format!("{}\n", path.display());
        fs_err::write(device.join("backing_file"), text).unwrap();
        assert!(is_in_use(&path, scratch.path()));
        assert!(!is_in_use(&scratch.path().join("none"), scratch.path()));
    }
}

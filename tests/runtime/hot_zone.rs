//! Tests of the hot zone of finished installations: what a start reads lies in it, in few pieces of
//! the image, and a build from the lock makes the same bytes without a start.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use condense_image::{PackOptions, Reader, Tree, pack};

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

/// Program that prints the files of its own start: byte code, libraries and what is mapped.
const START: &str = "
import sys, numpy, rich.console
files = [getattr(m.__spec__, 'cached', None) or getattr(m, '__file__', None)
         for m in list(sys.modules.values())
         if getattr(m, '__spec__', None) and m.__spec__.origin not in ('frozen', 'built-in')]
files += [line.split(None, 5)[5].strip() for line in open('/proc/self/maps') if '/' in line]
print(*sorted({file for file in files if file and file.startswith(sys.prefix)}), sep='\\n')
";
/// Number of bytes that a file system of a cluster reads at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Returns the number of pieces of the image that hold these files, and the tables.
fn pieces(reader: &Reader, files: &[PathBuf]) -> usize {
    let end = reader.superblock().bytes_used;
    let mut runs = vec![(reader.tables_start(), end)];
    for file in files {
        let node = reader.resolve(file).unwrap().unwrap();
        runs.extend(reader.runs(&node).unwrap());
    }
    let pieces = runs
        .into_iter()
        .flat_map(|(from, end)| from / PIECE_BYTES..end.div_ceil(PIECE_BYTES));
    pieces.collect::<BTreeSet<u64>>().len()
}

/// Returns the size of the same tree without a zone, and the pieces that hold the files then.
fn without_zone(test: &TestDir, image: &Path, files: &[PathBuf]) -> (u64, usize) {
    let reader = Arc::new(Reader::open_raw(image).unwrap());
    let tree = Tree::from_image(&reader).unwrap();
    let out = test.scratch().join("without.sqfs");
    let packed = pack(&tree, &out, &PackOptions::default()).unwrap();
    let pieces = pieces(&Reader::open_raw(&out).unwrap(), files);
    fs_err::remove_file(out).unwrap();
    (packed.size_bytes, pieces)
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_a_start_reads_lies_in_the_zone() {
    let test = TestDir::new(Account::Ordinary, "hot-zone");
    let installation = test.installation();
    let environment = test.environment("python=3.11, numpy, rich");
    let mut command = test.new_command(&installation.dir, &environment);
    command.args(["--compression", "zstd:3"]);
    command.args(["--warm", "import rich.console"]);
    command.args(["--warm", "import sys; open(sys.prefix + '/written', 'w')"]);
    let said = command.run().succeeded();
    assert!(said.stdout.contains("Read-only file system"), "{said:?}");

    let reader = Reader::open_raw(installation.image()).unwrap();
    let zone = reader.hot_zone().unwrap().unwrap();
    let said = installation
        .python(Account::Ordinary, START)
        .run()
        .succeeded();
    let mount_point = installation.mount_point();
    let files: Vec<PathBuf> = said
        .text()
        .lines()
        .map(|file| {
            Path::new(file)
                .strip_prefix(&mount_point)
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(files.len() > 100, "{} files", files.len());
    let outside = files.iter().filter(|file| {
        let node = reader.resolve(file).unwrap().unwrap();
        node.size > 0 && !reader.is_in_zone(&node, zone).unwrap()
    });
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    let written = reader
        .resolve(Path::new("miniforge/envs/env1/written"))
        .unwrap();
    assert!(written.is_none());

    let (size, before) = without_zone(&test, &installation.image(), &files);
    let after = pieces(&reader, &files);
    println!(
        "{after} pieces instead of {before}, {} bytes instead of {size}",
        reader.superblock().bytes_used
    );
    assert!(
        after <= 60 && after * 3 <= before * 2,
        "{after} pieces, {before} without a zone"
    );
    assert!(
        reader.superblock().bytes_used <= size + size / 200,
        "{size} bytes without a zone"
    );

    // The wrapper reads the parts that the image has.
    let common = fs_err::read_to_string(installation.dir.join("common.sh")).unwrap();
    let last = zone.end().div_ceil(PIECE_BYTES);
    assert!(
        common.contains(&format!("hot_parts='0 {last} ")),
        "{common}"
    );
    let mut start = installation.python(Account::Ordinary, "print(1)");
    let said = start.env("CONDENSE_PREFETCH", "1").run().succeeded();
    assert_eq!((said.text(), &*said.stderr), ("1".to_owned(), ""));

    // The lock makes the same bytes, and no start: its result is in the lock.
    let mut verify = test.command(parts().path("programs/condense"));
    verify.args(["verify", "--rebuild"]).arg(&installation.dir);
    verify
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    let said = verify.run().succeeded();
    assert!(!said.stderr.contains("not in the start"), "{said:?}");
}

/// Writes a runtime that notes how many files scratch has when it is to mount what is held back,
/// and then does `mounting`. Returns the PATH with it.
pub(crate) fn noting_runtime(test: &TestDir, mounting: &str) -> String {
    let dir = test.path("runtime");
    fs_err::create_dir_all(&dir).unwrap();
    let note = test.path("counts");
    let real = which("apptainer");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *held.sqfs:*)\n find '{}' -type f | wc -l >>'{}'\n {mounting}\nesac\nexec '{}' \"$@\"\n",
        test.scratch().display(),
        note.display(),
        real.display(),
    );
    let program = dir.join("apptainer");
    fs_err::write(&program, text).unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&dir, &program] {
        Account::Ordinary.own(path);
    }
    format!("{}:{}", dir.display(), parts().search_path())
}

fn which(program: &str) -> PathBuf {
    let found = std::env::split_paths(parts().search_path()).find_map(|dir| {
        let path = dir.join(program);
        path.is_file().then_some(path)
    });
    found.unwrap()
}

/// A build unpacks nothing for its start and for the capture of its activation, which run on an
/// image of what is held back. Where the runtime does not mount that image, the files are unpacked.
/// Both read the same files and find the same activation.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_start_on_what_is_held_back_reads_what_a_start_on_files_reads() {
    let test = TestDir::new(Account::Ordinary, "hot-held");
    let environment = test.environment("python=3.11, edge-activate");
    // A child process cannot write there either; then both images would differ.
    let warm = "import json, os, ssl, subprocess; os.chdir(json.__path__[0]); \
                subprocess.call(['touch', 'child']); open(json.__path__[0] + '/x', 'w')";
    let build = |name: &str, mounting: &str| {
        let dir = test.path(name);
        let mut command = test.new_command(&dir, &environment);
        command.args(["--verbose", "--warm", warm]);
        command.env("PATH", noting_runtime(&test, mounting));
        let said = command.run().succeeded();
        assert!(said.stdout.contains("Read-only file system"), "{said:?}");
        let image = fs_err::read(dir.join("img.sqfs")).unwrap();
        let lock = fs_err::read_to_string(dir.join("share/condense.lock")).unwrap();
        assert!(lock.contains("json/__pycache__/decoder."), "{lock}");
        let common = fs_err::read_to_string(dir.join("common.sh")).unwrap();
        let launch = common.replace(dir.to_str().unwrap(), "DIR");
        assert!(launch.contains("set by edge-activate"), "{launch}");
        (image, (lock, launch), said)
    };
    let mounted = build("mounted", "");
    let files = build("files", "echo 'FATAL: no squashfuse' >&2; exit 255");
    assert!(mounted.0 == files.0, "the images differ");
    assert_eq!(mounted.1, files.1);
    let needs_files = "packages are unpacked, since the runtime cannot mount an image of them: \
                       FATAL: no squashfuse";
    let said_so = |said: &CommandOutput| said.stdout.contains(needs_files);
    assert!(!said_so(&mounted.2) && said_so(&files.2), "{:?}", files.2);
    let counts = fs_err::read_to_string(test.path("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.parse().unwrap()).collect();
    // The image is mounted to compile and to start; a runtime that cannot is asked once.
    let reader = Reader::open_raw(test.path("mounted/img.sqfs")).unwrap();
    // The results of trying out activation scripts are about 180 files for any environment.
    let most = reader.superblock().inode_count / 50 + 180;
    assert!(
        counts.len() == 3 && counts.iter().all(|count| *count < most),
        "{counts:?} of {most}"
    );
    test.left_nothing();
}

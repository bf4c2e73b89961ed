//! Tests with generated bases: sandbox directories, and SIF and SquashFS files that are wrong in
//! one place.
#![allow(clippy::unwrap_used)]

use condense_diagnostics::Hint as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use condense_base::{BaseImage, BaseKind, Error};

/// A directory for bases, removed at the end of the test.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        // The system's directory for temporary files may be a link.
        fs_err::canonicalize(self.0.path()).unwrap().join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, contents).unwrap();
        path
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
}

fn open(path: &Path) -> Result<BaseImage, Error> {
    BaseImage::open(path.to_str().unwrap())
}

#[track_caller]
fn check_refused(path: &Path, words: &str, hint: &str) {
    let error = open(path).expect_err(words);
    assert!(error.to_string().contains(words), "{error}");
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    let found = error.hint().unwrap_or_default();
    assert!(found.contains(hint), "{error}: {found}");
}

/// Returns the first bytes of a 64-bit little-endian program for this ELF machine number, with this
/// loader.
fn program(machine: u8, loader: &str) -> Vec<u8> {
    let mut bytes = vec![0; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = machine;
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64] = 3;
    bytes[72] = 120;
    bytes[96] = loader.len() as u8 + 1;
    bytes.extend_from_slice(loader.as_bytes());
    bytes.push(0);
    bytes
}

/// Returns a library for this ELF machine number that contains a C library's banner among other
/// bytes.
fn libc(machine: u8, version: &str) -> Vec<u8> {
    let mut bytes = program(machine, "");
    bytes.extend_from_slice(&[0xee; 5000]);
    bytes.extend_from_slice(
        format!("GNU C Library (Test 1) stable release version {version}.\nCopyright\0").as_bytes(),
    );
    bytes
}

const X86_64: u8 = 62;
const AARCH64: u8 = 183;
const I386: u8 = 3;

#[test]
fn the_facts_of_a_sandbox_are_its_own_and_not_the_hosts() {
    let scratch = Scratch::new();
    let loader = "/lib64/ld-linux-x86-64.so.2";
    scratch.file("box/usr/lib/x86_64-linux-gnu/ld-2.99.so", "");
    scratch.file(
        "box/usr/lib/x86_64-linux-gnu/libc-2.99.so",
        libc(X86_64, "2.99"),
    );
    scratch.link("box/usr/lib/x86_64-linux-gnu/libc.so.6", "libc-2.99.so");
    // The link is absolute, as in Debian. It must not lead to the loader of the machine that runs
    // this test.
    scratch.link(
        "box/usr/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/ld-2.99.so",
    );
    scratch.link("box/lib", "usr/lib");
    scratch.link("box/lib64", "usr/lib64");
    scratch.link("box/bin", "usr/bin");
    scratch.file("box/usr/bin/dash", program(X86_64, loader));
    scratch.link("box/usr/bin/sh", "dash");
    scratch.file("box/usr/bin/python3.11", "");
    scratch.link("box/etc/alternatives/python3", "/usr/bin/python3.11");
    scratch.link("box/usr/bin/python3", "/etc/alternatives/python3");
    scratch.file(
        "box/usr/lib/os-release",
        "PRETTY_NAME=\"Test Linux 9\"\nID=test\nVERSION_ID=9\n",
    );
    scratch.link("box/etc/os-release", "../../../../usr/lib/os-release");
    for script in ["90-environment.sh", "01-base.sh", "notes.txt"] {
        scratch.file(&format!("box/.singularity.d/env/{script}"), "");
    }
    scratch.file(
        "box/.singularity.d/labels.json",
        r#"{"who": "me", "when": 7}"#,
    );

    let base = open(&scratch.path("box")).unwrap();
    assert_eq!(base.kind(), BaseKind::Directory);
    assert_eq!(base.path(), scratch.path("box"));
    assert!(!base.is_moving_link());
    assert_eq!(base.digest().unwrap(), None);
    let facts = base.facts().unwrap();
    let distribution = facts.distribution.unwrap();
    assert_eq!(distribution.pretty_name.as_deref(), Some("Test Linux 9"));
    assert_eq!(distribution.id.as_deref(), Some("test"));
    assert_eq!(distribution.version_id.as_deref(), Some("9"));
    assert_eq!(facts.architecture.as_deref(), Some("x86_64"));
    assert_eq!(facts.glibc.as_deref(), Some("2.99"));
    assert_eq!(facts.loader.as_deref(), Some(Path::new(loader)));
    assert!(facts.has_sh);
    assert!(!facts.has_bash);
    let python = facts.python.unwrap();
    assert_eq!(python.path, Path::new("/usr/bin/python3.11"));
    assert_eq!(python.version.as_deref(), Some("3.11"));
    assert_eq!(
        facts.environment_scripts,
        ["01-base.sh", "90-environment.sh"]
    );
    assert_eq!(facts.labels.len(), 1);
    assert_eq!(facts.labels["who"], "me");
    assert!(base.exists("/bin/sh").unwrap());
    assert!(base.exists("lib/x86_64-linux-gnu").unwrap());
    assert!(!base.exists("/bin/bash").unwrap());
    assert!(!base.exists("/usr/bin/dash/x").unwrap());
}

#[test]
fn facts_that_are_not_there_are_none() {
    let scratch = Scratch::new();
    scratch.file("box/usr/readme", "");
    scratch.link("box/etc/os-release", "/etc/os-release");
    scratch.link("box/bin/sh", "/bin/bash");
    scratch.link("box/bin/bash", "/bin/sh");
    let facts = open(&scratch.path("box")).unwrap().facts().unwrap();
    assert_eq!(facts.architecture, None);
    assert_eq!(facts.distribution, None);
    assert_eq!(
        (facts.glibc, facts.loader, facts.python),
        (None, None, None)
    );
    assert!(!facts.has_sh && !facts.has_bash);
    assert!(facts.environment_scripts.is_empty() && facts.labels.is_empty());
}

#[test]
fn a_base_on_musl_has_no_glibc() {
    let scratch = Scratch::new();
    let loader = "/lib/ld-musl-x86_64.so.1";
    scratch.file("box/bin/sh", program(X86_64, loader));
    scratch.file("box/lib/ld-musl-x86_64.so.1", "");
    // The `libc.so.6` that gcompat provides is not the GNU C library.
    scratch.file("box/lib/libc.so.6", libc(X86_64, "2.99"));
    let facts = open(&scratch.path("box")).unwrap().facts().unwrap();
    assert_eq!(facts.glibc, None);
    assert_eq!(facts.loader.as_deref(), Some(Path::new(loader)));

    // If the shell is statically linked, the loader is found by its name.
    scratch.file("static/bin/sh", &program(X86_64, "")[..64]);
    scratch.file("static/lib/ld-musl-aarch64.so.1", "");
    let facts = open(&scratch.path("static")).unwrap().facts().unwrap();
    assert_eq!(
        facts.loader.as_deref(),
        Some(Path::new("/lib/ld-musl-aarch64.so.1"))
    );
}

#[test]
fn a_32_bit_c_library_beside_the_64_bit_one_is_ignored() {
    let scratch = Scratch::new();
    scratch.file("box/bin/sh", program(X86_64, "/nowhere/ld.so"));
    scratch.file("box/lib64/libc.so.6", libc(I386, "2.11"));
    scratch.file("box/usr/lib/libc.so.6", libc(X86_64, "2.22"));
    let facts = open(&scratch.path("box")).unwrap().facts().unwrap();
    assert_eq!(facts.glibc.as_deref(), Some("2.22"));
}

#[test]
fn another_architecture_is_refused_when_asked() {
    let scratch = Scratch::new();
    let (same, other, name) = if cfg!(target_arch = "aarch64") {
        (AARCH64, X86_64, "x86_64")
    } else {
        (X86_64, AARCH64, "aarch64")
    };
    scratch.file("same/bin/sh", program(same, "/lib/ld.so"));
    open(&scratch.path("same"))
        .unwrap()
        .check_architecture()
        .unwrap();
    scratch.file("other/bin/sh", program(other, "/lib/ld.so"));
    let base = open(&scratch.path("other")).unwrap();
    let error = base.check_architecture().unwrap_err();
    let expected = format!(
        "is for {name}, but this machine is {}",
        std::env::consts::ARCH
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(error.hint().unwrap().contains(std::env::consts::ARCH));
    scratch.file("unknown/usr/x", "");
    open(&scratch.path("unknown"))
        .unwrap()
        .check_architecture()
        .unwrap();
}

#[test]
fn files_that_are_no_base_are_refused_with_their_kind() {
    let scratch = Scratch::new();
    let check = |path: &Path, words: &str| check_refused(path, words, ".sif");
    check(&scratch.path("none.sif"), "does not exist");
    check(&scratch.path("none/none.sif"), "does not exist");
    check(&scratch.file("empty.sif", ""), "is an empty file");
    check(&scratch.file("run.sif", "#!/bin/sh\n"), "is a script");
    check(
        &scratch.file("layer.sif", b"\x1f\x8b\x08"),
        "is a gzip archive",
    );
    check(&scratch.file("text", "hello"), "is a file of another kind");
    check(Path::new("/dev/null"), "is a device, pipe or socket");
    // An environment has `bin` and `lib`, but is not a root file system.
    scratch.file("env/bin/python", "");
    check(&scratch.path("env"), "holds no root file system");
    scratch.link("dangling.sif", "base-1.sif");
    check_refused(
        &scratch.path("dangling.sif"),
        "does not exist",
        "a link to `base-1.sif`",
    );
    let inside = scratch.path("text").join("x.sif");
    let error = open(&inside).unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
}

#[test]
fn a_link_to_a_base_is_known_as_one() {
    let scratch = Scratch::new();
    scratch.file("v1/usr/x", "");
    scratch.link("latest", "v1");
    let base = open(&scratch.path("latest")).unwrap();
    assert!(base.is_moving_link());
    assert_eq!(base.path(), scratch.path("v1"));
    assert_eq!(base.reference(), scratch.path("latest"));
}

/// Returns a SquashFS image without compression that holds only an empty directory of this name.
fn image(name: &str) -> Vec<u8> {
    let metadata = |bytes: &[u8]| {
        let header = (bytes.len() as u16 | 1 << 15).to_le_bytes();
        [&header[..], bytes].concat()
    };
    let directory = |offset: u16, len: u16| {
        let mut inode = vec![1, 0, 0xed, 1];
        inode.extend([0; 16]);
        inode.extend(2_u32.to_le_bytes());
        inode.extend((len + 3).to_le_bytes());
        inode.extend(offset.to_le_bytes());
        inode.extend([0; 4]);
        inode
    };
    let mut listing = vec![0; 12];
    listing.extend([32, 0, 0, 0, 1, 0, name.len() as u8 - 1, 0]);
    listing.extend_from_slice(name.as_bytes());
    let root = directory(0, listing.len() as u16);
    let inodes = metadata(&[root, directory(0, 0)].concat());
    let listings = metadata(&listing);
    let ids = metadata(&[0; 4]);
    let mut at = 96;
    let mut position = |len: usize| {
        at += len as u64;
        at
    };
    let (inodes_at, listings_at) = (position(0), position(inodes.len()));
    let (ids_at, list_at) = (position(listings.len()), position(ids.len()));
    let end = position(8);
    let mut image = b"hsqs".to_vec();
    for field in [2_u32, 0, 4096, 0] {
        image.extend(field.to_le_bytes());
    }
    for field in [1_u16, 12, 0, 1, 4, 0] {
        image.extend(field.to_le_bytes());
    }
    let none = u64::MAX;
    for field in [0, end, list_at, none, inodes_at, listings_at, none, none] {
        image.extend(field.to_le_bytes());
    }
    for part in [&inodes, &listings, &ids, &ids_at.to_le_bytes()[..]] {
        image.extend_from_slice(part);
    }
    image
}

/// Returns a SIF for x86-64 with this partition and these labels.
fn sif(file_system: u8, role: u8, partition: &[u8], labels: &str) -> Vec<u8> {
    let metadata = format!(r#"{{"data":{{"attributes":{{"labels":{labels}}}}}}}"#);
    let mut file = vec![0; 8192];
    file[32..48].copy_from_slice(b"SIF_MAGIC\x0001\x0002\0");
    file[88] = 4;
    file[104..106].copy_from_slice(&(4 * 585_u16).to_le_bytes());
    file[112..114].copy_from_slice(&8192_u16.to_le_bytes());
    file[96..98].copy_from_slice(&4096_u16.to_le_bytes());
    let objects = [
        (4, "", partition),
        (6, "inspect-metadata.json", metadata.as_bytes()),
    ];
    for (index, (kind, name, contents)) in objects.iter().enumerate() {
        let offset = file.len() as u64;
        file.extend_from_slice(contents);
        let slot = &mut file[4096 + index * 585..][..585];
        slot[..2].copy_from_slice(&[*kind, 0x40]);
        slot[4] = 1;
        slot[5] = index as u8 + 1;
        slot[17..25].copy_from_slice(&offset.to_le_bytes());
        slot[25..33].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        slot[73..73 + name.len()].copy_from_slice(name.as_bytes());
        if *kind == 4 {
            slot[201] = file_system;
            slot[205] = role;
            slot[209..211].copy_from_slice(b"02");
        }
    }
    file
}

#[test]
fn a_sif_and_a_bare_image_are_bases() {
    let scratch = Scratch::new();
    let path = scratch.file("base.sif", sif(1, 2, &image("usr"), r#"{"a":"b"}"#));
    let base = open(&path).unwrap();
    assert_eq!(base.kind(), BaseKind::Sif);
    assert!(base.exists("usr").unwrap());
    let facts = base.facts().unwrap();
    assert_eq!(facts.architecture.as_deref(), Some("x86_64"));
    assert_eq!(facts.labels["a"], "b");
    assert_eq!(
        base.check_architecture().is_ok(),
        cfg!(target_arch = "x86_64")
    );

    // `sha256sum` must print the same digest for the same bytes.
    let image_path = scratch.file("base.sqfs", image("usr"));
    let base = open(&image_path).unwrap();
    assert_eq!(base.kind(), BaseKind::Image);
    let output = std::process::Command::new("sha256sum")
        .arg(&image_path)
        .output()
        .unwrap();
    let digest = base.digest().unwrap().unwrap();
    assert_eq!(digest.as_bytes(), &output.stdout[..64]);
}

#[test]
fn images_that_cannot_be_bases_are_refused_by_name() {
    let scratch = Scratch::new();
    let whole = sif(1, 2, &image("usr"), "{}");
    let cut = &whole[..whole.len() - 1];
    check_refused(&scratch.file("cut.sif", cut), "is truncated", "not copied");
    let cut = &image("usr")[..150];
    check_refused(&scratch.file("cut.sqfs", cut), "is truncated", "not copied");
    let encrypted = sif(6, 2, &image("usr"), "{}");
    check_refused(
        &scratch.file("e.sif", encrypted),
        "is encrypted",
        "encrypted from",
    );
    let data = sif(1, 3, &image("usr"), "{}");
    check_refused(
        &scratch.file("d.sif", data),
        "no root file system",
        "sif list",
    );
    let env = image("bin");
    check_refused(
        &scratch.file("env.sqfs", env),
        "no root file system",
        ".sif",
    );
    let mut damaged = image("usr");
    damaged[28] = 9;
    check_refused(&scratch.file("x.sqfs", damaged), "version is 9.0", "");
}

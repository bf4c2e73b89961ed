#![allow(clippy::unwrap_used)]

use condense_diagnostics::Hint as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::reader::test_image::{DIRECTORY, FILE, ImageBuilder, Name, SYMLINK, stored};
use crate::sif::{Arch, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
use crate::{BlockSize, PackOptions, Sif, Tree, pack};

fn unpack(reader: &Reader, target: &Path) -> Result<Extracted, Error> {
    extract(reader, target, &ExtractOptions::default())
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Packs a tree with one entry of every kind. The blocks are small, so that files are split into
/// parts.
fn packed(scratch: &Path) -> Reader {
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(1_600_000_000);
    let noise: Vec<u8> = (0..400_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    let mut sparse = noise.clone();
    sparse[4096..393_216].fill(0);
    let mut ends_in_hole = b"text".to_vec();
    ends_in_hole.resize(40_960, 0);
    tree.add_bytes("large", noise, 0o640).unwrap();
    tree.add_bytes("sparse", sparse, 0o600).unwrap();
    tree.add_bytes("d/ends-in-hole", ends_in_hole, 0o444)
        .unwrap();
    tree.add_bytes("d/empty", *b"", 0o4755).unwrap();
    tree.add_hard_link("d/twin", "large").unwrap();
    tree.add_hard_link("a", "d/empty").unwrap();
    tree.add_symlink("d/up", "../../../../etc/passwd").unwrap();
    tree.add_directory("none").unwrap();
    for number in 0..200 {
        let name = format!("many/{number}");
        tree.add_bytes(name, number.to_string().into_bytes(), 0o644)
            .unwrap();
    }
    let options = PackOptions {
        block_size: BlockSize::MIN,
        ..PackOptions::default()
    };
    let image = pack(&tree, &scratch.join("image"), &options).unwrap();
    Reader::open_raw(image.path).unwrap()
}

/// Checks that each path of the image and of the copy has the same content and time.
fn compare(reader: &Reader, target: &Path) {
    for item in reader.walk().unwrap() {
        let (path, node) = item.unwrap();
        let full = target.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        assert_eq!(metadata.mtime(), i64::from(node.mtime), "{path:?}");
        match node.kind {
            NodeKind::Symlink => {
                assert_eq!(full.read_link().unwrap(), reader.read_link(&node).unwrap());
                continue;
            }
            NodeKind::File => {
                let bytes = reader.read(&node, 1 << 20).unwrap();
                assert!(std::fs::read(&full).unwrap() == bytes, "{path:?}");
                assert_eq!(metadata.nlink(), u64::from(node.nlink), "{path:?}");
            }
            _ => assert!(metadata.is_dir(), "{path:?}"),
        }
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode, u32::from(node.mode), "{path:?}");
    }
}

#[test]
fn a_copy_has_the_content_and_attributes_of_the_image() {
    let scratch = tempfile::tempdir().unwrap();
    let reader = packed(scratch.path());
    for threads in [1, 2, 7] {
        let target = scratch.path().join(threads.to_string());
        let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let options = ExtractOptions {
            threads: NonZeroUsize::new(threads),
            progress: Some(Arc::new({
                let written = Arc::clone(&written);
                move |bytes| {
                    written.fetch_add(bytes, Ordering::Relaxed);
                }
            })),
            ..ExtractOptions::default()
        };
        let extracted = extract(&reader, &target, &options).unwrap();
        compare(&reader, &target);
        let inode = |name: &str| target.join(name).symlink_metadata().unwrap().ino();
        assert_eq!(inode("large"), inode("d/twin"));
        assert_eq!(inode("a"), inode("d/empty"));
        let blocks = target.join("sparse").metadata().unwrap().blocks();
        assert!(blocks * 512 < 200_000, "holes stay holes");
        assert_eq!(
            (extracted.files, extracted.hard_links, extracted.symlinks),
            (204, 2, 1)
        );
        assert_eq!((extracted.directories, extracted.others), (4, 0));
        assert_eq!(extracted.bytes, written.load(Ordering::Relaxed));
        assert_eq!(extracted.skipped, []);
    }
    let names: Vec<String> = names_in(scratch.path());
    assert_eq!(names, ["1", "2", "7", "image"], "nothing else has stayed");
}

#[test]
fn images_of_every_codec_and_inside_a_sif_are_unpacked() {
    let scratch = tempfile::tempdir().unwrap();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    for codec in ["gzip", "lz4", "stored", "xz", "zstd"] {
        let image = images.join(codec).with_extension("sqfs");
        let reader = Reader::open(&image).unwrap();
        let target = scratch.path().join(codec);
        unpack(&reader, &target).unwrap();
        compare(&reader, &target);
    }
    let path = scratch.path().join("a.sif");
    let mut writer = SifWriter::create(&path, &SifOptions::default()).unwrap();
    let role = PartitionRole::PrimarySystem;
    let root = NewObject::partition(FileSystem::SquashFs, role, Arch::X86_64);
    writer.add_file(&root, images.join("xz.sqfs")).unwrap();
    writer.finish().unwrap();
    assert!(Sif::is_at(&path).unwrap());
    let reader = Reader::open(&path).unwrap();
    let target = scratch.path().join("of-sif");
    unpack(&reader, &target).unwrap();
    compare(&reader, &target);
}

#[test]
fn existing_targets_are_never_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let reader = packed(scratch.path());
    let target = scratch.path().join("target");
    let refused = || {
        let error = unpack(&reader, &target).unwrap_err();
        assert!(
            error.hint().unwrap().contains("choose another name"),
            "{error}"
        );
        assert!(unpack(&reader, &target.join("")).is_err());
    };
    std::fs::create_dir(&target).unwrap();
    refused();
    assert_eq!(names_in(&target), [""; 0]);
    std::fs::remove_dir(&target).unwrap();
    symlink("nowhere", &target).unwrap();
    refused();
    std::fs::remove_file(&target).unwrap();
    std::fs::write(&target, b"mine").unwrap();
    refused();
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    assert!(unpack(&reader, Path::new("/")).is_err());
    assert!(unpack(&reader, &scratch.path().join("no/such/parent")).is_err());
    assert_eq!(names_in(scratch.path()), ["image", "target"]);
}

#[test]
fn special_files_are_created_or_reported() {
    let scratch = tempfile::tempdir().unwrap();
    let mut builder = ImageBuilder::default();
    let links = 1_u32.to_le_bytes();
    let pipe = builder.inode(6, &[&links]);
    let socket = builder.inode(7, &[&links]);
    // This is the number of a device that only root may create.
    let null = builder.inode(5, &[&2_u32.to_le_bytes(), &0x103_u32.to_le_bytes()]);
    let names: [Name<'_>; 4] = [
        (b"null", 5, null),
        (b"null2", 5, null),
        (b"pipe", 6, pipe),
        (b"sock", 7, socket),
    ];
    let reader = builder.root(&names).open().unwrap();
    let target = scratch.path().join("target");
    let extracted = unpack(&reader, &target).unwrap();
    let kind = |name: &str| {
        target
            .join(name)
            .symlink_metadata()
            .map(|it| it.file_type())
    };
    assert!(kind("pipe").unwrap().is_fifo());
    assert!(kind("sock").unwrap().is_socket());
    if extracted.skipped_count == 0 {
        assert!(kind("null").unwrap().is_char_device());
        let device = target.join("null2").symlink_metadata().unwrap().rdev();
        assert_eq!(device, rustix::fs::makedev(1, 3));
    } else {
        assert_eq!(extracted.skipped_count, 2);
        assert!(extracted.skipped[0].what.contains("only root"));
        assert!(kind("null").is_err());
    }
    assert_eq!(device_numbers(0x0010_0000 | 259 << 8 | 0x2c), (259, 0x12c));
}

#[test]
fn an_unpacking_that_is_cancelled_or_fails_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let reader = packed(scratch.path());
    let target = scratch.path().join("target");
    let cancel = Arc::new(AtomicBool::new(false));
    let options = ExtractOptions {
        progress: Some(Arc::new({
            let cancel = Arc::clone(&cancel);
            move |_| cancel.store(true, Ordering::Relaxed)
        })),
        cancel: Some(cancel),
        ..ExtractOptions::default()
    };
    let error = extract(&reader, &target, &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(names_in(scratch.path()), ["image"]);

    // The block is no gzip data, and everything else in the image is valid.
    let mut builder = ImageBuilder {
        data: b"0123456789".to_vec(),
        ..ImageBuilder::default()
    };
    let file = builder.file(96, (u32::MAX, 0), 10, &[10]);
    check_refused(
        &builder.root(&[(b"file", FILE, file)]),
        "does not decompress",
    );
}

/// Checks that a hostile image is refused, and that no file is left inside or outside the target.
#[track_caller]
fn check_refused(builder: &ImageBuilder, words: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let error = match builder.open() {
        Ok(reader) => unpack(&reader, &inside.join("target")).unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains(words), "{error}, not {words}");
    assert_eq!(names_in(&inside), [""; 0]);
    assert_eq!(names_in(scratch.path()), ["inside"]);
}

#[test]
fn names_that_leave_the_target_or_repeat_are_refused() {
    for name in [&b".."[..], b".", b"../x", b"/etc/x", b"a/b", b"a\0b", b"/"] {
        let mut builder = ImageBuilder::default();
        let file = builder.file(0, (u32::MAX, 0), 0, &[]);
        check_refused(&builder.root(&[(name, FILE, file)]), "is not a name");
    }
    // A symbolic link comes first, and then a directory of the same name with an entry.
    let mut builder = ImageBuilder::default();
    let link = builder.symlink(b"/");
    let file = builder.file(0, (u32::MAX, 0), 0, &[]);
    let below = builder.directory(&[(b"x", FILE, file)]);
    let names: [Name<'_>; 2] = [(b"a", SYMLINK, link), (b"a", DIRECTORY, below)];
    check_refused(&builder.root(&names), "out of order");
}

#[test]
fn directories_in_circles_are_refused() {
    let builder = ImageBuilder::default();
    // The inode of the root is the next one, and its listing names itself.
    let root = builder.inodes.len();
    check_refused(
        &builder.root(&[(b"again", DIRECTORY, root)]),
        "more than one place",
    );
}

#[test]
fn wrong_sizes_are_refused_before_anything_is_written() {
    // This is a file of 40 TiB in an image of some hundred bytes, with a list of blocks that just
    // fits the claimed size.
    let mut builder = ImageBuilder::default();
    let size = 40_u64 << 40;
    let none = u32::MAX.to_le_bytes();
    let file = builder.inode(
        FILE + 7,
        &[
            &0_u64.to_le_bytes(),
            &size.to_le_bytes(),
            &0_u64.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &none,
            &[0; 4],
            &none,
        ],
    );
    builder.inodes.resize(100_000, 0);
    let builder = builder
        .root(&[(b"huge", FILE, file)])
        .patch(12, &(1_u32 << 20).to_le_bytes())
        .patch(22, &20_u16.to_le_bytes());
    check_refused(&builder, "bytes are needed");

    // Thousands of files share one list of blocks, and each claims to have no other name.
    let mut builder = ImageBuilder::default();
    let file = builder.file(0, (u32::MAX, 0), 1500 * 4096, &[0; 1500]);
    let letters = b'0'..=b'z';
    let names: Vec<[u8; 2]> = letters
        .clone()
        .flat_map(|a| letters.clone().map(move |b| [a, b]))
        .take(2800)
        .collect();
    let names: Vec<Name<'_>> = names.iter().map(|name| (&name[..], FILE, file)).collect();
    check_refused(&builder.root(&names), "its inodes overlap");
}

#[test]
fn blocks_outside_of_the_image_are_refused() {
    for start in [4000, u32::MAX - 5] {
        let mut builder = ImageBuilder {
            data: b"0123456789".to_vec(),
            ..ImageBuilder::default()
        };
        let file = builder.file(start, (u32::MAX, 0), 10, &[stored(10)]);
        check_refused(
            &builder.root(&[(b"file", FILE, file)]),
            "outside of the image",
        );
    }
}

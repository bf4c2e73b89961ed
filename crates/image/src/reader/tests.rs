#![allow(clippy::unwrap_used)]

use super::test_image::*;
use super::*;

/// Reads all files and links of an image and returns the paths.
fn read_all(reader: &Reader) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    for item in reader.walk()? {
        let (path, node) = item?;
        match node.kind {
            NodeKind::File => drop(reader.read(&node, 1 << 20)?),
            NodeKind::Symlink => drop(reader.read_link(&node)?),
            _ => {}
        }
        paths.push(path.to_str().unwrap().to_owned());
    }
    Ok(paths)
}

/// Checks that reading the whole image fails with these words.
#[track_caller]
fn check_refused(builder: &ImageBuilder, words: &str) {
    let error = builder
        .open()
        .and_then(|reader| read_all(&reader))
        .expect_err(words);
    assert!(error.to_string().contains(words), "{error}, not {words}");
}

#[test]
fn a_valid_image_is_read() {
    let mut builder = ImageBuilder::default();
    builder.data.extend_from_slice(&[7; 5000]);
    builder.fragments.push((96 + 4096, stored(904)));
    let whole = builder.file(96, (0, 100), 4200, &[stored(4096)]);
    let hole = builder.file(0, (u32::MAX, 0), 5000, &[0, 0]);
    let link = builder.symlink(b"d/whole");
    let fifo = builder.inode(FIFO, &[&1_u32.to_le_bytes()]);
    let inner = builder.directory(&[(b"whole", FILE, whole)]);
    let empty = builder.directory(&[]);
    let builder = builder.root(&[
        (b"d", DIRECTORY, inner),
        (b"empty", DIRECTORY, empty),
        (b"fifo", FIFO, fifo),
        (b"hole", FILE, hole),
        (b"link", SYMLINK, link),
    ]);
    let reader = builder.open().unwrap();
    let paths = read_all(&reader).unwrap();
    assert_eq!(paths, ["d", "d/whole", "empty", "fifo", "hole", "link"]);
    let node = reader.resolve("/link").unwrap().unwrap();
    assert_eq!(reader.read(&node, 4200).unwrap(), [7; 4200]);
    assert_eq!(
        (node.mtime, node.mode, node.nlink),
        (1_700_000_000, 0o644, 1)
    );
    let hole = reader.lookup("hole").unwrap().unwrap();
    assert_eq!(reader.read(&hole, 5000).unwrap(), [0; 5000]);
    assert!(reader.read(&hole, 4999).is_err());
    assert!(reader.read_link(&hole).is_err());
    let link = reader.lookup("link").unwrap().unwrap();
    assert!(link.is_symlink());
    assert!(reader.contents(&link).is_err());
    assert!(reader.list(&link).unwrap().is_empty());
}

#[test]
fn paths_are_resolved_as_inside() {
    let mut builder = ImageBuilder::default();
    let file = builder.file(0, (u32::MAX, 0), 0, &[]);
    let links: [(&[u8], &[u8]); 8] = [
        (b"absolute", b"/usr/f"),
        (b"circle", b"./circle"),
        (b"dangling", b"usr/none"),
        (b"outside", b"../../../usr//f"),
        (b"self", b"."),
        (b"through", b"usr/f/../f"),
        (b"to-root", b"/"),
        (b"twice", b"self/absolute"),
    ];
    let mut names: Vec<Name<'_>> = Vec::new();
    for (name, target) in links {
        names.push((name, SYMLINK, builder.symlink(target)));
    }
    let usr = builder.directory(&[(b"f", FILE, file)]);
    names.push((b"usr", DIRECTORY, usr));
    let reader = builder.root(&names).open().unwrap();
    let check = |path: &str, expected: Option<&str>| {
        let found = reader.locate(path).unwrap();
        let found = found.map(|(path, _)| path.to_str().unwrap().to_owned());
        assert_eq!(found.as_deref(), expected, "{path}");
    };
    for (path, expected) in [
        ("/", Some("")),
        ("", Some("")),
        ("usr/f", Some("usr/f")),
        ("/usr/./f", Some("usr/f")),
        ("../usr/../usr/f", Some("usr/f")),
        ("absolute", Some("usr/f")),
        ("outside", Some("usr/f")),
        ("self/self/usr", Some("usr")),
        ("to-root/twice", Some("usr/f")),
        ("circle", None),
        ("dangling", None),
        ("through", None),
        ("usr/f/x", None),
        ("usr/e", None),
        ("usr/g", None),
    ] {
        check(path, expected);
    }
    assert!(reader.lookup("usr/f").unwrap().unwrap().is_file());
    assert!(reader.lookup("absolute").unwrap().unwrap().is_symlink());
    for path in ["self/usr", "usr/..", "usr/f/x", "none"] {
        assert_eq!(reader.lookup(path).unwrap(), None, "{path}");
    }
}

#[test]
fn a_directory_has_one_place() {
    let mut builder = ImageBuilder::default();
    // The inode of the root is the first one and its listing is the only one, so both positions are
    // known before they are written.
    let (listing, len) = builder.listing(&[(b"again", DIRECTORY, 0)]);
    builder.root = builder.directory_at(listing, len);
    check_refused(&builder, "`again` has more than one place");
    assert!(
        builder
            .open()
            .unwrap()
            .resolve("again/again")
            .unwrap()
            .is_some()
    );

    let mut builder = ImageBuilder::default();
    let shared = builder.directory(&[]);
    let builder = builder.root(&[(b"a", DIRECTORY, shared), (b"b", DIRECTORY, shared)]);
    check_refused(&builder, "`b` has more than one place");
}

#[test]
fn directories_that_share_a_listing_are_not_walked_without_end() {
    let mut builder = ImageBuilder::default();
    let file = builder.file(0, (u32::MAX, 0), 0, &[]);
    let names: Vec<String> = (0..1000).map(|i| format!("{i:04}")).collect();
    let files: Vec<Name<'_>> = names
        .iter()
        .map(|name| (name.as_bytes(), FILE, file))
        .collect();
    let (listing, len) = builder.listing(&files);
    let mut directories: Vec<Name<'_>> = Vec::new();
    for name in &names {
        directories.push((
            name.as_bytes(),
            DIRECTORY,
            builder.directory_at(listing, len),
        ));
    }
    let builder = builder.root(&directories);
    let reader = builder.open().unwrap();
    let mut count = 0;
    let error = reader
        .walk()
        .unwrap()
        .inspect(|_| count += 1)
        .find_map(Result::err)
        .unwrap();
    assert!(error.to_string().contains("overlap"), "{error}");
    assert!(count <= 3000, "{count}");
}

#[test]
fn overlong_paths_are_refused() {
    let mut builder = ImageBuilder::default();
    let name = [b'n'; 256];
    let mut inner = builder.directory(&[]);
    for _ in 0..200 {
        inner = builder.directory(&[(&name, DIRECTORY, inner)]);
    }
    builder.root = inner;
    check_refused(&builder, "nested too deeply");
}

#[test]
fn invalid_names_are_refused() {
    for (names, words) in [
        (&[&b".."[..]][..], "`..` is not a name"),
        (&[b"."], "`.` is not a name"),
        (&[b"a/b"], "`a/b` is not a name"),
        (&[b"a\0"], "`a\\0` is not a name"),
        (&[b"b", b"a"], "`a` is out of order"),
        (&[b"a", b"a"], "`a` is out of order"),
        (&[&[b'n'; 257]], "a name claims 257 bytes"),
    ] {
        let mut builder = ImageBuilder::default();
        let file = builder.file(0, (u32::MAX, 0), 0, &[]);
        let names: Vec<Name<'_>> = names.iter().map(|name| (*name, FILE, file)).collect();
        check_refused(&builder.root(&names), words);
    }
}

#[test]
fn listings_that_do_not_fit_are_refused() {
    let check = |change: &dyn Fn(&mut ImageBuilder), cut: isize, words: &str| {
        let mut builder = ImageBuilder::default();
        let file = builder.file(0, (u32::MAX, 0), 0, &[]);
        let (listing, len) = builder.listing(&[(b"name", FILE, file)]);
        change(&mut builder);
        builder.root = builder.directory_at(listing, len.strict_add_signed(cut));
        check_refused(&builder, words);
    };
    check(&|_| {}, -1, "ends within an entry");
    check(&|_| {}, -20, "ends within an entry");
    check(&|_| {}, 1, "ends within an entry");
    check(&|_| {}, 40, "behind the table's end");
    check(&|d| d.listings[1] = 1, 0, "claims 257 entries in one run");
    check(&|d| d.listings[16] = 9, 0, "has the unknown type 9");
    check(&|d| d.listings[16] = 3, 0, "Symlink by its directory");
    check(&|d| d.listings[4] = 1, 0, "its metadata at");
    check(&|d| d.listings[6] = 1, 0, "behind the table's end");
    check(&|d| d.listings[13] = 0x1f, 0, "ends before byte");
}

#[test]
fn inodes_that_do_not_fit_are_refused() {
    let check = |add: &dyn Fn(&mut ImageBuilder) -> usize, kind: u16, words: &str| {
        let mut builder = ImageBuilder {
            data: vec![0; 200],
            ..ImageBuilder::default()
        };
        builder.fragments.push((96, stored(200)));
        builder.fragments.push((96, 0));
        builder.fragments.push((u64::MAX - 5, 200));
        let inode = add(&mut builder);
        check_refused(&builder.root(&[(b"name", kind, inode)]), words);
    };
    let none = (u32::MAX, 0);
    check(
        &|d| d.file(96, none, 4097, &[100]),
        FILE,
        "does not decompress",
    );
    check(
        &|d| d.file(96, none, 5000, &[stored(100)]),
        FILE,
        "100 bytes instead of 4096",
    );
    check(
        &|d| d.file(96, none, 100, &[stored(101)]),
        FILE,
        "101 bytes instead of 100",
    );
    check(
        &|d| d.file(96, none, 100, &[4097]),
        FILE,
        "claims 4097 bytes",
    );
    check(
        &|d| d.file(u32::MAX, none, 100, &[stored(100)]),
        FILE,
        "outside of the image",
    );
    check(
        &|d| d.file(0, none, u32::MAX, &[]),
        FILE,
        "claims 4294967295 bytes",
    );
    check(
        &|d| d.file(0, (0, 150), 51, &[]),
        FILE,
        "ends before the file",
    );
    check(
        &|d| d.file(0, (0, u32::MAX), 51, &[]),
        FILE,
        "ends before the file",
    );
    check(&|d| d.file(0, (1, 0), 51, &[]), FILE, "fragment 1 is empty");
    check(
        &|d| d.file(0, (2, 0), 51, &[]),
        FILE,
        "outside of the image",
    );
    check(&|d| d.file(0, (3, 0), 51, &[]), FILE, "no fragment 3");
    check(&|d| d.symlink(b""), SYMLINK, "claims 0 bytes");
    check(&|d| d.symlink(b"a\0b"), SYMLINK, "is not a path");
    let long = [&1_u32.to_le_bytes()[..], &65536_u32.to_le_bytes()];
    check(&|d| d.inode(SYMLINK, &long), SYMLINK, "claims 65536 bytes");
    check(&|d| d.inode(15, &[]), FILE, "unknown type 15");
    check(&|d| d.inode(0, &[]), FILE, "unknown type 0");
    check(
        &|d| d.directory_at(70_000, 24),
        DIRECTORY,
        "behind the table's end",
    );
    let listing = [&2_u32.to_le_bytes()[..], &[0, 0, 0, 0xff], &[0; 16]];
    check(
        &|d| d.inode(8, &listing),
        DIRECTORY,
        "claims 4278190080 bytes",
    );
    let owner = |d: &mut ImageBuilder| {
        let at = d.file(0, none, 0, &[]);
        d.inodes[at + 4] = 1;
        at
    };
    check(&owner, FILE, "no owner 1");
}

#[test]
fn sizes_of_64_bits_are_bounded() {
    for size in [1_u64 << 40, u64::MAX - 1, u64::MAX] {
        let mut builder = ImageBuilder::default();
        let fields = [&96_u64.to_le_bytes()[..], &size.to_le_bytes(), &[0; 8]];
        let rest = [1_u32, u32::MAX, 0, u32::MAX]
            .map(u32::to_le_bytes)
            .concat();
        let inode = builder.inode(9, &[&fields.concat(), &rest]);
        let builder = builder.root(&[(b"name", FILE, inode)]);
        check_refused(&builder, &format!("claims {size} bytes"));
    }
}

#[test]
fn superblocks_that_do_not_fit_are_refused() {
    let plain = || ImageBuilder::default().root(&[]);
    plain().open().unwrap();
    let far = u64::MAX / 2;
    for (at, bytes, words) in [
        (0, &b"sqsh"[..], "does not begin as a SquashFS image"),
        (12, &4095_u32.to_le_bytes(), "block size is 4095"),
        (12, &0x0020_0000_u32.to_le_bytes(), "block size is 2097152"),
        (22, &[13], "block size is 4096"),
        (20, &[7], "unknown number 7"),
        (26, &[0], "no table of owners"),
        (26, &[255, 255], "its metadata at"),
        (28, &[3], "version is 3.0"),
        (32, &[200], "ends before byte"),
        (34, &[1], "its metadata at"),
        (40, &far.to_le_bytes(), "truncated"),
        (40, &97_u64.to_le_bytes(), "out of order"),
        (48, &far.to_le_bytes(), "out of order"),
        (48, &0_u64.to_le_bytes(), "out of order"),
        (64, &far.to_le_bytes(), "out of order"),
        (64, &0_u64.to_le_bytes(), "out of order"),
        (72, &96_u64.to_le_bytes(), "out of order"),
        (80, &far.to_le_bytes(), "out of order"),
    ] {
        check_refused(&plain().patch(at, bytes), words);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut builder = ImageBuilder {
        data: vec![7; 100],
        ..ImageBuilder::default()
    };
    let file = builder.file(96, (u32::MAX, 0), 100, &[stored(100)]);
    let bytes = builder.root(&[(b"name", FILE, file)]).bytes();
    for len in 0..bytes.len() {
        let error = open(&bytes[..len]).unwrap_err();
        let whole = len >= Superblock::LEN;
        assert_eq!(matches!(error, Error::Truncated { .. }), whole, "{error}");
    }
    // Images are padded to whole pages, and the bytes behind an image in a SIF file are not part of
    // it.
    open(&[&bytes[..], &[0xff; 100]].concat()).unwrap();
}

#[test]
fn an_image_is_found_at_its_offset() {
    let image = ImageBuilder::default().root(&[]).bytes();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0xff; 77]).unwrap();
    file.write_all(&image).unwrap();
    let len = image.len() as u64;
    assert!(Reader::open_at(file.path(), 77, len).is_ok());
    assert!(Reader::open_at(file.path(), 76, len).is_err());
    for (offset, len) in [(77, len + 1), (77, u64::MAX), (u64::MAX, 1), (78, len)] {
        let error = Reader::open_at(file.path(), offset, len).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }
    let error = Reader::open_raw(file.path().parent().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

/// Reads `paths` twice, and overwrites `range` of the image's file in between. Both reads must give
/// the same bytes.
fn read_around_damage(builder: &ImageBuilder, range: std::ops::Range<u64>, paths: &[String]) {
    use std::os::unix::fs::FileExt;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&builder.bytes()).unwrap();
    let reader = Reader::open_raw(file.path()).unwrap();
    let read = || -> Vec<Vec<u8>> {
        let read_one = |path: &String| {
            let node = reader.lookup(path).unwrap().unwrap();
            reader.read(&node, 4096).unwrap()
        };
        paths.iter().map(read_one).collect()
    };
    let before = read();
    let junk = vec![0xff; (range.end - range.start) as usize];
    file.as_file().write_all_at(&junk, range.start).unwrap();
    assert_eq!(read(), before);
}

#[test]
fn fragments_and_metadata_blocks_are_kept_while_memory_lasts() {
    let mut builder = ImageBuilder::default();
    let count = 40_u32;
    let mut files = Vec::new();
    for number in 0..count {
        builder.data.extend(vec![number as u8; 4096]);
        let at = 96 + 4096 * u64::from(number);
        builder.fragments.push((at, stored(4096)));
        let file = builder.file(0, (number, 0), 100, &[]);
        // The padding puts each inode at the start of a metadata block of its own.
        let end = builder.inodes.len().next_multiple_of(8192);
        builder.inodes.resize(end, 0);
        files.push((format!("f{number:02}"), file));
    }
    let names: Vec<Name<'_>> = files
        .iter()
        .map(|(name, inode)| (name.as_bytes(), FILE, *inode))
        .collect();
    let builder = builder.root(&names);
    let paths: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let data_end = 96 + 4096 * u64::from(count);
    read_around_damage(&builder, 96..data_end, &paths);
    let inodes_end = data_end + 8194 * u64::from(count);
    read_around_damage(&builder, data_end..inodes_end, &paths);
}

//! Tests of unpacked packages that are kept.
#![allow(clippy::unwrap_used)]
use super::super::store::Attributes;
use super::*;

const SOURCE: &str = "lib/d.py";
const CODE: &str = "lib/__pycache__/d.cpython-311.pyc";

/// Makes a spool, and a package of it with four files, two of them with two names.
fn package(dir: &Path) -> NewPackage {
    let spool = Arc::new(Spool::create(dir).unwrap());
    let mut store = InSpool::of(spool, Vec::new()).with_digest();
    let large = vec![7; 3 * CHUNK_BYTES / 2];
    let files: [(&[u8], u32); 4] = [
        (b"program", 0o755),
        (&large, 0o644),
        (b"byte code with its head", 0o644),
        (b"print(1)\n", 0o644),
    ];
    for (mut bytes, mode) in files {
        let attributes = Attributes {
            mode,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            bytes: bytes.len() as u64,
        };
        store.take(&mut bytes, &mut [0; 1000], attributes).unwrap();
    }
    let mut kinds = vec![
        ("bin".into(), Kind::Directory),
        ("lib".into(), Kind::Directory),
        ("lib/__pycache__".into(), Kind::Directory),
    ];
    for (name, number) in [
        ("bin/a", 0),
        ("bin/b", 0),
        ("lib/c", 1),
        (CODE, 2),
        (SOURCE, 3),
        ("lib/__pycache__/none.cpython-311.pyc", 2),
    ] {
        store.name(name.into(), number);
        kinds.push((name.into(), Kind::File));
    }
    kinds.push(("bin/link".into(), Kind::Link("a".into())));
    let kinds: Vec<(OsString, Kind)> = kinds;
    let kinds = kinds.iter().map(|(path, kind)| (path, kind));
    NewPackage::new(&store, kinds, [1; 32]).unwrap()
}

fn written(package: &NewPackage) -> fs_err::File {
    let file = tempfile::tempfile().unwrap();
    package.write(&file, &|| false).unwrap();
    fs_err::File::from_parts(file, "kept")
}

fn is_whole(file: fs_err::File) -> bool {
    is_whole_package(file, &[1; 32])
}

#[test]
fn a_package_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let new = package(dir.path());
    let file = written(&new);
    assert_eq!(file.metadata().unwrap().len(), new.bytes());
    let mut kept = KeptPackage::read(file, &[1; 32]).unwrap();
    assert!(kept.is_whole_but_blocks(&|| false) && !kept.is_whole_but_blocks(&|| true));
    assert_eq!(kept.digests.len(), 12 * DIGEST_BYTES);
    assert!(!kept.has_blocks(&|_| false, &|| true));
    assert!(kept.has_blocks(&|_| true, &|| false) && !kept.are_compared);
    assert!(kept.has_blocks(&|_| false, &|| false) && kept.are_compared);
    assert!(!kept.has_post_link());
    let other = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::create(other.path()).unwrap());
    let (store, kinds) = kept.attach(&spool);
    assert_eq!(kinds.len(), 10);
    assert!(kinds.contains(&("bin/link".into(), Kind::Link("a".into()))));
    let (first, program) = store.get(Path::new("bin/a")).unwrap();
    assert_eq!(store.get(Path::new("bin/b")).unwrap().0, first);
    assert_eq!(
        (program.mode, spool.read(program.part).unwrap()),
        (0o755, b"program".into())
    );
    let (_, large) = store.get(Path::new("lib/c")).unwrap();
    assert_eq!(
        spool.read(large.part).unwrap(),
        vec![7; 3 * CHUNK_BYTES / 2]
    );
    let [code, source] = [CODE, SOURCE].map(|path| store.get(Path::new(path)).unwrap().1.part);
    let attached = &spool.attached()[0];
    assert_eq!(attached.byte_code.len(), 1);
    let known = attached.byte_code[&code.offset];
    assert_eq!(&known.head, b"byte code with i");
    assert_eq!(known.source, (source.offset, source.bytes));
    let mut hasher = crate::bytecode::SourceHasher::new((3, 11), *b"byte");
    hasher.write(b"print(1)\n");
    assert_eq!(known.source_hash, hasher.finish());
    assert!(
        spool.write(large.part, 0, b"x").is_err(),
        "what is kept is only read"
    );
}

/// Blocks that an image finds by their digests are not compared until something reads them.
#[test]
fn blocks_are_compared_when_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&package(dir.path()));
    let large = (HEAD_BYTES + b"program".len()) as u64;
    file.file()
        .write_all_at(b"changed", large + 200_000)
        .unwrap();
    let mut kept = KeptPackage::read(file, &[1; 32]).unwrap();
    assert!(kept.is_whole_but_blocks(&|| false));
    let changed = kept.digests[DIGEST_BYTES..2 * DIGEST_BYTES].to_vec();
    assert!(!kept.has_blocks(&|digest| digest != changed, &|| false));
    assert!(kept.has_blocks(&|digest| digest == changed, &|| false));
    let other = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::create(other.path()).unwrap());
    let (store, _) = kept.attach(&spool);
    let part = |path: &str| store.get(Path::new(path)).unwrap().1.part;
    let read = spool.read(part("lib/c"));
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    let head = spool.read_head(part("lib/c"), &mut [0; 16]);
    assert_eq!(head.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(spool.read(part("bin/a")).unwrap(), b"program");
}

/// The next build unpacks the package again.
#[test]
fn a_package_with_a_damaged_block_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept.package");
    for is_replaced in [false, true] {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let new = package(scratch.path());
        new.write(file.file(), &|| false).unwrap();
        file.file().write_all_at(b"changed", 200_000).unwrap();
        let kept = KeptPackage::read(file, &[1; 32]).unwrap();
        let other = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::create(other.path()).unwrap());
        kept.attach(&spool);
        if is_replaced {
            fs_err::write(dir.path().join("new"), "another").unwrap();
            fs_err::rename(dir.path().join("new"), &path).unwrap();
        }
        let attached = &spool.attached()[0];
        let stopped = attached.compare_all(&|| true).unwrap_err();
        assert_eq!(stopped.kind(), std::io::ErrorKind::Interrupted);
        assert!(path.exists());
        let damaged = attached.compare_all(&|| false).unwrap_err();
        assert_eq!(damaged.kind(), std::io::ErrorKind::InvalidData);
        assert_eq!(path.exists(), is_replaced);
    }
}

#[test]
fn a_package_of_another_archive_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&package(dir.path()));
    assert!(!is_whole_package(file, &[2; 32]));
}

#[test]
fn a_damaged_package_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let new = package(dir.path());
    let length = new.bytes();
    let list = new.list.len() as u64;
    let of_byte_code = byte_code::BYTES as u64;
    let places = [
        0,
        8,
        16,
        24,
        32,
        40,
        48,
        55,
        56,
        62,
        length / 2,
        length - list - of_byte_code,
        length - list - 1,
        length - list,
        length - 1,
    ];
    for at in places {
        let file = written(&new);
        let mut byte = [0];
        file.file().read_exact_at(&mut byte, at).unwrap();
        file.file().write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(!is_whole(file), "{at}");
    }
    for cut in [0, 1, 55, 56, length / 2, length - 1, length + 1] {
        let file = written(&new);
        file.file().set_len(cut).unwrap();
        assert!(!is_whole(file), "{cut}");
    }
    assert!(new.write(&tempfile::tempfile().unwrap(), &|| true).is_err());
}

/// The build changes the first bytes of byte code in the spool, and code of packages might
/// change anything.
#[test]
fn byte_code_is_kept_as_in_the_archive_and_changed_contents_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let new = package(dir.path());
    let before = written(&new);
    let code = Part {
        head: None,
        ..new.parts[2]
    };
    new.spool.write(code, 0, b"hashed byte code").unwrap();
    let texts = [before, written(&new)].map(|file| {
        let mut text = vec![0; file.metadata().unwrap().len() as usize];
        file.file().read_exact_at(&mut text, 0).unwrap();
        text
    });
    assert!(texts[0] == texts[1]);
    assert!(
        texts[0]
            .windows(23)
            .any(|found| found == b"byte code with its head")
    );
    new.spool.write(new.parts[0], 0, b"P").unwrap();
    let error = new.write(&tempfile::tempfile().unwrap(), &|| false);
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

/// Lists that no archive could have, with right checksums.
#[test]
fn a_list_that_leads_out_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = package(dir.path());
    let read = |list: List| {
        let list = rmp_serde::to_vec(&list).unwrap();
        let file = written(&NewPackage {
            list,
            ..good.clone()
        });
        KeptPackage::read(file, &[1; 32]).is_some()
    };
    let list = || rmp_serde::from_slice::<List>(&good.list).unwrap();
    assert!(read(list()));
    let entry = |path: &str, kind| (ByteBuf::from(path.as_bytes()), kind);
    for bad in [
        entry("../a", ListedKind::File(0)),
        entry("/a", ListedKind::File(0)),
        entry("bin/../a", ListedKind::File(0)),
        entry("bin/link/a", ListedKind::File(0)),
        entry("none/a", ListedKind::File(0)),
        entry("bin//d", ListedKind::File(0)),
        entry("bin/d", ListedKind::File(4)),
    ] {
        let mut list = list();
        list.entries.push(bad);
        assert!(!read(list));
    }
    for pairs in [vec![(4, 3)], vec![(2, 4)], vec![], vec![(2, 3); 2]] {
        let byte_code = pairs.clone();
        assert!(
            !read(List {
                byte_code,
                ..list()
            }),
            "{pairs:?}"
        );
    }
    for (offset, bytes) in [(0, 1), (56, u64::MAX), (u64::MAX, 1), (56, 1 << 40)] {
        let mut list = list();
        list.files[0].offset = offset;
        list.files[0].bytes = bytes;
        assert!(!read(list), "{offset} {bytes}");
    }
}

#![allow(clippy::unwrap_used)]

use condense_diagnostics::Hint as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Arch, FileSystem, Link, PartitionRole};
use super::*;

const WIPE: DeleteOptions = DeleteOptions {
    wipe: true,
    compact: false,
};
const COMPACT: DeleteOptions = DeleteOptions {
    wipe: false,
    compact: true,
};
const WIPE_AND_COMPACT: DeleteOptions = DeleteOptions {
    wipe: true,
    compact: true,
};

const JSON: DataKind = DataKind::Json;

fn root() -> NewObject {
    NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::PrimarySystem,
        Arch::X86_64,
    )
}

fn create(path: &Path) -> SifWriter {
    SifWriter::create(path, &SifOptions::default()).unwrap()
}

/// Creates a SIF file with two small objects and a root file system of three bytes.
fn sample(path: &Path) -> Sif {
    let mut writer = create(path);
    let definition = NewObject::new(DataKind::DefinitionFile);
    assert_eq!(writer.add(&definition, b"bootstrap: scratch\n").unwrap(), 1);
    let metadata = NewObject::new(JSON).named("inspect-metadata.json");
    assert_eq!(writer.add(&metadata, b"{}").unwrap(), 2);
    assert_eq!(writer.add(&root(), b"sqs").unwrap(), 3);
    writer.finish().unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_is_written_is_read_back_at_the_places_of_the_format() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    let sif = sample(&path);
    let places: Vec<(u32, u64, u64)> = sif
        .descriptors()
        .iter()
        .map(|object| (object.id, object.offset, object.size))
        .collect();
    assert_eq!(places, [(1, 32176, 19), (2, 32195, 2), (3, 32768, 3)]);
    assert_eq!(sif.arch(), Some(Arch::X86_64));
    assert_eq!(sif.header().arch, Some(Arch::X86_64));
    assert_eq!(sif.header().created, Header::NO_TIME);
    assert_eq!(sif.header().data_size, 32771 - 32176);
    assert_eq!(sif.header().uuid(), "00000000-0000-0000-0000-000000000000");
    assert_eq!(
        sif.header().launch_script(),
        b"#!/usr/bin/env run-singularity\n"
    );
    let mut bytes = Vec::new();
    sif.copy_to(sif.object(1).unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, b"bootstrap: scratch\n");
    assert!(matches!(sif.object(4), Err(Error::NotFound { .. })));
    let mode = fs_err::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o100, 0o100, "a SIF can be started as a program");
    assert_eq!(names_in(scratch.path()), ["a.sif"]);
}

#[test]
fn the_same_objects_give_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let (a, b) = (scratch.path().join("a.sif"), scratch.path().join("b.sif"));
    sample(&a);
    sample(&b);
    assert_eq!(fs_err::read(&a).unwrap(), fs_err::read(&b).unwrap());
    for path in [&a, &b] {
        let mut writer = SifWriter::open(path, None).unwrap();
        writer.add(&NewObject::new(JSON), b"[]").unwrap();
        writer.finish().unwrap();
    }
    assert_eq!(fs_err::read(&a).unwrap(), fs_err::read(&b).unwrap());
    let options = SifOptions {
        created: 7,
        ..SifOptions::default()
    };
    let mut writer = SifWriter::create(scratch.path().join("c.sif"), &options).unwrap();
    writer.add(&NewObject::new(JSON), b"").unwrap();
    let sif = writer.finish().unwrap();
    assert_eq!((sif.header().created, sif.descriptors()[0].created), (7, 7));
}

#[test]
fn an_unfinished_file_leaves_nothing_and_an_old_one_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    let mut writer = create(&path);
    writer.add(&root(), &[7; 10_000]).unwrap();
    assert!(!path.exists());
    drop(writer);
    assert!(names_in(scratch.path()).is_empty());

    sample(&path);
    let before = fs_err::read(&path).unwrap();
    let mut writer = SifWriter::open(&path, None).unwrap();
    writer.delete(3, WIPE_AND_COMPACT).unwrap();
    writer.add(&root(), &[7; 10_000]).unwrap();
    drop(writer);
    assert_eq!(fs_err::read(&path).unwrap(), before);

    let mut writer = SifWriter::open(&path, None).unwrap();
    let failed = writer.add_with(&NewObject::new(JSON), |slot| {
        slot.file.write_all_at(b"abc", slot.offset).unwrap();
        Err(Error::Cancelled)
    });
    assert!(matches!(failed, Err(Error::Cancelled)));
    let failed = writer.add_with(&NewObject::new(JSON), |_| Ok(1 << 40));
    assert!(failed.unwrap_err().to_string().contains("fewer written"));
    writer.finish().unwrap();
    assert_eq!(fs_err::read(&path).unwrap()[..4096], before[..4096]);
    assert_eq!(Sif::open(&path).unwrap().descriptors().len(), 3);
}

#[test]
fn a_deleted_object_s_slot_and_place_are_used_again() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    sample(&path);
    let change = |change: &dyn Fn(&mut SifWriter)| {
        let mut writer = SifWriter::open(&path, None).unwrap();
        change(&mut writer);
        writer.finish().unwrap()
    };
    let sif = change(&|writer| writer.delete(3, DeleteOptions::default()).unwrap());
    assert_eq!(sif.header().arch, None);
    assert_eq!(fs_err::metadata(&path).unwrap().len(), 32771);
    let sif = change(&|writer| assert_eq!(writer.add(&root(), b"squ").unwrap(), 3));
    assert_eq!(sif.object(3).unwrap().offset, 32768);
    // In one change, the new object goes behind the old one, because the table on disk still lists
    // the old one.
    let sif = change(&|writer| {
        writer.delete(3, WIPE).unwrap();
        writer.add(&root(), b"ash").unwrap();
    });
    assert_eq!(sif.object(3).unwrap().offset, 36864);
    let bytes = fs_err::read(&path).unwrap();
    assert_eq!(bytes[32768..32771], [0; 3]);
    assert_eq!(bytes[36864..], *b"ash");
    change(&|writer| writer.delete(3, COMPACT).unwrap());
    assert_eq!(fs_err::metadata(&path).unwrap().len(), 32197);
    change(&|writer| {
        writer.delete(1, COMPACT).unwrap();
        writer.delete(2, COMPACT).unwrap();
    });
    assert_eq!(fs_err::metadata(&path).unwrap().len(), 32176);
    let error = SifWriter::open(&path, None)
        .unwrap()
        .delete(1, DeleteOptions::default());
    assert!(matches!(error, Err(Error::NotFound { .. })));
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    let json = || NewObject::new(JSON);
    let check = |object: NewObject, words: &str| {
        let mut writer = create(&path);
        writer.add(&root(), b"").unwrap();
        let error = writer.add(&object, b"").unwrap_err().to_string();
        assert!(error.contains(words), "{error}, not {words}");
    };
    check(json().named("n".repeat(129)), "more than 128 bytes");
    check(json().named("a\0b"), "a zero byte");
    check(json().in_group(Some(0)), "0 is not the number");
    check(
        json().linked_to(Link::Group(u32::MAX)),
        "is not the number of a group",
    );
    check(json().aligned_to(u64::MAX), "nothing is aligned");
    check(root(), "a root file system already");

    let mut writer = create(&path);
    for _ in 0..48 {
        writer.add(&json(), b"x").unwrap();
    }
    let error = writer.add(&json(), b"x").unwrap_err().to_string();
    assert!(error.contains("all its 48 slots are used"), "{error}");
    writer.finish().unwrap();
    let error = SifWriter::create(&path, &SifOptions::default()).unwrap_err();
    assert!(error.hint().unwrap().contains("remove it first"), "{error}");
    let error = SifWriter::create(scratch.path().join("no/x.sif"), &SifOptions::default());
    assert!(matches!(error, Err(Error::Io { .. })));
}

#[test]
fn one_program_at_a_time_changes_a_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    sample(&path);
    let first = SifWriter::open(&path, None).unwrap();
    let error = SifWriter::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("another program is changing it"), "{error}");
    drop(first);
    SifWriter::open(&path, None).unwrap();
}

#[test]
fn files_are_copied_and_other_things_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    let source = scratch.path().join("source");
    fs_err::write(&source, vec![3; 100_000]).unwrap();
    let mut writer = create(&path);
    let id = writer.add_file(&root(), &source).unwrap();
    assert!(
        writer
            .add_file(&NewObject::new(JSON), scratch.path())
            .is_err()
    );
    assert!(writer.add_file(&NewObject::new(JSON), "/dev/null").is_err());
    let sif = writer.finish().unwrap();
    assert_eq!(sif.descriptors().len(), 1);
    let bytes = sif.read(sif.object(id).unwrap(), 1 << 20).unwrap();
    assert_eq!(bytes, vec![3; 100_000]);
}

#[test]
fn the_packer_writes_a_root_file_system_in_place() {
    let scratch = tempfile::tempdir().unwrap();
    let mut tree = crate::Tree::new();
    let noise: Vec<u8> = (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    tree.add_bytes("noise", noise.clone(), 0o644).unwrap();
    tree.add_bytes("etc/os-release", *b"ID=x\n", 0o644).unwrap();
    let alone = crate::pack(
        &tree,
        &scratch.path().join("alone"),
        &crate::PackOptions::default(),
    )
    .unwrap();

    let path = scratch.path().join("a.sif");
    let mut writer = create(&path);
    writer
        .add(&NewObject::new(DataKind::DefinitionFile), b"from: x\n")
        .unwrap();
    let mut image = None;
    let id = writer
        .add_with(&root(), |slot| {
            let packed = crate::pack_at(
                &tree,
                slot.path,
                slot.offset,
                &crate::PackOptions::default(),
            )?;
            crate::verify(&packed, &tree, None)?;
            let size = packed.size_bytes;
            image = Some((packed.sha256()?, packed));
            Ok(size)
        })
        .unwrap();
    let labels = NewObject::new(DataKind::Labels);
    writer.add(&labels, b"{\"a\": \"b\"}").unwrap();
    let sif = writer.finish().unwrap();
    let (sha256, image) = image.unwrap();
    assert_eq!(
        (sha256, image.size_bytes),
        (alone.sha256().unwrap(), alone.size_bytes)
    );
    assert_eq!(image.offset_bytes, 32768);
    assert_eq!(sif.object(id).unwrap().size, alone.size_bytes);
    let bytes = sif.read(sif.object(id).unwrap(), 1 << 20).unwrap();
    assert_eq!(bytes, fs_err::read(&alone.path).unwrap());
    let reader = sif.reader().unwrap();
    let node = reader.resolve("noise").unwrap().unwrap();
    assert_eq!(reader.read(&node, 1 << 20).unwrap(), noise);
}

/// Returns the objects that a SIF file lists, each with its bytes.
fn objects_in(path: &Path) -> Vec<(u32, Vec<u8>)> {
    let sif = Sif::open(path).unwrap();
    let bytes = |object: &Descriptor| sif.read(object, 1 << 20).unwrap();
    let objects = sif.descriptors().iter();
    objects.map(|object| (object.id, bytes(object))).collect()
}

type Change = fn(&mut SifWriter) -> Result<(), Error>;

/// Makes each call that changes a file fail, first alone and then with all calls after it.
#[test]
fn a_failing_call_leaves_a_table_that_describes_the_file() {
    let changes: [(&str, Change); 4] = [
        ("add", |writer| {
            let object = NewObject::new(JSON).aligned_to(4096);
            writer.add(&object, &[7; 10_000]).map(drop)
        }),
        ("delete", |writer| {
            writer.delete(2, DeleteOptions::default())
        }),
        ("wipe and cut", |writer| writer.delete(3, WIPE_AND_COMPACT)),
        ("replace", |writer| {
            writer.delete(3, WIPE)?;
            writer.add(&root(), b"new root").map(drop)
        }),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    let mut failed = 0;
    for (name, change) in changes {
        for all_that_follow in [false, true] {
            for calls_before in 0.. {
                let _ = fs_err::remove_file(&path);
                sample(&path);
                let old = objects_in(&path);
                calls::faults::begin(calls_before, all_that_follow);
                let mut writer = SifWriter::open(&path, None).unwrap();
                let ended = change(&mut writer).and_then(|()| writer.finish().map(drop));
                let met = calls::faults::end();
                assert_eq!(ended.is_err(), met, "{name} {calls_before}");
                let now = objects_in(&path);
                let mut other = SifWriter::open(&path, None).unwrap();
                if now == old {
                    change(&mut other).unwrap();
                    other.finish().unwrap();
                } else {
                    // The file is valid and changed, so only wiping or cutting can have failed.
                    let is_last = name == "wipe and cut" || name == "replace" || all_that_follow;
                    assert!(!met || is_last, "{name} {calls_before}");
                }
                if !met {
                    break;
                }
                failed += 1;
            }
        }
    }
    assert!(failed > 30, "only {failed} calls failed");
    assert_eq!(names_in(scratch.path()), ["a.sif"]);
}

/// Objects whose deletion has failed must not be overwritten.
#[test]
fn nothing_is_wiped_before_the_table_is_on_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    sample(&path);
    let before = fs_err::read(&path).unwrap();
    // The fourth call is the second sync, which follows the writing of the table.
    calls::faults::begin(3, true);
    let mut writer = SifWriter::open(&path, None).unwrap();
    writer.delete(1, WIPE).unwrap();
    writer.finish().unwrap_err();
    assert!(calls::faults::end());
    assert_eq!(fs_err::read(&path).unwrap()[32176..], before[32176..]);
}

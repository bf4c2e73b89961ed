#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;

/// Position of the first object behind a table of 48 slots, which is the size that runtimes write.
const DATA_AT: usize = 4096 + 48 * Descriptor::LEN;

/// Returns a SIF file with these objects, one behind the other. Each is given as kind, name, extra
/// fields and contents.
fn render(objects: &[(i32, &str, &[u8], &[u8])]) -> Vec<u8> {
    let mut file = vec![0; DATA_AT];
    file[..32].copy_from_slice(b"#!/usr/bin/env run-singularity\n\0");
    file[32..48].copy_from_slice(b"SIF_MAGIC\x0001\x0002\0");
    file[64..72].copy_from_slice(&1_700_000_000_i64.to_le_bytes());
    for (at, number) in [(88, 48), (96, 4096), (104, 28080), (112, DATA_AT)] {
        file[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    for (index, (kind, name, extra, contents)) in objects.iter().enumerate() {
        let offset = file.len();
        file.extend_from_slice(contents);
        let slot = &mut file[4096 + index * Descriptor::LEN..][..Descriptor::LEN];
        slot[..4].copy_from_slice(&kind.to_le_bytes());
        slot[4] = 1;
        slot[5..9].copy_from_slice(&(index as u32 + 1).to_le_bytes());
        slot[9..13].copy_from_slice(&0xf000_0001_u32.to_le_bytes());
        slot[17..25].copy_from_slice(&(offset as u64).to_le_bytes());
        slot[25..33].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        slot[73..73 + name.len()].copy_from_slice(name.as_bytes());
        slot[201..201 + extra.len()].copy_from_slice(extra);
    }
    file
}

fn partition(file_system: i32, role: i32, arch: [u8; 2]) -> Vec<u8> {
    let mut extra = Vec::new();
    extra.extend(file_system.to_le_bytes());
    extra.extend(role.to_le_bytes());
    extra.extend(arch);
    extra.push(0);
    extra
}

fn open(bytes: &[u8]) -> Result<Sif, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Sif::open(file.path())
}

#[test]
fn objects_are_found() {
    let overlay = partition(1, 4, *b"02");
    let primary = partition(1, 2, *b"04");
    let bytes = render(&[
        (0x4001, "", b"", b"bootstrap: scratch\n"),
        (0x4006, "inspect-metadata.json", b"", b"{}"),
        (0x4004, "", &overlay, b"over"),
        (0x4004, "root", &primary, b"squash"),
        (0x4abc, "", b"", b""),
    ]);
    let sif = open(&bytes).unwrap();
    let kinds: Vec<DataKind> = sif.descriptors().iter().map(|d| d.kind).collect();
    assert_eq!(
        kinds,
        [
            DataKind::DefinitionFile,
            DataKind::Json,
            DataKind::Partition,
            DataKind::Partition,
            DataKind::Unknown(0x4abc)
        ]
    );
    let metadata = &sif.descriptors()[1];
    assert_eq!(
        (metadata.id, &metadata.name[..]),
        (2, "inspect-metadata.json")
    );
    assert_eq!(sif.read(metadata, 2).unwrap(), b"{}");
    assert!(sif.read(metadata, 1).is_err());
    let partition = sif.primary_partition().unwrap();
    assert_eq!(partition.offset, (DATA_AT + 25) as u64);
    assert_eq!(partition.size, 6);
    assert_eq!(partition.file_system, FileSystem::SquashFs);
    assert_eq!(
        sif.arch(),
        Some(Arch::Aarch64),
        "the partition's, not the header's"
    );
    assert_eq!(sif.header().arch, Some(Arch::X86_64));
    assert_eq!(sif.header().created, 1_700_000_000);
}

#[test]
fn a_root_file_system_that_cannot_be_read_is_refused_by_name() {
    let check = |partitions: &[(i32, i32)], words: &str| {
        let extras: Vec<Vec<u8>> = partitions
            .iter()
            .map(|(file_system, role)| partition(*file_system, *role, *b"02"))
            .collect();
        let objects: Vec<(i32, &str, &[u8], &[u8])> = extras
            .iter()
            .map(|extra| (0x4004, "", &extra[..], &b"hsqs"[..]))
            .collect();
        let sif = open(&render(&objects)).unwrap();
        let error = sif.primary_partition().unwrap_err();
        assert!(error.to_string().contains(words), "{error}, not {words}");
        assert_eq!(sif.reader().unwrap_err().to_string(), error.to_string());
    };
    check(&[], "holds no root file system");
    check(
        &[(1, 1), (1, 3), (1, 4), (1, 9)],
        "holds no root file system",
    );
    check(&[(5, 2)], "its root file system is encrypted");
    check(&[(6, 2)], "its root file system is encrypted");
    check(&[(2, 2)], "its root file system is ext3");
    check(&[(77, 2)], "of the unknown type 77");
    check(&[(1, 2), (1, 2)], "more than one root file system");
}

#[test]
fn what_is_no_sif_is_refused() {
    for bytes in [
        &b""[..],
        b"hsqs",
        &[0; 200],
        b"#!/usr/bin/env run-singularity\n",
    ] {
        let error = open(bytes).unwrap_err();
        assert!(
            error.to_string().contains("does not begin as a SIF"),
            "{error}"
        );
    }
    let mut newer = render(&[]);
    newer[43] = b'9';
    let error = open(&newer).unwrap_err();
    assert!(error.to_string().contains("version is `09`"), "{error}");
    let error = Sif::open("/no/such/file").unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
}

#[test]
fn every_truncation_is_reported_as_such() {
    let primary = partition(1, 2, *b"02");
    let bytes = render(&[(0x4004, "", &primary, &[7; 500])]);
    for len in (42..bytes.len()).step_by(7) {
        let error = open(&bytes[..len]).unwrap_err();
        assert!(
            matches!(&error, Error::Truncated { found, .. } if *found == len as u64)
                || (len < 45 && matches!(error, Error::Unsupported { .. })),
            "{error}"
        );
    }
    let error = open(&bytes[..bytes.len() - 1]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(&format!("{} of {} bytes", bytes.len() - 1, bytes.len()))
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let primary = partition(1, 2, *b"02");
    let bytes = render(&[(0x4004, "", &primary, b"hsqs")]);
    for (at, number) in [
        (88, -1),
        (88, 4097),
        (88, i64::MAX),
        (96, -1),
        (96, i64::MAX),
        (104, -1),
        (104, 28079),
        (96, 127),
        (112, -1),
        (112, 4096),
        (112, 32177),
        (4096 + 17, -1),
        (4096 + 17, i64::MAX),
        (4096 + 25, -1),
        (4096 + 25, i64::MAX),
    ] {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(&i64::to_le_bytes(number));
        let error = open(&damaged).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { .. } | Error::Truncated { .. }),
            "{at}: {error}"
        );
    }
}

#[test]
fn architectures_are_named_as_by_uname() {
    for (digits, name) in [(b"02", "x86_64"), (b"04", "aarch64"), (b"06", "ppc64le")] {
        assert_eq!(Arch::from_sif(*digits).unwrap().to_string(), name);
    }
    assert_eq!(Arch::from_sif(*b"00"), None);
    assert!(Arch::host().is_some());
}

#[test]
fn objects_that_share_bytes_or_numbers_are_refused() {
    let bytes = render(&[(0x4006, "", b"", b"abcd"), (0x4006, "", b"", b"efgh")]);
    let second = 4096 + Descriptor::LEN;
    for (at, number, words) in [
        (second + 5, 1, "two objects have the number 1"),
        (second + 17, DATA_AT as u32 + 3, "objects 1 and 2 overlap"),
        (second + 17, 5000, "object 2 lies over its table"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let error = open(&damaged).unwrap_err().to_string();
        assert!(error.contains(words), "{error}, not {words}");
    }
    // The position of an object without bytes does not matter.
    let mut bytes = bytes;
    bytes[second + 25..second + 33].copy_from_slice(&[0; 8]);
    bytes[second + 17..second + 25].copy_from_slice(&(DATA_AT as u64 + 1).to_le_bytes());
    open(&bytes).unwrap();
}

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::super::{Arch, DeleteOptions, FileSystem, Header, PartitionRole, SifOptions};
use super::*;

/// Time of the checks: two years after the keys were made, in seconds since 1970.
const NOW: u32 = 1_767_225_600;

/// Returns the times of a signature at `now`, without a time for the table.
fn at(now: u32) -> SignTimes {
    SignTimes {
        signature: now,
        table: None,
    }
}

fn keys(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn keyring(names: &[&str]) -> Keyring {
    let mut keyring = Keyring::default();
    for name in names {
        keyring.add_file(keys(name)).unwrap();
    }
    keyring
}

fn secret(name: &str, passphrase: &str) -> Result<SecretKey, Error> {
    SecretKey::load(keys(name), None, passphrase, NOW)
}

/// Creates a SIF file with two objects in the first group and one in the seventh.
fn sample(directory: &Path) -> PathBuf {
    let path = directory.join("a.sif");
    let mut writer = SifWriter::create(&path, &SifOptions::default()).unwrap();
    let definition = NewObject::new(DataKind::DefinitionFile);
    writer
        .add(&definition.clone().in_group(Some(7)), b"from: x\n")
        .unwrap();
    writer.add(&definition, b"from: y\n").unwrap();
    let role = PartitionRole::PrimarySystem;
    let root = NewObject::partition(FileSystem::SquashFs, role, Arch::X86_64);
    writer.add(&root, &[7; 5000]).unwrap();
    writer.finish().unwrap();
    path
}

fn signed(directory: &Path, key: &str, passphrase: &str) -> PathBuf {
    let path = sample(directory);
    let key = secret(key, passphrase).unwrap();
    assert_eq!(sign(&path, &key, &[], at(NOW)).unwrap(), [4, 5]);
    path
}

/// Returns the reason why the first signature is invalid.
#[track_caller]
fn problem(path: &Path, keyring: &Keyring) -> String {
    let signatures = verify(&Sif::open(path).unwrap(), keyring, NOW).unwrap();
    signatures[0].problem.clone().expect("it holds")
}

#[test]
fn what_is_signed_is_verified_with_keys_of_every_kind() {
    for (name, passphrase, user) in [
        ("plain", "", "Plain Tester <plain@example.org>"),
        (
            "locked",
            "open sesame",
            "Locked Tester <locked@example.org>",
        ),
        ("subkey", "", "Subkey Tester <subkey@example.org>"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let path = signed(scratch.path(), &format!("{name}.secret.asc"), passphrase);
        for ring in [&format!("{name}.asc")[..], "all.gpg"] {
            let sif = Sif::open(&path).unwrap();
            let signatures = verify(&sif, &keyring(&[ring]), NOW).unwrap();
            let groups: Vec<u32> = signatures.iter().map(|it| it.group).collect();
            assert_eq!(groups, [1, 7]);
            for signature in signatures {
                assert_eq!(signature.problem, None, "{name}");
                assert_eq!(signature.signer.as_deref(), Some(user));
                assert_eq!(signature.created, Some(NOW));
            }
        }
        let sif = Sif::open(&path).unwrap();
        let object = sif.object(4).unwrap();
        assert_eq!((object.group, object.link), (None, Link::Group(1)));
        assert_eq!(sif.header().modified, Header::NO_TIME);
        let key = secret(&format!("{name}.secret.asc"), passphrase).unwrap();
        assert_eq!(object.extra()[4..24], *key.fingerprint_bytes());
    }
}

#[test]
fn the_same_signature_is_the_same_bytes() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = signed(one.path(), "locked.secret.asc", "open sesame");
    let bytes = fs_err::read(one).unwrap();
    let other = signed(other.path(), "locked.secret.asc", "open sesame");
    assert!(bytes == fs_err::read(other).unwrap());
}

#[test]
fn any_change_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = signed(scratch.path(), "plain.secret.asc", "");
    let ring = keyring(&["plain.asc"]);
    let whole = fs_err::read(&path).unwrap();
    let change = |at: u64, words: &str| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&whole, 0).unwrap();
        file.write_all_at(&[whole[at as usize] ^ 1], at).unwrap();
        let problem = problem(&path, &ring);
        assert!(problem.contains(words), "{problem}, not {words}");
    };
    let sif = Sif::open(&path).unwrap();
    let (root, message) = (sif.object(3).unwrap().offset, sif.object(4).unwrap().offset);
    change(root + 4999, "object 3 was changed");
    change(50, "the header was changed");
    // This byte belongs to the time of the second object.
    change(4096 + 585 + 41, "the entry of object 2 was changed");
    change(message + 60, "its text was changed");
}

#[test]
fn another_object_in_a_group_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = signed(scratch.path(), "plain.secret.asc", "");
    let ring = keyring(&["plain.asc"]);
    let mut writer = SifWriter::open(&path, None).unwrap();
    let id = writer
        .add(&NewObject::new(DataKind::Generic), b"more")
        .unwrap();
    writer.finish().unwrap();
    assert!(problem(&path, &ring).contains("other objects"));
    let mut writer = SifWriter::open(&path, None).unwrap();
    writer
        .delete(
            id,
            DeleteOptions {
                wipe: false,
                compact: true,
            },
        )
        .unwrap();
    writer.finish().unwrap();
    let signatures = verify(&Sif::open(&path).unwrap(), &ring, NOW).unwrap();
    assert!(signatures.iter().all(|it| it.problem.is_none()));

    let mut writer = SifWriter::open(&path, None).unwrap();
    writer
        .add(&NewObject::new(DataKind::Generic).in_group(None), b"x")
        .unwrap();
    writer.finish().unwrap();
    let error = verify(&Sif::open(&path).unwrap(), &ring, NOW).unwrap_err();
    assert!(
        error.to_string().contains("object 6 is in no group"),
        "{error}"
    );
}

#[test]
fn what_is_not_signed_is_not_verified() {
    let scratch = tempfile::tempdir().unwrap();
    let path = sample(scratch.path());
    let ring = keyring(&["plain.asc"]);
    let refused = |words: &str| {
        let error = verify(&Sif::open(&path).unwrap(), &ring, NOW).unwrap_err();
        assert!(error.to_string().contains(words), "{error}, not {words}");
    };
    refused("group 1 has no signature");
    let key = secret("plain.secret.asc", "").unwrap();
    assert_eq!(sign(&path, &key, &[1], at(NOW)).unwrap(), [4]);
    refused("group 7 has no signature");
    let error = sign(&path, &key, &[2], at(NOW)).unwrap_err();
    assert!(
        error.to_string().contains("no objects in group 2"),
        "{error}"
    );

    let empty = scratch.path().join("empty.sif");
    SifWriter::create(&empty, &SifOptions::default())
        .unwrap()
        .finish()
        .unwrap();
    let error = verify(&Sif::open(&empty).unwrap(), &ring, NOW).unwrap_err();
    assert!(error.to_string().contains("no objects"), "{error}");
    assert!(sign(&empty, &key, &[], at(NOW)).is_err());
}

#[test]
fn keys_that_may_not_sign_are_refused_on_both_sides() {
    let error = secret("expired.secret.asc", "").unwrap_err();
    assert!(error.to_string().contains("has expired"), "{error}");
    let check = |name: &str, signed_as: &str, words: &str| {
        let scratch = tempfile::tempdir().unwrap();
        let path = sample(scratch.path());
        // The key was a month old at that time, and neither expired nor revoked.
        let then = 1_706_745_600;
        let key = SecretKey::load(keys(signed_as), None, "", then).unwrap();
        sign(&path, &key, &[], at(then)).unwrap();
        let problem = problem(&path, &keyring(&[name]));
        assert!(problem.contains(words), "{problem}, not {words}");
    };
    check("expired.asc", "expired.secret.asc", "the key has expired");
    check("revoked.asc", "revoked.secret.asc", "the key was revoked");
    check(
        "plain.asc",
        "expired.secret.asc",
        "is not among those that were given",
    );

    let scratch = tempfile::tempdir().unwrap();
    let path = signed(scratch.path(), "plain.secret.asc", "");
    let sif = Sif::open(&path).unwrap();
    let before = verify(&sif, &keyring(&["plain.asc"]), NOW - 1).unwrap();
    assert!(
        before[0]
            .problem
            .as_ref()
            .unwrap()
            .contains("in the future")
    );
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let check = |result: Result<(), Error>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}, not {words}");
    };
    let load = |name: &str| secret(name, "").map(drop);
    check(load("nowhere"), "failed to read");
    check(load("README.md"), "is no key");
    check(load("all.gpg"), "is no key");
    let add = |name: &str| Keyring::default().add_file(keys(name));
    check(add("nowhere"), "failed to read");
    check(add("README.md"), "is no key");
    let scratch = tempfile::tempdir().unwrap();
    let path = sample(scratch.path());
    let key = secret("locked.secret.asc", "wrong").unwrap();
    check(
        sign(&path, &key, &[], at(NOW)).map(drop),
        "is the passphrase right?",
    );
    assert_eq!(Sif::open(&path).unwrap().descriptors().len(), 3);
    let named = |which| SecretKey::load(keys("plain.secret.asc"), Some(which), "", NOW);
    assert!(named("Plain").is_ok());
    assert!(named("8906 7CD6").is_ok());
    check(named("Locked").map(drop), "no such secret key");
}

#[test]
fn signatures_of_other_kinds_are_named_in_the_error() {
    let check = |bytes: &[u8], words: &str| {
        let scratch = tempfile::tempdir().unwrap();
        let path = sample(scratch.path());
        let mut writer = SifWriter::open(&path, None).unwrap();
        for group in [1, 7] {
            let object = NewObject::new(DataKind::Signature)
                .in_group(None)
                .linked_to(Link::Group(group));
            writer.add(&object, bytes).unwrap();
        }
        writer.finish().unwrap();
        let problem = problem(&path, &keyring(&["plain.asc"]));
        assert!(problem.contains(words), "{problem}, not {words}");
    };
    check(b"{\"payloadType\": \"x\"}", "DSSE");
    check(b"\xff\xfe", "no text");
    check(b"signed, honestly", "no OpenPGP signature");
    let key = secret("plain.secret.asc", "").unwrap();
    let (legacy, _) = key.sign("SIFHASH:\n0123\n", NOW).unwrap();
    check(legacy.as_bytes(), "before 2020");
    // The signature is valid, but its table entry has no fingerprint.
    let (message, _) = key.sign("{}", NOW).unwrap();
    check(message.as_bytes(), "does not say whose");
}

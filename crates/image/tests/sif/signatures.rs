//! Tests of signatures with apptainer: it accepts our signatures, and its signatures are checked
//! here.

use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::Sif;
use condense_image::sif::signature::{Keyring, SecretKey, SignTimes, sign, verify};
use condense_image::sif::{DataKind, NewObject, SifWriter};

use crate::apptainer::{apptainer, base, text};

fn keys(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn at_now() -> SignTimes {
    SignTimes {
        signature: now(),
        table: None,
    }
}

fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u32::try_from(since.unwrap().as_secs()).unwrap()
}

fn verified_by_apptainer(path: &Path, home: &Path) -> Result<String, String> {
    let output = Command::new("apptainer")
        .args(["verify", "--local", text(path)])
        .env("HOME", home)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn apptainer_accepts_what_is_signed_here() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["plain", "locked", "subkey"] {
        let public = keys(&format!("{name}.asc"));
        apptainer(&["key", "import", text(&public)], scratch.path());
        let path = scratch.path().join(name).with_extension("sif");
        fs_err::copy(base(), &path).unwrap();
        let secret = keys(&format!("{name}.secret.asc"));
        let key = SecretKey::load(secret, None, "open sesame", now()).unwrap();
        sign(&path, &key, &[], at_now()).unwrap();
        let said = verified_by_apptainer(&path, scratch.path()).unwrap();
        assert!(said.contains("Tester"), "{said}");

        // Apptainer no longer accepts the signature after an object was added to the signed group.
        let mut writer = SifWriter::open(&path, None).unwrap();
        writer
            .add(&NewObject::new(DataKind::Generic), b"more")
            .unwrap();
        writer.finish().unwrap();
        verified_by_apptainer(&path, scratch.path()).unwrap_err();
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_apptainer_signed_is_checked() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path();
    apptainer(
        &[
            "key",
            "newpair",
            "--name",
            "Real Runtime",
            "--email",
            "real@example.org",
            "--comment",
            "",
            "--password",
            "",
            "--push=false",
        ],
        home,
    );
    let path = home.join("signed.sif");
    fs_err::copy(base(), &path).unwrap();
    apptainer(&["sign", text(&path)], home);
    let mut ring = Keyring::default();
    ring.add_file(home.join(".apptainer/keys/pgp-public"))
        .unwrap();
    let check = || verify(&Sif::open(&path).unwrap(), &ring, now() + 5).unwrap();
    let found = check();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].problem, None, "{found:?}");
    assert!(found[0].signer.as_deref().unwrap().contains("Real Runtime"));

    // The secret key of apptainer signs here as well, in addition to apptainer's own signature.
    let secret = home.join(".apptainer/keys/pgp-secret");
    let key = SecretKey::load(secret, Some("real@example.org"), "", now()).unwrap();
    sign(&path, &key, &[], at_now()).unwrap();
    let found = check();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|it| it.problem.is_none()), "{found:?}");
    verified_by_apptainer(&path, home).unwrap();

    // One bit of the root file system is changed.
    let object = Sif::open(&path).unwrap().primary_partition().unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[object.offset as usize + 1000] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let problem = check()[0].problem.clone().unwrap();
    assert!(problem.contains("object 3 was changed"), "{problem}");
}

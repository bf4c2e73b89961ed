//! Responsible for signatures of SIF files. They are made with OpenPGP keys in the same way as by
//! runtimes, and checked by the same rules.
//!
//! A signature is an object with a relation to a group. It contains a cleartext-signed message. The
//! message has the digests of the header, of every object of the group, and of the table entries of
//! these objects. The positions of objects are not signed.

mod digest;
mod keyring;
mod secret_key;
mod statement;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use pgp::composed::CleartextSignedMessage;
use pgp::crypto::hash::HashAlgorithm;

pub use keyring::Keyring;
pub use secret_key::SecretKey;

use super::{DataKind, Descriptor, Link, NewObject, Sif, SifWriter};
use crate::Error;
use statement::Statement;

/// Maximum size of a signature in bytes. A signature of 4096 objects takes less than a megabyte.
const SIGNATURE_MAX: u64 = 4 << 20;
/// Size of a key fingerprint in bytes. Runtimes support only this size.
const FINGERPRINT_LEN: usize = 20;
/// Size of the field for the fingerprint in a table entry, in bytes.
const ENTITY_LEN: usize = 256;
/// Start of the text that earlier runtimes signed instead of a statement.
const LEGACY_START: &str = "SIFHASH:";

/// Signature in a SIF file, with the result of checking it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature {
    /// Number of the signature object.
    pub id: u32,
    /// Group that the signature covers.
    pub group: u32,
    /// Fingerprint of the signer's key, if the table names one.
    pub fingerprint: Option<String>,
    /// Name of the signer from the key, if the key is known.
    pub signer: Option<String>,
    /// Time of the signature in seconds since 1970, if the signature is valid.
    pub created: Option<u32>,
    /// Reason why the signature is invalid. `None` if it is valid.
    pub problem: Option<String>,
}

/// Times that a signature records, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct SignTimes {
    /// Time in the signature.
    pub signature: u32,
    /// Time in the table, as for [`SifWriter::open`].
    pub table: Option<i64>,
}

/// Signs groups of objects of the SIF file at `path`, or all groups if `groups` is empty. Returns
/// the object numbers of the signatures.
///
/// # Errors
/// Returns [`Error::SifChange`] if there is nothing to sign or no free slot, [`Error::Key`] if the
/// key cannot sign, or [`Error::Io`].
pub fn sign(
    path: &Path,
    key: &SecretKey,
    groups: &[u32],
    times: SignTimes,
) -> Result<Vec<u32>, Error> {
    let sif = Sif::open(path)?;
    let cannot = |problem: String| Error::SifChange {
        path: path.to_owned(),
        problem,
    };
    let known = groups_of(&sif);
    let groups: BTreeSet<u32> = if groups.is_empty() {
        known.clone()
    } else {
        groups.iter().copied().collect()
    };
    if groups.is_empty() {
        return Err(cannot("it has no group of objects to sign".to_owned()));
    }
    if let Some(missing) = groups.iter().find(|group| !known.contains(group)) {
        return Err(cannot(format!("it has no objects in group {missing}")));
    }
    let mut signed = Vec::new();
    for group in groups {
        let text = Statement::for_group(&sif, group)?.render();
        let (message, hash) = key.sign(&text, times.signature)?;
        signed.push((group, message, hash));
    }
    drop(sif);
    let mut writer = SifWriter::open(path, times.table)?;
    let mut ids = Vec::new();
    for (group, message, hash) in signed {
        let mut object = NewObject::new(DataKind::Signature)
            .in_group(None)
            .linked_to(Link::Group(group));
        object.extra.extend(hash_id(hash).to_le_bytes());
        object.extra.extend_from_slice(key.fingerprint_bytes());
        object.extra.resize(4 + ENTITY_LEN, 0);
        ids.push(writer.add(&object, message.as_bytes())?);
    }
    writer.finish()?;
    Ok(ids)
}

/// Returns the number of a hash algorithm in the table, as runtimes define it.
fn hash_id(hash: HashAlgorithm) -> i32 {
    match hash {
        HashAlgorithm::Sha384 => 2,
        HashAlgorithm::Sha512 => 3,
        _ => 1,
    }
}

/// Checks all signatures of a SIF file with the keys in `keyring`, at the time `now` in seconds
/// since 1970.
///
/// # Errors
/// Returns [`Error::Unverified`] if an object is in no group, or if a group has no signature. An
/// invalid signature is no error; its `problem` gives the reason.
pub fn verify(sif: &Sif, keyring: &Keyring, now: u32) -> Result<Vec<Signature>, Error> {
    let unverified = |problem: String| Error::Unverified {
        path: sif.path().to_owned(),
        problem,
    };
    for object in sif.descriptors() {
        if object.group.is_none() && object.kind != DataKind::Signature {
            return Err(unverified(format!(
                "object {} is in no group, so no signature can cover it",
                object.id
            )));
        }
    }
    let groups = groups_of(sif);
    if groups.is_empty() {
        return Err(unverified(
            "it has no objects that could be signed".to_owned(),
        ));
    }
    let mut found = Vec::new();
    for group in groups {
        let before = found.len();
        for object in sif.descriptors() {
            if object.kind == DataKind::Signature && object.link == Link::Group(group) {
                found.push(check(sif, object, group, keyring, now)?);
            }
        }
        if found.len() == before {
            return Err(unverified(format!("group {group} has no signature")));
        }
    }
    Ok(found)
}

/// Returns the groups that objects are in.
fn groups_of(sif: &Sif) -> BTreeSet<u32> {
    let objects = sif.descriptors().iter();
    objects.filter_map(|object| object.group).collect()
}

/// Returns the fingerprint in the table entry of a signature.
fn fingerprint(object: &Descriptor) -> Option<[u8; FINGERPRINT_LEN]> {
    let bytes: [u8; FINGERPRINT_LEN] = object.extra()[4..4 + FINGERPRINT_LEN]
        .try_into()
        .expect("as many bytes");
    (bytes != [0; FINGERPRINT_LEN]).then_some(bytes)
}

fn check(
    sif: &Sif,
    object: &Descriptor,
    group: u32,
    keyring: &Keyring,
    now: u32,
) -> Result<Signature, Error> {
    let fingerprint = fingerprint(object);
    let mut signature = Signature {
        id: object.id,
        group,
        fingerprint: fingerprint.map(hex::encode_upper),
        signer: None,
        created: None,
        problem: None,
    };
    let bytes = sif.read(object, SIGNATURE_MAX)?;
    let text = match signed_text(&bytes, keyring, fingerprint, now, &mut signature) {
        Ok(text) => text,
        Err(problem) => {
            signature.problem = Some(problem);
            return Ok(signature);
        }
    };
    signature.problem = match Statement::parse(&text) {
        Ok(statement) => statement.difference(sif, group)?,
        Err(problem) => Some(problem),
    };
    Ok(signature)
}

/// Returns the text that was signed, if a key of the keyring signed it.
fn signed_text(
    bytes: &[u8],
    keyring: &Keyring,
    fingerprint: Option<[u8; FINGERPRINT_LEN]>,
    now: u32,
    signature: &mut Signature,
) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    if text.trim_start().starts_with('{') {
        return Err(
            "it was made with a key that is not OpenPGP (DSSE), which is not checked here"
                .to_owned(),
        );
    }
    let (message, _) = CleartextSignedMessage::from_string(text)
        .map_err(|error| format!("it is no OpenPGP signature: {error}"))?;
    let plain = message.signed_text();
    if plain.starts_with(LEGACY_START) {
        return Err(
            "it is of the kind that runtimes made before 2020, which leaves out the table: sign again"
                .to_owned(),
        );
    }
    let fingerprint = fingerprint.ok_or("the table does not say whose it is")?;
    let signer = keyring.find(&fingerprint).ok_or_else(|| {
        format!(
            "the key {} is not among those that were given",
            hex::encode_upper(fingerprint)
        )
    })?;
    signature.signer = signer.user();
    let made = signer.verify(&message, now)?;
    signature.created = Some(made);
    Ok(plain)
}

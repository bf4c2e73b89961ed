//! Responsible for the secret keys that sign.

use std::path::{Path, PathBuf};

use pgp::composed::{ArmorOptions, CleartextSignedMessage, Deserializable, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, KeyVersion, Password, SigningKey, Timestamp};

use super::FINGERPRINT_LEN;
use super::keyring::{Signer, read_keys, unusable};
use crate::Error;

/// Secret key with its passphrase.
#[derive(Debug)]
pub struct SecretKey {
    path: PathBuf,
    key: SignedSecretKey,
    /// Index of the subkey that signs. `None` if the primary key signs.
    subkey: Option<usize>,
    passphrase: Password,
    fingerprint: [u8; FINGERPRINT_LEN],
}

impl SecretKey {
    /// Reads the only secret key of a file, or the key whose fingerprint ends with `which` or whose
    /// user ID contains `which`. The key must be allowed to sign at the time `now`, in seconds
    /// since 1970.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key cannot be used, or [`Error::Io`] if the file cannot be
    /// read.
    pub fn load(
        path: impl AsRef<Path>,
        which: Option<&str>,
        passphrase: &str,
        now: u32,
    ) -> Result<SecretKey, Error> {
        let path = path.as_ref();
        let bytes = read_keys(path)?;
        let failed = |error: pgp::errors::Error| unusable(path, error.to_string());
        let (keys, _) = SignedSecretKey::from_reader_many(&bytes[..]).map_err(failed)?;
        let mut keys: Vec<SignedSecretKey> = keys.collect::<Result<_, _>>().map_err(failed)?;
        if let Some(which) = which {
            keys.retain(|key| matches_name(key, which));
        }
        let key = match (keys.pop(), keys.len()) {
            (Some(key), 0) => key,
            (Some(_), others) => {
                return Err(unusable(
                    path,
                    format!(
                        "it holds {} secret keys, and one has to be named",
                        others + 1
                    ),
                ));
            }
            (None, _) => return Err(unusable(path, "it holds no such secret key")),
        };
        if key.primary_key.version() != KeyVersion::V4 {
            return Err(unusable(path, "runtimes know keys of version 4 only"));
        }
        let public = key.to_public_key();
        let subkey = Signer(&public)
            .signing_part(now)
            .map_err(|problem| unusable(path, problem))?;
        let fingerprint = public.primary_key.fingerprint();
        let fingerprint = fingerprint
            .as_bytes()
            .try_into()
            .map_err(|_| unusable(path, "its fingerprint has not 20 bytes"))?;
        Ok(SecretKey {
            path: path.to_owned(),
            key,
            subkey,
            passphrase: Password::from(passphrase),
            fingerprint,
        })
    }

    /// Returns the fingerprint of the key in upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode_upper(self.fingerprint)
    }

    pub(super) fn fingerprint_bytes(&self) -> &[u8; FINGERPRINT_LEN] {
        &self.fingerprint
    }

    /// Returns the cleartext-signed message of `text`, and the hash algorithm of the signature.
    pub(super) fn sign(&self, text: &str, now: u32) -> Result<(String, HashAlgorithm), Error> {
        let signed = match self.subkey {
            None => clear_sign(text, &self.key.primary_key, &self.passphrase, now),
            Some(index) => {
                let subkey = &self.key.secret_subkeys[index].key;
                clear_sign(text, subkey, &self.passphrase, now)
            }
        };
        signed.map_err(|error| {
            unusable(
                &self.path,
                format!("it does not sign; is the passphrase right? ({error})"),
            )
        })
    }
}

/// Returns whether the fingerprint of a key ends with `which` or a user ID contains it.
fn matches_name(key: &SignedSecretKey, which: &str) -> bool {
    let fingerprint = hex::encode(key.primary_key.fingerprint().as_bytes());
    let users = &key.details.users;
    let hex = which.to_ascii_lowercase().replace([' ', ':'], "");
    fingerprint.ends_with(hex.trim_start_matches("0x"))
        || users
            .iter()
            .any(|user| String::from_utf8_lossy(user.id.id()).contains(which))
}

fn clear_sign(
    text: &str,
    key: &impl SigningKey,
    passphrase: &Password,
    now: u32,
) -> pgp::errors::Result<(String, HashAlgorithm)> {
    let hash = match key.hash_alg() {
        known @ (HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => known,
        _ => HashAlgorithm::Sha256,
    };
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), hash);
    let time = SubpacketData::SignatureCreationTime(Timestamp::from_secs(now));
    config.hashed_subpackets = vec![
        Subpacket::regular(time)?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    let issuer = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer)?];
    let message = CleartextSignedMessage::new(text, config, key, passphrase)?;
    Ok((message.to_armored_string(ArmorOptions::default())?, hash))
}

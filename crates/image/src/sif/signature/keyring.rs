//! Responsible for public keys: whether a key may sign, and whether it made a signature.

use std::path::Path;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{Duration, KeyDetails, Tag, Timestamp, VerifyingKey};

use super::FINGERPRINT_LEN;
use crate::Error;

/// Maximum size of a file with keys in bytes.
const KEYS_MAX: u64 = 64 << 20;

/// Public keys for checking signatures.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Adds all keys of a file: armoured text, or binary packets as in the keyring of a runtime.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the file has no key or a key that cannot be read, or [`Error::Io`]
    /// if the file cannot be read.
    pub fn add_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = read_keys(path)?;
        let failed = |error: pgp::errors::Error| unusable(path, error.to_string());
        let (keys, _) = SignedPublicKey::from_reader_many(&bytes[..]).map_err(failed)?;
        let before = self.keys.len();
        for key in keys {
            self.keys.push(key.map_err(failed)?);
        }
        if self.keys.len() == before {
            return Err(unusable(path, "it holds no public key"));
        }
        Ok(())
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the key with this fingerprint.
    pub(super) fn find(&self, fingerprint: &[u8; FINGERPRINT_LEN]) -> Option<Signer<'_>> {
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.primary_key.fingerprint().as_bytes() == fingerprint)?;
        Some(Signer(key))
    }
}

/// Reads the bytes of a file with keys.
pub(super) fn read_keys(path: &Path) -> Result<Vec<u8>, Error> {
    let metadata = fs_err::metadata(path).map_err(Error::io("read", path))?;
    if metadata.len() > KEYS_MAX {
        return Err(unusable(path, "it is too large"));
    }
    condense_input::read(path, KEYS_MAX).map_err(Error::io("read", path))
}

pub(super) fn unusable(path: &Path, problem: impl Into<String>) -> Error {
    Error::Key {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

/// Public key of a signer, with its own statements about validity.
pub(super) struct Signer<'k>(pub(super) &'k SignedPublicKey);

/// Terms of use in the newest valid self-signature of a key.
#[derive(Debug, Clone, Copy)]
struct KeyTerms {
    made: u32,
    may_sign: bool,
    /// Time of expiry in seconds since 1970.
    expires: Option<u32>,
}

impl Signer<'_> {
    /// Returns the user ID of the key: name and e-mail address.
    pub(super) fn user(&self) -> Option<String> {
        let users = &self.0.details.users;
        let primary = users.iter().find(|user| user.is_primary());
        let user = primary.or(users.first())?;
        Some(String::from_utf8_lossy(user.id.id()).into_owned())
    }

    /// Returns the time of the signature in seconds since 1970, if the key or one of its subkeys
    /// made the signature and was allowed to.
    pub(super) fn verify(&self, message: &CleartextSignedMessage, now: u32) -> Result<u32, String> {
        self.check_primary(now)?;
        let text = message.signed_text();
        let mut problem = "it was made by another key than the table says".to_owned();
        for signature in message.signatures() {
            match self.verify_one(signature, &text, now) {
                Ok(made) => return Ok(made),
                Err(Some(found)) => problem = found,
                Err(None) => {}
            }
        }
        Err(problem)
    }

    /// Checks one signature. The error is `None` if another key made the signature.
    fn verify_one(
        &self,
        signature: &Signature,
        text: &str,
        now: u32,
    ) -> Result<u32, Option<String>> {
        let primary = &self.0.primary_key;
        let verified = if is_by(signature, primary) {
            let terms = self.primary_terms();
            check_terms(terms, "the key", now)?;
            signature.verify(primary, text.as_bytes())
        } else if let Some(subkey) = self
            .0
            .public_subkeys
            .iter()
            .find(|it| is_by(signature, &it.key))
        {
            check_terms(self.subkey_terms(subkey)?, "the subkey", now)?;
            signature.verify(&subkey.key, text.as_bytes())
        } else {
            return Err(None);
        };
        verified.map_err(|_| "its text was changed after it was signed".to_owned())?;
        if !matches!(
            signature.hash_alg(),
            Some(
                HashAlgorithm::Sha224
                    | HashAlgorithm::Sha256
                    | HashAlgorithm::Sha384
                    | HashAlgorithm::Sha512
            )
        ) {
            return Err(Some("it was made with a hash that is not safe".to_owned()));
        }
        if !matches!(
            signature.typ(),
            Some(SignatureType::Text | SignatureType::Binary)
        ) {
            return Err(Some("it is no signature of a text".to_owned()));
        }
        let made = signature
            .created()
            .ok_or_else(|| "it does not say when it was made".to_owned())?
            .as_secs();
        if made > now {
            return Err(Some(
                "it was made in the future: is the clock right?".to_owned(),
            ));
        }
        let lasts = signature.signature_expiration_time();
        if lasts
            .is_some_and(|lasts| lasts.as_secs() > 0 && made.saturating_add(lasts.as_secs()) <= now)
        {
            return Err(Some("it has expired".to_owned()));
        }
        Ok(made)
    }

    /// Checks that the key has a valid self-signature and is neither revoked nor expired.
    fn check_primary(&self, now: u32) -> Result<(), String> {
        let primary = &self.0.primary_key;
        let revocations = self.0.details.revocation_signatures.iter();
        if revocations
            .filter(|it| it.typ() == Some(SignatureType::KeyRevocation))
            .any(|it| it.verify_key(primary).is_ok())
        {
            return Err("the key was revoked".to_owned());
        }
        let terms = self
            .primary_terms()
            .ok_or("the key does not vouch for itself")?;
        if terms.expires.is_some_and(|expires| expires <= now) {
            return Err("the key has expired".to_owned());
        }
        Ok(())
    }

    /// Returns the terms in the newest self-signature of the key, on any of its user IDs or on the
    /// key itself.
    fn primary_terms(&self) -> Option<KeyTerms> {
        let primary = &self.0.primary_key;
        let created = primary.created_at().as_secs();
        let mut newest: Option<KeyTerms> = None;
        let mut add = |signature: &Signature| {
            let terms = terms(signature, created);
            if newest.is_none_or(|known| known.made <= terms.made) {
                newest = Some(terms);
            }
        };
        for user in &self.0.details.users {
            let own = || {
                user.signatures.iter().filter(|it| {
                    is_by(it, primary)
                        && it
                            .verify_certification(primary, Tag::UserId, &user.id)
                            .is_ok()
                })
            };
            let revoked = own()
                .filter(|it| it.typ() == Some(SignatureType::CertRevocation))
                .filter_map(|it| Some(it.created()?.as_secs()))
                .max();
            for signature in own().filter(|it| it.typ() != Some(SignatureType::CertRevocation)) {
                let made = signature.created().map_or(0, Timestamp::as_secs);
                if revoked.is_none_or(|revoked| made > revoked) {
                    add(signature);
                }
            }
        }
        for signature in &self.0.details.direct_signatures {
            if signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
            {
                add(signature);
            }
        }
        newest
    }

    /// Returns the terms of a subkey, or an error if the subkey was revoked.
    fn subkey_terms(&self, subkey: &SignedPublicSubKey) -> Result<Option<KeyTerms>, String> {
        let primary = &self.0.primary_key;
        let created = subkey.key.created_at().as_secs();
        let mut newest: Option<KeyTerms> = None;
        for signature in &subkey.signatures {
            if signature
                .verify_subkey_binding(primary, &subkey.key)
                .is_err()
            {
                continue;
            }
            if signature.typ() == Some(SignatureType::SubkeyRevocation) {
                return Err("the subkey was revoked".to_owned());
            }
            let mut terms = terms(signature, created);
            // The subkey must have signed the binding as well. Otherwise any key could claim the
            // signatures of another key's subkey.
            terms.may_sign &= signature
                .embedded_signature()
                .is_some_and(|it| it.verify_primary_key_binding(&subkey.key, primary).is_ok());
            if newest.is_none_or(|known| known.made <= terms.made) {
                newest = Some(terms);
            }
        }
        Ok(newest)
    }

    /// Returns `None` if the key itself can sign, or else the index of the first subkey that can
    /// sign.
    pub(super) fn signing_part(&self, now: u32) -> Result<Option<usize>, String> {
        self.check_primary(now)?;
        if check_terms(self.primary_terms(), "the key", now).is_ok() {
            return Ok(None);
        }
        let subkeys = self.0.public_subkeys.iter();
        subkeys
            .enumerate()
            .find(|(_, subkey)| {
                self.subkey_terms(subkey)
                    .is_ok_and(|terms| check_terms(terms, "the subkey", now).is_ok())
            })
            .map(|(index, _)| Some(index))
            .ok_or_else(|| "neither it nor one of its subkeys may sign".to_owned())
    }
}

fn check_terms(terms: Option<KeyTerms>, which: &str, now: u32) -> Result<(), String> {
    match terms {
        None => Err(format!("{which} is not vouched for")),
        Some(terms) if !terms.may_sign => Err(format!("{which} is not for signing")),
        Some(terms) if terms.expires.is_some_and(|expires| expires <= now) => {
            Err(format!("{which} has expired"))
        }
        Some(_) => Ok(()),
    }
}

fn terms(signature: &Signature, key_created: u32) -> KeyTerms {
    // A self-signature without key flags allows all uses.
    let has_flags = signature.config().is_some_and(|config| {
        let mut packets = config.hashed_subpackets.iter();
        packets.any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    });
    let lasts = signature.key_expiration_time().map_or(0, Duration::as_secs);
    KeyTerms {
        made: signature.created().map_or(0, Timestamp::as_secs),
        may_sign: !has_flags || signature.key_flags().sign(),
        expires: (lasts > 0).then(|| key_created.saturating_add(lasts)),
    }
}

/// Returns whether a signature names this key as its issuer.
fn is_by(signature: &Signature, key: &impl VerifyingKey) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.contains(&&key.fingerprint());
    }
    signature.issuer_key_id().contains(&&key.legacy_key_id())
}

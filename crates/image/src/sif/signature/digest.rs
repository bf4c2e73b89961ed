//! Responsible for the digests in a statement.

use std::io::Read;

use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

/// Bytes that are hashed at once.
const CHUNK_LEN: usize = 1 << 20;

/// A digest as it is written in a statement: the algorithm's name, a colon, and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest(String);

impl Digest {
    /// With the algorithm that runtimes use.
    pub(super) fn of(bytes: impl Read) -> std::io::Result<Digest> {
        Ok(Digest(format!("sha256:{}", hash::<Sha256>(bytes)?)))
    }

    /// From a statement.
    pub(super) fn parse(text: &str) -> Digest {
        Digest(text.to_owned())
    }

    /// As it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether these bytes have this digest. Of an algorithm that is not known here, none have.
    pub(super) fn matches(&self, bytes: impl Read) -> std::io::Result<bool> {
        let Some((algorithm, digits)) = self.0.split_once(':') else {
            return Ok(false);
        };
        let found = match algorithm {
            "sha224" => hash::<Sha224>(bytes)?,
            "sha256" => hash::<Sha256>(bytes)?,
            "sha384" => hash::<Sha384>(bytes)?,
            "sha512" => hash::<Sha512>(bytes)?,
            "sha512_224" => hash::<Sha512_224>(bytes)?,
            "sha512_256" => hash::<Sha512_256>(bytes)?,
            _ => return Ok(false),
        };
        Ok(found.eq_ignore_ascii_case(digits))
    }
}

fn hash<D: sha2::Digest>(mut bytes: impl Read) -> std::io::Result<String> {
    let mut hasher = D::new();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match bytes.read(&mut chunk)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            len => hasher.update(&chunk[..len]),
        }
    }
}

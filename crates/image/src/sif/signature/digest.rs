//! Responsible for the digests in a statement.

use std::io::Read;

use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

/// Number of bytes that are hashed at once.
const CHUNK_LEN: usize = 1 << 20;

/// Digest in the form of a statement: the name of the algorithm, a colon, and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest(String);

impl Digest {
    /// Computes a digest with the algorithm that runtimes use.
    pub(super) fn compute(bytes: impl Read) -> std::io::Result<Digest> {
        Ok(Digest(format!("sha256:{}", hash::<Sha256>(bytes)?)))
    }

    /// Takes a digest from a statement.
    pub(super) fn parse(text: &str) -> Digest {
        Digest(text.to_owned())
    }

    /// Returns the text of the digest.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether these bytes have this digest. The result is false for an unknown algorithm.
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

//! Responsible for digests: parsing them, formatting them, and computing them.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

/// A digest of the form `sha256:` and 64 digits, or `sha512:` and 128 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

impl Digest {
    /// Parses a digest. Returns `None` for another algorithm, and for a wrong number of digits or
    /// digits that are not lower-case hexadecimal.
    pub(crate) fn parse(text: &str) -> Option<Digest> {
        let (name, hex) = text.split_once(':')?;
        let (algorithm, len) = match name {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return None,
        };
        let is_hex = hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (hex.len() == len && is_hex).then(|| Digest {
            algorithm,
            hex: hex.to_owned(),
        })
    }

    /// Returns the SHA-256 digest of the bytes.
    pub(crate) fn sha256(bytes: &[u8]) -> Digest {
        Digest {
            algorithm: Algorithm::Sha256,
            hex: hex::encode(Sha256::digest(bytes)),
        }
    }

    /// Checks whether the bytes have this digest.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// Returns a hasher for a digest of the same algorithm.
    pub(crate) fn hasher(&self) -> Hasher {
        match self.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    /// Returns the directory and the file name under which layouts and caches store the blob with
    /// this digest.
    pub(crate) fn path(&self) -> [&str; 2] {
        [self.algorithm.name(), &self.hex]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A hasher that computes a digest.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        let (algorithm, hex) = match self {
            Hasher::Sha256(hasher) => (Algorithm::Sha256, hex::encode(hasher.finalize())),
            Hasher::Sha512(hasher) => (Algorithm::Sha512, hex::encode(hasher.finalize())),
        };
        Digest { algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_taken_for_digests() {
        let zeros = "0".repeat(64);
        for good in [
            format!("sha256:{zeros}"),
            format!("sha512:{zeros}{zeros}"),
            Digest::sha256(b"x").to_string(),
        ] {
            assert_eq!(
                Digest::parse(&good).map(|d| d.to_string()),
                Some(good.clone())
            );
        }
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            &format!("sha1:{zeros}"),
            &format!("sha256:{zeros}0"),
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}/", &zeros[1..]),
        ] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_have_their_digest_and_no_other() {
        for name in ["sha256", "sha512"] {
            let empty = match name {
                "sha256" => Digest::sha256(b""),
                _ => Digest {
                    algorithm: Algorithm::Sha512,
                    hex: hex::encode(Sha512::digest(b"")),
                },
            };
            assert!(empty.matches(b""));
            assert!(!empty.matches(b"x"));
            assert_eq!(empty.path()[0], name);
        }
    }
}

//! Responsible for the secrets of a desktop: the password of VNC, and the cookie of the X server.

use des::{
    Des,
    cipher::{BlockEncrypt, KeyInit},
};

use crate::{Error, Result};

/// Characters of passwords: letters and digits without those that look alike.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Number of characters of a password. VNC ignores all further ones.
const LEN: usize = 8;
/// Key with which all VNC servers encrypt the password in its file.
const FILE_KEY: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];

/// A random password of VNC.
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// Makes a password from random bytes of the system.
    pub(crate) fn random() -> Result<Self> {
        let mut text = String::new();
        // Bytes from the highest incomplete round of the alphabet would make some letters likelier.
        let most = 256 - 256 % ALPHABET.len();
        while text.len() < LEN {
            for byte in random_bytes::<16>()? {
                let byte = usize::from(byte);
                if byte < most && text.len() < LEN {
                    text.push(char::from(ALPHABET[byte % ALPHABET.len()]));
                }
            }
        }
        Ok(Self(text))
    }

    /// Returns the password, to show it to the user.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the contents of the file from which VNC servers read the password.
    pub(crate) fn as_file(&self) -> [u8; 8] {
        let mut block = [0; 8];
        for (place, byte) in block.iter_mut().zip(self.0.bytes()) {
            *place = byte;
        }
        // VNC's DES reads the bits of a key from the other end.
        let cipher = Des::new(&FILE_KEY.map(u8::reverse_bits).into());
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        block.into()
    }
}

/// Returns the contents of an Xauthority file with a random cookie. The server and the programs
/// read the same file; its only entry holds for every host and every display.
pub(crate) fn xauthority() -> Result<Vec<u8>> {
    const ANY_HOST: u16 = 0xffff;
    const NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";
    let cookie = random_bytes::<16>()?;
    let mut entry = ANY_HOST.to_be_bytes().to_vec();
    for field in [&b""[..], b"", NAME, &cookie] {
        entry.extend(u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
        entry.extend_from_slice(field);
    }
    Ok(entry)
}

fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::NoRandomness {
        cause: error.to_string(),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The expected bytes are those that `vncpasswd -f` of `TigerVNC` has written.
    #[test]
    fn the_file_is_the_one_that_vncpasswd_writes() {
        let file = |text: &str| Password(text.to_owned()).as_file();
        assert_eq!(
            file("password"),
            [0xdb, 0xd8, 0x3c, 0xfd, 0x72, 0x7a, 0x14, 0x58]
        );
        assert_eq!(
            file("abc123"),
            [0x27, 0x5e, 0xa8, 0xd2, 0x55, 0xb0, 0x12, 0xf2]
        );
    }

    #[test]
    fn passwords_differ_and_are_not_shown_by_accident() {
        let (one, other) = (Password::random().unwrap(), Password::random().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        for password in [&one, &other] {
            assert_eq!(password.reveal().len(), LEN);
            assert!(
                password
                    .reveal()
                    .bytes()
                    .all(|byte| ALPHABET.contains(&byte))
            );
            assert!(!format!("{password:?}").contains(password.reveal()));
        }
    }

    #[test]
    fn the_cookie_s_file_has_one_entry_for_all_displays() {
        let (one, other) = (xauthority().unwrap(), xauthority().unwrap());
        assert_eq!(&one[..6], b"\xff\xff\0\0\0\0");
        assert_eq!(&one[6..26], b"\0\x12MIT-MAGIC-COOKIE-1");
        assert_eq!((&one[26..28], one.len()), (&b"\0\x10"[..], 44));
        assert_ne!(one[28..], other[28..]);
    }
}

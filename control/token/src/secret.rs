//! The secrets of an app: wiped when dropped, masked when printed, compared only through a MAC.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::limits::{MAC_BYTES, SECRET_BYTES, SECRETS_PER_APP_MAX};

/// A secret key: 64 hexadecimal characters, which are the HMAC key as ASCII.
///
/// It lives in one heap block (moving it leaves no copy behind), is wiped when dropped, cannot be
/// compared or read back, and `Debug` shows nothing of it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8; SECRET_BYTES]>);

/// Why a file does not hold a secret. Says nothing of its content but its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing in it.
    #[error("it is empty; a secret is 64 hexadecimal characters")]
    Empty,
    /// Not 64 bytes, a line end aside.
    #[error("it holds {bytes} bytes; a secret is 64 hexadecimal characters on one line")]
    Length {
        /// Bytes found, a line end aside.
        bytes: usize,
    },
    /// 64 bytes, but not all of them hexadecimal digits.
    #[error("it has characters other than 0-9 a-f A-F; a secret is 64 hexadecimal characters")]
    NotHexadecimal,
}

impl Secret {
    /// Reads a secret file's content: 64 hexadecimal characters and at most one line end.
    pub fn from_file_content(content: &[u8]) -> Result<Secret, SecretError> {
        let line = content.strip_suffix(b"\n").unwrap_or(content);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(SecretError::Empty);
        }
        if line.len() != SECRET_BYTES {
            return Err(SecretError::Length { bytes: line.len() });
        }
        if !line.iter().all(u8::is_ascii_hexdigit) {
            return Err(SecretError::NotHexadecimal);
        }
        let mut key = Box::new([0; SECRET_BYTES]);
        key.copy_from_slice(line);
        Ok(Secret(key))
    }

    /// HMAC-SHA256 over `text` under this secret.
    pub(crate) fn mac(&self, text: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes a key of any length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(masked)")
    }
}

/// An app and the secrets that may have signed its tokens, in no particular order.
#[derive(Debug, Clone)]
pub struct AppKeys {
    app: u32,
    secrets: Vec<Secret>,
}

/// The number of secrets is not 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an app has 1 to 4 secrets, not {count}")]
pub struct AppKeysError {
    /// How many were given.
    pub count: usize,
}

impl AppKeys {
    /// The keys of `app` (its SdkAppId): 1 to 4 secrets, several while one is rotated out.
    pub fn new(app: u32, secrets: Vec<Secret>) -> Result<AppKeys, AppKeysError> {
        if secrets.is_empty() || secrets.len() > SECRETS_PER_APP_MAX {
            return Err(AppKeysError { count: secrets.len() });
        }
        Ok(AppKeys { app, secrets })
    }

    /// The SdkAppId.
    pub fn app(&self) -> u32 {
        self.app
    }

    /// Whether `mac` is the MAC of `text` under any of the secrets.
    ///
    /// All secrets are tried whatever the outcome, so time does not tell which one matched.
    pub(crate) fn authenticates(&self, text: &[u8], mac: &[u8; MAC_BYTES]) -> bool {
        let matched = self
            .secrets
            .iter()
            .fold(Choice::from(0), |so_far, secret| so_far | secret.mac(text).ct_eq(mac));
        matched.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    #[test]
    fn a_secret_file_is_64_hexadecimal_characters_and_at_most_one_line_end() {
        for good in [HEX.to_owned(), format!("{HEX}\n"), format!("{HEX}\r\n")] {
            assert!(Secret::from_file_content(good.as_bytes()).is_ok());
        }
        let refuse = |content: &str| Secret::from_file_content(content.as_bytes()).unwrap_err();
        assert_eq!(refuse(""), SecretError::Empty);
        assert_eq!(refuse("\n"), SecretError::Empty);
        assert_eq!(refuse(&HEX[1..]), SecretError::Length { bytes: 63 });
        assert_eq!(refuse(&format!("{HEX}\n\n")), SecretError::Length { bytes: 65 });
        assert_eq!(refuse(&format!(" {HEX}")), SecretError::Length { bytes: 65 });
        assert_eq!(refuse(&HEX.replace('0', "g")), SecretError::NotHexadecimal);
    }

    #[test]
    fn no_printed_form_shows_a_secret() {
        let keys = AppKeys::new(7, vec![Secret::from_file_content(HEX.as_bytes()).unwrap()]);
        let printed = format!("{:?} {:#?}", keys, keys);
        assert!(printed.contains("masked") && !printed.contains("0011"), "{printed}");
        let error = Secret::from_file_content(HEX.replace('f', "x").as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("1122"));
    }

    /// RFC 4231 has no 64-byte key; the value is from Python's hmac module.
    #[test]
    fn the_key_is_the_ascii_text_and_not_its_decoded_bytes() {
        let secret = Secret::from_file_content(HEX.as_bytes()).unwrap();
        let hex: String = secret.mac(b"roomlane").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "887344ec62aebfec6f1f85785abf0495db33768b04f8cc27637aa3bea710ddbe");
    }

    #[test]
    fn any_of_up_to_four_secrets_authenticates() {
        let secret = |n: u8| Secret::from_file_content(&[b'0' + n; 64]).unwrap();
        let keys = AppKeys::new(7, (0..4).map(secret).collect()).unwrap();
        for n in 0..4 {
            assert!(keys.authenticates(b"text", &secret(n).mac(b"text")), "secret {n}");
        }
        assert!(!keys.authenticates(b"text", &secret(4).mac(b"text")));
        assert!(!keys.authenticates(b"other", &secret(0).mac(b"text")));
        let count = |n: u8| AppKeys::new(7, (0..n).map(secret).collect()).map(drop);
        assert_eq!(count(0), Err(AppKeysError { count: 0 }));
        assert_eq!(count(5), Err(AppKeysError { count: 5 }));
    }
}

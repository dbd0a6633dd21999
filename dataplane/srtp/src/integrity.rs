//! HMAC-SHA1 (RFC 2104) over pieces, for the MESSAGE-INTEGRITY of STUN (RFC 8489 section 14.5). The
//! key of ICE is the password as it is (section 9.1.1).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// An HMAC-SHA1 key whose padded halves are hashed already: a third of the time of a short message.
/// Wiped when dropped, never printed.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// Takes a key of any length.
    pub fn new(key: &[u8]) -> IntegrityKey {
        IntegrityKey(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The HMAC of all parts in order, as if they were one.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 20] {
        let mut hmac = self.0.clone();
        for part in parts {
            hmac.update(part);
        }
        hmac.finalize().into_bytes().into()
    }

    /// Whether `tag` is the HMAC of the parts; takes the same time wherever they differ.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 20]) -> bool {
        self.sign(parts).ct_eq(tag).into()
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey(masked)")
    }
}

/// [`IntegrityKey::sign`] with a key that is used once.
pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    IntegrityKey::new(key).sign(parts)
}

/// [`IntegrityKey::verify`] with a key that is used once.
#[must_use]
pub fn hmac_sha1_verify(key: &[u8], parts: &[&[u8]], tag: &[u8; 20]) -> bool {
    IntegrityKey::new(key).verify(parts, tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(tag: [u8; 20]) -> String {
        tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_vectors_of_rfc_2202_hold() {
        let what = b"what do ya want for nothing?";
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let cases: [(&[u8], &[u8], &str); 4] = [
            (&[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
            (b"Jefe", what, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
            (&[0xaa; 80], long, "aa4ae5e15272d00e95705637ce8a3b55ed402112"),
        ];
        for (key, data, tag) in cases {
            assert_eq!(hex(hmac_sha1(key, &[data])), tag);
        }
    }

    #[test]
    fn pieces_are_hashed_as_if_they_were_one() {
        let data: Vec<u8> = (0..200).collect();
        let key = IntegrityKey::new(b"password");
        let whole = key.sign(&[&data]);
        for at in 0..=data.len() {
            let (front, back) = data.split_at(at);
            assert_eq!(key.sign(&[front, &[], back]), whole);
        }
    }

    #[test]
    fn one_wrong_bit_of_tag_or_data_is_refused() {
        let key = IntegrityKey::new(b"password");
        let tag = key.sign(&[b"data"]);
        assert!(key.verify(&[b"da", b"ta"], &tag));
        assert!(!key.verify(&[b"datb"], &tag));
        for bit in 0..160 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&[b"data"], &wrong), "bit {bit}");
            assert!(!hmac_sha1_verify(b"password", &[b"data"], &wrong), "bit {bit}");
        }
        assert!(!hmac_sha1_verify(b"Password", &[b"data"], &tag));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", IntegrityKey::new(b"secret")), "IntegrityKey(masked)");
    }
}

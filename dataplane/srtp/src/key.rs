//! Master and session keys: fixed arrays, wiped when dropped, never printed.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::kdf;
use crate::profile::{MASTER_LEN_MAX, Profile};

/// A master key did not fit its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key of {profile} with its salt has {expected} bytes, not {found}")]
pub struct KeyError {
    /// The profile the key was meant for.
    pub profile: Profile,
    /// Bytes of key and salt that the profile wants.
    pub expected: usize,
    /// Bytes that were there.
    pub found: usize,
}

/// The master key and master salt of one direction of one session.
#[derive(ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    profile: Profile,
    bytes: [u8; MASTER_LEN_MAX],
}

impl MasterKey {
    /// Takes key and salt in one piece, key first: the order of SDES (RFC 4568 section 6.1).
    ///
    /// # Errors
    /// [`KeyError`] when the length is not [`Profile::master_len`].
    pub fn new(profile: Profile, key_and_salt: &[u8]) -> Result<MasterKey, KeyError> {
        let expected = profile.master_len();
        if key_and_salt.len() != expected {
            return Err(KeyError { profile, expected, found: key_and_salt.len() });
        }
        let mut bytes = [0; MASTER_LEN_MAX];
        bytes[..expected].copy_from_slice(key_and_salt);
        Ok(MasterKey { profile, bytes })
    }

    /// The profile that this key belongs to.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The session keys for SRTP and SRTCP, at a key derivation rate of 0.
    pub fn session_keys(&self) -> SessionKeys {
        kdf::session_keys(self)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.profile.key_len()]
    }

    pub(crate) fn salt(&self) -> &[u8] {
        &self.bytes[self.profile.key_len()..self.profile.master_len()]
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, masked)", self.profile)
    }
}

/// What the key derivation yields for one direction.
#[derive(Debug)]
pub struct SessionKeys {
    /// For RTP packets.
    pub rtp: KeyMaterial,
    /// For RTCP compounds.
    pub rtcp: KeyMaterial,
}

/// Session key, authentication key and salt, each as long as the profile says.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial {
    #[zeroize(skip)]
    pub(crate) profile: Profile,
    pub(crate) key: [u8; 32],
    pub(crate) auth: [u8; 20],
    pub(crate) salt: [u8; 14],
}

impl KeyMaterial {
    /// Session keys that are known already, as the vectors of the RFCs have them.
    /// Everything else derives them by [`MasterKey::session_keys`].
    ///
    /// # Panics
    /// When a length is not the profile's.
    pub fn from_parts(profile: Profile, key: &[u8], auth: &[u8], salt: &[u8]) -> KeyMaterial {
        let mut material = KeyMaterial { profile, key: [0; 32], auth: [0; 20], salt: [0; 14] };
        material.key[..profile.key_len()].copy_from_slice(key);
        material.auth[..profile.auth_key_len()].copy_from_slice(auth);
        material.salt[..profile.salt_len()].copy_from_slice(salt);
        material
    }

    /// The profile that the keys belong to.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The cipher's session key.
    pub fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_len()]
    }

    /// The authentication key; empty under an AEAD profile.
    pub fn auth(&self) -> &[u8] {
        &self.auth[..self.profile.auth_key_len()]
    }

    /// The session salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt[..self.profile.salt_len()]
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({}, masked)", self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        for profile in Profile::ALL {
            for len in 0..64 {
                let made = MasterKey::new(profile, &vec![0; len]);
                assert_eq!(made.is_ok(), len == profile.master_len(), "{profile} {len}");
            }
        }
    }

    #[test]
    fn debug_output_holds_no_key_bytes() {
        let master = MasterKey::new(Profile::AeadAes128Gcm, &[0xA5; 28]).unwrap();
        let text = format!("{master:?} {:?} {:#?}", master.session_keys(), master.session_keys());
        for canary in ["165", "a5", "A5", "["] {
            assert!(!text.contains(canary), "{text}");
        }
    }

    #[test]
    fn zeroize_clears_every_secret_byte() {
        let mut keys =
            MasterKey::new(Profile::AesCm128HmacSha1_80, &[7; 30]).unwrap().session_keys();
        keys.rtp.zeroize();
        assert_eq!((keys.rtp.key, keys.rtp.auth, keys.rtp.salt), ([0; 32], [0; 20], [0; 14]));
    }
}

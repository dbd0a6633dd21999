//! What a handshake is for: the master keys of SRTP (RFC 5764 section 4.2).

use std::fmt;

use openssl::srtp::SrtpProfileId;
use openssl::ssl::SslRef;
use zeroize::Zeroizing;

/// The protection profiles we accept (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AEAD_AES_128_GCM: key of 16 bytes, salt of 12.
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM: key of 32 bytes, salt of 12.
    AeadAes256Gcm,
    /// AES128_CM_HMAC_SHA1_80: key of 16 bytes, salt of 14.
    AesCm128HmacSha1_80,
}

/// OpenSSL's names, ours first: its server takes the first of this list that the client offers.
pub(crate) const PROFILES: &str =
    "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80";

const LABEL: &str = "EXTRACTOR-dtls_srtp";

impl Profile {
    /// Bytes of a master key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::AesCm128HmacSha1_80 => 14,
        }
    }

    /// OpenSSL's name of it.
    #[cfg(feature = "client")]
    pub(crate) const fn library_name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
            Self::AesCm128HmacSha1_80 => "SRTP_AES128_CM_SHA1_80",
        }
    }

    /// What was agreed on, if anything we know.
    pub(crate) fn of(ssl: &SslRef) -> Option<Self> {
        match ssl.selected_srtp_profile()?.id() {
            SrtpProfileId::SRTP_AEAD_AES_128_GCM => Some(Self::AeadAes128Gcm),
            SrtpProfileId::SRTP_AEAD_AES_256_GCM => Some(Self::AeadAes256Gcm),
            SrtpProfileId::SRTP_AES128_CM_SHA1_80 => Some(Self::AesCm128HmacSha1_80),
            _ => None,
        }
    }
}

/// Master keys of both directions, each the key followed by the salt. Wiped when dropped.
pub struct Keys {
    /// What they are for.
    pub profile: Profile,
    /// What the peer seals with: it is the DTLS client.
    pub client: Zeroizing<Vec<u8>>,
    /// What we seal with.
    pub server: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// Draws the keys from a finished handshake: both keys, then both salts, the client's first.
    pub(crate) fn export(
        ssl: &SslRef,
        profile: Profile,
    ) -> Result<Self, openssl::error::ErrorStack> {
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let mut material = Zeroizing::new(vec![0; 2 * (key + salt)]);
        ssl.export_keying_material(&mut material, LABEL, None)?;
        let (keys, salts) = material.split_at(2 * key);
        let side = |key: &[u8], salt: &[u8]| Zeroizing::new([key, salt].concat());
        Ok(Self {
            profile,
            client: side(&keys[..key], &salts[..salt]),
            server: side(&keys[key..], &salts[salt..]),
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

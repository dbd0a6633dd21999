//! The protection profiles we speak and their sizes, in bytes.

use std::fmt;
use std::str::FromStr;

/// The longest master key with its salt: AEAD_AES_256_GCM.
pub const MASTER_LEN_MAX: usize = 44;
/// The most that SRTP or SRTCP adds to a packet under any profile.
pub const OVERHEAD_MAX: usize = 20;

/// A protection profile: cipher, tag and key sizes (RFC 3711, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// RFC 7714 section 14.1.
    AeadAes128Gcm,
    /// RFC 7714 section 14.1.
    AeadAes256Gcm,
    /// RFC 4568 section 6.2.1, for older clients.
    AesCm128HmacSha1_80,
}

impl Profile {
    /// Every profile, in the order in which we prefer them.
    pub const ALL: [Profile; 3] =
        [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

    /// Length of the master key and of the cipher's session keys.
    pub const fn key_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AesCm128HmacSha1_80 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt and of the session salts.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            Profile::AesCm128HmacSha1_80 => 14,
        }
    }

    /// Length of the master key with its salt, as SDES and DTLS-SRTP carry them.
    pub const fn master_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Length of the session authentication key; 0 where the cipher authenticates.
    pub const fn auth_key_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 0,
            Profile::AesCm128HmacSha1_80 => 20,
        }
    }

    /// What SRTP adds to an RTP packet.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::AesCm128HmacSha1_80 => 10,
        }
    }

    /// What SRTCP adds to a compound packet: the tag and the word of E flag and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_tag_len() + 4
    }

    /// The name in `a=crypto` (RFC 4568 section 6.2, RFC 7714 section 14.1).
    pub const fn sdes_name(self) -> &'static str {
        match self {
            Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Profile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        }
    }
}

const _: () = {
    let mut at = 0;
    while at < Profile::ALL.len() {
        assert!(Profile::ALL[at].master_len() <= MASTER_LEN_MAX);
        assert!(Profile::ALL[at].rtcp_overhead() <= OVERHEAD_MAX);
        at += 1;
    }
};

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sdes_name())
    }
}

/// The peer named a crypto suite that we do not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown SRTP crypto suite")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    /// Reads an SDES name. Suite names are compared as written (RFC 4568 section 9.1 has them in
    /// capitals; no client is known that writes them otherwise).
    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL.into_iter().find(|p| p.sdes_name() == name).ok_or(UnknownProfile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdes_names_read_back_and_others_are_refused() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        for name in ["", "AES_CM_128_HMAC_SHA1_32", "NULL_HMAC_SHA1_80", "aead_aes_128_gcm"] {
            assert_eq!(name.parse::<Profile>(), Err(UnknownProfile), "{name}");
        }
    }

    #[test]
    fn sizes_are_those_of_the_rfcs() {
        let sizes = Profile::ALL.map(|p| (p.key_len(), p.salt_len(), p.rtp_tag_len()));
        assert_eq!(sizes, [(16, 12, 16), (32, 12, 16), (16, 14, 10)]);
        assert_eq!(Profile::ALL.map(Profile::master_len), [28, 44, 30]);
        assert_eq!(Profile::ALL.map(Profile::rtcp_overhead), [20, 20, 14]);
    }
}

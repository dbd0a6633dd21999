//! Fingerprints of certificates, as session descriptions carry them (RFC 8122 section 5).

use std::fmt;
use std::str::FromStr;

use openssl::hash::MessageDigest;
use openssl::x509::X509Ref;
use subtle::ConstantTimeEq;

/// Hash functions a fingerprint may use. MD5 and SHA-1 are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `sha-256`
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in a session description.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of its digests.
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// The digest of a certificate. Compared in constant time.
#[derive(Clone)]
pub struct Fingerprint {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

/// Why a fingerprint was not read: the fault is in the session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Not `sha-256`, `sha-384` or `sha-512`.
    #[error("the fingerprint's hash function is not sha-256, sha-384 or sha-512")]
    Algorithm,
    /// Not as many pairs of hexadecimal digits, separated by colons, as the hash function yields.
    #[error("the fingerprint is not the hash function's length in pairs of hexadecimal digits")]
    Digest,
}

impl Fingerprint {
    /// A fingerprint from its digest.
    pub fn new(algorithm: Algorithm, digest: &[u8]) -> Result<Self, FingerprintError> {
        if digest.len() != algorithm.digest_bytes() {
            return Err(FingerprintError::Digest);
        }
        Ok(Self { algorithm, digest: digest.to_vec() })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The fingerprint of a certificate.
    pub(crate) fn of(
        certificate: &X509Ref,
        algorithm: Algorithm,
    ) -> Result<Self, openssl::error::ErrorStack> {
        let digest = certificate.digest(algorithm.digest())?;
        Ok(Self { algorithm, digest: digest.to_vec() })
    }

    /// Whether the certificate is the one this fingerprint was made of.
    pub(crate) fn matches(&self, certificate: &X509Ref) -> bool {
        Self::of(certificate, self.algorithm).is_ok_and(|found| found == *self)
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && bool::from(self.digest.ct_eq(&other.digest))
    }
}

impl Eq for Fingerprint {}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads the value of `a=fingerprint`: `sha-256 0A:1B:…`. Case does not matter.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let (name, digits) = text.trim().split_once(' ').ok_or(FingerprintError::Digest)?;
        let algorithm = Algorithm::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name));
        let algorithm = algorithm.ok_or(FingerprintError::Algorithm)?;
        let pair = |pair: &str| {
            let is_pair = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
            is_pair.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        };
        // One more than wanted is enough to see that there are too many.
        let pairs = digits.split(':').take(algorithm.digest_bytes() + 1).map(pair);
        let digest = pairs.collect::<Option<Vec<u8>>>().ok_or(FingerprintError::Digest)?;
        Self::new(algorithm, &digest)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        for (at, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_as_it_was_written() {
        for algorithm in Algorithm::ALL {
            let digest: Vec<u8> = (0..algorithm.digest_bytes() as u8).map(|b| b ^ 0xa5).collect();
            let print = Fingerprint::new(algorithm, &digest).unwrap();
            let text = print.to_string();
            assert_eq!(text.parse(), Ok(print.clone()));
            assert_eq!(text.to_ascii_lowercase().parse(), Ok(print));
        }
    }

    #[test]
    fn weak_hashes_and_wrong_lengths_are_refused() {
        let pairs = |n: usize| vec!["AB"; n].join(":");
        let read = |text: String| text.parse::<Fingerprint>();
        assert_eq!(read(format!("md5 {}", pairs(16))), Err(FingerprintError::Algorithm));
        assert_eq!(read(format!("sha-1 {}", pairs(20))), Err(FingerprintError::Algorithm));
        for n in [0, 1, 31, 33, 64, 10_000] {
            assert_eq!(read(format!("sha-256 {}", pairs(n))), Err(FingerprintError::Digest));
        }
        for bad in ["sha-256", "", "sha-256 A", "sha-256 +A:BC", "sha-256 ÄB"] {
            assert!(read(bad.into()).is_err(), "{bad}");
        }
        assert!(read(format!("sha-256 {}", pairs(32).replacen(':', "", 1))).is_err());
        assert!(read(format!("sha-256 {}", pairs(32))).is_ok());
    }

    #[test]
    fn one_bit_or_another_algorithm_makes_them_different() {
        let print = Fingerprint::new(Algorithm::Sha256, &[7; 32]).unwrap();
        let mut other = [7; 32];
        other[31] ^= 1;
        assert_ne!(print, Fingerprint::new(Algorithm::Sha256, &other).unwrap());
        assert_ne!(print, Fingerprint::new(Algorithm::Sha384, &[7; 48]).unwrap());
    }
}

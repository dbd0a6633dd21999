//! Our certificate and the settings all handshakes share.

use core::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509NameBuilder};

use crate::keys::PROFILES;
use crate::limits::{BACKDATE, UNIX_S_MAX, VALID_MAX};
use crate::{Algorithm, Fingerprint, SetupError};

const SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                      ECDHE-ECDSA-CHACHA20-POLY1305";
const GROUPS: &str = "X25519:P-256";
const SIGNATURES: &str = "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA384:\
                          RSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA512:RSA+SHA512";
/// What a certificate says of us: nothing that tells one node from another.
const COMMON_NAME: &str = "roomlane";
/// Bits of a serial number: positive, and within the 20 bytes of RFC 5280 section 4.1.2.2.
const SERIAL_BITS: i32 = 127;

/// A P-256 key, its self-signed certificate, and one library context for all handshakes with it:
/// sharing the context halves what a handshake costs.
///
/// To rotate, make another one. Handshakes keep the one they began with.
pub struct Identity {
    pub(crate) context: SslContext,
    fingerprint: Fingerprint,
    expires_unix_s: u64,
}

impl Identity {
    /// A new key and a certificate valid from a day before `unix_now_s` (seconds since 1970) until
    /// `valid` after it.
    ///
    /// # Errors
    /// `valid` is zero or too long, the time is beyond any certificate, or the library failed.
    pub fn generate(valid: Duration, unix_now_s: u64) -> Result<Self, SetupError> {
        if valid.as_secs() == 0 || valid > VALID_MAX {
            return Err(SetupError::Validity);
        }
        let expires_unix_s = unix_now_s.saturating_add(valid.as_secs());
        if expires_unix_s > UNIX_S_MAX {
            return Err(SetupError::Validity);
        }
        let unix = |s: u64| {
            let s = i64::try_from(s).map_err(|_| SetupError::Validity)?;
            Asn1Time::from_unix(s).map_err(|_| SetupError::Validity)
        };
        let begins = unix(unix_now_s.saturating_sub(BACKDATE.as_secs()))?;
        let ends = unix(expires_unix_s)?;
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;
        let certificate = certificate(&key, &begins, &ends)?;
        Ok(Self {
            fingerprint: Fingerprint::of(&certificate, Algorithm::Sha256)?,
            context: context(&key, &certificate)?,
            expires_unix_s,
        })
    }

    /// What our session descriptions announce.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn expires_unix_s(&self) -> u64 {
        self.expires_unix_s
    }
}

/// When the first certificate of a PEM file ends, in seconds since 1970.
///
/// # Errors
/// There is none, or it ended before 1970.
pub fn certificate_expiry(pem: &[u8]) -> Result<u64, SetupError> {
    let certificate = X509::from_pem(pem)?;
    let since = Asn1Time::from_unix(0)?.diff(certificate.not_after())?;
    let seconds = i64::from(since.days) * 24 * 3600 + i64::from(since.secs);
    u64::try_from(seconds).map_err(|_| SetupError::Validity)
}

fn certificate(
    key: &PKey<Private>,
    begins: &Asn1Time,
    ends: &Asn1Time,
) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", COMMON_NAME)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(begins)?;
    builder.set_not_after(ends)?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn context(key: &PKey<Private>, certificate: &X509) -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::dtls_server())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_cipher_list(SUITES)?;
    context.set_groups_list(GROUPS)?;
    context.set_sigalgs_list(SIGNATURES)?;
    context.set_tlsext_use_srtp(PROFILES)?;
    context.set_certificate(certificate)?;
    context.set_private_key(key)?;
    context.check_private_key()?;
    // Each handshake brings its own question to the certificate. One without must fail.
    context
        .set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| {
            false
        });
    Ok(context.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn every_identity_is_another_and_ends_when_it_says() {
        let one = Identity::generate(30 * DAY, 1_800_000_000).unwrap();
        let two = Identity::generate(30 * DAY, 1_800_000_000).unwrap();
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.expires_unix_s(), 1_800_000_000 + 30 * 24 * 3600);
        let (one, two) = (one.context.certificate().unwrap(), two.context.certificate().unwrap());
        let serial = |c: &X509Ref| c.serial_number().to_bn().unwrap();
        assert_ne!(serial(one), serial(two));
        assert!(*one.not_before() == Asn1Time::from_unix(1_800_000_000 - 24 * 3600).unwrap());
        assert!(*one.not_after() == Asn1Time::from_unix(1_800_000_000 + 30 * 24 * 3600).unwrap());
        let pem = one.to_pem().unwrap();
        assert_eq!(certificate_expiry(&pem).unwrap(), 1_800_000_000 + 30 * 24 * 3600);
        assert!(certificate_expiry(b"-----BEGIN CERTIFICATE-----\n").is_err());
    }

    use openssl::x509::X509Ref;

    #[test]
    fn impossible_validities_are_refused() {
        for (valid, now) in [
            (Duration::ZERO, 1_800_000_000),
            (VALID_MAX + DAY, 1_800_000_000),
            (DAY, u64::MAX),
            (DAY, u64::MAX / 2),
            (DAY, UNIX_S_MAX),
        ] {
            let made = Identity::generate(valid, now);
            assert!(matches!(made, Err(SetupError::Validity)), "{valid:?} {now}");
        }
    }
}

//! Why a handshake ended, and why one could not begin.

/// Why a ClientHello or a handshake was refused. Carries nothing of keys or certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer's certificate matches no announced fingerprint (RFC 5763 section 5), or has a key
    /// below [`RSA_BITS_MIN`](crate::limits::RSA_BITS_MIN).
    #[error("the peer's certificate matches no announced fingerprint, or its key is weak")]
    Certificate,
    /// The peer has no certificate.
    #[error("the peer shows no certificate")]
    NoCertificate,
    /// The peer offers no SRTP profile that we have, or none at all (RFC 5764 section 4.1).
    #[error("the peer offers no SRTP profile that is served here")]
    NoProfile,
    /// The peer does not use the extended master secret (RFC 7627).
    #[error("the peer does not use the extended master secret")]
    NoExtendedMasterSecret,
    /// The peer cannot speak DTLS 1.2.
    #[error("the peer does not speak DTLS 1.2")]
    Version,
    /// No cipher suite, group or signature algorithm in common.
    #[error("no cipher suite, group or signature algorithm in common")]
    NoCommonAlgorithm,
    /// We repeated ourselves until the library gave up.
    #[error("the peer does not answer")]
    Silent,
    /// Anything else the protocol forbids, in the library's words.
    #[error("DTLS: {0}")]
    Protocol(&'static str),
}

/// Why an identity or a handshake could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No fingerprint to expect, or more than
    /// [`FINGERPRINTS_MAX`](crate::limits::FINGERPRINTS_MAX): the caller's mistake.
    #[error("a handshake needs one to eight fingerprints, not {0}")]
    Fingerprints(usize),
    /// Outside [`MTU_MIN`](crate::limits::MTU_MIN) and [`MTU_MAX`](crate::limits::MTU_MAX): the
    /// caller's mistake.
    #[error("datagrams of {0} bytes are outside the limits")]
    Mtu(u16),
    /// A validity of nothing or over [`VALID_MAX`](crate::limits::VALID_MAX), or a time that no
    /// certificate can hold: the caller's mistake.
    #[error("a certificate cannot be valid like this")]
    Validity,
    /// The library failed: out of memory, out of randomness, or lacking an algorithm.
    #[error("OpenSSL: {0}")]
    Library(String),
}

impl From<openssl::error::ErrorStack> for SetupError {
    fn from(stack: openssl::error::ErrorStack) -> Self {
        Self::Library(stack.to_string())
    }
}

/// What the library's errors mean to us.
pub(crate) fn of(stack: Option<&openssl::error::ErrorStack>) -> Refusal {
    // The first error of the queue is the cause; later ones say who passed it on.
    let reason = stack.and_then(|stack| stack.errors().first()).and_then(|error| error.reason());
    match reason.unwrap_or("no reason given") {
        "certificate verify failed" => Refusal::Certificate,
        "peer did not return a certificate" => Refusal::NoCertificate,
        "unsupported protocol" | "version too low" | "wrong version number" => Refusal::Version,
        "no shared cipher"
        | "no shared signature algorithms"
        | "no shared groups"
        | "wrong signature type" => Refusal::NoCommonAlgorithm,
        "read timeout expired" => Refusal::Silent,
        other => Refusal::Protocol(other),
    }
}

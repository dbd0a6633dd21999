//! Keys in session descriptions (RFC 4568): `a=crypto` lines, and which of them we take.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::command::KEY_MAX;
use proto::{KeyMaterial, List, SrtpProfile};
use zeroize::Zeroizing;

/// Our order of preference.
const PREFERENCE: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80];

/// Packets a key may protect at least, as its lifetime says; shorter ones we could not honour.
const LIFETIME_MIN_BITS: u32 = 31;

/// The line that we take.
#[derive(Debug, Clone, Copy)]
pub struct Crypto {
    /// Repeated in the answer.
    pub tag: u32,
    /// The suite.
    pub profile: SrtpProfile,
    /// The peer protects with it.
    pub key: KeyMaterial,
}

/// Why there is no acceptable line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdesError {
    /// A line of a suite we know is malformed: base64, key length, tag.
    Malformed(&'static str),
    /// No line is acceptable.
    NoneAcceptable,
}

/// The name of a suite (RFC 4568, RFC 7714).
pub const fn suite_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        SrtpProfile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
    }
}

/// Bytes of master key and salt together.
pub const fn key_bytes(profile: SrtpProfile) -> usize {
    match profile {
        SrtpProfile::AeadAes128Gcm => 16 + 12,
        SrtpProfile::AeadAes256Gcm => 32 + 12,
        SrtpProfile::AesCm128HmacSha1_80 => 16 + 14,
    }
}

/// Chooses among the values of all `a=crypto` lines of one m-section: our preference first, then the
/// peer's order. Lines with an unknown suite, an MKI, several keys, session parameters (such as
/// UNENCRYPTED_SRTP) or a short lifetime are passed over.
///
/// # Errors
/// [`SdesError`]; it never carries anything of a key.
pub fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Result<Crypto, SdesError> {
    let mut best: Option<(usize, Crypto)> = None;
    let mut tags = Vec::new();
    for value in values {
        let (tag, crypto) = parse(value)?;
        if tags.contains(&tag) {
            return Err(SdesError::Malformed("two lines have one tag"));
        }
        tags.push(tag);
        let Some(crypto) = crypto else { continue };
        let rank = PREFERENCE.iter().position(|profile| *profile == crypto.profile);
        let rank = rank.expect("every profile has a preference");
        if best.as_ref().is_none_or(|(best_rank, _)| rank < *best_rank) {
            best = Some((rank, crypto));
        }
    }
    best.map(|(_, crypto)| crypto).ok_or(SdesError::NoneAcceptable)
}

/// One line: its tag, and its content when it is acceptable.
fn parse(value: &str) -> Result<(u32, Option<Crypto>), SdesError> {
    let mut words = value.split_ascii_whitespace();
    let tag = words
        .next()
        .filter(|tag| tag.len() <= 9 && tag.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|tag| tag.parse().ok())
        .ok_or(SdesError::Malformed("the tag is not a number of at most nine digits"))?;
    let suite = words.next().ok_or(SdesError::Malformed("the suite is missing"))?;
    let key_params = words.next().ok_or(SdesError::Malformed("the key is missing"))?;
    let has_session_params = words.next().is_some();
    let Some(profile) = PREFERENCE.into_iter().find(|profile| suite_name(*profile) == suite) else {
        return Ok((tag, None));
    };
    if has_session_params || key_params.contains(';') {
        return Ok((tag, None));
    }
    let inline = key_params
        .strip_prefix("inline:")
        .ok_or(SdesError::Malformed("the key method is not inline"))?;
    let mut parts = inline.split('|');
    let text = parts.next().unwrap_or_default();
    let key = decode(text, key_bytes(profile))?;
    let acceptable = match (parts.next(), parts.next()) {
        (None, _) => true,
        (Some(lifetime), None) => lifetime_is_long(lifetime),
        (Some(_), Some(_)) => false,
    };
    Ok((tag, acceptable.then_some(Crypto { tag, profile, key })))
}

/// `2^48` or a plain number. What is neither is an MKI (`1:4`), which we do not take.
fn lifetime_is_long(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(exponent) => exponent.parse().is_ok_and(|bits: u32| bits >= LIFETIME_MIN_BITS),
        None => text.parse().is_ok_and(|packets: u64| packets >= 1 << LIFETIME_MIN_BITS),
    }
}

fn decode(text: &str, wanted: usize) -> Result<KeyMaterial, SdesError> {
    let mut bytes = Zeroizing::new([0u8; 3 * KEY_MAX]);
    // Encoders differ in whether they pad 28 and 44 bytes; both mean the same.
    let text = text.trim_end_matches('=');
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::general_purpose::NO_PAD,
    );
    let len = engine
        .decode_slice(text, &mut bytes[..])
        .map_err(|_| SdesError::Malformed("the key is not base64"))?;
    if len != wanted {
        return Err(SdesError::Malformed("the key has the wrong length for its suite"));
    }
    let bytes = List::from_slice(&bytes[..len]).expect("no suite has a longer key");
    Ok(KeyMaterial { bytes })
}

/// The `a=crypto` value of an answer.
pub fn answer(tag: u32, profile: SrtpProfile, key: &KeyMaterial) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(&*key.bytes));
    Zeroizing::new(format!("{tag} {} inline:{}", suite_name(profile), *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_28: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==";
    const KEY_30: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    const KEY_44: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ=";

    fn one(value: &str) -> Result<Crypto, SdesError> {
        choose([value].into_iter())
    }

    #[test]
    fn each_suite_is_taken_with_its_own_key_length() {
        for (suite, key, len) in [
            ("AEAD_AES_128_GCM", KEY_28, 28),
            ("AEAD_AES_256_GCM", KEY_44, 44),
            ("AES_CM_128_HMAC_SHA1_80", KEY_30, 30),
        ] {
            let taken = one(&format!("1 {suite} inline:{key}")).unwrap();
            assert_eq!((suite_name(taken.profile), taken.key.bytes.len()), (suite, len));
            for (_, other) in
                [(28, KEY_28), (30, KEY_30), (44, KEY_44)].iter().filter(|(n, _)| *n != len)
            {
                let wrong = one(&format!("1 {suite} inline:{other}"));
                assert!(matches!(wrong, Err(SdesError::Malformed(_))), "{suite}");
            }
        }
        assert!(
            one(&format!("1 AEAD_AES_128_GCM inline:{}", KEY_28.trim_end_matches('='))).is_ok()
        );
    }

    #[test]
    fn our_preference_decides_and_not_the_order_of_lines() {
        let cm = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}");
        let gcm256 = format!("2 AEAD_AES_256_GCM inline:{KEY_44}");
        let gcm128 = format!("3 AEAD_AES_128_GCM inline:{KEY_28}");
        let tag = |lines: &[&String]| choose(lines.iter().map(|l| l.as_str())).unwrap().tag;
        assert_eq!(tag(&[&cm, &gcm256, &gcm128]), 3);
        assert_eq!(tag(&[&cm, &gcm256]), 2);
        assert_eq!(tag(&[&cm]), 1);
    }

    #[test]
    fn weak_and_unsupported_lines_are_passed_over() {
        for value in [
            format!("1 AEAD_AES_128_GCM inline:{KEY_28}|2^31|1:4"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28}|1:4"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28}|2^20"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28};inline:{KEY_28}"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28} UNENCRYPTED_SRTP"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28} UNENCRYPTED_SRTCP"),
            format!("1 AEAD_AES_128_GCM inline:{KEY_28} KDR=1"),
            format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY_30}"),
            format!("1 NULL_HMAC_SHA1_80 inline:{KEY_30}"),
        ] {
            assert_eq!(one(&value).unwrap_err(), SdesError::NoneAcceptable, "{value}");
            let both = [value.as_str(), &format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}")];
            assert_eq!(choose(both.into_iter()).unwrap().tag, 2, "{value}");
        }
        assert_eq!(choose([].into_iter()).unwrap_err(), SdesError::NoneAcceptable);
        assert!(one(&format!("1 AEAD_AES_128_GCM inline:{KEY_28}|2^48")).is_ok());
        assert!(one(&format!("1 AEAD_AES_128_GCM inline:{KEY_28}|2147483648")).is_ok());
    }

    #[test]
    fn malformed_lines_are_errors_without_the_key() {
        for value in [
            "",
            "1",
            "1 AEAD_AES_128_GCM",
            "x AEAD_AES_128_GCM inline:AAAA",
            "1 AEAD_AES_128_GCM inline:!!!!",
            "1 AEAD_AES_128_GCM outline:AAAA",
            "1 AEAD_AES_128_GCM inline:",
            "1234567890 AEAD_AES_128_GCM inline:AAAA",
        ] {
            assert!(matches!(one(value), Err(SdesError::Malformed(_))), "{value}");
        }
        let line = format!("1 AEAD_AES_128_GCM inline:{KEY_28}");
        assert!(choose([line.as_str(), line.as_str()].into_iter()).is_err());
        let long = format!("1 AEAD_AES_128_GCM inline:{}", "A".repeat(4096));
        assert!(matches!(one(&long), Err(SdesError::Malformed(_))));
    }

    #[test]
    fn the_answer_reads_back_as_an_offer() {
        let taken = one(&format!("7 AEAD_AES_256_GCM inline:{KEY_44}")).unwrap();
        let line = answer(taken.tag, taken.profile, &taken.key);
        let again = one(&line).unwrap();
        assert_eq!((again.tag, again.profile, again.key), (7, taken.profile, taken.key));
    }
}

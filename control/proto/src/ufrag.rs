//! The ufrag token: 16 characters that say which session a connectivity check is for, and prove that
//! control said so. It only routes; MESSAGE-INTEGRITY authenticates (RFC 8445 section 7.3).
//!
//! Shard (8 bits), slot (24) and generation (16), then the upper 48 bits of their SipHash-2-4 under
//! a node's key, in base64 (RFC 4648 section 4): 12 bytes need no padding, and the alphabet is that
//! of `ice-char` (RFC 8839 section 5.4). A guess passes once in 2^48, and then meets the password.

use std::hash::Hasher;

use bincode::{Decode, Encode};
use siphasher::sip::SipHasher24;

use crate::SessionId;

/// Characters of a token.
pub const UFRAG_LEN: usize = 16;

/// Bits of either half: the session and its MAC.
const HALF_BITS: u32 = 48;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key under which tokens are minted: random, one for a node, kept by control. `Debug` is masked.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct UfragKey(pub [u8; 16]);

impl std::fmt::Debug for UfragKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UfragKey(masked)")
    }
}

/// The token of a session: ASCII, fit for `a=ice-ufrag`.
pub fn mint(key: &UfragKey, session: SessionId) -> [u8; UFRAG_LEN] {
    debug_assert_eq!(session.0 >> HALF_BITS, 0, "a session has 48 bits");
    let mut token = [0; UFRAG_LEN];
    for (characters, half) in token.chunks_exact_mut(8).zip([session.0, mac(key, session)]) {
        for (i, character) in characters.iter_mut().enumerate() {
            *character = ALPHABET[(half >> (42 - 6 * i)) as usize & 0x3f];
        }
    }
    token
}

/// The session a token is for, if it was minted under this key. Costs one SipHash of six bytes; the
/// MACs are compared as one word, so the time does not tell where they differ.
pub fn verify(key: &UfragKey, token: &[u8]) -> Option<SessionId> {
    let [session, claimed] = halves(token)?;
    let session = SessionId(session);
    (mac(key, session) ^ claimed == 0).then_some(session)
}

/// The session that a token claims to be for: where the address has told already whose it must be, so
/// that a token outlives the keys it was minted under.
pub fn claimed(token: &[u8]) -> Option<SessionId> {
    halves(token).map(|[session, _]| SessionId(session))
}

fn halves(token: &[u8]) -> Option<[u64; 2]> {
    let token: &[u8; UFRAG_LEN] = token.try_into().ok()?;
    let mut halves = [0; 2];
    for (half, characters) in halves.iter_mut().zip(token.chunks_exact(8)) {
        for character in characters {
            *half = *half << 6 | u64::from(sextet(*character)?);
        }
    }
    Some(halves)
}

fn mac(key: &UfragKey, session: SessionId) -> u64 {
    let [_, _, data @ ..] = session.0.to_be_bytes();
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(&data);
    hasher.finish() >> (u64::BITS - HALF_BITS)
}

/// The value of a base64 character.
fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ShardId;

    const KEY: UfragKey = UfragKey([7; 16]);

    fn text(key: &UfragKey, session: SessionId) -> String {
        String::from_utf8(mint(key, session).to_vec()).unwrap()
    }

    /// Computed by Python: SipHash-2-4 written from its paper and checked against the paper's
    /// vector, then `base64.b64encode`.
    #[test]
    fn tokens_are_those_of_an_independent_program() {
        let key = UfragKey(std::array::from_fn(|i| i as u8));
        let first = SessionId::new(ShardId(0), 0, 0);
        let some = SessionId::new(ShardId(3), 0x01_0203, 0x0405);
        let last = SessionId::new(ShardId(255), 0xff_ffff, 0xffff);
        assert_eq!(text(&key, first), "AAAAAAAAqvMFrE/U");
        assert_eq!(text(&key, some), "AwECAwQFzIEGbNq9");
        assert_eq!(text(&key, last), "////////FknUAiwG");
    }

    #[test]
    fn a_token_with_one_other_character_is_refused() {
        let token = mint(&KEY, SessionId::new(ShardId(1), 5, 9));
        assert!(verify(&KEY, &token).is_some());
        for at in 0..UFRAG_LEN {
            for other in (0..=255).filter(|other| *other != token[at]) {
                let mut wrong = token;
                wrong[at] = other;
                assert_eq!(verify(&KEY, &wrong), None, "{at} {other}");
            }
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{KEY:?}"), "UfragKey(masked)");
    }

    proptest! {
        #[test]
        fn what_was_minted_names_its_session_under_its_key_only(
            key: [u8; 16], bit in 0usize..128, shard: u8, slot in 0u32..1 << 24, generation: u16,
        ) {
            let session = SessionId::new(ShardId(shard), slot, generation);
            let token = mint(&UfragKey(key), session);
            prop_assert_eq!(verify(&UfragKey(key), &token), Some(session));
            let mut other = key;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify(&UfragKey(other), &token), None);
            prop_assert_eq!(claimed(&token), Some(session));
        }

        #[test]
        fn other_bytes_are_no_token(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(verify(&KEY, &bytes), None);
            prop_assert!(bytes.len() == UFRAG_LEN || claimed(&bytes).is_none());
        }
    }
}

//! What travels on the punt ring (up) and the inject ring (down): a session and a datagram.
//!
//! A worker hands DTLS of a validated path to the control plane, and sends on its behalf. An injected
//! datagram names its session, never an address: where it goes is the shard's knowledge.

use crate::SessionId;

/// Bytes in front of the datagram: the session, little-endian.
pub const HEADER_BYTES: usize = 8;
/// Longest datagram, in bytes; a longer one is not punted.
pub const DATAGRAM_MAX: usize = 2040;
/// Longest message.
pub const MESSAGE_MAX: usize = HEADER_BYTES + DATAGRAM_MAX;

/// Writes a message to the front of `out` and returns its length; `None` when it does not fit.
pub fn encode(session: SessionId, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = HEADER_BYTES + datagram.len();
    if datagram.len() > DATAGRAM_MAX {
        return None;
    }
    let out = out.get_mut(..len)?;
    let (head, body) = out.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(&session.0.to_le_bytes());
    body.copy_from_slice(datagram);
    Some(len)
}

/// Reads a message; `None` when it is too short.
pub fn decode(bytes: &[u8]) -> Option<(SessionId, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    Some((SessionId(u64::from_le_bytes(*head)), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_returns_whole_and_too_long_ones_are_none() {
        let mut bytes = [0; MESSAGE_MAX];
        let len = encode(SessionId(0x0102_0304), &[22, 254, 253], &mut bytes).unwrap();
        assert_eq!(decode(&bytes[..len]), Some((SessionId(0x0102_0304), &[22, 254, 253][..])));
        assert_eq!(encode(SessionId(1), &[0; DATAGRAM_MAX + 1], &mut bytes), None);
        assert_eq!(encode(SessionId(1), &[0; 8], &mut bytes[..15]), None);
        assert_eq!(decode(&bytes[..7]), None);
    }
}

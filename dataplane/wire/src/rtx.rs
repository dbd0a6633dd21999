//! RTX (RFC 4588 section 4): a retransmission is the original payload behind the original sequence
//! number (OSN), with an SSRC, payload type and sequence of its own.

use crate::{Error, Result, bytes};

/// Length of the original sequence number in bytes.
pub const OSN_LEN: usize = 2;

/// The original sequence number of an RTX payload, and the original payload behind it. A payload
/// with nothing behind the number is legal: the original had none either.
///
/// # Errors
/// `Truncated` below two bytes: an empty RTX packet is padding that a sender probes with.
pub fn split(payload: &[u8]) -> Result<(u16, &[u8])> {
    let (osn, original) = payload.split_first_chunk::<OSN_LEN>().ok_or(Error::Truncated)?;
    Ok((u16::from_be_bytes(*osn), original))
}

/// Writes the original sequence number at the start of an RTX payload.
///
/// # Errors
/// `NoSpace` below two bytes.
pub fn put(payload: &mut [u8], original_sequence: u16) -> Result<()> {
    if payload.len() < OSN_LEN {
        return Err(Error::NoSpace);
    }
    bytes::put(payload, 0, original_sequence.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_number_stands_before_the_original_payload() {
        let mut payload = *b"..opus";
        put(&mut payload, 0x1234).unwrap();
        assert_eq!(payload, *b"\x12\x34opus");
        assert_eq!(split(&payload), Ok((0x1234, &b"opus"[..])));
        assert_eq!(split(&payload[..2]), Ok((0x1234, &[][..])));
    }

    #[test]
    fn fewer_than_two_bytes_carry_no_number() {
        for len in 0..2 {
            let mut payload = [7; 2];
            assert_eq!(split(&payload[..len]), Err(Error::Truncated));
            assert_eq!(put(&mut payload[..len], 1), Err(Error::NoSpace));
            assert_eq!(payload, [7; 2]);
        }
    }
}

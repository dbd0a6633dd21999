//! DTLS records (RFC 6347 section 4.1), as far as telling a DTLS datagram from noise and a
//! ClientHello from the rest needs it. The handshake is the control plane's.
//!
//! The unified header of DTLS 1.3 (RFC 9147 section 4) is refused: a handshake begins with records
//! of the form read here, and what the control plane agrees to keeps it.

use crate::{Error, Result, bytes};

/// Length of the record header in bytes.
pub const HEADER_LEN: usize = 13;
/// Longest record body in bytes: 2^14 of content and what a cipher may add (RFC 5246 section
/// 6.2.3).
pub const BODY_LEN_MAX: usize = (1 << 14) + 2048;

/// Length of a handshake message's header in bytes (RFC 6347 section 4.2.2).
const HANDSHAKE_HEADER_LEN: usize = 12;
const CLIENT_HELLO: u8 = 1;

/// What a record carries (RFC 5246 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// 20.
    ChangeCipherSpec,
    /// 21.
    Alert,
    /// 22.
    Handshake,
    /// 23.
    ApplicationData,
}

/// The first record of a datagram, whose header is sound and whose body is there.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    data: &'a [u8],
    content_type: ContentType,
}

impl<'a> Record<'a> {
    /// Checks the first record of a datagram; more may follow it.
    ///
    /// # Errors
    /// `Truncated` below 14 bytes or when the body runs over the end, `BadType` for another content
    /// type, `BadVersion` unless DTLS 1.0 or 1.2 (which 1.3 writes too), `BadLength` for an empty
    /// or too long body.
    pub fn new_checked(datagram: &'a [u8]) -> Result<Self> {
        if datagram.len() <= HEADER_LEN {
            return Err(Error::Truncated);
        }
        let content_type = match bytes::u8_at(datagram, 0) {
            20 => ContentType::ChangeCipherSpec,
            21 => ContentType::Alert,
            22 => ContentType::Handshake,
            23 => ContentType::ApplicationData,
            _ => return Err(Error::BadType),
        };
        if !matches!(bytes::u16_at(datagram, 1), 0xfeff | 0xfefd) {
            return Err(Error::BadVersion);
        }
        let len = usize::from(bytes::u16_at(datagram, 11));
        if len == 0 || len > BODY_LEN_MAX {
            return Err(Error::BadLength);
        }
        let data = datagram.get(..HEADER_LEN + len).ok_or(Error::Truncated)?;
        Ok(Record { data, content_type })
    }

    /// What it carries.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The version as it is written: 0xfeff is 1.0, 0xfefd is 1.2. Of a first ClientHello it tells
    /// nothing (RFC 6347 section 4.2.1).
    pub fn version(&self) -> u16 {
        bytes::u16_at(self.data, 1)
    }

    /// Counts the changes of keys; 0 is in the clear.
    pub fn epoch(&self) -> u16 {
        bytes::u16_at(self.data, 3)
    }

    /// The record's number within its epoch, 48 bits.
    pub fn sequence(&self) -> u64 {
        bytes::u64_at(self.data, 3) & 0xffff_ffff_ffff
    }

    /// The body: in the clear in epoch 0, sealed in any other.
    pub fn body(&self) -> &'a [u8] {
        bytes::tail(self.data, HEADER_LEN)
    }

    /// Whether it is a ClientHello in the clear, or a fragment of one: a browser's has two.
    pub fn is_client_hello(&self) -> bool {
        let body = self.body();
        if self.content_type != ContentType::Handshake
            || self.epoch() != 0
            || body.len() < HANDSHAKE_HEADER_LEN
        {
            return false;
        }
        let u24 = |at| bytes::u32_at(body, at) as usize >> 8;
        let (message_len, offset, fragment_len) = (u24(1), u24(6), u24(9));
        bytes::u8_at(body, 0) == CLIENT_HELLO
            && offset + fragment_len <= message_len
            && HANDSHAKE_HEADER_LEN + fragment_len <= body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first datagram of `openssl s_client -dtls1_2`, asked for one cipher and one group.
    const HELLO: &str = "16feff00000000000000000084010000780000000000000078fefdb3346042210dc65f4a87\
        65a823cb6a97266e086bd27be0c8ddd94811b03ef6d400000004c02b00ff0100004a000b000403000102000a00\
        040002001d002300000016000000170000000d002a0028040305030603080708080809080a080b080408050806\
        040105010601030303010302040205020602";

    fn hello() -> Vec<u8> {
        let digits: Vec<u8> =
            HELLO.bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn refused(b: &[u8]) -> Error {
        Record::new_checked(b).unwrap_err()
    }

    #[test]
    fn the_hello_of_openssl_is_one() {
        let b = hello();
        let r = Record::new_checked(&b).unwrap();
        assert_eq!((r.content_type(), r.version()), (ContentType::Handshake, 0xfeff));
        assert_eq!((r.epoch(), r.sequence(), r.body().len()), (0, 0, 132));
        assert!(r.is_client_hello());
    }

    #[test]
    fn both_fragments_of_a_hello_are_hellos() {
        let b = hello();
        for (from, to) in [(0, 70), (70, 120)] {
            let mut part = b[..25].to_vec();
            part.extend(&b[25 + from..25 + to]);
            part[12] = (12 + to - from) as u8;
            part[21] = from as u8;
            part[24] = (to - from) as u8;
            assert!(Record::new_checked(&part).unwrap().is_client_hello());
        }
    }

    #[test]
    fn other_records_are_no_hello() {
        // Epoch 1; alert; ServerHello; a fragment over the message, over the record.
        for (at, value) in [(4, 1), (0, 21), (13, 2), (21, 1), (24, 0x79), (16, 0x77)] {
            let mut b = hello();
            b[at] = value;
            assert!(!Record::new_checked(&b).unwrap().is_client_hello(), "{at}");
        }
        let mut short = hello();
        short[12] = 11;
        assert!(!Record::new_checked(&short).unwrap().is_client_hello());
    }

    #[test]
    fn only_the_first_record_is_looked_at() {
        let mut b = hello();
        b.extend([0xff; 5]);
        assert_eq!(Record::new_checked(&b).unwrap().body().len(), 132);
    }

    #[test]
    fn the_record_number_has_48_bits() {
        let mut b = hello();
        b[3..11].copy_from_slice(&[0, 2, 1, 2, 3, 4, 5, 6]);
        let r = Record::new_checked(&b).unwrap();
        assert_eq!((r.epoch(), r.sequence()), (2, 0x0102_0304_0506));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let b = hello();
        for len in 0..b.len() {
            assert_eq!(refused(&b[..len]), Error::Truncated, "{len}");
        }
        let changed = |at: usize, value: u8| {
            let mut b = hello();
            b[at] = value;
            refused(&b)
        };
        // TLS over TCP, the unified header of DTLS 1.3, a connection id, STUN.
        for first in (0..20).chain(24..=255) {
            assert_eq!(changed(0, first), Error::BadType);
        }
        assert_eq!(changed(1, 0x03), Error::BadVersion);
        assert_eq!(changed(2, 0xfc), Error::BadVersion);
        assert_eq!(changed(12, 0), Error::BadLength);
        assert_eq!(changed(11, 0x50), Error::BadLength);
    }
}

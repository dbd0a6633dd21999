//! STUN (RFC 8489): the header, as far as telling a STUN message from other datagrams needs it.

use crate::{Error, Result, bytes};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;
/// The magic cookie (section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

/// The class of a message (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A request: expects an answer.
    Request,
    /// An indication: expects none.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

/// A STUN message whose header is sound and whose length equals the datagram's.
#[derive(Clone, Copy, Debug)]
pub struct Stun<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Stun<T> {
    /// Checks the two zero bits, the cookie and the length.
    ///
    /// # Errors
    /// `Truncated` below 20 bytes, `BadType` when it is not STUN by its first bits or its cookie,
    /// `BadLength` when the length is no multiple of four or not that of the datagram.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if bytes::u8_at(b, 0) & 0xc0 != 0 || bytes::u32_at(b, 4) != MAGIC_COOKIE {
            return Err(Error::BadType);
        }
        let len = usize::from(bytes::u16_at(b, 2));
        if !len.is_multiple_of(4) || len + HEADER_LEN != b.len() {
            return Err(Error::BadLength);
        }
        Ok(Stun { buffer })
    }

    /// The class.
    pub fn class(&self) -> Class {
        let t = bytes::u16_at(self.buffer.as_ref(), 0);
        match (t & 0x0100 != 0, t & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        }
    }

    /// The 12-bit method; 1 is Binding.
    pub fn method(&self) -> u16 {
        let t = bytes::u16_at(self.buffer.as_ref(), 0);
        t & 0x000f | (t & 0x00e0) >> 1 | (t & 0x3e00) >> 2
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> [u8; 12] {
        bytes::array_at(self.buffer.as_ref(), 8)
    }

    /// The attributes, not looked at.
    pub fn attributes(&self) -> &[u8] {
        bytes::tail(self.buffer.as_ref(), HEADER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of the request of RFC 5769 section 2.1; its attributes (88 bytes) are zeroed
    /// here.
    fn sample_request() -> Vec<u8> {
        let mut b = vec![0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42];
        b.extend([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
        b.resize(20 + 88, 0);
        b
    }

    #[test]
    fn the_header_of_rfc_5769_is_read() {
        let s = Stun::new_checked(sample_request()).unwrap();
        assert_eq!((s.class(), s.method(), s.attributes().len()), (Class::Request, 1, 88));
        assert_eq!(s.transaction_id()[..4], [0xb7, 0xe7, 0xa7, 0x01]);
    }

    #[test]
    fn classes_and_methods_are_unwoven() {
        // Binding (1) in the four classes, and method 0xfff, whose bits lie around the class bits.
        let cases = [
            (0x0001, Class::Request, 1),
            (0x0011, Class::Indication, 1),
            (0x0101, Class::Success, 1),
            (0x0111, Class::Error, 1),
            (0x3eef, Class::Request, 0xfff),
        ];
        for (kind, class, method) in cases {
            let mut b = sample_request();
            b[..2].copy_from_slice(&u16::to_be_bytes(kind));
            let s = Stun::new_checked(b).unwrap();
            assert_eq!((s.class(), s.method()), (class, method));
        }
    }

    #[test]
    fn a_message_cut_or_grown_by_one_byte_is_refused() {
        let b = sample_request();
        for len in 0..b.len() {
            let e = Stun::new_checked(&b[..len]).unwrap_err();
            assert_eq!(e, if len < 20 { Error::Truncated } else { Error::BadLength });
        }
        let mut longer = b.clone();
        longer.push(0);
        assert_eq!(Stun::new_checked(longer).unwrap_err(), Error::BadLength);
    }

    #[test]
    fn a_wrong_cookie_or_first_bits_are_not_stun() {
        for at in [0, 4, 5, 6, 7] {
            let mut b = sample_request();
            b[at] ^= 0x80;
            assert_eq!(Stun::new_checked(b).unwrap_err(), Error::BadType);
        }
    }
}

//! ICMP echo for IPv4 (RFC 792) and IPv6 (RFC 4443 section 4): recognise a request, turn it into
//! its reply in place. Other messages are only told apart by their type.

use core::net::Ipv6Addr;

use crate::{Error, Protocol, Result, bytes, checksum, checksum::Sum};

/// Length of the header of an echo message in bytes.
pub const ECHO_HEADER_LEN: usize = 8;

/// Which ICMP a message belongs to; for v6 the checksum covers the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// ICMP over IPv4.
    V4,
    /// ICMPv6, with the source and destination of its packet.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Family {
    const fn echo_types(self) -> (u8, u8) {
        match self {
            Family::V4 => (8, 0),
            Family::V6(..) => (128, 129),
        }
    }

    fn sum(self, message: &[u8]) -> Sum {
        let seed = match self {
            Family::V4 => Sum::ZERO,
            Family::V6(src, dst) => {
                let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
                Sum::pseudo_v6(src, dst, Protocol::ICMPV6, len)
            }
        };
        seed.with(message)
    }
}

/// A message whose eight-byte header is whole and whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<T> {
    buffer: T,
    family: Family,
}

impl<T: AsRef<[u8]>> Icmp<T> {
    /// Checks length and checksum.
    ///
    /// # Errors
    /// `Truncated` below eight bytes, `BadChecksum`.
    pub fn new_checked(buffer: T, family: Family) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < ECHO_HEADER_LEN {
            return Err(Error::Truncated);
        }
        if !family.sum(b).is_valid() {
            return Err(Error::BadChecksum);
        }
        Ok(Icmp { buffer, family })
    }

    /// The type of the message.
    pub fn message_type(&self) -> u8 {
        bytes::u8_at(self.buffer.as_ref(), 0)
    }

    /// Whether it is an echo request.
    pub fn is_echo_request(&self) -> bool {
        let b = self.buffer.as_ref();
        bytes::u8_at(b, 0) == self.family.echo_types().0 && bytes::u8_at(b, 1) == 0
    }

    /// Whether it is an echo reply.
    pub fn is_echo_reply(&self) -> bool {
        let b = self.buffer.as_ref();
        bytes::u8_at(b, 0) == self.family.echo_types().1 && bytes::u8_at(b, 1) == 0
    }

    /// The identifier of an echo.
    pub fn ident(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 4)
    }

    /// The sequence number of an echo.
    pub fn sequence(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 6)
    }

    /// The data of an echo.
    pub fn data(&self) -> &[u8] {
        bytes::tail(self.buffer.as_ref(), ECHO_HEADER_LEN)
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmp<T> {
    /// Turns an echo request into its reply; the data stays, the checksum is updated (RFC 1624).
    /// The IPv6 pseudo header sums to the same with source and destination swapped.
    ///
    /// # Errors
    /// `BadType` when it is not an echo request.
    pub fn make_echo_reply(&mut self) -> Result<()> {
        if !self.is_echo_request() {
            return Err(Error::BadType);
        }
        let (request, reply) = self.family.echo_types();
        let b = self.buffer.as_mut();
        let sum = bytes::u16_at(b, 2);
        let sum = checksum::update(sum, u16::from(request) << 8, u16::from(reply) << 8);
        bytes::put(b, 0, [reply]);
        bytes::put(b, 2, sum.to_be_bytes());
        Ok(())
    }
}

/// An echo request as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoRequest<'a> {
    /// The identifier.
    pub ident: u16,
    /// The sequence number.
    pub sequence: u16,
    /// The data that the reply repeats.
    pub data: &'a [u8],
}

impl EchoRequest<'_> {
    /// Writes the message with its checksum to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn emit(&self, family: Family, out: &mut [u8]) -> Result<usize> {
        let len = ECHO_HEADER_LEN + self.data.len();
        let out = out.get_mut(..len).ok_or(Error::NoSpace)?;
        bytes::put(out, 0, [family.echo_types().0, 0, 0, 0]);
        bytes::put(out, 4, self.ident.to_be_bytes());
        bytes::put(out, 6, self.sequence.to_be_bytes());
        bytes::put_slice(out, ECHO_HEADER_LEN, self.data);
        let sum = family.sum(out).checksum();
        bytes::put(out, 2, sum.to_be_bytes());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    const ECHO: EchoRequest = EchoRequest { ident: 0x1234, sequence: 7, data: b"roomlane!" };

    #[test]
    fn a_request_becomes_a_reply_with_a_right_checksum_in_both_families() {
        for (asked, answered) in [(Family::V4, Family::V4), (Family::V6(A, B), Family::V6(B, A))] {
            let mut out = [0xff; 17];
            assert_eq!(ECHO.emit(asked, &mut out), Ok(17));
            let mut p = Icmp::new_checked(&mut out[..], asked).unwrap();
            assert!(p.is_echo_request() && !p.is_echo_reply());
            p.make_echo_reply().unwrap();
            assert_eq!(p.make_echo_reply(), Err(Error::BadType));
            let p = Icmp::new_checked(&out[..], answered).unwrap();
            assert!(p.is_echo_reply() && !p.is_echo_request());
            assert_eq!((p.ident(), p.sequence(), p.data()), (0x1234, 7, ECHO.data));
        }
    }

    #[test]
    fn the_v6_checksum_covers_the_addresses() {
        let mut out = [0; 17];
        ECHO.emit(Family::V6(A, B), &mut out).unwrap();
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
        assert_eq!(Icmp::new_checked(out, Family::V6(A, other)).unwrap_err(), Error::BadChecksum);
        assert_eq!(Icmp::new_checked(out, Family::V4).unwrap_err(), Error::BadChecksum);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let mut good = [0; 17];
        ECHO.emit(Family::V4, &mut good).unwrap();
        for bit in 0..17 * 8 {
            let mut b = good;
            b[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(Icmp::new_checked(b, Family::V4).unwrap_err(), Error::BadChecksum);
        }
        for len in 0..8 {
            assert_eq!(Icmp::new_checked(&good[..len], Family::V4).unwrap_err(), Error::Truncated);
        }
        assert_eq!(ECHO.emit(Family::V4, &mut good[..16]), Err(Error::NoSpace));
    }
}

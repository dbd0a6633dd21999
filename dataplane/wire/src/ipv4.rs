//! IPv4 (RFC 791): a view that checks version and both lengths once, and the emitter of a header
//! without options. Fragments are recognised, never reassembled.

use core::net::Ipv4Addr;
use core::ops::Range;

use crate::{Error, Protocol, Result, bytes, checksum::Sum};

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = 20;
/// Where the length of the whole packet stands.
pub(crate) const TOTAL_AT: usize = 2;
/// Where the header's checksum stands.
pub(crate) const CHECKSUM_AT: usize = 10;

/// A checked packet. Bytes behind its total length (Ethernet's padding) are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<T> {
    buffer: T,
    header_len: usize,
    total_len: usize,
}

impl<T: AsRef<[u8]>> Ipv4<T> {
    /// Checks version, header length and total length.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the packet does, `BadVersion`, `BadLength` when the
    /// header is shorter than 20 bytes or longer than the packet.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let first = bytes::u8_at(b, 0);
        if first >> 4 != 4 {
            return Err(Error::BadVersion);
        }
        let header_len = usize::from(first & 0x0f) * 4;
        let total_len = usize::from(bytes::u16_at(b, 2));
        if header_len < HEADER_LEN || total_len < header_len {
            return Err(Error::BadLength);
        }
        if total_len > b.len() {
            return Err(Error::Truncated);
        }
        Ok(Ipv4 { buffer, header_len, total_len })
    }

    /// The differentiated services code point, 0 to 63.
    pub fn dscp(&self) -> u8 {
        bytes::u8_at(self.buffer.as_ref(), 1) >> 2
    }

    /// The identification field.
    pub fn ident(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 4)
    }

    /// Whether routers may not fragment it.
    pub fn dont_fragment(&self) -> bool {
        bytes::u8_at(self.buffer.as_ref(), 6) & 0x40 != 0
    }

    /// Whether it is a fragment: more follow, or it is not the first.
    pub fn is_fragment(&self) -> bool {
        bytes::u16_at(self.buffer.as_ref(), 6) & 0x3fff != 0
    }

    /// The time to live.
    pub fn ttl(&self) -> u8 {
        bytes::u8_at(self.buffer.as_ref(), 8)
    }

    /// The protocol of the payload.
    pub fn protocol(&self) -> Protocol {
        Protocol(bytes::u8_at(self.buffer.as_ref(), 9))
    }

    /// The source.
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array_at::<4>(self.buffer.as_ref(), 12))
    }

    /// The destination.
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array_at::<4>(self.buffer.as_ref(), 16))
    }

    /// Length of the header with its options in bytes.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// The options, padding included; empty for most packets.
    pub fn options(&self) -> &[u8] {
        bytes::range(self.buffer.as_ref(), HEADER_LEN, self.header_len)
    }

    /// Whether an option asks for source routing, or the options cannot be read to their end.
    pub fn is_source_routed(&self) -> bool {
        let mut options = self.options();
        while let Some(&kind) = options.first() {
            let len = match kind {
                0 => return false,
                1 => 1,
                131 | 137 => return true,
                _ => usize::from(bytes::u8_at(options, 1)),
            };
            if len > options.len() || kind != 1 && len < 2 {
                return true;
            }
            options = bytes::tail(options, len);
        }
        false
    }

    /// Whether the header's checksum is right.
    pub fn has_valid_checksum(&self) -> bool {
        Sum::ZERO.with(bytes::range(self.buffer.as_ref(), 0, self.header_len)).is_valid()
    }

    /// Where the payload lies.
    pub fn payload_range(&self) -> Range<usize> {
        self.header_len..self.total_len
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        bytes::range(self.buffer.as_ref(), self.header_len, self.total_len)
    }
}

/// A header without options as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// The source.
    pub src: Ipv4Addr,
    /// The destination.
    pub dst: Ipv4Addr,
    /// The protocol of the payload.
    pub protocol: Protocol,
    /// Length of the payload in bytes.
    pub payload_len: usize,
    /// The identification; zero is right for packets that are never fragmented (RFC 6864 section
    /// 4.1).
    pub ident: u16,
    /// Forbid fragmentation on the way.
    pub dont_fragment: bool,
    /// The time to live.
    pub ttl: u8,
    /// The differentiated services code point, 0 to 63; higher bits are ignored.
    pub dscp: u8,
}

impl Ipv4Repr {
    /// Writes the header with its checksum to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`; `BadLength` when the packet would exceed 65,535 bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..HEADER_LEN).ok_or(Error::NoSpace)?;
        let total = u16::try_from(self.payload_len.saturating_add(HEADER_LEN))
            .map_err(|_| Error::BadLength)?;
        // Made in registers and written once: a sum over what was just stored in parts would wait for the stores.
        let flags = u16::from(self.dont_fragment) << 14;
        let first = four([0x4500 | u16::from(self.dscp << 2), total, self.ident, flags]);
        let [src_high, src_low] = halves(self.src);
        let second = |sum| {
            four([u16::from(self.ttl) << 8 | u16::from(self.protocol.0), sum, src_high, src_low])
        };
        let dst = self.dst.octets();
        let sum = Sum::ZERO.with(&first).with(&second(0)).with(&dst).checksum();
        bytes::put(out, 0, first);
        bytes::put(out, 8, second(sum));
        bytes::put(out, 16, dst);
        Ok(HEADER_LEN)
    }
}

/// Four fields of 16 bits, as they go on the wire.
#[inline]
fn four(fields: [u16; 4]) -> [u8; 8] {
    fields.into_iter().fold(0, |word, field| word << 16 | u64::from(field)).to_be_bytes()
}

fn halves(address: Ipv4Addr) -> [u16; 2] {
    let bits = address.to_bits();
    [(bits >> 16) as u16, bits as u16]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A widely printed example: 172.16.10.99 to 172.16.10.12, TCP, checksum 0xb1e6.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10, 0x0a,
        0x63, 0xac, 0x10, 0x0a, 0x0c,
    ];

    fn packet() -> Vec<u8> {
        let mut b = HEADER.to_vec();
        b.resize(60, 7);
        b
    }

    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut b = packet();
        b[0] = 0x40 | (5 + options.len() / 4) as u8;
        b.splice(20..20 + options.len(), options.iter().copied());
        b
    }

    #[test]
    fn a_known_header_is_read_and_its_checksum_holds() {
        let p = Ipv4::new_checked(packet()).unwrap();
        assert!(p.has_valid_checksum() && p.dont_fragment() && !p.is_fragment());
        assert_eq!((p.ident(), p.ttl(), p.protocol(), p.dscp()), (0x1c46, 64, Protocol(6), 0));
        assert_eq!(p.src(), Ipv4Addr::new(172, 16, 10, 99));
        assert_eq!(p.dst(), Ipv4Addr::new(172, 16, 10, 12));
        assert_eq!((p.payload_range(), p.payload().len()), (20..60, 40));
    }

    #[test]
    fn the_same_header_is_emitted() {
        let repr = Ipv4Repr {
            src: Ipv4Addr::new(172, 16, 10, 99),
            dst: Ipv4Addr::new(172, 16, 10, 12),
            protocol: Protocol(6),
            payload_len: 40,
            ident: 0x1c46,
            dont_fragment: true,
            ttl: 64,
            dscp: 0,
        };
        let mut out = [0xff; 20];
        assert_eq!(repr.emit(&mut out), Ok(20));
        assert_eq!(out, HEADER);
        Ipv4Repr { dscp: 46, ..repr }.emit(&mut out).unwrap();
        assert_eq!(out[1], 0xb8);
        assert_eq!(repr.emit(&mut out[..19]), Err(Error::NoSpace));
        assert_eq!(Ipv4Repr { payload_len: 65_516, ..repr }.emit(&mut out), Err(Error::BadLength));
    }

    #[test]
    fn every_flipped_header_bit_breaks_the_checksum() {
        for bit in 0..160 {
            let mut b = packet();
            b[bit / 8] ^= 0x80 >> (bit % 8);
            if let Ok(p) = Ipv4::new_checked(b) {
                assert!(!p.has_valid_checksum(), "{bit}");
            }
        }
    }

    #[test]
    fn bad_versions_and_lengths_are_refused() {
        let refused = |at: usize, value: u8| {
            let mut b = packet();
            b[at] = value;
            Ipv4::new_checked(b).unwrap_err()
        };
        assert_eq!(refused(0, 0x65), Error::BadVersion);
        assert_eq!(refused(0, 0x44), Error::BadLength);
        assert_eq!(refused(3, 19), Error::BadLength);
        assert_eq!(refused(3, 61), Error::Truncated);
        for len in 0..60 {
            assert_eq!(Ipv4::new_checked(&packet()[..len]).unwrap_err(), Error::Truncated);
        }
    }

    #[test]
    fn ethernet_padding_is_not_payload() {
        let mut b = packet();
        b.resize(100, 0);
        assert_eq!(Ipv4::new_checked(b).unwrap().payload().len(), 40);
    }

    #[test]
    fn first_middle_and_last_fragments_are_fragments() {
        for (flags, want) in [(0x2000u16, true), (0x2001, true), (0x0010, true), (0x4000, false)] {
            let mut b = packet();
            b[6..8].copy_from_slice(&flags.to_be_bytes());
            assert_eq!(Ipv4::new_checked(b).unwrap().is_fragment(), want);
        }
    }

    #[test]
    fn source_routes_and_unreadable_options_are_told() {
        let routed =
            |options: &[u8]| Ipv4::new_checked(with_options(options)).unwrap().is_source_routed();
        assert!(!routed(&[]));
        assert!(!routed(&[1, 1, 1, 0]));
        assert!(!routed(&[7, 4, 4, 0]));
        assert!(routed(&[131, 3, 4, 0]));
        assert!(routed(&[1, 137, 3, 4]));
        assert!(routed(&[7, 0, 0, 0]));
        assert!(routed(&[7, 5, 0, 0]));
    }
}

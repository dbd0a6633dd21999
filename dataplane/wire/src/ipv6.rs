//! IPv6 (RFC 8200): a view of the fixed header and its emitter. Extension headers are recognised
//! and refused with a reason; none is processed.

use core::net::Ipv6Addr;
use core::ops::Range;

use crate::{Error, Protocol, Result, bytes};

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;
/// Where the length of what follows stands.
pub(crate) const PAYLOAD_LEN_AT: usize = 4;

/// A checked packet. Bytes behind its payload length (Ethernet's padding) are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<T> {
    buffer: T,
    total_len: usize,
}

impl<T: AsRef<[u8]>> Ipv6<T> {
    /// Checks version and payload length.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the packet does, `BadVersion`.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if bytes::u8_at(b, 0) >> 4 != 6 {
            return Err(Error::BadVersion);
        }
        let total_len = HEADER_LEN + usize::from(bytes::u16_at(b, 4));
        if total_len > b.len() {
            return Err(Error::Truncated);
        }
        Ok(Ipv6 { buffer, total_len })
    }

    /// The differentiated services code point, 0 to 63.
    pub fn dscp(&self) -> u8 {
        (bytes::u16_at(self.buffer.as_ref(), 0) >> 6 & 0x3f) as u8
    }

    /// The 20-bit flow label.
    pub fn flow_label(&self) -> u32 {
        bytes::u32_at(self.buffer.as_ref(), 0) & 0x000f_ffff
    }

    /// What follows the fixed header, an extension header too.
    pub fn next_header(&self) -> Protocol {
        Protocol(bytes::u8_at(self.buffer.as_ref(), 6))
    }

    /// The protocol of the payload.
    ///
    /// # Errors
    /// `Fragment` or `ExtensionHeader` when such a header comes first.
    pub fn protocol(&self) -> Result<Protocol> {
        match self.next_header() {
            Protocol(44) => Err(Error::Fragment),
            // RFC 8200 section 4 and the IANA list: hop-by-hop, routing, ESP, AH, destination
            // options, mobility, HIP, Shim6, and the two for experiments.
            Protocol(0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254) => {
                Err(Error::ExtensionHeader)
            }
            protocol => Ok(protocol),
        }
    }

    /// The hop limit.
    pub fn hop_limit(&self) -> u8 {
        bytes::u8_at(self.buffer.as_ref(), 7)
    }

    /// The source.
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array_at::<16>(self.buffer.as_ref(), 8))
    }

    /// The destination.
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array_at::<16>(self.buffer.as_ref(), 24))
    }

    /// Where everything behind the fixed header lies.
    pub fn payload_range(&self) -> Range<usize> {
        HEADER_LEN..self.total_len
    }

    /// Everything behind the fixed header.
    pub fn payload(&self) -> &[u8] {
        bytes::range(self.buffer.as_ref(), HEADER_LEN, self.total_len)
    }
}

/// The fixed header as values; the flow label is sent as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// The source.
    pub src: Ipv6Addr,
    /// The destination.
    pub dst: Ipv6Addr,
    /// The protocol of the payload.
    pub protocol: Protocol,
    /// Length of the payload in bytes.
    pub payload_len: usize,
    /// The hop limit.
    pub hop_limit: u8,
    /// The differentiated services code point, 0 to 63; higher bits are ignored.
    pub dscp: u8,
}

impl Ipv6Repr {
    /// Writes the header to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`; `BadLength` for a payload above 65,535 bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..HEADER_LEN).ok_or(Error::NoSpace)?;
        let payload_len = u16::try_from(self.payload_len).map_err(|_| Error::BadLength)?;
        let first = 6 << 28 | u32::from(self.dscp & 0x3f) << 22;
        bytes::put(out, 0, first.to_be_bytes());
        bytes::put(out, 4, payload_len.to_be_bytes());
        bytes::put(out, 6, [self.protocol.0, self.hop_limit]);
        bytes::put(out, 8, self.src.octets());
        bytes::put(out, 24, self.dst.octets());
        Ok(HEADER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPR: Ipv6Repr = Ipv6Repr {
        src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        dst: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        protocol: Protocol::UDP,
        payload_len: 9,
        hop_limit: 64,
        dscp: 46,
    };

    fn packet() -> Vec<u8> {
        let mut b = vec![0xff; 49];
        REPR.emit(&mut b).unwrap();
        b
    }

    #[test]
    fn an_emitted_header_has_the_bytes_of_rfc_8200_and_is_read_back() {
        let b = packet();
        // Version 6, traffic class 0xb8 (46 << 2), flow label 0; length; next header; hop limit.
        assert_eq!(b[..8], [0x6b, 0x80, 0, 0, 0, 9, 17, 64]);
        let p = Ipv6::new_checked(&b).unwrap();
        assert_eq!((p.src(), p.dst()), (REPR.src, REPR.dst));
        assert_eq!((p.dscp(), p.flow_label(), p.hop_limit()), (46, 0, 64));
        assert_eq!((p.protocol(), p.payload_range()), (Ok(Protocol::UDP), 40..49));
        assert_eq!(REPR.emit(&mut [0; 39]), Err(Error::NoSpace));
        assert_eq!(
            Ipv6Repr { payload_len: 65_536, ..REPR }.emit(&mut [0; 40]),
            Err(Error::BadLength)
        );
    }

    #[test]
    fn extension_headers_are_refused_and_fragments_by_their_own_name() {
        for next in 0..=255u8 {
            let mut b = packet();
            b[6] = next;
            let want = match next {
                44 => Err(Error::Fragment),
                0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254 => Err(Error::ExtensionHeader),
                _ => Ok(Protocol(next)),
            };
            assert_eq!(Ipv6::new_checked(b).unwrap().protocol(), want);
        }
    }

    #[test]
    fn cut_packets_and_other_versions_are_refused() {
        for len in 0..49 {
            assert_eq!(Ipv6::new_checked(&packet()[..len]).unwrap_err(), Error::Truncated);
        }
        let mut b = packet();
        b[0] = 0x45;
        assert_eq!(Ipv6::new_checked(b).unwrap_err(), Error::BadVersion);
    }
}

//! UDP (RFC 768): a view that checks its length once, and the header's emitter.

use core::net::IpAddr;
use core::ops::Range;

use crate::{Error, Protocol, Result, bytes, checksum::Sum};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// A checked datagram. Bytes of the IP payload behind its length are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Udp<T> {
    buffer: T,
    len: usize,
}

impl<T: AsRef<[u8]>> Udp<T> {
    /// Checks the length field.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the datagram does, `BadLength` below eight (a
    /// jumbogram's zero too).
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let len = usize::from(bytes::u16_at(b, 4));
        if len < HEADER_LEN {
            return Err(Error::BadLength);
        }
        if len > b.len() {
            return Err(Error::Truncated);
        }
        Ok(Udp { buffer, len })
    }

    /// The source port.
    pub fn src_port(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 0)
    }

    /// The destination port.
    pub fn dst_port(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 2)
    }

    /// The checksum field; zero means none.
    pub fn checksum(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 6)
    }

    /// Whether the checksum is right. None is right over IPv4 and wrong over IPv6 (RFC 8200 section
    /// 8.1); addresses of two families are wrong.
    pub fn has_valid_checksum(&self, src: IpAddr, dst: IpAddr) -> bool {
        if self.checksum() == 0 {
            return src.is_ipv4() && dst.is_ipv4();
        }
        let datagram = bytes::range(self.buffer.as_ref(), 0, self.len);
        Sum::pseudo(src, dst, Protocol::UDP, self.len as u32)
            .is_some_and(|sum| sum.with(datagram).is_valid())
    }

    /// Where the payload lies.
    pub fn payload_range(&self) -> Range<usize> {
        HEADER_LEN..self.len
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        bytes::range(self.buffer.as_ref(), HEADER_LEN, self.len)
    }
}

/// The header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
}

impl UdpRepr {
    /// Writes the header, with its checksum, in front of the payload that fills the rest of
    /// `datagram`.
    ///
    /// # Errors
    /// `NoSpace` below eight bytes; `BadLength` above 65,535 bytes, or addresses of two families.
    #[inline]
    pub fn emit(&self, src: IpAddr, dst: IpAddr, datagram: &mut [u8]) -> Result<()> {
        let (seed, len) = self.seed(src, dst, datagram)?;
        let payload = datagram.get(HEADER_LEN..).unwrap_or_default();
        let sum = seed.with(&self.header(len, 0)).with(payload).udp_checksum();
        bytes::put(datagram, 0, self.header(len, sum));
        Ok(())
    }

    /// Writes the header with the pseudo header's sum in the checksum field: what a device wants
    /// that offloads the rest.
    ///
    /// # Errors
    /// As [`UdpRepr::emit`].
    #[inline]
    pub fn emit_partial(&self, src: IpAddr, dst: IpAddr, datagram: &mut [u8]) -> Result<()> {
        let (seed, len) = self.seed(src, dst, datagram)?;
        bytes::put(datagram, 0, self.header(len, seed.fold()));
        Ok(())
    }

    /// The pseudo header's sum, and the length.
    fn seed(&self, src: IpAddr, dst: IpAddr, datagram: &[u8]) -> Result<(Sum, u16)> {
        if datagram.len() < HEADER_LEN {
            return Err(Error::NoSpace);
        }
        let len = u16::try_from(datagram.len()).map_err(|_| Error::BadLength)?;
        let seed = Sum::pseudo(src, dst, Protocol::UDP, len.into()).ok_or(Error::BadLength)?;
        Ok((seed, len))
    }

    /// The header as it goes on the wire, made in registers and written once: a sum over what was just stored in
    /// parts would wait for the stores.
    #[inline]
    pub(crate) fn header(&self, len: u16, checksum: u16) -> [u8; HEADER_LEN] {
        let fields = [self.src_port, self.dst_port, len, checksum];
        fields.into_iter().fold(0, |word, field| word << 16 | u64::from(field)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const V4: (IpAddr, IpAddr) =
        (IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1)), IpAddr::V4(Ipv4Addr::new(198, 18, 1, 2)));
    const V6: (IpAddr, IpAddr) = (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    );
    const REPR: UdpRepr = UdpRepr { src_port: 5000, dst_port: 8000 };

    fn datagram((src, dst): (IpAddr, IpAddr)) -> [u8; 13] {
        let mut b = *b"........hello";
        REPR.emit(src, dst, &mut b).unwrap();
        b
    }

    #[test]
    fn an_emitted_datagram_is_read_back_and_its_checksum_holds() {
        for (src, dst) in [V4, V6] {
            let b = datagram((src, dst));
            let p = Udp::new_checked(b).unwrap();
            assert_eq!((p.src_port(), p.dst_port(), p.payload()), (5000, 8000, &b"hello"[..]));
            assert!(p.has_valid_checksum(src, dst));
            for bit in 0..13 * 8 {
                let mut b = b;
                b[bit / 8] ^= 0x80 >> (bit % 8);
                assert!(!Udp::new_checked(b).is_ok_and(|p| p.has_valid_checksum(src, dst)));
            }
        }
    }

    #[test]
    fn the_checksum_is_absent_by_right_over_ipv4_only() {
        for ((src, dst), want) in [(V4, true), (V6, false), ((V4.0, V6.1), false)] {
            let mut b = datagram(V4);
            b[6..8].fill(0);
            assert_eq!(Udp::new_checked(b).unwrap().has_valid_checksum(src, dst), want);
        }
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        // Ports chosen so that everything else folds to all ones.
        let mut b = [0; 8];
        let rest = Sum::pseudo(V4.0, V4.1, Protocol::UDP, 8).unwrap().with(&[0, 8]).fold();
        UdpRepr { src_port: !rest, dst_port: 0 }.emit(V4.0, V4.1, &mut b).unwrap();
        assert_eq!(b[6..], [0xff, 0xff]);
        assert!(Udp::new_checked(b).unwrap().has_valid_checksum(V4.0, V4.1));
    }

    #[test]
    fn a_partial_checksum_is_completed_by_adding_the_datagram() {
        let mut b = *b"........hello";
        REPR.emit_partial(V4.0, V4.1, &mut b).unwrap();
        let sum = Sum::ZERO.with(&b).udp_checksum();
        b[6..8].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(b, datagram(V4));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for len in 0..13 {
            assert_eq!(Udp::new_checked(&datagram(V4)[..len]).unwrap_err(), Error::Truncated);
        }
        for (len, want) in [(0, Error::BadLength), (7, Error::BadLength), (14, Error::Truncated)] {
            let mut b = datagram(V4);
            b[5] = len;
            assert_eq!(Udp::new_checked(b).unwrap_err(), want);
        }
        let mut huge = vec![0; 65_536];
        assert_eq!(REPR.emit(V4.0, V4.1, &mut huge), Err(Error::BadLength));
        assert_eq!(REPR.emit(V4.0, V4.1, &mut huge[..7]), Err(Error::NoSpace));
        assert_eq!(REPR.emit(V4.0, V6.1, &mut huge[..8]), Err(Error::BadLength));
    }
}

//! The Internet checksum (RFC 1071): sums, the pseudo headers of IPv4 (RFC 768) and IPv6 (RFC 8200
//! section 8.1), and the incremental update of RFC 1624.
//!
//! A [`Sum`] is an unfinished one's complement sum; parts are added in any order as long as each
//! part but the last has an even length. A packet whose checksum is right sums to all ones.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// An unfinished one's complement sum, in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Sums side by side.
const LANES: usize = 4;

impl Sum {
    /// The empty sum.
    pub const ZERO: Sum = Sum(0);

    /// The sum of the pseudo header for a UDP or ICMPv6 message of `len` bytes.
    /// `None` when the addresses are of two families.
    pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: Protocol, len: u32) -> Option<Sum> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Sum::pseudo_v4(src, dst, protocol, len)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Sum::pseudo_v6(src, dst, protocol, len)),
            _ => None,
        }
    }

    /// The sum of the IPv4 pseudo header.
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u32) -> Sum {
        Sum::ZERO.with(&src.octets()).with(&dst.octets()).add_tail(protocol, len)
    }

    /// The sum of the IPv6 pseudo header.
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Sum {
        Sum::ZERO.with(&src.octets()).with(&dst.octets()).add_tail(protocol, len)
    }

    fn add_tail(self, protocol: Protocol, len: u32) -> Sum {
        self.with(&len.to_be_bytes()).with(&[0, protocol.0])
    }

    /// The sum with `data` added; an odd last byte counts as if a zero byte followed.
    ///
    /// One's complement sums do not depend on byte order, and may be taken over longer words (RFC 1071 section 2): 64
    /// bits are added as the machine reads them, with their carries above, and folded at the end.
    #[inline]
    pub fn with(self, data: &[u8]) -> Sum {
        // Several sums side by side, for packets are long and one sum would be a chain.
        let (blocks, rest) = data.as_chunks::<{ 8 * LANES }>();
        let mut lanes = [0_u128; LANES];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane += u128::from(u64::from_ne_bytes(*word));
            }
        }
        let begun = u128::from(self.0) + lanes.iter().sum::<u128>();
        let (words, rest) = rest.as_chunks::<8>();
        let sum = words.iter().fold(begun, |sum, w| sum + u128::from(u64::from_ne_bytes(*w)));
        // Two bytes after the other: a word loaded from what is stored byte by byte would wait for the stores.
        let (pairs, odd) = rest.as_chunks::<2>();
        let sum = pairs.iter().fold(sum, |sum, w| sum + u128::from(u16::from_ne_bytes(*w)));
        let sum =
            odd.iter().fold(sum, |sum, byte| sum + u128::from(u16::from_ne_bytes([*byte, 0])));
        let folded = (sum as u64 & 0xffff_ffff) + (sum as u64 >> 32) + (sum >> 64) as u64;
        Sum(folded)
    }

    /// The sum with a big-endian field of 16 bits added.
    #[inline]
    pub fn with_field(self, field: u16) -> Sum {
        Sum(self.0 + u64::from(field.to_be()))
    }

    /// The sum with four bytes added.
    #[inline]
    pub fn with_four(self, bytes: [u8; 4]) -> Sum {
        Sum(self.0 + u64::from(u32::from_ne_bytes(bytes)))
    }

    /// The folded 16-bit sum, as a big-endian field would hold it, not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        // Both halves added to each other twice: what the lower sum carries is what the upper one lacks.
        let s = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let s = s.wrapping_add(s.rotate_left(16)) >> 16;
        u16::from_be_bytes((s as u16).to_ne_bytes())
    }

    /// The checksum field for bytes whose own checksum field was zero while summed.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The UDP checksum field: zero means "none" there, so a zero result is sent as all ones (RFC
    /// 768).
    #[inline]
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// Whether bytes including their checksum field sum to all ones.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The checksum after one 16-bit word under it changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 in its plainest form: sixteen-bit big-endian words, end-around carry at every step.
    fn by_the_book(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.with(&data).fold(), 0xddf2);
        assert_eq!(Sum::ZERO.with(&data).checksum(), 0x220d);
    }

    #[test]
    fn every_length_and_split_agrees_with_the_book() {
        let data: Vec<u8> = (0..97u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        for len in 0..data.len() {
            let want = by_the_book(&data[..len]);
            assert_eq!(Sum::ZERO.with(&data[..len]).fold(), want, "{len}");
            for split in (0..len).step_by(2) {
                let sum = Sum::ZERO.with(&data[split..len]).with(&data[..split]);
                assert_eq!(sum.fold(), want, "{len} {split}");
            }
        }
    }

    #[test]
    fn all_ones_of_the_largest_packet_do_not_overflow() {
        let data = vec![0xff; 65_536];
        assert_eq!(Sum::ZERO.with(&data).fold(), 0xffff);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_is_met() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_update_equals_a_new_sum() {
        let mut data = [0x45, 0x00, 0x00, 0x54, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x12, 0x34];
        for new in [0u16, 1, 0x7fff, 0xfffe, 0xffff] {
            let before = Sum::ZERO.with(&data).checksum();
            let old = u16::from_be_bytes([data[8], data[9]]);
            data[8..10].copy_from_slice(&new.to_be_bytes());
            assert_eq!(update(before, old, new), Sum::ZERO.with(&data).checksum(), "{new}");
        }
    }

    #[test]
    fn two_families_have_no_pseudo_header() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(Sum::pseudo(v4, v6, Protocol::UDP, 8), None);
        assert!(Sum::pseudo(v6, v6, Protocol::UDP, 8).is_some());
    }
}

//! Ethernet II frames with at most one 802.1Q tag. A second tag stays where it is, as an EtherType
//! nobody takes.

use core::ops::Range;

use crate::{Error, Result, bytes};

/// Length of the untagged header in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of one 802.1Q tag in bytes.
pub const TAG_LEN: usize = 4;
/// The EtherType of an 802.1Q tag.
const TPID_8021Q: u16 = 0x8100;

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Whether the group bit is set: broadcast or multicast.
    pub fn is_multicast(self) -> bool {
        self.0.first().is_some_and(|b| b & 1 != 0)
    }

    /// Whether it can be the address of one station: neither a group nor all zero.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Mac::default()
    }
}

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the payload of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP.
    pub const ARP: EtherType = EtherType(0x0806);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
}

/// A checked frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<T> {
    buffer: T,
    header_len: usize,
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks that the header, and the tag if there is one, are whole.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        let tagged = bytes::u16_at(b, 12) == TPID_8021Q;
        let header_len = if tagged { HEADER_LEN + TAG_LEN } else { HEADER_LEN };
        if b.len() < header_len { Err(Error::Truncated) } else { Ok(Frame { buffer, header_len }) }
    }

    /// The destination.
    pub fn dst(&self) -> Mac {
        Mac(bytes::array_at(self.buffer.as_ref(), 0))
    }

    /// The source.
    pub fn src(&self) -> Mac {
        Mac(bytes::array_at(self.buffer.as_ref(), 6))
    }

    /// The VLAN id of the tag: `None` without a tag, 0 for a tag that carries only a priority.
    pub fn vlan(&self) -> Option<u16> {
        (self.header_len > HEADER_LEN).then(|| bytes::u16_at(self.buffer.as_ref(), 14) & 0x0fff)
    }

    /// The type of the payload, behind the tag.
    pub fn ethertype(&self) -> EtherType {
        EtherType(bytes::u16_at(self.buffer.as_ref(), self.header_len - 2))
    }

    /// Where the payload lies; trailing padding of short frames included.
    pub fn payload_range(&self) -> Range<usize> {
        self.header_len..self.buffer.as_ref().len().max(self.header_len)
    }

    /// The payload, trailing padding of short frames included.
    pub fn payload(&self) -> &[u8] {
        bytes::tail(self.buffer.as_ref(), self.header_len)
    }
}

/// The header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRepr {
    /// The destination.
    pub dst: Mac,
    /// The source.
    pub src: Mac,
    /// The VLAN id (0 to 4095) of the tag, if one is to be written; priority is zero.
    pub vlan: Option<u16>,
    /// The type of the payload.
    pub ethertype: EtherType,
}

impl FrameRepr {
    /// Length of the header in bytes.
    pub fn header_len(&self) -> usize {
        if self.vlan.is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
    }

    /// Writes the header to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`; `BadType` for a VLAN id above 4095.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let len = self.header_len();
        if out.len() < len {
            return Err(Error::NoSpace);
        }
        bytes::put(out, 0, self.dst.0);
        bytes::put(out, 6, self.src.0);
        if let Some(vlan) = self.vlan {
            if vlan > 0x0fff {
                return Err(Error::BadType);
            }
            bytes::put(out, 12, TPID_8021Q.to_be_bytes());
            bytes::put(out, 14, vlan.to_be_bytes());
        }
        bytes::put(out, len - 2, self.ethertype.0.to_be_bytes());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGGED: [u8; 20] =
        [0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x81, 0x00, 0xa0, 0x64, 0x08, 0x00, b'h', b'i'];

    #[test]
    fn a_tagged_frame_shows_its_vlan_and_inner_type() {
        let f = Frame::new_checked(TAGGED).unwrap();
        assert_eq!((f.dst(), f.src()), (Mac([2, 0, 0, 0, 0, 2]), Mac([2, 0, 0, 0, 0, 1])));
        assert_eq!(
            (f.vlan(), f.ethertype(), f.payload()),
            (Some(100), EtherType::IPV4, &b"hi"[..])
        );
        assert_eq!(f.payload_range(), 18..20);
    }

    #[test]
    fn an_untagged_frame_has_no_vlan() {
        let mut b = TAGGED.to_vec();
        b.drain(12..16);
        let f = Frame::new_checked(b).unwrap();
        assert_eq!((f.vlan(), f.ethertype(), f.payload()), (None, EtherType::IPV4, &b"hi"[..]));
    }

    #[test]
    fn a_frame_cut_in_its_header_is_truncated() {
        for len in 0..18 {
            assert_eq!(Frame::new_checked(&TAGGED[..len]).unwrap_err(), Error::Truncated);
        }
    }

    #[test]
    fn headers_are_emitted_with_and_without_a_tag() {
        let f = Frame::new_checked(TAGGED).unwrap();
        let mut repr =
            FrameRepr { dst: f.dst(), src: f.src(), vlan: Some(100), ethertype: EtherType::IPV4 };
        let mut out = [0; 18];
        assert_eq!(repr.emit(&mut out), Ok(18));
        // The priority bits of the sample (0xa0) are not ours to repeat.
        assert_eq!(out[..14], TAGGED[..14]);
        assert_eq!(out[14..], [0x00, 0x64, 0x08, 0x00]);
        repr.vlan = None;
        assert_eq!(repr.emit(&mut out), Ok(14));
        assert_eq!(out[12..14], [0x08, 0x00]);
        assert_eq!(repr.emit(&mut out[..13]), Err(Error::NoSpace));
        repr.vlan = Some(4096);
        assert_eq!(repr.emit(&mut out), Err(Error::BadType));
    }

    #[test]
    fn unicast_is_neither_group_nor_zero() {
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!Mac::BROADCAST.is_unicast() && !Mac::default().is_unicast());
        assert_eq!(Mac([2, 0, 0xab, 0, 0, 1]).to_string(), "02:00:ab:00:00:01");
    }
}

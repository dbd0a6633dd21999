//! All headers below a datagram's payload, made once for what leaves one end, and filled in for each datagram with
//! what tells it apart: the next hop, the receiver, the lengths, the checksums.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::ethernet::FrameRepr;
use crate::ipv4::{self, Ipv4Repr};
use crate::ipv6::{self, Ipv6Repr};
use crate::udp::{self, UdpRepr};
use crate::{Error, Mac, Protocol, Result, bytes};

/// An Ethernet header with a tag, IPv6, UDP.
const LEN_MAX: usize = 18 + ipv6::HEADER_LEN + udp::HEADER_LEN;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The source address.
    pub ip: IpAddr,
    /// The source port.
    pub port: u16,
    /// The time to live, or hop limit.
    pub ttl: u8,
}

/// To whom a datagram goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Who takes the frame.
    pub hop: Mac,
    /// The destination address.
    pub ip: IpAddr,
    /// The destination port.
    pub port: u16,
    /// The differentiated services code point, 0 to 63; higher bits are ignored.
    pub dscp: u8,
}

/// Ethernet, IP and UDP headers of datagrams to nobody in particular.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    bytes: [u8; LEN_MAX],
    len: usize,
    ip_at: usize,
    src_port: u16,
    /// Of the IPv4 header, without what is filled in; nothing with IPv6.
    ip: Option<Sum>,
    /// Of pseudo header and UDP header, likewise.
    udp: Sum,
}

impl Headers {
    /// The link's destination does not matter: each frame has its own.
    ///
    /// # Errors
    /// `BadType` for a VLAN id above 4095.
    pub fn new(link: FrameRepr, from: Sender) -> Result<Headers> {
        let mut bytes = [0; LEN_MAX];
        let ip_at = link.emit(&mut bytes)?;
        let out = bytes.get_mut(ip_at..).unwrap_or_default();
        let Sender { ttl, port, .. } = from;
        let (protocol, payload_len, dscp) = (Protocol::UDP, 0, 0);
        let (nobody, ip, ip_len) = match from.ip {
            IpAddr::V4(src) => {
                let dst = Ipv4Addr::UNSPECIFIED;
                // Not fragmented on the way, so the identification may be zero (RFC 6864 section 4.1).
                let (ident, dont_fragment) = (0, true);
                Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }
                    .emit(out)?;
                bytes::put(out, ipv4::TOTAL_AT, [0; 2]);
                bytes::put(out, ipv4::CHECKSUM_AT, [0; 2]);
                let sum = Sum::ZERO.with(bytes::range(out, 0, ipv4::HEADER_LEN));
                (dst.into(), Some(sum), ipv4::HEADER_LEN)
            }
            IpAddr::V6(src) => {
                let (dst, hop_limit) = (Ipv6Addr::UNSPECIFIED, ttl);
                Ipv6Repr { src, dst, protocol, payload_len, hop_limit, dscp }.emit(out)?;
                (dst.into(), None, ipv6::HEADER_LEN)
            }
        };
        let pseudo = Sum::pseudo(from.ip, nobody, protocol, 0).ok_or(Error::BadLength)?;
        let len = ip_at + ip_len + udp::HEADER_LEN;
        Ok(Headers { bytes, len, ip_at, src_port: port, ip, udp: pseudo.with_field(port) })
    }

    /// Their length in bytes.
    pub fn header_len(&self) -> usize {
        self.len
    }

    /// Writes them to the start of `frame`, the rest of which is the payload.
    ///
    /// # Errors
    /// `NoSpace` when the frame is shorter; `BadLength` above 65,535 bytes, or for a receiver of another family.
    #[inline]
    pub fn fill(&self, to: Receiver, frame: &mut [u8]) -> Result<()> {
        let (head, payload) = frame.split_at_mut_checked(self.len).ok_or(Error::NoSpace)?;
        let ip_len = ipv4::HEADER_LEN + udp::HEADER_LEN + payload.len();
        let ip_len = u16::try_from(ip_len).map_err(|_| Error::BadLength)?;
        let len = ip_len - ipv4::HEADER_LEN as u16;
        // Lengths that the compiler knows are copied by a few moves.
        match self.len {
            UNTAGGED_V4 => copy::<UNTAGGED_V4>(&self.bytes, head),
            TAGGED_V4 => copy::<TAGGED_V4>(&self.bytes, head),
            len => bytes::put_slice(head, 0, bytes::range(&self.bytes, 0, len)),
        }
        bytes::put(head, 0, to.hop.0);
        let ports = UdpRepr { src_port: self.src_port, dst_port: to.port };
        let class = u16::from(to.dscp << 2);
        let sum = self.udp.with_field(to.port).with_field(len).with_field(len).with(payload);
        // The receiver's address is the last field in front of UDP with either family.
        match (to.ip, self.ip) {
            (IpAddr::V4(dst), Some(ip)) => {
                let dst = dst.octets();
                let checksum = ip.with_field(class).with_field(ip_len).with_four(dst).checksum();
                bytes::put(head, self.ip_at, (0x4500 | class).to_be_bytes());
                bytes::put(head, self.ip_at + ipv4::TOTAL_AT, ip_len.to_be_bytes());
                bytes::put(head, self.ip_at + ipv4::CHECKSUM_AT, checksum.to_be_bytes());
                bytes::put(head, self.len - udp::HEADER_LEN - dst.len(), dst);
                let udp = ports.header(len, sum.with_four(dst).udp_checksum());
                bytes::put(head, self.len - udp.len(), udp);
            }
            (IpAddr::V6(dst), None) => {
                let dst = dst.octets();
                bytes::put(head, self.ip_at, (0x6000 | class << 4).to_be_bytes());
                bytes::put(head, self.ip_at + ipv6::PAYLOAD_LEN_AT, len.to_be_bytes());
                bytes::put(head, self.len - udp::HEADER_LEN - dst.len(), dst);
                let udp = ports.header(len, sum.with(&dst).udp_checksum());
                bytes::put(head, self.len - udp.len(), udp);
            }
            _ => return Err(Error::BadLength),
        }
        Ok(())
    }
}

const UNTAGGED_V4: usize = 14 + ipv4::HEADER_LEN + udp::HEADER_LEN;
const TAGGED_V4: usize = UNTAGGED_V4 + 4;

#[inline(always)]
fn copy<const N: usize>(from: &[u8; LEN_MAX], to: &mut [u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::EtherType;

    const HOP: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const ADDRESSES: [&str; 2] = ["198.18.7.2", "2001:db8:7::2"];

    fn sender(at: usize) -> Sender {
        Sender { ip: ADDRESSES[at].parse().unwrap(), port: 8000, ttl: 64 }
    }

    fn link(at: usize, vlan: Option<u16>) -> FrameRepr {
        let ethertype = if at == 0 { EtherType::IPV4 } else { EtherType::IPV6 };
        FrameRepr { dst: HOP, src: Mac([2, 0, 0, 0, 0, 8]), vlan, ethertype }
    }

    /// The same by the emitters of each header.
    fn one_by_one(link: FrameRepr, from: Sender, to: Receiver, payload: &[u8]) -> Vec<u8> {
        let ip_len = if from.ip.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let udp_at = link.header_len() + ip_len;
        let mut frame = vec![0; udp_at + udp::HEADER_LEN];
        frame.extend_from_slice(payload);
        let (below, datagram) = frame.split_at_mut(udp_at);
        let ip_at = link.emit(below).unwrap();
        let out = &mut below[ip_at..];
        let (dscp, ttl, hop_limit) = (to.dscp, from.ttl, from.ttl);
        let (protocol, payload_len) = (Protocol::UDP, datagram.len());
        match (from.ip, to.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (ident, dont_fragment) = (0, true);
                Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }
                    .emit(out)
                    .unwrap();
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Ipv6Repr { src, dst, protocol, payload_len, hop_limit, dscp }.emit(out).unwrap();
            }
            _ => unreachable!(),
        }
        let ports = UdpRepr { src_port: from.port, dst_port: to.port };
        ports.emit(from.ip, to.ip, datagram).unwrap();
        frame
    }

    #[test]
    fn what_is_filled_in_is_what_the_emitters_of_each_header_write() {
        let others = [["198.18.7.9", "255.255.255.254"], ["2001:db8:7::9", "ffff::ffff"]];
        for (at, vlan) in [(0, None), (0, Some(100)), (1, None), (1, Some(100))] {
            let nobody = FrameRepr { dst: Mac([7; 6]), ..link(at, vlan) };
            let headers = Headers::new(nobody, sender(at)).unwrap();
            for len in (0..140).chain([1200, 1201, 1472, 65_000]) {
                for (fill, dscp) in [(0, 0), (0xff, 46), (0x5b, 63)] {
                    let payload: Vec<u8> =
                        (0..len).map(|byte| fill ^ (byte as u8 & (fill / 2))).collect();
                    let ip = others[at][len % 2].parse().unwrap();
                    let to = Receiver { hop: HOP, ip, port: 0xfffe, dscp };
                    let expected = one_by_one(link(at, vlan), sender(at), to, &payload);
                    let mut frame = vec![0xee; headers.header_len()];
                    frame.extend_from_slice(&payload);
                    headers.fill(to, &mut frame).unwrap();
                    assert_eq!(frame, expected, "{len} {fill} {vlan:?}");
                }
            }
        }
    }

    #[test]
    fn another_family_no_room_and_too_much_are_refused() {
        let headers = Headers::new(link(0, None), sender(0)).unwrap();
        let [v4, v6] = [0, 1].map(|at| Receiver { hop: HOP, ip: sender(at).ip, port: 1, dscp: 0 });
        assert_eq!(headers.fill(v6, &mut [0; 100]), Err(Error::BadLength));
        assert_eq!(headers.fill(v4, &mut [0; 41]), Err(Error::NoSpace));
        assert_eq!(headers.fill(v4, &mut vec![0; 70_000]), Err(Error::BadLength));
        let bad = Headers::new(FrameRepr { vlan: Some(4096), ..link(0, None) }, sender(0));
        assert_eq!(bad.err(), Some(Error::BadType));
    }
}

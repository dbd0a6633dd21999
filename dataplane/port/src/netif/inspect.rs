//! Decides what a received frame is. Reads the frame and the port's facts, sets nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use proto::DropReason;
use roomlane_core::{Endpoint, Path};
use wire::arp::{self, Arp};
use wire::ethernet::{EtherType, Frame};
use wire::icmp::{Family, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::ndp::{self, Ndp};
use wire::udp::Udp;
use wire::{Error, Mac, Protocol};

use super::local::Local;
use crate::RxChecksum;

/// What to do with a frame that is not dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A datagram for a shard: its payload's place in the frame.
    Deliver { path: Path, payload: Range<usize> },
    /// A question for us.
    Answer(Answer),
    /// An answer that may be one to our own question.
    Learn { ip: IpAddr, mac: Mac },
}

/// A question that is answered without a shard. `to` is whoever sent the frame, so that no answer
/// goes to a third station.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Who has our IPv4 address?
    Arp { to: Mac, request: Arp },
    /// Who has our IPv6 address? `asker` is unspecified while it checks for duplicates.
    Ndp { to: Mac, asker: Ipv6Addr, target: Ipv6Addr },
    /// A ping; `echo` is the ICMP message's place in the frame.
    Ping { to: Mac, src: IpAddr, dst: IpAddr, echo: Range<usize> },
}

type Verdict = Result<Action, DropReason>;

/// Decides what `frame` is; `checksum` is the device's word on it.
pub(super) fn inspect(local: &Local, frame: &[u8], checksum: RxChecksum) -> Verdict {
    let f = Frame::new_checked(frame).map_err(|_| DropReason::BadFrame)?;
    let (dst, src) = (f.dst(), f.src());
    if !src.is_unicast() {
        return Err(DropReason::BadFrame);
    }
    if dst != local.mac && dst != Mac::BROADCAST && !local.listens_to(dst) {
        return Err(DropReason::NotOurs);
    }
    if !local.accepts_vlan(f.vlan()) {
        return Err(DropReason::WrongVlan);
    }
    if checksum == RxChecksum::Bad {
        return Err(DropReason::BadChecksum);
    }
    let packet = Packet { local, to_us_alone: dst == local.mac, from: src, checksum };
    let at = f.payload_range().start;
    match f.ethertype() {
        EtherType::ARP => packet.arp(f.payload()),
        EtherType::IPV4 => packet.ipv4(f.payload(), at),
        EtherType::IPV6 => packet.ipv6(f.payload(), at),
        _ => Err(DropReason::NotOurs),
    }
}

/// What the link layer told of the packet inside.
struct Packet<'a> {
    local: &'a Local,
    /// The frame was addressed to our MAC and to no group.
    to_us_alone: bool,
    from: Mac,
    checksum: RxChecksum,
}

impl Packet<'_> {
    fn arp(&self, message: &[u8]) -> Verdict {
        let arp = Arp::parse(message).map_err(|_| DropReason::BadFrame)?;
        if !arp.sender_mac.is_unicast() {
            return Err(DropReason::BadFrame);
        }
        let target_is_ours = self.local.has(arp.target_ip.into());
        let sender_is_us = self.local.has(arp.sender_ip.into());
        if !target_is_ours || sender_is_us {
            return Err(DropReason::NotOurs);
        }
        match arp.operation {
            arp::Operation::Request => {
                Ok(Action::Answer(Answer::Arp { to: self.from, request: arp }))
            }
            // A broadcast reply is gratuitous whatever it says.
            arp::Operation::Reply if self.to_us_alone && arp.target_mac == self.local.mac => {
                Ok(Action::Learn { ip: arp.sender_ip.into(), mac: arp.sender_mac })
            }
            arp::Operation::Reply => Err(DropReason::NotOurs),
        }
    }

    fn ipv4(&self, packet: &[u8], at: usize) -> Verdict {
        let p = Ipv4::new_checked(packet).map_err(bad_ip)?;
        if self.checksum != RxChecksum::Good && !p.has_valid_checksum() {
            return Err(DropReason::BadChecksum);
        }
        let (src, dst) = (p.src(), p.dst());
        if !self.to_us_alone || !self.local.has(dst.into()) {
            return Err(DropReason::NotOurs);
        }
        if !is_possible_source_v4(src) || self.local.has(src.into()) || p.is_source_routed() {
            return Err(DropReason::BadIp);
        }
        if p.is_fragment() {
            return Err(DropReason::Fragment);
        }
        let range = p.payload_range();
        let range = at + range.start..at + range.end;
        match p.protocol() {
            Protocol::UDP => self.udp(p.payload(), range.start, src.into(), dst.into()),
            Protocol::ICMP => {
                let message = Icmp::new_checked(p.payload(), Family::V4).map_err(bad_message)?;
                // A reply has no options, so a request with some is not worth one.
                let has_options = p.header_len() != wire::ipv4::HEADER_LEN;
                if !message.is_echo_request() || has_options {
                    return Err(DropReason::NotOurs);
                }
                Ok(self.ping(src.into(), dst.into(), range))
            }
            _ => Err(DropReason::NotOurs),
        }
    }

    fn ipv6(&self, packet: &[u8], at: usize) -> Verdict {
        let p = Ipv6::new_checked(packet).map_err(bad_ip)?;
        let (src, dst) = (p.src(), p.dst());
        let dst_is_ours = self.to_us_alone && self.local.has(dst.into());
        // Only a solicitation may come to a group.
        if !dst_is_ours && !dst.is_multicast() {
            return Err(DropReason::NotOurs);
        }
        if !is_possible_source_v6(src) || self.local.has(src.into()) {
            return Err(DropReason::BadIp);
        }
        let protocol = p.protocol().map_err(bad_ip)?;
        let range = p.payload_range();
        let range = at + range.start..at + range.end;
        match protocol {
            Protocol::UDP if dst_is_ours && !src.is_unspecified() => {
                self.udp(p.payload(), range.start, src.into(), dst.into())
            }
            Protocol::ICMPV6 => {
                let family = Family::V6(src, dst);
                let message = Icmp::new_checked(p.payload(), family).map_err(bad_message)?;
                if ndp::is_ndp(message.message_type()) {
                    return self.ndp(&p);
                }
                if !message.is_echo_request() || !dst_is_ours || src.is_unspecified() {
                    return Err(DropReason::NotOurs);
                }
                Ok(self.ping(src.into(), dst.into(), range))
            }
            _ => Err(DropReason::NotOurs),
        }
    }

    /// The rules of RFC 4861 sections 7.1.1 and 7.1.2 that need the IPv6 header.
    fn ndp(&self, p: &Ipv6<&[u8]>) -> Verdict {
        let (src, dst) = (p.src(), p.dst());
        let message = Ndp::parse(p.payload()).map_err(bad_message)?;
        if p.hop_limit() != ndp::HOP_LIMIT {
            return Err(DropReason::BadFrame);
        }
        match message {
            Ndp::Solicit { target, source_mac } => {
                let group = ndp::solicited_node(target);
                if src.is_unspecified() && (dst != group || source_mac.is_some()) {
                    return Err(DropReason::BadFrame);
                }
                if !self.local.has(target.into()) || (dst != target && dst != group) {
                    return Err(DropReason::NotOurs);
                }
                Ok(Action::Answer(Answer::Ndp { to: self.from, asker: src, target }))
            }
            Ndp::Advert { solicited: true, target, target_mac: Some(mac), .. }
                if self.to_us_alone && self.local.has(dst.into()) && mac.is_unicast() =>
            {
                Ok(Action::Learn { ip: target.into(), mac })
            }
            Ndp::Advert { .. } => Err(DropReason::NotOurs),
        }
    }

    fn ping(&self, src: IpAddr, dst: IpAddr, echo: Range<usize>) -> Action {
        Action::Answer(Answer::Ping { to: self.from, src, dst, echo })
    }

    fn udp(&self, datagram: &[u8], at: usize, src: IpAddr, dst: IpAddr) -> Verdict {
        let p = Udp::new_checked(datagram).map_err(|_| DropReason::BadLength)?;
        // Bytes behind the datagram, inside the IP packet, belong to nobody.
        if p.payload_range().end != datagram.len() {
            return Err(DropReason::BadLength);
        }
        if p.checksum() == 0 && dst.is_ipv6() {
            return Err(DropReason::BadChecksum);
        }
        if !self.local.has_shard(p.dst_port()) {
            return Err(DropReason::NoPort);
        }
        // Nothing can be sent back to port 0 (RFC 768).
        if p.src_port() == 0 {
            return Err(DropReason::NotOurs);
        }
        let path = Path {
            local: Endpoint::new(dst, p.dst_port()),
            remote: Endpoint::new(src, p.src_port()),
        };
        let payload = p.payload_range();
        Ok(Action::Deliver { path, payload: at + payload.start..at + payload.end })
    }
}

/// Sources that no other host can have (RFC 1122 section 3.2.1.3).
fn is_possible_source_v4(src: Ipv4Addr) -> bool {
    !(src.octets()[0] == 0 || src.is_loopback() || src.is_multicast() || src.octets()[0] >= 240)
}

/// As above; an IPv4-mapped source would pass for the IPv4 host of that address everywhere else.
/// The unspecified source is left to the messages that may have it.
fn is_possible_source_v6(src: Ipv6Addr) -> bool {
    !(src.is_loopback() || src.is_multicast() || src.to_ipv4_mapped().is_some())
}

fn bad_ip(error: Error) -> DropReason {
    match error {
        Error::Truncated | Error::BadLength => DropReason::BadLength,
        Error::Fragment => DropReason::Fragment,
        Error::ExtensionHeader => DropReason::NotOurs,
        _ => DropReason::BadIp,
    }
}

fn bad_message(error: Error) -> DropReason {
    match error {
        Error::BadChecksum => DropReason::BadChecksum,
        _ => DropReason::BadFrame,
    }
}

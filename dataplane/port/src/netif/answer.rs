//! Writes replies (ARP, NDP, ping) into the buffer of their question, and our own questions into
//! new ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::DropReason;
use roomlane_core::{Buf, Instant};
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, FrameRepr};
use wire::icmp::{Family, Icmp};
use wire::ipv4;
use wire::ipv6::{self, Ipv6Repr};
use wire::ndp::{self, Ndp};
use wire::{Mac, Protocol, arp};

use super::inspect::Answer;
use super::local::Local;
use super::{Netif, limits, transmit};
use crate::EtherDevice;

/// All nodes of the link: where an answer goes whose asker has no address yet.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The shortest frame without its FCS; ARP is below it and is padded with zeros.
const FRAME_LEN_MIN: usize = 60;

impl<D: EtherDevice> Netif<D> {
    /// Answers a question within the rate, reusing its buffer.
    pub(super) fn answer(&mut self, now: Instant, answer: Answer, mut buf: D::Buf) {
        let allowed = match answer {
            Answer::Ping { .. } => self.pings.take(now),
            _ => self.answers.take(now),
        };
        let written = match answer {
            _ if !allowed => Err(DropReason::PingLimit),
            Answer::Arp { to, request } => write_arp_reply(&self.local, to, request, &mut buf),
            Answer::Ndp { to, asker, target } => {
                write_advert(&self.local, to, asker, target, &mut buf)
            }
            Answer::Ping { to, src, dst, echo } => {
                buf.truncate(echo.end);
                write_pong(&self.local, to, (src, dst), echo.start, buf.bytes_mut())
            }
        };
        match written {
            Ok(()) => {
                self.stats.answered += 1;
                self.send_control(buf);
            }
            Err(reason) => {
                self.stats.drop(reason);
                self.device.free(buf);
            }
        }
    }

    /// Asks who has `neighbour`; an old MAC is asked directly, an unknown one by broadcast or
    /// group.
    pub(super) fn ask(&mut self, neighbour: IpAddr, known: Option<Mac>) {
        let Some(source) = self.local.source_for(neighbour) else { return };
        let Some(mut buf) = self.device.alloc() else {
            self.stats.drop(DropReason::NoMbuf);
            return;
        };
        let written = match (source, neighbour) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                write_arp_request(&self.local, known, source, target, &mut buf)
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                write_solicit(&self.local, source, target, &mut buf)
            }
            _ => Err(DropReason::NotOurs),
        };
        match written {
            Ok(()) => self.send_control(buf),
            Err(reason) => {
                self.stats.drop(reason);
                self.device.free(buf);
            }
        }
    }

    /// Keeps the gateways' MACs known, so that the first packet through them need not be dropped.
    pub(super) fn keep_gateways(&mut self, now: Instant) {
        let is_recent = |at| now.since(at) < limits::GATEWAY_PAUSE;
        if self.gateways_checked.is_some_and(is_recent) {
            return;
        }
        self.gateways_checked = Some(now);
        for gateway in self.local.gateways().into_iter().flatten() {
            let found = self.neighbours.lookup(gateway, now, &mut self.asks);
            if found.ask {
                self.ask(gateway, found.mac);
            }
        }
    }

    fn send_control(&mut self, buf: D::Buf) {
        if self.control.is_full() {
            self.flush_control();
        }
        self.control.push(buf);
    }
}

type Written = Result<(), DropReason>;

/// A frame of `len` payload bytes in place of whatever `buf` holds; the payload is zeroed.
fn start_frame<'a, B: Buf>(
    local: &Local,
    dst: Mac,
    ethertype: EtherType,
    len: usize,
    buf: &'a mut B,
) -> Result<&'a mut [u8], DropReason> {
    let header = FrameRepr { dst, src: local.mac, vlan: local.vlan, ethertype };
    let header_len = header.header_len();
    buf.truncate(0);
    let frame = buf.append((header_len + len).max(FRAME_LEN_MIN)).ok_or(DropReason::Oversize)?;
    frame.fill(0);
    header.emit(frame).map_err(|_| DropReason::Oversize)?;
    frame.get_mut(header_len..header_len + len).ok_or(DropReason::Oversize)
}

fn write_arp<B: Buf>(local: &Local, dst: Mac, message: Arp, buf: &mut B) -> Written {
    let out = start_frame(local, dst, EtherType::ARP, arp::LEN, buf)?;
    message.emit(out).map(|_| ()).map_err(|_| DropReason::Oversize)
}

fn write_arp_reply<B: Buf>(local: &Local, to: Mac, request: Arp, buf: &mut B) -> Written {
    let reply = Arp {
        operation: Operation::Reply,
        sender_mac: local.mac,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
    };
    write_arp(local, to, reply, buf)
}

fn write_arp_request<B: Buf>(
    local: &Local,
    known: Option<Mac>,
    source: Ipv4Addr,
    target: Ipv4Addr,
    buf: &mut B,
) -> Written {
    let request = Arp {
        operation: Operation::Request,
        sender_mac: local.mac,
        sender_ip: source,
        target_mac: Mac::default(),
        target_ip: target,
    };
    write_arp(local, known.unwrap_or(Mac::BROADCAST), request, buf)
}

fn write_ndp<B: Buf>(
    local: &Local,
    to: Mac,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    message: Ndp,
    buf: &mut B,
) -> Written {
    let payload_len = message.message_len();
    let len = ipv6::HEADER_LEN + payload_len;
    let out = start_frame(local, to, EtherType::IPV6, len, buf)?;
    let header = Ipv6Repr {
        src,
        dst,
        protocol: Protocol::ICMPV6,
        payload_len,
        hop_limit: ndp::HOP_LIMIT,
        dscp: 0,
    };
    header.emit(out).map_err(|_| DropReason::Oversize)?;
    let body = out.get_mut(ipv6::HEADER_LEN..).ok_or(DropReason::Oversize)?;
    message.emit(src, dst, body).map(|_| ()).map_err(|_| DropReason::Oversize)
}

fn write_advert<B: Buf>(
    local: &Local,
    to: Mac,
    asker: Ipv6Addr,
    target: Ipv6Addr,
    buf: &mut B,
) -> Written {
    let has_asker = !asker.is_unspecified();
    let dst = if has_asker { asker } else { ALL_NODES };
    let to = if has_asker { to } else { ndp::multicast_mac(ALL_NODES) };
    let message = Ndp::Advert {
        router: false,
        solicited: has_asker,
        overrides: true,
        target,
        target_mac: Some(local.mac),
    };
    write_ndp(local, to, (target, dst), message, buf)
}

fn write_solicit<B: Buf>(
    local: &Local,
    source: Ipv6Addr,
    target: Ipv6Addr,
    buf: &mut B,
) -> Written {
    let group = ndp::solicited_node(target);
    let message = Ndp::Solicit { target, source_mac: Some(local.mac) };
    write_ndp(local, ndp::multicast_mac(group), (source, group), message, buf)
}

/// Turns a ping into its reply in place; `echo` is where the ICMP message starts.
fn write_pong(
    local: &Local,
    to: Mac,
    (asker, us): (IpAddr, IpAddr),
    echo: usize,
    frame: &mut [u8],
) -> Written {
    let bad = |_| DropReason::BadFrame;
    let (headers, message) = frame.split_at_mut_checked(echo).ok_or(DropReason::BadFrame)?;
    let family = match (asker, us) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => Family::V6(src, dst),
        _ => Family::V4,
    };
    let payload_len = message.len();
    Icmp::new_checked(message, family).and_then(|mut p| p.make_echo_reply()).map_err(bad)?;
    let ip_len = if us.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    let (link, ip) = headers
        .split_at_mut_checked(headers.len().saturating_sub(ip_len))
        .ok_or(DropReason::BadFrame)?;
    // A priority tag stays in place, so the old header is kept and only its addresses change.
    if let Some((addresses, _)) = link.split_first_chunk_mut::<12>() {
        let (dst, src) = addresses.split_at_mut(6);
        dst.copy_from_slice(&to.0);
        src.copy_from_slice(&local.mac.0);
    }
    let header = transmit::IpHeader { src: us, dst: asker, payload_len, dscp: 0 };
    match us {
        IpAddr::V4(_) => header.emit(Protocol::ICMP, ip),
        IpAddr::V6(_) => header.emit(Protocol::ICMPV6, ip),
    }
    .map_err(bad)
}

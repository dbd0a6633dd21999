//! Frames datagrams: next hop, Ethernet, IP and UDP headers, complete checksums.

use std::net::{IpAddr, SocketAddr};

use arrayvec::ArrayVec;
use proto::{DropReason, Endpoint};
use roomlane_core::{Buf, Datagram, Instant, Path, TX_BURST_MAX, TxBurst};
use wire::ethernet::{EtherType, Frame, FrameRepr};
use wire::headers::{Headers, Receiver, Sender};
use wire::ipv4::{self, Ipv4, Ipv4Repr};
use wire::ipv6::{self, Ipv6, Ipv6Repr};
use wire::udp::{self, Udp};
use wire::{Mac, Protocol};

use super::Netif;
use super::local::Local;
use crate::EtherDevice;
use crate::config::is_unicast;

/// Time to live and hop limit of what we send.
const TTL: u8 = 64;

/// How the datagrams of a burst left last: fan-outs leave from one address, and most by one gateway.
#[derive(Default)]
struct Way {
    /// An end that was found to be ours.
    src: Option<Endpoint>,
    /// A next hop and its MAC.
    hop: Option<(IpAddr, Mac)>,
    /// The headers of datagrams from `src`.
    headers: Option<Headers>,
}

impl<D: EtherDevice> Netif<D> {
    /// Frames and sends from the front of `tx`; what the device did not accept is put back as it
    /// was.
    pub(super) fn transmit(&mut self, now: Instant, tx: &mut TxBurst<D::Buf>) -> usize {
        let offered = tx.len();
        let mut frames: ArrayVec<D::Buf, TX_BURST_MAX> = ArrayVec::new();
        let (mut way, mut payload_bytes) = (Way::default(), 0);
        for mut datagram in tx.drain(..) {
            let payload_len = datagram.buf.bytes().len();
            match self.frame(now, &mut way, &mut datagram) {
                Ok(()) => {
                    payload_bytes += payload_len;
                    frames.push(datagram.buf);
                }
                Err(reason) => {
                    self.stats.drop(reason);
                    self.device.free(datagram.buf);
                }
            }
        }
        let sent = if frames.is_empty() { 0 } else { self.device.tx_frames(&mut frames) };
        self.stats.tx_packets += sent as u64;
        for frame in frames.drain(..) {
            // Devices take nearly everything, so that nobody keeps notes: what a frame was stands in it.
            match unframed(frame) {
                Ok(datagram) => {
                    payload_bytes -= datagram.buf.bytes().len();
                    tx.push(datagram);
                }
                Err(frame) => {
                    self.stats.drop(DropReason::TxFull);
                    self.device.free(frame);
                }
            }
        }
        self.stats.tx_bytes += payload_bytes as u64;
        self.flush_control();
        offered - tx.len()
    }

    fn frame(
        &mut self,
        now: Instant,
        way: &mut Way,
        datagram: &mut Datagram<D::Buf>,
    ) -> Result<(), DropReason> {
        let Datagram { path, dscp, ref mut buf } = *datagram;
        let dst = path.remote.ip();
        if way.src != Some(path.local) {
            if !self.local.has(path.local.ip()) {
                return Err(DropReason::NotOurs);
            }
            *way = Way { src: Some(path.local), hop: way.hop, headers: None };
        }
        if path.local.as_v4().is_some() != dst.is_ipv4() || !is_unicast(dst) {
            return Err(DropReason::NotOurs);
        }
        let ip_len = if dst.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        if ip_len + udp::HEADER_LEN + buf.bytes().len() > self.local.mtu {
            return Err(DropReason::Oversize);
        }
        let hop = self.resolve(now, way, dst).ok_or(DropReason::NoNeighbour)?;
        let headers = match &way.headers {
            Some(headers) => headers,
            None => {
                let headers = headers_of(&self.local, path.local);
                way.headers.insert(headers.map_err(|_| DropReason::Oversize)?)
            }
        };
        buf.prepend(headers.header_len()).ok_or(DropReason::Oversize)?;
        let to = Receiver { hop, ip: dst, port: path.remote.port, dscp };
        headers.fill(to, buf.bytes_mut()).map_err(|_| DropReason::Oversize)
    }

    /// The MAC of the next hop towards `remote`; asks for it when it is unknown or old.
    fn resolve(&mut self, now: Instant, way: &mut Way, remote: IpAddr) -> Option<Mac> {
        let next_hop = self.local.next_hop(remote)?;
        if let Some((_, mac)) = way.hop.filter(|(last, _)| *last == next_hop) {
            return Some(mac);
        }
        let found = self.neighbours.lookup(next_hop, now, &mut self.asks);
        if found.ask {
            self.ask(next_hop, found.mac);
        }
        way.hop = found.mac.map(|mac| (next_hop, mac));
        found.mac
    }
}

/// What stands in front of datagrams that leave this end.
fn headers_of(local: &Local, from: Endpoint) -> wire::Result<Headers> {
    let ip = from.ip();
    let ethertype = if ip.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
    let link = FrameRepr { dst: Mac::default(), src: local.mac, vlan: local.vlan, ethertype };
    Headers::new(link, Sender { ip, port: from.port, ttl: TTL })
}

/// The datagram that this frame was made of; the bytes themselves if they are no such frame.
#[cold]
fn unframed<B: Buf>(mut buf: B) -> Result<Datagram<B>, B> {
    match headers(buf.bytes()) {
        Ok((path, dscp, len)) => {
            buf.advance(len);
            Ok(Datagram { path, dscp, buf })
        }
        Err(_) => Err(buf),
    }
}

/// What the headers of a frame of ours say, and their length.
fn headers(frame: &[u8]) -> wire::Result<(Path, u8, usize)> {
    let link = Frame::new_checked(frame)?;
    let (src, dst, dscp, within): (IpAddr, IpAddr, _, _) = match link.ethertype() {
        EtherType::IPV4 => {
            let ip = Ipv4::new_checked(link.payload())?;
            (ip.src().into(), ip.dst().into(), ip.dscp(), ip.payload_range())
        }
        _ => {
            let ip = Ipv6::new_checked(link.payload())?;
            (ip.src().into(), ip.dst().into(), ip.dscp(), ip.payload_range())
        }
    };
    let udp = Udp::new_checked(link.payload().get(within.clone()).unwrap_or_default())?;
    let local = Endpoint::from(SocketAddr::new(src, udp.src_port()));
    let remote = Endpoint::from(SocketAddr::new(dst, udp.dst_port()));
    let len = link.payload_range().start + within.start + udp::HEADER_LEN;
    Ok((Path { local, remote }, dscp, len))
}

/// An IP header of either family, as we send it: no fragments, no options.
pub(super) struct IpHeader {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) payload_len: usize,
    pub(super) dscp: u8,
}

impl IpHeader {
    /// Writes the header; two families are refused as a bad length.
    pub(super) fn emit(&self, protocol: Protocol, out: &mut [u8]) -> wire::Result<()> {
        let IpHeader { payload_len, dscp, .. } = *self;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                // Not fragmented on the way, so the identification may be zero (RFC 6864 section
                // 4.1).
                let (ident, dont_fragment, ttl) = (0, true, TTL);
                Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }
                    .emit(out)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let hop_limit = TTL;
                Ipv6Repr { src, dst, protocol, payload_len, hop_limit, dscp }.emit(out)
            }
            _ => Err(wire::Error::BadLength),
        }
        .map(|_| ())
    }
}

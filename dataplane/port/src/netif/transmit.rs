//! Frames datagrams: next hop, Ethernet, IP and UDP headers, complete checksums.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use proto::DropReason;
use roomlane_core::{Buf, Datagram, Instant, Path, TX_BURST_MAX, TxBurst};
use wire::ethernet::{EtherType, FrameRepr};
use wire::ipv4::{self, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp::{self, UdpRepr};
use wire::{Mac, Protocol};

use super::Netif;
use super::local::Local;
use crate::EtherDevice;
use crate::config::is_unicast;

/// Time to live and hop limit of what we send.
const TTL: u8 = 64;

/// What is needed to turn a frame back into the datagram it was.
struct Framed {
    path: Path,
    dscp: u8,
    header_len: usize,
    payload_len: usize,
}

impl<D: EtherDevice> Netif<D> {
    /// Frames and sends from the front of `tx`; what the device did not accept is put back as it
    /// was.
    pub(super) fn transmit(&mut self, now: Instant, tx: &mut TxBurst<D::Buf>) -> usize {
        let offered = tx.len();
        let mut frames: ArrayVec<D::Buf, TX_BURST_MAX> = ArrayVec::new();
        let mut notes: ArrayVec<Framed, TX_BURST_MAX> = ArrayVec::new();
        for mut datagram in tx.drain(..) {
            match self.frame(now, &mut datagram) {
                Ok(note) => {
                    notes.push(note);
                    frames.push(datagram.buf);
                }
                Err(reason) => {
                    self.stats.drop(reason);
                    self.device.free(datagram.buf);
                }
            }
        }
        let sent = if frames.is_empty() { 0 } else { self.device.tx_frames(&mut frames) };
        for note in notes.drain(..sent.min(notes.len())) {
            self.stats.tx_packets += 1;
            self.stats.tx_bytes += note.payload_len as u64;
        }
        for (mut buf, note) in frames.drain(..).zip(notes) {
            buf.advance(note.header_len);
            tx.push(Datagram { path: note.path, dscp: note.dscp, buf });
        }
        self.flush_control();
        offered - tx.len()
    }

    fn frame(
        &mut self,
        now: Instant,
        datagram: &mut Datagram<D::Buf>,
    ) -> Result<Framed, DropReason> {
        let Datagram { path, dscp, ref mut buf } = *datagram;
        let (src, dst) = (path.local.ip(), path.remote.ip());
        if src.is_ipv4() != dst.is_ipv4() || !self.local.has(src) || !is_unicast(dst) {
            return Err(DropReason::NotOurs);
        }
        let payload_len = buf.bytes().len();
        let ip_len = if src.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        if ip_len + udp::HEADER_LEN + payload_len > self.local.mtu {
            return Err(DropReason::Oversize);
        }
        let to = self.resolve(now, dst).ok_or(DropReason::NoNeighbour)?;
        let header_len = write_headers(&self.local, to, path, dscp, buf)?;
        Ok(Framed { path, dscp, header_len, payload_len })
    }

    /// The MAC of the next hop towards `remote`; asks for it when it is unknown or old.
    fn resolve(&mut self, now: Instant, remote: IpAddr) -> Option<Mac> {
        let next_hop = self.local.next_hop(remote)?;
        let found = self.neighbours.lookup(next_hop, now, &mut self.asks);
        if found.ask {
            self.ask(next_hop, found.mac);
        }
        found.mac
    }
}

/// Puts all headers in front of the payload and tells their length.
fn write_headers<B: Buf>(
    local: &Local,
    to: Mac,
    path: Path,
    dscp: u8,
    buf: &mut B,
) -> Result<usize, DropReason> {
    let too_long = |_| DropReason::Oversize;
    let (src, dst) = (path.local.ip(), path.remote.ip());
    let (ethertype, ip_len) = match src {
        IpAddr::V4(_) => (EtherType::IPV4, ipv4::HEADER_LEN),
        IpAddr::V6(_) => (EtherType::IPV6, ipv6::HEADER_LEN),
    };
    let link = FrameRepr { dst: to, src: local.mac, vlan: local.vlan, ethertype };
    let udp_at = link.header_len() + ip_len;
    let header_len = udp_at + udp::HEADER_LEN;
    buf.prepend(header_len).ok_or(DropReason::Oversize)?;
    let (below, datagram) =
        buf.bytes_mut().split_at_mut_checked(udp_at).ok_or(DropReason::Oversize)?;
    let (link_out, ip_out) =
        below.split_at_mut_checked(link.header_len()).ok_or(DropReason::Oversize)?;
    link.emit(link_out).map_err(too_long)?;
    let ip = IpHeader { src, dst, payload_len: datagram.len(), dscp };
    ip.emit(Protocol::UDP, ip_out).map_err(too_long)?;
    let udp = UdpRepr { src_port: path.local.port, dst_port: path.remote.port };
    udp.emit(src, dst, datagram).map_err(too_long)?;
    Ok(header_len)
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

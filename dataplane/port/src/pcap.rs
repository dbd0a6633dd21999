//! A port that writes down what passes: a pcapng file of datagrams under IP and UDP headers made up
//! for it, in the direction they went. Payloads are as on the wire, sealed. Addresses of peers are
//! masked unless the operator asked to reveal them, which is control's to allow and to audit.
//!
//! Format: draft-ietf-opsawg-pcapng, link type RAW (101), times in nanoseconds.

use std::hash::Hasher;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use roomlane_core::{Buf, Burst, Datagram, Endpoint, Instant, Path, Pool, TxBurst};
use siphasher::sip::SipHasher13;
use wire::Protocol;
use wire::ipv4::{self, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp::{self, UdpRepr};

use crate::{Port, PortCaps, PortStats};

const LINKTYPE_RAW: u16 = 101;
/// EPB flags: inbound and outbound.
const FLAG_IN: u32 = 1;
const FLAG_OUT: u32 = 2;

/// How peers' addresses appear in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// As pseudonyms in 240.0.0.0/4 and 2001:db8::/32, the same for the same peer under one key;
    /// UDP ports stay.
    Masked([u8; 16]),
    /// As they are.
    Revealed,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Addresses::Masked(_) => "Masked",
            Addresses::Revealed => "Revealed",
        })
    }
}

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct PcapOptions {
    /// How peers appear.
    pub addresses: Addresses,
    /// Bytes kept of each packet, its made-up headers included.
    pub snap_len: usize,
    /// Nanoseconds since 1970 when the port's clock was zero.
    pub unix_offset_ns: u64,
}

/// Writes packets to a pcapng stream.
#[derive(Debug)]
struct Writer<W> {
    out: W,
    options: PcapOptions,
    packet: Vec<u8>,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn new(mut out: W, options: PcapOptions) -> io::Result<Self> {
        let mut head = Vec::new();
        // Section header: byte order magic, version 1.0, length unknown.
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend(u64::MAX.to_le_bytes());
        put_block(&mut head, 0x0a0d_0d0a, &section);
        // Interface: link type, reserved, snap length; if_tsresol 9 (nanoseconds); end of options.
        let mut interface = Vec::new();
        interface.extend(LINKTYPE_RAW.to_le_bytes());
        interface.extend([0, 0]);
        interface.extend(u32::try_from(options.snap_len).unwrap_or(u32::MAX).to_le_bytes());
        interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        put_block(&mut head, 1, &interface);
        out.write_all(&head)?;
        Ok(Writer { out, options, packet: Vec::new(), block: Vec::new() })
    }

    /// Puts one enhanced packet block behind `blocks`.
    fn put_packet<B: Buf>(
        &mut self,
        blocks: &mut Vec<u8>,
        now: Instant,
        flags: u32,
        datagram: &Datagram<B>,
    ) {
        let Path { local, remote } = datagram.path;
        let remote = mask(self.options.addresses, remote);
        let (src, dst) = if flags == FLAG_IN { (remote, local) } else { (local, remote) };
        if build_packet(&mut self.packet, src, dst, datagram.dscp, datagram.buf.bytes()).is_err() {
            return;
        }
        let len = self.packet.len();
        let kept = &self.packet[..len.min(self.options.snap_len)];
        let at = self.options.unix_offset_ns.saturating_add(now.0);
        self.block.clear();
        self.block.extend(0u32.to_le_bytes());
        self.block.extend(((at >> 32) as u32).to_le_bytes());
        self.block.extend((at as u32).to_le_bytes());
        self.block.extend((kept.len() as u32).to_le_bytes());
        self.block.extend((len as u32).to_le_bytes());
        self.block.extend(kept);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
        self.block.extend([2, 0, 4, 0]);
        self.block.extend(flags.to_le_bytes());
        self.block.extend([0; 4]);
        put_block(blocks, 6, &self.block);
    }
}

/// A block: type, length, body (whole words), length again.
fn put_block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(len);
    out.extend(body);
    out.extend(len);
}

fn mask(addresses: Addresses, endpoint: Endpoint) -> Endpoint {
    let Addresses::Masked(key) = addresses else { return endpoint };
    let mut hasher = SipHasher13::new_with_key(&key);
    hasher.write(&endpoint.ip);
    let hash = hasher.finish();
    let ip = match endpoint.as_v4() {
        // Class E: an address that cannot be taken for anybody's.
        Some(_) => IpAddr::V4(Ipv4Addr::from_bits(0xf000_0000 | (hash >> 36) as u32)),
        None => IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(hash))),
    };
    Endpoint::new(ip, endpoint.port)
}

/// The packet that would have carried the payload.
fn build_packet(
    out: &mut Vec<u8>,
    src: Endpoint,
    dst: Endpoint,
    dscp: u8,
    payload: &[u8],
) -> wire::Result<()> {
    let (src_ip, dst_ip) = (src.ip(), dst.ip());
    let ip_len = if src_ip.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    out.clear();
    out.resize(ip_len + udp::HEADER_LEN, 0);
    out.extend(payload);
    let (ip_out, datagram) = out.split_at_mut(ip_len);
    let (protocol, payload_len) = (Protocol::UDP, datagram.len());
    match (src_ip, dst_ip) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (ident, dont_fragment, ttl) = (0, true, 64);
            Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }
                .emit(ip_out)?
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Ipv6Repr { src, dst, protocol, payload_len, hop_limit: 64, dscp }.emit(ip_out)?
        }
        _ => return Err(wire::Error::BadLength),
    };
    UdpRepr { src_port: src.port, dst_port: dst.port }.emit(src_ip, dst_ip, datagram)
}

/// A port whose traffic is written to `W`. Writing happens in the caller's thread; the first error
/// ends it and leaves the port working.
#[derive(Debug)]
pub struct Pcap<P: Port, W: Write> {
    inner: P,
    writer: Writer<W>,
    error: Option<io::Error>,
    /// The packets of a burst that is being sent, and where each ends.
    pending: Vec<u8>,
    ends: Vec<usize>,
}

impl<P: Port, W: Write> Pcap<P, W> {
    /// Wraps `inner` and writes the file's head.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(inner: P, out: W, options: PcapOptions) -> io::Result<Self> {
        let writer = Writer::new(out, options)?;
        Ok(Pcap { inner, writer, error: None, pending: Vec::new(), ends: Vec::new() })
    }

    /// The error that ended the writing, if one did.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Ends the capture: the port inside and the flushed writer.
    ///
    /// # Errors
    /// The error that ended the writing, or that of the flush.
    pub fn finish(mut self) -> io::Result<(P, W)> {
        match self.error {
            Some(error) => Err(error),
            None => self.writer.out.flush().map(|()| (self.inner, self.writer.out)),
        }
    }

    fn write_pending(&mut self, end: usize) {
        if self.error.is_none() && end > 0 {
            self.error = self.writer.out.write_all(&self.pending[..end]).err();
        }
        self.pending.clear();
    }
}

impl<P: Port, W: Write> Pool for Pcap<P, W> {
    type Buf = P::Buf;

    fn alloc(&mut self) -> Option<P::Buf> {
        self.inner.alloc()
    }

    fn free(&mut self, buf: P::Buf) {
        self.inner.free(buf);
    }

    fn in_use(&self) -> usize {
        self.inner.in_use()
    }
}

impl<P: Port, W: Write> Port for Pcap<P, W> {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<P::Buf>) -> usize {
        let before = rx.len();
        let count = self.inner.rx_burst(now, rx);
        for datagram in &rx[before..] {
            self.writer.put_packet(&mut self.pending, now, FLAG_IN, datagram);
        }
        self.write_pending(self.pending.len());
        count
    }

    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<P::Buf>) -> usize {
        // Written before they leave, kept only as far as the device took them.
        self.ends.clear();
        for datagram in tx.iter() {
            self.writer.put_packet(&mut self.pending, now, FLAG_OUT, datagram);
            self.ends.push(self.pending.len());
        }
        let taken = self.inner.tx_burst(now, tx);
        let end = taken.checked_sub(1).and_then(|last| self.ends.get(last)).copied();
        self.write_pending(end.unwrap_or(0));
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        self.inner.wait(timeout_ns);
    }

    fn caps(&self) -> PortCaps {
        self.inner.caps()
    }

    fn stats(&self) -> &PortStats {
        self.inner.stats()
    }
}

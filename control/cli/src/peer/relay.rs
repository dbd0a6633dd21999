//! The way of a section's packets: one socket towards the node, where RTP and RTCP share a port, and one
//! towards the tool, which wants two. It looks at headers only; everything stays encrypted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::args::Role;

/// Largest datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// How often a thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// Pairs of ports tried.
const PAIR_TRIES: usize = 64;
/// A larger step is a restart of the numbering and no loss (MAX_DROPOUT of RFC 3550, appendix A.1): a
/// data plane that was started again goes on above everything it may have sent.
const DROPOUT_MAX: i16 = 3000;

/// What went through a relay.
#[derive(Debug, Default)]
pub struct Counters {
    /// RTP packets in the direction of media.
    pub packets: AtomicU64,
    /// Their bytes, UDP payload.
    pub bytes: AtomicU64,
    /// Pictures or blocks of sound: packets with a new timestamp.
    pub frames: AtomicU64,
    /// Packets that should have come and did not.
    pub lost: AtomicU64,
    /// RTCP packets from the node.
    pub rtcp: AtomicU64,
}

/// A section's two sockets.
pub struct Relay {
    node: UdpSocket,
    tool: UdpSocket,
    /// The tool listens here for RTP, and on the next port for RTCP.
    pub tool_rtp: u16,
    /// What went through.
    pub counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Opens the sockets; the one towards the node is on `address`.
    pub fn bind(address: IpAddr) -> io::Result<Relay> {
        let node = UdpSocket::bind((address, 0))?;
        let tool = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Relay {
            node,
            tool,
            tool_rtp: free_pair()?,
            counters: Arc::default(),
            stop: Arc::default(),
            threads: vec![],
        })
    }

    /// The port that the node is told.
    pub fn port(&self) -> u16 {
        self.node.local_addr().map_or(0, |addr| addr.port())
    }

    /// The port that the tool sends to.
    pub fn tool_port(&self) -> u16 {
        self.tool.local_addr().map_or(0, |addr| addr.port())
    }

    /// Carries packets until the relay goes. Only the node's packets are taken from outside.
    pub fn start(&mut self, remote: SocketAddr, role: Role) -> io::Result<()> {
        self.node.connect(remote)?;
        let (rtp, rtcp) = (local(self.tool_rtp), local(self.tool_rtp + 1));
        let counters = (Arc::clone(&self.counters), Arc::clone(&self.counters));
        let inward = self.pump(
            &self.node,
            &self.tool,
            move |packet, to| {
                if is_rtcp(packet) {
                    counters.0.rtcp.fetch_add(1, Ordering::Relaxed);
                    return to.send_to(packet, rtcp);
                }
                to.send_to(packet, rtp)
            },
            role == Role::View,
        )?;
        let outward =
            self.pump(&self.tool, &self.node, |packet, to| to.send(packet), role == Role::Publish)?;
        drop(counters.1);
        self.threads = vec![inward, outward];
        Ok(())
    }

    /// A thread that takes datagrams from one socket and sends each with `send`.
    fn pump(
        &self,
        from: &UdpSocket,
        to: &UdpSocket,
        send: impl Fn(&[u8], &UdpSocket) -> io::Result<usize> + Send + 'static,
        counted: bool,
    ) -> io::Result<JoinHandle<()>> {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        from.set_read_timeout(Some(LOOK))?;
        let (stop, counters) = (Arc::clone(&self.stop), Arc::clone(&self.counters));
        Ok(std::thread::spawn(move || {
            let mut bytes = [0; DATAGRAM_BYTES_MAX];
            let mut stream = Stream::default();
            while !stop.load(Ordering::Relaxed) {
                // Errors are timeouts, and refusals that the other side sent; both pass.
                let Ok(len) = from.recv(&mut bytes) else { continue };
                let packet = &bytes[..len];
                if counted && !is_rtcp(packet) {
                    stream.take(packet, &counters);
                }
                let _ = send(packet, &to);
            }
        }))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Two neighbouring ports that nobody has, the first even (RFC 3550, section 11).
fn free_pair() -> io::Result<u16> {
    for _ in 0..PAIR_TRIES {
        let one = UdpSocket::bind(local(0))?;
        let port = one.local_addr()?.port();
        let (rtp, twin) = if port.is_multiple_of(2) {
            (port, port.checked_add(1))
        } else {
            (port - 1, Some(port - 1))
        };
        if let Some(twin) = twin
            && UdpSocket::bind(local(twin)).is_ok()
        {
            return Ok(rtp);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no two neighbouring UDP ports are free"))
}

/// RFC 5761, section 4: payload types 64 to 95 are RTCP packet types.
fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|second| (64..96).contains(&(second & 0x7f)))
}

/// Sequence numbers and timestamps of one source (RFC 3550, appendix A.3).
#[derive(Debug, Default)]
struct Stream {
    ssrc: u32,
    first: Option<u64>,
    highest: u64,
    received: u64,
    timestamp: Option<u32>,
    /// Lost before the numbering started anew.
    lost_before: u64,
}

impl Stream {
    fn take(&mut self, packet: &[u8], counters: &Counters) {
        if packet.len() < 12 || packet[0] >> 6 != 2 {
            return;
        }
        let word = |at: usize| {
            u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        };
        let (sequence, timestamp, ssrc) = (word(0) as u16, word(4), word(8));
        let step = sequence.wrapping_sub(self.highest as u16) as i16;
        if self.first.is_none() || self.ssrc != ssrc || step.unsigned_abs() > DROPOUT_MAX as u16 {
            // Above zero, so that a late packet before the first has a number.
            let highest = (1 << 16) + u64::from(sequence);
            let lost_before = self.lost();
            let first = Some(highest);
            *self = Stream { ssrc, first, highest, lost_before, ..Stream::default() };
        } else {
            // The nearest number with these low bits.
            let index = self.highest.saturating_add_signed(i64::from(step));
            self.highest = self.highest.max(index);
            self.first = self.first.map(|first| first.min(index));
        }
        self.received += 1;
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        if self.timestamp != Some(timestamp) {
            self.timestamp = Some(timestamp);
            counters.frames.fetch_add(1, Ordering::Relaxed);
        }
        counters.lost.store(self.lost(), Ordering::Relaxed);
    }

    fn lost(&self) -> u64 {
        let Some(first) = self.first else { return 0 };
        self.lost_before + (self.highest + 1 - first).saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(sequence: u16, timestamp: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 9, 1, 2, 3]);
        packet
    }

    #[test]
    fn gaps_are_lost_late_packets_are_not_and_numbers_wrap() {
        let counters = Counters::default();
        let mut stream = Stream::default();
        for sequence in [65_533u16, 65_534, 0, 65_535, 3] {
            stream.take(&rtp(sequence, u32::from(sequence) / 2), &counters);
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((read(&counters.packets), read(&counters.lost)), (5, 2));
        assert_eq!(read(&counters.frames), 5);
        stream.take(&[1, 2, 3], &counters);
        assert_eq!(read(&counters.packets), 5, "no RTP");
    }

    #[test]
    fn a_jump_of_the_numbering_is_no_loss_and_forgets_none() {
        let counters = Counters::default();
        let mut stream = Stream::default();
        for sequence in [10, 12, 4_108, 4_109, 4_111] {
            stream.take(&rtp(sequence, 0), &counters);
        }
        assert_eq!(counters.lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn rtp_and_rtcp_part_towards_the_tool_and_meet_towards_the_node() {
        let node = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut relay = Relay::bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let tool_rtp = UdpSocket::bind(local(relay.tool_rtp)).unwrap();
        let tool_rtcp = UdpSocket::bind(local(relay.tool_rtp + 1)).unwrap();
        for socket in [&node, &tool_rtp, &tool_rtcp] {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        relay.start(node.local_addr().unwrap(), Role::View).unwrap();
        let to_peer = local(relay.port());
        let rtcp = [0x80, 200, 0, 1, 0, 0, 0, 9];
        node.send_to(&rtp(1, 1), to_peer).unwrap();
        node.send_to(&rtcp, to_peer).unwrap();
        let mut bytes = [0; 100];
        assert_eq!(tool_rtp.recv(&mut bytes).unwrap(), 15);
        assert_eq!(tool_rtcp.recv(&mut bytes).unwrap(), 8);
        tool_rtcp.send_to(&rtcp, local(relay.tool_port())).unwrap();
        let (len, from) = node.recv_from(&mut bytes).unwrap();
        assert_eq!((len, from.port()), (8, relay.port()));
        let counters = &relay.counters;
        assert_eq!(counters.packets.load(Ordering::Relaxed), 1);
        assert_eq!(counters.rtcp.load(Ordering::Relaxed), 1);
    }
}

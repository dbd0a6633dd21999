//! The way of a section's packets: one socket towards the node, where RTP and RTCP share a port, and one
//! towards the tool, which wants two. It looks at headers only; everything stays encrypted.

use std::collections::VecDeque;
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
/// Packets that wait for a tool to listen: many seconds of what one section carries.
const HELD_MAX: usize = 2048;
/// Packets of those that are handed on at a time, and the pause behind: a tool's socket holds few.
const HANDED: (usize, Duration) = (16, Duration::from_millis(2));
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
        let counters = Arc::clone(&self.counters);
        // The first picture may be the only whole one that comes without being asked for.
        let mut held = (role == Role::View).then(|| Held::new(self.tool_rtp));
        let inward = self.pump(
            &self.node,
            &self.tool,
            move |packet, to| {
                if is_rtcp(packet) {
                    counters.rtcp.fetch_add(1, Ordering::Relaxed);
                    to.send_to(packet, rtcp)?;
                    return Ok(());
                }
                if let Some(held) = held.take_if(|held| !held.keeps(packet)) {
                    held.hand_on(|packet| to.send_to(packet, rtp).map(drop));
                }
                if held.is_none() {
                    to.send_to(packet, rtp)?;
                }
                Ok(())
            },
            role == Role::View,
        )?;
        let send = |packet: &[u8], to: &UdpSocket| to.send(packet).map(drop);
        let outward = self.pump(&self.tool, &self.node, send, role == Role::Publish)?;
        self.threads = vec![inward, outward];
        Ok(())
    }

    /// A thread that takes datagrams from one socket and sends each with `send`.
    fn pump(
        &self,
        from: &UdpSocket,
        to: &UdpSocket,
        mut send: impl FnMut(&[u8], &UdpSocket) -> io::Result<()> + Send + 'static,
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
                let _ = send(packet, &to);
                // Last: what is counted has gone where it goes.
                if counted && !is_rtcp(packet) {
                    stream.take(packet, &counters);
                }
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

/// Packets for a tool that has not opened its socket yet.
struct Held {
    /// The tool's.
    port: u16,
    packets: VecDeque<Vec<u8>>,
}

impl Held {
    fn new(port: u16) -> Held {
        Held { port, packets: VecDeque::new() }
    }

    /// Keeps a packet. False, and then it is not kept: the tool listens, or has missed too much to
    /// make anything of what was kept.
    fn keeps(&mut self, packet: &[u8]) -> bool {
        if self.packets.len() == HELD_MAX {
            self.packets.clear();
            return false;
        }
        if is_bound(self.port) {
            return false;
        }
        self.packets.push_back(packet.to_owned());
        true
    }

    fn hand_on(self, send: impl Fn(&[u8]) -> io::Result<()>) {
        for (at, packet) in self.packets.iter().enumerate() {
            // A tool that has gone again is noticed by its end.
            let _ = send(packet);
            if at % HANDED.0 == HANDED.0 - 1 {
                std::thread::sleep(HANDED.1);
            }
        }
    }
}

/// Whether some socket of this network namespace is bound to a UDP port over IPv4. Trying to bind it would
/// take it from the tool at the wrong moment; proc(5) tells without that.
fn is_bound(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/udp");
    let suffix = format!(":{port:04X}");
    // Without such a table nobody waits.
    table.map_or(true, |table| {
        let mut locals = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        locals.any(|local| local.ends_with(&suffix))
    })
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

    /// A relay to a tool that is not there yet, and `count` packets that the node has sent to it.
    fn early(count: u16) -> (Relay, UdpSocket) {
        let node = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut relay = Relay::bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        relay.start(node.local_addr().unwrap(), Role::View).unwrap();
        for sequence in 0..count {
            node.send_to(&rtp(sequence, 7), local(relay.port())).unwrap();
            // Never more than a socket holds.
            let is_through = |relay: &Relay| {
                relay.counters.packets.load(Ordering::Relaxed) == u64::from(sequence) + 1
            };
            while !is_through(&relay) {
                std::thread::yield_now();
            }
        }
        (relay, node)
    }

    fn tool(relay: &Relay) -> UdpSocket {
        let tool = UdpSocket::bind(local(relay.tool_rtp)).unwrap();
        tool.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tool
    }

    #[test]
    fn a_tool_that_listens_late_gets_what_came_before_in_order() {
        let (relay, node) = early(100);
        let tool = tool(&relay);
        node.send_to(&rtp(100, 7), local(relay.port())).unwrap();
        let mut bytes = [0; 64];
        for sequence in 0..=100 {
            let len = tool.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..len], rtp(sequence, 7), "packet {sequence}");
        }
    }

    #[test]
    fn a_tool_that_listens_very_late_gets_what_comes_from_then_on() {
        let last = HELD_MAX as u16;
        let (relay, node) = early(last + 1);
        let tool = tool(&relay);
        node.send_to(&rtp(last + 1, 7), local(relay.port())).unwrap();
        let mut bytes = [0; 64];
        let len = tool.recv(&mut bytes).unwrap();
        assert_eq!(bytes[..len], rtp(last + 1, 7));
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

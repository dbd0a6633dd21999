//! The portable port: ordinary non-blocking UDP sockets, one per address, all on this shard's UDP
//! port. The kernel does everything below UDP. It runs without privileges and is not fast: a system
//! call per datagram.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use proto::DropReason;
use roomlane_core::buf::BUF_CAPACITY;
use roomlane_core::{Buf, Burst, Datagram, Endpoint, Instant, Path, Pool, TxBurst};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::slab::{SlabBuf, SlabPool};
use crate::{Port, PortCaps, PortStats};

/// What the kernel may queue in each direction of a socket, in bytes; it grants less without
/// privileges.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Receive errors in a row after which a burst ends, so that a broken socket cannot hold the
/// worker.
const ERRORS_PER_BURST_MAX: usize = 8;

/// A UDP port that could not be made: the host's or the operator's fault, as `source` tells.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP port {port}")]
pub struct BindError {
    /// The UDP port.
    pub port: u16,
    /// What the kernel said.
    pub source: io::Error,
}

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    local: Endpoint,
    /// What the socket marks packets with at present.
    dscp: u8,
}

/// Sockets of one shard.
#[derive(Debug)]
pub struct UdpPort {
    sockets: Vec<Socket>,
    /// The socket whose turn it is to receive first.
    turn: usize,
    pool: SlabPool,
    mtu: usize,
    stats: PortStats,
}

impl UdpPort {
    /// Listens on `udp_port` of each address. `buffers` are made at once; `mtu` is the largest IP
    /// packet that is sent or taken, in bytes. A `udp_port` of zero lets the kernel choose (each
    /// address its own).
    ///
    /// # Errors
    /// No address, an address that is not ours, or a taken port; unspecified addresses are refused,
    /// because a datagram must tell which of our addresses it came to.
    pub fn bind(
        addresses: &[IpAddr],
        udp_port: u16,
        mtu: usize,
        buffers: usize,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { port: udp_port, source };
        if addresses.is_empty() {
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, "no address")));
        }
        let sockets = addresses.iter().map(|ip| Socket::bind(SocketAddr::new(*ip, udp_port)));
        let sockets = sockets.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let (pool, stats) = (SlabPool::new(buffers), PortStats::default());
        Ok(UdpPort { sockets, turn: 0, pool, mtu, stats })
    }

    /// The endpoints it listens on, in the order of the addresses.
    pub fn local_endpoints(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.sockets.iter().map(|s| s.local)
    }

    /// Receives from one socket until it is empty or `rx` is full. `false` when buffers ran out.
    fn receive(&mut self, index: usize, rx: &mut Burst<SlabBuf>) -> bool {
        let Socket { socket, local, .. } = &self.sockets[index];
        let mut errors = 0;
        while !rx.is_full() && errors < ERRORS_PER_BURST_MAX {
            // The datagram stays in the kernel; its queue is where an overload is dropped.
            let Some(mut buf) = self.pool.alloc() else { return false };
            let space = buf.append(BUF_CAPACITY).unwrap_or(&mut []);
            match socket.recv_from(space) {
                Ok((len, _)) if ip_len(local, len) > self.mtu || len == BUF_CAPACITY => {
                    self.stats.drop(DropReason::Oversize);
                    self.pool.free(buf);
                }
                Ok((len, from)) => {
                    buf.truncate(len);
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += len as u64;
                    let path = Path { local: *local, remote: from.into() };
                    rx.push(Datagram { path, dscp: 0, buf });
                }
                Err(e) => {
                    self.pool.free(buf);
                    if e.kind() == ErrorKind::WouldBlock {
                        return true;
                    }
                    // An interruption, or an ICMP error of something sent before: not about this
                    // datagram.
                    errors += 1;
                }
            }
        }
        true
    }

    /// Sends one datagram. `Ok(false)` when the kernel's queue is full.
    fn send(&mut self, datagram: &Datagram<SlabBuf>) -> Result<bool, DropReason> {
        let Path { local, remote } = datagram.path;
        let payload = datagram.buf.bytes();
        if ip_len(&local, payload.len()) > self.mtu {
            return Err(DropReason::Oversize);
        }
        let socket = self.sockets.iter_mut().find(|s| s.local == local);
        let socket = socket.ok_or(DropReason::NotOurs)?;
        socket.mark(datagram.dscp);
        loop {
            match socket.socket.send_to(payload, remote.socket_addr()) {
                Ok(_) => return Ok(true),
                Err(e) => match e.kind() {
                    ErrorKind::Interrupted => {}
                    // ENOBUFS is what a full device queue says.
                    ErrorKind::WouldBlock => return Ok(false),
                    _ if e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                        return Ok(false);
                    }
                    _ if e.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                        return Err(DropReason::Oversize);
                    }
                    _ => return Err(DropReason::NoNeighbour),
                },
            }
        }
    }
}

impl Socket {
    fn bind(addr: SocketAddr) -> io::Result<Socket> {
        if addr.ip().is_unspecified() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "unspecified address"));
        }
        let socket = UdpSocket::bind(addr)?;
        socket.set_nonblocking(true)?;
        // Best effort: the kernel's default is enough to work.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        let local = socket.local_addr()?.into();
        Ok(Socket { socket, local, dscp: 0 })
    }

    /// Sets the mark of what is sent next; a system call only when it changes. A kernel that
    /// refuses leaves the packets unmarked, which is no reason to drop them.
    fn mark(&mut self, dscp: u8) {
        if self.dscp == dscp {
            return;
        }
        let tos = (dscp & 0x3f) << 2;
        let _ = match self.local.as_v4() {
            Some(_) => sockopt::set_ip_tos(&self.socket, tos),
            None => sockopt::set_ipv6_tclass(&self.socket, tos.into()),
        };
        self.dscp = dscp;
    }
}

/// Length of the IP packet around a payload.
fn ip_len(local: &Endpoint, payload_len: usize) -> usize {
    payload_len + if local.as_v4().is_some() { 28 } else { 48 }
}

impl Pool for UdpPort {
    type Buf = SlabBuf;

    fn alloc(&mut self) -> Option<SlabBuf> {
        self.pool.alloc()
    }

    fn free(&mut self, buf: SlabBuf) {
        self.pool.free(buf);
    }

    fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

impl Port for UdpPort {
    fn rx_burst(&mut self, _now: Instant, rx: &mut Burst<SlabBuf>) -> usize {
        let before = rx.len();
        for i in 0..self.sockets.len() {
            let index = (self.turn + i) % self.sockets.len();
            if !self.receive(index, rx) {
                self.stats.drop(DropReason::NoMbuf);
                break;
            }
        }
        self.turn = (self.turn + 1) % self.sockets.len();
        rx.len() - before
    }

    fn tx_burst(&mut self, _now: Instant, tx: &mut TxBurst<SlabBuf>) -> usize {
        let mut taken = 0;
        while let Some(datagram) = tx.get(taken) {
            match self.send(datagram) {
                Ok(true) => {
                    self.stats.tx_packets += 1;
                    self.stats.tx_bytes += datagram.buf.bytes().len() as u64;
                }
                Ok(false) => break,
                Err(reason) => self.stats.drop(reason),
            }
            taken += 1;
        }
        for datagram in tx.drain(..taken) {
            self.pool.free(datagram.buf);
        }
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        let mut fds: arrayvec::ArrayVec<PollFd<'_>, { crate::config::ADDRESSES_MAX }> =
            arrayvec::ArrayVec::new();
        for s in self.sockets.iter().take(fds.capacity()) {
            fds.push(PollFd::new(&s.socket, PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        // An interruption ends the wait early, which the caller takes like any other wake-up.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn caps(&self) -> PortCaps {
        // One object serves one shard; another shard makes its own on its own UDP port.
        PortCaps { mtu: self.mtu, queues_max: usize::MAX, can_wait: true }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_carries_the_mark_of_the_last_datagram() {
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut port = UdpPort::bind(&[ip], 0, 1500, 4).unwrap();
            let local = port.local_endpoints().next().unwrap();
            let mut marks = Vec::new();
            for dscp in [46, 34, 34, 0] {
                let buf = port.alloc().unwrap();
                let mut tx = TxBurst::new();
                tx.push(Datagram { path: Path { local, remote: local }, dscp, buf });
                assert_eq!(port.tx_burst(Instant(1), &mut tx), 1);
                let socket = &port.sockets[0].socket;
                marks.push(match ip {
                    IpAddr::V4(_) => sockopt::ip_tos(socket).unwrap().into(),
                    IpAddr::V6(_) => sockopt::ipv6_tclass(socket).unwrap(),
                });
            }
            assert_eq!(marks, [46 << 2, 34 << 2, 34 << 2, 0]);
        }
    }
}

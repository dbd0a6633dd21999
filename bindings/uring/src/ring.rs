//! The ring: sockets, queues and buffers put together.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use crate::Packet;
use crate::bufring::BufRing;
use crate::error::{UringError, explain_setup, host};
use crate::packet::Pool;
use crate::rx::{Refused, Rx};
use crate::socket::{SOCKETS_MAX, Socket};
use crate::tx::TxSlots;

/// The one group of receive buffers.
const GROUP: u16 = 0;

/// User data: a receive of socket `n`, or a transmit in slot `n`.
const TAG_RX: u64 = 1 << 32;
const TAG_TX: u64 = 2 << 32;

/// How long a ring that is dropped waits for the kernel to let go of its memory.
const QUIESCE_MAX: Duration = Duration::from_secs(1);

/// How long a taken port is tried again. The port of a killed process's ring was free after 30 to
/// 130 ms on a busy machine with two cores.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// What a ring is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on, one socket each, at most [`SOCKETS_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// Buffers that wait for datagrams; a power of two, at most 32,768.
    pub rx_buffers: u16,
    /// Datagrams that may be on their way out at once; at most 16,384.
    pub tx_slots: u16,
    /// Buffers in all; more than `rx_buffers`.
    pub pool_buffers: u32,
    /// Ask the kernel at each [`UdpRing::recv_burst`] instead of being told: one system call each, and nothing
    /// is woken by whoever sends. For a receiver that spins anyhow; [`UdpRing::wait`] does not wait then.
    pub polled: bool,
    /// Bytes of each socket's receive buffer and send buffer. Without CAP_NET_ADMIN the kernel's
    /// `net.core.rmem_max` and `wmem_max` limit them.
    pub socket_buffer_bytes: usize,
}

impl Config {
    /// Sizes for one worker: 1,024 buffers to receive into, 8,192 in all (17 MiB).
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            rx_buffers: 1024,
            tx_slots: 512,
            pool_buffers: 8192,
            polled: false,
            socket_buffer_bytes: 8 << 20,
        }
    }

    fn check(&self) -> Result<(), UringError> {
        let refuse = |what| Err(UringError::Config(what));
        match () {
            () if self.addresses.is_empty() => refuse("no address"),
            () if self.addresses.len() > SOCKETS_MAX => refuse("too many addresses"),
            () if !self.rx_buffers.is_power_of_two() => refuse("rx_buffers is no power of two"),
            () if self.tx_slots == 0 || self.tx_slots > 16_384 => refuse("tx_slots"),
            () if self.pool_buffers <= u32::from(self.rx_buffers) => refuse("pool_buffers"),
            () => Ok(()),
        }
    }
}

/// Where a received datagram came from and went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The sender.
    pub remote: SocketAddr,
    /// Our address, also on a socket bound to a wildcard.
    pub local: SocketAddr,
}

/// Where a datagram is to leave from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// The receiver.
    pub remote: SocketAddr,
    /// Our address and port; chooses the socket.
    pub local: SocketAddr,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Everything is on its way already: submit, or try later.
    #[error("the transmit queue is full")]
    Full,
    /// No socket has this local address, or the families differ.
    #[error("no socket has this local address")]
    NoSocket,
}

/// Running totals of a ring. A refused datagram is gone: its buffer was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingStats {
    /// Datagrams delivered.
    pub rx_packets: u64,
    /// Their payload bytes.
    pub rx_bytes: u64,
    /// Datagrams dropped because they exceed [`crate::CAPACITY_BYTES`].
    pub rx_oversize: u64,
    /// Receives that stopped for want of buffers, and were started again. The datagrams wait in the
    /// socket meanwhile; what overflows there is in [`UdpRing::kernel_drops`].
    pub rx_starved: u64,
    /// Receives that failed otherwise, or told nonsense.
    pub rx_errors: u64,
    /// Datagrams the kernel took.
    pub tx_packets: u64,
    /// Their payload bytes.
    pub tx_bytes: u64,
    /// Datagrams refused because the socket's send buffer was full.
    pub tx_full: u64,
    /// Datagrams refused because they exceed the interface's MTU.
    pub tx_oversize: u64,
    /// Datagrams refused for another reason: no route, filtered, interface down.
    pub tx_errors: u64,
}

/// UDP sockets on one io_uring, with the buffers of their datagrams.
///
/// It belongs to one thread: the first that receives, sends or waits. It may be moved there before.
/// Packets may go anywhere.
pub struct UdpRing {
    // First, so that it is closed before the memory goes that it points to.
    ring: IoUring,
    tx: TxSlots,
    rx: Rx,
    pool: Pool,
    sockets: Vec<Socket>,
    polled: bool,
    stats: RingStats,
    started: bool,
}

impl UdpRing {
    /// Binds the addresses and sets everything up. Nothing is received before the first call of
    /// [`Self::recv_burst`] or [`Self::wait`], but the sockets queue datagrams from now on.
    ///
    /// # Errors
    /// See [`UringError`].
    pub fn bind(config: &Config) -> Result<Self, UringError> {
        config.check()?;
        let (rx_buffers, tx_slots) = (u32::from(config.rx_buffers), u32::from(config.tx_slots));
        let ring = IoUring::builder()
            .setup_r_disabled() // the thread that uses it is not known yet
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            // Room for every buffer's and every slot's answer: it cannot overflow.
            .setup_cqsize((rx_buffers + tx_slots + 64).next_power_of_two())
            .build((tx_slots + SOCKETS_MAX as u32).next_power_of_two())
            .map_err(explain_setup)?;
        let bind = |&address| {
            bind_patiently(address, config.socket_buffer_bytes)
                .map_err(|source| UringError::Bind { address, source })
        };
        let sockets = config.addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let fds: Vec<_> = sockets.iter().map(Socket::raw_fd).collect();
        ring.submitter().register_files(&fds).map_err(host("register sockets"))?;
        let pool = Pool::new(config.pool_buffers).map_err(host("map packet buffers"))?;
        let bufring = BufRing::new(config.rx_buffers).map_err(host("map the buffer ring"))?;
        let (address, len) = (bufring.address(), bufring.len());
        // SAFETY: the ring of buffers is mapped until `UdpRing` drops it, after `ring`.
        let registered =
            unsafe { ring.submitter().register_buf_ring_with_flags(address, len, GROUP, 0) };
        registered.map_err(|_| UringError::TooOld { missing: "ring of provided buffers" })?;
        let rx = Rx::new(bufring, sockets.len());
        let (tx, stats) = (TxSlots::new(config.tx_slots), RingStats::default());
        let polled = config.polled;
        Ok(Self { ring, tx, rx, pool, sockets, polled, stats, started: false })
    }

    /// The bound addresses, in the order of [`Config::addresses`], with the ports chosen.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(|socket| socket.local)
    }

    /// An empty packet with [`crate::HEADROOM_BYTES`] in front, `None` when all are out.
    pub fn alloc(&mut self) -> Option<Packet> {
        self.pool.alloc()
    }

    /// Takes a packet back.
    pub fn free(&mut self, packet: Packet) {
        self.pool.free(packet);
    }

    /// Packets that callers have: neither free, nor offered to the kernel, nor on their way out.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let receiving = self.rx.packets.len() - self.rx.bare.len();
        self.pool.out() - receiving - self.tx.in_flight()
    }

    /// Running totals.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        self.stats
    }

    /// Datagrams the kernel dropped because a receive buffer was full, over all sockets. A system
    /// call each: not for every burst.
    ///
    /// # Errors
    /// The host's.
    pub fn kernel_drops(&self) -> io::Result<u64> {
        self.sockets.iter().map(|socket| socket.kernel_drops().map(u64::from)).sum()
    }

    /// Hands at most `max` datagrams to `deliver`; returns how many. Does not wait, and enters the
    /// kernel only when it has something to say.
    ///
    /// # Errors
    /// The host's; the ring is of no use afterwards.
    pub fn recv_burst(
        &mut self,
        max: usize,
        mut deliver: impl FnMut(Packet, Arrival),
    ) -> io::Result<usize> {
        self.start()?;
        if self.rx.backlog.len() < max {
            self.reap();
        }
        if self.rx.backlog.len() < max {
            self.arm()?;
            let mut queue = self.ring.submission();
            queue.sync();
            let useful = queue.taskrun() || queue.cq_overflow() || !queue.is_empty();
            drop(queue);
            if useful {
                self.submit()?;
            }
        }
        let mut delivered = 0;
        while delivered < max
            && let Some(got) = self.rx.backlog.pop_front()
        {
            match self.rx.open(&got, &self.sockets) {
                (packet, Ok(arrival)) => {
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += packet.bytes().len() as u64;
                    delivered += 1;
                    deliver(packet, arrival);
                }
                (packet, Err(refused)) => {
                    match refused {
                        Refused::Oversize => self.stats.rx_oversize += 1,
                        Refused::Nonsense => self.stats.rx_errors += 1,
                    }
                    self.pool.free(packet);
                }
            }
        }
        self.rx.refill(&mut self.pool);
        match self.rx.fatal {
            Some(errno) if delivered == 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(delivered),
        }
    }

    /// Datagrams that [`Self::send`] takes before the next [`Self::submit`].
    pub fn tx_room(&mut self) -> usize {
        if !self.tx.has_room() {
            self.reap();
        }
        self.tx.room()
    }

    /// Queues a datagram; [`Self::submit`] sends what is queued. The packet comes back to the pool
    /// once the kernel has taken or refused it.
    ///
    /// # Errors
    /// The packet, and why it was not queued.
    pub fn send(&mut self, packet: Packet, to: Departure) -> Result<(), (Packet, SendError)> {
        let serves = |socket: &Socket| socket.serves(to.local, to.remote);
        let Some(index) = self.sockets.iter().position(serves) else {
            return Err((packet, SendError::NoSocket));
        };
        if !self.tx.has_room() {
            self.reap();
        }
        let wildcard = self.sockets[index].local.ip().is_unspecified();
        let source: Option<IpAddr> =
            Some(to.local.ip()).filter(|ip| wildcard && !ip.is_unspecified());
        let (slot, header) = self
            .tx
            .prepare(packet, to.remote, source, to.dscp)
            .map_err(|packet| (packet, SendError::Full))?;
        let entry = opcode::SendMsg::new(Fixed(index as u32), header)
            .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
            .build()
            .user_data(TAG_TX | u64::from(slot));
        // SAFETY: the slot keeps header, addresses and packet where they are until `reap` sees the
        // kernel's answer, or for good.
        if unsafe { self.push(&entry) } {
            return Ok(());
        }
        let packet = self.tx.finish(slot).expect("prepared above");
        Err((packet, SendError::Full))
    }

    /// Hands everything queued to the kernel with one system call, without waiting.
    ///
    /// # Errors
    /// The host's; `ResourceBusy` and the like are no errors, but leave entries queued.
    pub fn submit(&mut self) -> io::Result<()> {
        self.start()?;
        let done = retry_on_intr(|| self.ring.submit());
        self.reap();
        match done {
            Ok(_) => Ok(()),
            // Out of memory for requests, or answers piled up: what was reaped makes room.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what is queued, then sleeps until a datagram is there or `timeout` passed; returns
    /// whether one is there. A caught signal of the process does not end the sleep.
    ///
    /// # Errors
    /// The host's.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        self.start()?;
        let end = Instant::now() + timeout;
        loop {
            self.reap();
            self.arm()?;
            if !self.rx.backlog.is_empty() {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            let until = Timespec::from(left);
            let args = SubmitArgs::new().timespec(&until);
            let done = self.ring.submitter().submit_with_args(1, &args);
            self.reap();
            let errno = done.err().and_then(|error| error.raw_os_error());
            match errno {
                _ if !self.rx.backlog.is_empty() => return Ok(true),
                Some(libc::ETIME) => return Ok(false),
                None | Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) if !left.is_zero() => {}
                None | Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => return Ok(false),
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Gives the ring to the calling thread, at the first use.
    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            self.ring.submitter().register_enable_rings()?;
            self.started = true;
            self.rx.refill(&mut self.pool);
            self.arm()?;
        }
        Ok(())
    }

    /// Starts the receives that are not running, if there are buffers for them.
    fn arm(&mut self) -> io::Result<()> {
        if self.rx.bare.len() == self.rx.packets.len() {
            self.rx.refill(&mut self.pool);
        }
        for socket in 0..self.sockets.len() {
            if self.rx.armed[socket] || self.rx.offered == 0 || self.rx.fatal.is_some() {
                continue;
            }
            let header: *const libc::msghdr = &raw const *self.rx.header;
            // Not waiting, it takes what is there and ends; else it stays and is told of what comes.
            let flags = if self.polled { libc::MSG_DONTWAIT as u32 } else { 0 };
            let entry = opcode::RecvMsgMulti::new(Fixed(socket as u32), header, GROUP)
                .flags(flags)
                .build()
                .user_data(TAG_RX | socket as u64);
            // SAFETY: the header is boxed and constant; the buffers are the group's.
            self.rx.armed[socket] = unsafe { self.push(&entry) };
        }
        Ok(())
    }

    /// # Safety
    /// What the entry points to must stay valid until it is answered.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: passed on to our caller.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        // SAFETY: passed on to our caller.
        self.submit().is_ok() && unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Takes all answers: datagrams to the backlog, sent packets to the pool.
    fn reap(&mut self) {
        let Self { ring, tx, rx, pool, stats, .. } = self;
        for answer in ring.completion() {
            let (data, result) = (answer.user_data(), answer.result());
            let index = data as u32;
            match data & !u64::from(u32::MAX) {
                TAG_RX => rx.complete(index as u8, result, answer.flags(), stats),
                TAG_TX => {
                    if let Some(packet) = tx.finish(index as u16) {
                        count_sent(stats, result);
                        pool.free(packet);
                    }
                }
                _ => {}
            }
        }
    }

    /// Cancels everything and waits until the kernel has answered; `false` if it has not.
    fn quiesce(&mut self) -> bool {
        if !self.started {
            return true;
        }
        let second = Timespec::from(QUIESCE_MAX);
        // Fails when there is nothing to cancel, or on a foreign thread; the loop below tells.
        let _ = self.ring.submitter().register_sync_cancel(Some(second), CancelBuilder::any());
        let end = Instant::now() + QUIESCE_MAX;
        loop {
            self.reap();
            if self.tx.in_flight() == 0 && !self.rx.armed.contains(&true) {
                return true;
            }
            let tick = Timespec::from(Duration::from_millis(10));
            let args = SubmitArgs::new().timespec(&tick);
            let done = self.ring.submitter().submit_with_args(1, &args);
            let errno = done.err().and_then(|error| error.raw_os_error());
            let patience = matches!(errno, None | Some(libc::ETIME | libc::EINTR | libc::EBUSY));
            if !patience || Instant::now() > end {
                return false;
            }
        }
    }
}

/// A port may still belong to the ring of a process that was killed a moment ago: the kernel takes
/// rings apart in the background.
fn bind_patiently(address: SocketAddr, buffer_bytes: usize) -> io::Result<Socket> {
    let end = Instant::now() + BIND_PATIENCE;
    loop {
        match Socket::bind(address, buffer_bytes) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}

fn count_sent(stats: &mut RingStats, result: i32) {
    match result {
        0.. => {
            stats.tx_packets += 1;
            stats.tx_bytes += result.unsigned_abs() as u64;
        }
        _ => match -result {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => stats.tx_full += 1,
            libc::EMSGSIZE => stats.tx_oversize += 1,
            _ => stats.tx_errors += 1,
        },
    }
}

/// Signals interrupt system calls (DPDK's tap device raises some per packet); they are no errors.
fn retry_on_intr(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl core::fmt::Debug for UdpRing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "UdpRing({} sockets, {} packets in use)", self.sockets.len(), self.in_use())
    }
}

impl Drop for UdpRing {
    fn drop(&mut self) {
        if !self.quiesce() {
            // The kernel may still write to the slab and read the slots. Memory that stays mapped is
            // better than memory that is somebody else's by then.
            self.pool.leak();
            self.tx.leak();
            core::mem::forget(core::mem::take(&mut self.rx.packets));
        }
        // The kernel closes a ring in the background. Done here, the ports are free on return. Both
        // fail on a foreign thread, where the background must do.
        let _ = self.ring.submitter().unregister_files();
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
    }
}

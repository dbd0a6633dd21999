//! The small IP stack above an Ethernet device: frames in, datagrams out, and back.
//!
//! It owns addresses, VLAN, gateway and MTU, answers ARP, NDP and ping for its own addresses at a
//! limited rate, and resolves next hops. Nothing is learned but what it asked for: gratuitous ARP,
//! unsolicited advertisements, router advertisements and redirects are dropped.
//!
//! Checksums: the IPv4 header's and ICMP's are always checked. UDP's counts only where the device
//! says that it looked, because a virtual device hands over frames whose sender left the sum to
//! hardware that does not exist. Sent checksums are always complete.
//!
//! Start reading at [`Netif`]; `inspect` decides what a frame is, `answer` writes replies and
//! questions, `transmit` frames datagrams, `neighbour` is the table, `local` says what is ours.

mod answer;
mod bucket;
mod inspect;
pub mod limits;
mod local;
mod neighbour;
mod transmit;

use arrayvec::ArrayVec;
use proto::DropReason;
use roomlane_core::{BURST_MAX, Buf, Burst, Datagram, Instant, Pool, TX_BURST_MAX, TxBurst};

use self::bucket::Bucket;
use self::inspect::Action;
use self::local::Local;
use self::neighbour::Neighbours;
use crate::{ConfigError, EtherDevice, Frame, Port, PortCaps, PortConfig, PortStats};

/// A port made of an Ethernet device and the addresses it has.
pub struct Netif<D: EtherDevice> {
    device: D,
    local: Local,
    neighbours: Neighbours,
    answers: Bucket,
    pings: Bucket,
    asks: Bucket,
    gateways_checked: Option<Instant>,
    /// Replies and questions on their way out; emptied at the end of each call.
    control: ArrayVec<D::Buf, TX_BURST_MAX>,
    /// Frames that found no room in the last burst.
    received: ArrayVec<Frame<D::Buf>, BURST_MAX>,
    stats: PortStats,
}

impl<D: EtherDevice> Netif<D> {
    /// Puts `config` on `device`. `hash_key` keys the neighbour table and should be random.
    ///
    /// # Errors
    /// What `PortConfig::check` refuses.
    pub fn new(device: D, config: &PortConfig, hash_key: [u8; 16]) -> Result<Self, ConfigError> {
        config.check()?;
        let mtu = config.mtu.min(device.ether_caps().mtu);
        let local = Local::new(config, wire::Mac(device.mac()), mtu);
        Ok(Netif {
            device,
            local,
            neighbours: Neighbours::new(hash_key),
            answers: Bucket::new(limits::ANSWERS_PER_S, limits::ANSWERS_BURST),
            pings: Bucket::new(limits::PINGS_PER_S, limits::PINGS_BURST),
            asks: Bucket::new(limits::ASKS_PER_S, limits::ASKS_BURST),
            gateways_checked: None,
            control: ArrayVec::new(),
            received: ArrayVec::new(),
            stats: PortStats::default(),
        })
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Handles one frame; a datagram for a shard is returned.
    fn receive(&mut self, now: Instant, frame: Frame<D::Buf>) -> Option<Datagram<D::Buf>> {
        let Frame { mut buf, checksum } = frame;
        match inspect::inspect(&self.local, buf.bytes(), checksum) {
            Ok(Action::Deliver { path, payload }) => {
                buf.truncate(payload.end);
                buf.advance(payload.start);
                self.stats.rx_packets += 1;
                self.stats.rx_bytes += buf.bytes().len() as u64;
                return Some(Datagram { path, dscp: 0, buf });
            }
            Ok(Action::Answer(answer)) => self.answer(now, answer, buf),
            Ok(Action::Learn { ip, mac }) => {
                if !self.neighbours.learn(ip, mac, now) {
                    self.stats.drop(DropReason::NotOurs);
                }
                self.device.free(buf);
            }
            Err(reason) => {
                self.stats.drop(reason);
                self.device.free(buf);
            }
        }
        None
    }

    /// Gives the device the replies and questions; what it does not take is dropped and counted.
    fn flush_control(&mut self) {
        if self.control.is_empty() {
            return;
        }
        self.device.tx_frames(&mut self.control);
        for buf in self.control.drain(..) {
            self.stats.drop(DropReason::TxFull);
            self.device.free(buf);
        }
    }
}

impl<D: EtherDevice> Pool for Netif<D> {
    type Buf = D::Buf;

    fn alloc(&mut self) -> Option<D::Buf> {
        self.device.alloc()
    }

    fn free(&mut self, buf: D::Buf) {
        self.device.free(buf);
    }

    fn in_use(&self) -> usize {
        self.device.in_use()
    }
}

impl<D: EtherDevice> Port for Netif<D> {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<D::Buf>) -> usize {
        self.keep_gateways(now);
        let before = rx.len();
        let mut received = std::mem::take(&mut self.received);
        if received.is_empty() {
            self.device.rx_frames(&mut received);
        }
        // A frame yields at most one datagram, so what is taken now surely fits; the rest waits.
        let taken = received.len().min(rx.remaining_capacity());
        for frame in received.drain(..taken) {
            if let Some(datagram) = self.receive(now, frame) {
                rx.push(datagram);
            }
        }
        self.received = received;
        self.flush_control();
        rx.len() - before
    }

    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<D::Buf>) -> usize {
        self.transmit(now, tx)
    }

    fn wait(&mut self, timeout_ns: u64) {
        self.device.wait(timeout_ns);
    }

    fn caps(&self) -> PortCaps {
        let device = self.device.ether_caps();
        PortCaps { mtu: self.local.mtu, queues_max: device.queues_max, can_wait: device.can_wait }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}

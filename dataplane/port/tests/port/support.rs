//! What several modules need: addresses, datagrams, a bench with a `netif` at one end of a cable
//! and bare hands at the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use port::netif::Netif;
use port::sim::ether::{self, SimEther};
use port::{EtherDevice, Frame, Port, PortConfig, RxChecksum};
use proto::DropReason;
use roomlane_core::{Buf, Burst, Datagram, Duration, Endpoint, Instant, Path, Pool, TxBurst};

/// The far side of the cable: a host.
pub const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The near side: the port under test.
pub const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const A4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
pub const B4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 2);
pub const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// When benches start; any time but zero.
pub const START: Instant = Instant(5_000_000_000);

pub fn unhex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

pub fn config(v4: &str, v6: &str) -> PortConfig {
    PortConfig {
        addresses: vec![v4.parse().unwrap(), v6.parse().unwrap()],
        gateways: vec![],
        advertise: vec![],
        udp_base: 8000,
        shards: 2,
        vlan: 0,
        mtu: 1500,
    }
}

pub fn path(local: (impl Into<IpAddr>, u16), remote: (impl Into<IpAddr>, u16)) -> Path {
    Path {
        local: Endpoint::new(local.0.into(), local.1),
        remote: Endpoint::new(remote.0.into(), remote.1),
    }
}

pub fn datagram<P: Pool>(pool: &mut P, path: Path, payload: &[u8]) -> Datagram<P::Buf> {
    let mut buf = pool.alloc().expect("the bench has buffers");
    buf.append(payload.len()).expect("the payload fits").copy_from_slice(payload);
    Datagram { path, dscp: 0, buf }
}

/// Sends one payload; whether the port took it.
pub fn send<P: Port>(port: &mut P, now: Instant, path: Path, payload: &[u8]) -> bool {
    let mut tx = TxBurst::new();
    tx.push(datagram(port, path, payload));
    let taken = port.tx_burst(now, &mut tx);
    for d in tx.drain(..) {
        port.free(d.buf);
    }
    taken == 1
}

/// Everything that one receive call yields, as path and payload.
pub fn receive<P: Port>(port: &mut P, now: Instant) -> Vec<(Path, Vec<u8>)> {
    let mut rx = Burst::new();
    let count = port.rx_burst(now, &mut rx);
    assert_eq!(count, rx.len());
    let got = rx.iter().map(|d| (d.path, d.buf.bytes().to_vec())).collect();
    for d in rx.drain(..) {
        port.free(d.buf);
    }
    got
}

pub fn drops<P: Port>(port: &P, reason: DropReason) -> u64 {
    port.stats().drops[reason as usize]
}

/// All drops of a port, by name, without the zeros.
pub fn all_drops<P: Port>(port: &P) -> Vec<(&'static str, u64)> {
    let count = |r: &DropReason| (r.name(), port.stats().drops[*r as usize]);
    DropReason::ALL.iter().map(count).filter(|(_, n)| *n > 0).collect()
}

/// A `netif` and the other end of its cable.
pub struct Bench {
    pub netif: Netif<SimEther>,
    pub host: SimEther,
    pub now: Instant,
}

impl Bench {
    pub fn new(config: &PortConfig) -> Self {
        Bench::with_checksum(config, RxChecksum::Unchecked)
    }

    pub fn with_checksum(config: &PortConfig, checksum: RxChecksum) -> Self {
        let [host, mut device] = ether::pair([A, B], 256, 1500, 512);
        device.set_checksum(checksum);
        let netif = Netif::new(device, config, [7; 16]).unwrap();
        Bench { netif, host, now: START }
    }

    pub fn plain() -> Self {
        Bench::new(&config("198.18.1.2/24", "2001:db8::2/64"))
    }

    /// Puts a frame on the cable.
    pub fn put(&mut self, frame: &[u8]) {
        let mut buf = self.host.alloc().unwrap();
        buf.append(frame.len()).unwrap().copy_from_slice(frame);
        let mut tx = ArrayVec::new();
        tx.push(buf);
        assert_eq!(self.host.tx_frames(&mut tx), 1);
    }

    /// Takes the frames off the cable that the netif sent.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut rx: ArrayVec<Frame<_>, { roomlane_core::BURST_MAX }> = ArrayVec::new();
        self.host.rx_frames(&mut rx);
        let frames = rx.iter().map(|f| f.buf.bytes().to_vec()).collect();
        for f in rx.drain(..) {
            self.host.free(f.buf);
        }
        frames
    }

    /// Puts a frame, lets the netif receive, and takes what it answered.
    pub fn ask(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.put(frame);
        assert!(self.receive().is_empty());
        self.take()
    }

    pub fn receive(&mut self) -> Vec<(Path, Vec<u8>)> {
        receive(&mut self.netif, self.now)
    }

    pub fn send(&mut self, path: Path, payload: &[u8]) -> bool {
        send(&mut self.netif, self.now, path, payload)
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        drops(&self.netif, reason)
    }

    /// Puts a frame that must be dropped for `reason` and nothing else, without an answer.
    pub fn refuses(&mut self, frame: &[u8], reason: DropReason) {
        let (before, answered) = (self.drops(reason), self.netif.stats().answered);
        let others = |b: &Bench| b.netif.stats().drops.iter().sum::<u64>() - b.drops(reason);
        let others_before = others(self);
        self.put(frame);
        assert!(self.receive().is_empty(), "{reason:?}: delivered");
        assert_eq!(self.drops(reason), before + 1, "{reason:?}, not {:?}", all_drops(&self.netif));
        assert_eq!((others(self), self.netif.stats().answered), (others_before, answered));
        assert!(self.take().is_empty(), "{reason:?}: answered");
    }
}

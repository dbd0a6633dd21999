//! Several shards on one queue: who gets what, what comes back, full rings, sleeping workers.

use std::time::{Duration as StdDuration, Instant as Clock};

use port::sim::{Hub, SimConfig, SimPort, pair};
use port::slab::SlabPool;
use port::steer::{self, LaneStats, Owner, RING_LEN, Sharer, SteerConfig};
use port::{Port, PortCaps};
use proto::DropReason;
use roomlane_core::{Duration, Pool, TxBurst};

use crate::support::*;

const CONFIG: SteerConfig = SteerConfig { udp_base: 8000, shards: 3, owner: 1 };

/// A peer, and a device shared by three shards of which the second owns it.
fn three(peer_queue: usize) -> (SimPort, Owner<SimPort>, [Sharer<SlabPool>; 2]) {
    let config =
        |ip: std::net::Ipv4Addr, queue_len| SimConfig { queue_len, ..SimConfig::new(ip.into()) };
    let (peer, device) = pair(config(A4, peer_queue), config(B4, 4096));
    let (owner, sharers) = steer::split(device, CONFIG, |_| SlabPool::new(2048));
    let shards: Vec<u16> = sharers.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(shards, [0, 2]);
    let sharers: Vec<_> = sharers.into_iter().map(|(_, sharer)| sharer).collect();
    (peer, owner, sharers.try_into().ok().unwrap())
}

fn to(udp_port: u16) -> roomlane_core::Path {
    path((A4, 5000), (B4, udp_port))
}

fn from(udp_port: u16) -> roomlane_core::Path {
    path((B4, udp_port), (A4, 5000))
}

#[test]
fn every_datagram_reaches_the_shard_of_its_udp_port_in_order() {
    let (mut peer, mut owner, [mut zero, mut two]) = three(64);
    let payload = |shard: u16, i: u8| vec![shard as u8, i];
    for i in 0..20 {
        for shard in [2, 0, 1] {
            assert!(send(&mut peer, START, to(8000 + shard), &payload(shard, i)));
        }
    }
    assert!(send(&mut peer, START, to(8003), b"nobody's"));
    let mut own = Vec::new();
    for _ in 0..3 {
        own.extend(receive(&mut owner, START));
    }
    let want = |shard: u16| -> Vec<_> {
        (0..20).map(|i| (from(8000 + shard), payload(shard, i))).collect()
    };
    assert_eq!(own, want(1));
    assert_eq!(receive(&mut zero, START), want(0));
    assert_eq!(receive(&mut two, START), want(2));
    assert_eq!(all_drops(&owner), [("no_port", 1)]);
    assert_eq!(owner.stats().rx_packets, 61);
    assert_eq!((zero.stats().rx_packets, zero.stats().rx_bytes), (20, 40));
    let steered = LaneStats { steered: 20, full: 0, taken_back: 0 };
    assert_eq!([0, 1, 2].map(|s| owner.lane_stats(s)), [Some(steered), None, Some(steered)]);
    assert_eq!(peer.in_use(), 0, "freed by a pool of another shard, they went home");
}

#[test]
fn sealed_datagrams_come_back_and_are_sent() {
    let (mut peer, mut owner, [mut zero, mut two]) = three(256);
    for sharer in [&mut zero, &mut two] {
        for i in 0..70 {
            assert!(send(sharer, START, from(8000), &[i]));
        }
    }
    assert_eq!((zero.in_use(), zero.stats().tx_packets), (70, 70));
    assert_eq!(receive(&mut owner, START), []);
    assert_eq!(owner.lane_stats(0).unwrap().taken_back, 64, "as many as one turn allows");
    assert_eq!(receive(&mut owner, START), []);
    let got: usize =
        std::iter::from_fn(|| Some(receive(&mut peer, START).len()).filter(|n| *n > 0)).sum();
    assert_eq!((got, zero.in_use(), two.in_use()), (140, 0, 0));
    assert_eq!(owner.stats().tx_packets, 140);
}

#[test]
fn a_full_ring_drops_with_its_reason_and_the_rest_arrives() {
    let (mut peer, mut owner, [mut zero, mut two]) = three(64);
    let extra = 10;
    for i in 0..RING_LEN + extra {
        assert!(send(&mut peer, START, to(8000), &(i as u16).to_be_bytes()));
        receive(&mut owner, START);
    }
    assert!(send(&mut peer, START, to(8002), b"other"));
    receive(&mut owner, START);
    assert_eq!(all_drops(&owner), [("steer_full", extra as u64)]);
    let lane = owner.lane_stats(0).unwrap();
    assert_eq!((lane.steered, lane.full), (RING_LEN as u64, extra as u64));
    let mut got = Vec::new();
    while got.len() < RING_LEN {
        got.extend(
            receive(&mut zero, START).into_iter().map(|(_, p)| u16::from_be_bytes([p[0], p[1]])),
        );
    }
    assert!(got.iter().copied().eq(0..RING_LEN as u16));
    assert_eq!(receive(&mut two, START).len(), 1, "another shard's ring is not full");
}

#[test]
fn a_device_that_is_full_pushes_back_through_the_ring_and_loses_nothing() {
    let (mut peer, mut owner, [mut zero, _two]) = three(8);
    let mut sent = 0u16;
    let mut tx = TxBurst::new();
    // Nobody receives: device, waiting burst and ring fill up, then the shard's port refuses.
    loop {
        tx.push(datagram(&mut zero, from(8000), &sent.to_be_bytes()));
        if zero.tx_burst(START, &mut tx) == 0 {
            break;
        }
        sent += 1;
        receive(&mut owner, START);
    }
    assert_eq!(usize::from(sent), 8 + TxBurst::<()>::new().capacity() + RING_LEN);
    let mut got = Vec::new();
    while got.len() < sent.into() {
        receive(&mut owner, START);
        got.extend(
            receive(&mut peer, START).into_iter().map(|(_, p)| u16::from_be_bytes([p[0], p[1]])),
        );
    }
    assert!(got.into_iter().eq(0..sent));
    assert_eq!(owner.stats().drops[DropReason::TxFull as usize], 0);
}

#[test]
fn the_owner_receives_its_own_while_its_burst_has_room_and_keeps_the_rest() {
    let (mut peer, mut owner, _members) = three(256);
    for i in 0..100 {
        assert!(send(&mut peer, START, to(8001), &[i]));
    }
    let mut got = Vec::new();
    let mut rx = roomlane_core::Burst::new();
    while got.len() < 100 {
        for _ in 0..27 {
            rx.push(datagram(&mut owner, from(8001), b""));
        }
        assert_eq!(owner.rx_burst(START, &mut rx), 5);
        got.extend(rx[27..].iter().map(|d| roomlane_core::Buf::bytes(&d.buf)[0]));
        rx.clear();
    }
    assert!(got.into_iter().eq(0..100));
}

#[test]
fn an_owner_that_takes_nothing_lets_the_rest_wait_in_the_device() {
    let hub = Hub::new();
    let mut peer = hub.attach(SimConfig::new(A4.into()));
    let device = hub.attach(SimConfig::new(B4.into()));
    let (mut owner, _members) = steer::split(device, CONFIG, |_| SlabPool::new(8));
    for i in 0..200 {
        assert!(send(&mut peer, START, to(8001), &[i]));
    }
    let mut full = roomlane_core::Burst::new();
    while !full.is_full() {
        full.push(datagram(&mut owner, from(8001), b""));
    }
    for _ in 0..10 {
        assert_eq!(owner.rx_burst(START, &mut full), 0);
    }
    assert_eq!(hub.in_flight(), 200 - 2 * roomlane_core::BURST_MAX);
}

#[test]
fn a_sleeping_shard_is_woken_by_its_first_datagram() {
    let (mut peer, mut owner, [mut zero, _two]) = three(64);
    assert!(zero.caps().can_wait);
    let (asleep, slept) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        // The first wait, with nothing to come, makes the worker known.
        zero.wait(1);
        asleep.send(()).unwrap();
        let start = Clock::now();
        while receive(&mut zero, START).is_empty() {
            zero.wait(20_000_000_000);
        }
        start.elapsed()
    });
    slept.recv().unwrap();
    assert!(send(&mut peer, START, to(8000), b"wake up"));
    receive(&mut owner, START);
    assert!(worker.join().unwrap() < StdDuration::from_secs(10));
}

/// A device that notes how long it was asked to sleep.
struct Sleepy(SimPort, Vec<u64>);

impl Pool for Sleepy {
    type Buf = port::slab::SlabBuf;
    fn alloc(&mut self) -> Option<Self::Buf> {
        self.0.alloc()
    }
    fn free(&mut self, buf: Self::Buf) {
        self.0.free(buf);
    }
    fn in_use(&self) -> usize {
        self.0.in_use()
    }
}

impl Port for Sleepy {
    fn rx_burst(
        &mut self,
        now: roomlane_core::Instant,
        rx: &mut roomlane_core::Burst<Self::Buf>,
    ) -> usize {
        self.0.rx_burst(now, rx)
    }
    fn tx_burst(&mut self, now: roomlane_core::Instant, tx: &mut TxBurst<Self::Buf>) -> usize {
        self.0.tx_burst(now, tx)
    }
    fn wait(&mut self, timeout_ns: u64) {
        self.1.push(timeout_ns);
    }
    fn caps(&self) -> PortCaps {
        self.0.caps()
    }
    fn stats(&self) -> &port::PortStats {
        self.0.stats()
    }
}

#[test]
fn the_owner_sleeps_short_while_it_expects_datagrams_back_and_not_at_all_over_some() {
    let (mut peer, device) = pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    let (mut owner, mut sharers) =
        steer::split(Sleepy(device, vec![]), CONFIG, |_| SlabPool::new(8));
    owner.wait(1_000_000);
    assert!(send(&mut peer, START, to(8000), b"x"));
    receive(&mut owner, START);
    owner.wait(1_000_000);
    assert!(send(&mut sharers[0].1, START, from(8000), b"y"));
    owner.wait(1_000_000);
    receive(&mut owner, START + Duration::from_s(1));
    owner.wait(1_000_000);
    assert_eq!(owner.inner().1, [1_000_000, 100_000, 1_000_000]);
}

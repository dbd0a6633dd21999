//! Devices that face the kernel, in namespaces this test makes: a DPDK host answers ARP and ping, and the
//! ordinary `ping` of a client is the oracle. Needs root (namespaces, raw sockets, XDP); skips loudly.
#![cfg(dpdk)]

mod support;

use std::sync::atomic::Ordering;
use std::thread;

use dpdk::{DevConfig, Devargs, Eal, EthDev, Lcore, Mempool, PoolConfig, RxQueue, TxQueue};
use support::responder::turn;
use support::{Lab, NetNs, Process, end_of_stdin, no_huge, role, run};

/// Attaches the device, answers until standard input closes, and accounts for every buffer.
fn respond(devargs: &str) {
    let ended = end_of_stdin();
    let eal = Eal::start(&no_huge(128)).unwrap_or_else(|error| panic!("{error}"));
    let _lcore = Lcore::register(&eal).unwrap();
    let config = PoolConfig { mbufs: 16_383, ..PoolConfig::default() };
    let pool = Mempool::new(&eal, &config).unwrap();
    let (dev, mut rx, mut tx, mac) = open(&eal, devargs, &pool);
    println!("READY {:?}", dev.info().unwrap());
    let mut answered = 0;
    while !ended.load(Ordering::SeqCst) {
        let n = turn(&mut rx, &mut tx, mac);
        answered += n;
        if n == 0 {
            thread::yield_now();
        }
    }
    let stats = dev.stats().unwrap();
    assert!(stats.tx_packets >= answered as u64, "{stats:?}");
    drop((rx, tx, dev));
    println!("ENDED answered {answered}, in use {}", pool.in_use());
}

fn open(eal: &Eal, devargs: &str, pool: &Mempool) -> (EthDev, RxQueue, TxQueue, [u8; 6]) {
    let devargs = Devargs::parse(devargs).unwrap();
    let mut dev = EthDev::probe(eal, &devargs).unwrap_or_else(|error| panic!("{error}"));
    let mac = dev.info().unwrap().mac;
    let mut queues =
        dev.start(&DevConfig::default(), pool).unwrap_or_else(|error| panic!("{error}"));
    let (rx, tx) = queues.pop().unwrap();
    (dev, rx, tx, mac)
}

/// The parent's half of a test on a veth pair.
fn ping_over_veth(test: &str, driver: &str) -> Option<(Lab, String)> {
    let lab = Lab::new()?;
    let mut host = Process::spawn(test, "host", Some(&lab.device.name));
    if !host.wait_for("READY") {
        host.finish();
        unreachable!("a child that is not ready has failed");
    }
    lab.client.ping("198.18.7.2", 200);
    let out = host.finish();
    assert!(out.contains(driver), "{out}");
    Some((lab, out))
}

#[test]
fn af_packet_answers_ping_on_a_veth() {
    if role().is_some() {
        let devargs =
            "net_af_packet0,iface=d0,qdisc_bypass=1,blocksz=262144,framesz=2048,framecnt=2048";
        return respond(devargs);
    }
    if let Some((_lab, out)) = ping_over_veth("af_packet_answers_ping_on_a_veth", "net_af_packet") {
        assert!(out.contains("in use 0"), "{out}");
    }
}

fn xdp_is_attached(lab: &Lab) -> bool {
    lab.device.ip("-d link show d0").contains("xdp")
}

#[test]
fn af_xdp_answers_ping_on_a_veth_and_detaches_its_program_at_the_end() {
    if role().is_some() {
        return respond("net_af_xdp0,iface=d0");
    }
    let name = "af_xdp_answers_ping_on_a_veth_and_detaches_its_program_at_the_end";
    if let Some((lab, out)) = ping_over_veth(name, "net_af_xdp") {
        assert!(!xdp_is_attached(&lab));
        // 22.11's driver forgets the buffers in its fill ring when it closes, and no others.
        assert!(out.contains("in use 0") || out.contains("in use 2048"), "{out}");
    }
}

#[test]
fn af_xdp_starts_over_the_program_that_a_killed_process_left_behind() {
    if role().is_some() {
        return respond("net_af_xdp0,iface=d0");
    }
    let name = "af_xdp_starts_over_the_program_that_a_killed_process_left_behind";
    let Some(lab) = Lab::new() else { return };
    let mut host = Process::spawn(name, "host", Some(&lab.device.name));
    assert!(host.wait_for("READY"));
    host.kill();
    assert!(xdp_is_attached(&lab), "this is what is left, and why a supervisor detaches it");
    let mut host = Process::spawn(name, "host", Some(&lab.device.name));
    assert!(host.wait_for("READY"));
    lab.client.ping("198.18.7.2", 50);
    host.finish();
    assert!(!xdp_is_attached(&lab));
}

#[test]
fn tap_makes_its_interface_answers_ping_and_removes_it() {
    if role().is_some() {
        return respond("net_tap0,iface=dtap0");
    }
    let Some(ns) = NetNs::new() else { return };
    let name = "tap_makes_its_interface_answers_ping_and_removes_it";
    let mut host = Process::spawn(name, "host", Some(&ns.name));
    if !host.wait_for("READY") {
        host.finish();
        return;
    }
    ns.ip("addr add 198.18.7.1/24 dev dtap0");
    ns.ip("link set dtap0 up");
    ns.ping("198.18.7.2", 100);
    let out = host.finish();
    assert!(out.contains("in use 0"), "{out}");
    assert!(run(&["ip", "-n", &ns.name, "link", "show", "dtap0"]).is_err());
}

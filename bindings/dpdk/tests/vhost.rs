//! Two processes, one port: net_vhost serves a Unix socket, net_virtio_user connects to it and maps
//! its memory. The vhost side echoes what the other sends.
#![cfg(dpdk)]

mod support;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;

use arrayvec::ArrayVec;
use dpdk::{
    DevConfig, Devargs, Eal, EalConfig, EthDev, Lcore, Mbuf, Mempool, PoolConfig, RxQueue, TxQueue,
};
use support::{Process, end_of_stdin, no_huge, role, until};

const TEST: &str = "frames_cross_from_virtio_user_to_vhost_and_back";
const FRAMES: u64 = 20_000;

fn socket(parent: u32) -> PathBuf {
    std::env::temp_dir().join(format!("rl-vhost-{parent}.sock"))
}

fn open(devargs: &str) -> (Eal, Mempool, EthDev, RxQueue, TxQueue) {
    let devargs = Devargs::parse(devargs).unwrap();
    let config = EalConfig { devices: vec![devargs.clone()], ..no_huge(128) };
    let eal = Eal::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let pool = Mempool::new(&eal, &PoolConfig { mbufs: 8191, ..PoolConfig::default() }).unwrap();
    let mut dev = EthDev::probe(&eal, &devargs).unwrap_or_else(|error| panic!("{error}"));
    let mut queues =
        dev.start(&DevConfig::default(), &pool).unwrap_or_else(|error| panic!("{error}"));
    let (rx, tx) = queues.pop().unwrap();
    (eal, pool, dev, rx, tx)
}

fn vhost(socket: &str) {
    let ended = end_of_stdin();
    let (eal, _pool, _dev, mut rx, mut tx) = open(&format!("net_vhost0,iface={socket},queues=1"));
    let _lcore = Lcore::register(&eal).unwrap();
    println!("READY");
    let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
    while !ended.load(Ordering::SeqCst) {
        rx.burst(frames.remaining_capacity(), |mut frame| {
            frame.clear_offloads();
            frames.push(frame);
        });
        if tx.burst(&mut frames) == 0 {
            thread::yield_now();
        }
    }
}

/// Sends numbered frames, at most 256 ahead of the echo, and checks that each comes back in order.
fn virtio_user(socket: &str) {
    let devargs = format!("net_virtio_user0,path={socket},queues=1,queue_size=1024");
    let (eal, pool, dev, mut rx, mut tx) = open(&devargs);
    let _lcore = Lcore::register(&eal).unwrap();
    until("the link is up", || dev.link().unwrap().up);
    let (mut sent, mut seen) = (0, 0);
    let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
    until("every frame came back", || {
        while sent < FRAMES && sent - seen < 256 && !frames.is_full() {
            let mut frame = pool.alloc().unwrap();
            let bytes = frame.append(1200).unwrap();
            bytes.fill(sent as u8);
            bytes[14..22].copy_from_slice(&sent.to_be_bytes());
            frames.push(frame);
            sent += 1;
        }
        tx.burst(&mut frames);
        rx.burst(32, |frame| {
            assert_eq!(frame.bytes()[14..22], seen.to_be_bytes());
            assert!(frame.bytes()[22..].iter().all(|byte| *byte == seen as u8));
            assert_eq!(frame.len(), 1200);
            seen += 1;
        });
        seen == FRAMES
    });
    println!("ECHOED {seen}");
}

#[test]
fn frames_cross_from_virtio_user_to_vhost_and_back() {
    match role().as_deref() {
        None => {}
        Some(role) => {
            let (side, socket) = role.split_once(' ').unwrap();
            return if side == "vhost" { vhost(socket) } else { virtio_user(socket) };
        }
    }
    let socket = socket(std::process::id());
    let path = socket.to_str().unwrap();
    let mut server = Process::spawn(TEST, &format!("vhost {path}"), None);
    if server.wait_for("READY") {
        let client = Process::spawn(TEST, &format!("virtio_user {path}"), None);
        let out = client.finish();
        assert!(out.contains(&format!("ECHOED {FRAMES}")), "{out}");
    }
    server.finish();
    assert!(!socket.exists(), "the server removes its socket");
}

//! The device under netif against the kernel's own UDP sockets. EAL starts once per process, so
//! each test runs its host and its client as children of this executable, in namespaces it makes;
//! needs root, skips loudly.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant as Clock};
use std::{env, fs, thread};

use super::*;
use crate::netif::Netif;
use crate::{Port, PortConfig};
use roomlane_core::{Burst, Instant, TxBurst};

const ROLE: &str = "ROOMLANE_TEST_ROLE";
const DEADLINE: Duration = Duration::from_secs(30);
const DATAGRAMS: u64 = 500;

fn config(device: &str) -> DpdkConfig {
    DpdkConfig {
        memory: Memory::NoHuge,
        mbufs: 8191,
        telemetry: false,
        mtu: mtu_of(device),
        ..DpdkConfig::new(device)
    }
}

/// Not the usual 1500, and for XDP the largest whose frame fits: what is asked must be what is had.
fn mtu_of(device: &str) -> u16 {
    if device.starts_with("net_af_xdp") { 1770 } else { 1400 }
}

fn port_config(mtu: u16) -> PortConfig {
    PortConfig {
        addresses: vec!["198.18.7.2/24".parse().unwrap(), "2001:db8:7::2/64".parse().unwrap()],
        gateways: vec![],
        advertise: vec![],
        udp_base: 8000,
        shards: 1,
        vlan: 0,
        mtu: mtu.into(),
    }
}

/// The host: sends every datagram back where it came from, until standard input closes.
fn host(devargs: &str) {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::SeqCst);
    });
    let (dpdk, devices) = Dpdk::open(&config(devargs)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(devices.len(), 1);
    let device = devices.into_iter().next().unwrap();
    let _lcore = device.register_thread().unwrap();
    let mtu = mtu_of(devargs);
    assert_eq!(device.ether_caps().mtu, usize::from(mtu), "the device took the configured MTU");
    let mut port = Netif::new(device, &port_config(mtu), [7; 16]).unwrap();
    println!("READY {}", dpdk.info().driver);
    let start = Clock::now();
    let (mut rx, mut tx) = (Burst::new(), TxBurst::new());
    while !ended.load(Ordering::SeqCst) {
        let now = Instant(start.elapsed().as_nanos() as u64);
        port.rx_burst(now, &mut rx);
        tx.extend(rx.drain(..));
        port.tx_burst(now, &mut tx);
        // What no device took is dropped, as a worker would.
        tx.clear();
        if rx.is_empty() {
            port.wait(50_000);
        }
    }
    println!("IN_USE {}", port.in_use());
    println!("STATS {:?}", port.stats());
    println!("DEVICE {:?}", dpdk.stats().unwrap());
}

/// The client: an ordinary socket with the sender's checksum left to hardware that does not exist.
fn client(role: &str) {
    let (local, mtu) = role.split_once(' ').unwrap();
    let (local, mtu): (SocketAddr, u16) = (local.parse().unwrap(), mtu.parse().unwrap());
    // The longest datagram: what IPv6 and UDP leave of the MTU, 20 bytes less than IPv4 would.
    let longest = usize::from(mtu) - 48;
    let ours = port_config(mtu).addresses;
    let ours = ours.iter().find(|prefix| prefix.ip.is_ipv4() == local.is_ipv4()).unwrap();
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect((ours.ip, 8000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    // The host learns our link address when it first answers; until then it drops.
    let first = Clock::now();
    while !echo(&socket, u64::MAX, 64) {
        assert!(first.elapsed() < DEADLINE, "no answer within 30 s");
    }
    for number in 0..DATAGRAMS {
        let len = if number % 2 == 0 { 64 } else { longest };
        assert!(echo(&socket, number, len), "datagram {number} was lost");
    }
    println!("ECHOED {DATAGRAMS}");
}

/// Sends one datagram and takes its echo; late echoes of others are passed over.
fn echo(socket: &UdpSocket, number: u64, len: usize) -> bool {
    let mut sent = vec![number as u8; len];
    sent[..8].copy_from_slice(&number.to_be_bytes());
    socket.send(&sent).unwrap();
    let mut received = [0; 2048];
    loop {
        match socket.recv(&mut received) {
            Ok(n) if received[..n] == sent[..] => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A child of this executable that runs one test in a role, in a namespace.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<Box<dyn Read>>>,
    seen: String,
}

impl Process {
    fn spawn(test: &str, role: &str, netns: &str) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns]).arg(env::current_exe().unwrap());
        command.args(["--exact", &format!("dpdk::tests::{test}"), "--nocapture"]);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout: Box<dyn Read> = Box::new(child.stdout.take().unwrap());
        Process { child, lines: BufReader::new(stdout).lines(), seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) -> bool {
        for line in self.lines.by_ref().map_while(Result::ok) {
            self.seen += &line;
            self.seen.push('\n');
            if line.contains(text) {
                return true;
            }
        }
        false
    }

    fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        while self.wait_for("\0") {}
        let status = self.child.wait().unwrap();
        let _ = fs::remove_dir(format!("/var/run/dpdk/roomlane-{}", self.child.id()));
        assert!(status.success() && self.seen.contains("1 passed"), "{status}: {}", self.seen);
        self.seen
    }
}

/// A namespace of this test, removed on drop.
struct NetNs(String);

impl NetNs {
    fn new() -> Option<NetNs> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("rl-port-{}-{number}", std::process::id());
        let out = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if out.status.success() {
            return Some(NetNs(name));
        }
        eprintln!("SKIPPED: no namespace: {}", String::from_utf8_lossy(&out.stderr));
        None
    }

    fn ip(&self, words: &str) {
        let out = Command::new("ip").args(["-n", &self.0]).args(words.split(' ')).output().unwrap();
        assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn address(&self, interface: &str, mtu: u16) {
        self.ip(&format!("link set {interface} mtu {mtu}"));
        self.ip(&format!("addr add 198.18.7.1/24 dev {interface}"));
        self.ip(&format!("addr add 2001:db8:7::1/64 dev {interface} nodad"));
        self.ip(&format!("link set {interface} up"));
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Whether this build has no DPDK, said loudly.
fn is_absent() -> bool {
    if !AVAILABLE {
        let error = Dpdk::open(&config("net_null0")).unwrap_err();
        assert_eq!(error, Error::Absent);
        eprintln!("SKIPPED: {error}");
    }
    !AVAILABLE
}

/// Runs the host with `devargs` and a client of each family against it.
fn echo_through(test: &str, devargs: &str, driver: &str) {
    match env::var(ROLE).ok().as_deref() {
        None => {}
        Some("host") => return host(devargs),
        Some(role) => return client(role),
    }
    if is_absent() {
        return;
    }
    let (Some(near), Some(far)) = (NetNs::new(), NetNs::new()) else { return };
    let is_tap = driver == "net_tap";
    if !is_tap {
        near.ip(&format!("link add d0 type veth peer name c0 netns {}", far.0));
        near.ip("link set d0 up");
        far.address("c0", mtu_of(devargs));
    }
    let mut host = Process::spawn(test, "host", &near.0);
    if host.wait_for("READY") {
        if is_tap {
            near.address("dtap0", mtu_of(devargs));
        }
        let netns = if is_tap { &near } else { &far };
        for local in ["198.18.7.1:5000", "[2001:db8:7::1]:5000"] {
            let role = format!("{local} {}", mtu_of(devargs));
            let out = Process::spawn(test, &role, &netns.0).finish();
            assert!(out.contains(&format!("ECHOED {DATAGRAMS}")), "{out}");
        }
    }
    let out = host.finish();
    assert!(out.contains(driver), "{out}");
    // The device reclaims what it sent with the next burst, so a few may be out.
    let in_use = out.lines().find_map(|line| line.strip_prefix("IN_USE ")).unwrap();
    assert!(in_use.parse::<usize>().unwrap() <= TX_BURST_MAX, "{out}");
}

#[test]
fn datagrams_of_kernel_sockets_come_back_through_af_xdp() {
    let test = "datagrams_of_kernel_sockets_come_back_through_af_xdp";
    echo_through(test, "net_af_xdp0,iface=d0", "net_af_xdp");
}

#[test]
fn datagrams_of_kernel_sockets_come_back_through_af_packet() {
    let test = "datagrams_of_kernel_sockets_come_back_through_af_packet";
    echo_through(test, "net_af_packet0,iface=d0,qdisc_bypass=1", "net_af_packet");
}

#[test]
fn datagrams_of_kernel_sockets_come_back_through_tap() {
    let test = "datagrams_of_kernel_sockets_come_back_through_tap";
    echo_through(test, "net_tap0,iface=dtap0", "net_tap");
}

/// Runs `body` in a child, because EAL starts once per process.
fn in_child(test: &str, body: impl FnOnce()) {
    if env::var(ROLE).is_ok() {
        return body();
    }
    if is_absent() {
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("dpdk::tests::{test}"), "--nocapture"]).env(ROLE, "child");
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let _ = fs::remove_dir(format!("/var/run/dpdk/roomlane-{}", child.id()));
}

#[test]
fn a_ring_keeps_frames_whole_and_the_books_balanced() {
    in_child("a_ring_keeps_frames_whole_and_the_books_balanced", || {
        let (_dpdk, mut devices) = Dpdk::open(&config("net_ring0")).unwrap();
        let mut device = devices.remove(0);
        let mut buf = device.alloc().unwrap();
        assert_eq!((buf.headroom(), buf.tailroom()), (HEADROOM, BUF_CAPACITY));
        buf.append(60).unwrap().fill(9);
        let mut tx: ArrayVec<_, TX_BURST_MAX> = ArrayVec::new();
        tx.push(buf);
        assert_eq!((device.tx_frames(&mut tx), tx.len(), device.in_use()), (1, 0, 1));
        let mut rx = ArrayVec::new();
        assert_eq!(device.rx_frames(&mut rx), 1);
        let frame = rx.pop().unwrap();
        assert_eq!((frame.buf.bytes(), frame.checksum), (&[9; 60][..], RxChecksum::Unchecked));
        device.free(frame.buf);
        assert_eq!(device.in_use(), 0);
    });
}

#[test]
fn what_a_full_device_does_not_take_stays_in_order() {
    in_child("what_a_full_device_does_not_take_stays_in_order", || {
        let (_dpdk, mut devices) = Dpdk::open(&config("net_ring0")).unwrap();
        let mut device = devices.remove(0);
        let mut next = 0u32;
        let rest = loop {
            let mut tx: ArrayVec<_, TX_BURST_MAX> = ArrayVec::new();
            for _ in 0..50 {
                let mut buf = device.alloc().unwrap();
                buf.append(60).unwrap()[..4].copy_from_slice(&next.to_be_bytes());
                tx.push(buf);
                next += 1;
            }
            if device.tx_frames(&mut tx) < 50 {
                break tx;
            }
        };
        let numbers =
            rest.iter().map(|buf| u32::from_be_bytes(buf.bytes()[..4].try_into().unwrap()));
        let expected = next - rest.len() as u32..next;
        assert!(!rest.is_empty() && numbers.eq(expected));
    });
}

#[test]
fn a_device_yields_one_queue_pair_per_worker_as_far_as_it_has_them() {
    in_child("a_device_yields_one_queue_pair_per_worker_as_far_as_it_has_them", || {
        let asked = DpdkConfig { queues: 20, ..config("net_ring0") };
        let (dpdk, devices) = Dpdk::open(&asked).unwrap();
        assert_eq!(devices.len(), usize::from(dpdk.info().queues_max));
        assert!(devices.len() > 1);
        assert_eq!(Dpdk::open(&asked).unwrap_err(), Error::AlreadyStarted);
    });
}

#[test]
fn an_mtu_that_does_not_fit_a_buffer_is_the_operators_error() {
    in_child("an_mtu_that_does_not_fit_a_buffer_is_the_operators_error", || {
        let error = Dpdk::open(&DpdkConfig { mtu: 2027, ..config("net_null0") }).unwrap_err();
        assert_eq!(error.fault(), Fault::Operator);
        assert!(error.to_string().contains("MTU 2027 is not within"), "{error}");
    });
}

#[test]
fn memory_follows_the_pool_and_memif_warns() {
    let small = DpdkConfig { mbufs: 1023, ..DpdkConfig::new("net_null0") };
    assert!(small.memory_mib() < DpdkConfig::new("net_null0").memory_mib());
    assert!(warning("net_memif0,role=server").is_some_and(|text| text.contains("crash")));
    assert_eq!(warning("net_tap0"), None);
}

//! Devices that face the kernel, in namespaces this test makes: a DPDK host answers ARP and ping,
//! and the ordinary `ping` of a client is the oracle. Needs root (namespaces, raw sockets, XDP);
//! skips loudly.
#![cfg(dpdk)]

mod support;

use std::sync::atomic::Ordering;
use std::thread;

use dpdk::{DevConfig, Devargs, Eal, EthDev, Lcore, Mempool, PoolConfig, RxQueue, TxQueue};
use support::responder::turn;
use support::{Lab, NetNs, Process, end_of_stdin, no_huge, role, run, until};

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

/// Frames that the kernel may send of its own accord between the last look and the end.
const LATE_FRAMES: u32 = 16;

#[test]
fn af_xdp_answers_ping_on_a_veth_and_detaches_its_program_at_the_end() {
    if role().is_some() {
        return respond("net_af_xdp0,iface=d0");
    }
    let name = "af_xdp_answers_ping_on_a_veth_and_detaches_its_program_at_the_end";
    if let Some((lab, out)) = ping_over_veth(name, "net_af_xdp") {
        assert!(!xdp_is_attached(&lab));
        // 22.11's driver forgets the buffers in its rings when it closes, and no others: those of its fill
        // ring, and a frame that came after the last look.
        let in_use = out.split("in use ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let in_use: u32 = in_use.and_then(|count| count.parse().ok()).expect("it says so");
        assert!(in_use == 0 || (2048..2048 + LATE_FRAMES).contains(&in_use), "{out}");
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

/// Sends three frames to tap's kernel side, from a raw socket: UDP with a right sum, with a wrong
/// one, and with a wrong IPv4 header.
const SEND_UDP: &str = "
import socket, struct
def sum16(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return 0xffff - s
src, dst, body = bytes([198, 18, 7, 1]), bytes([198, 18, 7, 2]), b'sixteen byte pay'
def frame(udp_error, ip_error):
    n = 8 + len(body)
    udp = struct.pack('!HHHH', 5000, 8000, n, 0) + body
    c = sum16(src + dst + struct.pack('!HH', 17, n) + udp)
    udp = udp[:6] + struct.pack('!H', c ^ udp_error) + udp[8:]
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + n, 1, 0, 64, 17, 0) + src + dst
    c = sum16(ip)
    ip = ip[:10] + struct.pack('!H', c ^ ip_error) + ip[12:]
    return bytes(6) + bytes([2, 0, 0, 0, 0, 1]) + bytes([8, 0]) + ip + udp
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('dtap0', 0))
for errors in ((0, 0), (0x5555, 0), (0, 0x5555)):
    s.send(frame(*errors))
";

/// Prints what the device says of each UDP frame until it has seen three.
fn judge(rx_checksum: bool) {
    let devargs = Devargs::parse("net_tap0,iface=dtap0").unwrap();
    let eal = Eal::start(&no_huge(128)).unwrap();
    let pool = Mempool::new(&eal, &PoolConfig::default()).unwrap();
    let mut dev = EthDev::probe(&eal, &devargs).unwrap();
    let config = DevConfig { rx_checksum, ..DevConfig::default() };
    let mut queues = dev.start(&config, &pool).unwrap();
    println!("READY");
    let mut verdicts = vec![];
    until("three UDP frames", || {
        queues[0].0.burst(32, |mbuf| {
            if mbuf.len() > 23 && mbuf.bytes()[12..14] == [8, 0] && mbuf.bytes()[23] == 17 {
                verdicts.push((mbuf.ip_checksum(), mbuf.udp_checksum()));
            }
        });
        verdicts.len() >= 3
    });
    println!("VERDICTS {verdicts:?}");
}

/// The parent's half: what the device said of the three frames.
fn verdicts(test: &str) -> Option<String> {
    let ns = NetNs::new()?;
    let mut host = Process::spawn(test, "host", Some(&ns.name));
    if host.wait_for("READY") {
        ns.ip("link set dtap0 up");
        run(&["ip", "netns", "exec", &ns.name, "python3", "-c", SEND_UDP]).unwrap();
    }
    let out = host.finish();
    out.lines().find_map(|line| line.strip_prefix("VERDICTS ")).map(str::to_owned)
}

#[test]
fn a_device_that_checks_says_good_and_bad() {
    if role().is_some() {
        return judge(true);
    }
    if let Some(verdicts) = verdicts("a_device_that_checks_says_good_and_bad") {
        assert_eq!(verdicts, "[(Good, Good), (Good, Bad), (Bad, Good)]");
    }
}

#[test]
fn a_device_that_is_not_asked_to_check_says_nothing() {
    if role().is_some() {
        return judge(false);
    }
    if let Some(verdicts) = verdicts("a_device_that_is_not_asked_to_check_says_nothing") {
        assert_eq!(verdicts, "[(Unknown, Unknown), (Unknown, Unknown), (Unknown, Unknown)]");
    }
}

//! The port over real loopback sockets.

use std::net::UdpSocket;
use std::time::{Duration as Timeout, Instant as Clock};

use roomlane_core::{BURST_MAX, Endpoint, TX_BURST_MAX};

use super::*;

/// A port of one shard on both families. Its UDP port is one that was free a moment ago.
fn port(mtu: usize) -> (UringPort, PortConfig) {
    for _ in 0..20 {
        let probe = UdpSocket::bind("127.0.0.1:0").expect("probe");
        let udp_base = probe.local_addr().expect("address").port();
        drop(probe);
        let config = PortConfig {
            addresses: vec!["127.0.0.1/8".parse().expect("v4"), "::1".parse().expect("v6")],
            gateways: vec![],
            advertise: vec![],
            udp_base,
            shards: 1,
            vlan: 0,
            mtu,
        };
        config.check().expect("sound");
        match UringPort::bind(&config, 0, 2048) {
            Ok(port) => return (port, config),
            Err(UringError::Bind { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no free UDP port");
}

fn receive(port: &mut UringPort, count: usize) -> Vec<Datagram<UringBuf>> {
    let end = Clock::now() + Timeout::from_secs(5);
    let mut all = Vec::new();
    while all.len() < count && Clock::now() < end {
        port.wait(100_000_000);
        let mut rx = Burst::new();
        assert_eq!(port.rx_burst(Instant::default(), &mut rx), rx.len());
        all.extend(rx);
    }
    assert!(port.fault().is_none());
    all
}

fn drops(port: &UringPort, reason: DropReason) -> u64 {
    port.stats().drops[reason as usize]
}

#[test]
fn datagrams_of_both_families_return_to_their_senders_from_where_they_were_sent() {
    let (mut port, config) = port(1500);
    for (at, any) in config.addresses.iter().zip(["127.0.0.1:0", "[::1]:0"]) {
        let peer = UdpSocket::bind(any).expect("peer");
        peer.connect((at.ip, config.udp_base)).expect("connect");
        peer.set_read_timeout(Some(Timeout::from_secs(5))).expect("timeout");
        for i in 0..100u8 {
            peer.send(&[i; 160]).expect("send");
        }
        let mut waiting = receive(&mut port, 100).into_iter();
        assert_eq!((waiting.len(), port.in_use()), (100, 100));
        loop {
            let mut tx: TxBurst<_> = waiting.by_ref().take(TX_BURST_MAX).collect();
            if tx.is_empty() {
                break;
            }
            let local = Endpoint::new(at.ip, config.udp_base);
            assert!(tx.iter().all(|datagram| datagram.path.local == local));
            let len = tx.len();
            assert_eq!((port.tx_burst(Instant::default(), &mut tx), tx.len()), (len, 0));
        }
        for i in 0..100u8 {
            let mut reply = [0; 200];
            assert_eq!(peer.recv(&mut reply).expect("reply"), 160);
            assert_eq!(reply[..160], [i; 160]);
        }
        assert_eq!(port.in_use(), 0);
    }
    let stats = port.stats();
    assert_eq!((stats.rx_packets, stats.rx_bytes), (200, 32_000));
    assert_eq!((stats.tx_packets, stats.tx_bytes), (200, 32_000));
    assert_eq!(stats.drops.iter().sum::<u64>(), 0);
}

#[test]
fn a_burst_never_exceeds_its_limit_and_the_rest_waits() {
    let (mut port, config) = port(1500);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for i in 0..(BURST_MAX as u8 + 5) {
        peer.send_to(&[i], ("127.0.0.1", config.udp_base)).expect("send");
    }
    port.wait(1_000_000_000);
    let mut rx = Burst::new();
    assert_eq!(port.rx_burst(Instant::default(), &mut rx), BURST_MAX);
    // A burst that is full already takes nothing.
    assert_eq!(port.rx_burst(Instant::default(), &mut rx), 0);
    let rest = receive(&mut port, 5);
    let order: Vec<_> = rx.iter().chain(&rest).map(|datagram| datagram.buf.bytes()[0]).collect();
    assert_eq!(order, (0..BURST_MAX as u8 + 5).collect::<Vec<_>>());
}

#[test]
fn what_cannot_leave_is_counted_by_its_reason_and_its_buffer_comes_back() {
    let (mut port, config) = port(1280);
    let ours = Endpoint::v4([127, 0, 0, 1], config.udp_base);
    let ours_v6 = Endpoint::new("::1".parse().expect("ip"), config.udp_base);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    let remote = Endpoint::from(peer.local_addr().expect("address"));
    let mut tx = TxBurst::new();
    let mut push = |port: &mut UringPort, local, remote, len| {
        let mut buf = port.alloc().expect("buffer");
        buf.append(len).expect("room").fill(1);
        tx.push(Datagram { path: Path { local, remote }, dscp: 46, buf });
    };
    push(&mut port, ours, remote, 1280 - 28 + 1);
    push(&mut port, ours, remote, 1280 - 28);
    push(&mut port, ours_v6, Endpoint::new("::1".parse().expect("ip"), 9), 1280 - 48 + 1);
    push(&mut port, Endpoint::v4([127, 0, 0, 9], 9), remote, 1);
    push(&mut port, ours, Endpoint::v4([192, 0, 2, 1], 9), 1);
    assert_eq!(port.tx_burst(Instant::default(), &mut tx), 5);
    assert_eq!(drops(&port, DropReason::Oversize), 2);
    assert_eq!(drops(&port, DropReason::NotOurs), 1);
    assert_eq!(drops(&port, DropReason::NoNeighbour), 1);
    assert_eq!((port.stats().tx_packets, port.stats().tx_bytes), (1, 1280 - 28));
    assert_eq!(port.in_use(), 0);
    assert_eq!(peer.recv(&mut [0; 2000]).expect("the one that may"), 1280 - 28);
}

#[test]
fn a_datagram_larger_than_a_buffer_is_oversize() {
    let (mut port, config) = port(1500);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for len in [3000, 5] {
        peer.send_to(&vec![7; len], ("127.0.0.1", config.udp_base)).expect("send");
    }
    assert_eq!(receive(&mut port, 1)[0].buf.bytes(), [7; 5]);
    assert_eq!(drops(&port, DropReason::Oversize), 1);
}

#[test]
fn a_wait_ends_when_a_datagram_comes_and_otherwise_after_its_time() {
    let (mut port, config) = port(1500);
    let start = Clock::now();
    port.wait(20_000_000);
    assert!(start.elapsed() >= Timeout::from_millis(20));
    let start = Clock::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
            peer.send_to(b"x", ("127.0.0.1", config.udp_base)).expect("send");
        });
        port.wait(10_000_000_000);
    });
    assert!(start.elapsed() < Timeout::from_secs(5));
    assert_eq!(receive(&mut port, 1).len(), 1);
}

#[test]
fn what_the_kernel_dropped_is_asked_for_now_and_then() {
    let (mut port, config) = port(1500);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    // Nothing is taken out meanwhile; the receive buffer has room for some thousands.
    let sent = 40_000;
    for _ in 0..sent {
        peer.send_to(&[0; 1000], ("127.0.0.1", config.udp_base)).expect("send");
    }
    let mut rx = Burst::new();
    port.rx_burst(Instant::default(), &mut rx);
    let dropped = drops(&port, DropReason::NoMbuf);
    assert!((1..sent).contains(&dropped), "{dropped}");
    port.rx_burst(Instant::default() + KERNEL_DROPS_INTERVAL, &mut Burst::new());
    assert_eq!(drops(&port, DropReason::NoMbuf), dropped, "each is counted once");
}

//! The portable port over loopback, against the standard library's sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant as Clock};

use port::Port;
use port::udp::UdpPort;
use proto::DropReason;
use roomlane_core::{Endpoint, Path, Pool};

use crate::support::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn bind(addresses: &[IpAddr], buffers: usize) -> (UdpPort, Vec<Endpoint>) {
    let port = UdpPort::bind(addresses, 0, 1500, buffers).unwrap();
    let endpoints = port.local_endpoints().collect();
    (port, endpoints)
}

/// Waits until `count` datagrams came, at most five seconds.
fn receive_all(port: &mut UdpPort, count: usize) -> Vec<(Path, Vec<u8>)> {
    let end = Clock::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    while got.len() < count && Clock::now() < end {
        port.wait(100_000_000);
        got.extend(receive(port, START));
    }
    got
}

#[test]
fn datagrams_go_both_ways_in_both_families() {
    let (mut port, endpoints) = bind(&[V4, V6], 64);
    for (ip, ours) in [V4, V6].into_iter().zip(endpoints) {
        let peer = UdpSocket::bind((ip, 0)).unwrap();
        let theirs = Endpoint::from(peer.local_addr().unwrap());
        peer.send_to(b"there", ours.socket_addr()).unwrap();
        let path = Path { local: ours, remote: theirs };
        assert_eq!(receive_all(&mut port, 1), [(path, b"there".to_vec())]);
        assert!(send(&mut port, START, path, b"back"));
        let mut buf = [0; 16];
        let (len, from) = peer.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], Endpoint::from(from)), (&b"back"[..], ours));
    }
    assert_eq!(port.in_use(), 0);
    let stats = port.stats();
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.tx_bytes), (2, 10, 2, 8));
}

#[test]
fn a_burst_is_at_most_32_and_the_rest_waits() {
    let (mut port, ours) = bind(&[V4], 64);
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    for i in 0..40u8 {
        peer.send_to(&[i], ours[0].socket_addr()).unwrap();
    }
    port.wait(1_000_000_000);
    let first = receive(&mut port, START);
    assert_eq!(first.len(), 32);
    let order: Vec<u8> =
        first.into_iter().chain(receive(&mut port, START)).map(|(_, p)| p[0]).collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
}

#[test]
fn without_buffers_datagrams_wait_in_the_kernel_and_the_lack_is_counted() {
    let (mut port, ours) = bind(&[V4], 1);
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.send_to(b"wait", ours[0].socket_addr()).unwrap();
    let only = port.alloc().unwrap();
    port.wait(1_000_000_000);
    assert_eq!(receive(&mut port, START), []);
    assert_eq!(all_drops(&port), [("no_mbuf", 1)]);
    port.free(only);
    assert_eq!(receive(&mut port, START).len(), 1);
}

#[test]
fn oversize_is_refused_both_ways() {
    let (mut port, ours) = bind(&[V4, V6], 8);
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.send_to(&[0; 1473], ours[0].socket_addr()).unwrap();
    peer.send_to(&[0; 5000], ours[0].socket_addr()).unwrap();
    peer.send_to(&[7; 1472], ours[0].socket_addr()).unwrap();
    let got = receive_all(&mut port, 1);
    assert_eq!((got.len(), got[0].1.len()), (1, 1472));
    assert_eq!(all_drops(&port), [("oversize", 2)]);
    let theirs = peer.local_addr().unwrap().into();
    assert!(send(&mut port, START, Path { local: ours[0], remote: theirs }, &[0; 1473]));
    let v6 = Path { local: ours[1], remote: Endpoint::new(V6, 9) };
    assert!(send(&mut port, START, v6, &[0; 1453]));
    assert_eq!(drops(&port, DropReason::Oversize), 4);
}

#[test]
fn a_datagram_cut_by_the_end_of_a_buffer_is_oversize_whatever_the_mtu() {
    let mut port = UdpPort::bind(&[V4], 0, 9000, 4).unwrap();
    let ours = port.local_endpoints().next().unwrap().socket_addr();
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    for len in [2047, 2048, 5000] {
        peer.send_to(&vec![7; len], ours).unwrap();
    }
    port.wait(1_000_000_000);
    let got = receive(&mut port, START);
    assert_eq!(got.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), [2047]);
    assert_eq!(all_drops(&port), [("oversize", 2)]);
}

#[test]
fn a_full_wait_ends_when_a_datagram_comes_and_otherwise_in_time() {
    let (mut port, ours) = bind(&[V4, V6], 8);
    assert!(port.caps().can_wait);
    let start = Clock::now();
    port.wait(20_000_000);
    assert!(start.elapsed() >= Duration::from_millis(20));
    UdpSocket::bind((V6, 0)).unwrap().send_to(b"x", ours[1].socket_addr()).unwrap();
    let start = Clock::now();
    port.wait(10_000_000_000);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_foreign_source_and_an_impossible_destination_are_dropped_by_name() {
    let (mut port, ours) = bind(&[V4], 8);
    let foreign = path(([198, 18, 1, 1], 8000), (V4, 9));
    assert!(send(&mut port, START, foreign, b"x"));
    assert_eq!(drops(&port, DropReason::NotOurs), 1);
    // Port zero is nobody's.
    let nowhere = Path { local: ours[0], remote: Endpoint::new(V4, 0) };
    assert!(send(&mut port, START, nowhere, b"x"));
    assert_eq!(drops(&port, DropReason::NoNeighbour), 1);
}

#[test]
fn a_taken_port_an_unspecified_address_and_no_address_are_refused() {
    let (_port, ours) = bind(&[V4], 1);
    let error = UdpPort::bind(&[V4], ours[0].port, 1500, 1).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&ours[0].port.to_string()));
    for addresses in [&[IpAddr::V4(Ipv4Addr::UNSPECIFIED)][..], &[]] {
        let error = UdpPort::bind(addresses, 0, 1500, 1).unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::InvalidInput);
    }
}

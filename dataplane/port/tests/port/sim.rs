//! The in-memory network: addresses, latency on virtual time, full queues, unknown destinations.

use port::Port;
use port::sim::{Hub, SimConfig};
use roomlane_core::{Duration, Path, Pool, TxBurst};

use crate::support::*;

fn back(path: Path) -> Path {
    Path { local: path.remote, remote: path.local }
}

#[test]
fn a_datagram_arrives_after_the_latency_and_not_before() {
    let hub = Hub::new();
    let latency = Duration::from_ms(20);
    let mut a = hub.attach(SimConfig { latency, ..SimConfig::new(A4.into()) });
    let mut b = hub.attach(SimConfig::new(B4.into()));
    let there = path((A4, 5000), (B4, 8000));
    assert!(send(&mut a, START, there, b"hello"));
    assert_eq!(receive(&mut b, START + Duration(latency.0 - 1)), []);
    assert_eq!(hub.in_flight(), 1);
    assert_eq!(receive(&mut b, START + latency), [(back(there), b"hello".to_vec())]);
    assert!(send(&mut b, START, back(there), b"hi"));
    assert_eq!(receive(&mut a, START).len(), 1);
    assert_eq!((a.in_use(), b.in_use(), hub.in_flight()), (0, 0, 0));
}

#[test]
fn ports_of_one_address_are_told_apart_by_udp_port() {
    let hub = Hub::new();
    let mut a = hub.attach(SimConfig::new(A4.into()));
    let mut shards = [8000, 8001]
        .map(|p| hub.attach(SimConfig { udp_ports: p..=p, ..SimConfig::new(B4.into()) }));
    for udp_port in [8000, 8001, 8001, 8002] {
        assert!(send(&mut a, START, path((A4, 5000), (B4, udp_port)), b"x"));
    }
    assert_eq!(shards.each_mut().map(|s| receive(s, START).len()), [1, 2]);
    assert_eq!(all_drops(&a), [("no_neighbour", 1)]);
}

#[test]
fn a_full_queue_leaves_the_rest_with_the_sender_in_order() {
    let hub = Hub::new();
    let mut a = hub.attach(SimConfig::new(A4.into()));
    let mut b = hub.attach(SimConfig { queue_len: 3, ..SimConfig::new(B4.into()) });
    let there = path((A4, 5000), (B4, 8000));
    let mut tx = TxBurst::new();
    for i in 0..5 {
        let d = datagram(&mut a, there, &[i]);
        tx.push(d);
    }
    assert_eq!(a.tx_burst(START, &mut tx), 3);
    let got: Vec<_> = receive(&mut b, START).into_iter().map(|(_, p)| p[0]).collect();
    assert_eq!(a.tx_burst(START, &mut tx), 2);
    let more: Vec<_> = receive(&mut b, START).into_iter().map(|(_, p)| p[0]).collect();
    assert_eq!((got, more), (vec![0, 1, 2], vec![3, 4]));
    assert_eq!(a.stats().tx_packets, 5);
}

#[test]
fn a_datagram_over_the_mtu_is_oversize_in_both_families() {
    let (mut a, _b) = port::sim::pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    assert!(send(&mut a, START, path((A4, 1), (B4, 2)), &[0; 1472]));
    assert!(send(&mut a, START, path((A4, 1), (B4, 2)), &[0; 1473]));
    assert!(send(&mut a, START, path((A6, 1), (B6, 2)), &[0; 1453]));
    assert_eq!(all_drops(&a), [("oversize", 2)]);
}

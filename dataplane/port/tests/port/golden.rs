//! `netif` against frames made by scapy 2.8.0: what it takes, answers and sends is byte for byte
//! what scapy makes of the same fields.

use port::{Port, RxChecksum};
use proto::DropReason;
use roomlane_core::{Buf, Burst, TxBurst};

use crate::support::*;

const ARP_REQUEST: &str = "ffffffffffff02000000000108060001080006040001020000000001c61201010000000\
    00000c6120102";
const ARP_REPLY: &str = "02000000000102000000000208060001080006040002020000000002c6120102020000000\
    001c6120101";
const UDP4_VLAN: &str = "02000000000202000000000181000064080045b80024000040004011abe9c6120101c6120\
    10213881f400010823a726f6f6d6c616e65";
pub const UDP6: &str = "02000000000202000000000186dd6b8000000010114020010db80000000000000000000000\
    0120010db800000000000000000000000213881f400010b4ed726f6f6d6c616e65";
const PING4: &str = "020000000002020000000001080045000021000040004001acb4c6120101c61201020800a1f21\
    234000768656c6c6f";
const PONG4: &str = "020000000001020000000002080045000021000040004001acb4c6120102c61201010000a9f21\
    234000768656c6c6f";
const PING6: &str = "02000000000202000000000186dd60000000000d3a4020010db80000000000000000000000012\
    0010db80000000000000000000000028000ce351234000768656c6c6f";
const PONG6: &str = "02000000000102000000000286dd60000000000d3a4020010db80000000000000000000000022\
    0010db80000000000000000000000018100cd351234000768656c6c6f";
const NS: &str = "3333ff00000202000000000186dd6000000000203aff20010db8000000000000000000000001ff02\
    00000000000000000001ff00000287001c270000000020010db80000000000000000000000020101020000000001";
const NA: &str = "02000000000102000000000286dd6000000000203aff20010db80000000000000000000000022001\
    0db800000000000000000000000188008a716000000020010db80000000000000000000000020201020000000002";
const FRAG4: &str = "020000000002020000000001080045000024000120004011cca0c6120101c612010213881f400\
    0640000726f6f6d6c616e65";
const FRAG6: &str = "02000000000202000000000186dd6000000000182c4020010db80000000000000000000000012\
    0010db8000000000000000000000002110000010000000113881f4000640001726f6f6d6c616e65";
const HOPBYHOP6: &str = "02000000000202000000000186dd600000000018004020010db8000000000000000000000\
    00120010db8000000000000000000000002110001040000000013881f400010b4ed726f6f6d6c616e65";

#[test]
fn an_arp_request_is_answered_as_scapy_would() {
    let answers = Bench::plain().ask(&unhex(ARP_REQUEST));
    assert_eq!(answers.len(), 1);
    let want = unhex(ARP_REPLY);
    assert_eq!(answers[0][..want.len()], want);
    // Padded with zeros to the shortest legal frame.
    assert_eq!(answers[0].len(), 60);
    assert!(answers[0][want.len()..].iter().all(|b| *b == 0));
}

#[test]
fn a_neighbour_solicitation_is_answered_as_scapy_would() {
    let answers = Bench::plain().ask(&unhex(NS));
    assert_eq!(answers, [unhex(NA)]);
}

#[test]
fn pings_are_answered_as_scapy_would() {
    for (ping, pong) in [(PING4, PONG4), (PING6, PONG6)] {
        let mut bench = Bench::plain();
        assert_eq!(bench.ask(&unhex(ping)), [unhex(pong)]);
        assert_eq!(bench.netif.stats().answered, 1);
    }
}

#[test]
fn a_padded_ping_is_answered_without_the_padding() {
    let mut ping = unhex(PING4);
    ping.resize(60, 0);
    assert_eq!(Bench::plain().ask(&ping), [unhex(PONG4)]);
}

#[test]
fn datagrams_of_scapy_are_delivered_with_their_addresses() {
    let mut vlan = config("198.18.1.2/24", "2001:db8::2/64");
    vlan.vlan = 100;
    let v4 = path((B4, 8000), (A4, 5000));
    let v6 = path((B6, 8000), (A6, 5000));
    for (mut bench, frame, want) in [(Bench::new(&vlan), UDP4_VLAN, v4), (Bench::plain(), UDP6, v6)]
    {
        bench.put(&unhex(frame));
        assert_eq!(bench.receive(), [(want, b"roomlane".to_vec())]);
        let stats = bench.netif.stats();
        assert_eq!((stats.rx_packets, stats.rx_bytes), (1, 8));
    }
}

#[test]
fn datagrams_are_sent_as_scapy_would() {
    // The golden frames go from A to B, so here the port under test is A and has A's MAC.
    let mut vlan = config("198.18.1.1/24", "2001:db8::1/64");
    vlan.vlan = 100;
    let plain = config("198.18.1.1/24", "2001:db8::1/64");
    let v4 = path((A4, 5000), (B4, 8000));
    let v6 = path((A6, 5000), (B6, 8000));
    for (config, frame, path) in [(vlan, UDP4_VLAN, v4), (plain, UDP6, v6)] {
        let [mut far, near] = port::sim::ether::pair([B, A], 16, 1500, 16);
        let mut netif = port::netif::Netif::new(near, &config, [7; 16]).unwrap();
        learn(&mut netif, &mut far, path, config.vlan);
        let mut tx = TxBurst::new();
        let mut d = datagram(&mut netif, path, b"roomlane");
        d.dscp = 46;
        tx.push(d);
        assert_eq!(netif.tx_burst(START, &mut tx), 1, "{:?}", all_drops(&netif));
        assert_eq!(take(&mut far), [unhex(frame)]);
    }
}

/// Lets `netif` ask for B and answers with scapy's reply turned around.
fn learn(
    netif: &mut port::netif::Netif<port::sim::ether::SimEther>,
    far: &mut port::sim::ether::SimEther,
    path: roomlane_core::Path,
    vlan: u16,
) {
    send(netif, START, path, b"dropped");
    assert_eq!(drops(netif, DropReason::NoNeighbour), 1);
    assert_eq!(take(far).len(), 1);
    let mut answer = unhex(if path.local.as_v4().is_some() { ARP_REPLY } else { NA });
    if vlan != 0 {
        answer.splice(12..12, [0x81, 0x00, (vlan >> 8) as u8, vlan as u8]);
    }
    put(far, &answer);
    assert!(receive(netif, START).is_empty());
}

fn put(device: &mut port::sim::ether::SimEther, frame: &[u8]) {
    use port::EtherDevice;
    use roomlane_core::Pool;
    let mut buf = device.alloc().unwrap();
    buf.append(frame.len()).unwrap().copy_from_slice(frame);
    let mut tx = arrayvec::ArrayVec::new();
    tx.push(buf);
    device.tx_frames(&mut tx);
}

fn take(device: &mut port::sim::ether::SimEther) -> Vec<Vec<u8>> {
    use port::EtherDevice;
    let mut rx = arrayvec::ArrayVec::new();
    device.rx_frames(&mut rx);
    rx.iter().map(|f| f.buf.bytes().to_vec()).collect()
}

#[test]
fn fragments_and_extension_headers_of_scapy_are_dropped_by_name() {
    let mut bench = Bench::plain();
    bench.refuses(&unhex(FRAG4), DropReason::Fragment);
    bench.refuses(&unhex(FRAG6), DropReason::Fragment);
    bench.refuses(&unhex(HOPBYHOP6), DropReason::NotOurs);
}

#[test]
fn a_partial_udp_checksum_counts_only_where_the_device_looked() {
    // What a veth hands over: the sum of the pseudo header alone, for hardware to complete.
    let mut frame = unhex(UDP6);
    let sum = wire::checksum::Sum::pseudo_v6(A6, B6, wire::Protocol::UDP, 16).fold();
    frame[60..62].copy_from_slice(&sum.to_be_bytes());
    let plain = config("198.18.1.2/24", "2001:db8::2/64");
    for (said, delivered) in
        [(RxChecksum::Unchecked, 1), (RxChecksum::Good, 1), (RxChecksum::Bad, 0)]
    {
        let mut bench = Bench::with_checksum(&plain, said);
        bench.put(&frame);
        assert_eq!(bench.receive().len(), delivered, "{said:?}");
        assert_eq!(bench.drops(DropReason::BadChecksum), 1 - delivered as u64);
    }
}

#[test]
fn a_burst_that_has_room_for_few_takes_few_and_loses_none() {
    let mut bench = Bench::plain();
    for i in 0..40u8 {
        let mut frame = unhex(UDP6);
        frame[62] = i;
        bench.put(&frame);
    }
    let mut got = Vec::new();
    let mut rx = Burst::new();
    while got.len() < 40 {
        // A burst that already holds datagrams: only the rest of it is filled.
        for _ in 0..30 {
            rx.push(datagram(&mut bench.netif, path((B6, 8000), (A6, 1)), b""));
        }
        let count = bench.netif.rx_burst(START, &mut rx);
        assert!((1..=2).contains(&count));
        got.extend(rx[30..].iter().map(|d| d.buf.bytes()[0]));
        rx.clear();
    }
    assert_eq!(got, (0..40).collect::<Vec<_>>());
}

//! Two netifs on one cable, and one whose far side is played by hand: resolution, gateways, limits,
//! VLAN, MTU.

use port::netif::{Netif, limits};
use port::sim::ether::{self, SimEther};
use port::{Port, PortConfig};
use proto::DropReason;
use roomlane_core::{Duration, Endpoint, Path, Pool, TxBurst};
use wire::ethernet::{EtherType, FrameRepr};
use wire::icmp::{EchoRequest, Family};
use wire::ipv4::Ipv4Repr;
use wire::{Mac, Protocol, arp};

use crate::support::*;

/// Two netifs, 198.18.1.1 and .2, with the same options.
fn two(change: impl Fn(&mut PortConfig)) -> [Netif<SimEther>; 2] {
    let devices = ether::pair([A, B], 256, 1500, 512);
    let mut last = 0;
    devices.map(|device| {
        last += 1;
        let mut config = config(&format!("198.18.1.{last}/24"), &format!("2001:db8::{last}/64"));
        change(&mut config);
        Netif::new(device, &config, [last; 16]).unwrap()
    })
}

fn back(path: Path) -> Path {
    Path { local: path.remote, remote: path.local }
}

/// Both families between the two of `two`.
fn paths() -> [Path; 2] {
    [path((A4, 8000), (B4, 8001)), path((A6, 8000), (B6, 8001))]
}

#[test]
fn two_netifs_resolve_each_other_and_talk_in_both_families_with_and_without_a_tag() {
    for vlan in [0, 100] {
        let [mut a, mut b] = two(|c| c.vlan = vlan);
        for path in paths() {
            assert!(send(&mut a, START, path, b"first"));
            assert_eq!(receive(&mut b, START), [], "the question only");
            assert_eq!(receive(&mut a, START), [], "the answer only");
            assert!(send(&mut a, START, path, b"second"));
            assert_eq!(receive(&mut b, START), [(back(path), b"second".to_vec())]);
        }
        assert_eq!(all_drops(&a), [("no_neighbour", 2)]);
        assert_eq!(b.stats().answered, 2);
        assert_eq!((a.stats().tx_packets, a.stats().tx_bytes), (2, 12));
        assert_eq!((a.in_use(), b.in_use()), (0, 0));
    }
}

#[test]
fn the_asked_one_learns_nothing_from_the_question() {
    let [mut a, mut b] = two(|_| {});
    let [v4, _] = paths();
    send(&mut a, START, v4, b"x");
    receive(&mut b, START);
    send(&mut b, START, back(v4), b"y");
    assert_eq!(all_drops(&b), [("no_neighbour", 1)]);
}

#[test]
fn two_netifs_of_two_vlans_do_not_hear_each_other() {
    let devices = ether::pair([A, B], 16, 1500, 16);
    let mut vlan = 0;
    let [mut a, mut b] = devices.map(|device| {
        vlan += 100;
        let mut config = config(&format!("198.18.1.{}/24", vlan / 100), "2001:db8::9/64");
        config.vlan = vlan;
        Netif::new(device, &config, [0; 16]).unwrap()
    });
    send(&mut a, START, paths()[0], b"x");
    assert_eq!(receive(&mut b, START), []);
    assert_eq!(all_drops(&b), [("wrong_vlan", 1)]);
}

#[test]
fn a_priority_tag_is_no_vlan() {
    let mut bench = Bench::plain();
    let mut frame = ping(b"hello");
    frame.splice(12..12, [0x81, 0x00, 0xa0, 0x00]);
    let answers = bench.ask(&frame);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][12..18], [0x81, 0x00, 0xa0, 0x00, 0x08, 0x00]);
}

#[test]
fn what_is_off_link_goes_to_the_gateway_and_without_one_nowhere() {
    let mut c = config("198.18.1.2/24", "2001:db8::2/64");
    c.gateways = vec![A4.into()];
    let mut bench = Bench::new(&c);
    let far = path((B4, 8000), ([203, 0, 113, 9], 40_000));
    // The gateway is asked for without any traffic, so that the first packet finds it known.
    assert_eq!(bench.receive(), []);
    let asked = bench.take();
    assert_eq!(asked.len(), 1);
    assert_eq!(arp::Arp::parse(&asked[0][14..]).unwrap().target_ip, A4);
    bench.put(&arp_reply(A4, A));
    bench.receive();
    assert!(bench.send(far, b"x"));
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0][..6], &sent[0][30..34]), (&A[..], &[203, 0, 113, 9][..]));
    // The gateway is of the other family.
    assert!(bench.send(path((B6, 8000), (far_v6(), 40_000)), b"x"));
    assert_eq!(bench.drops(DropReason::NoNeighbour), 1);
    assert_eq!(bench.take(), [] as [Vec<u8>; 0]);
}

fn far_v6() -> std::net::Ipv6Addr {
    "2001:db8:ffff::1".parse().unwrap()
}

#[test]
fn gratuitous_unasked_late_and_foreign_answers_teach_nothing() {
    let v4 = path((B4, 8000), (A4, 5000));
    // Nobody asked.
    let mut bench = Bench::plain();
    bench.refuses(&arp_reply(A4, A), DropReason::NotOurs);
    // Asked, but answered by broadcast, to another MAC, for another address, too late.
    assert!(bench.send(v4, b"x"));
    assert_eq!(bench.take().len(), 1);
    let mut broadcast = arp_reply(A4, A);
    broadcast[..6].fill(0xff);
    let mut other_target = arp_reply(A4, A);
    other_target[32..38].fill(0x66);
    let other_sender = arp_reply([198, 18, 1, 3].into(), A);
    let mut group_mac = arp_reply(A4, A);
    group_mac[22] = 1;
    for frame in [&broadcast, &other_target, &other_sender] {
        bench.refuses(frame, DropReason::NotOurs);
    }
    bench.refuses(&group_mac, DropReason::BadFrame);
    bench.pass(limits::ANSWER_WINDOW);
    bench.refuses(&arp_reply(A4, A), DropReason::NotOurs);
    let before = bench.drops(DropReason::NoNeighbour);
    assert!(bench.send(v4, b"x"));
    assert_eq!(bench.drops(DropReason::NoNeighbour), before + 1);
    // The question that this sent is answered in time, and once.
    assert_eq!(bench.take().len(), 1);
    bench.put(&arp_reply(A4, A));
    bench.receive();
    bench.refuses(&arp_reply(A4, [2, 0, 0, 0, 0, 0x66]), DropReason::NotOurs);
    assert!(bench.send(v4, b"x"));
    assert_eq!(bench.take()[0][..6], A);
}

#[test]
fn unsolicited_advertisements_teach_nothing() {
    use wire::ndp::Ndp;
    let v6 = path((B6, 8000), (A6, 5000));
    let mut bench = Bench::plain();
    assert!(bench.send(v6, b"x"));
    assert_eq!(bench.take().len(), 1);
    let advert = |solicited, target_mac, hop_limit| {
        let message =
            Ndp::Advert { router: false, solicited, overrides: true, target: A6, target_mac };
        ndp_frame(message, hop_limit)
    };
    bench.refuses(&advert(false, Some(Mac(A)), 255), DropReason::NotOurs);
    bench.refuses(&advert(true, None, 255), DropReason::NotOurs);
    bench.refuses(&advert(true, Some(Mac([0x33; 6])), 255), DropReason::NotOurs);
    bench.refuses(&advert(true, Some(Mac(A)), 254), DropReason::BadFrame);
    bench.put(&advert(true, Some(Mac(A)), 255));
    bench.receive();
    assert!(bench.send(v6, b"x"));
    assert_eq!(bench.take()[0][..6], A);
}

#[test]
fn duplicate_address_detection_is_answered_to_all_nodes() {
    use wire::ndp::{self, Ndp};
    let message = Ndp::Solicit { target: B6, source_mac: None };
    let group = ndp::solicited_node(B6);
    let mut frame = ndp_frame_between(message, "::".parse().unwrap(), group, 255);
    frame[..6].copy_from_slice(&ndp::multicast_mac(group).0);
    let answers = Bench::plain().ask(&frame);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
    let Ok(Ndp::Advert { solicited, target, target_mac, .. }) = Ndp::parse(&answers[0][54..])
    else {
        panic!("{answers:?}")
    };
    assert_eq!((solicited, target, target_mac), (false, B6, Some(Mac(B))));
}

#[test]
fn pings_are_answered_up_to_the_rate_and_then_counted() {
    let mut bench = Bench::plain();
    let frame = ping(b"hello");
    let mut answered = 0;
    for _ in 0..200 {
        answered += bench.ask(&frame).len();
    }
    assert_eq!(answered as u64, limits::PINGS_BURST);
    assert_eq!(bench.drops(DropReason::PingLimit), 200 - limits::PINGS_BURST);
    // A ping flood takes nothing from ARP.
    assert_eq!(bench.ask(&arp_request()).len(), 1);
    bench.pass(Duration::from_ms(10));
    assert_eq!(bench.ask(&frame).len(), 1);
}

#[test]
fn arp_is_answered_up_to_its_rate() {
    let mut bench = Bench::plain();
    let answered: usize = (0..200).map(|_| bench.ask(&arp_request()).len()).sum();
    assert_eq!(answered as u64, limits::ANSWERS_BURST);
    assert_eq!(bench.drops(DropReason::PingLimit), 200 - limits::ANSWERS_BURST);
}

#[test]
fn one_neighbour_is_asked_for_once_a_second_and_many_at_a_common_rate() {
    let mut bench = Bench::plain();
    let to = |last: u8| path((B4, 8000), ([198, 18, 1, last], 5000));
    for _ in 0..50 {
        bench.send(to(9), b"x");
    }
    assert_eq!(bench.take().len(), 1);
    bench.pass(Duration::from_s(1));
    bench.send(to(9), b"x");
    assert_eq!(bench.take().len(), 1);
    for last in 10..200 {
        bench.send(to(last), b"x");
    }
    let asked = std::iter::from_fn(|| Some(bench.take().len()).filter(|n| *n > 0)).sum::<usize>();
    assert_eq!(asked as u64, limits::ASKS_BURST - 1);
    assert_eq!(bench.drops(DropReason::NoNeighbour), 50 + 1 + 190);
}

#[test]
fn a_known_neighbour_is_asked_again_directly_and_forgotten_when_silent() {
    let mut bench = Bench::plain();
    let v4 = path((B4, 8000), (A4, 5000));
    bench.send(v4, b"x");
    bench.put(&arp_reply(A4, A));
    bench.receive();
    bench.take();
    bench.pass(limits::NEIGHBOUR_REFRESH);
    assert!(bench.send(v4, b"x"));
    let frames = bench.take();
    let (asked, sent): (Vec<_>, Vec<_>) = frames.iter().partition(|f| f[12..14] == [8, 6]);
    assert_eq!((asked.len(), sent.len()), (1, 1));
    assert_eq!(asked[0][..6], A, "a unicast question");
    bench.pass(Duration(limits::NEIGHBOUR_EXPIRY.0 - limits::NEIGHBOUR_REFRESH.0));
    assert!(bench.send(v4, b"x"));
    let frames = bench.take();
    assert_eq!((frames.len(), &frames[0][..6]), (1, &[0xff; 6][..]));
    assert_eq!(bench.drops(DropReason::NoNeighbour), 2);
}

#[test]
fn a_datagram_over_the_mtu_is_oversize_and_one_at_it_is_sent() {
    let [mut a, mut b] = two(|c| c.mtu = 1400);
    for (path, header_len) in paths().into_iter().zip([28, 48]) {
        send(&mut a, START, path, b"x");
        receive(&mut b, START);
        receive(&mut a, START);
        assert!(send(&mut a, START, path, &vec![1; 1400 - header_len]));
        assert!(send(&mut a, START, path, &vec![1; 1401 - header_len]));
        let got = receive(&mut b, START);
        assert_eq!(got.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), [1400 - header_len]);
    }
    assert_eq!(all_drops(&a), [("no_neighbour", 2), ("oversize", 2)]);
    assert_eq!(a.caps().mtu, 1400);
}

#[test]
fn what_a_full_device_refuses_stays_as_it_was_and_in_order() {
    let [mut far, near] = ether::pair([A, B], 8, 1500, 64);
    let mut netif = Netif::new(near, &config("198.18.1.2/24", "2001:db8::2/64"), [7; 16]).unwrap();
    let v4 = path((B4, 8000), (A4, 5000));
    send(&mut netif, START, v4, b"x");
    put_frame(&mut far, &arp_reply(A4, A));
    receive(&mut netif, START);
    take_frames(&mut far);
    let mut tx = TxBurst::new();
    for i in 0..20u8 {
        let mut d = datagram(&mut netif, v4, &[i; 30]);
        d.dscp = i;
        tx.push(d);
    }
    assert_eq!(netif.tx_burst(START, &mut tx), 8);
    let left: Vec<_> = tx.iter().map(|d| (d.path, d.dscp, payload(d).to_vec())).collect();
    let want: Vec<_> = (8..20).map(|i| (v4, i, vec![i; 30])).collect();
    assert_eq!(left, want);
    let mut sent: Vec<u8> = take_frames(&mut far).iter().map(|f| f[42]).collect();
    while netif.tx_burst(START, &mut tx) > 0 {
        sent.extend(take_frames(&mut far).iter().map(|f| f[42]));
    }
    assert_eq!(sent, (0..20).collect::<Vec<_>>());
    assert_eq!((netif.stats().tx_packets, netif.stats().tx_bytes), (20, 600));
}

#[test]
fn answers_that_a_full_device_refuses_are_dropped_and_counted() {
    let [mut far, near] = ether::pair([A, B], 4, 1500, 64);
    let mut netif = Netif::new(near, &config("198.18.1.2/24", "2001:db8::2/64"), [7; 16]).unwrap();
    for _ in 0..2 {
        (0..4).for_each(|_| put_frame(&mut far, &ping(b"hello")));
        receive(&mut netif, START);
    }
    assert_eq!(take_frames(&mut far).len(), 4);
    assert_eq!(all_drops(&netif), [("tx_full", 4)]);
    drop(far);
    assert_eq!(netif.in_use(), 0);
}

#[test]
fn an_empty_pool_costs_the_question_and_is_counted() {
    let [_far, near] = ether::pair([A, B], 4, 1500, 1);
    let mut netif = Netif::new(near, &config("198.18.1.2/24", "2001:db8::2/64"), [7; 16]).unwrap();
    // The datagram holds the only buffer while the question is to be written.
    send(&mut netif, START, path((B4, 8000), (A4, 5000)), b"x");
    assert_eq!(all_drops(&netif), [("no_neighbour", 1), ("no_mbuf", 1)]);
}

#[test]
fn what_is_not_from_us_or_mixes_families_is_not_sent() {
    let mut bench = Bench::plain();
    let foreign = path(([198, 18, 1, 77], 8000), (A4, 5000));
    let mixed = Path { local: Endpoint::new(B4.into(), 8000), remote: Endpoint::new(A6.into(), 1) };
    let group = path((B4, 8000), ([224, 0, 0, 1], 5000));
    let all = path((B4, 8000), ([255; 4], 5000));
    for path in [foreign, mixed, group, all] {
        assert!(bench.send(path, b"x"));
    }
    assert_eq!(bench.drops(DropReason::NotOurs), 4);
    assert!(bench.take().is_empty());
}

fn payload<B: roomlane_core::Buf>(d: &roomlane_core::Datagram<B>) -> &[u8] {
    d.buf.bytes()
}

fn put_frame(device: &mut SimEther, frame: &[u8]) {
    use port::EtherDevice;
    use roomlane_core::Buf;
    let mut buf = device.alloc().unwrap();
    buf.append(frame.len()).unwrap().copy_from_slice(frame);
    let mut tx = arrayvec::ArrayVec::new();
    tx.push(buf);
    assert_eq!(device.tx_frames(&mut tx), 1);
}

fn take_frames(device: &mut SimEther) -> Vec<Vec<u8>> {
    use port::EtherDevice;
    use roomlane_core::Buf;
    let mut rx = arrayvec::ArrayVec::new();
    device.rx_frames(&mut rx);
    rx.iter().map(|f| f.buf.bytes().to_vec()).collect()
}

fn link(dst: [u8; 6], ethertype: EtherType) -> Vec<u8> {
    let mut out = vec![0; 14];
    FrameRepr { dst: Mac(dst), src: Mac(A), vlan: None, ethertype }.emit(&mut out).unwrap();
    out
}

fn arp_frame(dst: [u8; 6], message: arp::Arp) -> Vec<u8> {
    let mut out = link(dst, EtherType::ARP);
    out.resize(60, 0);
    message.emit(&mut out[14..]).unwrap();
    out
}

fn arp_reply(sender_ip: std::net::Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let operation = arp::Operation::Reply;
    let (sender_mac, target_mac) = (Mac(mac), Mac(B));
    arp_frame(B, arp::Arp { operation, sender_mac, sender_ip, target_mac, target_ip: B4 })
}

fn arp_request() -> Vec<u8> {
    let operation = arp::Operation::Request;
    let (sender_mac, target_mac) = (Mac(A), Mac::default());
    arp_frame(
        [0xff; 6],
        arp::Arp { operation, sender_mac, sender_ip: A4, target_mac, target_ip: B4 },
    )
}

fn ndp_frame(message: wire::ndp::Ndp, hop_limit: u8) -> Vec<u8> {
    ndp_frame_between(message, A6, B6, hop_limit)
}

fn ndp_frame_between(
    message: wire::ndp::Ndp,
    src: std::net::Ipv6Addr,
    dst: std::net::Ipv6Addr,
    hop_limit: u8,
) -> Vec<u8> {
    let payload_len = message.message_len();
    let mut out = link(B, EtherType::IPV6);
    out.resize(54 + payload_len, 0);
    let protocol = Protocol::ICMPV6;
    wire::ipv6::Ipv6Repr { src, dst, protocol, payload_len, hop_limit, dscp: 0 }
        .emit(&mut out[14..])
        .unwrap();
    message.emit(src, dst, &mut out[54..]).unwrap();
    out
}

fn ping(data: &[u8]) -> Vec<u8> {
    let mut out = link(B, EtherType::IPV4);
    out.resize(42 + data.len(), 0);
    let header = Ipv4Repr {
        src: A4,
        dst: B4,
        protocol: Protocol::ICMP,
        payload_len: 8 + data.len(),
        ident: 0,
        dont_fragment: true,
        ttl: 64,
        dscp: 0,
    };
    header.emit(&mut out[14..]).unwrap();
    EchoRequest { ident: 1, sequence: 2, data }.emit(Family::V4, &mut out[34..]).unwrap();
    out
}

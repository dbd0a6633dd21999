//! Everything below UDP that is not for a shard is dropped under its own name, answered by nothing;
//! and no frame whatever makes a netif panic or lose a buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use port::Port;
use proptest::prelude::*;
use proto::DropReason;
use roomlane_core::Pool;
use wire::Protocol;
use wire::ipv4::Ipv4Repr;
use wire::ipv6::Ipv6Repr;
use wire::udp::UdpRepr;

use crate::support::*;

/// A good frame with a UDP datagram from `src` to `dst`.
fn frame(src: IpAddr, dst: IpAddr, ports: (u16, u16)) -> Vec<u8> {
    let ip_len = if src.is_ipv4() { 20 } else { 40 };
    let mut b = vec![0; 14 + ip_len];
    b[..6].copy_from_slice(&B);
    b[6..12].copy_from_slice(&A);
    let (protocol, payload_len) = (Protocol::UDP, 13);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            b[12..14].copy_from_slice(&[8, 0]);
            let (ident, dont_fragment, ttl, dscp) = (0, true, 64, 0);
            Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }
                .emit(&mut b[14..])
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            b[12..14].copy_from_slice(&[0x86, 0xdd]);
            Ipv6Repr { src, dst, protocol, payload_len, hop_limit: 64, dscp: 0 }.emit(&mut b[14..])
        }
        _ => panic!("two families"),
    }
    .unwrap();
    b.extend(b"........hello");
    let udp = UdpRepr { src_port: ports.0, dst_port: ports.1 };
    udp.emit(src, dst, &mut b[14 + ip_len..]).unwrap();
    b
}

fn v4() -> Vec<u8> {
    frame(A4.into(), B4.into(), (5000, 8000))
}

fn v6() -> Vec<u8> {
    frame(A6.into(), B6.into(), (5000, 8000))
}

/// `frame` with some bytes replaced, and the IPv4 header's checksum made right again.
fn changed(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    if frame[12..14] == [8, 0] {
        let header = 14..14 + 20;
        frame[24..26].fill(0);
        let sum = wire::checksum::Sum::ZERO.with(&frame[header]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

#[test]
fn the_unchanged_frames_are_delivered() {
    let mut bench = Bench::plain();
    for frame in [v4(), v6(), changed(v4(), 15, &[0xb8])] {
        bench.put(&frame);
        assert_eq!(bench.receive().len(), 1);
    }
    let empty = {
        let mut b = changed(v4(), 16, &[0, 28]);
        b[38..40].copy_from_slice(&[0, 8]);
        b.truncate(42);
        b
    };
    bench.put(&empty);
    assert_eq!(bench.receive()[0].1, b"");
}

#[test]
fn frames_that_are_broken_or_for_others() {
    use DropReason::*;
    let mut bench = Bench::plain();
    for len in [0, 1, 13] {
        bench.refuses(&v4()[..len], BadFrame);
    }
    bench.refuses(&changed(v4(), 6, &[1]), BadFrame); // from a group
    bench.refuses(&changed(v4(), 6, &[0; 6]), BadFrame);
    bench.refuses(&changed(v4(), 5, &[9]), NotOurs); // to another station
    bench.refuses(&changed(v4(), 0, &[0xff; 6]), NotOurs); // IP by broadcast
    bench.refuses(&changed(v6(), 0, &[0x33, 0x33, 0, 0, 0, 1]), NotOurs);
    bench.refuses(&changed(v4(), 12, &[0x88, 0xa8]), NotOurs);
    let mut tagged = v4();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    bench.refuses(&tagged, WrongVlan);
}

#[test]
fn ipv4_headers_that_lie() {
    use DropReason::*;
    let mut bench = Bench::plain();
    for len in 14..34 {
        bench.refuses(&v4()[..len], BadLength);
    }
    bench.refuses(&v4()[..46], BadLength); // shorter than its total length
    bench.refuses(&changed(v4(), 14, &[0x55]), BadIp);
    bench.refuses(&changed(v4(), 14, &[0x44]), BadLength);
    bench.refuses(&changed(v4(), 16, &[0, 19]), BadLength);
    bench.refuses(&changed(v4(), 20, &[0x20, 0]), Fragment);
    bench.refuses(&changed(v4(), 20, &[0, 1]), Fragment);
    bench.refuses(&changed(v4(), 23, &[6]), NotOurs); // TCP
    bench.refuses(&changed(v4(), 33, &[9]), NotOurs); // another host
    bench.refuses(&changed(v4(), 33, &[255]), NotOurs); // the subnet's broadcast
    for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], B4.octets()] {
        bench.refuses(&changed(v4(), 26, &source), BadIp);
    }
    let mut bad_sum = v4();
    bad_sum[24] ^= 1;
    bench.refuses(&bad_sum, BadChecksum);
}

#[test]
fn source_routed_packets() {
    let mut b = v4();
    b.splice(34..34, [131, 4, 4, 0]);
    b = changed(b, 14, &[0x46, 0, 0, 37]);
    b[24..26].fill(0);
    let sum = wire::checksum::Sum::ZERO.with(&b[14..38]).checksum();
    b[24..26].copy_from_slice(&sum.to_be_bytes());
    Bench::plain().refuses(&b, DropReason::BadIp);
}

#[test]
fn ipv6_headers_that_lie() {
    use DropReason::*;
    let mut bench = Bench::plain();
    for len in 14..54 {
        bench.refuses(&v6()[..len], BadLength);
    }
    bench.refuses(&changed(v6(), 14, &[0x40]), BadIp);
    bench.refuses(&changed(v6(), 18, &[0xff, 0]), BadLength);
    bench.refuses(&changed(v6(), 20, &[44]), Fragment);
    for extension in [0, 43, 50, 51, 60, 135, 139, 140] {
        bench.refuses(&changed(v6(), 20, &[extension]), NotOurs);
    }
    bench.refuses(&changed(v6(), 53, &[9]), NotOurs);
    bench.refuses(&changed(v6(), 22, &[0; 16]), NotOurs);
    // An IPv4-mapped source would be a second spelling of an IPv4 host.
    let mapped = Ipv4Addr::new(198, 18, 1, 1).to_ipv6_mapped();
    for source in [Ipv6Addr::LOCALHOST, mapped, "ff02::1".parse().unwrap(), B6] {
        bench.refuses(&changed(v6(), 22, &source.octets()), BadIp);
    }
}

#[test]
fn udp_headers_that_lie() {
    use DropReason::*;
    let mut bench = Bench::plain();
    for (frame, at) in [(v4(), 34), (v6(), 54)] {
        bench.refuses(&changed(frame.clone(), at + 4, &[0, 7]), BadLength);
        bench.refuses(&changed(frame.clone(), at + 4, &[0, 14]), BadLength);
        bench.refuses(&changed(frame.clone(), at + 4, &[0, 12]), BadLength); // bytes behind it
        bench.refuses(&changed(frame.clone(), at + 2, &[0x1f, 0x3f]), NoPort); // 7999
        bench.refuses(&changed(frame.clone(), at + 2, &[0x1f, 0x42]), NoPort); // 8002 of 2
        bench.refuses(&changed(frame, at, &[0, 0]), NotOurs);
    }
    bench.refuses(&changed(v6(), 60, &[0, 0]), BadChecksum);
    bench.put(&changed(v4(), 40, &[0, 0]));
    assert_eq!(bench.receive().len(), 1, "no checksum is right over IPv4");
}

#[test]
fn messages_that_are_broken_or_not_for_us() {
    use DropReason::*;
    let mut bench = Bench::plain();
    let icmp4 = changed(v4(), 23, &[1]);
    bench.refuses(&icmp4, BadChecksum);
    let icmp6 = changed(v6(), 20, &[58]);
    bench.refuses(&icmp6, BadChecksum);
    // Destination unreachable, with a right checksum: no state of ours listens to it.
    let mut unreachable = icmp4.clone();
    unreachable[34..47].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0]);
    let sum = wire::checksum::Sum::ZERO.with(&unreachable[34..]).checksum();
    unreachable[36..38].copy_from_slice(&sum.to_be_bytes());
    bench.refuses(&unreachable, NotOurs);
    let mut arp = v4();
    arp[12..14].copy_from_slice(&[8, 6]);
    bench.refuses(&arp, BadFrame);
}

#[test]
fn a_router_advertisement_teaches_nothing() {
    let mut b = changed(v6(), 20, &[58, 255]);
    b[22..38].copy_from_slice(&"fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    b[54..67].copy_from_slice(&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0]);
    let src = "fe80::1".parse().unwrap();
    let sum = wire::checksum::Sum::pseudo_v6(src, B6, Protocol::ICMPV6, 13).with(&b[54..67]);
    b[56..58].copy_from_slice(&sum.checksum().to_be_bytes());
    Bench::plain().refuses(&b, DropReason::NotOurs);
}

fn start() -> impl Strategy<Value = Vec<u8>> {
    let golden = ["", "v4", "v6"].map(|kind| match kind {
        "v4" => v4(),
        "v6" => v6(),
        _ => vec![],
    });
    prop::sample::select(golden.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_frame_makes_a_netif_panic_leak_or_answer_with_more(
        base in start(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(), tail in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut b = [&base[..], &tail[..]].concat();
        if !b.is_empty() {
            for (at, value) in edits {
                let at = at.index(b.len());
                b[at] = value;
            }
            b.truncate(cut.index(b.len()) + 1);
        }
        let mut bench = Bench::plain();
        bench.put(&b);
        let got = bench.receive();
        let sent = bench.take();
        let stats = bench.netif.stats();
        let dropped: u64 = stats.drops.iter().sum();
        prop_assert_eq!(got.len() as u64 + dropped + stats.answered, 1);
        prop_assert!(sent.len() <= 1 && sent.iter().all(|f| f.len() <= b.len().max(86)));
        prop_assert_eq!((bench.netif.in_use(), bench.host.in_use()), (0, 0));
    }
}

//! Frames made by scapy 2.8.0, an implementation with which this crate shares nothing: read, and
//! written again byte for byte.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, Frame, FrameRepr};
use wire::icmp::{EchoRequest, Family, Icmp};
use wire::ipv4::{Ipv4, Ipv4Repr};
use wire::ipv6::{Ipv6, Ipv6Repr};
use wire::ndp::{self, Ndp};
use wire::rtp::{Rtp, RtpRepr};
use wire::udp::{Udp, UdpRepr};
use wire::{Error, Mac, Protocol};

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
const A4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const B4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

const ARP_REQUEST: &str = "ffffffffffff02000000000108060001080006040001020000000001c61201010000000\
    00000c6120102";
const ARP_REPLY: &str = "02000000000102000000000208060001080006040002020000000002c6120102020000000\
    001c6120101";
const UDP4_VLAN: &str = "02000000000202000000000181000064080045b80024000040004011abe9c6120101c6120\
    10213881f400010823a726f6f6d6c616e65";
const UDP6: &str = "02000000000202000000000186dd6b8000000010114020010db800000000000000000000000120\
    010db800000000000000000000000213881f400010b4ed726f6f6d6c616e65";
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
const RTP_PACKET: &str = "82ef1234deadbeefcafebabe00000001000000026f707573";

fn unhex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

/// The payload of a frame after its header was read and written again.
fn inside(frame: &[u8], vlan: Option<u16>, ethertype: EtherType) -> &[u8] {
    let f = Frame::new_checked(frame).unwrap();
    assert_eq!((f.vlan(), f.ethertype()), (vlan, ethertype));
    let repr = FrameRepr { dst: f.dst(), src: f.src(), vlan, ethertype };
    let mut out = vec![0; repr.header_len()];
    repr.emit(&mut out).unwrap();
    assert_eq!(out, frame[..out.len()]);
    &frame[out.len()..]
}

/// The payload of an IPv6 packet after its header was read and written again.
fn inside_v6(packet: &[u8], hop_limit: u8, dscp: u8, protocol: Protocol) -> &[u8] {
    let p = Ipv6::new_checked(packet).unwrap();
    assert_eq!((p.hop_limit(), p.dscp(), p.protocol()), (hop_limit, dscp, Ok(protocol)));
    let payload_len = packet.len() - 40;
    let (src, dst) = (p.src(), p.dst());
    let mut out = [0; 40];
    Ipv6Repr { src, dst, protocol, payload_len, hop_limit, dscp }.emit(&mut out).unwrap();
    assert_eq!(out, packet[..40]);
    &packet[40..]
}

fn check_udp(datagram: &[u8], src: IpAddr, dst: IpAddr) {
    let p = Udp::new_checked(datagram).unwrap();
    assert_eq!((p.src_port(), p.dst_port(), p.payload()), (5000, 8000, &b"roomlane"[..]));
    assert!(p.has_valid_checksum(src, dst));
    let mut out = datagram.to_vec();
    out[..8].fill(0xee);
    UdpRepr { src_port: 5000, dst_port: 8000 }.emit(src, dst, &mut out).unwrap();
    assert_eq!(out, datagram);
}

fn check_echo(request: &[u8], reply: &[u8], there: Family, back: Family) {
    let mut out = vec![0; request.len()];
    EchoRequest { ident: 0x1234, sequence: 7, data: b"hello" }.emit(there, &mut out).unwrap();
    assert_eq!(out, request);
    Icmp::new_checked(&mut out[..], there).unwrap().make_echo_reply().unwrap();
    assert_eq!(out, reply);
    assert!(Icmp::new_checked(reply, back).unwrap().is_echo_reply());
}

#[test]
fn arp_messages_are_those_of_scapy() {
    for (golden, operation, mac, ips) in
        [(ARP_REQUEST, Operation::Request, A, (A4, B4)), (ARP_REPLY, Operation::Reply, B, (B4, A4))]
    {
        let frame = unhex(golden);
        let message = inside(&frame, None, EtherType::ARP);
        let arp = Arp::parse(message).unwrap();
        assert_eq!((arp.operation, arp.sender_mac), (operation, mac));
        assert_eq!((arp.sender_ip, arp.target_ip), ips);
        let mut out = [0; 28];
        arp.emit(&mut out).unwrap();
        assert_eq!(out, message);
    }
}

#[test]
fn ndp_messages_are_those_of_scapy() {
    let group = ndp::solicited_node(B6);
    let solicit = Ndp::Solicit { target: B6, source_mac: Some(A) };
    let advert = Ndp::Advert {
        router: false,
        solicited: true,
        overrides: true,
        target: B6,
        target_mac: Some(B),
    };
    for (golden, message, src, dst, dst_mac) in
        [(NS, solicit, A6, group, ndp::multicast_mac(group)), (NA, advert, B6, A6, A)]
    {
        let frame = unhex(golden);
        assert_eq!(Frame::new_checked(&frame).unwrap().dst(), dst_mac);
        let packet = inside(&frame, None, EtherType::IPV6);
        let icmp = inside_v6(packet, ndp::HOP_LIMIT, 0, Protocol::ICMPV6);
        assert!(Icmp::new_checked(icmp, Family::V6(src, dst)).is_ok());
        assert_eq!(Ndp::parse(icmp), Ok(message));
        let mut out = [0; 32];
        message.emit(src, dst, &mut out).unwrap();
        assert_eq!(out, icmp);
    }
}

#[test]
fn udp_over_tagged_ipv4_and_over_ipv6_is_that_of_scapy() {
    let frame = unhex(UDP4_VLAN);
    let packet = inside(&frame, Some(100), EtherType::IPV4);
    let p = Ipv4::new_checked(packet).unwrap();
    assert!(p.has_valid_checksum() && p.dont_fragment());
    let repr = Ipv4Repr {
        src: A4,
        dst: B4,
        protocol: Protocol::UDP,
        payload_len: 16,
        ident: 0,
        dont_fragment: true,
        ttl: 64,
        dscp: 46,
    };
    let mut out = [0; 20];
    repr.emit(&mut out).unwrap();
    assert_eq!(out, packet[..20]);
    check_udp(p.payload(), A4.into(), B4.into());

    let frame = unhex(UDP6);
    let packet = inside(&frame, None, EtherType::IPV6);
    check_udp(inside_v6(packet, 64, 46, Protocol::UDP), A6.into(), B6.into());
}

#[test]
fn echoes_are_those_of_scapy() {
    let (ping, pong) = (unhex(PING4), unhex(PONG4));
    check_echo(&ping[34..], &pong[34..], Family::V4, Family::V4);
    let (ping, pong) = (unhex(PING6), unhex(PONG6));
    check_echo(&ping[54..], &pong[54..], Family::V6(A6, B6), Family::V6(B6, A6));
}

#[test]
fn fragments_and_extension_headers_of_scapy_are_told() {
    assert!(Ipv4::new_checked(&unhex(FRAG4)[14..]).unwrap().is_fragment());
    let protocol = |golden| Ipv6::new_checked(&unhex(golden)[14..]).unwrap().protocol();
    assert_eq!(protocol(FRAG6), Err(Error::Fragment));
    assert_eq!(protocol(HOPBYHOP6), Err(Error::ExtensionHeader));
}

#[test]
fn an_rtp_packet_is_that_of_scapy() {
    let packet = unhex(RTP_PACKET);
    let p = Rtp::new_checked(&packet).unwrap();
    assert_eq!((p.marker(), p.payload_type(), p.sequence()), (true, 111, 4660));
    assert_eq!(p.payload(), b"opus");
    let repr = RtpRepr {
        padding: false,
        marker: true,
        payload_type: 111,
        sequence: 4660,
        timestamp: 0xdead_beef,
        ssrc: 0xcafe_babe,
        csrcs: &[1, 2],
        extension: None,
    };
    let mut out = [0; 20];
    repr.emit(&mut out).unwrap();
    assert_eq!(out, packet[..20]);
}

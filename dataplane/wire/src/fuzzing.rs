//! What a fuzzer and the property tests call: take any bytes as every format, and read whatever a
//! view that came to be offers. It returns nothing and must not panic.

use core::hint::black_box;
use core::net::{IpAddr, Ipv6Addr};

use crate::rtcp::{Compound, Packet, Rules};
use crate::{
    arp, demux, dtls, ethernet, icmp, ipv4, ipv6, marks, ndp, remb, rtp, rtp_ext, rtp_ext_values,
    rtx, stun, twcc, udp,
};

/// Every format on the same bytes.
pub fn all(data: &[u8]) {
    black_box(demux::classify(data));
    link(data);
    network(data);
    message(data);
    payload(data);
    rtp(data);
    rtcp(data);
}

/// Ethernet and ARP.
pub fn link(data: &[u8]) {
    if let Ok(f) = ethernet::Frame::new_checked(data) {
        black_box((f.dst(), f.src(), f.vlan(), f.ethertype(), f.payload_range(), f.payload()));
        assert_eq!(f.payload().len(), f.payload_range().len());
    }
    let _ = black_box(arp::Arp::parse(data));
}

/// IPv4, IPv6 and UDP.
pub fn network(data: &[u8]) {
    if let Ok(p) = ipv4::Ipv4::new_checked(data) {
        black_box((p.dscp(), p.ident(), p.dont_fragment(), p.is_fragment(), p.ttl(), p.protocol()));
        black_box((p.src(), p.dst(), p.options(), p.is_source_routed(), p.has_valid_checksum()));
        assert_eq!(p.payload().len(), p.payload_range().len());
    }
    if let Ok(p) = ipv6::Ipv6::new_checked(data) {
        black_box((p.dscp(), p.flow_label(), p.next_header(), p.hop_limit(), p.src(), p.dst()));
        let _ = black_box(p.protocol());
        assert_eq!(p.payload().len(), p.payload_range().len());
    }
    if let Ok(p) = udp::Udp::new_checked(data) {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        black_box((p.src_port(), p.dst_port(), p.checksum(), p.has_valid_checksum(v6, v6)));
        assert_eq!(p.payload().len(), p.payload_range().len());
    }
}

/// ICMP, NDP and STUN.
pub fn message(data: &[u8]) {
    let v6 = icmp::Family::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    for family in [icmp::Family::V4, v6] {
        if let Ok(p) = icmp::Icmp::new_checked(data, family) {
            black_box((p.message_type(), p.is_echo_request(), p.is_echo_reply()));
            black_box((p.ident(), p.sequence(), p.data()));
        }
    }
    let _ = black_box(ndp::Ndp::parse(data));
    if let Ok(p) = stun::Stun::new_checked(data) {
        black_box((p.class(), p.method(), p.transaction_id()));
        for found in p.attributes().flatten() {
            let start = found.offset + 4;
            assert_eq!(data.get(start..start + found.value.len()), Some(found.value));
        }
    }
    if let Ok(p) = stun::Message::new_checked(data) {
        black_box((p.class(), p.transaction_id(), p.username(), p.ufrags(), p.priority()));
        black_box((p.use_candidate(), p.role(), p.mapped_address(), p.error_code(), p.unknown()));
        if let Some(integrity) = p.integrity() {
            assert_eq!(stun::HEADER_LEN + integrity.attributes.len(), integrity.offset);
        }
    }
}

/// The first record of DTLS, and what payloads of RTP begin with.
pub fn payload(data: &[u8]) {
    if let Ok(p) = dtls::Record::new_checked(data) {
        black_box((p.content_type(), p.version(), p.epoch(), p.sequence(), p.is_client_hello()));
        assert_eq!(data.get(dtls::HEADER_LEN..dtls::HEADER_LEN + p.body().len()), Some(p.body()));
    }
    use marks::Codec::{Av1, H264, Vp8, Vp9};
    for codec in [Vp8, Vp9, H264, Av1] {
        black_box(marks::keyframe_start(codec, data));
    }
    black_box(marks::DependencyDescriptor::read(data));
    let _ = black_box(rtx::split(data));
}

/// RTP with its header extensions.
pub fn rtp(data: &[u8]) {
    for packet in [rtp::Rtp::new_checked(data), rtp::Rtp::new_sealed(data)].into_iter().flatten() {
        black_box((packet.marker(), packet.payload_type(), packet.sequence()));
        black_box((packet.timestamp(), packet.ssrc(), packet.has_padding()));
        let parts = packet.header_len() + packet.payload().len() + packet.padding_len();
        assert_eq!(parts, data.len());
        assert_eq!(packet.csrcs().count(), packet.csrc_count());
        if let Some(block) = packet.extension() {
            for element in rtp_ext::Elements::new(block).flatten() {
                assert_eq!(block.data.get(element.range()), Some(element.data));
                extension(element.data);
            }
        }
        payload(packet.payload());
    }
}

fn extension(value: &[u8]) {
    use rtp_ext_values::{AbsSendTime, AudioLevel, read_token, read_transport_sequence};
    black_box((read_token(value), read_transport_sequence(value)));
    black_box((AbsSendTime::read(value).map(|t| t.micros()), AudioLevel::read(value)));
}

/// RTCP under both rules.
pub fn rtcp(data: &[u8]) {
    let _ = black_box(crate::rtcp::sender_ssrc(data));
    congestion(data);
    for rules in [Rules::Compound, Rules::ReducedSize] {
        let Ok(compound) = Compound::new_checked(data, rules) else { continue };
        assert!(compound.packets().next().is_some());
        for packet in compound.packets() {
            rtcp_packet(packet);
        }
    }
}

/// Congestion feedback, without the packet around it.
fn congestion(fci: &[u8]) {
    if let Ok(p) = twcc::TransportCc::new_checked(fci) {
        black_box((p.base_sequence(), p.reference_us(), p.feedback_count()));
        assert_eq!(p.statuses().count(), usize::from(p.status_count()));
    }
    if let Ok(p) = remb::Remb::new_checked(fci) {
        black_box((p.bitrate_bps(), p.ssrcs().count()));
    }
}

fn rtcp_packet(packet: Packet<'_>) {
    match packet {
        Packet::SenderReport(p) => {
            black_box((p.ssrc(), p.info()));
            black_box(p.blocks().count());
        }
        Packet::ReceiverReport(p) => {
            black_box(p.ssrc());
            black_box(p.blocks().count());
        }
        Packet::Sdes(p) => p.chunks().for_each(|c| {
            black_box((c.ssrc(), c.cname(), c.items().count()));
        }),
        Packet::Bye(p) => {
            black_box((p.ssrcs().count(), p.reason()));
        }
        Packet::Fir(p) => {
            black_box((p.sender_ssrc(), p.entries().count()));
        }
        Packet::Nack(p) => {
            black_box((p.sender_ssrc(), p.media_ssrc(), p.lost().count()));
        }
        Packet::Pli(f) | Packet::TransportCc(f) | Packet::Remb(f) => {
            black_box((f.sender_ssrc(), f.media_ssrc()));
            congestion(f.fci());
        }
        Packet::ExtendedReport(p) => {
            black_box((p.ssrc(), p.reference_time()));
        }
        Packet::Other { .. } => {}
    }
}

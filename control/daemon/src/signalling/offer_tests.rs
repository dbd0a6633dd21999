//! Offers as GStreamer and ffmpeg peers write them, and what is refused.

use proto::{Extension, SrtpProfile};

use super::*;
use crate::limits::MID_BYTES_MAX;

const KEY: &str = "inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==";
const KEY_CM: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

/// What a GStreamer pipeline with srtpenc describes of itself (rtpbin caps turned into SDP).
fn gstreamer() -> String {
    format!(
        "v=0\r\no=- 3912345678 1 IN IP4 198.18.1.1\r\ns=Session streamed with GStreamer\r\n\
         i=camera\r\nc=IN IP4 198.18.1.1\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\n\
         m=audio 5004 RTP/SAVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=fmtp:97 sprop-stereo=0\r\n\
         a=sendonly\r\na=rtcp-mux\r\na=ssrc:1111 cname:user@host\r\n\
         a=crypto:1 AEAD_AES_128_GCM {KEY}\r\n\
         m=video 5006 RTP/SAVP 96\r\na=rtpmap:96 VP8/90000\r\na=framerate:30\r\na=sendonly\r\n\
         a=rtcp-mux\r\na=ssrc:2222 cname:user@host\r\na=ssrc:2222 msid:x y\r\n\
         a=crypto:1 AEAD_AES_128_GCM {KEY}\r\n"
    )
}

/// What `ffmpeg -f rtp srtp://...` prints, with the lines a publisher must add.
fn ffmpeg() -> String {
    format!(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=No Name\nc=IN IP4 127.0.0.1\nt=0 0\n\
         a=tool:libavformat 59.27.100\nm=video 9 RTP/SAVP 96\nb=AS:200\n\
         a=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1; profile-level-id=42C01F\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY_CM}\na=rtcp-mux\na=ssrc:77\n"
    )
}

fn terms(role: Role, stream: Stream) -> Terms<'static> {
    Terms { role, stream, substream: None }
}

fn publish(sdp: &str) -> Result<Offer, Problem> {
    parse(sdp.as_bytes(), terms(Role::Publish, Stream::Main))
}

fn subscribe(sdp: &str) -> Result<Offer, Problem> {
    parse(sdp.as_bytes(), terms(Role::Subscribe, Stream::Main))
}

/// Address, port and key of a section with a=crypto.
fn sdes(section: &SectionOffer) -> (IpAddr, Option<u16>, &Crypto) {
    match &section.security {
        Security::Sdes { ip, port, crypto } => (*ip, *port, crypto),
        Security::Dtls => panic!("DTLS"),
    }
}

fn viewer(lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=video 6000 RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 H264/90000\r\n\
         a=recvonly\r\na=rtcp-mux\r\na=crypto:4 AEAD_AES_128_GCM {KEY}\r\n{lines}"
    )
}

fn code<T>(result: Result<T, Problem>) -> &'static str {
    result.map(|_| ()).expect_err("must be refused").code
}

#[test]
fn an_offer_of_gstreamer_is_read() {
    let offer = publish(&gstreamer()).unwrap();
    let served: Vec<_> = offer.served().collect();
    assert_eq!(served.len(), 2);
    assert_eq!((served[0].kind, served[1].kind), (MediaKind::Audio, MediaKind::Video));
    assert_eq!((served[0].ssrc, served[1].ssrc), (Some(1111), Some(2222)));
    assert_eq!((sdes(served[0]).1, sdes(served[1]).1), (Some(5004), Some(5006)));
    assert_eq!(served[0].codecs[0].payload_type, 97);
    assert_eq!(served[0].codecs[0].map.clock_rate, 48_000);
    assert_eq!(sdes(served[1]).2.profile, SrtpProfile::AeadAes128Gcm);
    assert_eq!(sdes(served[0]).0, "198.18.1.1".parse::<IpAddr>().unwrap());
}

#[test]
fn an_offer_of_ffmpeg_is_read_and_its_discard_port_means_unknown() {
    let offer = publish(&ffmpeg()).unwrap();
    let served: Vec<_> = offer.served().collect();
    assert_eq!(sdes(served[0]).1, None);
    assert_eq!(sdes(served[0]).2.profile, SrtpProfile::AesCm128HmacSha1_80);
    assert_eq!(served[0].codecs[0].fmtp, "packetization-mode=1; profile-level-id=42C01F");
}

#[test]
fn rtcp_mux_ssrc_and_crypto_are_required() {
    let without = |line: &str| {
        let lines = gstreamer();
        lines.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect::<String>()
    };
    assert_eq!(code(publish(&without("a=rtcp-mux"))), "rtcp_mux_required");
    assert_eq!(code(publish(&without("a=ssrc"))), "ssrc_required");
    assert_eq!(code(publish(&without("a=crypto"))), "crypto_not_acceptable");
    assert_eq!(code(publish(&without("c="))), "sdp_invalid");
    assert_eq!(code(publish(&without("m="))), "no_acceptable_section");
    assert_eq!(code(publish(&without("v="))), "sdp_invalid");
    assert_eq!(code(publish(&without("a=rtpmap"))), "no_acceptable_section");
}

#[test]
fn media_without_encryption_and_unknown_transports_are_refused_by_name() {
    assert_eq!(code(publish(&gstreamer().replace("RTP/SAVP", "RTP/AVP"))), "encryption_required");
    let tcp = gstreamer().replace("RTP/SAVP", "TCP/TLS/RTP/SAVPF");
    assert_eq!(code(publish(&tcp)), "transport_not_supported");
}

#[test]
fn directions_must_fit_the_role() {
    let recv = gstreamer().replace("a=sendonly", "a=recvonly");
    assert_eq!(code(publish(&recv)), "direction_not_acceptable");
    assert!(publish(&gstreamer().replace("a=sendonly", "a=sendrecv")).is_ok());
    assert!(publish(&gstreamer().replace("a=sendonly\r\n", "")).is_ok());
    assert!(subscribe(&viewer("")).is_ok());
    let both = viewer("").replace("a=recvonly", "a=sendrecv");
    assert_eq!(code(subscribe(&both)), "direction_not_acceptable");
    let none = viewer("").replace("a=recvonly", "a=inactive");
    assert_eq!(code(subscribe(&none)), "no_acceptable_section");
}

#[test]
fn a_subscriber_must_name_a_port() {
    let discard = viewer("").replace("m=video 6000", "m=video 9");
    assert_eq!(code(subscribe(&discard)), "media_port_missing");
}

#[test]
fn sections_that_are_not_understood_are_declined_and_keep_their_place() {
    let with = format!(
        "{}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:data\r\n\
         m=audio 7000 RTP/SAVP 13\r\na=rtpmap:13 CN/8000\r\na=mid:noise\r\n",
        viewer("a=mid:v\r\n")
    );
    let offer = subscribe(&with).unwrap();
    assert_eq!(offer.sections.len(), 3);
    assert!(matches!(&offer.sections[0], Section::Served(s) if s.mid.as_deref() == Some("v")));
    assert!(
        matches!(&offer.sections[1], Section::Declined(d) if d.mid.as_deref() == Some("data") && d.fmt == "webrtc-datachannel")
    );
    assert!(matches!(&offer.sections[2], Section::Declined(d) if d.media == "audio"));
}

#[test]
fn the_substream_is_told_by_content_or_by_the_query() {
    let kinds = |offer: Offer| offer.served().map(|s| s.kind).collect::<Vec<_>>();
    let slides = viewer("a=content:slides\r\n");
    assert_eq!(kinds(subscribe(&slides).unwrap()), [MediaKind::Substream]);
    let query = parse(viewer("").as_bytes(), terms(Role::Subscribe, Stream::Substream)).unwrap();
    assert_eq!(kinds(query), [MediaKind::Substream]);
    let audio = parse(gstreamer().as_bytes(), terms(Role::Publish, Stream::Substream)).unwrap();
    assert_eq!(kinds(audio), [MediaKind::Audio, MediaKind::Substream]);
}

#[test]
fn payload_types_that_look_like_rtcp_are_passed_over() {
    let bad = viewer("").replace("96", "72").replace("97", "95");
    assert_eq!(code(subscribe(&bad)), "no_acceptable_section");
}

#[test]
fn extensions_are_mapped_and_unknown_ones_declined() {
    let lines = "a=extmap:3 urn:3gpp:video-orientation\r\na=extmap:4 urn:example:x\r\n\
                 a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n";
    let offer = subscribe(&viewer(lines)).unwrap();
    let taken = &offer.served().next().unwrap().extensions;
    assert_eq!(&taken[..], [ExtensionId { extension: Extension::VideoOrientation, id: 3 }]);
    let twice = "a=extmap:3 urn:3gpp:video-orientation\r\na=extmap:3 \
                 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n";
    assert_eq!(code(subscribe(&viewer(twice))), "sdp_invalid");
}

#[test]
fn addresses_are_plain_and_match_their_family() {
    for bad in [
        "IN IP4 example.org",
        "IN IP4 224.2.1.1/127",
        "IN IP4 192.0.2.1/24",
        "IN IP4 0300.0.2.1",
        "IN IP4 192.0.2",
        "IN IP4 3221225985",
        "IN IP4 2001:db8::1",
        "IN IP6 192.0.2.1",
        "IN IP6 fe80::1%eth0",
        "IN IP6 [2001:db8::1]",
        "ATM NSAP 47.0091",
    ] {
        let offer = viewer("").replace("c=IN IP4 192.0.2.1", &format!("c={bad}"));
        assert_eq!(code(subscribe(&offer)), "media_address_not_allowed", "{bad}");
    }
}

#[test]
fn doubled_and_oversized_things_are_refused() {
    let doubled = format!("{}{}", viewer("a=mid:1\r\n"), {
        let more = viewer("a=mid:1\r\n");
        more[more.find("m=").unwrap()..].to_owned()
    });
    assert_eq!(code(subscribe(&doubled)), "sdp_invalid");
    let section = viewer("");
    let section = &section[section.find("m=").unwrap()..];
    assert_eq!(code(subscribe(&viewer(&section.repeat(SECTIONS_MAX)))), "sdp_invalid");
    let long = viewer(&format!("a=mid:{}\r\n", "m".repeat(MID_BYTES_MAX + 1)));
    assert_eq!(code(subscribe(&long)), "sdp_invalid");
    assert_eq!(code(publish(&gstreamer().replace("ssrc:1111", "ssrc:0"))), "sdp_invalid");
    assert_eq!(code(publish(&gstreamer().replace("ssrc:1111", "ssrc:4294967296"))), "sdp_invalid");
}

#[test]
fn no_error_carries_a_key() {
    for offer in [
        gstreamer().replace("MTIz", "!!!!"),
        gstreamer().replace("OA==", ""),
        gstreamer().replace("a=crypto:1", "a=crypto:x"),
        gstreamer().replace("m=video 5006", "m=video x"),
    ] {
        let problem = publish(&offer).unwrap_err();
        assert!(!format!("{problem:?}").contains("NDU2Nzg5"), "{problem:?}");
    }
    let debug = format!("{:?}", publish(&gstreamer()).unwrap());
    assert!(!debug.contains("NDU2Nzg5") && debug.contains("KeyMaterial(28 bytes)"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(lines in proptest::collection::vec(
        "(v=0|m=(audio|video|x) [0-9]{1,6} [A-Z/]{1,12}( [0-9a-z]{1,3}){0,3}|c=IN IP[46] [0-9a-f:.]{1,15}|\
         a=(crypto|rtpmap|fmtp|ssrc|extmap|mid|rtcp-mux|content|sendonly):?[ -~]{0,30}|[ -~]{0,20})", 0..20)) {
        let mut text = "v=0\r\n".to_owned();
        text.push_str(&lines.join("\r\n"));
        let _ = publish(&text);
        let _ = subscribe(&text);
    }
}

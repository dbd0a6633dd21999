//! Answers, byte by byte.

use super::*;
use crate::signalling::offer::{self, Stream, Terms};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    a=group:BUNDLE 0 1\r\n\
    m=video 6000 RTP/SAVPF 96 97\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 H264/90000\r\n\
    a=fmtp:97 packetization-mode=1\r\na=rtcp-fb:96 nack pli\r\n\
    a=extmap:3 urn:3gpp:video-orientation\r\na=DIRECTION\r\na=rtcp-mux\r\na=ssrc:5 cname:x\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
    a=crypto:9 AEAD_AES_128_GCM inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";

fn answer(role: Role) -> String {
    let direction = if role == Role::Publish { "sendonly" } else { "recvonly" };
    let offer = OFFER.replace("DIRECTION", direction);
    let terms = Terms { role, stream: Stream::Main, substream: None };
    let offer = offer::parse(offer.as_bytes(), terms).unwrap();
    let granted = [Granted {
        local: "198.18.1.2:8001".parse().unwrap(),
        key: KeyMaterial { bytes: proto::List::from_slice(&[7; 28]).unwrap() },
        ssrc: 0xabcd,
        rtx_ssrc: 0,
    }];
    let fingerprint = &Fingerprint::new(dtls::Algorithm::Sha256, &[7; 32]).unwrap();
    let (offer, ice, cname) = (&offer, None, "c7");
    let answer = Answer { role, offer, granted: &granted, ice, fingerprint, origin: 42, cname };
    answer.write().to_string()
}

#[test]
fn a_publisher_keeps_one_codec_and_gets_our_key_under_its_tag() {
    let text = answer(Role::Publish);
    assert!(
        text.contains("m=video 8001 RTP/SAVPF 96\r\nc=IN IP4 198.18.1.2\r\na=mid:0\r\n"),
        "{text}"
    );
    assert!(text.contains("a=recvonly\r\na=rtcp-mux\r\n"));
    assert!(text.contains("a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n"));
    assert!(!text.contains("H264") && !text.contains("BUNDLE"));
    assert!(text.contains("a=ssrc:43981 cname:"), "our RTCP has a name of its own: {text}");
    assert!(text.contains("a=extmap:3 urn:3gpp:video-orientation\r\n"));
    assert!(text.contains("a=crypto:9 AEAD_AES_128_GCM inline:BwcH"));
    assert_eq!(text.matches("a=crypto").count(), 1);
}

#[test]
fn a_subscriber_is_told_all_codecs_and_our_ssrc() {
    let text = answer(Role::Subscribe);
    assert!(text.contains("m=video 8001 RTP/SAVPF 96 97\r\n"), "{text}");
    assert!(text.contains("a=sendonly\r\n"));
    assert!(text.contains("a=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1\r\n"));
    assert!(text.contains("a=ssrc:43981 cname:c7\r\n"));
}

#[test]
fn declined_sections_keep_their_place_with_port_zero() {
    let text = answer(Role::Subscribe);
    let video = text.find("m=video").unwrap();
    let data = text.find("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n").unwrap();
    assert!(video < data);
    assert!(text.ends_with("a=mid:1\r\na=inactive\r\n"));
}

#[test]
fn an_answer_is_a_session_description_itself() {
    let text = answer(Role::Subscribe);
    let parsed = sdp_types::Session::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.medias.len(), 2);
    assert_eq!(parsed.medias[0].port, 8001);
    assert!(text.lines().all(|line| line.len() < 256));
}

//! Offers of browsers, and every way in which one may be wrong.

use proto::{Extension, ExtensionId};

use super::*;

use crate::limits::SECTIONS_MAX;
use crate::signalling::codec::identify;
use crate::signalling::offer::{self, CodecFeedback, Offer, Stream};

/// Chromium 156: `addTransceiver` twice, recvonly; and one camera with three layers.
const VIEWER: &str = include_str!("../../tests/offers/chromium_offer_recvonly.sdp");
const CAMERA: &str = include_str!("../../tests/offers/chromium_offer_simulcast.sdp");

fn read(sdp: &str, role: Role) -> Result<Offer, Problem> {
    let terms = Terms { role, stream: Stream::Main, substream: None };
    offer::parse(sdp.as_bytes(), terms)
}

fn publish(sdp: &str) -> Result<Offer, Problem> {
    read(sdp, Role::Publish)
}

fn code(sdp: &str) -> (u16, &'static str) {
    let problem = publish(sdp).expect_err("must be refused");
    (problem.status, problem.code)
}

fn served(offer: &Offer) -> Vec<&SectionOffer> {
    offer.served().collect()
}

/// Without the lines that begin so, in all sections or from one m-line on.
fn without(sdp: &str, line: &str) -> String {
    sdp.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect()
}

/// The second section's text changed.
fn in_second(sdp: &str, change: impl Fn(&str) -> String) -> String {
    let at = sdp.rfind("m=video").unwrap();
    format!("{}{}", &sdp[..at], change(&sdp[at..]))
}

#[test]
fn a_publishing_browser_gets_one_codec_with_repair_and_all_its_layers() {
    let offer = publish(CAMERA).unwrap();
    let bundle = offer.bundle.as_ref().unwrap();
    assert!(bundle.grouped && bundle.allow_mixed);
    assert_eq!(bundle.ice.ufrag, "8dts");
    assert!(bundle.fingerprints[0].to_string().starts_with("sha-256 57:CF:15:4D"));
    assert_eq!(offer.sessions().len(), 1);
    let [audio, video] = served(&offer)[..] else { panic!("two sections") };
    assert_eq!(
        (audio.ssrc, audio.rtx_ssrc, audio.codecs[0].rtx),
        (Some(1_822_528_202), None, None)
    );
    assert_eq!(audio.codecs[0].payload_type, 111);
    let feedback = CodecFeedback { transport_cc: true, ..CodecFeedback::default() };
    assert_eq!(audio.codecs[0].feedback, feedback);
    assert_eq!(
        (video.ssrc, video.codecs[0].payload_type, video.codecs[0].rtx),
        (None, 96, Some(97))
    );
    let feedback = CodecFeedback { nack: true, pli: true, fir: true, ..feedback };
    assert_eq!(video.codecs[0].feedback, feedback, "one way of congestion control");
    assert_eq!(video.layers, ["q", "h", "f"]);
    assert!(audio.reduced_size && video.reduced_size);
    let taken: Vec<_> = video.extensions.iter().map(|known| known.extension).collect();
    for hop in [Extension::Mid, Extension::Rid, Extension::RepairedRid, Extension::TransportCc] {
        assert!(taken.contains(&hop), "{hop:?}");
    }
    assert!(!taken.contains(&Extension::AbsSendTime));
    assert!(!taken.contains(&Extension::TransmissionOffset));
    assert!(taken.contains(&Extension::DependencyDescriptor));
}

#[test]
fn a_viewing_browser_keeps_every_common_codec_and_no_upstream_congestion_control() {
    let offer = read(VIEWER, Role::Subscribe).unwrap();
    let [audio, video] = served(&offer)[..] else { panic!("two sections") };
    let level = ExtensionId { extension: Extension::AudioLevel, id: 1 };
    let mid = ExtensionId { extension: Extension::Mid, id: 4 };
    assert_eq!(audio.extensions, [level, mid]);
    let map = |name: &str| crate::signalling::codec::RtpMap::parse(name).unwrap();
    let has = |name: &str, fmtp: &str| {
        let wanted = identify(video.media, &map(name), fmtp);
        video.codecs.iter().any(|codec| Some(codec.codec) == wanted && codec.rtx.is_some())
    };
    assert!(has("VP8/90000", "") && has("VP9/90000", "") && has("AV1/90000", ""));
    for profile in ["42001f", "42e01f", "4d001f"] {
        assert!(has("H264/90000", &format!("packetization-mode=1;profile-level-id={profile}")));
    }
    assert_eq!(video.codecs.len(), proto::command::SLOT_CODECS_MAX);
    let feedback = CodecFeedback { nack: true, pli: true, fir: true, ..CodecFeedback::default() };
    assert!(video.codecs.iter().all(|codec| codec.feedback == feedback));
    assert!(video.layers.is_empty() && video.ssrc.is_none());
    let hop = |known: &ExtensionId| known.extension.is_hop_by_hop();
    let kept: Vec<_> = video.extensions.iter().filter(|known| hop(known)).collect();
    assert_eq!(kept, [&mid]);
}

#[test]
fn a_viewer_that_offers_its_clock_is_told_the_round_trip_and_a_publisher_is_not() {
    let has_clock = |text: &str, role: Role| {
        let offer = read(&format!("{text}a=rtcp-fb:* rrtr\r\n"), role).unwrap();
        served(&offer)[1].codecs.iter().all(|codec| codec.feedback.rrtr)
    };
    assert!(has_clock(VIEWER, Role::Subscribe) && !has_clock(CAMERA, Role::Publish));
    let silent = read(VIEWER, Role::Subscribe).unwrap();
    assert!(!served(&silent)[1].codecs[0].feedback.rrtr);
}

#[test]
fn without_transport_cc_a_publisher_is_told_its_bitrate_by_remb() {
    let offer = publish(&without(CAMERA, "a=extmap:3 ")).unwrap();
    let feedback = served(&offer)[1].codecs[0].feedback;
    assert!(feedback.remb && !feedback.transport_cc);
    let offer = publish(&CAMERA.replace("a=rtcp-fb:96 transport-cc\r\n", "")).unwrap();
    let video = served(&offer)[1];
    assert!(video.codecs[0].feedback.remb);
    assert!(!video.extensions.iter().any(|known| known.extension == Extension::TransportCc));
    let everything = CAMERA.replace("a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:* nack\r\n");
    assert!(served(&publish(&everything).unwrap())[1].codecs[0].feedback.nack);
    let plain = publish(&CAMERA.replace("TLS/RTP/SAVPF", "TLS/RTP/SAVP")).unwrap();
    let all = plain.served().flat_map(|section| &section.codecs);
    assert!(all.into_iter().all(|codec| codec.feedback == CodecFeedback::default()));
}

#[test]
fn transport_attributes_may_stand_at_session_level() {
    let mut session = String::new();
    let mut rest = String::new();
    for line in CAMERA.split_inclusive("\r\n") {
        let shared = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"];
        let is_shared = shared.iter().any(|name| line.starts_with(name));
        match is_shared {
            true if !session.contains(line) => session.push_str(line),
            true => {}
            false => rest.push_str(line),
        }
    }
    let moved = rest.replacen("m=audio", &format!("{session}m=audio"), 1);
    let bundle = publish(&moved).unwrap().bundle.unwrap();
    assert_eq!(bundle.ice, publish(CAMERA).unwrap().bundle.unwrap().ice);
}

#[test]
fn declared_ssrcs_are_hints_and_a_repair_stream_is_named_by_its_group() {
    let one = |lines: &str| {
        let plain = without(&without(CAMERA, "a=simulcast"), "a=rid");
        in_second(&plain, |section| format!("{section}{lines}"))
    };
    let ssrcs = |lines: &str| {
        let offer = publish(&one(lines)).unwrap();
        let video = served(&offer)[1];
        (video.ssrc, video.rtx_ssrc)
    };
    assert_eq!(ssrcs(""), (None, None));
    assert_eq!(ssrcs("a=ssrc:7 cname:x\r\n"), (Some(7), None));
    let pair = "a=ssrc-group:FID 8 9\r\na=ssrc:8 cname:x\r\na=ssrc:9 cname:x\r\n";
    assert_eq!(ssrcs(pair), (Some(8), Some(9)));
    let layered = in_second(CAMERA, |section| format!("{section}{pair}"));
    assert_eq!(served(&publish(&layered).unwrap())[1].ssrc, None, "one layer of several");
    let bad = (400, "sdp_invalid");
    assert_eq!(code(&one("a=ssrc:1822528202 cname:x\r\n")), bad, "the other section's");
    assert_eq!(code(&one("a=ssrc:0 cname:x\r\n")), bad);
    assert_eq!(code(&one("a=ssrc-group:FID 8 8\r\na=ssrc:8 cname:x\r\n")), bad);
    assert_eq!(code(&one("a=ssrc-group:FID 8\r\na=ssrc:8 cname:x\r\n")), bad);
}

#[test]
fn layers_are_bounded_and_must_carry_the_codec_in_use() {
    let layers = |from: &str, to: &str| {
        let offer = publish(&CAMERA.replace(from, to)).unwrap();
        served(&offer)[1].layers.clone()
    };
    assert_eq!(layers("send q;h;f", "send q;h,q;~f"), ["q", "h", "f"]);
    assert_eq!(layers("send q;h;f", "recv x send f;q"), ["f", "q"]);
    assert_eq!(layers("send q;h;f", "send q;q;h"), ["q", "h"]);
    assert_eq!(layers("send q;h;f", "send q;z"), ["q"], "z has no a=rid");
    assert_eq!(layers("send q;h;f", "recv q"), [""; 0]);
    assert_eq!(layers("a=rid:h send", "a=rid:h send pt=102,45"), ["q", "f"]);
    assert_eq!(layers("a=rid:h send", "a=rid:h send max-width=640;pt=96"), ["q", "h", "f"]);
    assert_eq!(layers("a=rid:h send", "a=rid:h recv"), ["q", "f"]);
    let four = "a=rid:e send\r\na=simulcast:send q;h;f;e";
    assert_eq!(layers("a=simulcast:send q;h;f", four), ["q", "h", "f"]);
    let long = "l".repeat(17);
    let long = format!("a=rid:{long} send\r\na=simulcast:send {long};q");
    assert_eq!(layers("a=simulcast:send q;h;f", &long), ["q"]);
}

#[test]
fn who_opens_dtls_and_with_which_certificate_must_be_clear() {
    let refused = |sdp: &str| code(sdp);
    for setup in ["passive", "holdconn", "both", ""] {
        let sdp = CAMERA.replace("a=setup:actpass", &format!("a=setup:{setup}"));
        assert_eq!(refused(&sdp), (406, "setup_not_acceptable"), "{setup}");
    }
    assert!(publish(&CAMERA.replace("setup:actpass", "setup:active")).is_ok());
    assert_eq!(refused(&without(CAMERA, "a=setup")), (406, "setup_not_acceptable"));
    let unfit = (406, "fingerprint_not_acceptable");
    assert_eq!(refused(&without(CAMERA, "a=fingerprint")), unfit);
    let sha1 = format!("a=fingerprint:sha-1 {}\r\n", ["AB"; 20].join(":"));
    let only_sha1 = without(CAMERA, "a=fingerprint").replace("a=setup", &format!("{sha1}a=setup"));
    assert_eq!(refused(&only_sha1), unfit);
    let both = CAMERA.replace("a=setup", &format!("{sha1}a=setup"));
    assert_eq!(publish(&both).unwrap().bundle.unwrap().fingerprints.len(), 1);
    let many = |n: u8| {
        let line =
            |i: u8| format!("a=fingerprint:sha-256 {}\r\n", vec![format!("{i:02X}"); 32].join(":"));
        let lines: String = (0..n).map(line).collect();
        without(CAMERA, "a=fingerprint").replace("a=setup", &format!("{lines}a=setup"))
    };
    assert_eq!(publish(&many(4)).unwrap().bundle.unwrap().fingerprints.len(), 4);
    assert_eq!(refused(&many(5)), unfit);
    assert_eq!(refused(&CAMERA.replace("sha-256 57:CF", "sha-256 57CF")), (400, "sdp_invalid"));
    assert_eq!(refused(&CAMERA.replace("sha-256 57:CF:", "sha-256 ")), (400, "sdp_invalid"));
}

#[test]
fn sections_of_a_group_agree_about_their_transport() {
    let mismatch = (406, "bundle_mismatch");
    let other = in_second(CAMERA, |section| section.replace("sha-256 57", "sha-256 58"));
    assert_eq!(code(&other), mismatch);
    // A bundle-only section says nothing, or the same.
    let only = |section: &str| {
        without(section, "a=fingerprint").replacen("m=video 60572", "m=video 0", 1)
            + "a=bundle-only\r\n"
    };
    let offer = publish(&in_second(CAMERA, only)).unwrap();
    assert_eq!(served(&offer).len(), 2);
    let alone = in_second(CAMERA, only).replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0");
    assert_eq!(served(&publish(&alone).unwrap()).len(), 1, "without the group it is off");
}

#[test]
fn several_sections_are_one_group_and_have_short_names() {
    assert_eq!(code(&without(CAMERA, "a=group")), (406, "bundle_required"));
    let first = CAMERA.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0");
    let offer = publish(&first).unwrap();
    assert!(matches!(&offer.sections[1], Section::Declined(d) if d.mid.as_deref() == Some("1")));
    let two = CAMERA.replace("BUNDLE 0 1", "BUNDLE 0\r\na=group:BUNDLE 1");
    assert_eq!(served(&publish(&two).unwrap()).len(), 1);
    let unknown = CAMERA.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2");
    assert_eq!(code(&unknown), (400, "sdp_invalid"));
    let twice = CAMERA.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 0");
    assert_eq!(code(&twice), (400, "sdp_invalid"));
    let doubled = CAMERA.replace("a=mid:1", "a=mid:0").replace("BUNDLE 0 1", "BUNDLE 0");
    assert_eq!(code(&doubled), (400, "sdp_invalid"));
    let long = "m".repeat(17);
    let long = CAMERA.replace("a=mid:1", &format!("a=mid:{long}"));
    let long = long.replace("BUNDLE 0 1", &format!("BUNDLE 0 {}", "m".repeat(17)));
    assert_eq!(code(&long), (406, "mid_required"));
    assert_eq!(code(&without(&without(CAMERA, "a=mid"), "a=group")), (406, "mid_required"));
    // One section needs no group.
    let alone = CAMERA[..CAMERA.find("m=video").unwrap()].replace("a=group:BUNDLE 0 1\r\n", "");
    assert!(!publish(&alone).unwrap().bundle.unwrap().grouped);
}

#[test]
fn ice_credentials_are_there_and_legal() {
    assert_eq!(code(&without(CAMERA, "a=ice-ufrag")), (406, "ice_required"));
    assert_eq!(code(&without(CAMERA, "a=ice-pwd")), (406, "ice_required"));
    for (from, to) in [
        ("ufrag:8dts", "ufrag:8dt".to_owned()),
        ("ufrag:8dts", "ufrag:8d ts".to_owned()),
        ("ufrag:8dts", format!("ufrag:{}", "u".repeat(257))),
        ("pwd:06xzIU", "pwd:!".to_owned()),
        ("pwd:06xzIUdGEpND2TT6y1Aw847V", "pwd:short".to_owned()),
    ] {
        assert_eq!(code(&CAMERA.replace(from, &to)), (400, "sdp_invalid"), "{to}");
    }
    assert_eq!(code(&without(CAMERA, "a=rtcp-mux")), (406, "rtcp_mux_required"));
}

#[test]
fn keys_in_the_offer_and_dtls_do_not_mix() {
    let key = "a=crypto:1 AEAD_AES_128_GCM inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==\r\n";
    let mixed = in_second(CAMERA, |section| {
        section.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF") + key + "a=ssrc:5\r\n"
    });
    assert_eq!(code(&mixed), (406, "mixed_security"));
}

#[test]
fn ids_and_payload_types_mean_one_thing_in_a_group() {
    let mid = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid";
    let moved = in_second(CAMERA, |section| section.replace(mid, &mid.replace(":4 ", ":1 ")));
    assert_eq!(code(&moved), (400, "sdp_invalid"));
    let confused = in_second(CAMERA, |section| section.replace("96", "111"));
    assert_eq!(code(&confused), (400, "sdp_invalid"));
}

#[test]
fn what_is_too_much_is_refused() {
    let video = &CAMERA[CAMERA.find("m=video").unwrap()..];
    let head = &CAMERA[..CAMERA.find("m=audio").unwrap()];
    let many = |n: usize| {
        let mids: Vec<String> = (0..n).map(|at| format!("v{at}")).collect();
        let sections: String =
            mids.iter().map(|mid| video.replace("a=mid:1", &format!("a=mid:{mid}"))).collect();
        let group = format!("a=group:BUNDLE {}", mids.join(" "));
        head.replace("a=group:BUNDLE 0 1", &group) + &sections
    };
    assert_eq!(served(&publish(&many(8)).unwrap()).len(), 8);
    assert_eq!(code(&many(9)), (406, "too_many_sections"));
    let view = |n| many(n).replace("a=sendonly", "a=recvonly");
    assert_eq!(served(&read(&view(SECTIONS_MAX), Role::Subscribe).unwrap()).len(), SECTIONS_MAX);
    assert_eq!(code(&many(SECTIONS_MAX + 1)), (400, "sdp_invalid"));
}

#[test]
fn the_substream_is_named_by_its_section() {
    let terms = |mid| Terms { role: Role::Publish, stream: Stream::Main, substream: Some(mid) };
    let kinds = |mid| {
        let offer = offer::parse(CAMERA.as_bytes(), terms(mid));
        offer.map(|offer| offer.served().map(|section| section.kind).collect::<Vec<_>>())
    };
    assert_eq!(kinds("1").unwrap(), [MediaKind::Audio, MediaKind::Substream]);
    assert_eq!(kinds("0").unwrap(), [MediaKind::Audio, MediaKind::Video]);
    assert_eq!(kinds("7").unwrap_err().code, "query_invalid");
    let video = &CAMERA[CAMERA.find("m=video").unwrap()..];
    let slides = format!("{video}a=content:slides\r\n");
    let two = format!("{CAMERA}{}", slides.replace("a=mid:1", "a=mid:2"));
    let two = two.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    assert!(publish(&two).is_ok());
    let both = offer::parse(two.as_bytes(), terms("1")).unwrap_err();
    assert_eq!((both.status, both.code), (409, "substream_taken"));
}

proptest::proptest! {
    /// Lines of a real offer, dropped, doubled and swapped: never a panic, and what is served has a
    /// transport.
    #[test]
    fn shuffled_offers_are_read_or_refused(
        edits in proptest::collection::vec((0usize..400, 0usize..400, 0u8..3), 0..12),
        subscribes: bool,
    ) {
        let mut lines: Vec<&str> = if subscribes { VIEWER } else { CAMERA }.lines().collect();
        for (from, to, edit) in edits {
            let (from, to) = (from % lines.len(), to % lines.len());
            match edit {
                0 => { lines.remove(from); }
                1 => lines.insert(to, lines[from]),
                _ => lines.swap(from, to),
            }
        }
        let text = lines.join("\r\n");
        let role = if subscribes { Role::Subscribe } else { Role::Publish };
        if let Ok(offer) = read(&text, role) {
            let bundle = offer.bundle.as_ref().expect("no line of it has a=crypto");
            proptest::prop_assert!(!bundle.fingerprints.is_empty());
            proptest::prop_assert!(offer.served().all(|section| section.mid.is_some()));
        }
    }
}

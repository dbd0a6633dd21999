//! Real offers of Chromium through the whole API. Answers are read by Mozilla's parser, which is the one
//! of Firefox, and compared with what the shard was ordered.

mod support;

use proto::ufrag::UfragKey;
use proto::{Feedback, MediaKind, OpenSession};
use support::*;
use webrtc_sdp::attribute_type::{SdpAttribute, SdpAttributeType as Kind};
use webrtc_sdp::media_type::SdpMedia;
use webrtc_sdp::{SdpSession, parse_sdp};

const VIEWER: &str = include_str!("offers/chromium_offer_recvonly.sdp");
const CAMERA: &str = include_str!("offers/chromium_offer_simulcast.sdp");

async fn join(control: &Control, uri: &str, user: &str, offer: &str) -> (Reply, SdpSession) {
    let sig = user_sig(APP, user);
    let reply = control.send(ask("POST", uri).bearer(&sig).sdp(offer)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let answer = parse_sdp(&reply.text, true).expect("an answer that Firefox can read");
    (reply, answer)
}

fn the_session(peer: &RingPeer) -> OpenSession {
    peer.with(|seen| {
        assert_eq!(seen.sessions.len(), 1, "one session per bundle");
        *seen.sessions.values().next().unwrap()
    })
}

fn lines(media: &SdpMedia, kind: Kind) -> Vec<String> {
    media.get_attributes_of_type(kind).into_iter().map(ToString::to_string).collect()
}

/// What every answer to a browser has in common.
fn check_transport(peer: &RingPeer, control: &Control, answer: &SdpSession, open: &OpenSession) {
    assert!(answer.get_attribute(Kind::IceLite).is_some());
    let Some(SdpAttribute::Group(group)) = answer.get_attribute(Kind::Group) else { panic!() };
    assert_eq!(group.tags, ["0", "1"]);
    let credentials = open.ice.expect("ICE");
    assert!(open.rx_key.bytes.is_empty() && open.tx_key.bytes.is_empty());
    assert!(open.remote.is_unset());
    let key = UfragKey(peer.with(|seen| seen.ufrag_key).unwrap());
    for media in &answer.media {
        let one = |kind| lines(media, kind).join("|");
        let ufrag = one(Kind::IceUfrag).replace("ice-ufrag:", "");
        let routed = proto::ufrag::verify(&key, ufrag.as_bytes()).expect("a token of ours");
        assert_eq!((routed.shard(), routed.slot()), (open.session.shard(), open.session.slot()));
        assert_eq!(routed.generation(), credentials.generation);
        let password = String::from_utf8(credentials.password.to_vec()).unwrap();
        assert_eq!(one(Kind::IcePwd), format!("ice-pwd:{password}"));
        assert_eq!(password.len(), 24);
        assert_eq!(one(Kind::Setup), "setup:passive");
        let print = control.identities.current(now()).fingerprint().to_string();
        assert_eq!(
            one(Kind::Fingerprint).to_uppercase(),
            format!("fingerprint:{print}").to_uppercase()
        );
        assert_eq!(one(Kind::RtcpMux), "rtcp-mux");
        assert_eq!(one(Kind::RtcpRsize), "rtcp-rsize");
    }
    let candidates = lines(&answer.media[0], Kind::Candidate);
    assert_eq!(
        candidates,
        [
            "candidate:1 1 UDP 2130706431 198.18.1.2 8000 typ host",
            "candidate:2 1 UDP 2130706175 2001:db8:1::2 8000 typ host"
        ]
    );
    assert_eq!(lines(&answer.media[0], Kind::EndOfCandidates).len(), 1);
    assert!(lines(&answer.media[1], Kind::Candidate).is_empty());
}

#[tokio::test]
async fn a_browser_publishes_audio_and_three_layers_in_one_session() {
    let dir = folder("camera");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let uri = format!("/whip/{APP}/demo");
    let (_, answer) = join(&control, &uri, "alice", CAMERA).await;
    let open = the_session(&peer);
    check_transport(&peer, &control, &answer, &open);
    let [audio, video] = &answer.media[..] else { panic!("two sections") };
    assert_eq!(lines(audio, Kind::Recvonly).len() + lines(video, Kind::Recvonly).len(), 2);
    assert_eq!(audio.get_formats().to_string(), "111");
    assert_eq!(video.get_formats().to_string(), "96 97");
    assert_eq!(lines(video, Kind::Rid).len(), 3);
    assert_eq!(lines(video, Kind::Simulcast), ["simulcast:recv q;h;f"]);
    let feedback = lines(video, Kind::Rtcpfb).join("|");
    assert!(feedback.contains("transport-cc") && !feedback.contains("remb"), "{feedback}");
    assert!(lines(video, Kind::Ssrc).is_empty());

    let [sound, picture] = &open.publications[..] else { panic!("two publications") };
    assert_eq!((sound.kind, picture.kind), (MediaKind::Audio, MediaKind::Video));
    assert_eq!((&sound.mid[..], &picture.mid[..]), (&b"0"[..], &b"1"[..]));
    assert_eq!((sound.ssrc, picture.ssrc), (1_822_528_202, 0));
    let layers: Vec<&[u8]> = picture.layers.iter().map(|layer| &layer[..]).collect();
    assert_eq!(layers, [b"q", b"h", b"f"]);
    assert_eq!(picture.rtx.map(|rtx| (rtx.payload_type, rtx.ssrc)), Some((97, 0)));
    assert_eq!(picture.feedback, Feedback(Feedback::NACK | Feedback::TRANSPORT_CC));
    assert_eq!(sound.feedback, Feedback(Feedback::TRANSPORT_CC));
    let prints = control.hub.dtls_peer(open.session).unwrap().fingerprints;
    assert!(prints[0].to_string().starts_with("sha-256 57:CF:15:4D:A3"));
}

#[tokio::test]
async fn a_browser_subscribes_with_all_codecs_and_repair_under_our_ssrcs() {
    let dir = folder("viewer");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let uri = format!("/whep/{APP}/demo");
    let (reply, answer) = join(&control, &uri, "bob", VIEWER).await;
    let open = the_session(&peer);
    check_transport(&peer, &control, &answer, &open);
    let [audio, video] = &answer.media[..] else { panic!("two sections") };
    let [sound, picture] = &open.slots[..] else { panic!("two slots") };
    assert_eq!(lines(video, Kind::Sendonly).len() + lines(audio, Kind::Sendonly).len(), 2);
    let told: Vec<String> = picture
        .codecs
        .iter()
        .flat_map(|codec| [codec.payload_type, codec.rtx_payload_type])
        .map(|number| number.to_string())
        .collect();
    assert_eq!(video.get_formats().to_string(), told.join(" "));
    let feedback = lines(video, Kind::Rtcpfb).join("|");
    assert!(feedback.contains("nack pli") && feedback.contains("ccm fir"));
    assert!(!feedback.contains("transport-cc") && !feedback.contains("remb"), "{feedback}");
    let (ssrc, rtx) = (picture.ssrc, picture.rtx_ssrc);
    assert_eq!(lines(video, Kind::SsrcGroup), [format!("ssrc-group:FID {ssrc} {rtx}")]);
    assert!(lines(audio, Kind::Ssrc)[0].starts_with(&format!("ssrc:{} cname:", sound.ssrc)));
    assert_eq!((sound.rtx_ssrc, lines(audio, Kind::SsrcGroup).len()), (0, 0));
    assert_ne!(lines(audio, Kind::Msid), lines(video, Kind::Msid));
    assert!(video.get_attributes().iter().all(|line| !line.to_string().contains("simulcast")));
    assert_eq!((&sound.mid[..], &picture.mid[..]), (&b"0"[..], &b"1"[..]));
    assert!(reply.text.contains("a=extmap-allow-mixed\r\n"));
    assert_eq!(control.send(ask("DELETE", reply.header("location")).empty()).await.status, 200);
    assert!(control.hub.dtls_peer(open.session).is_none());
}

#[tokio::test]
async fn a_data_plane_that_comes_back_gets_browsers_with_their_credentials() {
    let dir = folder("again");
    let first = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    join(&control, &format!("/whip/{APP}/demo"), "alice", CAMERA).await;
    let before = the_session(&first);
    let first_key = first.with(|seen| seen.ufrag_key);
    drop(first);
    control.wait_for(|c| c.hub.status() == daemon::link::hub::Status::Down).await;
    let second = RingPeer::start(&dir, 2);
    control.wait_for(|_| second.with(|seen| seen.sessions.len() == 1)).await;
    assert_eq!(the_session(&second), before);
    let key = second.with(|seen| seen.ufrag_key);
    assert_eq!(key, first_key, "tokens that peers hold stay valid");

    drop(control);
    let control = Control::up(&dir, 0).await;
    assert_eq!(control.hub.totals().publishing, 1);
    assert_ne!(
        second.with(|seen| seen.ufrag_key),
        key,
        "each control process has a key of its own"
    );
    join(&control, &format!("/whep/{APP}/demo"), "bob", VIEWER).await;
    assert_eq!(second.with(|seen| seen.sessions.len()), 2);
}

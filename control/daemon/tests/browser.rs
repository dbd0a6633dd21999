//! Real offers of Chromium through the whole API. Answers are read by Mozilla's parser, which is the one
//! of Firefox, and compared with what the shard was ordered.

mod support;

use proto::ufrag::UfragKey;
use proto::{Command, Feedback, IceCredentials, MediaKind, OpenSession};
use support::{CHROMIUM_CAMERA as CAMERA, CHROMIUM_VIEWER as VIEWER, *};
use webrtc_sdp::attribute_type::{SdpAttribute, SdpAttributeType as Kind};
use webrtc_sdp::media_type::SdpMedia;
use webrtc_sdp::{SdpSession, parse_sdp};

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
    // Each control process has a key of its own; the link may be up before the shard has read it.
    control.wait_for(|_| second.with(|seen| seen.ufrag_key) != key).await;
    join(&control, &format!("/whep/{APP}/demo"), "bob", VIEWER).await;
    assert_eq!(second.with(|seen| seen.sessions.len()), 2);
}

const FRAGMENT: &str = "a=ice-ufrag:8dts\r\na=ice-pwd:06xzIUdGEpND2TT6y1Aw847V\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2122194687 192.0.2.2 49420 typ host\r\na=end-of-candidates\r\n";

fn restarts(peer: &RingPeer) -> Vec<IceCredentials> {
    let ice = |command: &Command| match command {
        Command::RestartIce { ice, .. } => Some(*ice),
        _ => None,
    };
    peer.with(|seen| seen.commands.iter().filter_map(ice).collect())
}

/// RFC 9725 section 4.3: entity tags, preconditions, and what each combination does.
#[tokio::test]
async fn candidates_need_the_entity_tag_and_restarts_a_star() {
    let dir = folder("trickle");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (reply, _) = join(&control, &format!("/whip/{APP}/demo"), "alice", CAMERA).await;
    let (location, first) = (reply.header("location"), reply.header("etag").to_owned());
    assert!(first.starts_with("\"1-") && first.ends_with('"'), "{first}");
    let patch = |precondition: Option<&str>, body: &str| {
        let ask = ask("PATCH", location);
        let ask = match precondition {
            Some(tags) => ask.header("if-match", tags),
            None => ask,
        };
        control.send(ask.fragment(body))
    };
    let new = FRAGMENT.replace("8dts", "9new");
    let silent = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n";
    let both = format!("\"9\", {first}");
    for (precondition, body, status) in [
        (None, FRAGMENT, 428),
        (None, &new, 428),
        (Some(first.as_str()), FRAGMENT, 204),
        (Some(&both), FRAGMENT, 204),
        (Some(&first), silent, 204),
        (Some("*"), FRAGMENT, 204),
        (Some("\"*\""), FRAGMENT, 204),
        (Some("\"1\""), FRAGMENT, 412),
        (Some("\"1-\""), FRAGMENT, 412),
        (Some("W/\"1\""), FRAGMENT, 412),
        (Some(""), FRAGMENT, 412),
        (Some(&first), &new, 412),
        (Some("*"), "v=0\r\n", 400),
        (Some("*"), "a=ice-ufrag:9new\r\n", 400),
    ] {
        let reply = patch(precondition, body).await;
        assert_eq!(reply.status, status, "{precondition:?} {body}");
        assert!(!reply.headers.contains_key("etag"));
        assert_eq!(reply.text.is_empty(), status == 204);
    }
    assert!(restarts(&peer).is_empty());

    let reply = patch(Some("*"), &new).await;
    let kind = reply.header("content-type");
    assert_eq!((reply.status, kind), (200, "application/trickle-ice-sdpfrag"));
    let second = reply.header("etag").to_owned();
    assert_ne!(first, second);
    control.wait_for(|_| restarts(&peer).len() == 1).await;
    let credentials = restarts(&peer)[0];
    let open = the_session(&peer);
    assert_eq!(credentials.generation, open.ice.unwrap().generation.wrapping_add(1));
    let line = |name: &str| {
        let mut lines = reply.text.lines();
        lines.find_map(|line| line.strip_prefix(name)).expect("it is there").to_owned()
    };
    assert_eq!(line("a=ice-pwd:").as_bytes(), &credentials.password[..]);
    let key = UfragKey(peer.with(|seen| seen.ufrag_key).unwrap());
    let routed = proto::ufrag::verify(&key, line("a=ice-ufrag:").as_bytes()).unwrap();
    assert_eq!((routed.slot(), routed.generation()), (open.session.slot(), credentials.generation));
    assert_eq!((line("a=mid:"), line("a=group:")), ("0".into(), "BUNDLE 0 1".into()));
    assert_eq!(reply.text.matches("a=candidate:").count(), 2);
    assert_eq!(patch(Some(&first), &new).await.status, 412, "the former state");
    assert_eq!(patch(Some(&second), &new).await.status, 204);
    assert_eq!(patch(Some(&second), FRAGMENT).await.status, 412, "the former credentials");
    let quoted = patch(Some("\"*\""), FRAGMENT).await;
    assert_eq!(quoted.status, 200, "as the drafts' example has it");
    assert_ne!(quoted.header("etag"), second);

    let wrong = control.send(ask("PATCH", location).sdp("v=0\r\n")).await;
    assert_eq!(wrong.problem(), (415, "patch_type_unsupported".into()));
    assert_eq!(wrong.header("accept-patch"), "application/trickle-ice-sdpfrag");
    let gone = location[..location.len() - 1].to_owned() + "x";
    let gone = control.send(ask("PATCH", &gone).header("if-match", "*").fragment(&new)).await;
    assert_eq!(gone.problem(), (404, "resource_unknown".into()));
    let options = control.send(ask("OPTIONS", location).empty()).await;
    assert_eq!(options.header("accept-patch"), "application/trickle-ice-sdpfrag");
}

#[tokio::test]
async fn a_restarted_ice_session_outlives_both_processes() {
    let dir = folder("trickle-again");
    let first = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (reply, _) = join(&control, &format!("/whip/{APP}/demo"), "alice", CAMERA).await;
    let location = reply.header("location").to_owned();
    let star = |body: &str| ask("PATCH", &location).header("if-match", "*").fragment(body);
    let restarted = control.send(star(&FRAGMENT.replace("8dts", "9new"))).await;
    assert_eq!(restarted.status, 200);
    control.wait_for(|_| restarts(&first).len() == 1).await;
    let credentials = restarts(&first)[0];
    drop(first);
    control.wait_for(|c| c.hub.status() == daemon::link::hub::Status::Down).await;
    let second = RingPeer::start(&dir, 2);
    control.wait_for(|_| second.with(|seen| seen.sessions.len() == 1)).await;
    assert_eq!(the_session(&second).ice, Some(credentials), "replayed as it was last");

    // A new control process knows neither credentials nor generation: it takes the peer's word once.
    drop(control);
    let control = Control::up(&dir, 0).await;
    let etag = restarted.header("etag");
    let tagged = |body: &str| ask("PATCH", &location).header("if-match", etag).fragment(body);
    assert_eq!(control.send(tagged(&FRAGMENT.replace("8dts", "9new"))).await.status, 204);
    assert_eq!(control.send(tagged(FRAGMENT)).await.status, 412);
    assert_eq!(control.send(star(FRAGMENT)).await.status, 200);
    control.wait_for(|_| !restarts(&second).is_empty()).await;
}

#[tokio::test]
async fn a_resource_with_keys_in_its_offer_has_no_ice() {
    let dir = folder("no-ice");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let sig = user_sig(APP, "alice");
    let post = ask("POST", &format!("/whip/{APP}/demo")).bearer(&sig).sdp(&publisher(7));
    let reply = control.send(post).await;
    let patch = ask("PATCH", reply.header("location")).header("if-match", "*").fragment(FRAGMENT);
    assert_eq!(control.send(patch).await.problem(), (422, "no_ice".into()));
    assert!(!reply.headers.contains_key("link"), "no events for publishers, no ICE servers here");
}

/// aiortc 1.16, libwebrtc by way of @roamhq/wrtc 0.10, GStreamer 1.22's webrtcbin: an audio and a video
/// section each, and nothing else alike.
#[tokio::test]
async fn offers_of_other_libraries_are_answered() {
    let dir = folder("libraries");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    for (name, publish, view) in [
        (
            "aiortc",
            include_str!("offers/aiortc_publish.sdp"),
            include_str!("offers/aiortc_view.sdp"),
        ),
        ("wrtc", include_str!("offers/wrtc_publish.sdp"), include_str!("offers/wrtc_view.sdp")),
        ("gst", include_str!("offers/gst_publish.sdp"), include_str!("offers/gst_view.sdp")),
    ] {
        for (api, offer) in [("whip", publish), ("whep", view)] {
            let (reply, answer) =
                join(&control, &format!("/{api}/{APP}/{name}"), "alice", offer).await;
            assert_eq!(answer.media.len(), 2, "{name}");
            for media in &answer.media {
                assert_ne!(media.get_port(), 0, "{name}: a bundle-only section is not refused");
                assert_eq!(lines(media, Kind::Setup), ["setup:passive"]);
            }
            let open = the_session(&peer);
            let streams = (open.publications.len(), open.slots.len());
            assert_eq!(streams, if api == "whip" { (2, 0) } else { (0, 2) }, "{name}");
            let prints = control.hub.dtls_peer(open.session).unwrap().fingerprints;
            assert_eq!(prints.len(), if name == "aiortc" { 3 } else { 1 });
            let left = control.send(ask("DELETE", reply.header("location")).empty()).await;
            assert_eq!(left.status, 200);
        }
    }
}

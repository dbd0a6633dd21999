//! Handshake datagrams and keys between this process and a shard, over real rings.

mod support;

use std::time::Duration;

use daemon::link::hub::Punt;
use proto::{
    Command, Endpoint, Event, KeyMaterial, List, Path, SessionId, ShardId, SlotState, SrtpProfile,
};
use support::*;
use tokio::sync::mpsc;

/// A viewer's session; how its keys are agreed on makes no difference here.
async fn joined(control: &Control, peer: &RingPeer) -> SessionId {
    let bob = user_sig(APP, "bob");
    let uri = format!("/whep/{APP}/demo");
    let reply = control.send(ask("POST", &uri).bearer(&bob).sdp(&viewer(6000))).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    peer.with(|seen| seen.sessions.values().next().expect("open").session)
}

fn key(byte: u8) -> KeyMaterial {
    KeyMaterial { bytes: List::from_slice(&[byte; 28]).unwrap() }
}

#[tokio::test]
async fn keys_reach_the_shard_before_the_datagram_that_was_ordered_after_them() {
    let dir = folder("inject");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let session = joined(&control, &peer).await;
    for round in 0..50u8 {
        let profile = SrtpProfile::AeadAes128Gcm;
        assert!(control.hub.install_keys(session, profile, &key(round), &key(!round)));
        assert!(control.hub.inject(session, &[round; 900]));
    }
    control.wait_for(|_| peer.with(|seen| seen.injected.len()) == 50).await;
    peer.with(|seen| {
        for (round, (to, datagram, keys)) in seen.injected.iter().enumerate() {
            let round = round as u8;
            assert_eq!((*to, &datagram[..]), (session, &[round; 900][..]));
            // The keys of this round or of a later one.
            let (_, rx_key, _) = keys.expect("there were some");
            assert!(rx_key.bytes[0] >= round, "datagram {round} came before its keys");
        }
        assert_eq!(seen.keys[&session.0].2, key(!49));
    });
    let gone = SessionId::new(ShardId(7), 0, 0);
    assert!(!control.hub.inject(gone, b"to nobody"));
    assert!(!control.hub.install_keys(gone, SrtpProfile::AeadAes128Gcm, &key(1), &key(2)));
    assert_eq!(control.hub.handshake_drops().injects, 1);
}

#[tokio::test]
async fn datagrams_of_peers_come_in_order_and_a_full_channel_drops_them() {
    let dir = folder("punt");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let session = SessionId::new(ShardId(0), 3, 1);
    let sent = |count: u8| -> Vec<Punt> { (0..count).map(|n| (session, vec![n; 1200])).collect() };
    // In the place of the service of handshakes, which would answer.
    let (service, mut punts) = mpsc::channel(4);
    let (ends, _ends) = mpsc::unbounded_channel();
    control.hub.set_handshakes(service, ends);
    peer.with(|seen| seen.punts.extend(sent(6)));
    control.wait_for(|control| control.hub.handshake_drops().punts == 2).await;
    for expected in sent(4) {
        let punt = tokio::time::timeout(Duration::from_secs(5), punts.recv()).await;
        assert_eq!(punt.expect("in time"), Some(expected));
    }
    // A shard speaks for its own sessions only.
    let foreign = (SessionId::new(ShardId(1), 3, 1), vec![1; 20]);
    peer.with(|seen| seen.punts.extend([foreign].into_iter().chain(sent(1))));
    let punt = tokio::time::timeout(Duration::from_secs(5), punts.recv()).await;
    assert_eq!(punt.expect("in time"), Some(sent(1).remove(0)));
}

#[tokio::test]
async fn a_new_data_plane_is_told_the_token_key_the_keys_and_where_the_peer_is() {
    let dir = folder("replayed");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let session = joined(&control, &peer).await;
    assert!(control.hub.install_keys(session, SrtpProfile::AeadAes256Gcm, &key(5), &key(6)));
    let path = Path {
        local: Endpoint::v4([198, 18, 1, 2], 8000),
        remote: Endpoint::v4([203, 0, 113, 9], 9),
    };
    control.hub.event(ShardId(0), &Event::PathMoved { session, path });
    let first = peer.with(|seen| seen.ufrag_key);
    drop(peer);
    let peer = RingPeer::start(&dir, 2);
    control.wait_for(|_| peer.with(|seen| seen.sessions.contains_key(&session.0))).await;
    let open = peer.with(|seen| seen.sessions[&session.0]);
    assert_eq!((open.local, open.remote), (path.local, path.remote));
    assert_eq!((open.rx_key, open.tx_key), (key(5), key(6)));
    assert_eq!(open.profile, SrtpProfile::AeadAes256Gcm);
    assert!(first.is_some() && peer.with(|seen| seen.ufrag_key) == first);
}

/// A control process that begins anew, whose `Resync` the stand-in has and has not answered.
async fn restarted(dir: &std::path::Path, peer: &RingPeer, control: Control) -> Control {
    drop(control);
    peer.with(|seen| {
        seen.silent = true;
        seen.commands.clear();
    });
    let control = Control::start(dir, 0);
    let asked = |seen: &mut Seen| seen.commands.iter().any(|it| matches!(it, Command::Resync));
    control.wait_for(|_| peer.with(asked)).await;
    control
}

/// Answers it, with what else happened after all was told.
async fn tell(peer: &RingPeer, control: &Control, meanwhile: &[Event]) {
    peer.with(|seen| {
        seen.silent = false;
        let told: Vec<Event> = seen.sessions.values().flat_map(told).collect();
        let done = Event::ResyncDone { sessions: seen.sessions.len() as u32 };
        seen.tell.extend(told.into_iter().chain(meanwhile.iter().copied()).chain([done]));
    });
    control.is_up().await;
}

/// Joins; where the resource is, and where its events are.
async fn join(control: &Control, api: &str, user: &str, offer: &str) -> (String, String) {
    let sig = user_sig(APP, user);
    let uri = format!("/{api}/{APP}/demo");
    let reply = control.send(ask("POST", &uri).bearer(&sig).sdp(offer)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let events = reply.header("link").split(['<', '>']).nth(1).unwrap_or_default();
    (reply.header("location").to_owned(), events.to_owned())
}

#[tokio::test]
async fn nothing_is_unknown_before_the_data_plane_has_told_what_it_has() {
    let dir = folder("not-yet");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (location, events) = join(&control, "whep", "bob", CHROMIUM_VIEWER).await;
    let control = restarted(&dir, &peer, control).await;
    let sig = user_sig(APP, "bob");
    let requests = || {
        let star = ask("PATCH", &location).header("if-match", "*");
        [
            ask("PATCH", &location).bearer(&sig).empty(),
            star.fragment("a=ice-ufrag:9new\r\na=ice-pwd:06xzIUdGEpND2TT6y1Aw847V\r\n"),
            ask("DELETE", &location).empty(),
            ask("GET", &events).empty(),
        ]
    };
    for request in requests() {
        let reply = control.send(request).await;
        assert_eq!(reply.problem(), (503, "data_plane_down".into()));
        assert!(!reply.header("retry-after").is_empty());
    }
    let never = ask("DELETE", &format!("/whep/{APP}/demo/x")).empty();
    assert_eq!(control.send(never).await.problem().0, 404, "no name of ours");

    tell(&peer, &control, &[]).await;
    let renewal = ask("PATCH", &location).bearer(&sig).empty();
    assert_eq!(control.send(renewal).await.status, 204);
    assert_eq!(control.send(ask("DELETE", &location).empty()).await.status, 200);
    for request in requests() {
        assert_eq!(control.send(request).await.problem(), (404, "resource_unknown".into()));
    }
    // Nor does it turn back when the data plane is away for a while: this process knows by then.
    drop(peer);
    control.wait_for(|c| c.hub.status() == daemon::link::hub::Status::Down).await;
    assert_eq!(control.send(ask("DELETE", &location).empty()).await.problem().0, 404);
}

#[tokio::test]
async fn a_section_that_changes_while_sessions_are_told_is_known_as_it_ended() {
    let dir = folder("meanwhile");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    join(&control, "whip", "alice", CHROMIUM_CAMERA).await;
    let (_, events) = join(&control, "whep", "bob", CHROMIUM_VIEWER).await;
    let (session, member, publication) = peer.with(|seen| {
        let viewer = seen.sessions.values().find(|open| !open.slots.is_empty()).unwrap();
        let camera = seen.sessions.values().find(|open| !open.publications.is_empty()).unwrap();
        (viewer.session, camera.member, camera.publications[1].publication)
    });
    let slot = |slot, state| Event::Slot { session, slot, state };
    let on = SlotState::On { member, publication };
    let control = restarted(&dir, &peer, control).await;
    // Of both sections it was told that they are off. A place that there is not harms nobody.
    let meanwhile = [slot(0, on), slot(0, SlotState::Off), slot(1, on), slot(9, on)];
    tell(&peer, &control, &meanwhile).await;
    let id = events.strip_prefix("/events/").unwrap().parse().unwrap();
    let (_, _, shown) = control.hub.listen(id).unwrap();
    let states: Vec<_> = shown.iter().map(|view| view.state).collect();
    assert_eq!(states, ["off", "on"]);
    assert_eq!(shown[1].user.as_ref().map(|user| user.as_str()), Some("alice"));
}

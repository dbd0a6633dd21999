//! Handshakes through the whole control process: an offer over HTTP, an OpenSSL client behind the rings
//! of a stand-in for the data plane.

mod support;

use std::time::{Duration, Instant};

use dtls::{Client, Fingerprint, Identity, Keys, Profile, Progress};
use proto::{CloseReason, Command, SessionId, SrtpProfile};
use support::*;

const CAMERA: &str = include_str!("offers/chromium_offer_simulcast.sdp");
const PROFILES: [Profile; 3] =
    [Profile::AesCm128HmacSha1_80, Profile::AeadAes256Gcm, Profile::AeadAes128Gcm];

/// A publisher that has joined and not shaken hands yet.
struct Caller {
    session: SessionId,
    location: String,
    bearer: String,
    client: Client,
    keys: Option<Keys>,
}

impl Caller {
    /// Joins with the fingerprint of `announced`, and calls with the certificate of `own`.
    async fn join(
        control: &Control,
        peer: &RingPeer,
        user: &str,
        announced: &Identity,
        own: &Identity,
    ) -> Caller {
        let known: Vec<_> = peer.with(|seen| seen.sessions.keys().copied().collect());
        let is_print = |line: &&str| line.starts_with("a=fingerprint:");
        let print = format!("a=fingerprint:{}", announced.fingerprint());
        let lines = CAMERA.lines().map(|line| if is_print(&line) { &print } else { line });
        let offer: String = lines.flat_map(|line| [line, "\r\n"]).collect();
        let bearer = user_sig(APP, user);
        let uri = format!("/whip/{APP}/r");
        let reply = control.send(ask("POST", &uri).bearer(&bearer).sdp(&offer)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let ours = reply.text.lines().find_map(|line| line.strip_prefix("a=fingerprint:"));
        let ours: Fingerprint = ours.expect("a fingerprint").parse().unwrap();
        let session = peer.with(|seen| {
            let new = seen.sessions.keys().find(|id| !known.contains(id));
            SessionId(*new.expect("a session"))
        });
        let client = Client::new(own, &[ours], &PROFILES, 1200).unwrap();
        let location = reply.header("location").to_owned();
        Caller { session, location, bearer, client, keys: None }
    }

    /// Sends what it has to send, takes what has come.
    fn turn(&mut self, peer: &RingPeer) {
        let sent: Vec<_> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        let arrived: Vec<_> = peer.with(|seen| {
            seen.punts.extend(sent.into_iter().map(|datagram| (self.session, datagram)));
            let mut arrived = Vec::new();
            seen.injected.retain(|(session, datagram, keys)| {
                let is_mine = *session == self.session;
                if is_mine {
                    arrived.push((datagram.clone(), keys.is_some()));
                }
                !is_mine
            });
            arrived
        });
        for (datagram, has_keys) in arrived {
            if let Ok(Progress::Done(keys)) = self.client.receive(&datagram) {
                assert!(has_keys, "the shard has the keys before the peer can use them");
                self.keys = Some(keys);
            }
        }
        let _ = self.client.on_timeout();
    }

    async fn call(&mut self, peer: &RingPeer) {
        let patience = Instant::now() + Duration::from_secs(20);
        while self.keys.is_none() {
            assert!(Instant::now() < patience, "no keys");
            self.turn(peer);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn identity() -> Identity {
    Identity::generate(Duration::from_secs(3600), now()).unwrap()
}

fn metric(control: &Control, line: &str) -> Option<u64> {
    let text = control.metrics.render(&control.hub);
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse::<f64>().ok());
    value.map(|value| value as u64)
}

#[tokio::test]
async fn a_browser_that_shook_hands_has_the_keys_that_its_shard_has() {
    let dir = folder("handshake");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let own = identity();
    let mut caller = Caller::join(&control, &peer, "alice", &own, &own).await;
    caller.call(&peer).await;
    let keys = caller.keys.as_ref().unwrap();
    assert_eq!(keys.profile, Profile::AeadAes128Gcm, "our order, not the browser's");
    peer.with(|seen| {
        let (profile, rx, tx) = &seen.keys[&caller.session.0];
        assert_eq!(*profile, SrtpProfile::AeadAes128Gcm);
        assert_eq!((&rx.bytes[..], &tx.bytes[..]), (&keys.client[..], &keys.server[..]));
    });
    assert_eq!(metric(&control, "roomlane_dtls_handshakes_total{result=\"ok\"}"), Some(1));
    assert_eq!(metric(&control, "roomlane_dtls_handshake_seconds_count"), Some(1));
    control.wait_for(|control| metric(control, "roomlane_dtls_half_open") == Some(0)).await;
    // Goodbye.
    caller.client.close();
    let has_left = || close_reasons(&peer) == [CloseReason::Left];
    let patience = Instant::now() + Duration::from_secs(10);
    while !has_left() {
        assert!(Instant::now() < patience, "the resource is still there");
        caller.turn(&peer);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let gone = control.send(ask("DELETE", &caller.location).bearer(&caller.bearer).empty()).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn a_peer_with_another_certificate_never_gets_keys_and_hinders_nobody() {
    let dir = folder("stranger");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (own, other) = (identity(), identity());
    let mut stranger = Caller::join(&control, &peer, "mallory", &own, &other).await;
    let mut caller = Caller::join(&control, &peer, "alice", &other, &other).await;
    const REFUSED: &str = "roomlane_dtls_handshakes_total{result=\"certificate\"}";
    let patience = Instant::now() + Duration::from_secs(20);
    while metric(&control, REFUSED) != Some(1) {
        assert!(Instant::now() < patience, "not refused");
        stranger.turn(&peer);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    caller.call(&peer).await;
    stranger.turn(&peer);
    assert!(stranger.keys.is_none());
    let id = stranger.session;
    peer.with(|seen| {
        for command in &seen.commands {
            let Command::InstallKeys { session, .. } = command else { continue };
            assert_ne!(*session, id, "a stranger's keys");
        }
    });
    assert!(peer.with(|seen| seen.keys.contains_key(&caller.session.0)));
}

#[tokio::test]
async fn keys_outlive_a_data_plane_and_go_to_the_next_one() {
    let dir = folder("keys-again");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let own = identity();
    let mut caller = Caller::join(&control, &peer, "alice", &own, &own).await;
    let mut midway = Caller::join(&control, &peer, "bob", &own, &own).await;
    caller.call(&peer).await;
    midway.turn(&peer);
    drop(peer);
    let peer = RingPeer::start(&dir, 2);
    control.wait_for(|_| peer.with(|seen| seen.sessions.len()) == 2).await;
    peer.with(|seen| {
        let open = &seen.sessions[&caller.session.0];
        let keys = caller.keys.as_ref().unwrap();
        assert_eq!(open.rx_key.bytes[..], keys.client[..]);
        assert_eq!(open.tx_key.bytes[..], keys.server[..]);
        assert!(seen.sessions[&midway.session.0].rx_key.bytes.is_empty());
    });
    // Who was in the middle of it goes on with the next one.
    midway.call(&peer).await;
}

#[tokio::test]
async fn sessions_of_an_earlier_life_are_not_answered() {
    let dir = folder("no-association");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let own = identity();
    let mut caller = Caller::join(&control, &peer, "alice", &own, &own).await;
    drop(control);
    let control = Control::up(&dir, 0).await;
    let mut fresh = Caller::join(&control, &peer, "bob", &own, &own).await;
    caller.turn(&peer);
    fresh.call(&peer).await;
    // Its ClientHello came before all of bob's.
    assert!(peer.with(|seen| seen.injected.iter().all(|(session, ..)| *session != caller.session)));
    assert!(caller.keys.is_none());
}

//! Browsers join the real programs: ICE, DTLS-SRTP and media, and what must not pass.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::{MediaKind, MemberNo, PublicationNo, PublicationSpec, RoomNo};
use roomlane_tests::netns::{Lab, PEER_IP};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::peer::{Publisher, Subscriber};
use roomlane_tests::sdes::{Api, Sockets, Tokens, Wire, sends};
use roomlane_tests::webrtc::{Browser, SOME_SESSION, identity};
use srtp::Profile;

use crate::{SOON, up};

const SSRC: u32 = 0x1000;
const ROOM: RoomNo = RoomNo(7);

/// A camera and a viewer, both with ICE and DTLS.
struct Call<'a> {
    wire: Sockets<'a>,
    api: Api,
    camera: Browser,
    viewer: Browser,
    publisher: Option<Publisher>,
    subscriber: Option<Subscriber>,
    sent: usize,
    /// Datagrams for addresses of neither.
    astray: Vec<(SocketAddr, Vec<u8>)>,
}

impl<'a> Call<'a> {
    fn new(lab: &'a Lab, node: &Node) -> Call<'a> {
        let (mut wire, api) = (Sockets::new(&lab.peers, PEER_IP), node.api());
        let camera = join(&api, &mut wire, "whip", "camera");
        let viewer = join(&api, &mut wire, "whep", "viewer");
        let (publisher, subscriber) = (None, None);
        Call { wire, api, camera, viewer, publisher, subscriber, sent: 0, astray: vec![] }
    }

    /// Checks, handshakes, receives, and sends a hundred packets a second once both have keys, until
    /// `done`. False when that did not happen within `timeout`.
    fn flow(&mut self, timeout: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut next = Instant::now();
        while Instant::now() < deadline {
            self.camera.turn(&mut self.wire, false);
            self.viewer.turn(&mut self.wire, false);
            if self.subscriber.is_some() && Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(10);
                if let Some(publisher) = &mut self.publisher {
                    self.sent += 1;
                    let packet = publisher.packet(160);
                    self.wire.send(self.camera.local, self.camera.remote, &packet);
                }
            }
            self.receive();
            if done(self) {
                return true;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        false
    }

    fn receive(&mut self) {
        while let Some((at, bytes)) = self.wire.receive() {
            if at == self.camera.local {
                self.camera.take(&bytes);
            } else if at == self.viewer.local {
                let media = self.viewer.take(&bytes);
                if let (Some(media), Some(subscriber)) = (media, &mut self.subscriber) {
                    subscriber.receive(media);
                }
            } else {
                self.astray.push((at, bytes));
            }
        }
        if let (None, Some((profile, ours, theirs))) = (&self.publisher, self.camera.srtp()) {
            let spec = PublicationSpec {
                publication: PublicationNo(0),
                ssrc: SSRC,
                kind: MediaKind::Audio,
                payload_type: 111,
                clock_rate: 48_000,
                ..PublicationSpec::default()
            };
            let ids = (SOME_SESSION, ROOM, MemberNo(0));
            let keys = (&ours, &theirs);
            let local = self.camera.local.into();
            self.publisher = Some(Publisher::new(ids, spec, local, profile, keys, 1000));
        }
        if let (None, Some((profile, ours, theirs))) = (&self.subscriber, self.viewer.srtp()) {
            let ids = (SOME_SESSION, ROOM, MemberNo(1));
            let local = self.viewer.local.into();
            let end = Subscriber::new(ids, vec![], local, profile, (&ours, &theirs));
            self.subscriber = Some(end);
        }
    }

    fn got(&self) -> usize {
        self.subscriber.as_ref().map_or(0, |end| end.got.len())
    }

    /// Both shake hands, and `count` packets more arrive.
    fn carries(&mut self, count: usize, node: &Node) {
        let goal = self.got() + count;
        let carried = self.flow(SOON, |call| call.got() >= goal);
        let keys = (self.camera.keys.is_some(), self.viewer.keys.is_some());
        let (checks, got) = ((self.camera.is_checked, self.viewer.is_checked), self.got());
        assert!(
            carried,
            "{got} of {goal} packets, keys {keys:?}, checks {checks:?}\n{}\n{}",
            node.all_drops(),
            node.log()
        );
    }

    /// Nothing that was sent is missing, nor came twice, nor could not be opened.
    fn nothing_is_lost(&mut self, node: &Node) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.got() < self.sent && Instant::now() < until {
            self.receive();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.got(), self.sent, "{}", node.all_drops());
        let end = self.subscriber.as_ref().expect("keys");
        assert_eq!(end.refused, 0);
        assert!(end.got.iter().all(|got| got.mark.room == ROOM.0));
        assert!(end.got.windows(2).all(|pair| pair[0].egress + 1 == pair[1].egress));
    }
}

fn join(api: &Api, wire: &mut impl Wire, verb: &str, user: &str) -> Browser {
    let own = identity();
    join_as(api, wire, verb, user, (&own, &own))
}

fn join_as(
    api: &Api,
    wire: &mut impl Wire,
    verb: &str,
    user: &str,
    identities: (&dtls::Identity, &dtls::Identity),
) -> Browser {
    let camera = sends(SSRC);
    let lines = if verb == "whip" { &camera } else { "a=recvonly\r\n" };
    Browser::join((api, wire), (verb, lines), &Tokens::new("demo", user), identities)
}

fn node() -> Option<(Lab, Node)> {
    up(&NodeConfig::port("uring"))
}

#[test]
fn browsers_meet_under_gcm_and_no_packet_is_lost_after_their_handshakes() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    call.carries(300, &node);
    call.nothing_is_lost(&node);
    for browser in [&call.camera, &call.viewer] {
        assert_eq!(browser.srtp().expect("keys").0, Profile::AeadAes128Gcm);
    }
    // Who says goodbye has left.
    call.camera.close();
    let has_left = |node: &Node| {
        node.show("session")["sessions"].as_array().is_some_and(|sessions| sessions.len() == 1)
    };
    call.camera.turn(&mut call.wire, true);
    node.until("the camera's session ends", has_left);
}

#[test]
fn a_stranger_behind_an_announced_fingerprint_gets_no_keys_and_others_do_not_notice() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    call.carries(20, &node);
    let (announced, own) = (identity(), identity());
    let (api, identities) = (node.api(), (&announced, &own));
    let mut wire = Sockets::new(&lab.peers, PEER_IP);
    let mut stranger = join_as(&api, &mut wire, "whep", "mallory", identities);
    let (mut media, mut told) = (0, false);
    call.flow(SOON, |_| {
        stranger.turn(&mut wire, false);
        while let Some((_, bytes)) = wire.receive() {
            media += usize::from(stranger.take(&bytes).is_some());
        }
        told |= node.log().contains("is not the one that its session description announced");
        told
    });
    assert!(told && stranger.is_checked, "{}", node.log());
    call.carries(100, &node);
    stranger.turn(&mut wire, false);
    assert!(stranger.keys.is_none() && media == 0);
    call.nothing_is_lost(&node);
}

#[test]
fn whoever_races_with_a_hello_or_comes_before_ice_is_not_answered_and_hinders_nobody() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    // Before ICE, even from the address that will be the browser's own.
    let before = node.drops("no_session");
    call.camera.turn(&mut call.wire, true);
    let hello = call.camera.hellos[0].clone();
    node.until("the hasty hello is dropped", |node| node.drops("no_session") > before);
    let racers: Vec<_> = (0..8).map(|_| call.wire.open()).collect();
    let remote = call.camera.remote;
    let flood = |call: &mut Call<'_>| {
        for racer in &racers {
            call.wire.send(*racer, remote, &hello);
        }
    };
    let goal = 200;
    let carried = call.flow(SOON, |call| {
        flood(call);
        call.got() >= goal
    });
    assert!(carried, "{}\n{}", node.all_drops(), node.log());
    call.nothing_is_lost(&node);
    assert_eq!(call.astray, [], "a racer was answered");
}

#[test]
fn whoever_is_put_out_hears_it_over_dtls() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    call.carries(50, &node);
    let kicked = node.roomlane(&["room", "end", &roomlane_tests::node::APP.to_string(), "demo"]);
    assert!(kicked.status.success(), "{}", String::from_utf8_lossy(&kicked.stderr));
    let told = call.flow(SOON, |call| call.camera.is_closed && call.viewer.is_closed);
    assert!(told, "{}", node.all_drops());
}

#[test]
fn a_killed_control_daemon_ends_handshakes_under_way_but_no_call() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    call.carries(50, &node);
    let (api, mut wire) = (node.api(), Sockets::new(&lab.peers, PEER_IP));
    let mut midway = join(&api, &mut wire, "whep", "midway");
    assert!(call.flow(SOON, |_| {
        midway.turn(&mut wire, false);
        while !midway.is_checked
            && let Some((_, bytes)) = wire.receive()
        {
            midway.take(&bytes);
        }
        !midway.hellos.is_empty()
    }));
    let killed = node.kill("roomlane-control");
    let back = call.flow(SOON, |_| {
        node.pid("roomlane-control").is_some_and(|pid| pid != killed)
            && std::os::unix::net::UnixStream::connect(node.dir.join("http.sock")).is_ok()
    });
    assert!(back, "{}", node.log());
    // What was said before it died may still wait in the socket; from now on it stays silent.
    while wire.receive().is_some() {}
    let mut answered = false;
    call.flow(Duration::from_secs(3), |_| {
        midway.turn(&mut wire, false);
        while let Some((_, bytes)) = wire.receive() {
            answered |= wire::demux::classify(&bytes) == wire::demux::Kind::Dtls;
        }
        false
    });
    assert!(!answered && midway.keys.is_none());
    call.carries(50, &node);
    call.nothing_is_lost(&node);
    // Newcomers shake hands with the new one.
    node.until("it has a data plane", |node| node.show("node")["control_alive"] == true);
    call.viewer = join(&call.api, &mut call.wire, "whep", "newcomer");
    (call.subscriber, call.sent) = (None, 0);
    call.carries(50, &node);
}

#[test]
fn calls_resume_after_the_data_plane_was_killed_without_another_handshake() {
    let Some((lab, node)) = node() else { return };
    let mut call = Call::new(&lab, &node);
    for _ in 0..2 {
        call.carries(50, &node);
        let hellos = (call.camera.hellos.len(), call.viewer.hellos.len());
        node.kill("roomlane-dataplane");
        call.carries(100, &node);
        assert_eq!((call.camera.hellos.len(), call.viewer.hellos.len()), hellos);
        let end = call.subscriber.as_ref().expect("keys");
        assert_eq!(end.refused, 0, "no index came twice");
        assert!(end.got.windows(2).all(|pair| pair[0].egress < pair[1].egress));
    }
}

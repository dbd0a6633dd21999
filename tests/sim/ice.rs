//! Browsers join by connectivity checks and handshakes.

use proto::{DropReason, Endpoint, Event, MediaKind, Path, Refusal, SessionId};
use roomlane_tests::ice::IcePeer;
use roomlane_tests::peer::{Publisher, Subscriber};
use roomlane_tests::world::{LOCAL, World};
use srtp::Profile;

const AUDIO: MediaKind = MediaKind::Audio;
/// Nobody of the room.
pub(crate) const STRANGER: Endpoint = Endpoint::v4([203, 0, 113, 9], 4000);
/// A DTLS record of a handshake; nobody here looks into it.
pub(crate) const HELLO: [u8; 40] = {
    let mut record = [0x5a; 40];
    (record[0], record[1], record[2]) = (22, 254, 253);
    (record[11], record[12]) = (0, 40 - 13);
    record
};

/// One publishes, one watches.
pub(crate) struct Room {
    pub(crate) world: World,
    pub(crate) publisher: Publisher,
    pub(crate) sender: IcePeer,
    pub(crate) subscriber: Subscriber,
    pub(crate) receiver: IcePeer,
}

/// A publisher and a subscriber with agents, nothing sent yet.
pub(crate) fn room() -> Room {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    world.mint_tokens();
    let room = world.open_room(1);
    let (publisher, sender) = world.ice_publisher(room, AUDIO);
    let (subscriber, receiver) = world.ice_subscriber(room, &[AUDIO]);
    Room { world, publisher, sender, subscriber, receiver }
}

impl Room {
    /// Both checked, nominated and shook hands.
    pub(crate) fn connected() -> Room {
        let mut room = room();
        let (publisher, subscriber) = (room.publisher.remote, room.subscriber.remote);
        assert!(room.world.check_from(&mut room.sender, publisher, true).is_some());
        assert!(room.world.check_from(&mut room.receiver, subscriber, true).is_some());
        room.world.finish_handshake(room.publisher.session);
        room.world.finish_handshake(room.subscriber.session);
        room
    }

    /// Publishes one packet and delivers it; how many the subscriber has got by then.
    pub(crate) fn play(&mut self) -> usize {
        let packet = self.publisher.packet(100);
        self.world.arrive(0, self.publisher.remote, &[packet]);
        self.world.deliver(&mut [&mut self.subscriber]);
        self.subscriber.got.len()
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.world.drops(0, reason)
    }

    /// Where control was told that a session's peer is, one after the other.
    pub(crate) fn moves(&self, session: SessionId) -> Vec<Path> {
        let of_session = |event: &Event| match event {
            Event::PathMoved { session: moved, path } if *moved == session => Some(*path),
            _ => None,
        };
        self.world.events.iter().filter_map(of_session).collect()
    }

    /// What was refused of control's commands.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let why = |event: &Event| match event {
            Event::Refused { why, .. } => Some(*why),
            _ => None,
        };
        self.world.events.iter().filter_map(why).collect()
    }
}

#[test]
fn a_browser_joins_by_a_nominating_check_and_a_handshake() {
    let mut room = room();
    let (publisher, subscriber) = (room.publisher.remote, room.subscriber.remote);
    assert_eq!(room.play(), 0, "an address that nobody checked from is unknown");
    assert_eq!(room.drops(DropReason::NoSession), 1);
    assert_eq!(room.world.check_from(&mut room.sender, publisher, true), Some(Ok(publisher)));
    assert_eq!(room.world.check_from(&mut room.receiver, subscriber, true), Some(Ok(subscriber)));
    assert_eq!(room.moves(room.publisher.session), [Path { local: LOCAL, remote: publisher }]);
    assert_eq!(room.play(), 0);
    assert_eq!(room.drops(DropReason::NoKeys), 1, "the handshake is not done");
    room.world.finish_handshake(room.publisher.session);
    assert_eq!(room.play(), 0);
    assert_eq!(room.world.egress_drops(0, DropReason::NoKeys), 1);
    room.world.finish_handshake(room.subscriber.session);
    assert_eq!((room.play(), room.play()), (1, 2));
    assert_eq!(room.world.shards[0].counters().stun_answered, 2);
    room.world.check();
}

#[test]
fn dtls_is_punted_from_validated_paths_and_injected_to_them() {
    let mut room = room();
    let session = room.subscriber.session;
    let remote = room.subscriber.remote;
    room.world.arrive(0, remote, &[HELLO.to_vec()]);
    assert!(room.world.ios[0].punts.is_empty(), "no check came from there yet");
    assert_eq!(room.drops(DropReason::NoSession), 1);
    // Validated but not nominated: DTLS may begin all the same.
    room.world.check_from(&mut room.receiver, remote, false);
    room.world.arrive(0, remote, &[HELLO.to_vec()]);
    assert_eq!(room.world.ios[0].punts.pop_front(), Some((session, HELLO.to_vec())));
    room.world.inject(session, b"flight");
    assert_eq!(room.world.take_sent(), [(remote, b"flight".to_vec())]);
    let elsewhere = Endpoint::v4([198, 18, 1, 77], 7);
    room.world.check_from(&mut room.receiver, elsewhere, true);
    room.world.inject(session, b"finished");
    assert_eq!(room.world.take_sent(), [(elsewhere, b"finished".to_vec())]);
    let counters = room.world.shards[0].counters();
    assert_eq!((counters.punted, counters.injected), (1, 2));
    room.world.check();
}

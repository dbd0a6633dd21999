//! Browsers join by connectivity checks and handshakes.

use proto::{
    CloseReason, Command, DropReason, Endpoint, Event, MediaKind, Path, Refusal, SessionId,
};
use roomlane_core::Duration;
use roomlane_tests::ice::{IcePeer, credentials};
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

#[test]
fn a_closed_session_says_one_goodbye_to_a_peer_that_still_listens() {
    let mut room = Room::connected();
    let (talks, silent) = (room.publisher.session, room.subscriber.session);
    let remote = room.publisher.remote;
    let reason = CloseReason::Kicked;
    room.world.command(0, &Command::CloseSession { session: talks, reason });
    room.world.take_sent();
    room.world.inject(talks, b"goodbye");
    assert_eq!(room.world.take_sent(), [(remote, b"goodbye".to_vec())]);
    room.world.inject(talks, b"and more");
    assert_eq!(room.world.take_sent(), []);
    // Whoever was silent for 30 s did not agree to anything any more (RFC 7675).
    room.world.pass(Duration::from_s(31));
    room.world.command(0, &Command::CloseSession { session: silent, reason });
    room.world.take_sent();
    room.world.inject(silent, b"goodbye");
    assert_eq!(room.world.take_sent(), []);
    room.world.check();
}

/// Another of the node's addresses.
const LOCAL_6: Endpoint = Endpoint { ip: [0x20; 16], port: 8000 };

fn elsewhere(n: u16) -> Endpoint {
    Endpoint::v4([203, 0, 113, 77], 20_000 + n)
}

#[test]
fn a_check_alone_validates_but_only_a_nomination_is_sent_to() {
    let mut room = room();
    let (publisher, subscriber) = (room.publisher.remote, room.subscriber.remote);
    room.world.check_from(&mut room.sender, publisher, false);
    room.world.check_from(&mut room.receiver, subscriber, false);
    room.world.finish_handshake(room.publisher.session);
    room.world.finish_handshake(room.subscriber.session);
    assert_eq!(room.play(), 0);
    assert_eq!(room.world.egress_drops(0, DropReason::NoPath), 1, "media came in, none went out");
    assert_eq!(room.moves(room.subscriber.session), []);
    room.world.check_from(&mut room.receiver, subscriber, true);
    assert_eq!(room.play(), 1);
}

#[test]
fn a_roaming_peer_is_followed_by_its_nominations_and_by_nothing_else() {
    let mut room = Room::connected();
    assert_eq!(room.play(), 1);
    let home = room.subscriber.remote;
    let cafe = elsewhere(1);
    // A check without nomination, RTCP and media from there move nothing.
    room.world.check_from(&mut room.receiver, cafe, false);
    let rtcp = room.subscriber.rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
    room.world.arrive(0, cafe, &[rtcp]);
    assert_eq!((room.play(), room.subscriber.remote), (2, home));
    room.world.check_from(&mut room.receiver, cafe, true);
    room.subscriber.remote = cafe;
    assert_eq!(room.play(), 3);
    // The publisher moves too: packets of both paths are its.
    let other = elsewhere(2);
    room.world.check_from(&mut room.sender, other, true);
    let packets = [room.publisher.packet(100), room.publisher.packet(100)];
    room.world.arrive(0, room.publisher.remote, &packets[..1]);
    room.world.arrive(0, other, &packets[1..]);
    room.world.deliver(&mut [&mut room.subscriber]);
    assert_eq!(room.subscriber.got.len(), 5);
    let path = |remote| Path { local: LOCAL, remote };
    assert_eq!(room.moves(room.subscriber.session), [path(home), path(cafe)]);
    room.world.check();
}

#[test]
fn a_session_keeps_four_paths_and_never_loses_the_nominated_one() {
    let mut room = Room::connected();
    let home = room.publisher.remote;
    for n in 0..5 {
        room.world.pass(Duration::from_ms(20));
        room.world.take_sent();
        assert!(room.world.check_from(&mut room.sender, elsewhere(n), false).is_some());
    }
    let mut known = |from| {
        let unknown = room.drops(DropReason::NoSession);
        let packet = room.publisher.packet(100);
        room.world.arrive(0, from, &[packet]);
        room.drops(DropReason::NoSession) == unknown
    };
    assert!(known(home), "nominated, though silent longest");
    let paths = [0, 1, 2, 3, 4].map(|n| known(elsewhere(n)));
    assert_eq!(paths, [false, false, true, true, true], "the last three beside it");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let mut room = Room::connected();
    let remote = Endpoint { ip: [0x21; 16], port: 9 };
    let path = Path { local: LOCAL_6, remote };
    let check = room.receiver.check(true);
    room.world.arrive_over(0, path, &[check]);
    let (back, answer) = room.world.take_datagrams().pop().expect("answered");
    assert_eq!((back, room.receiver.answer(&answer)), (path, Some(Ok(remote))));
    let packet = room.publisher.packet(100);
    room.world.arrive(0, room.publisher.remote, &[packet]);
    let sent = room.world.take_datagrams();
    assert_eq!(sent.iter().map(|(path, _)| *path).collect::<Vec<_>>(), [path], "and so does media");
}

#[test]
fn two_generations_live_until_the_new_one_is_nominated() {
    let mut room = Room::connected();
    let (session, home) = (room.subscriber.session, room.subscriber.remote);
    room.world.command(0, &Command::RestartIce { session, ice: credentials(session, 2) });
    let mut renewed = IcePeer::new(session, 2);
    assert!(room.world.check_from(&mut room.receiver, home, true).is_some(), "the old one");
    let away = elsewhere(3);
    assert!(room.world.check_from(&mut renewed, away, false).is_some(), "the new one");
    assert_eq!(room.play(), 1, "media stays where it is");
    assert!(room.world.check_from(&mut room.receiver, home, true).is_some(), "the old one still");
    assert!(room.world.check_from(&mut renewed, away, true).is_some());
    let old = room.receiver.check(true);
    room.world.arrive(0, home, &[old]);
    assert_eq!(room.drops(DropReason::UnknownUfrag), 1, "the old one ended with the nomination");
    assert_eq!(room.world.take_sent(), []);
    room.subscriber.remote = away;
    assert_eq!(room.play(), 2);
    // A generation that lives already is refused, a third one is not.
    room.world.command(0, &Command::RestartIce { session, ice: credentials(session, 2) });
    room.world.command(0, &Command::RestartIce { session, ice: credentials(session, 3) });
    room.world.command(0, &Command::RestartIce { session, ice: credentials(session, 4) });
    assert_eq!(room.refusals(), [Refusal::Invalid]);
    let mut given_up = IcePeer::new(session, 3);
    let check = given_up.check(true);
    room.world.arrive(0, home, &[check]);
    assert_eq!(room.drops(DropReason::UnknownUfrag), 2, "the fourth took the third's place");
    let mut last = IcePeer::new(session, 4);
    assert!(room.world.check_from(&mut last, home, true).is_some());
    room.world.check();
}

#[test]
fn nothing_is_sent_to_a_peer_that_was_silent_for_30_s_until_it_speaks_again() {
    let mut room = Room::connected();
    let (home, publisher) = (room.subscriber.remote, room.publisher.remote);
    let wait = |room: &mut Room, seconds| {
        for _ in 0..seconds {
            room.world.pass(Duration::from_s(1));
            room.world.check_from_quietly(&mut room.sender, publisher);
        }
    };
    wait(&mut room, 28);
    assert_eq!(room.play(), 1);
    // An authentic packet is as good as a check.
    let rtcp = room.subscriber.rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
    room.world.arrive(0, home, &[rtcp]);
    wait(&mut room, 28);
    assert_eq!(room.play(), 2);
    wait(&mut room, 4);
    assert_eq!(room.play(), 2);
    assert_eq!(room.world.egress_drops(0, DropReason::NoPath), 1);
    assert_eq!(room.world.take_sent(), [], "no report either");
    let check = room.receiver.check(false);
    room.world.arrive(0, home, &[check]);
    room.world.take_sent();
    assert_eq!(room.play(), 3, "it is still the nominated path");
}

#[test]
fn a_crash_costs_no_new_check_and_no_new_handshake() {
    let mut room = Room::connected();
    assert_eq!((room.play(), room.play()), (1, 2));
    let cafe = elsewhere(1);
    room.world.check_from(&mut room.receiver, cafe, true);
    room.subscriber.remote = cafe;
    for _ in 0..100 {
        room.world.crash(0);
        let before = room.subscriber.got.len();
        assert_eq!(room.play(), before + 1);
    }
    assert!(room.world.check_from(&mut room.receiver, cafe, true).is_some(), "checks go on");
    let again = room.world.desired[&room.subscriber.session];
    let (session, profile) = (again.session, again.profile);
    let (rx_key, tx_key) = (again.rx_key, again.tx_key);
    room.world.command(0, &Command::InstallKeys { session, profile, rx_key, tx_key });
    let swapped = Command::InstallKeys { session, profile, rx_key: tx_key, tx_key: rx_key };
    room.world.command(0, &swapped);
    assert_eq!(room.refusals(), [Refusal::Taken], "nobody knows what was sealed before the crash");
    assert_eq!(room.subscriber.refused, 0);
    room.world.check();
}

#[test]
fn keys_of_a_second_handshake_replace_ones_that_were_never_used() {
    let mut room = room();
    let session = room.subscriber.session;
    let (rx_key, tx_key) = room.world.handshakes[&session];
    let profile = room.world.desired[&session].profile;
    let first = Command::InstallKeys { session, profile, rx_key: tx_key, tx_key: rx_key };
    room.world.command(0, &first);
    let (publisher, subscriber) = (room.publisher.remote, room.subscriber.remote);
    room.world.check_from(&mut room.sender, publisher, true);
    room.world.check_from(&mut room.receiver, subscriber, true);
    room.world.finish_handshake(session);
    room.world.finish_handshake(room.publisher.session);
    assert_eq!((room.refusals(), room.play(), room.subscriber.refused), (vec![], 1, 0));
}

#[test]
fn a_token_outlives_three_changes_of_its_key_and_a_known_path_outlives_more() {
    let mut room = Room::connected();
    let home = room.publisher.remote;
    let key = |n| Command::SetUfragKey { key: proto::ufrag::UfragKey([n; 16]) };
    for n in [1, 1, 2, 3] {
        room.world.command(0, &key(n));
        assert!(room.world.check_from(&mut room.sender, elsewhere(n.into()), true).is_some());
    }
    room.world.command(0, &key(4));
    let check = room.sender.check(true);
    room.world.arrive(0, elsewhere(9), &[check]);
    assert_eq!(room.drops(DropReason::UnknownUfrag), 1, "a stranger needs a token of today");
    assert_eq!(room.world.take_sent(), []);
    assert!(room.world.check_from(&mut room.sender, home, true).is_some());
}

#[test]
fn a_session_whose_handshake_never_ends_is_closed_though_its_peer_checks() {
    let mut room = room();
    let remote = room.publisher.remote;
    room.world.finish_handshake(room.subscriber.session);
    for _ in 0..6 {
        assert!(room.world.check_from(&mut room.sender, remote, true).is_some());
        room.world.check_from(&mut room.receiver, room.subscriber.remote, true);
        room.world.pass(Duration::from_s(9));
    }
    assert_eq!(room.world.shards[0].counters().sessions, 2);
    room.world.check_from_quietly(&mut room.receiver, room.subscriber.remote);
    room.world.pass(Duration::from_s(9));
    assert_eq!(room.world.shards[0].counters().sessions, 1, "the one without keys");
    assert!(room.world.check_from(&mut room.receiver, room.subscriber.remote, true).is_some());
}

#[test]
fn late_packets_of_a_closed_session_are_known_as_such_on_all_its_paths() {
    let mut room = Room::connected();
    room.world.check_from(&mut room.sender, elsewhere(1), false);
    let (session, reason) = (room.publisher.session, proto::CloseReason::Left);
    room.world.command(0, &Command::CloseSession { session, reason });
    for from in [room.publisher.remote, elsewhere(1)] {
        let (packet, hello) = (room.publisher.packet(100), HELLO.to_vec());
        room.world.arrive(0, from, &[packet, hello]);
        let check = room.sender.check(true);
        room.world.arrive(0, from, &[check]);
    }
    assert_eq!(room.drops(DropReason::Revoked), 4);
    assert_eq!(room.drops(DropReason::UnknownUfrag), 2);
    assert_eq!(room.world.take_sent(), []);
    // The same browser joins anew from the same port.
    let room_no = room.publisher.room;
    let (publisher, mut sender) = room.world.ice_publisher(room_no, AUDIO);
    let home = room.publisher.remote;
    assert!(room.world.check_from(&mut sender, home, true).is_some());
    room.world.finish_handshake(publisher.session);
    room.publisher = publisher;
    room.publisher.remote = home;
    assert_eq!(room.play(), 1);
    // The old session's memory of its addresses ends, and takes nothing of the new one with it.
    room.world.pass(Duration::from_s(29));
    room.world.check_from_quietly(&mut room.receiver, room.subscriber.remote);
    room.world.pass(Duration::from_s(3));
    room.world.take_sent();
    assert_eq!(room.play(), 2);
}

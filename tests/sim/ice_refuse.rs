//! What a shard refuses of checks and handshakes: silence, a reason, and nobody else notices.

use proto::ufrag::UfragKey;
use proto::{Command, DropReason, Endpoint, Refusal, SessionId};
use roomlane_core::Duration;
use roomlane_tests::ice::{IcePeer, UFRAG_KEY, credentials};
use roomlane_tests::rng::Rng;
use wire::stun::Role;

use crate::ice::{HELLO, Room, STRANGER, room};

/// Sends a datagram that must be dropped for one reason, without an answer.
#[track_caller]
fn refused(room: &mut Room, from: Endpoint, bytes: Vec<u8>, reason: DropReason) {
    let before = room.drops(reason);
    room.world.arrive(0, from, &[bytes]);
    assert_eq!(room.drops(reason), before + 1, "{reason:?}");
    assert_eq!(room.world.take_sent(), [], "{reason:?} was answered");
    room.world.check();
}

#[test]
fn a_check_without_every_proof_meets_silence() {
    let mut room = room();
    let session = room.publisher.session;
    let password = credentials(session, 1).password;
    let mut other_key = IcePeer::with(&UfragKey([1; 16]), session, 1, &password);
    refused(&mut room, STRANGER, other_key.check(true), DropReason::UnknownUfrag);
    let mut other_password = IcePeer::with(&UFRAG_KEY, session, 1, b"another password of ours");
    refused(&mut room, STRANGER, other_password.check(true), DropReason::AuthFailed);
    let mut other_generation = IcePeer::with(&UFRAG_KEY, session, 2, &password);
    refused(&mut room, STRANGER, other_generation.check(true), DropReason::UnknownUfrag);
    let nobody = SessionId::new(session.shard(), 200, 0);
    let mut nobody = IcePeer::with(&UFRAG_KEY, nobody, 1, &password);
    refused(&mut room, STRANGER, nobody.check(true), DropReason::UnknownUfrag);
    let good = room.sender.check(true);
    // FINGERPRINT is the last eight bytes, MESSAGE-INTEGRITY the 24 before.
    let mut cut = good[..good.len() - 8].to_vec();
    cut[3] -= 8;
    refused(&mut room, STRANGER, cut, DropReason::BadStun);
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x20;
        room.world.arrive(0, STRANGER, &[flipped]);
        assert_eq!(room.world.take_sent(), [], "byte {at} flipped");
    }
    let stranger = room.world.shards[0].counters().stun_answered;
    assert_eq!((stranger, room.moves(session).len()), (0, 0));
    room.world.arrive(0, STRANGER, &[good]);
    assert_eq!(room.world.take_sent().len(), 1, "and unharmed it is answered");
    room.world.check();
}

#[test]
fn only_binding_requests_are_answered() {
    let mut room = Room::connected();
    let from = room.publisher.remote;
    let kinds = [
        (0x0101, DropReason::BadStun), // Binding success
        (0x0111, DropReason::BadStun), // Binding error
        (0x0003, DropReason::BadStun), // Allocate request
        (0x0016, DropReason::BadStun), // Send indication
    ];
    for (kind, reason) in kinds {
        let mut message = room.sender.check(true);
        message[..2].copy_from_slice(&u16::to_be_bytes(kind));
        refused(&mut room, from, message, reason);
    }
    let mut keepalive = vec![0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    keepalive.extend([7; 12]);
    refused(&mut room, STRANGER, keepalive.clone(), DropReason::NoSession);
    let done = room.world.shards[0].counters().done;
    room.world.arrive(0, from, &[keepalive]);
    assert_eq!(room.world.shards[0].counters().done, done + 1, "a keepalive of a peer");
    assert_eq!(room.world.take_sent(), []);
}

#[test]
fn authentic_checks_that_ask_too_much_get_an_error_and_learn_nothing() {
    let mut room = room();
    let (session, from) = (room.publisher.session, room.publisher.remote);
    room.sender.role = Role::Controlled(3);
    assert_eq!(room.world.check_from(&mut room.sender, from, true), Some(Err(487)));
    room.sender.role = Role::Controlling(3);
    let asking = room.sender.check_asking(0x7ff0);
    room.world.arrive(0, from, &[asking]);
    let (_, error) = room.world.take_sent().pop().expect("answered");
    assert_eq!(room.sender.answer(&error), Some(Err(420)));
    refused(&mut room, from, HELLO.to_vec(), DropReason::NoSession);
    assert_eq!(room.moves(session), []);
}

#[test]
fn a_check_overheard_and_sent_again_from_elsewhere_adds_no_path() {
    let mut room = Room::connected();
    let overheard = room.sender.check(true);
    let from = room.publisher.remote;
    room.world.arrive(0, from, std::slice::from_ref(&overheard));
    room.world.arrive(0, from, std::slice::from_ref(&overheard));
    assert_eq!(room.world.take_sent().len(), 2, "a retransmission is answered again");
    refused(&mut room, STRANGER, overheard.clone(), DropReason::StunReplay);
    // However often: it is the stranger's budget that ends, and the peer is answered all the while.
    for _ in 0..1000 {
        room.world.arrive(0, STRANGER, std::slice::from_ref(&overheard));
    }
    assert!(room.drops(DropReason::SourceBudget) > 900);
    assert_eq!(room.world.take_sent(), []);
    assert!(room.world.check_from(&mut room.sender, from, true).is_some());
    refused(&mut room, STRANGER, HELLO.to_vec(), DropReason::NoSession);
    assert_eq!(room.moves(room.publisher.session).len(), 1);
}

#[test]
fn checks_beyond_the_rate_of_answers_are_dropped() {
    let mut room = Room::connected();
    let from = room.publisher.remote;
    let mut answered = 0;
    while room.world.check_from(&mut room.sender, from, true).is_some() {
        answered += 1;
        assert!(answered < 1000);
    }
    assert!(answered >= 60 && room.drops(DropReason::StunLimit) == 1, "{answered}");
    room.world.pass(Duration::from_s(1));
    room.world.take_sent();
    assert!(room.world.check_from(&mut room.sender, from, true).is_some());
}

#[test]
fn an_address_of_another_session_is_refused_until_that_was_silent() {
    let mut room = Room::connected();
    let taken = room.subscriber.remote;
    let check = room.sender.check(true);
    refused(&mut room, taken, check, DropReason::PathTaken);
    room.world.pass(Duration::from_s(31));
    room.world.take_sent();
    assert_eq!(room.world.check_from(&mut room.sender, taken, true), Some(Ok(taken)));
    assert_eq!(room.moves(room.publisher.session).len(), 2);
    assert_eq!(room.play(), 0, "and nothing goes there for the session that had it");
}

#[test]
fn handshake_datagrams_are_bounded_and_a_full_ring_is_counted() {
    let mut room = Room::connected();
    let from = room.publisher.remote;
    room.world.ios[0].punts_max = 2;
    room.world.arrive(0, from, &[HELLO.to_vec(), HELLO.to_vec()]);
    refused(&mut room, from, HELLO.to_vec(), DropReason::PuntFull);
    refused(&mut room, from, HELLO[..12].to_vec(), DropReason::Malformed);
    room.world.ios[0].punts_max = 1000;
    let hellos = vec![HELLO.to_vec(); 40];
    room.world.arrive(0, from, &hellos);
    assert_eq!(room.world.ios[0].punts.len(), 32, "so many at once");
    assert_eq!(room.drops(DropReason::PuntLimit), 10);
    room.world.pass(Duration::from_s(1));
    room.world.arrive(0, from, &hellos);
    assert_eq!(room.world.ios[0].punts.len(), 64);
    assert_eq!(room.play(), 1, "media does not wait for handshakes");
    room.world.check();
}

#[test]
fn a_wrong_password_from_a_validated_path_is_bounded_and_media_goes_on() {
    let mut room = Room::connected();
    let (from, session) = (room.publisher.remote, room.publisher.session);
    let mut forger = IcePeer::with(&UFRAG_KEY, session, 1, b"another password of ours");
    for _ in 0..100 {
        let check = forger.check(true);
        room.world.arrive(0, from, &[check]);
    }
    assert_eq!(room.drops(DropReason::AuthFailed), 64);
    assert_eq!(room.drops(DropReason::FailureBudget), 36);
    assert_eq!(room.play(), 1);
    room.world.pass(Duration::from_s(1));
    room.world.take_sent();
    assert!(room.world.check_from(&mut room.sender, from, true).is_some());
}

#[test]
fn a_guesser_spends_its_own_budget_and_not_the_peers() {
    let mut room = room();
    let session = room.publisher.session;
    let mut forger = IcePeer::with(&UFRAG_KEY, session, 1, b"another password of ours");
    for _ in 0..100 {
        let check = forger.check(true);
        room.world.arrive(0, STRANGER, &[check]);
    }
    assert_eq!(room.drops(DropReason::AuthFailed), 32);
    assert_eq!(room.drops(DropReason::SourceBudget), 68);
    let from = room.publisher.remote;
    assert!(room.world.check_from(&mut room.sender, from, true).is_some());
}

#[test]
fn keys_are_installed_once_and_never_for_a_session_without_ice() {
    let mut room = Room::connected();
    let open = room.world.desired[&room.publisher.session];
    let (session, profile) = (open.session, open.profile);
    let (rx_key, tx_key) = (open.rx_key, open.tx_key);
    assert_eq!(room.play(), 1);
    room.world.command(0, &Command::InstallKeys { session, profile, rx_key, tx_key });
    assert_eq!(room.refusals(), [], "the same again");
    assert_eq!(room.play(), 2, "and no window began anew");
    let swapped = Command::InstallKeys { session, profile, rx_key: tx_key, tx_key: rx_key };
    room.world.command(0, &swapped);
    assert_eq!(room.refusals(), [Refusal::Taken], "others, after these were used");
    assert_eq!(room.play(), 3);
    let room_no = room.publisher.room;
    let plain = room.world.publisher(0, room_no, 1, proto::MediaKind::Audio, 5);
    let command = Command::InstallKeys { session: plain.session, profile, rx_key, tx_key };
    room.world.command(0, &command);
    let restart = Command::RestartIce { session: plain.session, ice: credentials(session, 4) };
    room.world.command(0, &restart);
    assert_eq!(room.refusals(), [Refusal::Taken, Refusal::Invalid, Refusal::Invalid]);
}

/// Datagrams of one class as somebody without any secret can make them; `near` are members' own.
fn junk(rng: &mut Rng, class: usize, near: &Near) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rng.below(160)).map(|_| rng.below(256) as u8).collect();
    let put = |bytes: &mut Vec<u8>, head: &[u8]| {
        bytes.resize(bytes.len().max(head.len()), 0);
        bytes[..head.len()].copy_from_slice(head);
    };
    match class {
        // A member's check, with a bit of it flipped or cut short; or no more than a header.
        0 if rng.below(2) == 0 => {
            bytes = near.check.clone();
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        0 => {
            let len = bytes.len().saturating_sub(20) / 4 * 4;
            bytes.truncate(20 + len);
            put(&mut bytes, &[0, 1, 0, len as u8, 0x21, 0x12, 0xa4, 0x42]);
            bytes.resize(20 + len, 0);
        }
        // A whole record: from a member's address it goes up, as many as the budget has.
        1 if rng.below(2) == 0 => bytes = HELLO.to_vec(),
        1 => put(&mut bytes, &[20 + rng.below(44) as u8, 254, 253]),
        // A member's packet, with a bit of it flipped behind what makes it RTP.
        2 => {
            bytes = near.media.clone();
            let at = 2 + rng.below(bytes.len() - 2);
            bytes[at] ^= 1 << rng.below(8);
        }
        3 => put(&mut bytes, &[0x80, 200 + rng.below(7) as u8, 0, 1, 0, 0, 0, 1]),
        _ => put(&mut bytes, &[64 + rng.below(64) as u8]),
    }
    bytes
}

/// What somebody on the way may have overheard.
struct Near {
    check: Vec<u8>,
    media: Vec<u8>,
}

#[test]
fn a_hundred_thousand_junk_packets_of_each_class_are_not_answered_and_cost_no_member_a_packet() {
    const JUNK: usize = 100_000;
    let mut room = Room::connected();
    let mut rng = Rng::new(14);
    let members = [room.publisher.remote, room.subscriber.remote];
    let mut played = 0;
    let near = Near { check: room.sender.check(true), media: room.publisher.packet(100) };
    for class in 0..5 {
        for round in 0..JUNK / 25 {
            let burst: Vec<_> = (0..25).map(|_| junk(&mut rng, class, &near)).collect();
            // In turn from a stranger, and as if from a member.
            let from = match round % 3 {
                0 => Endpoint::v4([203, 0, 113, rng.below(256) as u8], 1000 + round as u16 % 5000),
                n => members[n - 1],
            };
            room.world.arrive(0, from, &burst);
            if round % 5 == 0 {
                played += 1;
                let packet = room.publisher.packet(100);
                room.world.arrive(0, members[0], &[packet]);
            }
            let others = room.world.deliver(&mut [&mut room.subscriber]);
            assert_eq!(others, [], "class {class} was answered");
        }
        assert_eq!((room.subscriber.got.len(), room.subscriber.refused), (played, 0), "{class}");
    }
    let counters = room.world.shards[0].counters();
    assert_eq!(counters.stun_answered, 2, "the two that opened the room");
    assert_eq!(counters.rx_packets - counters.forwarded, 5 * JUNK as u64 + 2);
    assert_eq!(counters.punted, 32 * 2, "for each member what its budget has");
    assert_eq!(
        [room.publisher.session, room.subscriber.session].map(|s| room.moves(s).len()),
        [1; 2]
    );
    let check = near.check;
    room.world.arrive(0, members[0], &[check]);
    assert_eq!(room.world.take_sent().len(), 1, "and the peer's own check is still answered");
    room.world.check();
}

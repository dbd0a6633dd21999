//! What is dropped, why, and that it changes nothing.

use proto::{
    CloseReason, Command, DropReason, Endpoint, Event, GrantWord, MediaKind, Privileges, Quota,
    Refusal, SdkAppId,
};
use roomlane_core::Duration;
use roomlane_tests::peer::{Publisher, Subscriber};
use roomlane_tests::world::World;
use srtp::Profile;

const VIDEO: MediaKind = MediaKind::Video;
const STRANGER: Endpoint = Endpoint::v4([203, 0, 113, 9], 4000);

fn pair() -> (World, Publisher, Subscriber) {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let publisher = world.publisher(0, room, 1, VIDEO, 1000);
    let subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    (world, publisher, subscriber)
}

#[test]
fn garbage_is_dropped_by_its_own_reason() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let good = publisher.packet(100);
    let mut other_ssrc = good.clone();
    other_ssrc[8] ^= 0xff;
    let cases: [(&[u8], Endpoint, DropReason); 9] = [
        (&[], publisher.remote, DropReason::UnknownClass),
        (&[70, 1, 2, 3], publisher.remote, DropReason::UnknownClass),
        (&good[..11], publisher.remote, DropReason::Malformed),
        (&[0x80, 200, 0, 0], publisher.remote, DropReason::Malformed),
        (&good[..20], publisher.remote, DropReason::Malformed),
        (&[0, 1, 0, 0], publisher.remote, DropReason::NotServed),
        (&[22, 254, 253, 0], publisher.remote, DropReason::NotServed),
        (&other_ssrc, publisher.remote, DropReason::UnknownSsrc),
        (&other_ssrc, STRANGER, DropReason::NoSession),
    ];
    for (bytes, from, reason) in cases {
        let before = world.drops(0, reason);
        world.arrive(0, from, &[bytes.to_vec()]);
        assert_eq!(world.drops(0, reason), before + 1, "{reason:?} for {bytes:02x?}");
    }
    world.deliver(&mut [&mut subscriber]);
    assert!(subscriber.got.is_empty());
    world.arrive(0, publisher.remote, &[good]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
    world.check();
}

#[test]
fn every_flipped_bit_fails_authentication_and_nothing_is_lost_by_it() {
    let (mut world, mut publisher, mut subscriber) = pair();
    for at in 0..60 {
        let good = publisher.packet(40);
        let mut forged = good.clone();
        // The sequence number is protected as part of the index; a flip there is a forged index.
        forged[12 + at % (good.len() - 12)] ^= 1 << (at % 8);
        world.arrive(0, publisher.remote, &[forged, good]);
    }
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 60);
    let refused = world.drops(0, DropReason::AuthFailed) + world.drops(0, DropReason::Malformed);
    assert_eq!(refused, 60);
    world.check();
}

#[test]
fn replayed_packets_are_dropped_even_within_one_burst() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet.clone(), packet.clone()]);
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!((subscriber.got.len(), world.drops(0, DropReason::Replay)), (1, 2));
    let old = publisher.packet_at(10, 100, None);
    publisher.next += 2000;
    let ahead = publisher.packet(100);
    world.arrive(0, publisher.remote, &[ahead]);
    world.arrive(0, publisher.remote, &[old]);
    assert_eq!(world.drops(0, DropReason::TooOld), 1);
    world.check();
}

#[test]
fn forged_sequence_numbers_do_not_move_the_rollover_counter() {
    let (mut world, mut publisher, mut subscriber) = pair();
    for step in 0..500u16 {
        let good = publisher.packet(50);
        let mut forged = good.clone();
        let ahead = (publisher.next as u16).wrapping_add(1 + step.wrapping_mul(65));
        forged[2..4].copy_from_slice(&ahead.to_be_bytes());
        world.arrive(0, publisher.remote, &[forged, good]);
    }
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 500);
    assert!(world.drops(0, DropReason::FailureBudget) > 0, "the budget was never reached");
    world.check();
}

#[test]
fn the_next_packet_of_a_kicked_session_is_dropped_as_revoked() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet]);
    let kick = Command::CloseSession { session: publisher.session, reason: CloseReason::Kicked };
    world.command(0, &kick);
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, std::slice::from_ref(&packet));
    world.arrive(0, STRANGER, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!((subscriber.got.len(), world.drops(0, DropReason::Revoked)), (1, 2));
    assert!(world.events.iter().any(|event| matches!(
        event,
        Event::Closed { session, reason: CloseReason::Kicked, .. } if *session == publisher.session
    )));
    world.check();
}

#[test]
fn a_new_epoch_revokes_a_room_at_the_next_packet_and_a_new_grant_readmits() {
    let (mut world, mut publisher, mut subscriber) = pair();
    world.command(0, &Command::BumpEpoch { room: publisher.room, epoch: 2 });
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet]);
    assert_eq!(world.drops(0, DropReason::Revoked), 1);
    let deadline = world.now.mono.seconds() as u32 + 60;
    let grant = GrantWord::new(deadline, 2, Privileges::ALL);
    world.command(0, &Command::SetGrant { session: publisher.session, grant });
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet]);
    // The subscriber's grant is still of the old epoch.
    assert_eq!(world.egress_drops(0, DropReason::Revoked), 1);
    world.command(0, &Command::SetGrant { session: subscriber.session, grant });
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
    world.check();
}

#[test]
fn an_expired_grant_stops_media_at_once_and_the_session_30_s_later() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let grant = world.grant(5, 255);
    world.command(0, &Command::SetGrant { session: publisher.session, grant });
    for _ in 0..10 {
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
        world.pass(Duration::from_s(1));
    }
    world.deliver(&mut [&mut subscriber]);
    assert_eq!((subscriber.got.len(), world.drops(0, DropReason::GrantExpired)), (5, 5));
    world.pass(Duration::from_s(31));
    let closed = Event::Closed {
        session: publisher.session,
        reason: CloseReason::GrantExpired,
        rx_packets: 5,
        tx_packets: 0,
    };
    assert!(world.events.contains(&closed), "{:?}", world.events);
    world.check();
}

#[test]
fn each_missing_right_is_refused_in_its_direction() {
    for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Substream] {
        let mut world = World::new(1, Profile::AeadAes128Gcm);
        let room = world.open_room(1);
        let mut publisher = world.publisher(0, room, 1, kind, 0);
        let mut subscriber = world.subscriber(0, room, 1, &[kind]);
        let deaf = world.grant(60, !kind.receive_bit());
        let mute = world.grant(60, !kind.send_bit());
        world.command(0, &Command::SetGrant { session: subscriber.session, grant: deaf });
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
        assert_eq!(world.egress_drops(0, DropReason::NoRight), 1);
        world.command(0, &Command::SetGrant { session: publisher.session, grant: mute });
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
        assert_eq!(world.drops(0, DropReason::NoRight), 1);
        world.deliver(&mut [&mut subscriber]);
        assert!(subscriber.got.is_empty());
        world.check();
    }
}

#[test]
fn a_right_that_comes_back_after_a_long_refusal_lets_media_through_again() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let all = |world: &World| world.grant(600, 255);
    let video = MediaKind::Video;
    for (session, missing) in
        [(publisher.session, video.send_bit()), (subscriber.session, video.receive_bit())]
    {
        let grant = all(&world);
        world.command(0, &Command::SetGrant { session, grant });
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
        let grant = world.grant(600, !missing);
        world.command(0, &Command::SetGrant { session, grant });
        // More than once around: both ends keep the rollover counter by what they get to see.
        for _ in 0..2200 {
            let packets: Vec<_> = (0..32).map(|_| publisher.packet(20)).collect();
            world.arrive(0, publisher.remote, &packets);
            world.deliver(&mut [&mut subscriber]);
        }
        let before = subscriber.got.len();
        let grant = all(&world);
        world.command(0, &Command::SetGrant { session, grant });
        // A picture's first packet is among so many; before it nothing can be shown.
        let packets: Vec<_> = (0..6).map(|_| publisher.packet(100)).collect();
        world.arrive(0, publisher.remote, &packets);
        world.deliver(&mut [&mut subscriber]);
        assert!(subscriber.got.len() > before && subscriber.refused == 0, "{missing}");
    }
    assert_eq!(world.drops(0, DropReason::NoRight), 2200 * 32);
    assert_eq!(world.egress_drops(0, DropReason::NoRight), 2200 * 32);
    world.check();
}

#[test]
fn an_unknown_source_is_learned_by_authentication_alone() {
    let (mut world, mut publisher, mut subscriber) = pair();
    let elsewhere = Endpoint::v4([198, 18, 1, 7], 5555);
    // Forged packets from strangers spend their own budget and move nothing.
    for _ in 0..100 {
        let mut forged = publisher.packet_at(publisher.next, 50, None);
        forged[20] ^= 1;
        world.arrive(0, STRANGER, &[forged]);
    }
    assert!(world.drops(0, DropReason::SourceBudget) >= 60);
    assert!(world.drops(0, DropReason::AuthFailed) <= 40);
    let packet = publisher.packet(50);
    world.arrive(0, elsewhere, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
    // The path is `elsewhere` now: a live path does not move for a second source.
    let packet = publisher.packet(50);
    world.arrive(0, publisher.remote, &[packet]);
    let plis = world.take_sent();
    assert!(plis.iter().all(|(to, _)| *to != publisher.remote), "the path moved while it was live");
    world.pass(Duration::from_ms(2100));
    let packet = publisher.packet(50);
    world.arrive(0, publisher.remote, &[packet]);
    let moved = |event: &Event| match event {
        Event::PathMoved { session, path } => {
            (*session, path.remote) == (publisher.session, publisher.remote)
        }
        _ => false,
    };
    assert!(world.events.iter().any(moved));
    world.check();
}

#[test]
fn two_sessions_with_one_ssrc_leave_a_stranger_unknown() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut first = world.publisher(0, room, 1, VIDEO, 0);
    let member = proto::MemberNo(world.number());
    let mut open = world.session(0, room, 1, member);
    let mut spec = world.stream(VIDEO);
    spec.ssrc = first.spec.ssrc;
    open.publications.push(spec);
    world.open(open);
    let packet = first.packet(50);
    world.arrive(0, STRANGER, &[packet]);
    assert_eq!(world.drops(0, DropReason::NoSession), 1);
    let packet = first.packet(50);
    world.arrive(0, first.remote, &[packet]);
    assert_eq!(world.shards[0].counters().done, 1);
    world.check();
}

#[test]
fn an_app_over_its_quota_costs_another_app_nothing() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let (noisy, calm) = (world.open_room(1), world.open_room(2));
    let quota = Quota { packets_per_s: 100, ..Quota::default() };
    world.command(0, &Command::SetApp { app: SdkAppId(1), quota });
    let mut loud = world.publisher(0, noisy, 1, VIDEO, 0);
    let mut quiet = world.publisher(0, calm, 2, VIDEO, 0);
    let mut subscriber = world.subscriber(0, calm, 2, &[VIDEO]);
    for _ in 0..100 {
        let burst: Vec<_> = (0..10).map(|_| loud.packet(100)).collect();
        world.arrive(0, loud.remote, &burst);
        let packet = quiet.packet(100);
        world.arrive(0, quiet.remote, &[packet]);
        world.pass(Duration::from_ms(10));
    }
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 100);
    let refused = world.drops(0, DropReason::AppPackets);
    assert!((800..=900).contains(&refused), "{refused} of 1000 at 10 times the quota");
    world.check();
}

#[test]
fn a_byte_quota_counts_bytes() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let quota = Quota { bytes_per_s: 1_000_000, ..Quota::default() };
    world.command(0, &Command::SetApp { app: SdkAppId(1), quota });
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let burst: Vec<_> = (0..300).map(|_| publisher.packet(1000)).collect();
    world.arrive(0, publisher.remote, &burst);
    let passed = world.shards[0].counters().done;
    assert!((90..=140).contains(&passed), "{passed} kilobyte packets at once");
    assert_eq!(world.drops(0, DropReason::AppBytes), 300 - passed);
}

#[test]
fn authentic_packets_with_broken_content_are_dropped() {
    let (mut world, mut publisher, _) = pair();
    let broken = wire::rtp::ExtensionBlock { profile: 0xbede, data: &[0x1f, 0, 0, 0] };
    let packet = publisher.packet_at(publisher.next, 50, Some(broken));
    world.arrive(0, publisher.remote, &[packet]);
    assert_eq!(world.drops(0, DropReason::BadPacket), 1);
    publisher.next += 1;
    publisher.spec.payload_type = 97;
    let packet = publisher.packet(50);
    world.arrive(0, publisher.remote, &[packet]);
    assert_eq!(world.drops(0, DropReason::PayloadType), 1);
    world.check();
}

#[test]
fn refused_commands_say_why_and_change_nothing() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let (room, foreign) = (world.open_room(1), world.open_room(2));
    let member = proto::MemberNo(5);
    let good = world.session(0, room, 1, member);
    let mut wrong_app = good;
    wrong_app.room = foreign;
    let mut wrong_key = good;
    wrong_key.rx_key.bytes = proto::List::from_slice(&[1; 27]).unwrap();
    let mut unknown_room = good;
    unknown_room.room = proto::RoomNo(999_999);
    let mut no_place = good;
    no_place.session = proto::SessionId::new(proto::ShardId(0), 0xff_ffff, 0);
    let cases = [
        (wrong_app, Refusal::Foreign),
        (wrong_key, Refusal::Invalid),
        (unknown_room, Refusal::Unknown),
        (no_place, Refusal::Full),
    ];
    for (open, expected) in cases {
        world.events.clear();
        world.command(0, &Command::OpenSession(open));
        let why = world.events.iter().find_map(|event| match event {
            Event::Refused { why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(why, Some(expected));
        assert_eq!(world.shards[0].sessions(), 0);
    }
    world.open(good);
    let mut twin = world.session(0, room, 1, member);
    twin.remote = good.remote;
    world.events.clear();
    world.open(twin);
    assert!(matches!(world.events[0], Event::Refused { why: Refusal::Taken, .. }));
    world.command(
        0,
        &Command::SetApp { app: SdkAppId(1), quota: Quota { sessions: 1, ..Quota::default() } },
    );
    let third = world.session(0, room, 1, member);
    world.events.clear();
    world.open(third);
    assert!(matches!(world.events[0], Event::Refused { why: Refusal::Quota, .. }));
    world.command(0, &Command::Drain { draining: true });
    let late = world.session(0, room, 1, member);
    world.events.clear();
    world.open(late);
    assert!(matches!(world.events[0], Event::Refused { why: Refusal::Draining, .. }));
    assert_eq!(world.shards[0].sessions(), 1);
}

#[test]
fn a_silent_session_times_out_and_its_room_ends_after_the_linger() {
    let (mut world, publisher, _subscriber) = pair();
    world.pass(Duration::from_s(92));
    let closed =
        |event: &&Event| matches!(event, Event::Closed { reason: CloseReason::TimedOut, .. });
    assert_eq!(world.events.iter().filter(closed).count(), 2);
    world.pass(Duration::from_s(12));
    assert!(world.events.contains(&Event::RoomEmpty { room: publisher.room }));
    assert_eq!(world.shards[0].counters().rooms, 0);
    world.take_sent();
    world.check();
}

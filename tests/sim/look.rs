//! What a shard tells of a session when it is asked.

use proto::{Command, Event, Look, MediaKind, SessionId, ShardId, SlotState};
use roomlane_core::Duration;
use roomlane_tests::world::World;
use srtp::Profile;

const VIDEO: MediaKind = MediaKind::Video;

fn look(world: &mut World, session: SessionId) -> Vec<Look> {
    let told = world.events.len();
    world.command(0, &Command::Look { session });
    let of_session = |event: &Event| match *event {
        Event::Looked { session: of, look } => {
            assert_eq!(of, session);
            Some(look)
        }
        _ => None,
    };
    world.events[told..].iter().filter_map(of_session).collect()
}

#[test]
fn a_look_tells_transport_streams_and_slots_and_changes_nothing() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 7);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO, MediaKind::Audio]);
    for number in 0..10 {
        let packet = publisher.packet(200);
        // The fifth does not arrive.
        if number != 4 {
            world.arrive(0, publisher.remote, &[packet]);
        }
    }
    world.deliver(&mut [&mut subscriber]);
    let before = *world.shards[0].counters();
    let of_publisher = look(&mut world, publisher.session);
    let [Look::Transport(transport), stream, Look::Done] = of_publisher[..] else {
        panic!("{of_publisher:?}")
    };
    assert!(transport.has_keys && transport.has_path && !transport.has_ice);
    assert_eq!((transport.rx_packets, transport.heard_ns), (9, world.now.mono.0));
    let publication = publisher.spec.publication;
    let Look::Stream(stream) = stream else { panic!("{stream:?}") };
    assert_eq!((stream.publication, stream.received, stream.lost), (publication, 9, 1));
    assert_eq!((stream.ssrc, stream.kind), (publisher.spec.ssrc, VIDEO));
    assert!(stream.is_forwarded && !stream.is_repair && stream.layer.is_none());
    let of_subscriber = look(&mut world, subscriber.session);
    let [Look::Transport(_), video, audio, Look::Done] = of_subscriber[..] else {
        panic!("{of_subscriber:?}")
    };
    let on = SlotState::On { member: publisher.member, publication };
    let (Look::Slot(video), Look::Slot(audio)) = (video, audio) else {
        panic!("{of_subscriber:?}")
    };
    assert_eq!((video.place, video.state, video.sent), (0, on, 9));
    assert_eq!((video.codec, video.layer), (Some(publisher.spec.codec), None));
    assert_eq!(u64::from(video.octets), 9 * 200);
    assert_eq!((audio.place, audio.state, audio.sent), (1, SlotState::Off, 0));
    assert_eq!(audio.codec, None);
    let mut after = *world.shards[0].counters();
    after.commands = before.commands;
    assert_eq!(after, before);
    world.check();
}

#[test]
fn of_a_session_that_is_not_there_or_was_closed_a_look_tells_nothing_and_is_no_refusal() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let publisher = world.publisher(0, room, 1, VIDEO, 7);
    let reason = proto::CloseReason::Left;
    world.command(0, &Command::CloseSession { session: publisher.session, reason });
    world.now.mono = world.now.mono + Duration::from_ms(1);
    let absent = [publisher.session, SessionId::new(ShardId(0), 9, 9), SessionId(u64::MAX >> 16)];
    for session in absent {
        assert_eq!(look(&mut world, session), [Look::Done]);
    }
    assert_eq!(world.shards[0].counters().commands_refused, 0);
}

//! What a subscriber sees of a stream.

use proto::{DropReason, Event, MediaKind, SlotState};
use roomlane_core::Duration;
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtp::ExtensionBlock;

const VIDEO: MediaKind = MediaKind::Video;

#[test]
fn every_profile_reaches_every_subscriber_and_not_the_publisher() {
    for profile in Profile::ALL {
        let mut world = World::new(1, profile);
        let room = world.open_room(1);
        let mut publisher = world.publisher(0, room, 1, VIDEO, 65_530);
        let mut subscribers: Vec<_> =
            (0..50).map(|_| world.subscriber(0, room, 1, &[VIDEO])).collect();
        for _ in 0..20 {
            let packet = publisher.packet(1100);
            world.arrive(0, publisher.remote, &[packet]);
        }
        let mut targets: Vec<_> = subscribers.iter_mut().collect();
        let others = world.deliver(&mut targets);
        assert!(others.iter().all(|(to, packet)| {
            *to == publisher.remote && publisher.open_rtcp(packet).is_some()
        }));
        for subscriber in &subscribers {
            assert_eq!((subscriber.got.len(), subscriber.refused), (20, 0), "{profile:?}");
            let first = subscriber.got[0].egress;
            for (at, got) in subscriber.got.iter().enumerate() {
                assert_eq!(got.mark.index, 65_530 + at as u64);
                assert_eq!(got.egress, first + at as u64);
                assert_eq!(got.ssrc, subscriber.slots[0].ssrc);
                assert_eq!(got.csrcs, [publisher.spec.publication.0]);
                assert_eq!(got.payload_type, 111);
                let expected = (got.mark.index as u32)
                    .wrapping_mul(960)
                    .wrapping_add(subscriber.slots[0].timestamp_offset);
                assert_eq!(got.timestamp, expected);
            }
        }
        assert_eq!(world.shards[0].counters().forwarded, 20);
        assert_eq!(world.shards[0].counters().tx_packets, 1000);
        world.check();
    }
}

#[test]
fn one_to_one_allocates_no_buffer() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, MediaKind::Audio, 0);
    let mut subscriber = world.subscriber(0, room, 1, &[MediaKind::Audio]);
    let packet = publisher.packet(160);
    // A pool with one buffer: the received one must serve.
    world.ios[0].pool = port::slab::SlabPool::new(1);
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
    world.check();
}

#[test]
fn nothing_crosses_rooms_or_apps() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let rooms = [(world.open_room(1), 1), (world.open_room(1), 1), (world.open_room(2), 2)];
    let mut publishers: Vec<_> =
        rooms.iter().map(|(room, app)| world.publisher(0, *room, *app, VIDEO, 7)).collect();
    let mut subscribers: Vec<_> =
        rooms.iter().map(|(room, app)| world.subscriber(0, *room, *app, &[VIDEO; 4])).collect();
    for publisher in &mut publishers {
        let packets: Vec<_> = (0..10).map(|_| publisher.packet(200)).collect();
        world.arrive(0, publisher.remote, &packets);
    }
    world.deliver(&mut subscribers.iter_mut().collect::<Vec<_>>());
    for subscriber in &subscribers {
        assert_eq!(subscriber.got.len(), 10);
        assert!(subscriber.got.iter().all(|got| got.mark.room == subscriber.room.0));
    }
    world.check();
}

#[test]
fn end_to_end_extensions_are_mapped_and_hop_by_hop_ones_end() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let publisher = world.publisher(0, room, 1, VIDEO, 0);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    // Audio level (1), transport-cc (3), orientation (4), an id nobody negotiated (5).
    let data = [0x10, 0x7f, 0x31, 0xaa, 0xbb, 0x40, 0x01, 0x50, 0x02, 0, 0, 0];
    let block = ExtensionBlock { profile: 0xbede, data: &data };
    let packet = publisher.packet_at(0, 300, Some(block));
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got[0].extension, Some((0xbede, vec![0x90, 0x7f, 0, 0])));
}

#[test]
fn slots_fill_in_join_order_and_a_freed_one_goes_to_whoever_waits() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO, VIDEO]);
    let mut publishers: Vec<_> = (0..3).map(|_| world.publisher(0, room, 1, VIDEO, 9)).collect();
    let shown = |world: &World| -> Vec<_> {
        let told = world.events.iter().filter_map(|event| match event {
            Event::Slot { slot, state: SlotState::On { member, .. }, .. } => Some((*slot, *member)),
            _ => None,
        });
        told.collect()
    };
    let members: Vec<_> = publishers.iter().map(|publisher| publisher.member).collect();
    assert_eq!(shown(&world), [(0, members[0]), (1, members[1])]);
    let close = proto::Command::CloseSession {
        session: publishers[0].session,
        reason: proto::CloseReason::Left,
    };
    world.command(0, &close);
    assert_eq!(shown(&world)[2..], [(0, members[2])]);
    for publisher in &mut publishers[1..] {
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
    }
    world.deliver(&mut [&mut subscriber]);
    let ssrcs: Vec<_> = subscriber.got.iter().map(|got| got.ssrc).collect();
    assert_eq!(ssrcs, [subscriber.slots[1].ssrc, subscriber.slots[0].ssrc]);
    world.check();
}

#[test]
fn a_switch_continues_the_egress_numbers_and_drops_what_is_older() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut first = world.publisher(0, room, 1, VIDEO, 500);
    let mut second = world.publisher(0, room, 1, VIDEO, 40_000);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    let packets: Vec<_> = (0..5).map(|_| first.packet(100)).collect();
    world.arrive(0, first.remote, &packets);
    let close =
        proto::Command::CloseSession { session: first.session, reason: proto::CloseReason::Left };
    world.command(0, &close);
    let late = second.packet(100);
    let newer = second.packet(100);
    world.arrive(0, second.remote, &[newer]);
    world.arrive(0, second.remote, &[late]);
    world.deliver(&mut [&mut subscriber]);
    let base = subscriber.got[0].egress;
    let egress: Vec<_> = subscriber.got.iter().map(|got| got.egress - base).collect();
    assert_eq!(egress, [0, 1, 2, 3, 4, 5]);
    assert_eq!(world.egress_drops(0, DropReason::LateAfterSwitch), 1);
    world.check();
}

#[test]
fn three_shards_serve_the_subscribers_that_one_serves() {
    let served = |shards: usize| {
        let mut world = World::new(shards, Profile::AeadAes128Gcm);
        let room = world.open_room(1);
        let mut subscribers: Vec<_> =
            (0..9).map(|at| world.subscriber(at % shards, room, 1, &[VIDEO])).collect();
        let mut publisher = world.publisher(0, room, 1, VIDEO, 65_500);
        for _ in 0..100 {
            let packet = publisher.packet(800);
            world.arrive(0, publisher.remote, &[packet]);
        }
        world.pass(Duration::from_ms(50));
        world.deliver(&mut subscribers.iter_mut().collect::<Vec<_>>());
        world.check();
        let got = |subscriber: &roomlane_tests::peer::Subscriber| -> Vec<u64> {
            subscriber.got.iter().map(|got| got.mark.index).collect()
        };
        subscribers.iter().map(got).collect::<Vec<_>>()
    };
    let one = served(1);
    assert!(one.iter().all(|got| got.len() == 100));
    assert_eq!(one, served(3));
}

#[test]
fn a_stream_nobody_receives_is_done_and_not_dropped() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let packets: Vec<_> = (0..40).map(|_| publisher.packet(100)).collect();
    world.arrive(0, publisher.remote, &packets);
    let counters = world.shards[0].counters();
    assert_eq!((counters.done, counters.dropped(), counters.forwarded), (40, 0, 0));
    world.check();
}

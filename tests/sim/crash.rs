//! A shard dies at any moment; its ledger does not.

use proto::MediaKind;
use roomlane_core::Duration;
use roomlane_tests::rng::Rng;
use roomlane_tests::world::World;
use srtp::Profile;

const VIDEO: MediaKind = MediaKind::Video;

#[test]
fn sessions_resume_after_a_thousand_kills_without_a_repeated_nonce() {
    let mut rng = Rng::new(11);
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 60_000);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    let mut sent = 0;
    for _ in 0..1000 {
        for _ in 0..1 + rng.below(8) {
            let packet = publisher.packet(60);
            world.arrive(0, publisher.remote, &[packet]);
            sent += 1;
        }
        world.pass(Duration::from_ms(rng.below(1500) as u64));
        world.deliver(&mut [&mut subscriber]);
        world.crash(0);
    }
    // A restart refuses what the ledger may have seen; nothing newer is lost, and the subscriber's own
    // guess of the ROC holds across every jump.
    assert_eq!(subscriber.refused, 0);
    assert!(subscriber.got.len() as u64 * 10 > sent * 9, "{} of {sent}", subscriber.got.len());
    assert!(subscriber.got.windows(2).all(|pair| pair[0].egress < pair[1].egress));
    assert!(subscriber.got.windows(2).all(|pair| pair[0].mark.index < pair[1].mark.index));
    world.check();
}

#[test]
fn a_packet_from_before_the_kill_is_not_accepted_again() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    let first = publisher.packet(60);
    world.arrive(0, publisher.remote, std::slice::from_ref(&first));
    world.crash(0);
    world.arrive(0, publisher.remote, &[first]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
    assert!(world.drops(0, proto::DropReason::Replay) == 1);
}

#[test]
fn the_timestamps_of_a_stream_go_on_across_a_kill() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    for _ in 0..2 {
        let packet = publisher.packet(60);
        world.arrive(0, publisher.remote, &[packet]);
        world.deliver(&mut [&mut subscriber]);
        world.crash(0);
    }
    let step = subscriber.got[1].timestamp.wrapping_sub(subscriber.got[0].timestamp);
    assert_eq!(step, 960);
}

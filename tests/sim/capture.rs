//! A capture tells headers of one room or session, both ways, and not one byte of a payload.

use proto::capture::Head;
use proto::{CaptureOrder, Captured, Command, Event, MediaKind, RoomNo, SessionId};
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtp::Rtp;

const AUDIO: MediaKind = MediaKind::Audio;

fn captured(world: &World, from: usize) -> Vec<Captured> {
    let told = world.events[from..].iter().filter_map(|event| match event {
        Event::Captured(record) => Some(*record),
        _ => None,
    });
    told.collect()
}

fn heads(world: &World, from: usize) -> Vec<Head> {
    let told = captured(world, from).into_iter().filter_map(|record| match record {
        Captured::Packet(head) => Some(head),
        Captured::Over { .. } => None,
    });
    told.collect()
}

fn order(capture: u32, room: RoomNo, session: Option<SessionId>, count: u32) -> Command {
    Command::Capture(CaptureOrder { capture, room, session, count, until_ns: u64::MAX })
}

#[test]
fn headers_of_one_room_are_told_both_ways_and_never_a_payload() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let (room, other) = (world.open_room(1), world.open_room(1));
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let mut elsewhere = world.publisher(0, other, 1, AUDIO, 7);
    let subscribers = [(); 2].map(|()| world.subscriber(0, room, 1, &[AUDIO]));
    let before = world.events.len();
    world.command(0, &order(5, room, None, 4));
    let (first, second) = (publisher.packet(100), publisher.packet(100));
    world.arrive(0, elsewhere.remote, &[elsewhere.packet(100)]);
    world.arrive(0, publisher.remote, std::slice::from_ref(&first));
    let told = heads(&world, before);
    let from_publisher: Vec<_> = told.iter().filter(|head| !head.is_sent).collect();
    let [head] = from_publisher[..] else { panic!("{told:?}") };
    assert_eq!((head.session, head.path.remote), (publisher.session, publisher.remote));
    assert_eq!((usize::from(head.len), &head.bytes[..]), (first.len(), &first[..16]), "one CSRC");
    let sent: Vec<_> = told.iter().filter(|head| head.is_sent).collect();
    assert_eq!(sent.len(), 2, "a copy for each subscriber: {told:?}");
    for subscriber in &subscribers {
        let copy = sent.iter().find(|head| head.session == subscriber.session).expect("its copy");
        assert_eq!(copy.path.remote, subscriber.remote);
        assert!(usize::from(copy.len) > copy.bytes.len());
        let rtp = [&copy.bytes[..], &[0; 64]].concat();
        let rtp = Rtp::new_sealed(&rtp).expect("a header of RTP");
        assert_ne!(rtp.ssrc(), publisher.spec.ssrc, "the slot's own");
        assert_eq!(copy.bytes.len(), 12 + 4, "with the publication's number as its CSRC");
    }
    assert!(head.unix_ns > 0);
    // The fourth record ends it, in the middle of a packet's copies.
    world.arrive(0, publisher.remote, &[second]);
    assert_eq!(heads(&world, before).len(), 4);
    assert_eq!(captured(&world, before).last(), Some(&Captured::Over { capture: 5, skipped: 0 }));
    let third = publisher.packet(100);
    world.arrive(0, publisher.remote, &[third]);
    assert_eq!(heads(&world, before).len(), 4);
    world.check();
}

#[test]
fn of_one_session_only_its_own_packets_are_told_and_captures_do_not_disturb_each_other() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let subscriber = world.subscriber(0, room, 1, &[AUDIO]);
    let _other = world.subscriber(0, room, 1, &[AUDIO]);
    let before = world.events.len();
    world.command(0, &order(1, room, Some(subscriber.session), 100));
    world.command(0, &order(2, room, Some(publisher.session), 100));
    world.arrive(0, publisher.remote, &[publisher.packet(100), publisher.packet(100)]);
    let of = |world: &World, capture: u32| -> Vec<Head> {
        heads(world, before).into_iter().filter(|head| head.capture == capture).collect()
    };
    assert_eq!((of(&world, 1).len(), of(&world, 2).len()), (2, 2));
    assert!(of(&world, 1).iter().all(|head| head.session == subscriber.session && head.is_sent));
    assert!(of(&world, 2).iter().all(|head| head.session == publisher.session && !head.is_sent));
    world.command(0, &order(1, room, None, 0));
    world.arrive(0, publisher.remote, &[publisher.packet(100)]);
    assert_eq!((of(&world, 1).len(), of(&world, 2).len()), (2, 3), "the other goes on");
    // Number zero means all.
    world.command(0, &order(0, room, None, 0));
    world.arrive(0, publisher.remote, &[publisher.packet(100)]);
    assert_eq!(of(&world, 2).len(), 3);
    // Four at a time; what is over gives its place back.
    for number in 2..6 {
        world.command(0, &order(number, room, None, 1000));
    }
    let refused = world.shards[0].counters().commands_refused;
    world.command(0, &order(6, room, None, 1000));
    assert_eq!(world.shards[0].counters().commands_refused, refused + 1);
    world.command(0, &order(7, room, None, 10_001));
    assert_eq!(world.shards[0].counters().commands_refused, refused + 2);
    world.check();
}

#[test]
fn a_capture_ends_at_its_time() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let before = world.events.len();
    let until_ns = world.now.mono.0;
    let late = CaptureOrder { capture: 1, room, session: None, count: 9, until_ns };
    world.command(0, &Command::Capture(late));
    world.arrive(0, publisher.remote, &[publisher.packet(100)]);
    world.arrive(0, publisher.remote, &[publisher.packet(100)]);
    let over = captured(&world, before).contains(&Captured::Over { capture: 1, skipped: 0 });
    assert!(over, "{:?}", captured(&world, before));
    assert!(heads(&world, before).len() <= 1);
    world.check();
}

#[test]
fn what_finds_no_place_among_the_events_is_counted_and_pushes_no_other_event_out() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let _subscribers: Vec<_> = (0..30).map(|_| world.subscriber(0, room, 1, &[AUDIO])).collect();
    let before = world.events.len();
    for capture in 1..=4 {
        world.command(0, &order(capture, room, None, 10_000));
    }
    // Thirty-two packets and their copies four times over are more than half of the queue.
    let burst: Vec<_> = (0..32).map(|_| publisher.packet(100)).collect();
    world.arrive(0, publisher.remote, &burst);
    let told = heads(&world, before).len() as u32;
    for capture in 1..=4 {
        world.command(0, &order(capture, room, None, 0));
    }
    world.arrive(0, publisher.remote, &[publisher.packet(100)]);
    let skipped = captured(&world, before).into_iter().filter_map(|record| match record {
        Captured::Over { skipped, .. } => Some(skipped),
        Captured::Packet(_) => None,
    });
    let skipped: u32 = skipped.sum();
    assert!(skipped > 0);
    assert_eq!(told + skipped, 4 * 32 * 31, "a packet and thirty copies, each in four captures");
    assert_eq!(world.shards[0].counters().events_lost, 0);
    world.check();
}

//! A trace tells the packets of one room with what became of them and of each copy, and nothing else.

use proto::counters::STAGES;
use proto::{Command, DropReason, Ended, Event, MediaKind, Privileges, TraceOrder, Traced};
use roomlane_tests::world::World;
use srtp::Profile;

const AUDIO: MediaKind = MediaKind::Audio;

fn traced(world: &World, from: usize) -> Vec<Traced> {
    let told = world.events[from..].iter().filter_map(|event| match event {
        Event::Traced(record) => Some(*record),
        _ => None,
    });
    told.collect()
}

fn stage(name: &str) -> u8 {
    STAGES.iter().position(|stage| *stage == name).expect("a stage") as u8
}

#[test]
fn the_next_packets_of_a_room_are_told_with_where_they_ended_and_each_copy() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let (room, other) = (world.open_room(1), world.open_room(1));
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let mut elsewhere = world.publisher(0, other, 1, AUDIO, 7);
    let subscriber = world.subscriber(0, room, 1, &[AUDIO]);
    let deaf = world.subscriber(0, room, 1, &[AUDIO]);
    let grant = world.grant(3600, !Privileges::RECEIVE_AUDIO);
    world.command(0, &Command::SetGrant { session: deaf.session, grant });
    let before = world.events.len();
    world.command(0, &Command::Trace(TraceOrder { room, count: 3, drops_only: false }));
    let mut forged = publisher.packet(100);
    forged[60] ^= 1;
    let good = publisher.packet(100);
    world.arrive(0, elsewhere.remote, &[elsewhere.packet(100)]);
    world.arrive(0, publisher.remote, &[forged, good.clone(), good.clone()]);
    let late = publisher.packet(100);
    world.arrive(0, publisher.remote, &[late]);
    let told = traced(&world, before);
    let packets: Vec<_> = told
        .iter()
        .filter_map(|record| match *record {
            Traced::Packet { number, session, class, rtp, stage, ended, len } => {
                assert_eq!((session, class, rtp.2), (publisher.session, 2, publisher.spec.ssrc));
                assert_eq!(usize::from(len), good.len());
                Some((number, stage, ended))
            }
            _ => None,
        })
        .collect();
    let dropped = |reason: DropReason| Ended::Dropped(reason as u8);
    assert_eq!(packets.len(), 3, "the fourth is not told: {told:?}");
    let ends: Vec<_> = packets.iter().map(|(_, stage, ended)| (*stage, *ended)).collect();
    assert_eq!(ends[0], (stage("open"), dropped(DropReason::AuthFailed)));
    assert_eq!(ends[1], (stage("seal"), Ended::Forwarded));
    assert_eq!(ends[2], (stage("open"), dropped(DropReason::Replay)));
    let copies: Vec<_> = told
        .iter()
        .filter_map(|record| match *record {
            Traced::Copy { number, to, dropped } => {
                assert_eq!(number, packets[1].0, "of the good one");
                Some((to, dropped))
            }
            _ => None,
        })
        .collect();
    assert_eq!(copies.len(), 2);
    assert!(copies.contains(&(subscriber.session, None)));
    assert!(copies.contains(&(deaf.session, Some(DropReason::NoRight as u8))));
    assert_eq!(told.last(), Some(&Traced::Over { skipped: 0 }));
    world.check();
}

#[test]
fn of_drops_only_what_flows_is_not_told_and_a_count_of_zero_ends_it() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, AUDIO, 7);
    let _subscriber = world.subscriber(0, room, 1, &[AUDIO]);
    let before = world.events.len();
    world.command(0, &Command::Trace(TraceOrder { room, count: 1000, drops_only: true }));
    let packets: Vec<_> = (0..20).map(|_| publisher.packet(100)).collect();
    world.arrive(0, publisher.remote, &packets);
    assert_eq!(traced(&world, before), []);
    world.arrive(0, publisher.remote, &packets[..1]);
    let told = traced(&world, before);
    let replay = Ended::Dropped(DropReason::Replay as u8);
    assert!(
        matches!(told[..], [Traced::Packet { ended, stage: at, .. }]
            if ended == replay && at == stage("admit")),
        "{told:?}"
    );
    world.command(0, &Command::Trace(TraceOrder { room, count: 0, drops_only: true }));
    world.arrive(0, publisher.remote, &packets[..1]);
    assert_eq!(traced(&world, before).len(), 1);
    let refused = world.shards[0].counters().commands_refused;
    world.command(0, &Command::Trace(TraceOrder { room, count: 1001, drops_only: true }));
    assert_eq!(world.shards[0].counters().commands_refused, refused + 1);
    world.check();
}

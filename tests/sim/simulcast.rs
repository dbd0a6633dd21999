//! Where a subscriber's picture starts, and which of a simulcast's layers it gets.

use proto::{CloseReason, Command, DropReason, Event, MediaKind, PublicationSpec, SlotState};
use roomlane_core::Duration;
use roomlane_tests::bundle::{Bundle, Picture, Source, bundled};
use roomlane_tests::peer::Subscriber;
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtcp::{Compound, Packet, Rules};

const VIDEO: MediaKind = MediaKind::Video;
/// Between two pictures.
const FRAME: Duration = Duration::from_ms(40);

struct Scene {
    world: World,
    bundle: Bundle,
    spec: PublicationSpec,
    viewers: Vec<Subscriber>,
    /// SSRCs that the publisher was asked for keyframes of.
    asked: Vec<u32>,
}

impl Scene {
    /// A publisher of layers on shard 0, and a viewer on each shard.
    fn new(shards: usize, rids: &[&str]) -> Scene {
        let mut world = World::new(shards, Profile::AeadAes128Gcm);
        let room = world.open_room(1);
        let spec = bundled(world.stream(VIDEO), "v", rids, true);
        let bundle = world.bundle(0, room, 1, &[spec]);
        let viewers = (0..shards).map(|shard| world.viewer(shard, room, 1, &[spec])).collect();
        Scene { world, bundle, spec, viewers, asked: vec![] }
    }

    /// One picture of a layer, of `bytes`.
    fn send(&mut self, source: &mut Source, picture: Picture, bytes: usize) {
        let packet = self.bundle.packet(source, picture, bytes);
        self.world.arrive(0, self.bundle.remote, &[packet]);
    }

    /// Lets a picture's time pass and delivers what was sent.
    fn pass(&mut self, span: Duration) {
        self.world.pass(span);
        let others = self.world.deliver(&mut self.viewers.iter_mut().collect::<Vec<_>>());
        for (_, packet) in others {
            let bytes = self.bundle.open_rtcp(&packet).expect("for the publisher");
            let compound = Compound::new_checked(&bytes, Rules::ReducedSize).unwrap();
            for packet in compound.packets() {
                if let Packet::Pli(pli) = packet {
                    self.asked.push(pli.media_ssrc());
                }
            }
        }
        self.world.check();
    }

    /// `pictures` of each layer side by side; a layer sends a keyframe when it is asked for one.
    fn flow(&mut self, layers: &mut [(&mut Source, usize)], pictures: usize) {
        for _ in 0..pictures {
            for (source, bytes) in layers.iter_mut() {
                let asked = self.asked.iter().position(|ssrc| *ssrc == source.ssrc);
                let picture = match asked {
                    Some(at) => {
                        self.asked.remove(at);
                        Picture::Key
                    }
                    None => Picture::Delta,
                };
                self.send(source, picture, *bytes);
            }
            self.pass(FRAME);
        }
    }

    fn got(&self, viewer: usize) -> Vec<u64> {
        self.viewers[viewer].got.iter().map(|got| got.mark.index).collect()
    }
}

#[test]
fn a_late_viewer_starts_at_the_next_keyframe_and_asks_for_it_again() {
    let mut scene = Scene::new(1, &[]);
    let mut source = Source::new(scene.spec, 0, 100);
    scene.send(&mut source, Picture::Key, 100);
    for _ in 0..5 {
        scene.send(&mut source, Picture::Delta, 100);
    }
    let late = scene.world.viewer(0, scene.bundle.room, 1, &[scene.spec]);
    scene.viewers.push(late);
    for _ in 0..30 {
        scene.send(&mut source, Picture::Delta, 100);
        scene.pass(FRAME);
    }
    // Asked when it came, and every half second of the 1.2 s that it waits.
    assert!((2..=4).contains(&scene.asked.len()), "{:?}", scene.asked);
    assert_eq!(scene.world.egress_drops(0, DropReason::AwaitingKeyframe), 30);
    scene.send(&mut source, Picture::Key, 100);
    scene.send(&mut source, Picture::Delta, 100);
    scene.pass(FRAME);
    assert_eq!(scene.got(0), (100..138).collect::<Vec<_>>());
    assert_eq!(scene.got(1), [136, 137]);
}

#[test]
fn who_has_waited_two_seconds_gets_any_picture() {
    let mut scene = Scene::new(2, &[]);
    let mut source = Source::new(scene.spec, 0, 0);
    for _ in 0..60 {
        scene.send(&mut source, Picture::Delta, 100);
        scene.pass(FRAME);
    }
    for viewer in 0..2 {
        let got = scene.got(viewer);
        assert_eq!((got[0], got.len()), (50, 10), "on shard {viewer}");
        let waited = scene.world.egress_drops(viewer, DropReason::AwaitingKeyframe);
        assert_eq!(waited, 50);
    }
}

#[test]
fn where_nobody_can_tell_a_picture_starts_at_its_first_packet() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    // Marker on every third index, a timestamp for all three.
    let spec = bundled(world.stream(VIDEO), "v", &[], false);
    let spec = PublicationSpec { codec: proto::CodecId(1), ..spec };
    let bundle = world.bundle(0, room, 1, &[spec]);
    let source = Source::new(spec, 0, 0);
    let names: Vec<(u8, &[u8])> = vec![(10, b"v")];
    let packet = |index: u64| {
        let mut payload = bundle.room.0.to_be_bytes().to_vec();
        payload.extend(spec.publication.0.to_be_bytes());
        payload.extend(index.to_be_bytes());
        bundle.seal(&source, (source.ssrc, index), 96, index / 3, &names, &payload)
    };
    world.arrive(0, bundle.remote, &[packet(0), packet(1)]);
    let mut viewer = world.viewer(0, room, 1, &[spec]);
    // 2 is the rest of a picture; marks are set on every packet here, so take away what 1 said.
    world.arrive(0, bundle.remote, &[packet(4), packet(5), packet(6)]);
    world.deliver(&mut [&mut viewer]);
    let got: Vec<_> = viewer.got.iter().map(|got| got.mark.index).collect();
    assert_eq!(got, [5, 6], "4 stands behind a gap");
}

#[test]
fn sound_does_not_wait() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, MediaKind::Audio, 0);
    let packet = publisher.packet(50);
    world.arrive(0, publisher.remote, &[packet]);
    let mut subscriber = world.subscriber(0, room, 1, &[MediaKind::Audio]);
    publisher.next += 1;
    let packet = publisher.packet(50);
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    assert_eq!(subscriber.got.len(), 1);
}

/// Timestamps and egress numbers of a viewer go on without a repeat or a step back.
fn assert_unbroken(viewer: &Subscriber) {
    for pair in viewer.got.windows(2) {
        assert_eq!(pair[1].egress, pair[0].egress + 1, "{pair:?}");
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        assert!((1..90_000).contains(&step), "{pair:?}");
    }
    assert_eq!(viewer.refused, 0);
}

#[test]
fn the_highest_stable_layer_is_forwarded_and_a_silent_one_is_left() {
    let mut scene = Scene::new(2, &["l", "m", "h"]);
    let mut low = Source::new(scene.spec, 0, 10_000);
    let mut high = Source::new(scene.spec, 2, 30_000);
    (low.is_named, high.is_named) = (true, true);
    scene.send(&mut low, Picture::Key, 200);
    scene.flow(&mut [(&mut low, 200)], 25);
    // The high layer comes, and is taken at a keyframe once it has been stable for a second.
    let before = high.next;
    scene.flow(&mut [(&mut low, 200), (&mut high, 900)], 50);
    for viewer in 0..2 {
        let got = scene.got(viewer);
        let at = got.iter().position(|index| *index >= 30_000).expect("switched up");
        assert!(got[..at].iter().all(|index| *index < 20_000));
        assert!(got[at..].iter().all(|index| *index >= 30_000), "one layer at a time");
        let waited = got[at] - before;
        assert!((25..=35).contains(&waited), "switched after {waited} pictures");
        assert_eq!(got[at - 1] - 10_000, 26 + waited, "until the keyframe the old one goes on");
    }
    // It falls silent: half a second later the low one goes on, from a keyframe of its own.
    let low_before = low.next;
    scene.flow(&mut [(&mut low, 200)], 40);
    for viewer in 0..2 {
        let got = scene.got(viewer);
        let back = got.iter().position(|index| *index >= low_before && *index < 20_000);
        let waited = got[back.expect("switched down")] - low_before;
        assert!((13..=16).contains(&waited), "switched after {waited} pictures");
    }
    // And up again, not before another second.
    let high_before = high.next;
    scene.flow(&mut [(&mut low, 200), (&mut high, 900)], 50);
    for viewer in 0..2 {
        let got = scene.got(viewer);
        let up = got.iter().position(|index| *index >= high_before).expect("switched up");
        assert!(got[up] - high_before >= 25);
        assert_unbroken(&scene.viewers[viewer]);
    }
}

#[test]
fn layers_alike_do_not_take_turns() {
    let mut scene = Scene::new(1, &["a", "b"]);
    let mut first = Source::new(scene.spec, 0, 10_000);
    let mut second = Source::new(scene.spec, 1, 30_000);
    scene.send(&mut first, Picture::Key, 500);
    scene.flow(&mut [(&mut first, 500), (&mut second, 560)], 100);
    assert!(scene.got(0).iter().all(|index| *index < 20_000));
    assert_eq!(scene.got(0).len(), 101);
}

#[test]
fn a_repair_of_a_layer_that_is_not_forwarded_is_not_forwarded_either() {
    let mut scene = Scene::new(1, &["a", "b"]);
    let mut first = Source::new(scene.spec, 0, 10_000);
    let mut second = Source::new(scene.spec, 1, 30_000);
    scene.send(&mut first, Picture::Key, 500);
    scene.send(&mut second, Picture::Key, 500);
    second.next += 1;
    scene.send(&mut second, Picture::Key, 500);
    let mended = scene.bundle.repair(&mut second, 30_001, Picture::Key, 500);
    scene.world.arrive(0, scene.bundle.remote, &[mended]);
    scene.pass(FRAME);
    assert_eq!(scene.got(0), [10_000]);
    assert_eq!(scene.world.shards[0].counters().rtx_rx, 1);
}

#[test]
fn a_new_ssrc_of_the_same_stream_replaces_the_old_one() {
    let mut scene = Scene::new(2, &[]);
    let mut old = Source::new(scene.spec, 0, 10_000);
    scene.send(&mut old, Picture::Key, 500);
    scene.flow(&mut [(&mut old, 500)], 10);
    let mut new = Source::new(scene.spec, 0, 30_000);
    new.ssrc += 1;
    scene.send(&mut new, Picture::Key, 100);
    scene.flow(&mut [(&mut new, 100), (&mut old, 500)], 10);
    for viewer in 0..2 {
        let got = scene.got(viewer);
        assert_eq!(got[11..], (30_000..30_011).collect::<Vec<_>>());
        assert_unbroken(&scene.viewers[viewer]);
    }
}

#[test]
fn a_stream_that_no_slot_can_decode_is_told_once_and_taken_back() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let fits = bundled(world.stream(VIDEO), "v", &[], false);
    let viewer = world.viewer(0, room, 1, &[fits; 3]);
    let strange = PublicationSpec { codec: proto::CodecId(99), ..world.stream(VIDEO) };
    let stranger = world.bundle(0, room, 1, &[strange]);
    let friend = world.bundle(0, room, 1, &[fits]);
    let leave = |world: &mut World, session| {
        world.command(0, &Command::CloseSession { session, reason: CloseReason::Left });
    };
    leave(&mut world, stranger.session);
    leave(&mut world, friend.session);
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Slot { session, slot, state } if *session == viewer.session => {
                Some((*slot, *state))
            }
            _ => None,
        })
        .collect();
    let on = SlotState::On { member: friend.member, publication: fits.publication };
    let expected =
        [(0, SlotState::CodecMismatch { member: stranger.member }), (0, on), (0, SlotState::Off)];
    assert_eq!(told, expected);
    // The other way round: the mismatch is told while the friend is there, and ends with the stranger.
    world.events.clear();
    let friend = world.bundle(0, room, 1, &[fits]);
    let stranger = world.bundle(0, room, 1, &[strange]);
    leave(&mut world, stranger.session);
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Slot { slot, state, .. } => Some((*slot, *state)),
            _ => None,
        })
        .collect();
    let on = SlotState::On { member: friend.member, publication: fits.publication };
    let mismatch = SlotState::CodecMismatch { member: stranger.member };
    assert_eq!(told, [(0, on), (1, mismatch), (1, SlotState::Off)]);
}

#[test]
fn a_viewer_of_many_shows_each_stream_once_and_a_restricted_slot_one_publisher() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let specs: Vec<_> = (0..4).map(|_| bundled(world.stream(VIDEO), "v", &[], false)).collect();
    let bundles: Vec<_> = specs.iter().map(|spec| world.bundle(0, room, 1, &[*spec])).collect();
    let member = proto::MemberNo(world.number());
    let mut open = world.session(0, room, 1, member);
    for publisher in [None, Some(bundles[3].member), None] {
        let mut slot = world.slot(VIDEO);
        slot.codecs[0].codec = specs[0].codec;
        slot.publisher = publisher;
        open.slots.push(slot);
    }
    world.open(open);
    let shown = |world: &World| {
        let mut shown = [None; 3];
        for event in &world.events {
            if let Event::Slot { slot, state, .. } = event {
                shown[usize::from(*slot)] = match state {
                    SlotState::On { publication, .. } => {
                        specs.iter().position(|spec| spec.publication == *publication)
                    }
                    _ => None,
                };
            }
        }
        shown
    };
    assert_eq!(shown(&world), [Some(0), Some(3), Some(1)]);
    let leave = |world: &mut World, at: usize| {
        let session = bundles[at].session;
        world.command(0, &Command::CloseSession { session, reason: CloseReason::Left });
    };
    leave(&mut world, 0);
    assert_eq!(shown(&world), [Some(2), Some(3), Some(1)]);
    leave(&mut world, 3);
    assert_eq!(shown(&world), [Some(2), None, Some(1)]);
    leave(&mut world, 1);
    assert_eq!(shown(&world), [Some(2), None, None]);
}

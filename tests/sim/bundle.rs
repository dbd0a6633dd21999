//! Streams of one transport: who is who among SSRCs that nobody declared, and what retransmissions mend.

use proptest::prelude::*;
use proto::command::OpenSession;
use proto::{DropReason, Event, List, MediaKind, PublicationSpec, SlotState};
use roomlane_core::Duration;
use roomlane_tests::bundle::{Bundle, Picture, Source, bundled};
use roomlane_tests::peer::Subscriber;
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtcp::{Compound, Packet, Rules};

const AUDIO: MediaKind = MediaKind::Audio;
const VIDEO: MediaKind = MediaKind::Video;

/// Sound without and a picture with repair, and somebody who receives both.
fn call(profile: Profile) -> (World, Bundle, [Source; 2], Subscriber) {
    let mut world = World::new(1, profile);
    let room = world.open_room(1);
    let mut sound = bundled(world.stream(AUDIO), "0", &[], false);
    sound.payload_type = 111;
    let picture = bundled(world.stream(VIDEO), "1", &[], true);
    let bundle = world.bundle(0, room, 1, &[sound, picture]);
    let viewer = world.viewer(0, room, 1, &[sound, picture]);
    (world, bundle, [Source::new(sound, 0, 500), Source::new(picture, 0, 9000)], viewer)
}

fn indices(viewer: &Subscriber, spec: &PublicationSpec) -> Vec<u64> {
    let of_it = viewer.got.iter().filter(|got| got.mark.publication == spec.publication.0);
    of_it.map(|got| got.mark.index).collect()
}

#[test]
fn an_ssrc_is_bound_by_what_its_first_authentic_packet_names() {
    let (mut world, bundle, [mut sound, mut picture], mut viewer) = call(Profile::AeadAes128Gcm);
    for _ in 0..3 {
        let packets = [
            bundle.packet(&mut sound, Picture::Unknown, 80),
            bundle.packet(&mut picture, Picture::Key, 900),
        ];
        world.arrive(0, bundle.remote, &packets);
        // From the second packet on, the SSRC alone tells.
        (sound.is_named, picture.is_named) = (false, false);
    }
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &sound.spec), [500, 501, 502]);
    assert_eq!(indices(&viewer, &picture.spec), [9000, 9001, 9002]);
    assert_eq!(world.shards[0].counters().dropped(), 0);
    world.check();
}

#[test]
fn without_a_mid_a_payload_type_tells_if_one_stream_alone_has_it() {
    let (mut world, bundle, [mut sound, _], mut viewer) = call(Profile::AeadAes128Gcm);
    sound.is_named = false;
    let packet = bundle.packet(&mut sound, Picture::Unknown, 80);
    world.arrive(0, bundle.remote, &[packet]);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &sound.spec), [500]);

    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let specs = ["a", "b"].map(|mid| bundled(world.stream(VIDEO), mid, &[], true));
    let bundle = world.bundle(0, room, 1, &specs);
    let mut source = Source::new(specs[1], 0, 0);
    source.is_named = false;
    let packet = bundle.packet(&mut source, Picture::Key, 80);
    world.arrive(0, bundle.remote, &[packet]);
    assert_eq!(world.drops(0, DropReason::UnknownSsrc), 1);
}

#[test]
fn what_names_nothing_negotiated_is_no_stream() {
    let (mut world, bundle, [_, picture], _) = call(Profile::AeadAes128Gcm);
    type Names<'a> = &'a [(u8, &'a [u8])];
    let cases: [(Names<'_>, u8); 4] =
        [(&[(10, b"nobody")], 96), (&[(10, b"1")], 50), (&[(10, b"0")], 96), (&[], 50)];
    for (at, (names, payload_type)) in cases.iter().enumerate() {
        let packet = bundle.seal(
            &picture,
            (7, at as u64),
            *payload_type,
            0,
            names,
            &[Picture::Key as u8; 40],
        );
        world.arrive(0, bundle.remote, &[packet]);
        assert_eq!(world.drops(0, DropReason::UnknownSsrc), at as u64 + 1, "{names:?}");
    }
    world.check();
}

#[test]
fn a_whole_burst_of_a_new_ssrc_passes_and_a_copy_within_it_does_not() {
    let (mut world, bundle, [mut sound, _], mut viewer) = call(Profile::AesCm128HmacSha1_80);
    let mut burst: Vec<_> =
        (0..8).map(|_| bundle.packet(&mut sound, Picture::Unknown, 80)).collect();
    burst.insert(3, burst[2].clone());
    world.arrive(0, bundle.remote, &burst);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &sound.spec), (500..508).collect::<Vec<_>>());
    assert_eq!(world.drops(0, DropReason::Replay), 1);
    world.check();
}

#[test]
fn forged_packets_bind_nothing_and_a_session_has_sixteen_ssrcs_at_most() {
    let (mut world, bundle, [mut sound, _], mut viewer) = call(Profile::AeadAes128Gcm);
    for ssrc in 0..40 {
        let mut forged = bundle.packet_at(&sound, 7, Picture::Unknown, 60);
        forged[8..12].copy_from_slice(&(ssrc as u32).to_be_bytes());
        world.arrive(0, bundle.remote, &[forged]);
    }
    assert_eq!(world.drops(0, DropReason::AuthFailed), 40);
    let names: [(u8, &[u8]); 1] = [(10, b"0")];
    for ssrc in 0..20u32 {
        let packet = bundle.seal(&sound, (1000 + ssrc, 1), 111, 0, &names, &[0; 40]);
        world.arrive(0, bundle.remote, &[packet]);
    }
    assert_eq!(world.drops(0, DropReason::UnknownSsrc), 4);
    sound.ssrc = 1015;
    let packet = bundle.packet(&mut sound, Picture::Unknown, 60);
    world.arrive(0, bundle.remote, &[packet]);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &sound.spec).last(), Some(&500), "the newest is heard");
    world.check();
}

#[test]
fn one_sessions_many_ssrcs_take_no_place_that_was_promised_to_another() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let spec = |world: &mut World| bundled(world.stream(VIDEO), "v", &["h", "m", "l"], true);
    // 256 sessions have 1024 places on average; each of these is promised six.
    let specs: Vec<_> = (0..170).map(|_| spec(&mut world)).collect();
    let bundles: Vec<_> = specs.iter().map(|spec| world.bundle(0, room, 1, &[*spec])).collect();
    let full = |event: &Event| matches!(event, Event::Refused { why: proto::Refusal::Full, .. });
    assert!(!world.events.iter().any(full));
    let last = spec(&mut world);
    world.bundle(0, room, 1, &[last]);
    assert!(world.events.iter().any(full), "no session is opened without its places");
    let greedy = Source::new(specs[0], 0, 0);
    let names: [(u8, &[u8]); 2] = [(10, b"v"), (11, b"h")];
    for ssrc in 0..20u32 {
        let packet = bundles[0].seal(&greedy, (ssrc, 1), 96, 0, &names, &[0; 40]);
        world.arrive(0, bundles[0].remote, &[packet]);
    }
    // Four places were promised to nobody.
    assert_eq!(world.drops(0, DropReason::UnknownSsrc), 10);
    for layer in 0..3 {
        let mut source = Source::new(specs[169], layer, 0);
        let media = bundles[169].packet(&mut source, Picture::Key, 60);
        let repair = bundles[169].repair(&mut source, 0, Picture::Key, 60);
        world.arrive(0, bundles[169].remote, &[media, repair]);
    }
    assert_eq!(world.drops(0, DropReason::UnknownSsrc), 10);
    world.check();
}

#[test]
fn a_retransmission_takes_its_originals_place_and_a_second_copy_is_not_sent() {
    let (mut world, bundle, [_, mut picture], mut viewer) = call(Profile::AeadAes128Gcm);
    let all: Vec<_> = (0..6).map(|_| bundle.packet(&mut picture, Picture::Key, 200)).collect();
    world.arrive(0, bundle.remote, &[all[0].clone(), all[1].clone(), all[3].clone()]);
    let lost = bundle.repair(&mut picture, 9002, Picture::Key, 200);
    let again = bundle.repair(&mut picture, 9002, Picture::Key, 200);
    let needless = bundle.repair(&mut picture, 9003, Picture::Key, 200);
    let ahead = bundle.repair(&mut picture, 9004, Picture::Key, 200);
    world.arrive(0, bundle.remote, &[lost, again, needless, ahead]);
    world.arrive(0, bundle.remote, &all[2..]);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &picture.spec), [9000, 9001, 9003, 9002, 9004, 9005]);
    let (first, base) = (&viewer.got[0], 9000);
    for got in &viewer.got {
        assert_eq!(got.egress - first.egress, got.mark.index - base);
        let step = (got.mark.index - base) as u32 * 3000;
        assert_eq!(got.timestamp.wrapping_sub(first.timestamp), step);
        assert_eq!(got.payload_len, 200);
    }
    assert_eq!(world.shards[0].counters().rtx_rx, 2);
    assert_eq!(world.drops(0, DropReason::Replay), 3, "originals behind their repair");
    world.check();
}

#[test]
fn probes_end_quietly_and_wrong_payload_types_do_not() {
    let (mut world, bundle, [_, mut picture], mut viewer) = call(Profile::AeadAes128Gcm);
    let early = bundle.repair(&mut picture, 8999, Picture::Key, 50);
    world.arrive(0, bundle.remote, &[early]);
    let packet = bundle.packet(&mut picture, Picture::Key, 50);
    world.arrive(0, bundle.remote, &[packet]);
    let probe = bundle.repair_stream(&mut picture, 9000, &[]);
    world.arrive(0, bundle.remote, &[probe]);
    assert_eq!(world.shards[0].counters().done, 2);
    let half = bundle.repair_stream(&mut picture, 9000, &[1]);
    world.arrive(0, bundle.remote, &[half]);
    assert_eq!(world.drops(0, DropReason::BadPacket), 1);
    for (ssrc, payload_type) in [(picture.rtx_ssrc, 96), (picture.ssrc, 97)] {
        let packet = bundle.seal(&picture, (ssrc, 9100), payload_type, 0, &[], &[0; 40]);
        world.arrive(0, bundle.remote, &[packet]);
    }
    assert_eq!(world.drops(0, DropReason::PayloadType), 2);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &picture.spec), [9000]);
    world.check();
}

#[test]
fn declared_ssrcs_need_no_name() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut spec = bundled(world.stream(VIDEO), "1", &[], true);
    spec.ssrc = 77;
    spec.rtx.as_mut().unwrap().ssrc = 78;
    let other = bundled(world.stream(VIDEO), "2", &[], true);
    let bundle = world.bundle(0, room, 1, &[spec, other]);
    let mut viewer = world.viewer(0, room, 1, &[spec]);
    let mut source = Source::new(spec, 0, 65_534);
    source.is_named = false;
    let first = bundle.packet(&mut source, Picture::Key, 60);
    source.next += 1;
    let third = bundle.packet(&mut source, Picture::Key, 60);
    let second = bundle.repair(&mut source, 65_535, Picture::Key, 60);
    world.arrive(0, bundle.remote, &[first]);
    world.arrive(0, bundle.remote, &[third, second]);
    world.deliver(&mut [&mut viewer]);
    assert_eq!(indices(&viewer, &spec), [65_534, 65_536, 65_535]);
    world.check();
}

#[test]
fn an_ssrc_that_packets_cannot_tell_is_refused() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut spec = world.stream(VIDEO);
    spec.ssrc = 0;
    world.bundle(0, room, 1, &[spec]);
    assert_eq!(world.shards[0].sessions(), 0);
}

#[test]
fn a_restarted_shard_knows_the_ssrcs_that_were_learned() {
    let (mut world, bundle, [mut sound, mut picture], mut viewer) = call(Profile::AeadAes128Gcm);
    picture.next = 65_530;
    let mut old = vec![];
    for round in 0..20 {
        let packets = [
            bundle.packet(&mut sound, Picture::Unknown, 80),
            bundle.packet(&mut picture, Picture::Delta, 300),
        ];
        world.arrive(0, bundle.remote, &packets);
        old.extend(packets);
        let lost = picture.next;
        picture.next += 1;
        let next = bundle.packet(&mut picture, Picture::Key, 300);
        let mended = bundle.repair(&mut picture, lost, Picture::Key, 300);
        world.arrive(0, bundle.remote, &[next.clone(), mended]);
        old.extend([next, bundle.packet_at(&picture, lost, Picture::Key, 300)]);
        (sound.is_named, picture.is_named) = (false, false);
        world.crash(0);
        // Whatever was there before is refused, original or retransmitted.
        let before = world.shards[0].counters().forwarded;
        world.arrive(0, bundle.remote, &old);
        let again = bundle.repair(&mut picture, lost, Picture::Key, 300);
        world.arrive(0, bundle.remote, &[again]);
        assert_eq!(world.shards[0].counters().forwarded, before, "round {round}");
        world.deliver(&mut [&mut viewer]);
    }
    assert_eq!(viewer.refused, 0);
    assert_eq!(indices(&viewer, &sound.spec).len(), 20);
    let mut pictures = indices(&viewer, &picture.spec);
    pictures.sort_unstable();
    let expected: Vec<u64> = (65_530..65_530 + 60).collect();
    // The very first picture was predicted: nobody starts with it, nor with what is older than the next.
    assert_eq!(pictures, expected[2..]);
    world.check();
}

#[test]
fn every_packet_of_a_slot_names_its_section() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let spec = bundled(world.stream(AUDIO), "0", &[], false);
    let bundle = world.bundle(0, room, 1, &[spec]);
    let member = proto::MemberNo(world.number());
    let mut open: OpenSession = world.session(0, room, 1, member);
    let mut slot = world.slot(AUDIO);
    slot.mid = List::from_slice(b"sound").unwrap();
    slot.extensions.push(proto::ExtensionId { extension: proto::Extension::Mid, id: 5 });
    open.slots.push(slot);
    world.open(open);
    let mut viewer = world.receiver(&open);
    let mut source = Source::new(spec, 0, 0);
    let names: Vec<(u8, &[u8])> = vec![(10, b"0")];
    let plain = bundle.packet(&mut source, Picture::Unknown, 60);
    let payload = [0; 40];
    let levelled: Vec<(u8, &[u8])> = names.into_iter().chain([(1, &[0x7f][..])]).collect();
    let with_level = bundle.seal(&source, (source.ssrc, 1), 96, 1, &levelled, &payload);
    world.arrive(0, bundle.remote, &[plain, with_level]);
    world.deliver(&mut [&mut viewer]);
    let blocks: Vec<_> = viewer.got.iter().map(|got| got.extension.clone().unwrap()).collect();
    assert_eq!(blocks[0], (0xbede, b"\x54sound\0\0".to_vec()));
    assert_eq!(blocks[1], (0xbede, b"\x90\x7f\x54sound".to_vec()));
}

#[test]
fn receiver_reports_tell_of_every_media_stream_and_of_no_repair() {
    let (mut world, bundle, [mut sound, mut picture], _) = call(Profile::AeadAes128Gcm);
    for _ in 0..4 {
        let packets = [
            bundle.packet(&mut sound, Picture::Unknown, 80),
            bundle.packet(&mut picture, Picture::Key, 80),
        ];
        world.arrive(0, bundle.remote, &packets);
    }
    picture.next += 1;
    let mended = bundle.repair(&mut picture, 9004, Picture::Key, 80);
    let next = bundle.packet(&mut picture, Picture::Key, 80);
    world.arrive(0, bundle.remote, &[mended, next]);
    world.pass(Duration::from_ms(1100));
    let sent = world.take_sent();
    let opened: Vec<_> = sent.iter().filter_map(|(_, bytes)| bundle.open_rtcp(bytes)).collect();
    let mut blocks = vec![];
    for bytes in &opened {
        let compound = Compound::new_checked(bytes, Rules::ReducedSize).unwrap();
        for packet in compound.packets() {
            if let Packet::ReceiverReport(report) = packet {
                blocks.extend(report.blocks().map(|block| (block.ssrc, block.cumulative_lost)));
            }
        }
    }
    // What a repair mended was lost all the same (RFC 4588 section 6.3).
    blocks.dedup_by(|later, first| later == first);
    assert_eq!(blocks[..2], [(sound.ssrc, 0), (picture.ssrc, 1)]);
    assert!(blocks.iter().all(|(ssrc, _)| [sound.ssrc, picture.ssrc].contains(ssrc)));
}

#[test]
fn resync_tells_every_stream_and_slot_behind_its_session() {
    let (mut world, bundle, [sound, picture], viewer) = call(Profile::AeadAes128Gcm);
    world.events.clear();
    world.command(0, &proto::Command::Resync);
    let told: Vec<_> = world.events.iter().map(short).collect();
    let member = bundle.member;
    let on = |spec: &PublicationSpec| SlotState::On { member, publication: spec.publication };
    let expected = [
        Told::Session(bundle.session),
        Told::Publication(bundle.session, sound.spec.publication),
        Told::Publication(bundle.session, picture.spec.publication),
        Told::Session(viewer.session),
        Told::Slot(viewer.session, 0, viewer.slots[0].ssrc, on(&sound.spec)),
        Told::Slot(viewer.session, 1, viewer.slots[1].ssrc, on(&picture.spec)),
        Told::Done(2),
    ];
    assert_eq!(told, expected);
}

#[derive(Debug, PartialEq)]
enum Told {
    Session(proto::SessionId),
    Publication(proto::SessionId, proto::PublicationNo),
    Slot(proto::SessionId, u8, u32, SlotState),
    Done(u32),
    Other,
}

fn short(event: &Event) -> Told {
    match event {
        Event::Session { session, .. } => Told::Session(*session),
        Event::Publication { session, spec } => Told::Publication(*session, spec.publication),
        Event::SlotOpen { session, slot, ssrcs, state, .. } => {
            Told::Slot(*session, *slot, ssrcs.0, *state)
        }
        Event::ResyncDone { sessions } => Told::Done(*sessions),
        _ => Told::Other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle: a set. Each step sends an original or its repair, near the head of the stream, around
    /// a wrap, in any order and any number of times.
    #[test]
    fn each_index_is_forwarded_once_whichever_of_original_and_repair_comes_first(
        steps in prop::collection::vec((0u64..40, any::<bool>(), 0u64..3), 1..200),
        start in prop::sample::select(vec![100u64, 65_500, 131_000]),
    ) {
        let (mut world, bundle, [_, mut picture], mut viewer) = call(Profile::AeadAes128Gcm);
        // The first packet sets the rollover counter to zero; one per half space leads up to the start.
        let mut head = 0;
        loop {
            let packet = bundle.packet_at(&picture, head, Picture::Key, 30);
            world.arrive(0, bundle.remote, &[packet]);
            if head == start {
                break;
            }
            head = (head + 30_000).min(start);
        }
        world.deliver(&mut [&mut viewer]);
        viewer.got.clear();
        let mut forwarded = std::collections::BTreeSet::from([start]);
        for (back, is_repair, ahead) in steps {
            let index = (head + ahead).saturating_sub(back).max(start);
            head = head.max(index);
            let packet = if is_repair {
                bundle.repair(&mut picture, index, Picture::Key, 30)
            } else {
                bundle.packet_at(&picture, index, Picture::Key, 30)
            };
            let is_new = forwarded.insert(index);
            world.arrive(0, bundle.remote, &[packet]);
            world.deliver(&mut [&mut viewer]);
            prop_assert_eq!(viewer.got.len(), usize::from(is_new));
            for got in viewer.got.drain(..) {
                prop_assert_eq!(got.mark.index, index);
            }
        }
        prop_assert_eq!(viewer.refused, 0);
        world.check();
    }
}

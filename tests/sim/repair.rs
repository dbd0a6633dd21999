//! Retransmission to subscribers: what they lost comes from the history, within bounds.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Command, DropReason, Event, Look, MediaKind};
use roomlane_core::{Duration, time::ntp_from_unix_ns};
use roomlane_tests::peer::{Got, Publisher, Subscriber};
use roomlane_tests::rng::Rng;
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtcp::{Compound, Packet, ReportBlock, Rules, SenderInfo};
use wire::rtcp_write::Writer;
use wire::rtp::{ExtensionBlock, RtpRepr};

const VIDEO: MediaKind = MediaKind::Video;

fn compound(write: impl FnOnce(&mut Writer<'_>) -> wire::Result<()>) -> Vec<u8> {
    let mut bytes = vec![0; 1400];
    let mut writer = Writer::new(&mut bytes);
    write(&mut writer).unwrap();
    let len = writer.finish();
    bytes.truncate(len);
    bytes
}

/// Sends a request for those numbers of a slot, which is told by its SSRC.
fn nack(world: &mut World, subscriber: &mut Subscriber, ssrc: u32, lost: &[u16]) {
    let shard = subscriber.session.shard().0 as usize;
    let packet = subscriber.rtcp(&compound(|writer| {
        writer.receiver_report(5, &[])?;
        writer.nack(5, ssrc, lost)
    }));
    world.arrive(shard, subscriber.remote, &[packet]);
}

fn bed(profile: Profile) -> (World, Publisher, Subscriber) {
    let mut world = World::new(1, profile);
    let room = world.open_room(1);
    let publisher = world.publisher(0, room, 1, VIDEO, 65_400);
    let slot = world.slot_with_rtx(VIDEO);
    let subscriber = world.subscriber_of(0, room, 1, &[slot]);
    (world, publisher, subscriber)
}

fn publish(world: &mut World, publisher: &mut Publisher, packets: usize) {
    for _ in 0..packets {
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
    }
}

/// A subscriber whose path loses `loss` per cent of what the node sends, and that asks again every
/// 60 ms. Returns everything that it got, by egress number.
fn behind_loss(shard: usize, loss: u32) -> BTreeMap<u64, Vec<Got>> {
    const PACKETS: usize = 3000;
    let mut world = World::new(2, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 65_000);
    let slot = world.slot_with_rtx(VIDEO);
    let mut subscriber = world.subscriber_of(shard, room, 1, &[slot]);
    let mut rng = Rng::new(u64::from(loss) + 11);
    let mut by_egress: BTreeMap<u64, Vec<Got>> = BTreeMap::new();
    let mut asked: BTreeMap<u64, u64> = BTreeMap::new();
    for turn in 0..PACKETS as u64 + 100 {
        let packet = publisher.packet(100);
        world.arrive(0, publisher.remote, &[packet]);
        world.pass(Duration::from_ms(5));
        for (to, packet) in world.take_sent() {
            let is_rtcp = wire::demux::classify(&packet) == wire::demux::Kind::Rtcp;
            if to == publisher.remote {
                let bytes = publisher.open_rtcp(&packet).unwrap();
                let compound = Compound::new_checked(&bytes, Rules::Compound).unwrap();
                let asks = compound.packets().any(|packet| matches!(packet, Packet::Nack(_)));
                assert!(!asks, "a subscriber's request went upstream");
            } else if is_rtcp || turn >= PACKETS as u64 || turn == 0 || !rng.chance(loss) {
                subscriber.receive(&packet);
            }
        }
        for got in subscriber.got.drain(..) {
            let egress = match got.osn {
                // The highest number with these 16 bits that was sent.
                Some(osn) => {
                    let last = by_egress.keys().last().copied().unwrap_or(0);
                    last - u64::from((last as u16).wrapping_sub(osn))
                }
                None => got.egress,
            };
            by_egress.entry(egress).or_default().push(got);
        }
        let Some((first, last)) = by_egress.keys().next().zip(by_egress.keys().last()) else {
            continue;
        };
        let is_due = |egress: &u64| asked.get(egress).is_none_or(|at| turn - at >= 12);
        let missing = (*first..*last).filter(|egress| !by_egress.contains_key(egress));
        let missing: Vec<u64> = missing.filter(is_due).collect();
        asked.extend(missing.iter().map(|egress| (*egress, turn)));
        let lost: Vec<u16> = missing.iter().map(|egress| *egress as u16).collect();
        if !lost.is_empty() {
            nack(&mut world, &mut subscriber, slot.ssrc, &lost);
        }
    }
    assert_eq!(subscriber.refused, 0);
    let counters = *world.shards[shard].counters();
    let told = world.events.len();
    world.command(shard, &Command::Look { session: subscriber.session });
    let slot = world.events[told..].iter().find_map(|event| match event {
        Event::Looked { look: Look::Slot(slot), .. } => Some(*slot),
        _ => None,
    });
    let slot = slot.expect("its only slot");
    assert_eq!(u64::from(slot.nacks), counters.nack_rx, "a look tells what was asked for");
    assert_eq!(u64::from(slot.repairs), counters.rtx_tx, "and what was sent again");
    assert!(counters.rtx_tx > (PACKETS as u64 * u64::from(loss)) / 200);
    assert_eq!(counters.rtx_missed, 0);
    world.check();
    by_egress
}

#[test]
fn a_subscriber_behind_loss_is_repaired_from_the_history_of_its_shard() {
    for (shard, loss) in [(0, 5), (0, 20), (1, 10)] {
        let by_egress = behind_loss(shard, loss);
        let (first, last) = (*by_egress.keys().next().unwrap(), *by_egress.keys().last().unwrap());
        let whole = by_egress.len() as u64;
        assert!(whole * 1000 >= (last - first + 1) * 999, "{whole} of {}", last - first + 1);
        let plain = by_egress.values().flatten().find(|got| got.osn.is_none()).unwrap();
        let (mut repairs, mut highest) = (0, 0);
        for (egress, got) in &by_egress {
            // What a number means is the same for the original and its repair.
            assert_eq!(got[0].mark.index - egress, plain.mark.index - plain.egress);
            let step = (got[0].mark.index as u32).wrapping_sub(plain.mark.index as u32);
            let expected = plain.timestamp.wrapping_add(step.wrapping_mul(960));
            assert_eq!(got[0].timestamp, expected);
            assert_eq!(got[0].csrcs, plain.csrcs);
            if got[0].osn.is_some() {
                repairs += 1;
                assert_eq!(got[0].payload_type, 112);
                assert_ne!(got[0].ssrc, plain.ssrc);
                highest = highest.max(got[0].egress);
            }
        }
        assert!(repairs > 100 && highest < 1 << 16, "{repairs} repairs");
    }
}

#[test]
fn a_repair_carries_extensions_and_leaves_padding_out() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AesCm128HmacSha1_80);
    publish(&mut world, &mut publisher, 1);
    // Audio level under id 1, orientation under id 4; the subscriber takes the level under id 9.
    let data = [0x10, 0x7f, 0x40, 0x01];
    let repr = RtpRepr {
        padding: true,
        marker: true,
        payload_type: publisher.spec.payload_type,
        sequence: publisher.next as u16,
        timestamp: 77,
        ssrc: publisher.spec.ssrc,
        csrcs: &[],
        extension: Some(ExtensionBlock { profile: 0xbede, data: &data }),
    };
    let mut payload = vec![7; 40];
    payload.extend_from_slice(&[0, 0, 0, 4]);
    let packet = publisher.seal(&repr, publisher.next, &payload);
    world.arrive(0, publisher.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    let original = subscriber.got[1].clone();
    let ssrc = subscriber.slots[0].ssrc;
    nack(&mut world, &mut subscriber, ssrc, &[original.egress as u16]);
    let sent = world.take_sent();
    // Header with one CSRC, a block of two words, number and payload without padding, tag.
    assert_eq!(sent[0].1.len(), 12 + 4 + 8 + 2 + 40 + 10);
    assert_eq!(sent[0].1[0] & 0x20, 0, "no padding bit");
    subscriber.receive(&sent[0].1);
    let repair = &subscriber.got[2];
    assert_eq!(repair.osn, Some(original.egress as u16));
    assert_eq!((&repair.extension, repair.timestamp), (&original.extension, original.timestamp));
    assert_eq!(repair.extension, Some((0xbede, vec![0x90, 0x7f, 0, 0])));
    world.check();
}

#[test]
fn a_repair_is_not_sent_twice_within_half_a_round_trip() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 3);
    world.deliver(&mut [&mut subscriber]);
    let (ssrc, lost) = (subscriber.slots[0].ssrc, [subscriber.got[1].egress as u16]);
    for (wait_ms, expected) in [(0, 1), (10, 1), (9, 1), (1, 2)] {
        world.pass(Duration::from_ms(wait_ms));
        nack(&mut world, &mut subscriber, ssrc, &lost);
        assert_eq!(world.shards[0].counters().rtx_tx, expected, "after {wait_ms} ms more");
    }
    assert_eq!(world.shards[0].counters().nack_rx, 4);
    assert_eq!(world.shards[0].counters().rtx_missed, 0);
}

#[test]
fn what_was_never_sent_or_is_somebody_elses_is_not_sent_again() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 5);
    let room = subscriber.room;
    let slot = world.slot_with_rtx(VIDEO);
    let mut late = world.subscriber_of(0, room, 1, &[slot]);
    publish(&mut world, &mut publisher, 1);
    world.deliver(&mut [&mut subscriber, &mut late]);
    let first = late.got[0].egress as u16;
    // Before its first packet it was sent nothing; above its last nothing was sent yet.
    nack(&mut world, &mut late, slot.ssrc, &[first.wrapping_sub(2), first.wrapping_sub(1)]);
    nack(&mut world, &mut late, slot.ssrc, &[first.wrapping_add(1)]);
    // A slot of somebody else, and an SSRC of nobody.
    let (other, seq) = (subscriber.slots[0].ssrc, subscriber.got[0].egress as u16);
    nack(&mut world, &mut late, other, &[seq]);
    nack(&mut world, &mut late, 0x0bad_0bad, &[seq]);
    assert_eq!(world.shards[0].counters().rtx_tx, 0);
    nack(&mut world, &mut late, slot.ssrc, &[first]);
    assert_eq!(world.shards[0].counters().rtx_tx, 1);
    world.deliver(&mut [&mut subscriber, &mut late]);
    assert_eq!((late.got[1].osn, late.got[1].mark), (Some(first), late.got[0].mark));
    world.check();
}

#[test]
fn without_negotiation_nothing_is_kept_or_sent_again() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 9);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    publish(&mut world, &mut publisher, 3);
    world.deliver(&mut [&mut subscriber]);
    let (ssrc, lost) = (subscriber.slots[0].ssrc, [subscriber.got[1].egress as u16]);
    nack(&mut world, &mut subscriber, ssrc, &lost);
    let counters = world.shards[0].counters();
    assert_eq!((counters.nack_rx, counters.rtx_tx, counters.rtx_missed), (1, 0, 0));
    assert!(world.take_sent().is_empty());
}

#[test]
fn a_packet_that_the_history_gave_up_ends_in_one_keyframe_wish() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 1200);
    world.deliver(&mut [&mut subscriber]);
    world.pass(Duration::from_s(1));
    let before = *world.shards[0].counters();
    let ssrc = subscriber.slots[0].ssrc;
    let lost: Vec<u16> = subscriber.got[1..101].iter().map(|got| got.egress as u16).collect();
    nack(&mut world, &mut subscriber, ssrc, &lost);
    let after = *world.shards[0].counters();
    assert_eq!((after.rtx_missed, after.rtx_tx, after.pli_tx), (100, 0, before.pli_tx + 1));
    let lost: Vec<u16> = subscriber.got[1100..1200].iter().map(|got| got.egress as u16).collect();
    nack(&mut world, &mut subscriber, ssrc, &lost);
    assert_eq!(world.shards[0].counters().rtx_tx, 100);
}

#[test]
fn a_grant_that_ended_ends_repairs_too() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 3);
    world.deliver(&mut [&mut subscriber]);
    let (ssrc, lost) = (subscriber.slots[0].ssrc, [subscriber.got[1].egress as u16]);
    // It may send what it has to, and receive no picture any more.
    let grant = world.grant(3600, !VIDEO.receive_bit());
    world.command(0, &Command::SetGrant { session: subscriber.session, grant });
    nack(&mut world, &mut subscriber, ssrc, &lost);
    assert_eq!(world.egress_drops(0, DropReason::NoRight), 1);
    assert_eq!(world.shards[0].counters().rtx_tx, 0);
    world.check();
}

#[test]
fn a_switch_of_the_publisher_forgets_what_was_sent_before() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    let room = subscriber.room;
    let mut second = world.publisher(0, room, 1, VIDEO, 100);
    publish(&mut world, &mut publisher, 3);
    let reason = proto::CloseReason::Left;
    world.desired.remove(&publisher.session);
    world.command(0, &Command::CloseSession { session: publisher.session, reason });
    publish(&mut world, &mut second, 2);
    world.deliver(&mut [&mut subscriber]);
    let ssrc = subscriber.slots[0].ssrc;
    let lost: Vec<u16> = subscriber.got.iter().map(|got| got.egress as u16).collect();
    nack(&mut world, &mut subscriber, ssrc, &lost);
    world.deliver(&mut [&mut subscriber]);
    let repaired: Vec<_> = subscriber.got[5..].iter().map(|got| got.mark).collect();
    let marks: Vec<_> = subscriber.got[3..5].iter().map(|got| got.mark).collect();
    assert_eq!(repaired, marks);
    // What the first publisher sent is not missed: nobody has it any more to send it again.
    assert_eq!(world.shards[0].counters().rtx_missed, 0);
    world.check();
}

#[test]
fn a_storm_of_requests_costs_the_others_nothing() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 9);
    let mut viewers: Vec<_> = (0..4)
        .map(|_| {
            let slot = world.slot_with_rtx(VIDEO);
            world.subscriber_of(0, room, 1, &[slot])
        })
        .collect();
    let mut lost_by_victim = BTreeSet::new();
    let (mut media, mut repaired, mut sent) = (0_u64, 0_u64, vec![0_u64; 4]);
    for turn in 0..1000_u64 {
        let packet = publisher.packet(500);
        world.arrive(0, publisher.remote, &[packet]);
        world.pass(Duration::from_ms(5));
        for (to, packet) in world.take_sent() {
            let Some(at) = viewers.iter().position(|viewer| viewer.remote == to) else { continue };
            if wire::demux::classify(&packet) == wire::demux::Kind::Rtp {
                sent[at] += 1;
                let is_repair = packet[8..12] == viewers[0].slots[0].rtx_ssrc.to_be_bytes();
                media += if at == 0 && !is_repair { packet.len() as u64 } else { 0 };
                repaired += if is_repair { packet.len() as u64 } else { 0 };
            }
            // The second viewer loses every twentieth packet of its stream and asks for it.
            if at == 1
                && sent[1] % 20 == 19
                && packet[8..12] == viewers[1].slots[0].ssrc.to_be_bytes()
            {
                lost_by_victim.insert(u16::from_be_bytes([packet[2], packet[3]]));
                continue;
            }
            viewers[at].receive(&packet);
        }
        // The first one asks for everything it was ever sent: 20,000 numbers a second and more, ten
        // times what it may.
        let ssrc = viewers[0].slots[0].ssrc;
        let last = viewers[0].got.iter().rev().find(|got| got.osn.is_none());
        let last = last.map_or(0, |got| got.egress as u16);
        let all: Vec<u16> =
            (0..120.min(turn as u16)).rev().map(|back| last.wrapping_sub(back)).collect();
        if !all.is_empty() {
            nack(&mut world, &mut viewers[0], ssrc, &all);
        }
        if turn % 10 == 0 && !lost_by_victim.is_empty() {
            let ssrc = viewers[1].slots[0].ssrc;
            let lost: Vec<u16> = lost_by_victim.iter().copied().collect();
            nack(&mut world, &mut viewers[1], ssrc, &lost);
        }
        lost_by_victim.retain(|seq| !viewers[1].got.iter().any(|got| got.osn == Some(*seq)));
    }
    for viewer in &viewers[2..] {
        assert_eq!(viewer.got.len(), 1000);
    }
    assert!(lost_by_victim.len() <= 1, "the victim lacks {lost_by_victim:?}");
    let bound = 5 * 70_000 + media / 4;
    assert!(repaired > 5 * 32_000 && repaired <= bound, "{repaired} of {bound} bytes");
    let counters = world.shards[0].counters();
    assert!(counters.nack_rx <= 2 * (1024 + 5 * 2048), "{} looked at", counters.nack_rx);
    world.check();
}

#[test]
fn repairs_repeat_no_nonce_across_kills_of_the_shard() {
    let mut rng = Rng::new(21);
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    let ssrc = subscriber.slots[0].ssrc;
    for _ in 0..300 {
        publish(&mut world, &mut publisher, 3 + rng.below(20));
        world.deliver(&mut [&mut subscriber]);
        let recent = subscriber.got.iter().rev().filter(|got| got.osn.is_none());
        let lost: BTreeSet<u64> = recent.take(1 + rng.below(8)).map(|got| got.egress).collect();
        let lost: Vec<u16> = lost.into_iter().map(|egress| egress as u16).collect();
        nack(&mut world, &mut subscriber, ssrc, &lost);
        world.deliver(&mut [&mut subscriber]);
        if rng.chance(40) {
            world.crash(0);
        }
        world.pass(Duration::from_ms(30));
    }
    assert_eq!(subscriber.refused, 0, "a receiver guesses the rollover counter of repairs too");
    let repairs: Vec<_> = subscriber.got.iter().filter(|got| got.osn.is_some()).collect();
    assert!(repairs.len() > 500, "{} repairs", repairs.len());
    assert!(repairs.windows(2).all(|pair| pair[0].egress < pair[1].egress));
    assert!(repairs.last().unwrap().egress > 1 << 16, "the rollover counter of repairs moved");
    world.check();
}

#[test]
fn a_reception_report_tells_loss_jitter_and_the_round_trip() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 3);
    let info = SenderInfo { ntp: 1 << 32, rtp_timestamp: 5000, packets: 3, bytes: 300 };
    let ssrc = publisher.spec.ssrc;
    let packet = publisher.rtcp(&compound(|writer| writer.sender_report(ssrc, &info, &[])));
    world.arrive(0, publisher.remote, &[packet]);
    world.pass(Duration::from_s(1));
    world.deliver(&mut [&mut subscriber]);
    let bytes = subscriber.reports.last().unwrap().clone();
    let compound_in = Compound::new_checked(&bytes, Rules::Compound).unwrap();
    let Some(Packet::SenderReport(report)) = compound_in.packets().next() else {
        panic!("no sender report");
    };
    let sent = report.info().ntp;
    let waited_ns = (u128::from(ntp_from_unix_ns(world.now.unix_ns) - sent) * 1_000_000_000) >> 32;
    // 80 ms on the way, the rest of the time at the receiver.
    world.pass(Duration::from_ms(200));
    let delay_ns = waited_ns + 200_000_000 - 80_000_000;
    let block = ReportBlock {
        ssrc: subscriber.slots[0].ssrc,
        fraction_lost: 25,
        cumulative_lost: 1,
        highest_sequence: 3,
        jitter: 450,
        last_sr: (sent >> 16) as u32,
        delay_since_last_sr: ((delay_ns << 16) / 1_000_000_000) as u32,
    };
    let foreign = ReportBlock { ssrc: 0x0bad_0bad, fraction_lost: 99, ..block };
    let packet = subscriber.rtcp(&compound(|writer| writer.receiver_report(5, &[foreign, block])));
    world.arrive(0, subscriber.remote, &[packet]);
    let slot = subscriber.session.slot();
    let reports: Vec<_> = world.shards[0].slot_reports(slot).collect();
    let [(0, reported)] = reports[..] else { panic!("{reports:?}") };
    assert_eq!((reported.fraction_lost, reported.jitter), (25, 450));
    assert!(reported.rtt_us.abs_diff(80_000) < 100, "{} us", reported.rtt_us);
    // A lie of an hour is no round trip.
    let lie = ReportBlock { last_sr: block.last_sr.wrapping_sub(3600 << 16), ..block };
    let packet = subscriber.rtcp(&compound(|writer| writer.receiver_report(5, &[lie])));
    world.arrive(0, subscriber.remote, &[packet]);
    assert_eq!(world.shards[0].slot_reports(slot).next(), Some((0, reported)));
}

#[test]
fn a_flood_of_keyframe_wishes_is_looked_at_within_its_budget() {
    let (mut world, mut publisher, mut subscriber) = bed(Profile::AeadAes128Gcm);
    publish(&mut world, &mut publisher, 1);
    let ssrc = subscriber.slots[0].ssrc;
    let before = world.shards[0].counters().pli_tx;
    for _ in 0..1000 {
        let packet = subscriber.rtcp(&compound(|writer| {
            writer.receiver_report(5, &[])?;
            writer.pli(5, ssrc)
        }));
        world.arrive(0, subscriber.remote, &[packet]);
        world.pass(Duration::from_ms(10));
    }
    let counters = world.shards[0].counters();
    assert!(counters.pli_tx - before <= 21, "{} in ten seconds", counters.pli_tx - before);
    assert_eq!(counters.pli_rx, 1000);
    world.check();
}

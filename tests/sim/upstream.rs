//! The node as a publisher's receiver: what it asks for again, and what it says about arrivals.

use std::collections::BTreeMap;

use proto::{DropReason, Feedback, MediaKind, PublicationSpec, RtxSpec};
use roomlane_core::Duration;
use roomlane_tests::peer::{Got, Publisher, Subscriber};
use roomlane_tests::rng::Rng;
use roomlane_tests::world::World;
use srtp::Profile;
use wire::remb::Remb;
use wire::rtcp::{Compound, Packet, Rules};
use wire::rtp::ExtensionBlock;
use wire::twcc::TransportCc;

const VIDEO: MediaKind = MediaKind::Video;
/// One way.
const DELAY_MS: u64 = 20;

fn with_feedback(world: &mut World, bits: u8) -> PublicationSpec {
    let mut spec = world.stream(VIDEO);
    spec.feedback = Feedback(bits);
    spec.rtx = Some(RtxSpec { payload_type: 97, ssrc: spec.ssrc + 0x0800_0000 });
    spec
}

/// Sequence numbers that RTCP packets for the publisher ask for again.
fn nacked(publisher: &Publisher, packets: &[Vec<u8>]) -> Vec<u16> {
    let mut lost = vec![];
    for packet in packets {
        let bytes = publisher.open_rtcp(packet).expect("for the publisher");
        let compound = Compound::new_checked(&bytes, Rules::Compound).unwrap();
        for packet in compound.packets() {
            if let Packet::Nack(nack) = packet {
                assert_eq!(nack.media_ssrc(), publisher.spec.ssrc);
                lost.extend(nack.lost());
            }
        }
    }
    lost
}

/// A publisher that answers requests, behind a path that loses `loss` per cent each way.
struct Uplink {
    world: World,
    publisher: Publisher,
    subscriber: Subscriber,
    rng: Rng,
    loss: u32,
    rtx_next: u64,
    /// Due at a millisecond: packets to the node, and numbers asked for.
    to_node: BTreeMap<u64, Vec<Vec<u8>>>,
    to_publisher: BTreeMap<u64, Vec<u16>>,
    at: u64,
}

impl Uplink {
    fn new(loss: u32) -> Uplink {
        let mut world = World::new(1, Profile::AeadAes128Gcm);
        let room = world.open_room(1);
        let spec = with_feedback(&mut world, Feedback::NACK);
        let publisher = world.publisher_of(0, room, 1, spec, 65_000);
        let subscriber = world.subscriber(0, room, 1, &[VIDEO]);
        Uplink {
            world,
            publisher,
            subscriber,
            rng: Rng::new(u64::from(loss) + 5),
            loss,
            rtx_next: 900,
            to_node: BTreeMap::new(),
            to_publisher: BTreeMap::new(),
            at: 0,
        }
    }

    fn send(&mut self, packet: Vec<u8>) {
        if !self.rng.chance(self.loss) {
            self.to_node.entry(self.at + DELAY_MS).or_default().push(packet);
        }
    }

    /// Five milliseconds.
    fn step(&mut self) {
        self.world.pass(Duration::from_ms(5));
        self.at += 5;
        for packet in self.to_node.remove(&self.at).unwrap_or_default() {
            self.world.arrive(0, self.publisher.remote, &[packet]);
        }
        let others = self.world.deliver(&mut [&mut self.subscriber]);
        let packets: Vec<_> = others.into_iter().map(|(_, packet)| packet).collect();
        let lost = nacked(&self.publisher, &packets);
        if !lost.is_empty() && !self.rng.chance(self.loss) {
            self.to_publisher.entry(self.at + DELAY_MS).or_default().extend(lost);
        }
        for sequence in self.to_publisher.remove(&self.at).unwrap_or_default() {
            let back = (self.publisher.next as u16).wrapping_sub(sequence);
            let index = self.publisher.next - u64::from(back);
            let packet = self.publisher.rtx_packet_at(self.rtx_next, index, 100);
            self.rtx_next += 1;
            self.send(packet);
        }
    }
}

#[test]
fn a_publisher_behind_loss_is_repaired() {
    for loss in [5, 10, 20] {
        let mut uplink = Uplink::new(loss);
        const PACKETS: u64 = 4000;
        for _ in 0..PACKETS {
            let packet = uplink.publisher.packet(100);
            uplink.send(packet);
            uplink.step();
        }
        // What comes last tells that something before it is missing.
        uplink.loss = 0;
        for _ in 0..300 {
            let packet = uplink.publisher.packet(100);
            uplink.send(packet);
            uplink.step();
        }
        let got = &uplink.subscriber.got;
        let whole = got.iter().filter(|got| got.mark.index < 65_000 + PACKETS).count() as u64;
        assert!(whole * 1000 >= PACKETS * 999, "{loss} %: {whole} of {PACKETS}");
        assert_eq!(uplink.subscriber.refused, 0);
        let offset = |got: &Got| got.egress.wrapping_sub(got.mark.index);
        assert!(got.iter().all(|one| offset(one) == offset(&got[0])), "a place was lost");
        let counters = uplink.world.shards[0].counters();
        let lost = PACKETS * u64::from(loss) / 100;
        assert!(counters.rtx_rx > lost / 2, "{} repairs", counters.rtx_rx);
        // Each loss costs little more than one request, whatever is lost of requests and repairs.
        assert!(counters.nack_tx < lost * 5 / 2, "{loss} %: {} requests", counters.nack_tx);
        uplink.world.check();
    }
}

#[test]
fn a_repaired_packet_keeps_its_place_on_another_shard() {
    let mut world = World::new(2, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let spec = with_feedback(&mut world, Feedback::NACK);
    let mut publisher = world.publisher_of(0, room, 1, spec, 65_530);
    let mut subscriber = world.subscriber(1, room, 1, &[VIDEO]);
    let packets: Vec<_> = (0..12).map(|_| publisher.packet(100)).collect();
    for at in [0, 1, 2, 4, 5, 3, 6, 8, 7, 9, 10, 11] {
        let packet = match at {
            3 | 7 => publisher.rtx_packet_at(50 + at as u64, 65_530 + at as u64, 100),
            _ => packets[at].clone(),
        };
        world.arrive(0, publisher.remote, &[packet]);
    }
    world.deliver(&mut [&mut subscriber]);
    let offset = |got: &Got| got.egress.wrapping_sub(got.mark.index);
    let got = &subscriber.got;
    assert_eq!(got.len(), 12);
    assert!(got.iter().all(|one| offset(one) == offset(&got[0])), "a repair ended the segment");
    assert_eq!(world.shards[0].counters().rtx_rx, 2);
    world.check();
}

#[test]
fn a_publisher_that_did_not_negotiate_it_is_never_asked() {
    let mut uplink = Uplink::new(0);
    let room = uplink.publisher.room;
    let mut plain = uplink.world.publisher(0, room, 1, VIDEO, 10);
    let _viewer = uplink.world.subscriber(0, room, 1, &[VIDEO, VIDEO]);
    let packets: Vec<_> = (0..9).map(|_| plain.packet(50)).collect();
    uplink.world.arrive(0, plain.remote, &[packets[0].clone(), packets[8].clone()]);
    uplink.world.pass(Duration::from_ms(900));
    assert_eq!(uplink.world.shards[0].counters().nack_tx, 0);
}

#[test]
fn a_stream_that_nobody_receives_is_not_asked_for() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let spec = with_feedback(&mut world, Feedback::NACK);
    let mut publisher = world.publisher_of(0, room, 1, spec, 10);
    let mut skip = |world: &mut World| {
        let packets: Vec<_> = (0..9).map(|_| publisher.packet(50)).collect();
        world.arrive(0, publisher.remote, &[packets[0].clone(), packets[8].clone()]);
        world.pass(Duration::from_ms(50));
        world.shards[0].counters().nack_tx
    };
    assert_eq!(skip(&mut world), 0);
    let _viewer = world.subscriber(0, room, 1, &[VIDEO]);
    // The first packet after it joined begins anew, the second tells of a gap.
    assert_eq!(skip(&mut world), 7);
}

#[test]
fn a_large_gap_asks_for_a_keyframe_and_not_for_every_packet() {
    let mut uplink = Uplink::new(0);
    let first = uplink.publisher.packet(50);
    uplink.publisher.next += 500;
    let far = uplink.publisher.packet(50);
    uplink.world.arrive(0, uplink.publisher.remote, &[first]);
    uplink.world.pass(Duration::from_s(1));
    let before = uplink.world.shards[0].counters().pli_tx;
    uplink.world.arrive(0, uplink.publisher.remote, &[far]);
    assert_eq!(uplink.world.shards[0].counters().pli_tx, before + 1);
    uplink.world.pass(Duration::from_ms(400));
    assert_eq!(uplink.world.shards[0].counters().nack_tx, 0);
}

#[test]
fn what_is_never_repaired_ends_in_a_keyframe_wish() {
    let mut uplink = Uplink::new(0);
    let packets: Vec<_> = (0..3).map(|_| uplink.publisher.packet(50)).collect();
    uplink.world.arrive(0, uplink.publisher.remote, &[packets[0].clone(), packets[2].clone()]);
    uplink.world.pass(Duration::from_ms(600));
    let before = *uplink.world.shards[0].counters();
    assert!(before.nack_tx >= 5, "{} requests", before.nack_tx);
    uplink.world.pass(Duration::from_ms(600));
    let after = *uplink.world.shards[0].counters();
    assert_eq!(after.pli_tx, before.pli_tx + 1);
    assert!(after.nack_tx <= 8);
    uplink.world.pass(Duration::from_s(2));
    assert_eq!(uplink.world.shards[0].counters().nack_tx, after.nack_tx);
}

#[test]
fn a_forged_packet_makes_nobody_ask() {
    let mut uplink = Uplink::new(0);
    let packets: Vec<_> = (0..20).map(|_| uplink.publisher.packet(50)).collect();
    let mut forged = packets[19].clone();
    *forged.last_mut().unwrap() ^= 1;
    uplink.world.arrive(0, uplink.publisher.remote, &[packets[0].clone(), forged]);
    uplink.world.pass(Duration::from_ms(100));
    assert_eq!(uplink.world.drops(0, DropReason::AuthFailed), 1);
    assert_eq!(uplink.world.shards[0].counters().nack_tx, 0);
}

/// The transport-wide sequence number as an extension block, under the id that the tests negotiate.
fn numbered(sequence: u16) -> [u8; 4] {
    let [high, low] = sequence.to_be_bytes();
    [0x31, high, low, 0]
}

#[test]
fn transport_wide_feedback_equals_the_arrivals() {
    let mut world = World::new(1, Profile::AeadAes256Gcm);
    let room = world.open_room(1);
    let spec = with_feedback(&mut world, Feedback::TRANSPORT_CC | Feedback::REMB);
    let publisher = world.publisher_of(0, room, 1, spec, 0);
    let mut rng = Rng::new(3);
    let (mut arrived, mut told, mut counts) = (BTreeMap::new(), BTreeMap::new(), vec![]);
    let mut sequence = 65_000_u16;
    for index in 0..3000 {
        sequence = sequence.wrapping_add(1);
        let data = numbered(sequence);
        let packet =
            publisher.packet_at(index, 60, Some(ExtensionBlock { profile: 0xbede, data: &data }));
        // Spans of any number of microseconds, some of them longer than a small delta holds.
        let longest = if rng.chance(2) { 300_000 } else { 4000 };
        world.pass(Duration::from_us(rng.below(longest) as u64));
        if !rng.chance(15) {
            world.arrive(0, publisher.remote, &[packet]);
            arrived.insert(sequence, world.now.mono.0 / 250_000 * 250);
        }
        for (to, packet) in world.take_sent() {
            assert_eq!(to, publisher.remote);
            assert!(packet.len() <= 1240);
            let bytes = publisher.open_rtcp(&packet).unwrap();
            for packet in Compound::new_checked(&bytes, Rules::Compound).unwrap().packets() {
                assert!(!matches!(packet, Packet::Remb(_)), "one of the two is enough");
                let Packet::TransportCc(feedback) = packet else { continue };
                let feedback = TransportCc::new_checked(feedback.fci()).unwrap();
                counts.push(feedback.feedback_count());
                for (sequence, at_us) in feedback.statuses() {
                    let before = told.insert(sequence, at_us);
                    assert_eq!(before, None, "{sequence} was told twice");
                }
            }
        }
    }
    world.pass(Duration::from_ms(100));
    let last = *told.keys().max_by_key(|told| told.wrapping_sub(65_000)).unwrap();
    for (sequence, at_us) in &told {
        let truth = arrived.get(sequence).map(|at| *at as i64);
        assert_eq!(*at_us, truth, "number {sequence}");
    }
    assert!(told.len() > 2900 && last.wrapping_sub(65_000) > 2900, "{} told", told.len());
    assert!(counts.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{counts:?}");
    // Ten to twenty a second while packets arrive, and none when they do not.
    let seconds = (world.now.mono.0 - 1_000_000_000) as f64 / 1e9;
    assert!(
        (5.0..21.0).contains(&(counts.len() as f64 / seconds)),
        "{} in {seconds} s",
        counts.len()
    );
    world.take_sent();
    let before = world.shards[0].counters().transport_cc_tx;
    world.pass(Duration::from_s(2));
    assert_eq!(world.shards[0].counters().transport_cc_tx, before);
    world.check();
}

#[test]
fn a_publisher_with_remb_alone_is_told_what_it_may_send_every_second() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let spec = with_feedback(&mut world, Feedback::REMB);
    let mut publisher = world.publisher_of(0, room, 1, spec, 0);
    let mut told = vec![];
    for second in 0..8 {
        // A megabyte per second; a third of it is lost in the sixth second.
        for at in 0..1000 {
            let packet = publisher.packet(1000 - 32);
            if second != 5 || at % 3 != 0 {
                world.arrive(0, publisher.remote, &[packet]);
            }
            world.pass(Duration::from_ms(1));
        }
        for (_, packet) in world.take_sent() {
            let bytes = publisher.open_rtcp(&packet).unwrap();
            for packet in Compound::new_checked(&bytes, Rules::Compound).unwrap().packets() {
                if let Packet::Remb(feedback) = packet {
                    let remb = Remb::new_checked(feedback.fci()).unwrap();
                    assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [publisher.spec.ssrc]);
                    told.push(remb.bitrate_bps() / 10_000);
                }
            }
        }
    }
    assert_eq!(told.len(), 8, "{told:?}");
    assert!((1190..=1210).contains(&told[3]), "1.5 times what arrived: {told:?}");
    assert!(told[5..7].iter().any(|told| (300..800).contains(told)), "less after loss: {told:?}");
    assert!((1190..=1210).contains(&told[7]), "{told:?}");
}

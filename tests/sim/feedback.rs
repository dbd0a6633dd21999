//! RTCP ends at each hop: what the node says for itself, upstream and downstream.

use proto::MediaKind;
use proto::command::SLOTS_MAX;
use roomlane_core::{Duration, time::ntp_from_unix_ns};
use roomlane_tests::world::World;
use srtp::Profile;
use wire::rtcp::{Compound, Packet, Rules, SenderInfo};
use wire::rtcp_write::Writer;

const VIDEO: MediaKind = MediaKind::Video;

fn compound(write: impl FnOnce(&mut Writer<'_>) -> wire::Result<()>) -> Vec<u8> {
    let mut bytes = vec![0; 500];
    let mut writer = Writer::new(&mut bytes);
    write(&mut writer).unwrap();
    let len = writer.finish();
    bytes.truncate(len);
    bytes
}

#[test]
fn plis_are_merged_and_throttled() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let mut subscribers: Vec<_> = (0..10).map(|_| world.subscriber(0, room, 1, &[VIDEO])).collect();
    let packet = publisher.packet(100);
    world.arrive(0, publisher.remote, &[packet]);
    let plis = |world: &mut World| -> usize {
        let is_pli = |packet: &Vec<u8>| {
            let Some(bytes) = publisher.open_rtcp(packet) else { return false };
            let compound = Compound::new_checked(&bytes, Rules::Compound).unwrap();
            compound.packets().any(|packet| {
                matches!(
                packet, Packet::Pli(pli) if pli.media_ssrc() == publisher.spec.ssrc)
            })
        };
        world.take_sent().iter().filter(|(_, packet)| is_pli(packet)).count()
    };
    // Ten subscribers joined at once: one request goes out at once, one when the throttle allows.
    assert_eq!(plis(&mut world), 1);
    world.pass(Duration::from_ms(600));
    assert_eq!(plis(&mut world), 1);
    world.pass(Duration::from_ms(600));
    assert_eq!(plis(&mut world), 0);
    for subscriber in &mut subscribers {
        let ssrc = subscriber.slots[0].ssrc;
        let packet = subscriber.rtcp(&compound(|writer| {
            writer.receiver_report(5, &[])?;
            writer.pli(5, ssrc)
        }));
        world.arrive(0, subscriber.remote, &[packet]);
    }
    assert_eq!(plis(&mut world), 1);
    assert_eq!(world.shards[0].counters().pli_rx, 10);
    world.check();
}

#[test]
fn sender_reports_are_on_the_nodes_clock_and_keep_streams_in_step() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 0);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    let packets: Vec<_> = (0..3).map(|_| publisher.packet(100)).collect();
    world.arrive(0, publisher.remote, &packets);
    // The publisher's clock is decades off; its report says that RTP time 5000 is now.
    let info = SenderInfo { ntp: 77 << 32, rtp_timestamp: 5000, packets: 3, bytes: 300 };
    let ssrc = publisher.spec.ssrc;
    let packet = publisher.rtcp(&compound(|writer| writer.sender_report(ssrc, &info, &[])));
    let reported = world.now;
    world.arrive(0, publisher.remote, &[packet]);
    world.pass(Duration::from_ms(1100));
    world.deliver(&mut [&mut subscriber]);
    let compound =
        Compound::new_checked(subscriber.reports.last().unwrap(), Rules::Compound).unwrap();
    let Some(Packet::SenderReport(report)) = compound.packets().next() else {
        panic!("no sender report");
    };
    let sent = report.info();
    assert_eq!((report.ssrc(), sent.packets, sent.bytes), (subscriber.slots[0].ssrc, 3, 300));
    let elapsed_ntp = sent.ntp - ntp_from_unix_ns(reported.unix_ns);
    let elapsed_units = (u128::from(elapsed_ntp) * 90_000) >> 32;
    let expected = 5000u32
        .wrapping_add(elapsed_units as u32)
        .wrapping_add(subscriber.slots[0].timestamp_offset);
    assert!(sent.rtp_timestamp.abs_diff(expected) <= 1);
    world.check();
}

#[test]
fn receiver_reports_tell_the_publisher_what_it_lost() {
    let mut world = World::new(1, Profile::AesCm128HmacSha1_80);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 100);
    let all: Vec<_> = (0..10).map(|_| publisher.packet(100)).collect();
    let arrived: Vec<_> = [0, 1, 2, 3, 5, 6, 8, 9].map(|at: usize| all[at].clone()).to_vec();
    world.arrive(0, publisher.remote, &arrived);
    world.pass(Duration::from_ms(1100));
    let report = world.take_sent().iter().find_map(|(_, packet)| publisher.open_rtcp(packet));
    let bytes = report.expect("a report was sent");
    let compound = Compound::new_checked(&bytes, Rules::Compound).unwrap();
    let Some(Packet::ReceiverReport(report)) = compound.packets().next() else {
        panic!("no receiver report");
    };
    let block = report.blocks().next().unwrap();
    assert_eq!(block.ssrc, publisher.spec.ssrc);
    assert_eq!((block.cumulative_lost, block.highest_sequence), (2, 109));
    assert_eq!(u16::from(block.fraction_lost), (2 << 8) / 10);
    let named = compound.packets().any(|packet| matches!(packet, Packet::Sdes(_)));
    assert!(named, "a compound carries a CNAME");
}

#[test]
fn a_subscribers_clock_is_answered_at_once_and_once_a_compound() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut subscriber = world.subscriber(0, room, 1, &[VIDEO]);
    // An extended report with one receiver reference time, as RFC 3611 4.4 lays it out.
    let report = |ssrc: u32, ntp: u64| {
        let words = [0x80cf_0004, ssrc, 0x0400_0002, (ntp >> 32) as u32, ntp as u32];
        words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>()
    };
    let mut asked = compound(|writer| writer.receiver_report(5, &[]));
    asked.extend(report(6, 0x1111_2222_3333_4444));
    asked.extend(report(5, 0xe901_0203_8005_0607));
    let packet = subscriber.rtcp(&asked);
    world.take_sent();
    world.arrive(0, subscriber.remote, &[packet]);
    world.deliver(&mut [&mut subscriber]);
    let [answer] = &subscriber.reports[..] else { panic!("{} answers", subscriber.reports.len()) };
    let compound = Compound::new_checked(answer, Rules::Compound).unwrap();
    assert!(matches!(compound.packets().nth(1), Some(Packet::ExtendedReport(_))));
    // Behind the receiver report (8 bytes) and the report's own head (8) stands the block.
    assert_eq!(answer[16..], [5, 0, 0, 3, 0, 0, 0, 5, 2, 3, 0x80, 5, 0, 0, 0, 0]);
    world.check();
}

#[test]
fn replayed_rtcp_is_dropped() {
    let mut world = World::new(1, Profile::AeadAes256Gcm);
    let room = world.open_room(1);
    let mut publisher = world.publisher(0, room, 1, VIDEO, 100);
    let ssrc = publisher.spec.ssrc;
    let packet = publisher.rtcp(&compound(|writer| writer.receiver_report(ssrc, &[])));
    world.arrive(0, publisher.remote, &[packet.clone(), packet]);
    assert_eq!(world.shards[0].counters().rtcp_rx, 1);
    assert_eq!(world.drops(0, proto::DropReason::Replay), 1);
    world.check();
}

/// Receivers that are apart in a peer, as in aiortc, report with an SSRC each.
#[test]
fn every_section_of_a_full_viewer_may_report_with_an_ssrc_of_its_own() {
    let mut world = World::new(1, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let mut viewer = world.subscriber(0, room, 1, &[VIDEO; SLOTS_MAX]);
    let remote = viewer.remote;
    let mut report = |world: &mut World, ssrc: u32| {
        let packet = viewer.rtcp(&compound(|writer| writer.receiver_report(ssrc, &[])));
        world.arrive(0, remote, std::slice::from_ref(&packet));
        packet
    };
    let senders = 1..=SLOTS_MAX as u32;
    let last: Vec<_> =
        senders.clone().chain(senders).map(|ssrc| report(&mut world, ssrc)).collect();
    assert_eq!(world.shards[0].counters().rtcp_rx, 2 * SLOTS_MAX as u64);
    // Each has a window: what one sent is not taken again, whatever others sent since.
    world.arrive(0, remote, &last);
    assert_eq!(world.drops(0, proto::DropReason::Replay), last.len() as u64);
    report(&mut world, 0xbeef);
    assert_eq!(world.drops(0, proto::DropReason::UnknownSsrc), 1, "one too many");
    world.check();
}

#[test]
fn a_keyframe_wish_on_another_shard_reaches_the_publisher() {
    let mut world = World::new(2, Profile::AeadAes128Gcm);
    let room = world.open_room(1);
    let publisher = world.publisher(0, room, 1, VIDEO, 0);
    let _subscriber = world.subscriber(1, room, 1, &[VIDEO]);
    world.pass(Duration::from_ms(20));
    assert_eq!(world.shards[0].counters().pli_tx, 1);
    assert!(world.take_sent().iter().any(|(to, _)| *to == publisher.remote));
}

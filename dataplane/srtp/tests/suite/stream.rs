//! A receiver that keeps the order estimate, check, open, commit, against loss, reorder, wraps
//! and forgers.

use srtp::{OpenError, PacketIndex, Profile, Provider, Replay, ReplayWindow};

use super::{Leg, SSRC, rtp};

/// SplitMix64: a fixed seed makes a fixed run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Replay(Replay),
    Open(OpenError),
}

/// The receiving side of one SSRC.
#[derive(Default)]
pub struct Receiver {
    pub window: ReplayWindow,
    pub failures: u32,
}

impl Receiver {
    /// The order that the shard core keeps.
    pub fn receive<P: Provider + Default>(
        &mut self,
        leg: &Leg<P>,
        sealed: &[u8],
        header_len: usize,
    ) -> Result<Vec<u8>, Refused> {
        let seq = u16::from_be_bytes([sealed[2], sealed[3]]);
        let index = self.window.roc().estimate_after(self.failures, seq);
        self.window.check(index).map_err(Refused::Replay)?;
        let opened = leg.open(sealed, header_len, index).map_err(|error| {
            self.failures += 1;
            Refused::Open(error)
        })?;
        self.window.commit(index).map_err(Refused::Replay)?;
        Ok(opened)
    }
}

fn at(value: u64) -> PacketIndex {
    PacketIndex::new(value).unwrap()
}

fn sealed_at<P: Provider + Default>(leg: &Leg<P>, ssrc: u32, value: u64) -> (Vec<u8>, Vec<u8>) {
    let (packet, header_len) = rtp(ssrc, value as u16, 0, 20);
    (leg.seal(&packet, header_len, at(value)), packet)
}

/// threats: ROC poisoning. Half of what arrives is forged, 1 to 32,767 ahead or behind.
pub fn forged_packets_never_cost_a_good_one<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 20);
    let mut random = Random(profile.key_len() as u64);
    let mut receiver = Receiver::default();
    let mut sent = 60_000;
    for _ in 0..4_000 {
        sent += 1 + random.below(200);
        let ahead = 1 + random.below(32_767) as u16;
        let forged_seq = if random.below(2) == 0 {
            (sent as u16).wrapping_add(ahead)
        } else {
            (sent as u16).wrapping_sub(ahead)
        };
        let (mut forged, _) = rtp(SSRC, forged_seq, 0, 36);
        forged[20] ^= random.next() as u8;
        assert!(receiver.receive(&leg, &forged, 12).is_err(), "a forged packet opened");
        let (sealed, packet) = sealed_at(&leg, SSRC, sent);
        assert_eq!(receiver.receive(&leg, &sealed, 12), Ok(packet), "lost {sent}");
    }
    assert!(sent > 4 * 65_536, "the run must have wrapped");
}

/// A captured session played again: nothing of it is accepted.
pub fn a_replayed_session_is_refused_whole<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 21);
    let mut receiver = Receiver::default();
    let packets: Vec<Vec<u8>> =
        (65_000..66_500).map(|value| sealed_at(&leg, SSRC, value).0).collect();
    for packet in &packets {
        assert!(receiver.receive(&leg, packet, 12).is_ok());
    }
    for packet in &packets {
        assert!(receiver.receive(&leg, packet, 12).is_err());
    }
    assert_eq!(receiver.window.highest(), Some(at(66_499)));
}

pub fn lost_late_and_wrapping_packets_are_followed<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 22);
    let mut random = Random(7);
    let mut receiver = Receiver::default();
    let mut held: Vec<u64> = Vec::new();
    let mut next = 64_000;
    for _ in 0..6_000 {
        next += 1 + random.below(70);
        held.push(next);
        if held.len() < 8 {
            continue;
        }
        // One of the last eight comes now: late, or in order; one in ten never comes.
        let value = held.swap_remove(random.below(8) as usize);
        if random.below(10) == 0 {
            continue;
        }
        let (sealed, packet) = sealed_at(&leg, SSRC, value);
        match receiver.receive(&leg, &sealed, 12) {
            Ok(opened) => assert_eq!(opened, packet),
            Err(Refused::Replay(Replay::TooOld)) => {
                assert!(value + 1024 <= receiver.window.highest().unwrap().value());
            }
            Err(refused) => panic!("{value}: {refused:?}"),
        }
    }
    assert!(next > 3 * 65_536, "the run must have wrapped");
}

pub fn a_late_joiner_at_65530_crosses_the_wrap<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 23);
    let (mut wrapping, mut steady) = (Receiver::default(), Receiver::default());
    for step in [0, 1, 3, 2, 7, 6, 5, 4, 9, 8, 10] {
        for (receiver, ssrc, start) in [(&mut wrapping, 1, 65_530), (&mut steady, 2, 100)] {
            let (sealed, packet) = sealed_at(&leg, ssrc, start + step);
            assert_eq!(receiver.receive(&leg, &sealed, 12), Ok(packet));
        }
    }
    assert_eq!(wrapping.window.highest(), Some(at(65_540)));
    assert_eq!(steady.window.highest(), Some(at(110)));
}

/// The packets before the wrap were lost: at most four more are, then the stream is found.
pub fn a_sender_first_heard_after_its_wrap_is_found<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 24);
    for start in 65_536..65_540 {
        let mut receiver = Receiver::default();
        let lost = (start..65_600)
            .filter(|at| receiver.receive(&leg, &sealed_at(&leg, SSRC, *at).0, 12).is_err())
            .count();
        assert!((1..=4).contains(&lost), "{lost} lost from {start} on");
    }
}

/// However many forged packets come before each good one, the second good one opens at the latest.
pub fn a_forger_cannot_keep_a_new_sender_out<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 25);
    for forgeries in 0..5 {
        for start in [0, 1, 2, 3, 32_767] {
            let mut receiver = Receiver::default();
            let mut opened = 0;
            for value in start..start + 2 {
                for forged_seq in 0..forgeries {
                    let (forged, _) = rtp(SSRC, forged_seq, 0, 36);
                    assert!(receiver.receive(&leg, &forged, 12).is_err());
                }
                opened +=
                    u32::from(receiver.receive(&leg, &sealed_at(&leg, SSRC, value).0, 12).is_ok());
            }
            assert!(opened >= 1, "kept out from {start} on by {forgeries} per packet");
        }
    }
}

//! Who sends and who receives: publishers that seal beforehand, subscribers that account for every packet.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use proto::{KeyMaterial, MemberNo, PublicationNo, PublicationSpec, RoomNo, SessionId};
use roomlane_peers::peer::{Publisher, key, master};
use srtp::{Inbound, OpenJob, Profile, Provider, ReplayWindow, RingProvider};
use wire::demux::{Kind, classify};
use wire::rtp::Rtp;

use super::lane::{lane, number};
use super::scenario::Scenario;

/// First index of every stream.
const FIRST: u64 = 1000;
/// SSRC of the publisher with number 0.
const SSRC: u32 = 0x1000;

/// What forwards: it takes publishers and subscribers in, and tells what it has used.
pub trait Engine {
    /// Takes publisher `number` of `room` in; where its packets go and what seals them.
    ///
    /// # Errors
    /// The engine's refusal.
    fn publish(&mut self, room: u32, number: u32, lane: &Lane)
    -> Result<(SocketAddr, KeyMaterial)>;
    /// Takes a subscriber of the publisher with this number in; the key of what comes to it.
    ///
    /// # Errors
    /// The engine's refusal.
    fn subscribe(&mut self, room: u32, publisher: u32, lane: &Lane) -> Result<KeyMaterial>;
    /// CPU time so far.
    ///
    /// # Errors
    /// It is gone.
    fn cpu(&self) -> Result<crate::load::cpu::CpuTime>;
    /// Why packets were lost, as far as it knows.
    fn complaint(&self) -> String;
}

/// One session's end here.
#[derive(Debug)]
pub struct Lane {
    /// Its number among all.
    pub number: u32,
    /// Its endpoint.
    pub local: SocketAddr,
    /// SSRC it sends with.
    pub ssrc: u32,
    /// Crypto suite.
    pub profile: Profile,
    /// What it seals with where it may choose that.
    pub key: KeyMaterial,
}

impl Lane {
    fn new(number: u32, profile: Profile) -> Lane {
        let ssrc = SSRC + number;
        Lane { number, local: lane(number), ssrc, profile, key: key(profile, number.into()) }
    }
}

/// A publisher and where it sends to.
struct Source {
    stream: Publisher,
    local: SocketAddr,
    remote: SocketAddr,
}

/// Everybody.
pub struct Fleet {
    sources: Vec<Source>,
    listeners: Vec<Listener>,
    /// By the number of the lane.
    by_lane: Vec<Option<usize>>,
    payload_bytes: usize,
}

impl Fleet {
    /// Joins all sessions of a scenario.
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn join(scenario: &Scenario, engine: &mut dyn Engine) -> Result<Fleet> {
        let (mut sources, mut listeners, mut lanes) = (vec![], vec![], 0);
        let suite = scenario.suite();
        let mut by_lane = vec![];
        let mut next = || {
            lanes += 1;
            Lane::new(lanes - 1, suite)
        };
        for room in 0..scenario.rooms {
            let first = sources.len() as u32;
            for publisher in first..first + scenario.publishers {
                let lane = next();
                by_lane.push(None);
                let (remote, key) = engine.publish(room, publisher, &lane)?;
                let spec = PublicationSpec {
                    publication: PublicationNo(publisher),
                    ssrc: lane.ssrc,
                    payload_type: 111,
                    ..PublicationSpec::default()
                };
                let ids = (SessionId(0), RoomNo(room.into()), MemberNo(publisher.into()));
                let keys = (&key, &key);
                let mut stream = Publisher::new(ids, spec, lane.local.into(), suite, keys, FIRST);
                // As browsers send, and as every engine takes it.
                stream.csrcs.clear();
                sources.push(Source { stream, local: lane.local, remote });
            }
            for publisher in first..first + scenario.publishers {
                for _ in 0..scenario.subscribers {
                    let lane = next();
                    by_lane.push(Some(listeners.len()));
                    let theirs = engine.subscribe(room, publisher, &lane)?;
                    let inbound = Inbound::new(&RingProvider::new(), &master(suite, &theirs));
                    listeners.push(Listener::new(publisher, inbound, scenario.verify_every));
                }
            }
        }
        Ok(Fleet { sources, listeners, by_lane, payload_bytes: scenario.payload_bytes })
    }

    /// How many endpoints there are.
    pub fn lanes(&self) -> u32 {
        self.by_lane.len() as u32
    }

    /// Seals the next `count` packets of each publisher.
    pub fn seal(&mut self, count: u64) -> Stretch {
        let first = self.sources.iter().map(|source| source.stream.next).collect();
        let mut packets = Vec::with_capacity(count as usize * self.sources.len());
        for _ in 0..count {
            for source in &mut self.sources {
                packets.push(source.stream.packet(self.payload_bytes));
            }
        }
        for listener in &mut self.listeners {
            listener.begin(count);
        }
        Stretch { packets, first, count }
    }

    /// From where to where the publisher with this number sends.
    pub fn way(&self, source: usize) -> (SocketAddr, SocketAddr) {
        (self.sources[source].local, self.sources[source].remote)
    }

    /// Takes what came to one of our endpoints; the place of a packet of media in its stretch.
    pub fn take(&mut self, at: SocketAddr, bytes: &mut [u8], stretch: &Stretch) -> Option<u64> {
        let lane = number(at).and_then(|number| *self.by_lane.get(number)?)?;
        let listener = &mut self.listeners[lane];
        let place = listener.take(bytes, stretch.first[listener.source as usize])?;
        // All of one place are sent in turn.
        Some(place * stretch.first.len() as u64 + u64::from(listener.source))
    }

    /// What all subscribers got of a stretch.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.listeners.iter().for_each(|listener| sum.add(&listener.tally));
        sum
    }

    /// Subscribers that got nothing yet.
    pub fn deaf(&self) -> usize {
        self.listeners.iter().filter(|listener| listener.offset.is_none()).count()
    }

    /// Fails unless every subscriber has opened something.
    ///
    /// # Errors
    /// How many have not.
    pub fn all_hear(&self, engine: &dyn Engine) -> Result<()> {
        let (deaf, all) = (self.deaf(), self.listeners.len());
        ensure!(deaf == 0, "{deaf} of {all} subscribers hear nothing\n{}", engine.complaint());
        Ok(())
    }

    /// How many packets come of one packet of each publisher.
    pub fn copies(&self) -> u64 {
        self.listeners.len() as u64
    }
}

/// Packets that are sealed and not sent yet, in the order of sending: the first of each publisher, the
/// second of each, and so on.
pub struct Stretch {
    /// The packets.
    pub packets: Vec<Vec<u8>>,
    /// The first index, per publisher.
    first: Vec<u64>,
    /// Packets of each publisher.
    pub count: u64,
}

/// What subscribers got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// What should have come.
    pub expected: u64,
    /// Packets of this stretch, each once.
    pub received: u64,
    /// Of those, packets whose tag and content were checked.
    pub verified: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came behind a later one.
    pub reordered: u64,
    /// Packets that could not be opened, belong to somebody else, or are none.
    pub wrong: u64,
    /// Packets of an earlier stretch.
    pub late: u64,
    /// RTCP.
    pub reports: u64,
}

impl Tally {
    /// What did not come.
    pub fn lost(&self) -> u64 {
        self.expected - self.received
    }

    /// The same as a share of one.
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.expected.max(1) as f64
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Tally) {
        self.expected += other.expected;
        self.received += other.received;
        self.verified += other.verified;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
        self.late += other.late;
        self.reports += other.reports;
    }
}

/// One subscriber.
struct Listener {
    source: u32,
    inbound: Inbound<RingProvider>,
    window: ReplayWindow,
    ssrc: Option<u32>,
    /// Egress index minus ingress index, once a packet was opened.
    offset: Option<u64>,
    verify_every: u32,
    until_verified: u32,
    seen: Vec<u64>,
    highest: Option<u64>,
    tally: Tally,
}

impl Listener {
    fn new(source: u32, inbound: Inbound<RingProvider>, verify_every: u32) -> Listener {
        Listener {
            source,
            inbound,
            window: ReplayWindow::new(),
            ssrc: None,
            offset: None,
            verify_every,
            until_verified: 0,
            seen: vec![],
            highest: None,
            tally: Tally::default(),
        }
    }

    fn begin(&mut self, count: u64) {
        self.seen = vec![0; (count as usize).div_ceil(64)];
        self.highest = None;
        self.tally = Tally { expected: count, ..Tally::default() };
    }

    /// Its place in the stretch, unless it has none or had it before.
    fn take(&mut self, bytes: &mut [u8], first: u64) -> Option<u64> {
        match classify(bytes) {
            Kind::Rtcp => {
                self.tally.reports += 1;
                return None;
            }
            // Who joined by ICE is asked now and then whether it is there.
            Kind::Stun => return None,
            _ => {}
        }
        let Some((index, was_opened)) = self.index(bytes) else {
            self.tally.wrong += 1;
            return None;
        };
        let Some(place) = index.checked_sub(first) else {
            self.tally.late += 1;
            return None;
        };
        let Some(word) = self.seen.get_mut((place / 64) as usize) else {
            self.tally.wrong += 1;
            return None;
        };
        if place >= self.tally.expected {
            self.tally.wrong += 1;
            return None;
        }
        let bit = 1 << (place % 64);
        if *word & bit != 0 {
            self.tally.duplicates += 1;
            return None;
        }
        *word |= bit;
        self.tally.received += 1;
        self.tally.verified += u64::from(was_opened);
        self.tally.reordered += u64::from(self.highest.is_some_and(|highest| place < highest));
        self.highest = self.highest.max(Some(place));
        Some(place)
    }

    /// The publisher's index of a packet, by its content when it is opened, else by its own number; and
    /// whether it was opened.
    fn index(&mut self, bytes: &mut [u8]) -> Option<(u64, bool)> {
        let header = Rtp::new_sealed(&*bytes).ok()?;
        let (ssrc, header_len) = (header.ssrc(), header.header_len());
        let egress = self.window.estimate(header.sequence());
        if *self.ssrc.get_or_insert(ssrc) != ssrc {
            return None;
        }
        if let Some(offset) = self.offset.filter(|_| self.until_verified > 0) {
            self.until_verified -= 1;
            // For the rollover counter; a repeated packet is found by its place.
            let _ = self.window.commit(egress);
            return Some((egress.value().wrapping_sub(offset), false));
        }
        let job = OpenJob::new(&self.inbound, ssrc, egress, header_len, bytes);
        let mut jobs = [job];
        RingProvider::new().open_many(&mut jobs);
        let (source, index) = watermark(jobs[0].payload()?)?;
        if source != self.source {
            return None;
        }
        let _ = self.window.commit(egress);
        self.until_verified = self.verify_every - 1;
        self.offset = Some(egress.value().wrapping_sub(index));
        Some((index, true))
    }
}

/// Publication and index, as [`Publisher`] writes them.
fn watermark(payload: &[u8]) -> Option<(u32, u64)> {
    let source = payload.get(8..12)?.try_into().ok()?;
    let index = payload.get(12..20)?.try_into().ok()?;
    Some((u32::from_be_bytes(source), u64::from_be_bytes(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that hands every subscriber the publisher's own packets.
    struct Mirror(KeyMaterial);

    impl Engine for Mirror {
        fn publish(&mut self, _: u32, _: u32, lane: &Lane) -> Result<(SocketAddr, KeyMaterial)> {
            self.0 = lane.key;
            Ok((lane.local, lane.key))
        }
        fn subscribe(&mut self, _: u32, _: u32, _: &Lane) -> Result<KeyMaterial> {
            Ok(self.0)
        }
        fn cpu(&self) -> Result<crate::load::cpu::CpuTime> {
            anyhow::bail!("it has no process")
        }
        fn complaint(&self) -> String {
            String::new()
        }
    }

    fn fleet(verify_every: u32) -> Fleet {
        let text = format!(
            "[[scenario]]\nname = \"a\"\nrooms = 1\npublishers = 1\nsubscribers = 1\n\
             payload_bytes = 100\npackets_per_s = 50\nseconds = 1\nport = \"udp\"\n\
             verify_every = {verify_every}"
        );
        let file =
            std::env::temp_dir().join(format!("rl-fleet-{}-{verify_every}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let scenario = super::super::scenario::read(Some(&file)).unwrap().remove(0);
        std::fs::remove_file(&file).unwrap();
        Fleet::join(&scenario, &mut Mirror(key(Profile::AeadAes128Gcm, 0))).unwrap()
    }

    #[test]
    fn loss_repetition_disorder_and_forgery_are_told_apart() {
        for verify_every in [1, 16] {
            let mut fleet = fleet(verify_every);
            let stretch = fleet.seal(100);
            let at = lane(1);
            let packet = |place: usize| stretch.packets[place].clone();
            for place in [0, 1, 3, 2, 5, 5, 70] {
                let expected = (place != 5 || fleet.tally().received < 5).then_some(place as u64);
                assert_eq!(fleet.take(at, &mut packet(place), &stretch), expected, "{place}");
            }
            let mut forged = packet(80);
            forged[90] ^= 1;
            let opened = fleet.take(at, &mut forged, &stretch).is_some();
            assert_eq!(opened, verify_every > 1, "a sample does not see every forgery");
            assert_eq!(fleet.take(at, &mut [0x80; 9], &stretch), None);
            assert_eq!(fleet.take(at, &mut [0x80, 200, 0, 0], &stretch), None);
            // Nobody subscribes there.
            assert_eq!(fleet.take(lane(0), &mut packet(90), &stretch), None);
            let tally = fleet.tally();
            let got = 6 + u64::from(opened);
            assert_eq!((tally.received, tally.lost()), (got, 100 - got));
            assert_eq!((tally.duplicates, tally.reordered, tally.reports), (1, 1, 1));
            assert_eq!(tally.wrong, 1 + u64::from(!opened));
            assert_eq!(tally.verified, if verify_every == 1 { 6 } else { 1 });
            assert_eq!(fleet.deaf(), 0);
        }
    }

    #[test]
    fn a_packet_of_the_stretch_before_is_late_and_no_loss_of_this_one() {
        let mut fleet = fleet(1);
        let before = fleet.seal(10);
        let stretch = fleet.seal(10);
        let at = lane(1);
        assert_eq!(fleet.take(at, &mut before.packets[9].clone(), &stretch), None);
        assert_eq!(fleet.take(at, &mut stretch.packets[0].clone(), &stretch), Some(0));
        let tally = fleet.tally();
        assert_eq!((tally.late, tally.received, tally.lost()), (1, 1, 9));
    }
}

//! Random runs from a seed: loss, reorder, duplicates, joins, leaves, kicks and crashes, with the oracles
//! checked all along. A seed that ever failed stays in the list.

use std::collections::HashSet;

use proto::{CloseReason, Command, MediaKind};
use roomlane_core::Duration;
use roomlane_tests::bundle::{Bundle, Picture, Source, bundled};
use roomlane_tests::peer::{Got, Publisher, Subscriber};
use roomlane_tests::rng::Rng;
use roomlane_tests::world::World;
use srtp::Profile;

/// Indices set apart for each layer of a simulcast.
const LAYER_INDICES: u64 = 10_000;
const KINDS: [MediaKind; 2] = [MediaKind::Audio, MediaKind::Video];

struct Run {
    rng: Rng,
    world: World,
    rooms: Vec<(proto::RoomNo, u32)>,
    publishers: Vec<Publisher>,
    /// Simulcasts: each with the layers that its publisher sends.
    bundles: Vec<(Bundle, Vec<Source>)>,
    subscribers: Vec<Subscriber>,
    /// Packets on the wire that wait for their turn: shard, from, bytes.
    delayed: Vec<(usize, proto::Endpoint, Vec<u8>)>,
    crashes: u32,
    /// Numbers of all simulcasts there were.
    layered: HashSet<u32>,
    /// How often a viewer got one layer behind another.
    switches: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::ALL[rng.below(3)];
        let shards = 1 + rng.below(3);
        let mut world = World::new(shards, profile);
        let rooms =
            (0..1 + rng.below(4)).map(|at| (world.open_room(1 + at as u32 % 2), 1 + at as u32 % 2));
        let rooms = rooms.collect();
        Run {
            rng,
            world,
            rooms,
            publishers: vec![],
            bundles: vec![],
            subscribers: vec![],
            delayed: vec![],
            crashes: 0,
            layered: HashSet::new(),
            switches: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=3 if self.publishers.len() < 12 => self.join_publisher(),
            4..=8 if self.subscribers.len() < 30 => self.join_subscriber(),
            9 => self.leave_publisher(),
            10 => self.leave_subscriber(),
            11 => self.world.pass(Duration::from_ms(200)),
            12 if self.rng.chance(20) => {
                let shard = self.rng.below(self.world.shards.len());
                self.deliver();
                self.crashes += 1;
                self.world.crash(shard);
            }
            13 if self.bundles.len() < 4 => self.join_bundle(),
            14..=40 => self.publish_layers(),
            _ => self.publish(),
        }
        if self.rng.chance(10) {
            self.deliver();
        }
    }

    fn place(&mut self) -> (usize, proto::RoomNo, u32, MediaKind) {
        let (room, app) = self.rooms[self.rng.below(self.rooms.len())];
        (self.rng.below(self.world.shards.len()), room, app, KINDS[self.rng.below(2)])
    }

    fn join_publisher(&mut self) {
        let (shard, room, app, kind) = self.place();
        let first = self.rng.draw() % 70_000;
        // A stream that starts just below a wrap and loses that packet has an undecidable ROC.
        let first = if first % 65_536 > 60_000 { first % 60_000 } else { first % 65_536 };
        self.publishers.push(self.world.publisher(shard, room, app, kind, first));
    }

    fn join_bundle(&mut self) {
        let (shard, room, app, _) = self.place();
        let stream = self.world.stream(MediaKind::Video);
        let layers = 1 + self.rng.below(3);
        let rids = if layers > 1 { &["h", "m", "l"][..layers] } else { &[] };
        let spec = bundled(stream, "v", rids, true);
        let bundle = self.world.bundle(shard, room, app, &[spec]);
        // Each layer has a range of indices of its own, so that a mark tells the layer.
        let first = |layer| 1 + layer as u64 * LAYER_INDICES;
        let sources = (0..layers).map(|layer| Source::new(spec, layer, first(layer))).collect();
        self.layered.insert(spec.publication.0);
        self.bundles.push((bundle, sources));
    }

    fn join_subscriber(&mut self) {
        let (shard, room, app, kind) = self.place();
        let count = 1 + self.rng.below(3);
        if self.rng.chance(50) {
            let spec = bundled(self.world.stream(MediaKind::Video), "v", &[], false);
            let specs = vec![spec; count];
            self.subscribers.push(self.world.viewer(shard, room, app, &specs));
        } else {
            self.subscribers.push(self.world.subscriber(shard, room, app, &vec![kind; count]));
        }
    }

    /// A picture of each layer of one simulcast; what is lost may come again on the repair stream, and a
    /// layer may pause.
    fn publish_layers(&mut self) {
        if self.bundles.is_empty() {
            return;
        }
        let at = self.rng.below(self.bundles.len());
        let (bundle, sources) = &mut self.bundles[at];
        let (shard, from) = (bundle.session.shard().0 as usize, bundle.remote);
        self.world.pass(Duration::from_ms(30));
        for (layer, source) in sources.iter_mut().enumerate() {
            if source.next / 50 % 3 == layer as u64 && self.rng.chance(90) {
                self.world.pass(Duration::from_ms(20));
                source.next += u64::from(self.rng.chance(10));
                continue;
            }
            let picture = if self.rng.chance(10) { Picture::Key } else { Picture::Delta };
            let bytes = 100 * (1 + layer * 3);
            let (index, packet) = (source.next, bundle.packet(source, picture, bytes));
            match self.rng.below(20) {
                0 => {}
                1 | 2 => {
                    self.delayed.push((shard, from, bundle.repair(source, index, picture, bytes)))
                }
                3 => {
                    let repair = bundle.repair(source, index, picture, bytes);
                    self.world.arrive(shard, from, &[packet, repair]);
                }
                4 => self.delayed.push((shard, from, packet)),
                _ => self.world.arrive(shard, from, &[packet]),
            }
        }
        self.let_one_come();
    }

    fn close(&mut self, session: proto::SessionId) {
        self.world.desired.remove(&session);
        let reason = if self.rng.chance(50) { CloseReason::Kicked } else { CloseReason::Left };
        let shard = session.shard().0 as usize;
        self.world.command(shard, &Command::CloseSession { session, reason });
    }

    fn leave_publisher(&mut self) {
        if self.publishers.is_empty() {
            return;
        }
        if !self.bundles.is_empty() && self.rng.chance(30) {
            let (bundle, sources) = self.bundles.swap_remove(self.rng.below(self.bundles.len()));
            self.unpublish(bundle.session, sources[0].spec.publication);
            return;
        }
        let gone = self.publishers.swap_remove(self.rng.below(self.publishers.len()));
        self.unpublish(gone.session, gone.spec.publication);
    }

    fn unpublish(&mut self, session: proto::SessionId, publication: proto::PublicationNo) {
        self.close(session);
        for shard in 0..self.world.shards.len() {
            if shard != session.shard().0 as usize {
                self.world.command(shard, &Command::CloseRemote { publication });
                self.world.setup.retain(|(_, command)| {
                    !matches!(
                    command, Command::OpenRemote { spec, .. } if spec.publication == publication)
                });
            }
        }
    }

    fn leave_subscriber(&mut self) {
        if self.subscribers.is_empty() {
            return;
        }
        self.deliver();
        let at = self.rng.below(self.subscribers.len());
        self.judge(at);
        let gone = self.subscribers.swap_remove(at);
        self.close(gone.session);
    }

    fn publish(&mut self) {
        if self.publishers.is_empty() {
            return;
        }
        let at = self.rng.below(self.publishers.len());
        let publisher = &mut self.publishers[at];
        let packet = publisher.packet(20 + self.rng.below(1100));
        let (shard, from) = (publisher.session.shard().0 as usize, publisher.remote);
        match self.rng.below(20) {
            0 => {}
            1 => {
                self.delayed.push((shard, from, packet.clone()));
                self.world.arrive(shard, from, &[packet]);
            }
            2 | 3 => self.delayed.push((shard, from, packet)),
            4 => {
                let mut forged = packet.clone();
                let place = self.rng.below(forged.len());
                forged[place] ^= 1 << self.rng.below(8);
                self.world.arrive(shard, from, &[forged, packet]);
            }
            _ => self.world.arrive(shard, from, &[packet]),
        }
        self.let_one_come();
    }

    fn let_one_come(&mut self) {
        if self.delayed.len() > 6 {
            let at = self.rng.below(self.delayed.len());
            let (shard, from, packet) = self.delayed.swap_remove(at);
            self.world.arrive(shard, from, &[packet]);
        }
    }

    fn deliver(&mut self) {
        let mut targets: Vec<_> = self.subscribers.iter_mut().collect();
        self.world.deliver(&mut targets);
        self.world.check();
    }

    /// What must be true of everything a subscriber got.
    fn judge(&mut self, at: usize) {
        let subscriber = &self.subscribers[at];
        assert_eq!(subscriber.refused, 0, "the subscriber could not open something");
        let mut seen = HashSet::new();
        for got in &subscriber.got {
            assert_eq!(got.mark.room, subscriber.room.0, "a packet left its room");
            assert!(seen.insert((got.mark.publication, got.mark.index)), "a packet came twice");
            assert_eq!(got.csrcs, [got.mark.publication]);
        }
        for slot in &subscriber.slots {
            let mut segments = 0;
            let of_slot = || subscriber.got.iter().filter(|got| got.ssrc == slot.ssrc);
            for pair in of_slot().collect::<Vec<_>>().windows(2) {
                let (a, b) = (pair[0], pair[1]);
                if a.mark.publication != b.mark.publication {
                    assert!(b.egress > a.egress, "a switch went backwards");
                    continue;
                }
                // Within a segment egress follows ingress exactly; only a crash starts another one.
                let offset = |got: &Got| got.egress.wrapping_sub(got.mark.index);
                if self.layered.contains(&a.mark.publication) {
                    // Between two layers, and from one back to itself when nothing of the other came.
                    assert!(offset(a) == offset(b) || b.egress > a.egress, "{a:?} then {b:?}");
                    let is_switch = a.mark.index / LAYER_INDICES != b.mark.index / LAYER_INDICES;
                    assert!(!is_switch || b.egress > a.egress, "{a:?} then {b:?}");
                    self.switches += u32::from(is_switch);
                } else if offset(a) != offset(b) {
                    assert!(self.crashes > 0 && b.egress > a.egress, "{a:?} then {b:?}");
                    segments += 1;
                }
            }
            assert!(segments <= self.crashes, "{segments} segments, {} crashes", self.crashes);
        }
    }
}

/// Packets judged, and switches between layers among them.
fn run(seed: u64) -> (u64, u32) {
    let mut run = Run::new(seed);
    for _ in 0..3000 {
        run.step();
    }
    run.deliver();
    for at in 0..run.subscribers.len() {
        run.judge(at);
    }
    let got: usize = run.subscribers.iter().map(|subscriber| subscriber.got.len()).sum();
    (got as u64, run.switches)
}

#[test]
fn random_runs_keep_every_promise() {
    let seeds = std::env::var("ROOMLANE_SEEDS").ok().and_then(|text| text.parse().ok());
    let (mut got, mut switches) = (0, 0);
    for seed in 0..seeds.unwrap_or(40) {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let judged = outcome.unwrap_or_else(|cause| {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(cause)
        });
        (got, switches) = (got + judged.0, switches + judged.1);
    }
    // An oracle that sees nothing proves nothing.
    assert!(got > 100_000, "only {got} packets were judged");
    assert!(switches > 100, "only {switches} switches between layers were judged");
}

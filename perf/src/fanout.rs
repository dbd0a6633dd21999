//! `core`: time per sealed copy in the shard core, beside bare `ring` in the same run.
//!
//! Short samples of three kinds alternate, so that whatever else the machine does falls on all of them
//! alike: the core (receive, all stages, transmit into memory), `open_seal` and `seal` of [`crate::floor`].
//! What arrives is sealed beforehand and not measured. A round in which the scheduler cut into a sample, or
//! somebody else worked on the same core, is thrown away.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use roomlane_core::{BURST_MAX, Duration, Pool, TX_BURST_MAX};
use serde_json::json;

use crate::bed::{Bed, MemoryPort};
use crate::floor::Floor;
use crate::machine::available_bytes;
use crate::report::{Figure, Report};
use crate::sample::{Cut, Probe, Summary};
use crate::scenario::{self, Against, Scenario, Shape};

/// Sealed copies of a sample: some 100 us and more.
const COPIES_PER_SAMPLE: usize = 1024;
/// Rounds that warm up and are forgotten.
const WARM_UP: u64 = 8;
/// Rounds taken for each one that is wanted, at most, while others disturb them.
const PATIENCE: u64 = 20;
/// Bytes of memory that a session with its share of everything takes at most; twice for the floor.
const SESSION_BYTES: u64 = 12 * 1024;

/// What `core` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Scenarios to run instead of the specification's.
    #[arg(long, value_name = "FILE")]
    scenarios: Option<PathBuf>,
    /// Only scenarios whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Undisturbed rounds per scenario; a round is a sample of each kind.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    rounds: u32,
    /// Leave the floor out: for profilers.
    #[arg(long)]
    no_floor: bool,
}

/// Runs the scenarios.
///
/// # Errors
/// The scenario file, or a core that did not forward what it should have.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new("core", "memory");
    let mut scenarios = scenario::read(options.scenarios.as_deref())?;
    if let Some(only) = &options.only {
        scenarios.retain(|(scenario, _)| scenario.name.contains(only.as_str()));
    }
    if scenarios.is_empty() {
        bail!("there is no such scenario");
    }
    let mut probe = Probe::new();
    for (scenario, shape) in scenarios {
        let needed = 2 * SESSION_BYTES * u64::from(shape.sessions());
        if needed > available_bytes() {
            eprintln!("{}: skipped, wants {} MiB of memory", scenario.name, needed >> 20);
            continue;
        }
        let rounds = measure(shape, options, &mut probe)?;
        rounds.report(&scenario, &mut report);
    }
    Ok(report)
}

/// Times per copy in ns, round by round.
#[derive(Default)]
struct Rounds {
    core: Vec<f64>,
    open_seal: Vec<f64>,
    seal: Vec<f64>,
    taken: u64,
    cut: u64,
}

/// The three kinds of sample.
#[derive(Clone, Copy)]
enum Kind {
    Core,
    OpenSeal,
    Seal,
}

fn measure(shape: Shape, options: &Options, probe: &mut Probe) -> Result<Rounds> {
    let fanout = shape.fanout as usize;
    let bursts = COPIES_PER_SAMPLE.div_ceil(fanout * BURST_MAX);
    let packets = bursts * BURST_MAX;
    let buffers = packets + 2 * TX_BURST_MAX + BURST_MAX;
    let mut bed = Bed::open(shape, MemoryPort::new(buffers, packets));
    let mut floor = Floor::new(shape, packets);
    let mut order = Order::new(shape.rooms as usize);
    let mut rooms = vec![0; packets];
    let mut found = Rounds::default();
    let copies = (packets * fanout) as f64;
    let wanted = options.rounds as usize;
    let mut total = 0;
    while found.core.len() < wanted && found.taken < PATIENCE * wanted as u64 {
        total += 1;
        rooms.fill_with(|| order.next());
        let mut times = [0.0; 3];
        let mut was_cut = !probe.is_alone();
        for turn in 0..3 {
            // Another kind goes first each time.
            let kind = [Kind::Core, Kind::OpenSeal, Kind::Seal][(total as usize + turn) % 3];
            if options.no_floor && !matches!(kind, Kind::Core) {
                continue;
            }
            let cut = Cut::begin();
            times[kind as usize] = sample(kind, &mut bed, &mut floor, &rooms) / copies;
            was_cut |= cut.happened();
        }
        was_cut |= !probe.is_alone();
        bed.pass(Duration::from_ms(1));
        if total <= WARM_UP {
            continue;
        }
        found.taken += 1;
        if was_cut {
            found.cut += 1;
            continue;
        }
        found.core.push(times[0]);
        found.open_seal.push(times[1]);
        found.seal.push(times[2]);
    }
    check(&bed, total * packets as u64, fanout as u64)?;
    Ok(found)
}

/// Takes one sample, in ns; what arrives is made before the clock starts.
fn sample(kind: Kind, bed: &mut Bed<MemoryPort>, floor: &mut Floor, rooms: &[usize]) -> f64 {
    match kind {
        Kind::Core => {
            for room in rooms {
                let arrived = bed.arrive(*room);
                debug_assert!(arrived, "buffers for a whole sample");
            }
            let began = Instant::now();
            while bed.turn() > 0 {}
            began.elapsed().as_nanos() as f64
        }
        Kind::OpenSeal => {
            floor.arrive(rooms);
            let began = Instant::now();
            floor.open_seal();
            began.elapsed().as_nanos() as f64
        }
        Kind::Seal => {
            floor.arrive(rooms);
            let began = Instant::now();
            floor.seal();
            began.elapsed().as_nanos() as f64
        }
    }
}

/// A figure counts only if every packet reached every subscriber.
fn check(bed: &Bed<MemoryPort>, packets: u64, fanout: u64) -> Result<()> {
    let counters = bed.shard.counters();
    let (forwarded, copies) = (counters.forwarded, counters.tx_packets);
    if (forwarded, copies) != (packets, packets * fanout) {
        bail!("of {packets} packets {forwarded} were forwarded in {copies} copies");
    }
    let (in_use, refused) = (bed.io.port.in_use(), bed.io.refused());
    if in_use + refused as usize != 0 {
        bail!("{in_use} buffers leaked, {refused} datagrams refused");
    }
    Ok(())
}

impl Rounds {
    fn report(self, scenario: &Scenario, report: &mut Report) {
        report.sampled(self.taken, self.cut);
        let ratios = |floor: &[f64]| {
            Summary::of(self.core.iter().zip(floor).map(|(core, floor)| core / floor).collect())
        };
        let (to_seal, to_open_seal) = (ratios(&self.seal), ratios(&self.open_seal));
        let (core, open_seal, seal) =
            (Summary::of(self.core), Summary::of(self.open_seal), Summary::of(self.seal));
        let Some(((core, open_seal), (seal, (to_seal, to_open_seal)))) =
            core.zip(open_seal).zip(seal.zip(to_seal.zip(to_open_seal)))
        else {
            eprintln!("{}: no round was left alone", scenario.name);
            let nothing = Figure::new(format!("{}_ratio", scenario.name), f64::NAN, "x");
            return report.push(nothing.at_most(scenario.ratio_max));
        };
        let name = |what: &str| format!("{}_{what}", scenario.name);
        report.push(
            Figure::new(name("ns_per_copy"), core.median, "ns")
                .note(format!(
                    "{:.2} M copies/s; ring: seal {:.1} ns, open_seal {:.1} ns",
                    1e3 / core.median,
                    seal.median,
                    open_seal.median
                ))
                .detail(json!({ "core": core, "open_seal": open_seal, "seal": seal })),
        );
        for (against, what, base, pairs) in [
            (Against::OpenSeal, "over_open_seal", &open_seal, to_open_seal),
            (Against::Seal, "over_seal", &seal, to_seal),
        ] {
            let bound = scenario.ratio_max.filter(|_| scenario.against == against);
            report.push(
                Figure::new(name(what), core.median / base.median, "x")
                    .at_most(bound)
                    .note(format!(
                        "median of ratios {:.3} ({:.3} .. {:.3})",
                        pairs.median, pairs.p10, pairs.p90
                    ))
                    .detail(json!({ "ratios": pairs })),
            );
        }
    }
}

/// The order in which rooms get their packets: all of them, mixed, again and again.
pub struct Order {
    rooms: Vec<usize>,
    at: usize,
}

impl Order {
    /// Of so many rooms.
    pub fn new(count: usize) -> Order {
        let mut rooms: Vec<usize> = (0..count).collect();
        // Fisher and Yates, by a fixed sequence: every run takes the same way.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for i in (1..count).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            rooms.swap(i, (state % (i as u64 + 1)) as usize);
        }
        Order { rooms, at: 0 }
    }

    /// The next one.
    pub fn next(&mut self) -> usize {
        let room = self.rooms[self.at];
        self.at = (self.at + 1) % self.rooms.len();
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_comes_once_before_any_comes_twice() {
        let mut order = Order::new(100);
        let mut seen: Vec<usize> = (0..100).map(|_| order.next()).collect();
        assert_ne!(seen, (0..100).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_short_run_checks_that_every_packet_reached_every_subscriber() {
        let options = Options { scenarios: None, only: None, rounds: 10, no_floor: false };
        let shape = Shape { rooms: 4, fanout: 3, payload: 160, has_extension: false };
        let found = measure(shape, &options, &mut Probe::new()).unwrap();
        assert_eq!(found.taken, found.core.len() as u64 + found.cut);
        assert!(found.core.len() == 10 || found.taken == 10 * PATIENCE);
        assert!(found.core.iter().all(|ns| *ns > 0.0));
    }
}

//! `load`: a whole node under media from outside.
//!
//! Two namespaces with a cable, the node's port at one end; at the other a generator whose packets are
//! sealed before the clock starts, and a sink that accounts for every copy. Nothing of a node is in this
//! process, and nothing of the generator in the figures of CPU time.

pub mod cpu;
pub mod drive;
pub mod fleet;
pub mod lane;
pub mod roomlane;
pub mod scenario;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use roomlane_peers::netns::Lab;
use serde_json::json;
use uring::UdpRing;

use crate::machine;
use crate::report::{Figure, Report};
use drive::Outcome;
use fleet::{Engine, Fleet, Tally};
use roomlane::Roomlane;
use scenario::Scenario;

/// Media before anything is measured, in seconds: next hops are found, replay windows and caches warm.
const WARM_UP_S: f64 = 1.5;
/// Packets that may leave late, at the 99th percentile, in nanoseconds, before the generator is to blame.
const LATE_P99_MAX_NS: u64 = 2_000_000;

/// Where generator and engine run.
#[derive(Debug, Clone, Copy, Args)]
pub struct Cpus {
    /// The engine's CPU: all its threads that handle packets stay there.
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    pub node_cpu: usize,
    /// The generator's and sink's CPU, which is never idle meanwhile.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub load_cpu: usize,
}

impl Cpus {
    /// Refuses one CPU for both.
    ///
    /// # Errors
    /// They are the same.
    pub fn check(&self) -> Result<()> {
        ensure!(self.node_cpu != self.load_cpu, "--node-cpu and --load-cpu must differ");
        Ok(())
    }
}

/// What `load` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Scenarios; those of perf/scenarios/load.toml by default.
    #[arg(long, value_name = "FILE")]
    scenarios: Option<PathBuf>,
    /// Only scenarios whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Whether the worker polls when nothing comes: `adaptive` or `busy`.
    #[arg(long, default_value = "adaptive", value_parser = ["adaptive", "busy"])]
    poll: String,
    /// Runs of each scenario, in turn; figures are medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[command(flatten)]
    cpus: Cpus,
}

/// Runs scenarios.
///
/// # Errors
/// A scenario file is refused, the host has no namespaces, or a node does not start or forward.
pub fn run(options: &Options) -> Result<Report> {
    options.cpus.check()?;
    let mut scenarios = scenario::read(options.scenarios.as_deref())?;
    if let Some(only) = &options.only {
        scenarios.retain(|scenario| scenario.name.contains(only));
        ensure!(!scenarios.is_empty(), "no scenario has `{only}` in its name");
    }
    let ports: Vec<_> = scenarios.iter().map(|scenario| scenario.port.clone()).collect();
    let mut report = Report::new("load", ports.join(", "));
    let mut all: Vec<Vec<Run>> = scenarios.iter().map(|_| vec![]).collect();
    for _ in 0..options.rounds {
        for (scenario, runs) in scenarios.iter().zip(&mut all) {
            runs.push(guarded(|| once(scenario, options))?);
        }
    }
    for (scenario, runs) in scenarios.iter().zip(&all) {
        tell(&mut report, scenario, runs);
    }
    Ok(report)
}

/// Runs what uses the peers of the tests, which panic where a test would fail.
///
/// # Errors
/// The panic's words, or the run's own.
pub fn guarded<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(anyhow!(text.unwrap_or_else(|| "a peer panicked".to_owned())))
    })
}

/// One run of one scenario.
pub struct Run {
    /// What came.
    pub outcome: Outcome,
    /// What the engine used for it.
    pub cpu: cpu::CpuTime,
}

impl Run {
    /// CPU time per packet that reached a subscriber, in nanoseconds: all of it, and outside the kernel.
    pub fn ns_per_packet(&self) -> (f64, f64) {
        let received = self.outcome.tally.received.max(1) as f64;
        (self.cpu.total_ns / received, self.cpu.user_ns() / received)
    }
}

fn once(scenario: &Scenario, options: &Options) -> Result<Run> {
    let lab = lab(&scenario.port)?;
    let mut engine = Roomlane::start(&lab, &scenario.port, &options.poll, options.cpus.node_cpu)?;
    lab.peers.within(|| {
        let mut bench = Bench::new(scenario, &mut engine, options.cpus)?;
        bench.measure(&mut engine, scenario.packets_per_s, scenario.seconds)
    })
}

/// Two namespaces and a cable, ready for a port of that kind.
///
/// # Errors
/// The host has no namespaces.
pub fn lab(port: &str) -> Result<Lab> {
    let lab = Lab::new().context("no namespaces: this needs root")?;
    lane::own_block(&lab).map_err(|why| anyhow!(why))?;
    if !port.starts_with("net_") {
        lab.kernel_owns_the_nodes_end();
    }
    Ok(lab)
}

/// Everybody has joined and hears something.
pub struct Bench {
    fleet: Fleet,
    ring: UdpRing,
    sources: f64,
}

impl Bench {
    /// Joins all sessions of a scenario and warms up, on the thread that will measure, which is in the
    /// peers' namespace.
    ///
    /// # Errors
    /// A join is refused, or somebody hears nothing.
    pub fn new(scenario: &Scenario, engine: &mut dyn Engine, cpus: Cpus) -> Result<Bench> {
        machine::pin(cpus.load_cpu)?;
        let fleet = Fleet::join(scenario, engine)?;
        let ring = lane::open(fleet.lanes()).context("the generator's sockets")?;
        let sources = f64::from(scenario.rooms * scenario.publishers);
        let mut bench = Bench { fleet, ring, sources };
        // Slowly: every next hop is asked for once.
        let per_s = scenario.packets_per_s.min(200.0);
        bench.stretch(per_s, WARM_UP_S)?;
        bench.fleet.all_hear(engine)?;
        Ok(bench)
    }

    /// So many packets a second of each publisher for so long.
    ///
    /// # Errors
    /// The sockets broke.
    pub fn stretch(&mut self, per_s: f64, seconds: f64) -> Result<Outcome> {
        let count = (per_s * seconds).round().max(1.0);
        let stretch = self.fleet.seal(count as u64);
        let mut live = Live::new(stretch.packets.len() as u64);
        let show = &mut |sent, tally: &Tally| live.show(sent, tally);
        drive::run(&mut self.ring, &mut self.fleet, &stretch, per_s * self.sources, show)
    }

    /// The same, with the engine's CPU time.
    ///
    /// # Errors
    /// The sockets broke, or the engine is gone.
    pub fn measure(&mut self, engine: &mut dyn Engine, per_s: f64, seconds: f64) -> Result<Run> {
        let before = engine.cpu()?;
        let outcome = self.stretch(per_s, seconds)?;
        let cpu = engine.cpu()?.since(&before);
        if outcome.tally.lost() > 0 {
            eprintln!(
                "{} of {} lost\n{}",
                outcome.tally.lost(),
                outcome.tally.expected,
                engine.complaint()
            );
        }
        Ok(Run { outcome, cpu })
    }
}

/// The line that moves.
struct Live {
    total: u64,
    is_terminal: bool,
}

impl Live {
    fn new(total: u64) -> Live {
        Live { total, is_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, sent: u64, tally: &Tally) {
        let (total, received, wrong) = (self.total, tally.received, tally.wrong);
        let line = format!("sent {sent} of {total}, received {received}, wrong {wrong}");
        let end = if self.is_terminal { "\x1b[K\r" } else { "\n" };
        let _ = write!(std::io::stderr(), "{line}{end}");
    }
}

/// The middle of some numbers.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() % 2 {
        _ if all.is_empty() => f64::NAN,
        1 => all[middle],
        _ => (all[middle - 1] + all[middle]) / 2.0,
    }
}

fn tell(report: &mut Report, scenario: &Scenario, runs: &[Run]) {
    let name = &scenario.name;
    let (mut tally, mut latency, mut lateness) =
        (Tally::default(), drive::histogram(), drive::histogram());
    let (mut late_runs, mut sent, mut refused) = (0, 0, 0);
    for run in runs {
        tally.add(&run.outcome.tally);
        latency.add(&run.outcome.latency).expect("of one kind");
        lateness.add(&run.outcome.lateness).expect("of one kind");
        (sent, refused) = (sent + run.outcome.sent, refused + run.outcome.refused);
        late_runs += u64::from(run.outcome.lateness.value_at_quantile(0.99) > LATE_P99_MAX_NS);
    }
    report.sampled(runs.len() as u64, late_runs);
    let (expected, verified) = (tally.expected, tally.verified);
    report.push(
        Figure::new(format!("{name}_loss_percent"), tally.loss() * 100.0, "%")
            .at_most(scenario.loss_percent_max)
            .note(format!(
                "{} of {expected} lost, {verified} opened; {refused} of {sent} not taken by our own sockets",
                tally.lost()
            ))
            .detail(json!({ "scenario": scenario, "packets": tally })),
    );
    let faults = tally.duplicates + tally.reordered + tally.wrong;
    report.push(
        Figure::new(format!("{name}_faulty_packets"), faults as f64, "").at_most(Some(0.0)).note(
            format!(
                "{} twice, {} reordered, {} wrong",
                tally.duplicates, tally.reordered, tally.wrong
            ),
        ),
    );
    let rate = median(runs.iter().map(|run| run.outcome.received_per_s()).collect());
    report.push(Figure::new(format!("{name}_out_pps"), rate, "/s").note(format!(
        "of {:.0}/s in, port {}",
        scenario.ingress_per_s(),
        scenario.port
    )));
    let us = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1000.0;
    let late_us = lateness.value_at_quantile(0.99) as f64 / 1000.0;
    for (percent, bound) in [(50.0, None), (99.0, scenario.latency_p99_us_max), (99.9, None)] {
        report.push(
            Figure::new(format!("{name}_latency_p{percent}_us"), us(percent / 100.0), "us")
                .at_most(bound)
                .note(format!("from the due time on; sent late by {late_us:.0} us at p99")),
        );
    }
    let of = |pick: fn((f64, f64)) -> f64| runs.iter().map(|r| pick(r.ns_per_packet())).collect();
    let (total, user): (Vec<f64>, Vec<f64>) = (of(|(total, _)| total), of(|(_, user)| user));
    for (kind, all) in [("cpu", total), ("cpu_user", user)] {
        report.push(
            Figure::new(format!("{name}_{kind}_ns_per_packet"), median(all.clone()), "ns")
                .note("data plane, per copy that came".to_owned())
                .detail(json!({ "runs_ns": all })),
        );
    }
    report.attach(format!("{name}.hgrm"), drive::hgrm(&latency));
}

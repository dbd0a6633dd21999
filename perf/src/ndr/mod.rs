//! `ndr`: the highest loads of a node, without loss (NDR) and with half a percent (PDR).
//!
//! One node, joined once; each trial is a second of media at another rate. [`search`] decides which.

pub mod search;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use crate::load::fleet::Engine;
use crate::load::roomlane::Roomlane;
use crate::load::scenario::{self, Scenario};
use crate::load::{Bench, Cpus, guarded, lab};
use crate::report::{Figure, Report};
use search::{Goal, Search};

/// A trial, in seconds.
const TRIAL_S: f64 = 1.0;
/// Packets a second that one publisher sends at least.
const LEAST_PPS: u64 = 10;
/// The generator is to blame when one packet in a hundred leaves later than this, in nanoseconds.
const LATE_P99_MAX_NS: u64 = 20_000_000;

/// What `ndr` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Scenarios; those of perf/scenarios/load.toml by default. Their rate and duration do not matter.
    #[arg(long, value_name = "FILE")]
    scenarios: Option<PathBuf>,
    /// The scenario with this name.
    #[arg(long, value_name = "NAME", default_value = "audio_room_of_50")]
    scenario: String,
    /// The port, instead of the scenario's.
    #[arg(long)]
    port: Option<String>,
    /// Packets a second of one publisher at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    max_pps: u64,
    #[command(flatten)]
    cpus: Cpus,
}

/// One scenario of a file, by its name.
///
/// # Errors
/// The file is refused, or has no such scenario.
pub fn scenario_named(
    file: Option<&std::path::Path>,
    name: &str,
    port: Option<&str>,
) -> Result<Scenario> {
    let mut all = scenario::read(file)?;
    let names: Vec<_> = all.iter().map(|scenario| scenario.name.clone()).collect();
    all.retain(|scenario| scenario.name == name);
    ensure!(!all.is_empty(), "no scenario `{name}`; there are {}", names.join(", "));
    let mut scenario = all.remove(0);
    scenario.port = port.map_or(scenario.port, str::to_owned);
    Ok(scenario)
}

/// Searches.
///
/// # Errors
/// A scenario is refused, the node does not start, or a generator that cannot keep its schedule.
pub fn run(options: &Options) -> Result<Report> {
    options.cpus.check()?;
    let port = options.port.as_deref();
    let scenario = scenario_named(options.scenarios.as_deref(), &options.scenario, port)?;
    guarded(|| {
        let lab = lab(&scenario.port)?;
        let mut engine = Roomlane::start(&lab, &scenario.port, "busy", options.cpus.node_cpu)?;
        lab.peers.within(|| measure(options, &scenario, &mut engine))
    })
}

fn measure(options: &Options, scenario: &Scenario, engine: &mut dyn Engine) -> Result<Report> {
    let mut bench = Bench::new(scenario, engine, options.cpus)?;
    let mut report = Report::new("ndr", scenario.port.clone());
    let (mut tried, mut late) = (0, 0);
    let mut trial = |pps: u64| -> Result<f64> {
        let outcome = bench.stretch(pps as f64, TRIAL_S)?;
        tried += 1;
        // A schedule that was not kept is no load of that rate.
        late += u64::from(outcome.lateness.value_at_quantile(0.99) > LATE_P99_MAX_NS);
        let loss = outcome.tally.loss();
        eprintln!("{pps} packets a second of each publisher: {:.3} % lost", loss * 100.0);
        Ok(loss)
    };
    // The first trial warms up and counts for nothing.
    trial(options.max_pps)?;
    let range = (LEAST_PPS, options.max_pps);
    let mut search = Search::default();
    let copies = f64::from(scenario.subscribers);
    for (name, goal) in [("ndr", Goal::csit(0.0)), ("pdr", Goal::csit(0.005))] {
        let edge = search.find(goal, range, &mut trial)?;
        let publishers = f64::from(scenario.rooms * scenario.publishers);
        let breaks = match edge.breaks_pps {
            Some(breaks) => format!("{breaks:.0} a publisher breaks it"),
            None => "the most that was tried; the edge is above".to_owned(),
        };
        report.push(
            Figure::new(
                format!("{}_{name}_in_pps", scenario.name),
                edge.keeps_pps * publishers,
                "/s",
            )
            .note(format!("{breaks}, {} trials so far", edge.trials))
            .detail(json!({ "edge": edge, "goal_loss_ratio": goal.loss_ratio })),
        );
        let out = edge.conditional_pps * publishers * copies;
        report.push(
            Figure::new(format!("{}_{name}_out_pps", scenario.name), out, "/s")
                .note("sent to subscribers, one worker".to_owned()),
        );
    }
    report.sampled(tried, late);
    Ok(report)
}

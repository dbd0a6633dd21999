//! `soak`: a node under a steady share of its highest load, for minutes.
//!
//! Windows of media follow one another; between two of them the next one is sealed. Told are the loss of all
//! of them, how the node's memory grew from the first to the last, and how far the latency's tail drifted.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::load::fleet::{Engine, Tally};
use crate::load::roomlane::Roomlane;
use crate::load::scenario::Scenario;
use crate::load::{Bench, Cpus, drive, guarded, lab, median};
use crate::ndr::scenario_named;
use crate::report::{Figure, Report};

/// A window, in seconds.
const WINDOW_S: f64 = 10.0;
/// Growth of the node's memory that is no leak: buffers of allocators, in bytes.
const GROWTH_MAX_BYTES: f64 = 1024.0 * 1024.0;

/// What `soak` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Scenarios; those of perf/scenarios/load.toml by default.
    #[arg(long, value_name = "FILE")]
    scenarios: Option<PathBuf>,
    /// The scenario with this name.
    #[arg(long, value_name = "NAME", default_value = "audio_room_of_50")]
    scenario: String,
    /// The port, instead of the scenario's.
    #[arg(long)]
    port: Option<String>,
    /// What `ndr` found for it: packets a second of one publisher. The scenario's own rate otherwise.
    #[arg(long, value_name = "PPS")]
    ndr_pps: Option<f64>,
    /// The share of that to send.
    #[arg(long, default_value_t = 0.7)]
    share: f64,
    /// Minutes of media.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    #[command(flatten)]
    cpus: Cpus,
}

/// Runs it.
///
/// # Errors
/// A scenario is refused, or the node does not start or forward.
pub fn run(options: &Options) -> Result<Report> {
    options.cpus.check()?;
    anyhow::ensure!(options.share > 0.0 && options.share <= 1.0, "--share is above 0, at most 1");
    let port = options.port.as_deref();
    let scenario = scenario_named(options.scenarios.as_deref(), &options.scenario, port)?;
    guarded(|| {
        let lab = lab(&scenario.port)?;
        let mut engine = Roomlane::start(&lab, &scenario.port, "adaptive", options.cpus.node_cpu)?;
        lab.peers.within(|| measure(options, &scenario, &mut engine))
    })
}

fn measure(options: &Options, scenario: &Scenario, engine: &mut Roomlane) -> Result<Report> {
    let mut bench = Bench::new(scenario, engine, options.cpus)?;
    let pps = options.ndr_pps.map_or(scenario.packets_per_s, |ndr| ndr * options.share);
    let windows = (f64::from(options.minutes) * 60.0 / WINDOW_S).ceil() as u32;
    let mut report = Report::new("soak", scenario.port.clone());
    let (mut tally, mut all) = (Tally::default(), drive::histogram());
    let (mut tails_us, mut rss, mut late) = (vec![], vec![], 0);
    for window in 0..windows {
        let outcome = bench.stretch(pps, WINDOW_S)?;
        tally.add(&outcome.tally);
        all.add(&outcome.latency).expect("of one kind");
        let tail_us = outcome.latency.value_at_quantile(0.999) as f64 / 1000.0;
        late += u64::from(outcome.lateness.value_at_quantile(0.999) > 5_000_000);
        tails_us.push(tail_us);
        rss.push(engine.rss_bytes()? as f64);
        let (lost, kib) = (outcome.tally.lost(), rss[rss.len() - 1] / 1024.0);
        eprintln!("window {window} of {windows}: {lost} lost, p99.9 {tail_us:.0} us, {kib:.0} KiB");
    }
    report.sampled(windows.into(), late);
    if tally.lost() > 0 {
        eprintln!("{}", engine.complaint());
    }
    let name = &scenario.name;
    report.push(
        Figure::new(format!("{name}_soak_lost_packets"), tally.lost() as f64, "")
            .at_most(Some(0.0))
            .note(format!("of {} at {pps:.0}/s in, {} min", tally.expected, options.minutes))
            .detail(json!({ "packets": tally })),
    );
    let third = (tails_us.len() / 3).max(1);
    let (first, last) = (&tails_us[..third], &tails_us[tails_us.len() - third..]);
    let (first_us, last_us) = (median(first.to_vec()), median(last.to_vec()));
    report.push(
        Figure::new(format!("{name}_soak_p99.9_drift"), last_us / first_us, "x")
            .note(format!("{first_us:.0} us in the first third, {last_us:.0} us in the last"))
            .detail(json!({ "windows_us": tails_us })),
    );
    let growth = rss[rss.len() - 1] - rss[0];
    report.push(
        Figure::new(format!("{name}_soak_rss_growth"), growth / 1024.0, "KiB")
            .at_most(Some(GROWTH_MAX_BYTES / 1024.0))
            .note(format!("from {:.0} KiB behind the first window", rss[0] / 1024.0))
            .detail(json!({ "windows_bytes": rss })),
    );
    report.attach(format!("{name}_soak.hgrm"), drive::hgrm(&all));
    Ok(report)
}

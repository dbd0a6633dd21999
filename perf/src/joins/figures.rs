//! The figures of the rounds, and the promises.

use serde_json::json;

use super::peer::{Tally, Times};
use super::turns::Turns;
use super::{Found, Options};
use crate::report::{Figure, Report};

/// The promises: all are in within this, in seconds,
const JOINED_S_MAX: f64 = 10.0;
/// nineteen of twenty have media within this, in milliseconds,
const FIRST_MEDIA_P95_MS_MAX: f64 = 500.0;
/// and turns are no longer with joins than without.
const TURN_RATIO_MAX: f64 = 1.0;

/// Everything found.
pub fn report(options: &Options, found: &Found, tallies: &[Tally]) -> Report {
    let mut report = Report::new("joins", options.port.clone());
    let worst_s = found.spans_s.iter().copied().fold(f64::NAN, f64::max);
    report.push(
        Figure::new("joined_within_s", worst_s, "s")
            .at_most(Some(JOINED_S_MAX))
            .note(format!("the longest of {} rounds of {}", options.rounds, options.sessions))
            .detail(json!({ "rounds_s": found.spans_s })),
    );
    let sum = |field: fn(&Tally) -> u64| tallies.iter().map(field).sum::<u64>();
    let (got, lost, wrong) = (sum(|t| t.got), sum(|t| t.lost), sum(|t| t.wrong));
    for (name, value) in [("members_lost_packets", lost), ("members_wrong_packets", wrong)] {
        let figure = Figure::new(name, value as f64, "").at_most(Some(0.0));
        report.push(figure.note(format!("{got} came, to {} viewers", tallies.len())));
    }
    steps(&mut report, "viewer", &found.viewers);
    steps(&mut report, "publisher", &found.publishers);
    for percent in [50.0, 99.0, 99.9] {
        turns(&mut report, found, percent);
    }
    long_turns(&mut report, found);
    same_windows(&mut report, found);
    report
}

/// From POST to each step of one role.
fn steps(report: &mut Report, role: &str, all: &[Times]) {
    for step in 0..Times::default().steps().len() {
        let (name, _) = Times::default().steps()[step];
        let took = all.iter().filter_map(|times| times.steps()[step].1);
        let mut ms: Vec<f64> = took.map(|took| took.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| ms[((ms.len() as f64 * share).ceil() as usize).max(1) - 1];
        let (p50, p95, max) = (at(0.5), at(0.95), at(1.0));
        report.push(
            Figure::new(format!("{role}_post_to_{name}_p95_ms"), p95, "ms")
                .at_most((name == "media").then_some(FIRST_MEDIA_P95_MS_MAX))
                .note(format!("p50 {p50:.1}, max {max:.1}, of {}", ms.len()))
                .detail(json!({ "p50": p50, "p95": p95, "max": max, "sessions": ms.len() })),
        );
    }
}

/// A percentile of the turns without joins and with them.
fn turns(report: &mut Report, found: &Found, percent: f64) {
    let of = |all: &[Turns]| all.iter().map(|t| t.percentile_us(percent)).collect::<Vec<_>>();
    let count = |all: &[Turns]| all.iter().map(Turns::count).sum::<u64>();
    let (quiet, joins) = (of(&found.quiet), of(&found.joins));
    let (without, with) = (median(&quiet), median(&joins));
    for (kind, value, windows, count) in [
        ("without_us", without, &quiet, count(&found.quiet)),
        ("with_us", with, &joins, count(&found.joins)),
    ] {
        report.push(
            Figure::new(format!("turn_cpu_p{percent}_{kind}"), value, "us")
                .note(spread(windows, count))
                .detail(json!({ "windows_us": windows, "turns": count })),
        );
    }
    let bound = (percent > 99.5).then_some(TURN_RATIO_MAX);
    report.push(
        Figure::new(format!("turn_cpu_p{percent}_ratio"), with / without, "x").at_most(bound),
    );
}

/// Within the windows with joins, where whatever else disturbs is the same: turns that did something for
/// the control plane, and the others.
fn same_windows(report: &mut Report, found: &Found) {
    let rest: Vec<_> =
        found.joins.iter().zip(&found.control).map(|(all, of)| all.since(of)).collect();
    for (kind, windows) in [("control", &found.control), ("other", &rest)] {
        let count = windows.iter().map(Turns::count).sum::<u64>();
        for percent in [50.0, 99.0, 99.9] {
            let us: Vec<f64> = windows.iter().map(|turns| turns.percentile_us(percent)).collect();
            report.push(
                Figure::new(format!("{kind}_turn_cpu_p{percent}_us"), median(&us), "us")
                    .note(spread(&us, count))
                    .detail(json!({ "windows_us": us, "turns": count })),
            );
        }
    }
}

/// What a median stands for.
fn spread(windows: &[f64], count: u64) -> String {
    let least = windows.iter().copied().fold(f64::NAN, f64::min);
    let most = windows.iter().copied().fold(f64::NAN, f64::max);
    let len = windows.len();
    format!("median of {len} windows ({least:.0} to {most:.0}), {count} turns")
}

/// Turns that took as long as the longest thousandth does without joins: joins bring short turns of
/// their own, which make any percentile smaller, but not this number.
fn long_turns(report: &mut Report, found: &Found) {
    let all: Vec<f64> = found.quiet.iter().map(|turns| turns.percentile_us(99.9)).collect();
    let long_us = median(&all);
    for (kind, windows) in [("without", &found.quiet), ("with", &found.joins)] {
        let counts: Vec<f64> =
            windows.iter().map(|turns| turns.longer_than_us(long_us) as f64).collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        report.push(
            Figure::new(format!("long_turns_per_window_{kind}"), mean, "")
                .note(format!("of {long_us:.0} us and more"))
                .detail(json!({ "windows": counts })),
        );
    }
}

/// The middle one, or the mean of the two.
fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}

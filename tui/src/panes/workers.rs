//! The workers: core, load, packets, buffers, how long their turns take.

use proto::counters::ShardCounters;

use crate::app::{App, STALE_NS};
use crate::grid::{Column, Grid, Row, STRIP, Tone, number, short, strip, word};
use crate::history::{duration_text, quantile_us};
use crate::theme::Theme;

pub(super) const COLUMNS: [Column; 17] = [
    number("worker", 6, 0),
    number("core", 4, 2),
    word("state", 10, 0),
    number("busy", 5, 0),
    word("load", 10, 7),
    number("in/s", 6, 0),
    number("out/s", 6, 0),
    number("sessions", 8, 4),
    number("rooms", 5, 12),
    number("p50", 8, 6),
    number("p99", 8, 3),
    number("p99.9", 8, 9),
    number("pkt/burst", 9, 10),
    number("cyc/pkt", 7, 11),
    number("buffers", 12, 5),
    number("replaced", 8, 8),
    strip("busy over time", 20, 13),
];

pub fn grid(app: &App, theme: &Theme) -> Grid {
    let Some(seen) = &app.seen else { return Grid::default() };
    let snapshot = &seen.snapshot;
    let rates = |shard| app.rates.workers.get(shard).copied().unwrap_or_default();
    let mut views: Vec<_> = snapshot.shards.iter().collect();
    if app.order(super::Table::Workers) == 1 {
        views.sort_by(|a, b| rates(b.shard).busy.total_cmp(&rates(a.shard).busy));
    }
    let rows = views.iter().map(|view| {
        let rates = rates(view.shard);
        let worker = view.worker.unwrap_or_default();
        let counters = view.counters.unwrap_or_default();
        let silent = snapshot.taken_ns.saturating_sub(worker.heartbeat_ns) > STALE_NS;
        let (sign, state, tone) = match view.worker {
            None => (theme.bad_sign(), "starting", Tone::Dim),
            Some(_) if silent => (theme.bad_sign(), "silent", Tone::Bad),
            Some(_) => (theme.good_sign(), "running", Tone::Plain),
        };
        let pinned = view.worker.is_some() && worker.core != u64::MAX;
        let turns = app.history.turns(Some(view.shard), app.window());
        let cells = vec![
            view.shard.to_string(),
            if pinned { worker.core.to_string() } else { "-".to_owned() },
            format!("{sign} {state}"),
            format!("{:.0}%", rates.busy * 100.0),
            theme.bar(rates.busy, 10),
            short(rates.rx_pps),
            short(rates.tx_pps),
            counters.sessions.to_string(),
            counters.rooms.to_string(),
            duration_text(quantile_us(&turns, 0.5)),
            duration_text(quantile_us(&turns, 0.99)),
            duration_text(quantile_us(&turns, 0.999)),
            ratio(worker.burst_packets, worker.bursts.iter().sum()),
            cycles(&counters),
            format!("{}/{}", worker.bufs_in_use, worker.bufs_total),
            worker.restarts.to_string(),
            bars(&app.history.busy(view.shard, app.window()), theme),
        ];
        Row::toned(cells, tone)
    });
    let rows = rows.collect();
    let hottest = snapshot
        .shards
        .iter()
        .filter(|view| view.worker.is_some())
        .max_by(|a, b| rates(a.shard).busy.total_cmp(&rates(b.shard).busy));
    let title = match hottest {
        Some(view) => {
            let core = match view.worker.map_or(u64::MAX, |worker| worker.core) {
                u64::MAX => "not pinned".to_owned(),
                core => format!("core {core}"),
            };
            let busy = rates(view.shard).busy * 100.0;
            format!("Workers: hottest is {} ({core}), {busy:.0}% busy", view.shard)
        }
        None => "Workers".to_owned(),
    };
    Grid { title, columns: &COLUMNS, rows }
}

/// Parts of one as a curve against one, in groups as those of other curves.
fn bars(parts: &[f64], theme: &Theme) -> String {
    let levels = theme.levels();
    let size = parts.len().div_ceil(STRIP).max(1);
    let top = |group: &[f64]| group.iter().copied().fold(0.0, f64::max);
    let level =
        |part: f64| ((part * (levels.len() - 1) as f64).round() as usize).min(levels.len() - 1);
    parts.rchunks(size).rev().map(|group| levels[level(top(group))]).collect()
}

/// One number per another; a dash without any.
fn ratio(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{:.1}", part as f64 / whole as f64),
    }
}

/// Sampled cycles that a packet takes in all stages together, since the start.
fn cycles(counters: &ShardCounters) -> String {
    let stages = counters.stages.iter().filter(|stage| stage.sampled_packets > 0);
    let per_packet: f64 =
        stages.map(|stage| stage.sampled_cycles as f64 / stage.sampled_packets as f64).sum();
    if per_packet > 0.0 { short(per_packet) } else { "-".to_owned() }
}

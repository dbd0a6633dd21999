//! How late packets are: the time from a burst's arrival to the end of its turn, as a histogram with a strip
//! of shades over time for each duration; then what each stage costs.

use proto::counters::{LATENCY_BUCKETS, STAGES};

use crate::app::App;
use crate::grid::{Column, Grid, Row, STRIP, Tone, number, short, strip, word};
use crate::history::{curve, duration_text, quantile_us, shades};
use crate::theme::Theme;

pub(super) const COLUMNS: [Column; 5] = [
    word("turns of", 10, 0),
    number("count", 11, 0),
    number("part", 6, 0),
    word("", BAR as u16, 0),
    strip("over time", 22, 1),
];
/// Longest bar: what is left for it on the narrowest screen, so that none is cut.
const BAR: usize = 23;

pub fn grid(app: &App, theme: &Theme) -> Grid {
    let turns = app.history.turns(None, app.window());
    let all: u64 = turns.iter().sum();
    let most = turns.iter().copied().max().unwrap_or(0).max(1) as f64;
    let used = |count: &u64| *count > 0;
    let first = turns.iter().position(used).unwrap_or(0);
    let last = turns.iter().rposition(used).unwrap_or(0);
    let heat = app.history.heat(app.window(), STRIP);
    let mut rows: Vec<Row> = (first..=last)
        .filter(|_| all > 0)
        .map(|index| {
            let count = turns[index];
            let bound = match index + 1 == LATENCY_BUCKETS {
                true => f64::INFINITY,
                false => f64::from(1u32 << index),
            };
            Row::new(vec![
                duration_text(Some(bound)),
                count.to_string(),
                format!("{:.1}%", 100.0 * count as f64 / all as f64),
                theme.bar(count as f64 / most, BAR),
                shades(&heat[index], theme.shades()),
            ])
        })
        .collect();
    if all > 0 {
        let p99 = app.history.quantiles_us(0.99, app.window());
        let last = duration_text(p99.last().copied().flatten());
        let p99 = log2(&p99);
        let [few, some, many, most] = theme.shades();
        let legend = format!("{few}<5% {some}<20% {many}<50% {most}more");
        let over_time = curve(&p99, STRIP, theme.levels());
        rows.push(Row::new(vec!["p99".to_owned(), last, String::new(), legend, over_time]));
    }
    rows.extend(stages(app, theme));
    let at = |part| duration_text(quantile_us(&turns, part));
    let seconds = app.history.seconds(app.window());
    let title =
        format!("Latency p50 {} p99 {} p99.9 {} in {seconds:.0} s", at(0.5), at(0.99), at(0.999));
    Grid { title, columns: &COLUMNS, rows }
}

/// Durations so that a curve of them does not flatten all but the worst.
fn log2(us: &[Option<f64>]) -> Vec<f64> {
    let log2 = |us: f64| if us.is_finite() { us.max(1.0).log2() } else { LATENCY_BUCKETS as f64 };
    us.iter().map(|us| us.map_or(0.0, log2)).collect()
}

/// Cycles per packet of each stage since the start, sampled.
fn stages(app: &App, theme: &Theme) -> Vec<Row> {
    let Some(seen) = &app.seen else { return vec![] };
    let totals = seen.snapshot.totals();
    let cycles = totals.stages.map(|stage| match stage.sampled_packets {
        0 => 0.0,
        packets => stage.sampled_cycles as f64 / packets as f64,
    });
    let most = cycles.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return vec![];
    }
    let head = ["stage", "cycles/pkt", "", "sampled since the start", "cycles over time"]
        .map(str::to_owned);
    let mut rows = vec![Row::toned(head.to_vec(), Tone::Dim)];
    rows.extend(STAGES.iter().zip(cycles).enumerate().map(|(stage, (name, cycles))| {
        let over_time = app.history.cycles(stage, app.window());
        Row::new(vec![
            (*name).to_owned(),
            short(cycles),
            String::new(),
            theme.bar(cycles / most, BAR),
            curve(&over_time, STRIP, theme.levels()),
        ])
    }));
    rows
}

//! The clock of a run: sends what is due, takes what comes, on one thread that never sleeps.
//!
//! Open loop: packet `n` is due at `n` intervals from the start, whatever happened before. One that leaves
//! late keeps its due time, and its latency counts from there, so that a stall of the node, or ours, is in
//! the figures of every packet behind it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use uring::{Departure, UdpRing};

use super::fleet::{Fleet, Stretch, Tally};

/// From the first look at the clock to the first packet.
const LEAD: Duration = Duration::from_millis(5);
/// A run ends when everything came, or nothing for so long after the last packet left.
const QUIET: Duration = Duration::from_millis(300);
/// Packets sent between two looks for arrivals.
const SEND_MAX: usize = 64;
/// Datagrams taken at a time.
const TAKE_MAX: usize = 64;
/// Longest latency that is told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// A histogram of nanoseconds, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds in order")
}

/// What a stretch gave.
pub struct Outcome {
    /// Packets sent.
    pub sent: u64,
    /// Packets that our own sockets refused.
    pub refused: u64,
    /// What came.
    pub tally: Tally,
    /// From when a packet was due until it was taken from the socket, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From when a packet was due until it was handed to the kernel, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// From the first packet's due time until the last one's.
    pub span: Duration,
}

impl Outcome {
    /// Packets that came, a second.
    pub fn received_per_s(&self) -> f64 {
        self.tally.received as f64 / self.span.as_secs_f64().max(1e-9)
    }
}

/// Sends a stretch at `per_s` packets a second and takes what comes of it; `live` hears of it every second.
///
/// # Errors
/// The sockets broke.
pub fn run(
    ring: &mut UdpRing,
    fleet: &mut Fleet,
    stretch: &Stretch,
    per_s: f64,
    live: &mut dyn FnMut(u64, &Tally),
) -> Result<Outcome> {
    let interval_ns = 1e9 / per_s;
    let due_ns = |place: u64| (place as f64 * interval_ns) as u64;
    let total = stretch.packets.len() as u64;
    let (mut latency, mut lateness) = (histogram(), histogram());
    let (mut sent, mut refused, mut came) = (0_u64, 0_u64, 0_u64);
    let expected = stretch.count * fleet.copies();
    let ways: Vec<_> = (0..total / stretch.count.max(1)).map(|at| fleet.way(at as usize)).collect();
    let start = Instant::now() + LEAD;
    let since_start = || Instant::now().saturating_duration_since(start).as_nanos() as u64;
    let (mut last_ns, mut progress_ns) = (0, PROGRESS.as_nanos() as u64);
    let before = ring.stats();
    loop {
        let now_ns = since_start();
        let mut queued = 0;
        while sent < total && due_ns(sent) <= now_ns && queued < SEND_MAX && Instant::now() >= start
        {
            let (local, remote) = ways[(sent % ways.len() as u64) as usize];
            let Some(mut packet) = ring.alloc() else { break };
            let bytes = &stretch.packets[sent as usize];
            packet.append(bytes.len()).context("a packet fits a buffer")?.copy_from_slice(bytes);
            if let Err((packet, _)) = ring.send(packet, Departure { remote, local, dscp: 0 }) {
                ring.free(packet);
                refused += 1;
            }
            lateness.saturating_record((now_ns - due_ns(sent)).max(1));
            (sent, queued, last_ns) = (sent + 1, queued + 1, now_ns);
        }
        if queued > 0 {
            ring.submit().context("sending")?;
        }
        let mut taken = arrayvec::ArrayVec::<_, TAKE_MAX>::new();
        ring.recv_burst(TAKE_MAX, |packet, arrival| taken.push((packet, arrival)))
            .context("receiving")?;
        if !taken.is_empty() {
            let now_ns = since_start();
            for (mut packet, arrival) in taken {
                if let Some(place) = fleet.take(arrival.local, packet.bytes_mut(), stretch) {
                    latency.saturating_record(now_ns.saturating_sub(due_ns(place)).max(1));
                    (came, last_ns) = (came + 1, now_ns);
                }
                ring.free(packet);
            }
        }
        if now_ns >= progress_ns {
            progress_ns += PROGRESS.as_nanos() as u64;
            live(sent, &fleet.tally());
        }
        let quiet = now_ns.saturating_sub(last_ns) > QUIET.as_nanos() as u64;
        if sent == total && (came == expected || quiet) {
            break;
        }
    }
    let stats = ring.stats();
    let failed = |now, then| -> u64 { now - then };
    refused += failed(stats.tx_full, before.tx_full) + failed(stats.tx_errors, before.tx_errors);
    let span = Duration::from_nanos(due_ns(total));
    Ok(Outcome { sent, refused, tally: fleet.tally(), latency, lateness, span })
}

/// The percentile distribution of a histogram, as HdrHistogram's plotter reads it; values in microseconds.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    use std::fmt::Write;
    let us = |ns: u64| ns as f64 / 1000.0;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut write = |words: std::fmt::Arguments<'_>| text.write_fmt(words).expect("a string grows");
    for step in histogram.iter_quantiles(5) {
        let (value, share) = (us(step.value_iterated_to()), step.quantile_iterated_to());
        let count = histogram.count_between(0, step.value_iterated_to());
        match share < 1.0 {
            true => write(format_args!(
                "{value:>12.3} {share:>14.12} {count:>10} {:>14.2}\n",
                1.0 / (1.0 - share)
            )),
            false => write(format_args!("{value:>12.3} {share:>14.12} {count:>10}\n")),
        }
    }
    let (mean, deviation) = (histogram.mean() / 1000.0, histogram.stdev() / 1000.0);
    write(format_args!("#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n"));
    let (max, count) = (us(histogram.max()), histogram.len());
    write(format_args!("#[Max     = {max:>12.3}, Total count    = {count:>12}]\n"));
    let (buckets, sub) = (histogram.buckets(), histogram.distinct_values());
    write(format_args!("#[Buckets = {buckets:>12}, SubBuckets     = {sub:>12}]\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_reads_as_plotters_want_it() {
        let mut some = histogram();
        (1..=1000).for_each(|us| some.record(us * 1000).unwrap());
        let text = hgrm(&some);
        let mut lines = text.lines();
        let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 500.0).abs() < 2.0 && median[2] >= 500.0, "{median:?}");
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let last = rows.last().unwrap();
        assert!(last.len() == 3 && last[1] == 1.0 && last[2] == 1000.0, "{last:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("#[")).count(), 3);
    }
}

//! What the curves show: one point per look, bounded.

use std::collections::VecDeque;

use proto::DropReason;
use proto::counters::LATENCY_BUCKETS;
use stats::{Rates, Snapshot};

/// Looks that are kept.
pub const HISTORY_MAX: usize = 600;
/// Looks that a curve may cover, the one at the start first.
pub const WINDOWS: [usize; 4] = [60, 120, 300, HISTORY_MAX];

/// One look's figures.
#[derive(Debug, Clone)]
pub struct Point {
    /// Seconds that it covers.
    pub seconds: f64,
    /// Packets per second in.
    pub rx_pps: f64,
    /// Packets per second out.
    pub tx_pps: f64,
    /// Drops per second by reason.
    pub drops_ps: Box<[f32]>,
    /// Turns with work by duration, by worker: how many more there were.
    pub turns: Box<[[u32; LATENCY_BUCKETS]]>,
}

/// The last looks, oldest first.
#[derive(Debug, Default)]
pub struct History(VecDeque<Point>);

impl History {
    /// One more look; the oldest goes.
    pub fn push(&mut self, old: &Snapshot, new: &Snapshot, rates: &Rates) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        let is_comparable = rates.seconds > 0.0;
        let pairs = old.shards.iter().zip(&new.shards).filter(|_| is_comparable);
        let turns = pairs.map(|(old, new)| {
            let (Some(old), Some(new)) = (&old.worker, &new.worker) else {
                return [0; LATENCY_BUCKETS];
            };
            std::array::from_fn(|i| {
                let more = new.turn_latency[i].saturating_sub(old.turn_latency[i]);
                u32::try_from(more).unwrap_or(u32::MAX)
            })
        });
        self.0.push_back(Point {
            seconds: rates.seconds,
            rx_pps: rates.rx_pps,
            tx_pps: rates.tx_pps,
            drops_ps: rates.drops_by_reason_ps.iter().map(|rate| *rate as f32).collect(),
            turns: turns.collect(),
        });
    }

    /// The points of the last `looks` looks.
    pub fn last(&self, looks: usize) -> impl Iterator<Item = &Point> {
        self.0.iter().skip(self.0.len().saturating_sub(looks))
    }

    /// Looks that are kept now.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Seconds that the last `looks` looks cover.
    pub fn seconds(&self, looks: usize) -> f64 {
        self.last(looks).map(|point| point.seconds).sum()
    }

    /// Drops per second of one reason, oldest first.
    pub fn drops(&self, reason: DropReason, looks: usize) -> Vec<f64> {
        let rate = |point: &Point| point.drops_ps.get(reason as usize).copied();
        self.last(looks).map(|point| f64::from(rate(point).unwrap_or_default())).collect()
    }

    /// For how many seconds without a break there are drops of one reason; zero when there are none now.
    pub fn dropping_s(&self, reason: DropReason) -> f64 {
        let flows = |point: &&Point| point.drops_ps.get(reason as usize).is_some_and(|r| *r > 0.0);
        self.0.iter().rev().take_while(flows).map(|point| point.seconds).sum()
    }

    /// A quantile of the turns of each look, oldest first: the power of two in microseconds, so that a
    /// curve of it does not flatten all but the worst.
    pub fn quantiles_us(&self, part: f64, looks: usize) -> Vec<f64> {
        let log2 =
            |us: f64| if us.is_finite() { us.max(1.0).log2() } else { LATENCY_BUCKETS as f64 };
        self.last(looks).map(|p| quantile_us(&sum(p), part).map_or(0.0, log2)).collect()
    }

    /// Turns with work by duration in the last `looks` looks, of one worker or of all.
    pub fn turns(&self, worker: Option<usize>, looks: usize) -> [u64; LATENCY_BUCKETS] {
        let mut sum = [0u64; LATENCY_BUCKETS];
        for point in self.last(looks) {
            let of = |(index, _): &(usize, _)| worker.is_none_or(|worker| worker == *index);
            for (_, turns) in point.turns.iter().enumerate().filter(of) {
                sum.iter_mut().zip(turns).for_each(|(sum, n)| *sum += u64::from(*n));
            }
        }
        sum
    }
}

/// Turns that all workers did between two looks.
fn sum(point: &Point) -> [u64; LATENCY_BUCKETS] {
    let mut sum = [0u64; LATENCY_BUCKETS];
    for turns in &point.turns {
        sum.iter_mut().zip(turns).for_each(|(sum, n)| *sum += u64::from(*n));
    }
    sum
}

/// The upper bound, in microseconds, of the bucket that the `part` (0 to 1) of all turns lies in or
/// below; `None` without turns, `f64::INFINITY` in the last bucket.
pub fn quantile_us(turns: &[u64; LATENCY_BUCKETS], part: f64) -> Option<f64> {
    let all: u64 = turns.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = ((all as f64 * part).ceil() as u64).max(1);
    let mut below = 0;
    for (index, count) in turns.iter().enumerate() {
        below += count;
        if below >= rank {
            let is_last = index + 1 == LATENCY_BUCKETS;
            return Some(if is_last { f64::INFINITY } else { f64::from(1u32 << index) });
        }
    }
    None
}

/// Such a bound in words.
pub fn duration_text(us: Option<f64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us.is_infinite() => ">4 s".to_owned(),
        Some(us) if us < 1_000.0 => format!("<{us:.0} us"),
        Some(us) if us < 1_000_000.0 => format!("<{:.0} ms", us / 1_000.0),
        Some(us) => format!("<{:.0} s", us / 1_000_000.0),
    }
}

/// `values` in at most `width` characters, one per group of looks, against the highest of them.
pub fn curve(values: &[f64], width: usize, levels: &[char]) -> String {
    if values.is_empty() || width == 0 {
        return String::new();
    }
    // Groups are of one size, and the newest group is whole: old points fall out on the left.
    let size = values.len().div_ceil(width);
    let groups: Vec<f64> =
        values.rchunks(size).rev().map(|group| group.iter().copied().fold(0.0, f64::max)).collect();
    let highest = groups.iter().copied().fold(0.0, f64::max);
    let top = levels.len() - 1;
    let level = |value: &f64| match highest > 0.0 {
        true => levels[((value / highest * top as f64).round() as usize).min(top)],
        false => levels[0],
    };
    groups.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;

    #[test]
    fn curves_are_relative_to_their_highest_value_and_cover_all_of_the_window() {
        let levels = Theme::plain(true).levels();
        assert_eq!(curve(&[0.0, 5.0, 10.0], 3, levels), "_=#");
        assert_eq!(curve(&[9.0, 0.0, 5.0, 10.0], 2, levels), "*#", "the highest of two each");
        assert_eq!(curve(&[0.0, 0.0], 5, levels), "__");
        assert_eq!(curve(&[], 5, levels), "");
        assert_eq!(curve(&[1.0], 0, levels), "");
    }

    #[test]
    fn quantiles_are_upper_bounds_of_buckets() {
        let mut turns = [0; LATENCY_BUCKETS];
        assert_eq!(quantile_us(&turns, 0.5), None);
        (turns[3], turns[6], turns[LATENCY_BUCKETS - 1]) = (90, 9, 1);
        assert_eq!(quantile_us(&turns, 0.5), Some(8.0));
        assert_eq!(quantile_us(&turns, 0.99), Some(64.0));
        assert_eq!(duration_text(quantile_us(&turns, 0.999)), ">4 s");
        assert_eq!(duration_text(Some(2048.0)), "<2 ms");
    }
}

//! What the curves show: one point per look, bounded.

use std::collections::VecDeque;

use proto::DropReason;
use proto::counters::{LATENCY_BUCKETS, STAGES, StageCounters};
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
    /// Part of its time that each worker worked, 0 to 1.
    pub busy: Box<[f32]>,
    /// Sampled cycles per packet of each stage.
    pub cycles: [f32; STAGES.len()],
}

/// The last looks, oldest first.
#[derive(Debug, Default)]
pub struct History(VecDeque<Point>);

impl History {
    /// One more look; the oldest goes.
    pub fn push(&mut self, old: &Snapshot, new: &Snapshot, rates: &Rates) {
        // The first look has none to be compared with: it would begin each curve with a zero.
        if rates.seconds <= 0.0 {
            return;
        }
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        let pairs = old.shards.iter().zip(&new.shards);
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
            busy: rates.workers.iter().map(|worker| worker.busy as f32).collect(),
            cycles: cycles(old, new),
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

    /// How busy a worker was, oldest first.
    pub fn busy(&self, worker: usize, looks: usize) -> Vec<f64> {
        let busy = |point: &Point| point.busy.get(worker).copied().unwrap_or_default();
        self.last(looks).map(|point| f64::from(busy(point))).collect()
    }

    /// Cycles per packet of a stage, oldest first.
    pub fn cycles(&self, stage: usize, looks: usize) -> Vec<f64> {
        self.last(looks).map(|point| f64::from(point.cycles[stage])).collect()
    }

    /// For each duration its part of all turns in at most `width` groups of looks, 0 to 1, oldest first.
    pub fn heat(&self, looks: usize, width: usize) -> [Vec<f64>; LATENCY_BUCKETS] {
        let points: Vec<&Point> = self.last(looks).collect();
        let mut heat = [const { Vec::new() }; LATENCY_BUCKETS];
        // Groups are those of a curve.
        for group in points.rchunks(points.len().div_ceil(width).max(1)).rev() {
            let sums = group.iter().map(|point| sum(point)).fold([0u64; LATENCY_BUCKETS], added);
            let all = sums.iter().sum::<u64>().max(1) as f64;
            heat.iter_mut().zip(sums).for_each(|(row, count)| row.push(count as f64 / all));
        }
        heat
    }

    /// A quantile of the turns of each look, oldest first; `None` where there were none.
    pub fn quantiles_us(&self, part: f64, looks: usize) -> Vec<Option<f64>> {
        self.last(looks).map(|point| quantile_us(&sum(point), part)).collect()
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

fn added(mut sum: [u64; LATENCY_BUCKETS], more: [u64; LATENCY_BUCKETS]) -> [u64; LATENCY_BUCKETS] {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    sum
}

/// Sampled cycles per packet of each stage between two looks.
fn cycles(old: &Snapshot, new: &Snapshot) -> [f32; STAGES.len()] {
    let (old, new) = (old.totals().stages, new.totals().stages);
    std::array::from_fn(|stage| {
        let more = |of: fn(&StageCounters) -> u64| of(&new[stage]).saturating_sub(of(&old[stage]));
        match more(|stage| stage.sampled_packets) {
            0 => 0.0,
            packets => more(|stage| stage.sampled_cycles) as f32 / packets as f32,
        }
    })
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

/// Parts of one as a strip of shades: nothing, below 5 %, 20 %, 50 %, more. The steps stay, so that a picture
/// means the same whenever it is looked at.
pub fn shades(parts: &[f64], shades: &[char; 4]) -> String {
    let shade = |part: &f64| match *part {
        0.0 => ' ',
        part if part < 0.05 => shades[0],
        part if part < 0.20 => shades[1],
        part if part < 0.50 => shades[2],
        _ => shades[3],
    };
    parts.iter().map(shade).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;

    #[test]
    fn heat_is_the_part_of_each_duration_in_groups_of_looks() {
        let mut history = History::default();
        for turns in [(9, 1), (0, 0), (1, 1)] {
            let mut point = Point {
                seconds: 1.0,
                rx_pps: 0.0,
                tx_pps: 0.0,
                drops_ps: Box::default(),
                turns: vec![[0; LATENCY_BUCKETS]; 2].into(),
                busy: Box::default(),
                cycles: Default::default(),
            };
            // Of two workers.
            (point.turns[0][3], point.turns[1][6]) = turns;
            history.0.push_back(point);
        }
        let heat = history.heat(60, 60);
        assert_eq!((&heat[3], &heat[6]), (&vec![0.9, 0.0, 0.5], &vec![0.1, 0.0, 0.5]));
        let heat = history.heat(60, 2);
        assert_eq!(heat[3], [0.9, 0.5], "the newest group is whole");
        assert_eq!(history.heat(0, 60)[3], [0.0; 0]);
        assert_eq!(shades(&[0.0, 0.01, 0.05, 0.2, 0.5], &['.', ':', '+', '#']), " .:+#");
    }

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

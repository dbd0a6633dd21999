//! The search for the highest load that keeps a goal, by the rules of MLRsearch (IETF, BMWG): a load is
//! judged by many short trials, so that one disturbed second decides nothing.
//!
//! A trial is bad when it lost more than the goal allows. A load keeps the goal once it would keep it even
//! if all trials that are still missing were bad, and breaks it once it would break it even if they were
//! all good. What lies between is measured again. Loads are first narrowed down by single trials, coarsely,
//! and only the two at the edge are judged in full; a trial counts for every goal it was ever part of.

use std::collections::BTreeMap;

/// What a load must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Share of packets that a good trial may lose.
    pub loss_ratio: f64,
    /// Trials by which a load is judged.
    pub trials: u32,
    /// Share of them that may be bad.
    pub exceed_ratio: f64,
    /// Relative distance of the two loads at the edge.
    pub width: f64,
}

impl Goal {
    /// With CSIT's numbers: 21 trials of a second, half of which may be bad, and 0.5 % of width.
    pub const fn csit(loss_ratio: f64) -> Goal {
        Goal { loss_ratio, trials: 21, exceed_ratio: 0.5, width: 0.005 }
    }

    /// One trial decides, and the edge may be wide: where the search begins.
    const fn coarse(self) -> Goal {
        Goal { trials: 1, width: self.width * 4.0, ..self }
    }

    fn judge(&self, losses: &[f64]) -> Verdict {
        let bad = losses.iter().filter(|loss| **loss > self.loss_ratio).count() as f64;
        let all = f64::from(self.trials).max(losses.len() as f64);
        let missing = all - losses.len() as f64;
        let may_be_bad = all * self.exceed_ratio;
        match () {
            () if bad + missing <= may_be_bad => Verdict::Keeps,
            () if bad > may_be_bad => Verdict::Breaks,
            () => Verdict::Open,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keeps,
    Breaks,
    Open,
}

/// What was found for a goal.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Edge {
    /// The highest load that keeps the goal, in packets a second; zero when none does.
    pub keeps_pps: f64,
    /// The lowest load that breaks it; none when even the highest one tried keeps it.
    pub breaks_pps: Option<f64>,
    /// What went through at `keeps_pps` in all but the trials that may be bad.
    pub conditional_pps: f64,
    /// Trials of all goals so far.
    pub trials: u32,
}

/// Loads that were tried, in whole packets a second, and what each trial lost.
#[derive(Debug, Default)]
pub struct Search {
    losses: BTreeMap<u64, Vec<f64>>,
    trials: u32,
}

/// The search gives up behind so many trials of one goal.
const TRIALS_MAX: u32 = 2000;

impl Search {
    /// Finds the edge of a goal between two loads, in packets a second. `trial` measures a load and says
    /// which share of the packets was lost.
    ///
    /// # Errors
    /// Those of `trial`, and when no end is in sight.
    pub fn find<E: From<Endless>>(
        &mut self,
        goal: Goal,
        (least, most): (u64, u64),
        trial: &mut impl FnMut(u64) -> Result<f64, E>,
    ) -> Result<Edge, E> {
        let began = self.trials;
        for phase in [goal.coarse(), goal] {
            while let Some(load) = self.next(&phase, least, most) {
                if self.trials - began >= TRIALS_MAX {
                    return Err(Endless.into());
                }
                self.trials += 1;
                let loss = trial(load)?;
                self.losses.entry(load).or_default().push(loss);
            }
        }
        Ok(self.edge(&goal))
    }

    /// The highest load that keeps the goal below the lowest one that breaks it, and that one.
    fn bounds(&self, goal: &Goal) -> (Option<u64>, Option<u64>) {
        let breaks = self.losses.iter().find(|(_, all)| goal.judge(all) == Verdict::Breaks);
        let breaks = breaks.map(|(load, _)| *load);
        let below = self.losses.range(..breaks.unwrap_or(u64::MAX));
        let keeps = below.rev().find(|(_, all)| goal.judge(all) == Verdict::Keeps);
        (keeps.map(|(load, _)| *load), breaks)
    }

    /// The load to measure next; `None` when the edge is found.
    fn next(&self, goal: &Goal, least: u64, most: u64) -> Option<u64> {
        let (keeps, breaks) = self.bounds(goal);
        let (from, to) = (keeps.map_or(0, |load| load + 1), breaks.unwrap_or(most + 1));
        if let Some(load) = self.begun(goal, from..to) {
            return Some(load);
        }
        match (keeps, breaks) {
            (Some(keeps), None) if keeps >= most => None,
            (None, Some(breaks)) if breaks <= least => None,
            (Some(keeps), Some(breaks)) => {
                let is_narrow = (breaks - keeps) as f64 <= breaks as f64 * goal.width;
                if is_narrow || breaks - keeps <= 1 {
                    return None;
                }
                let middle = (keeps as f64 * breaks as f64).sqrt().round() as u64;
                Some(middle.clamp(keeps + 1, breaks - 1))
            }
            (None, None) => Some(most),
            // An edge that moved since it was found coarsely has not moved far: wider steps each time.
            (Some(keeps), None) => Some(self.step(keeps, goal, true).min(most)),
            (None, Some(breaks)) => Some(self.step(breaks, goal, false).max(least)),
        }
    }

    /// Of the loads that are not judged yet, the one at the edge as it looks so far: what lies beyond the edge
    /// on either side need not be judged.
    fn begun(&self, goal: &Goal, between: std::ops::Range<u64>) -> Option<u64> {
        let open = self.losses.range(between).filter(|(_, all)| goal.judge(all) == Verdict::Open);
        let mut good = None;
        for (load, losses) in open {
            let bad = losses.iter().filter(|loss| **loss > goal.loss_ratio).count() as f64;
            if bad > losses.len() as f64 * goal.exceed_ratio {
                return good.or(Some(*load));
            }
            good = Some(*load);
        }
        good
    }

    /// A load beyond `load`, by as many widths as loads were judged on that side, doubled each time.
    fn step(&self, load: u64, goal: &Goal, up: bool) -> u64 {
        let side = match up {
            true => self.losses.range(..=load).count(),
            false => self.losses.range(load..).count(),
        };
        let factor = (1.0 + goal.width).powf(2_f64.powi(side.min(12) as i32));
        let load = load as f64;
        match up {
            true => (load * factor).ceil().min(1e12) as u64,
            false => ((load / factor).floor() as u64).min(load as u64 - 1),
        }
    }

    fn edge(&self, goal: &Goal) -> Edge {
        let (keeps, breaks) = self.bounds(goal);
        let conditional = keeps.map_or(0.0, |load| {
            let mut losses = self.losses[&load].clone();
            losses.sort_by(f64::total_cmp);
            // What is behind this rank may be bad.
            let rank = (losses.len() as f64 * (1.0 - goal.exceed_ratio)).ceil() as usize;
            load as f64 * (1.0 - losses[rank.clamp(1, losses.len()) - 1])
        });
        Edge {
            keeps_pps: keeps.unwrap_or(0) as f64,
            breaks_pps: breaks.map(|load| load as f64),
            conditional_pps: conditional,
            trials: self.trials,
        }
    }
}

/// So many trials, and no edge.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no edge after {TRIALS_MAX} trials: the device behaves differently from trial to trial")]
pub struct Endless;

#[cfg(test)]
mod tests {
    use super::*;

    const NDR: Goal = Goal::csit(0.0);
    const PDR: Goal = Goal::csit(0.005);
    const RANGE: (u64, u64) = (10, 1_000_000);

    /// A device that takes `capacity` and loses the rest.
    fn device(capacity: f64) -> impl FnMut(u64) -> Result<f64, Endless> {
        move |load| Ok((1.0 - capacity / load as f64).max(0.0))
    }

    /// Numbers from 0 to 1 that are the same in every run.
    fn chance(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    #[test]
    fn the_edge_of_a_sharp_device_is_found_to_the_goals_width() {
        for capacity in [11.0, 999.0, 12_345.0, 250_000.5, 999_999.0] {
            let mut search = Search::default();
            let ndr = search.find(NDR, RANGE, &mut device(capacity)).unwrap();
            let breaks = ndr.breaks_pps.unwrap();
            assert!(ndr.keeps_pps <= capacity && capacity < breaks, "{capacity}: {ndr:?}");
            assert!(breaks - ndr.keeps_pps <= (breaks * 0.005).max(1.0), "{capacity}: {ndr:?}");
            assert_eq!(ndr.conditional_pps, ndr.keeps_pps);
            // It keeps what may be lost as well, and no more.
            let pdr = search.find(PDR, RANGE, &mut device(capacity)).unwrap();
            let at = capacity / 0.995;
            let breaks = pdr.breaks_pps.unwrap_or(f64::INFINITY);
            assert!(pdr.keeps_pps <= at + 1.0 && at < breaks + 1.0, "{capacity}: {pdr:?}");
            assert!(pdr.trials < 150, "{pdr:?}");
        }
    }

    #[test]
    fn eleven_like_trials_of_twenty_one_decide_and_fewer_do_not() {
        let of = |good: usize, bad: usize| NDR.judge(&[vec![0.0; good], vec![0.1; bad]].concat());
        assert_eq!((of(10, 0), of(11, 0)), (Verdict::Open, Verdict::Keeps));
        assert_eq!((of(0, 10), of(0, 11)), (Verdict::Open, Verdict::Breaks));
        assert_eq!((of(10, 10), of(11, 10), of(10, 11)), {
            (Verdict::Open, Verdict::Keeps, Verdict::Breaks)
        });
    }

    #[test]
    fn one_second_in_four_that_is_disturbed_moves_no_edge() {
        for seed in 1..40 {
            let (mut chance, capacity) = (chance(seed * 0x9e37_79b9), 100_000.0);
            let mut noisy = |load: u64| -> Result<f64, Endless> {
                let disturbed = if chance() < 0.25 { 0.02 } else { 0.0 };
                Ok((1.0 - capacity / load as f64).max(disturbed))
            };
            let edge = Search::default().find(NDR, RANGE, &mut noisy).unwrap();
            // Eleven bad ones of 21 at 25 % each: one load in 200.
            let share = edge.keeps_pps / capacity;
            assert!((0.97..=1.0).contains(&share), "seed {seed}: {edge:?}");
            assert!(edge.trials < 400, "seed {seed}: {edge:?}");
        }
    }

    #[test]
    fn a_capacity_that_wanders_gives_an_edge_in_its_middle() {
        for seed in 1..20 {
            let mut chance = chance(seed * 77_777);
            let mut wanders = |load: u64| -> Result<f64, Endless> {
                let capacity = 50_000.0 * (0.95 + 0.1 * chance());
                Ok((1.0 - capacity / load as f64).max(0.0))
            };
            let edge = Search::default().find(NDR, RANGE, &mut wanders).unwrap();
            assert!((47_500.0..=52_500.0).contains(&edge.keeps_pps), "seed {seed}: {edge:?}");
        }
    }

    #[test]
    fn a_device_without_an_edge_says_so() {
        let never = Search::default().find(NDR, RANGE, &mut device(1e9)).unwrap();
        assert_eq!((never.keeps_pps, never.breaks_pps), (1e6, None));
        let always = Search::default().find(NDR, RANGE, &mut |_| Ok::<_, Endless>(1.0)).unwrap();
        assert_eq!((always.keeps_pps, always.breaks_pps), (0.0, Some(10.0)));
        assert_eq!(always.conditional_pps, 0.0);
    }

    #[test]
    fn a_failed_trial_ends_the_search_with_its_error() {
        let mut left = 5;
        let found = Search::default().find(NDR, RANGE, &mut |_| {
            left -= 1;
            if left == 0 { Err(Endless) } else { Ok(0.0) }
        });
        assert!(found.is_err() && left == 0);
    }
}

//! A window's histogram of turns by CPU time, as `roomlane show worker --json` has it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proto::counters::{turn_cpu_bound_ns, turn_cpu_bucket};
use serde_json::Value;

/// Turns with work by the bound of their bucket, in nanoseconds, of all workers.
#[derive(Debug, Clone, Default)]
pub struct Turns(BTreeMap<u64, u64>);

impl Turns {
    /// From what the command says, under `key`.
    ///
    /// # Errors
    /// It says something else.
    pub fn read(shown: &Value, key: &str) -> Result<Turns> {
        let mut turns = Turns::default();
        for worker in shown["workers"].as_array().context("no workers are shown")? {
            for pair in worker[key].as_array().context("no turns are shown")? {
                let number = |at: usize| pair[at].as_u64().context("a number of turns");
                *turns.0.entry(number(0)?).or_insert(0) += number(1)?;
            }
        }
        Ok(turns)
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Turns) -> Turns {
        let earlier = |bound| before.0.get(bound).copied().unwrap_or(0);
        let rest =
            self.0.iter().map(|(bound, count)| (*bound, count.saturating_sub(earlier(bound))));
        Turns(rest.filter(|(_, count)| *count > 0).collect())
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many took `us` microseconds or more, to the next bound of a bucket.
    pub fn longer_than_us(&self, us: f64) -> u64 {
        let is_long = |bound: &u64| *bound as f64 > us * 1000.0;
        self.0.iter().filter(|(bound, _)| is_long(bound)).map(|(_, count)| count).sum()
    }

    /// The time, in microseconds, that so many percent of the turns stayed below; within a bucket, turns
    /// are taken to lie evenly. No number without turns.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let rank = self.count() as f64 * percent / 100.0;
        let mut below = 0.0;
        for (bound, count) in &self.0 {
            let count = *count as f64;
            if below + count >= rank {
                let bucket = turn_cpu_bucket(bound - 1);
                let least = bucket.checked_sub(1).map_or(0, turn_cpu_bound_ns) as f64;
                let ns = least + (*bound as f64 - least) * (rank - below) / count;
                return ns / 1000.0;
            }
            below += count;
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_came_since() {
        let count = |spans: &[u64]| {
            let mut turns = Turns::default();
            for ns in spans {
                *turns.0.entry(turn_cpu_bound_ns(turn_cpu_bucket(*ns))).or_insert(0) += 1;
            }
            turns
        };
        let early: Vec<u64> = vec![900_000; 500];
        let late: Vec<u64> = (1..=10_000).map(|us| us * 100).collect();
        let turns = count(&[early.clone(), late].concat()).since(&count(&early));
        assert_eq!(turns.count(), 10_000);
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (99.9, 999.0)] {
            let found = turns.percentile_us(percent);
            assert!((found / us - 1.0_f64).abs() < 0.04, "{percent}: {found}");
        }
        let long = turns.longer_than_us(900.0);
        assert!((1000..=1250).contains(&long), "{long}");
        assert!(Turns::default().percentile_us(99.9).is_nan());
        let shown = serde_json::json!({ "workers": [
            { "turn_cpu_ns": [[1088, 3], [2048, 1]] }, { "turn_cpu_ns": [[1088, 4]] },
        ] });
        assert_eq!(Turns::read(&shown, "turn_cpu_ns").unwrap().count(), 8);
        assert!(Turns::read(&shown, "turn_cpu_control_ns").is_err());
    }
}

//! Samples and what is said of them.

use serde::Serialize;

use crate::machine::run_delay_ns;

/// A sorted set of samples in one unit.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// How many samples.
    pub samples: usize,
    /// The middle one.
    pub median: f64,
    /// Below it lies a tenth.
    pub p10: f64,
    /// Below it lie nine tenths.
    pub p90: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Summary {
    /// Of at least one sample.
    pub fn of(mut samples: Vec<f64>) -> Option<Summary> {
        samples.sort_by(f64::total_cmp);
        let last = samples.len().checked_sub(1)?;
        let at = |share: f64| samples[(last as f64 * share).round() as usize];
        Some(Summary {
            samples: samples.len(),
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
            min: samples[0],
            max: samples[last],
        })
    }
}

/// Tells whether the scheduler cut into a sample: the thread was ready and did not run.
pub struct Cut(Option<u64>);

impl Cut {
    /// Before the sample.
    pub fn begin() -> Cut {
        Cut(run_delay_ns())
    }

    /// After it.
    pub fn happened(self) -> bool {
        self.0 != run_delay_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_ranks() {
        let summary = Summary::of((0..=100).rev().map(f64::from).collect()).unwrap();
        let ranks = (summary.min, summary.p10, summary.median, summary.p90, summary.max);
        assert_eq!(ranks, (0.0, 10.0, 50.0, 90.0, 100.0));
        assert!(Summary::of(vec![]).is_none());
    }

    #[test]
    fn a_sleeping_sibling_does_not_count_as_a_cut_but_a_rival_on_the_same_cpu_does() {
        let before = Cut::begin();
        if before.0.is_none() {
            eprintln!("skipped: this kernel has no schedstat");
            return;
        }
        // Two threads that spin on one CPU must wait for each other.
        let cpu = rustix::thread::sched_getcpu();
        let spin = move || {
            crate::machine::pin(cpu).unwrap();
            let (cut, began) = (Cut::begin(), std::time::Instant::now());
            while began.elapsed().as_millis() < 100 {
                std::hint::spin_loop();
            }
            cut.happened()
        };
        let rivals = [std::thread::spawn(spin), std::thread::spawn(spin)];
        assert!(rivals.into_iter().any(|rival| rival.join().unwrap()));
    }
}

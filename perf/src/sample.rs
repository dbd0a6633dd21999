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

/// Tells whether somebody else works on the same core: on a hyper-thread beside ours, which no counter of
/// a virtual machine shows. A short piece of work that fills the core's adders takes longer then.
pub struct Probe {
    best_ns: u64,
}

impl Probe {
    /// A piece of work may take so much longer than the fastest one, in percent.
    const SLOWER_MAX: u64 = 12;
    const STEPS: u32 = 2_000;

    /// Learns how fast the core is alone, if it is alone at least once in half a second; it goes on
    /// learning, so one probe serves a whole run.
    pub fn new() -> Probe {
        let began = std::time::Instant::now();
        let mut best_ns = u64::MAX;
        while began.elapsed().as_millis() < 500 {
            best_ns = best_ns.min(Probe::work_ns());
        }
        Probe { best_ns }
    }

    /// Whether the core is ours at this moment.
    pub fn is_alone(&mut self) -> bool {
        let took_ns = Probe::work_ns();
        self.best_ns = self.best_ns.min(took_ns);
        took_ns * 100 <= self.best_ns * (100 + Probe::SLOWER_MAX)
    }

    fn work_ns() -> u64 {
        let mut lanes = std::hint::black_box([1_u64, 2, 3, 4, 5, 6]);
        let began = std::time::Instant::now();
        for _ in 0..Probe::STEPS {
            for lane in &mut lanes {
                *lane = lane.rotate_left(5).wrapping_add(0x9e37_79b9);
            }
        }
        let took = began.elapsed();
        std::hint::black_box(lanes);
        took.as_nanos() as u64
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

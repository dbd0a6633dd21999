//! One core per worker: checked before anything starts, set by each worker, read back.

use shm::affinity;

/// What is wrong with the cores of a node's workers. Whose fault: the operator's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoresError {
    /// Two workers would share a core, and each would wait for the other's time slice.
    #[error("workers {first} and {second} are both on core {core}; give each worker its own core")]
    Shared {
        /// The core.
        core: usize,
        /// A worker.
        first: usize,
        /// The other worker.
        second: usize,
    },
    /// There is no such core, or this process may not use it.
    #[error("worker {worker} is to run on core {core}; this process may use cores {allowed:?}")]
    Absent {
        /// The worker.
        worker: usize,
        /// The core asked for.
        core: usize,
        /// The cores there are.
        allowed: Vec<usize>,
    },
    /// The host does not tell its cores.
    #[error("the host does not say which cores there are")]
    Host(#[from] std::io::Error),
}

/// Checks the cores of workers 0, 1, 2 …
///
/// # Errors
/// See [`CoresError`].
pub fn check(cores: &[usize]) -> Result<(), CoresError> {
    check_against(cores, affinity::cores()?)
}

fn check_against(cores: &[usize], allowed: Vec<usize>) -> Result<(), CoresError> {
    for (second, core) in cores.iter().copied().enumerate() {
        if let Some(first) = cores[..second].iter().position(|other| *other == core) {
            return Err(CoresError::Shared { core, first, second });
        }
        if !allowed.contains(&core) {
            return Err(CoresError::Absent { worker: second, core, allowed });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_on_one_core_are_refused_by_name() {
        let refused = check_against(&[1, 0, 1], vec![0, 1]).expect_err("shared");
        assert_eq!(
            refused.to_string(),
            "workers 0 and 2 are both on core 1; give each worker its own core"
        );
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_by_name() {
        let refused = check_against(&[0, 7], vec![0, 1]).expect_err("absent");
        assert_eq!(
            refused.to_string(),
            "worker 1 is to run on core 7; this process may use cores [0, 1]"
        );
    }

    #[test]
    fn every_core_of_this_process_may_have_one_worker() {
        check(&affinity::cores().expect("cores")).expect("one each");
    }
}

//! Pins the calling thread to a core, and reads the pin back.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Why a thread is not on the core it was meant for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Operator: there is no such core, or this process may not use it.
    #[error("core {core} cannot be used; this process may run on cores {allowed:?}")]
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores the thread may use.
        allowed: Vec<usize>,
    },
    /// Host: the kernel accepted the pin and then reported another one.
    #[error("pinned to core {core}, but the host says {actual:?}")]
    ReadBack {
        /// The core asked for.
        core: usize,
        /// The cores read back.
        actual: Vec<usize>,
    },
    /// Host: a system call failed.
    #[error("the host refused to tell or set the cores of a thread")]
    Host(#[source] io::Error),
}

/// Cores the calling thread may run on, ascending.
///
/// # Errors
/// The host's.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// The core this thread runs on right now.
#[must_use]
pub fn current_core() -> usize {
    sched_getcpu()
}

/// Pins the calling thread to `core`, reads the pin back and returns once it runs there.
///
/// # Errors
/// See [`PinError`].
pub fn pin(core: usize) -> Result<(), PinError> {
    let allowed = cores().map_err(PinError::Host)?;
    if core >= CpuSet::MAX_CPU {
        return Err(PinError::NotAllowed { core, allowed });
    }
    let mut set = CpuSet::new();
    set.set(core);
    match sched_setaffinity(None, &set) {
        Ok(()) => {}
        Err(rustix::io::Errno::INVAL) => return Err(PinError::NotAllowed { core, allowed }),
        Err(errno) => return Err(PinError::Host(errno.into())),
    }
    let actual = cores().map_err(PinError::Host)?;
    // The kernel moves the thread before the call returns; the second look proves it.
    if actual == [core] && current_core() == core {
        Ok(())
    } else {
        Err(PinError::ReadBack { core, actual })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_runs_where_it_was_put() {
        for core in cores().expect("cores") {
            // A thread of its own: the pin would outlive the test.
            std::thread::spawn(move || {
                pin(core).expect("pin");
                assert_eq!(cores().expect("cores"), [core]);
                assert_eq!(current_core(), core);
            })
            .join()
            .expect("thread");
        }
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused_by_name() {
        for core in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            let refused = std::thread::spawn(move || pin(core)).join().expect("thread");
            assert!(matches!(refused, Err(PinError::NotAllowed { core: c, .. }) if c == core));
        }
    }
}

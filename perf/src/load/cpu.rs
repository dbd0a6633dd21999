//! CPU time of an engine, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

use crate::machine::process_ran_ns;

/// CPU time, of a process with all its threads or of one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTime {
    /// All of it, as the scheduler counts it: exactly. Interrupts that cut in are in it, and with them
    /// the receiving side of a veth pair.
    pub total_ns: f64,
    /// The share outside the kernel, by the kernel's ticks: a sample of some hundred a second.
    pub user_share: f64,
    user_ticks: u64,
    system_ticks: u64,
}

impl CpuTime {
    /// Of a process.
    ///
    /// # Errors
    /// It is gone.
    pub fn of_process(pid: i32) -> Result<CpuTime> {
        let gone = || format!("process {pid} is gone");
        let total = u32::try_from(pid).ok().and_then(process_ran_ns).with_context(gone)?;
        CpuTime::read(total, &format!("/proc/{pid}/stat"))
    }

    /// Of a thread of this process.
    ///
    /// # Errors
    /// It is gone.
    pub fn of_thread(thread: i32) -> Result<CpuTime> {
        let at = format!("/proc/self/task/{thread}");
        let text = fs::read_to_string(format!("{at}/schedstat")).context("a thread's time")?;
        let total = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
        CpuTime::read(total.context("a thread's time")?, &format!("{at}/stat"))
    }

    fn read(total_ns: u64, stat: &str) -> Result<CpuTime> {
        let text = fs::read_to_string(stat).with_context(|| stat.to_owned())?;
        let (user_ticks, system_ticks) = ticks(&text).with_context(|| stat.to_owned())?;
        let user_share = share(user_ticks, system_ticks);
        Ok(CpuTime { total_ns: total_ns as f64, user_share, user_ticks, system_ticks })
    }

    /// What was used since `before`.
    pub fn since(&self, before: &CpuTime) -> CpuTime {
        let user_ticks = self.user_ticks.saturating_sub(before.user_ticks);
        let system_ticks = self.system_ticks.saturating_sub(before.system_ticks);
        CpuTime {
            total_ns: self.total_ns - before.total_ns,
            user_share: share(user_ticks, system_ticks),
            user_ticks,
            system_ticks,
        }
    }

    /// Time outside the kernel.
    pub fn user_ns(&self) -> f64 {
        self.total_ns * self.user_share
    }
}

fn share(user: u64, system: u64) -> f64 {
    user as f64 / (user + system).max(1) as f64
}

/// User and system ticks of a `stat` line. The name may hold anything, so fields are counted from behind
/// its parenthesis.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinning_thread_uses_its_time_outside_the_kernel() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let before = CpuTime::of_thread(thread).unwrap();
        let began = std::time::Instant::now();
        while CpuTime::of_thread(thread).unwrap().since(&before).total_ns < 2e8 {
            assert!(began.elapsed().as_secs() < 60, "a thread gets some time");
            (0..1_000_000).for_each(|at: i32| _ = std::hint::black_box(at));
        }
        let used = CpuTime::of_thread(thread).unwrap().since(&before);
        assert!(used.user_share > 0.6, "{used:?}");
        assert!(used.user_ns() <= used.total_ns);
        let whole = CpuTime::of_process(std::process::id() as i32).unwrap();
        assert!(whole.total_ns >= used.total_ns, "{whole:?} has {used:?} in it");
    }

    #[test]
    fn a_name_with_a_parenthesis_moves_no_field() {
        let line = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20";
        assert_eq!(ticks(line), Some((111, 222)));
        assert_eq!(ticks("7 (a) S 1 2"), None);
    }
}

//! The clocks of a node and the cycle counter of its core.

use rustix::time::{ClockId, clock_gettime};

fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both are positive on a host whose clock is after 1970.
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Nanoseconds since some moment before the node started; never goes back. Answered without
/// a system call.
#[must_use]
pub fn monotonic_ns() -> u64 {
    now_ns(ClockId::Monotonic)
}

/// Nanoseconds since 1970, as the operator set them; may jump.
#[must_use]
pub fn unix_ns() -> u64 {
    now_ns(ClockId::Realtime)
}

/// Nanoseconds that the calling thread has run on a core, the kernel's work for it included. Always a
/// system call.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    now_ns(ClockId::ThreadCPUTime)
}

/// The core's cycle counter: for measuring stages, not for telling the time. Nanoseconds where the
/// processor offers no counter to user space.
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC reads a counter; every x86-64 has it.
        // WHY: 20 cycles, against 60 for a clock through the vDSO; it is read twice per stage.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        monotonic_ns()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_know_the_century() {
        let (a, b) = (monotonic_ns(), monotonic_ns());
        assert!(b >= a);
        let (a, b) = (thread_cpu_ns(), thread_cpu_ns());
        assert!(0 < a && a <= b);
        let (c, d) = (cycles(), cycles());
        assert!(d >= c);
        let year_2024_ns = 1_704_067_200_000_000_000;
        assert!(unix_ns() > year_2024_ns);
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        assert!(
            std.expect("after 1970").as_nanos().abs_diff(u128::from(unix_ns())) < 5_000_000_000
        );
    }
}

//! The processor's counter and prefetch as safe functions. They need no libdpdk.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time-stamp counter now; only differences mean something, in ticks of [`cycles_hz`].
#[inline]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: rdtsc exists on every x86-64 processor and reads nothing else.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: the virtual counter may be read by every process.
        unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Ticks per second of [`cycles`], measured against the monotonic clock on the first call (20 ms).
pub fn cycles_hz() -> u64 {
    static HZ: OnceLock<u64> = OnceLock::new();
    *HZ.get_or_init(|| {
        let (clock, start) = (Instant::now(), cycles());
        while clock.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (ticks, ns) = (cycles().wrapping_sub(start), clock.elapsed().as_nanos());
        u64::try_from(u128::from(ticks) * 1_000_000_000 / ns.max(1)).unwrap_or(u64::MAX)
    })
}

/// Asks the processor to load the first line of `bytes`; a hint.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    prefetch_at(bytes.as_ptr());
}

/// As [`prefetch`]; any address is allowed, because a prefetch never faults.
#[inline]
pub(crate) fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_pass_at_the_measured_rate() {
        let (clock, start) = (Instant::now(), cycles());
        while clock.elapsed() < Duration::from_millis(50) {
            prefetch(&[0]);
        }
        let ticks = u128::from(cycles() - start);
        let ratio =
            ticks * 1_000_000_000 * 100 / clock.elapsed().as_nanos() / u128::from(cycles_hz());
        assert!((90..=110).contains(&ratio), "{ratio} percent");
    }
}

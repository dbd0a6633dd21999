//! What a worker does when there is nothing to do: spin a little, then sleep longer and longer.

/// Turns without work before the first sleep: as long as falling asleep and waking up takes, some 6 us.
pub const SPIN_TURNS: u32 = 24;
/// The first sleep, in nanoseconds.
pub const SLEEP_MIN_NS: u64 = 50_000;
/// The longest sleep, in nanoseconds: how late a command or a relayed packet may be noticed.
pub const SLEEP_MAX_NS: u64 = 1_000_000;
/// Longest sleeps in a row after which the shard counts as quiet: about a second without any work.
pub const QUIET_SLEEPS: u32 = 1000;
/// The sleep of a quiet shard, in nanoseconds. A thousand wake-ups a second cost a virtual machine 5 % of
/// a core; the price is that the first packet after a quiet second may wait so long.
pub const SLEEP_QUIET_NS: u64 = 4_000_000;

/// Whether a worker sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Poll {
    /// Never.
    Busy,
    /// After [`SPIN_TURNS`] idle turns.
    #[default]
    Adaptive,
}

/// Decides after each turn how long to sleep.
#[derive(Debug)]
pub struct Idle {
    poll: Poll,
    first_ns: u64,
    turns: u32,
    sleep_ns: u64,
}

impl Idle {
    /// Awake. Where all that may come ends a sleep, `is_woken`, there is no reason to begin with short ones:
    /// each costs a wake-up, and none of them makes a packet earlier.
    pub fn new(poll: Poll, is_woken: bool) -> Self {
        let first_ns = if is_woken { SLEEP_MAX_NS } else { SLEEP_MIN_NS };
        Idle { poll, first_ns, turns: 0, sleep_ns: first_ns }
    }

    /// The turn had work.
    pub fn worked(&mut self) {
        self.turns = 0;
        self.sleep_ns = self.first_ns;
    }

    /// The turn had none. How many nanoseconds to sleep; zero means not at all.
    pub fn rested(&mut self) -> u64 {
        if self.poll == Poll::Busy {
            return 0;
        }
        self.turns = self.turns.saturating_add(1);
        if self.turns <= SPIN_TURNS {
            return 0;
        }
        if self.turns > SPIN_TURNS + QUIET_SLEEPS {
            return SLEEP_QUIET_NS;
        }
        let sleep_ns = self.sleep_ns;
        self.sleep_ns = (sleep_ns * 2).min(SLEEP_MAX_NS);
        sleep_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adaptive_worker_spins_then_sleeps_up_to_a_millisecond_and_work_wakes_it() {
        let mut idle = Idle::new(Poll::Adaptive, false);
        for _ in 0..2 {
            assert!((0..SPIN_TURNS).all(|_| idle.rested() == 0));
            let sleeps: Vec<u64> = (0..7).map(|_| idle.rested() / 1000).collect();
            assert_eq!(sleeps, [50, 100, 200, 400, 800, 1000, 1000]);
            idle.worked();
        }
    }

    #[test]
    fn a_worker_that_its_port_wakes_sleeps_long_at_once() {
        let mut idle = Idle::new(Poll::Adaptive, true);
        for _ in 0..2 {
            assert!((0..SPIN_TURNS).all(|_| idle.rested() == 0));
            assert_eq!([idle.rested(), idle.rested()], [SLEEP_MAX_NS; 2]);
            idle.worked();
        }
    }

    #[test]
    fn a_quiet_second_makes_sleeps_longer_and_one_packet_ends_that() {
        let mut idle = Idle::new(Poll::Adaptive, false);
        let slept: u64 = (0..SPIN_TURNS + QUIET_SLEEPS).map(|_| idle.rested()).sum();
        assert!((900_000_000..1_000_000_000).contains(&slept));
        assert_eq!([idle.rested(), idle.rested()], [SLEEP_QUIET_NS; 2]);
        idle.worked();
        assert!((0..SPIN_TURNS).all(|_| idle.rested() == 0));
        assert_eq!(idle.rested(), SLEEP_MIN_NS);
    }

    #[test]
    fn a_busy_worker_never_sleeps() {
        let mut idle = Idle::new(Poll::Busy, true);
        assert!((0..10 * SPIN_TURNS).all(|_| idle.rested() == 0));
    }
}

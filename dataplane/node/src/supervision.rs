//! What a service manager is told: that the node is up, that it lives, that it stops.
//!
//! The watchdog is fed only while every heart moves: those of all workers and that of the thread that
//! serves the sockets. A worker that hangs therefore ends the process within the manager's time, and the
//! next one takes up the ledger. Without a manager nothing here does anything.

use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use stats::{Snapshot, Stats};

/// Looks within the time that the service manager allows.
const LOOKS: u32 = 4;
/// Pause between two looks at least: workers publish their hearts ten times a second.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The hearts at the last look.
#[derive(Debug, Default)]
struct Hearts(Vec<u64>);

impl Hearts {
    /// Whether there are hearts, as many as at the last look, and each has moved since.
    fn have_moved(&mut self, beats: Vec<u64>) -> bool {
        let moved = !beats.is_empty()
            && beats.len() == self.0.len()
            && beats.iter().zip(&self.0).all(|(now, before)| now != before);
        self.0 = beats;
        moved
    }
}

/// The heart of the sockets' thread, then those of the workers.
fn beats(snapshot: &Snapshot) -> Vec<u64> {
    let worker = |view: &stats::ShardView| view.worker.map_or(0, |worker| worker.heartbeat_ns);
    std::iter::once(snapshot.node.heartbeat_ns).chain(snapshot.shards.iter().map(worker)).collect()
}

/// Says that the node is up, and feeds the watchdog from now on if the service manager asks for it.
pub fn ready(run_dir: PathBuf) {
    tell(&[NotifyState::Ready]);
    let Some(allowed) = sd_notify::watchdog_enabled() else { return };
    let pause = (allowed / LOOKS).max(PAUSE_MIN);
    let feed = move || feed(&run_dir, pause);
    if let Err(error) = std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed) {
        tracing::error!(%error, "nobody feeds the watchdog: the service manager will end this process");
    }
}

/// Says that the node stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn feed(run_dir: &std::path::Path, pause: Duration) {
    let mut hearts = Hearts::default();
    let mut stats = None;
    loop {
        // Our own socket, like any console: its end is part of what must live.
        if stats.is_none() {
            stats = Stats::connect(run_dir).ok();
        }
        let now = stats.as_ref().map(|stats: &Stats| beats(&stats.snapshot())).unwrap_or_default();
        if hearts.have_moved(now) {
            tell(&[NotifyState::Watchdog]);
        }
        std::thread::sleep(pause);
    }
}

/// Not started by a service manager: nobody to tell, and no error.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_heart_that_stands_still_is_enough_to_starve_the_watchdog() {
        let mut hearts = Hearts::default();
        assert!(!hearts.have_moved(vec![1, 1, 1]), "the first look has nothing to compare with");
        assert!(hearts.have_moved(vec![2, 2, 2]));
        assert!(!hearts.have_moved(vec![3, 2, 3]), "worker 0 stands");
        assert!(hearts.have_moved(vec![4, 4, 4]), "and goes on");
        assert!(!hearts.have_moved(vec![5, 5]), "a worker is gone");
        assert!(!Hearts::default().have_moved(vec![]), "no heart is no life");
    }
}

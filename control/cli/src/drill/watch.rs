//! Looks at the stats region all the time, over every life of the data plane, and remembers the longest
//! time in which nothing was sent.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proto::DropReason;
use proto::counters::LATENCY_BUCKETS;
use stats::{Snapshot, Stats};

use crate::exit::Failure;

/// How often it looks; counters are written every 100 ms.
const LOOK: Duration = Duration::from_millis(10);
/// A data plane that was silent for so long may have died: its socket is asked.
const SILENT_NS: u64 = 150_000_000;

/// What the stats region said last.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Which life of the data plane.
    pub instance: u64,
    /// Its process.
    pub pid: u64,
    /// Datagrams received.
    pub rx: u64,
    /// Media packets sent; reports go out without media, too.
    pub tx: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Packets of the node's own that were lost: dropped by shards or on the way out, or missed by the
    /// device. Frames that were never meant for the node are none.
    pub lost: u64,
    /// Turns by duration.
    pub turns: [u64; LATENCY_BUCKETS],
    /// The state of the port's link, where the node knows.
    pub link: Option<String>,
}

impl Seen {
    fn of(snapshot: &Snapshot) -> Seen {
        let totals = snapshot.totals();
        let mut turns = [0; LATENCY_BUCKETS];
        for worker in snapshot.shards.iter().filter_map(|shard| shard.worker.as_ref()) {
            turns.iter_mut().zip(worker.turn_latency).for_each(|(sum, n)| *sum += n);
        }
        let about: serde_json::Value =
            serde_json::from_str(&snapshot.node.about).unwrap_or_default();
        Seen {
            instance: snapshot.node.instance,
            pid: snapshot.node.pid,
            rx: totals.rx_packets,
            tx: totals.tx_packets,
            sessions: totals.sessions,
            lost: lost(snapshot),
            turns,
            link: about["link"].as_str().map(str::to_owned),
        }
    }
}

/// What a port drops of the node's own packets.
const OURS: [DropReason; 5] = [
    DropReason::NoMbuf,
    DropReason::TxFull,
    DropReason::SteerFull,
    DropReason::NoNeighbour,
    DropReason::Oversize,
];

fn lost(snapshot: &Snapshot) -> u64 {
    let mut lost = snapshot.port.rx_missed + snapshot.port.rx_no_mbuf + snapshot.port.tx_errors;
    for shard in &snapshot.shards {
        if let Some(counters) = &shard.counters {
            lost += counters.dropped() + counters.egress_drops.iter().sum::<u64>();
        }
        if let Some(worker) = &shard.worker {
            lost += OURS.iter().map(|reason| worker.port_drops[*reason as usize]).sum::<u64>();
        }
    }
    lost
}

#[derive(Debug)]
struct State {
    seen: Seen,
    /// When something was sent last.
    moved: Instant,
    gap: Duration,
    sessions_least: u64,
}

impl State {
    fn take(&mut self, seen: Seen) {
        // Of a new life, whatever it has sent is new.
        let moved = match seen.instance == self.seen.instance {
            true => seen.tx > self.seen.tx,
            false => seen.tx > 0,
        };
        if moved {
            self.gap = self.gap.max(self.moved.elapsed());
            self.moved = Instant::now();
        }
        self.sessions_least = self.sessions_least.min(seen.sessions);
        self.seen = seen;
    }
}

/// The watching thread.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts it on a node that was found in one of `dirs`.
    ///
    /// # Errors
    /// The host has no thread.
    pub fn start(dirs: Vec<PathBuf>, stats: Stats) -> Result<Watch, Failure> {
        let seen = Seen::of(&stats.snapshot());
        let (moved, gap, sessions_least) = (Instant::now(), Duration::ZERO, seen.sessions);
        let state = Arc::new(Mutex::new(State { seen, moved, gap, sessions_least }));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, until) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watch(&dirs, stats, &to, &until))?;
        Ok(Watch { state, stop, thread: Some(thread) })
    }

    /// The node now.
    pub fn seen(&self) -> Seen {
        self.with(|state| state.seen.clone())
    }

    /// From now on gaps and sessions are remembered anew.
    pub fn mark(&self) {
        self.with(|state| {
            state.gap = Duration::ZERO;
            state.sessions_least = state.seen.sessions;
        });
    }

    /// The longest time since the mark in which nothing was sent, the present one included.
    pub fn gap(&self) -> Duration {
        self.with(|state| state.gap.max(state.moved.elapsed()))
    }

    /// The least sessions since the mark.
    pub fn sessions_least(&self) -> u64 {
        self.with(|state| state.sessions_least)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(dirs: &[PathBuf], mut stats: Stats, state: &Mutex<State>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut snapshot = stats.snapshot();
        if snapshot.age_ns() > SILENT_NS
            && let Ok(found) = Stats::find(dirs)
            && found.instance() != stats.instance()
        {
            stats = found;
            snapshot = stats.snapshot();
        }
        let seen = Seen::of(&snapshot);
        state.lock().unwrap_or_else(PoisonError::into_inner).take(seen);
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_with_the_next_packet_of_any_life() {
        let start = Instant::now().checked_sub(Duration::from_secs(5)).expect("a clock that ran");
        let seen = |instance, tx| Seen { instance, tx, sessions: 2, ..Seen::default() };
        let mut state =
            State { seen: seen(1, 100), moved: start, gap: Duration::ZERO, sessions_least: 2 };
        state.take(seen(1, 100));
        assert_eq!(state.gap, Duration::ZERO, "it is still open");
        // A new life that has sent nothing, and then as much as the old one had.
        state.take(Seen { sessions: 0, ..seen(2, 0) });
        assert_eq!((state.gap, state.sessions_least), (Duration::ZERO, 0));
        state.take(seen(2, 100));
        assert!(state.gap >= Duration::from_secs(5));
        assert!(state.moved.elapsed() < Duration::from_secs(5));
    }
}

//! Where the data comes from: the stats region, found again when the data plane was restarted.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{SystemTime, UNIX_EPOCH};

use stats::{Snapshot, Stats, StatsError};

/// A data plane that was silent for so long may have a successor; nanoseconds.
const SUCCESSOR_NS: u64 = 500_000_000;

/// What a look at the node gave.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The stats region, while one could be reached once.
    pub snapshot: Snapshot,
    /// When, in milliseconds of Unix time.
    pub unix_ms: u64,
}

/// Looks at a node.
#[derive(Debug)]
pub struct Source {
    stats: Stats,
    /// Somebody asks for a successor; a data plane that stands still lets them wait.
    search: Option<Receiver<Result<Stats, StatsError>>>,
}

impl Source {
    /// Finds the node.
    pub fn connect(run_dirs: &[PathBuf]) -> Result<Source, StatsError> {
        Ok(Source { stats: Stats::find(run_dirs)?, search: None })
    }

    /// The folder of its sockets.
    pub fn run_dir(&self) -> &Path {
        self.stats.run_dir()
    }

    /// Looks. The last data of a dead data plane stay, with their age.
    pub fn look(&mut self) -> Seen {
        let mut snapshot = self.stats.snapshot();
        if snapshot.age_ns() > SUCCESSOR_NS
            && let Some(successor) = self.successor()
        {
            snapshot = successor.snapshot();
            self.stats = successor;
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Seen { snapshot, unix_ms: unix.as_millis() as u64 }
    }

    /// The data plane that took the place of a silent one, once it was found; never waits.
    fn successor(&mut self) -> Option<Stats> {
        if self.search.is_none() {
            let (tell, search) = mpsc::sync_channel(1);
            let run_dir = self.stats.run_dir().to_owned();
            // Nobody may be left to hear it.
            std::thread::spawn(move || drop(tell.send(Stats::connect(&run_dir))));
            self.search = Some(search);
        }
        match self.search.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => None,
            found => {
                self.search = None;
                found.ok()?.ok()
            }
        }
    }
}

//! Where the data comes from: the stats region, found again when the data plane was restarted.

use std::path::PathBuf;

use std::os::unix::net::UnixStream;

use proto::link::ADMIN_SOCKET;
use stats::{Snapshot, Stats, StatsError};

/// A data plane that was silent for so long may have a successor; nanoseconds.
const SUCCESSOR_NS: u64 = 1_500_000_000;

/// What a look at the node gave.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The stats region, while one could be reached once.
    pub snapshot: Snapshot,
    /// Whether somebody listens on the admin socket.
    pub control_alive: bool,
}

/// Looks at a node.
#[derive(Debug)]
pub struct Source {
    run_dirs: Vec<PathBuf>,
    stats: Option<Stats>,
}

impl Source {
    /// Does not look yet.
    pub fn new(run_dirs: Vec<PathBuf>) -> Self {
        Source { run_dirs, stats: None }
    }

    /// Finds the node.
    pub fn connect(&mut self) -> Result<(), StatsError> {
        self.stats = Some(Stats::find(&self.run_dirs)?);
        Ok(())
    }

    /// Looks; call it after [`Source::connect`] succeeded. The last data of a dead data plane stay, with
    /// their age.
    pub fn look(&mut self) -> Seen {
        let stats = self.stats.as_mut().expect("connect comes first");
        let mut snapshot = stats.snapshot();
        if snapshot.age_ns() > SUCCESSOR_NS
            && let Ok(successor) = Stats::connect(stats.run_dir())
        {
            snapshot = successor.snapshot();
            *stats = successor;
        }
        let admin = UnixStream::connect(stats.run_dir().join(ADMIN_SOCKET));
        let control_alive = match admin {
            Ok(_) => true,
            // Somebody is there who does not talk to us.
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        };
        Seen { snapshot, control_alive }
    }
}

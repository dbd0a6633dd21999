//! The stats region as consoles read it: connect, map read-only, copy out a [`Snapshot`].
//!
//! The rule this crate enforces: a console can look and do nothing else. It has the reading ends of
//! `shm` only, so that no command or dashboard can slow, spoil or crash a worker, whatever bug it has.
//! Start reading at [`Stats::connect`], then [`Snapshot`] and [`Rates`].
#![forbid(unsafe_code)]

mod rates;
mod snapshot;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::codec;
use proto::counters::{ShardCounters, WorkerCounters};
use proto::link::{STATS_SOCKET, Welcome};
use proto::port::{PortState, Xstat, Xstats};
use proto::region::{LAYOUT_VERSION, PAGE_ROWS, PORT_TEXT_BYTES, Sizes};
use proto::snapshot::{RoomRow, SessionRow};
use shm::WORD_BYTES;
use shm::fdpass::{self, PassError};
use shm::region::{ReadRegion, RegionError};
use shm::seqlock::{SnapshotReader, cell_words};
use shm::words::Span;
use zerocopy::{FromBytes, IntoBytes};

pub use rates::{Rates, WorkerRates};
pub use snapshot::{NodeFacts, RoomView, SessionView, ShardView, Snapshot, session_state};

/// How long a data plane may take to hand over its region.
const HANDSHAKE: Duration = Duration::from_millis(2000);
/// Bytes of the largest welcome.
const WELCOME_BYTES: usize = 64;
/// Shards a node may have: a `u64` masks them.
const SHARDS_MAX: u32 = 64;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// Operator: nobody listens in any of the folders.
    #[error("no node running; start one with roomlane up")]
    NoNode {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// Operator: the socket is there and this user may not use it.
    #[error("{}: permission denied; run as root or as a member of the node's group", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// Host: the socket failed.
    #[error("{}: {source}", path.display())]
    Host {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Node: its answer is malformed or of another release.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        what: String,
    },
}

/// A connection to one life of a data plane.
#[derive(Debug)]
pub struct Stats {
    region: ReadRegion,
    sizes: Sizes,
    welcome: Welcome,
    run_dir: PathBuf,
}

impl Stats {
    /// The first node that answers in one of `run_dirs`.
    ///
    /// # Errors
    /// [`StatsError::NoNode`] when nobody listens in any; else the first other failure.
    pub fn find(run_dirs: &[PathBuf]) -> Result<Stats, StatsError> {
        for dir in run_dirs {
            match Self::connect(dir) {
                Err(StatsError::NoNode { .. }) => {}
                other => return other,
            }
        }
        Err(StatsError::NoNode { tried: run_dirs.to_vec() })
    }

    /// Takes the region of the node whose sockets are in `run_dir`.
    ///
    /// # Errors
    /// See [`StatsError`].
    pub fn connect(run_dir: &Path) -> Result<Stats, StatsError> {
        let path = run_dir.join(STATS_SOCKET);
        let foreign = |what: String| StatsError::Foreign { path: path.clone(), what };
        let pass = |error: PassError| match error {
            PassError::Host(source) => StatsError::Host { path: path.clone(), source },
            other => foreign(other.to_string()),
        };
        let socket = fdpass::connect(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                StatsError::NoNode { tried: vec![run_dir.to_owned()] }
            }
            io::ErrorKind::PermissionDenied => StatsError::Denied { path: path.clone() },
            _ => StatsError::Host { path: path.clone(), source },
        })?;
        fdpass::limit_waiting(&socket, HANDSHAKE)
            .map_err(|source| StatsError::Host { path: path.clone(), source })?;
        let mut bytes = [0; WELCOME_BYTES];
        let received = fdpass::recv(&socket, &mut bytes).map_err(pass)?;
        let welcome: Welcome = codec::decode(&bytes[..received.len_bytes])
            .map_err(|_| foreign("its welcome is malformed; is it of another release?".into()))?;
        if welcome.layout_version != LAYOUT_VERSION {
            return Err(foreign(format!(
                "the node has layout version {}, this program reads {LAYOUT_VERSION}; use the \
                 roomlane command of the node's release",
                welcome.layout_version
            )));
        }
        let [descriptor] = &received.descriptors[..] else {
            return Err(foreign(format!(
                "{} descriptors instead of one",
                received.descriptors.len()
            )));
        };
        let (region, sizes) = map(descriptor, &welcome).map_err(|e| foreign(e.to_string()))?;
        Ok(Stats { region, sizes, welcome, run_dir: run_dir.to_owned() })
    }

    /// The folder of the node's sockets.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Differs between any two data planes that ever ran.
    pub fn instance(&self) -> u64 {
        self.welcome.instance
    }

    /// Copies everything out. Never waits for a writer: what does not hold still is left out.
    pub fn snapshot(&self) -> Snapshot {
        let header = self.region.header();
        let shards = self.sizes.shards as usize;
        let mut snapshot = Snapshot {
            taken_ns: shm::clock::monotonic_ns(),
            node: NodeFacts {
                pid: header.writer_pid,
                instance: self.welcome.instance,
                heartbeat_ns: header.heartbeat_ns,
                udp_base: self.welcome.udp_base,
                shards: self.sizes.shards,
                sessions_max: self.sizes.sessions_max,
                rooms_max: self.sizes.rooms_max,
                about: self.about(),
            },
            port: self.cell::<PortState>(self.sizes.port_state()).unwrap_or_default(),
            shards: Vec::with_capacity(shards),
            rooms: vec![],
            sessions: vec![],
        };
        for shard in 0..shards {
            snapshot.shards.push(ShardView {
                shard,
                counters: self.cell::<ShardCounters>(self.sizes.shard_counters(shard)),
                worker: self.cell::<WorkerCounters>(self.sizes.worker_counters(shard)),
            });
            for page in 0..self.sizes.room_pages() {
                let rows = self.cell::<[RoomRow; PAGE_ROWS]>(self.sizes.room_page(shard, page));
                let used = rows.into_iter().flatten().filter(|row| row.room != 0);
                snapshot.rooms.extend(used.map(|row| RoomView { shards: 1 << shard, row }));
            }
            for page in 0..self.sizes.session_pages() {
                let at = self.sizes.session_page(shard, page);
                let rows = self.cell::<[SessionRow; PAGE_ROWS]>(at);
                let used = rows.into_iter().flatten().filter(|row| row.session_plus_one != 0);
                snapshot.sessions.extend(used.map(|row| SessionView { row }));
            }
        }
        snapshot
    }

    /// The node's self-description, as it wrote it (JSON); empty before it did.
    fn about(&self) -> String {
        let Some(text) = self.cell::<[u8; PORT_TEXT_BYTES]>(self.sizes.port_text()) else {
            return String::new();
        };
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    /// The counters of the port's driver, by its names; none of a device that has none.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let named = |xstat: &Xstat| Some((xstat.name()?, xstat.value));
        let cell = self.cell::<Xstats>(self.sizes.port_xstats());
        cell.map(|all| all.iter().filter_map(named).collect()).unwrap_or_default()
    }

    fn cell<T: FromBytes + IntoBytes>(&self, offset: usize) -> Option<T> {
        let words = self.region.words(span(offset, cell_words::<T>(1) * WORD_BYTES)).ok()?;
        SnapshotReader::<T>::attach(words).read().ok()
    }
}

/// Maps the region and checks that everything the welcome promises is inside it.
fn map(fd: &std::os::fd::OwnedFd, welcome: &Welcome) -> Result<(ReadRegion, Sizes), RegionError> {
    let region = ReadRegion::map(fd, u64::from(LAYOUT_VERSION))?;
    let sizes = Sizes {
        shards: welcome.shards,
        sessions_max: welcome.sessions_max,
        rooms_max: welcome.rooms_max,
    };
    if !(1..=SHARDS_MAX).contains(&sizes.shards) {
        return Err(RegionError::Magic);
    }
    region.words(span(0, sizes.stats_bytes()))?;
    Ok((region, sizes))
}

const fn span(offset_bytes: usize, len_bytes: usize) -> Span {
    Span { offset_words: offset_bytes / WORD_BYTES, len_words: len_bytes / WORD_BYTES }
}

#[cfg(test)]
mod tests;

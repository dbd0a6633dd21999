//! The two sockets of a data plane, served by one thread that is not a worker: the handshake with the
//! control plane, and the stats region for whoever may connect.
//!
//! The connection of a control plane carries the handshake and then nothing: its end tells either
//! side that the other one is gone. A data plane whose shard was replaced closes it, so that control
//! connects anew, asks for `Resync` and opens what is missing, with the same ledger.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::ShardId;
use proto::codec;
use proto::link::{DATAPLANE_SOCKET, Hello, STATS_SOCKET, Welcome};
use proto::region::LAYOUT_VERSION;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm::event::Event as WakeUp;
use shm::fdpass::{self, FDS_MAX, Listener};

use crate::mailbox::{Broken, mend};
use crate::regions::{OldControl, Regions};

/// How often the regions' hearts beat.
const BEAT: Duration = Duration::from_millis(100);
/// How long a peer may take for its half of a handshake.
const HANDSHAKE: Duration = Duration::from_millis(500);
/// Permission bits of the control plane's socket: whoever connects may command.
const DATAPLANE_MODE: u32 = 0o600;
/// Permission bits of the consoles' socket: whoever connects may look.
const STATS_MODE: u32 = 0o660;
/// Bytes of the largest handshake message.
const MESSAGE_BYTES: usize = 64;

/// Why the sockets could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Operator: another data plane uses this folder.
    #[error("{path} is in use by process {pid}; another node runs in this folder")]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Its owner.
        pid: u32,
    },
    /// Host: a system call failed.
    #[error("cannot open {path}")]
    Host {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// What workers tell the link, and the process tells it at its end.
#[derive(Debug)]
pub struct LinkHandle {
    wake: WakeUp,
    stop: AtomicBool,
    replay: AtomicBool,
}

impl LinkHandle {
    /// Before there is a link, so that workers can be made first.
    ///
    /// # Errors
    /// The host has no eventfd.
    pub fn new() -> io::Result<Self> {
        let (stop, replay) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(LinkHandle { wake: WakeUp::new()?, stop, replay })
    }

    /// A shard lost its sessions, or the rings are spoilt: close the connection, so that control
    /// connects anew and replays.
    pub fn ask_for_replay(&self) {
        self.replay.store(true, Ordering::Release);
        // Without the wake-up the link looks at its next beat.
        let _ = self.wake.signal();
    }

    /// Whether that was asked for and not done yet.
    pub fn replay_is_asked(&self) -> bool {
        self.replay.load(Ordering::Acquire)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.signal();
    }
}

/// What the link needs of the node.
#[derive(Debug)]
pub struct LinkParts {
    /// Both regions.
    pub regions: Arc<Regions>,
    /// Per shard, what wakes it.
    pub shards: Vec<WakeUp>,
    /// Per shard, whether its rings are spoilt.
    pub broken: Vec<Broken>,
    /// Wakes control.
    pub control: WakeUp,
    /// UDP port of shard 0.
    pub udp_base: u16,
    /// What workers hold of the link.
    pub handle: Arc<LinkHandle>,
}

/// Both sockets, bound; [`Link::start`] serves them.
#[derive(Debug)]
pub struct Link {
    parts: LinkParts,
    dataplane: Listener,
    stats: Listener,
    control: Option<OwnedFd>,
    greeted: bool,
}

impl Link {
    /// Binds both sockets in `run_dir`. Files that a killed process left there are replaced.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn bind(run_dir: &Path, parts: LinkParts) -> Result<Self, LinkError> {
        Ok(Link {
            parts,
            dataplane: listen(&run_dir.join(DATAPLANE_SOCKET), DATAPLANE_MODE)?,
            stats: listen(&run_dir.join(STATS_SOCKET), STATS_MODE)?,
            control: None,
            greeted: false,
        })
    }

    /// Serves until [`LinkHandle::stop`]; then the socket files go.
    ///
    /// # Errors
    /// The host has no thread.
    pub fn start(mut self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("link".to_owned()).spawn(move || {
            while !self.parts.handle.stop.load(Ordering::Acquire) {
                if let Err(error) = self.turn() {
                    tracing::error!(%error, "the link's sockets failed");
                    std::thread::sleep(BEAT);
                }
            }
        })
    }

    /// Waits for the next thing to happen and does it.
    fn turn(&mut self) -> io::Result<()> {
        let ready = self.wait()?;
        self.parts.regions.beat(shm::clock::monotonic_ns());
        if ready.wake {
            self.parts.handle.wake.drain()?;
        }
        if self.parts.handle.replay.swap(false, Ordering::AcqRel) && self.control.take().is_some() {
            tracing::warn!("a shard asks for a replay; closing the control connection");
        }
        if ready.control {
            // The peer has nothing to say after its hello: this is its end.
            self.control = None;
            tracing::warn!("the control plane is gone; media goes on");
        }
        if ready.stats {
            match self.stats.accept() {
                Ok(peer) => self.show(&peer),
                Err(error) => tracing::debug!(%error, "a console came and went"),
            }
        }
        if ready.dataplane {
            match self.dataplane.accept() {
                Ok(peer) => self.greet(peer),
                Err(error) => tracing::debug!(%error, "a control plane came and went"),
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Ready> {
        let beat = Timespec { tv_sec: 0, tv_nsec: BEAT.as_nanos() as i64 };
        let mut fds = vec![
            PollFd::new(&self.parts.handle.wake, PollFlags::IN),
            PollFd::new(&self.stats, PollFlags::IN),
            PollFd::new(&self.dataplane, PollFlags::IN),
        ];
        if let Some(control) = &self.control {
            fds.push(PollFd::new(control, PollFlags::IN));
        }
        match poll(&mut fds, Some(&beat)) {
            Ok(_) => {}
            // A device of DPDK raises signals.
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { wake: ready(0), stats: ready(1), dataplane: ready(2), control: ready(3) })
    }

    /// Hands the stats region to a console.
    fn show(&self, peer: &OwnedFd) {
        let sent = fdpass::limit_waiting(peer, HANDSHAKE)
            .map_err(fdpass::PassError::from)
            .and_then(|()| {
                let welcome = self.welcome(false);
                let mut bytes = [0; MESSAGE_BYTES];
                let len = codec::encode(&welcome, &mut bytes).expect("the message is small");
                fdpass::send(peer, &bytes[..len], &[self.parts.regions.stats_fd()])
            });
        if let Err(error) = sent {
            tracing::debug!(%error, "a console did not take the stats region");
        }
    }

    /// The handshake with a control plane.
    fn greet(&mut self, peer: OwnedFd) {
        if self.control.as_ref().is_some_and(is_alive) {
            tracing::warn!("a second control plane was refused");
            return;
        }
        match self.handshake(&peer) {
            Ok(adopted) => {
                let pid = fdpass::peer_credentials(&peer).map_or(0, |peer| peer.pid);
                tracing::info!(pid, adopted, "the control plane is here");
                self.greeted = true;
                self.control = Some(peer);
            }
            Err(error) => tracing::warn!(%error, "a control plane was refused"),
        }
    }

    fn handshake(&mut self, peer: &OwnedFd) -> Result<bool, HandshakeError> {
        fdpass::limit_waiting(peer, HANDSHAKE)?;
        let mut bytes = [0; MESSAGE_BYTES];
        let mut received = fdpass::recv(peer, &mut bytes)?;
        let hello: Hello =
            codec::decode(&bytes[..received.len_bytes]).map_err(|_| HandshakeError::Malformed)?;
        if hello.layout_version != LAYOUT_VERSION {
            // Without descriptors: it learns which version we have, and nothing else.
            let len = codec::encode(&self.welcome(false), &mut bytes).expect("small");
            fdpass::send(peer, &bytes[..len], &[])?;
            return Err(HandshakeError::Version(hello.layout_version));
        }
        let old = received.descriptors.pop().filter(|_| hello.has_ledger);
        let adopted = old.is_some_and(|old| self.adopt(old));
        for (shard, broken) in self.parts.broken.iter().enumerate() {
            if broken.is_set() {
                mend(&self.parts.regions, shard, broken)?;
            }
        }
        self.send_welcome(peer, adopted)?;
        Ok(adopted)
    }

    /// Takes over the ledger of a data plane that died. Only the first control plane can bring one:
    /// afterwards our own is the newer.
    fn adopt(&self, old: OwnedFd) -> bool {
        if self.greeted {
            tracing::warn!("a ledger came late and was ignored: sessions may be open here");
            return false;
        }
        let adopt = || {
            let old = OldControl::map(old)?;
            let mut records = 0;
            for shard in 0..self.parts.regions.sizes().shards.min(old.shards()) {
                let ours = self.parts.regions.ledger(shard as usize)?;
                records += ours.adopt(&old.ledger(shard as usize)?, ShardId(shard as u8));
            }
            Ok::<u32, shm::region::RegionError>(records)
        };
        match adopt() {
            Ok(records) => {
                tracing::info!(records, "the ledger of the former data plane was taken over");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger of the former data plane was refused");
                false
            }
        }
    }

    fn welcome(&self, adopted: bool) -> Welcome {
        let sizes = self.parts.regions.sizes();
        Welcome {
            layout_version: LAYOUT_VERSION,
            instance: self.parts.regions.instance(),
            shards: sizes.shards,
            sessions_max: sizes.sessions_max,
            rooms_max: sizes.rooms_max,
            udp_base: self.parts.udp_base,
            adopted,
            resync: self.greeted,
        }
    }

    /// A message takes at most [`FDS_MAX`] descriptors, so those of more shards follow in messages of
    /// one byte.
    fn send_welcome(&self, peer: &OwnedFd, adopted: bool) -> Result<(), HandshakeError> {
        let regions = &self.parts.regions;
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![regions.control_fd(), regions.stats_fd()];
        descriptors.extend(self.parts.shards.iter().map(AsFd::as_fd));
        descriptors.push(self.parts.control.as_fd());
        let mut bytes = [0; MESSAGE_BYTES];
        let mut len = codec::encode(&self.welcome(adopted), &mut bytes).expect("small");
        for some in descriptors.chunks(FDS_MAX) {
            fdpass::send(peer, &bytes[..len], some)?;
            (bytes[0], len) = (0, 1);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Ready {
    wake: bool,
    stats: bool,
    dataplane: bool,
    control: bool,
}

#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("its hello is malformed")]
    Malformed,
    #[error("it speaks layout version {0}, this data plane speaks {LAYOUT_VERSION}")]
    Version(u32),
    #[error("the socket failed: {0}")]
    Pass(#[from] fdpass::PassError),
    #[error("the socket failed: {0}")]
    Host(#[from] io::Error),
    #[error("the regions are too small for their layout: {0}")]
    Region(#[from] shm::region::RegionError),
}

/// A control plane that is gone has closed its end, which can be read; a live one says nothing.
fn is_alive(control: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(control, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}

/// Listens at `path`, or names who does.
fn listen(path: &Path, mode: u32) -> Result<Listener, LinkError> {
    Listener::bind(path, mode).map_err(|source| {
        let owner = (source.kind() == io::ErrorKind::AddrInUse)
            .then(|| fdpass::connect(path).and_then(fdpass::peer_credentials).ok())
            .flatten();
        match owner {
            Some(owner) => LinkError::InUse { path: path.to_owned(), pid: owner.pid },
            None => LinkError::Host { path: path.to_owned(), source },
        }
    })
}

//! This side's ends of the rings, and the handshake that gives them to us.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use proto::codec::{self, MESSAGE_MAX};
use proto::link::{DATAPLANE_SOCKET, Hello, Welcome};
use proto::region::{LAYOUT_VERSION, RING_BYTES, Sizes};
use proto::{Command, Event, ShardId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm::WORD_BYTES;
use shm::event::Event as WakeUp;
use shm::fdpass::{self, PassError};
use shm::region::{Region, RegionError};
use shm::ring::{Consumer, PopError, Producer, PushError, RingSpec};
use shm::words::Span;
use zeroize::Zeroizing;

use crate::limits::HANDSHAKE_MESSAGE_TIMEOUT;

/// A shard's command ring, as the data plane reads it: half of its bytes are data, because a capacity
/// is a power of two and the indexes need room as well; what was read is wiped, for it carried keys.
const COMMAND_RING: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX).secret();
/// A shard's event ring.
const EVENT_RING: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX);

/// Bytes of the largest handshake message.
const HANDSHAKE_BYTES: usize = 64;

/// Why there is no link, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody listens, or the socket failed.
    #[error("the data plane's socket failed: {0}")]
    Host(#[from] io::Error),
    /// The socket closed or carried something else than it should.
    #[error("the data plane's socket: {0}")]
    Pass(#[from] PassError),
    /// The handshake is not one.
    #[error("the data plane's welcome is malformed")]
    Malformed,
    /// Operator: programs of two releases.
    #[error(
        "the data plane has layout version {0}, this program needs {LAYOUT_VERSION}; install both from one release"
    )]
    Version(u32),
    /// The region cannot be what it says.
    #[error("the control region was refused: {0}")]
    Region(#[from] RegionError),
    /// The other side broke a ring.
    #[error("a ring to the data plane is broken")]
    Corrupt,
    /// The shards did not tell what they have.
    #[error("the data plane did not answer Resync in time")]
    ResyncTimeout,
    /// It hung up.
    #[error("it closed the connection")]
    Closed,
}

impl From<shm::ring::Corrupt> for LinkError {
    fn from(_: shm::ring::Corrupt) -> Self {
        LinkError::Corrupt
    }
}

/// Everything of one connection.
pub struct Rings {
    welcome: Welcome,
    socket: OwnedFd,
    wake: WakeUp,
    region: Region,
    commands: Vec<Producer>,
    events: Vec<Consumer>,
    buffer: Zeroizing<[u8; MESSAGE_MAX]>,
}

impl Rings {
    /// Connects and shakes hands. `ledger` is the control region of the data plane that we knew last.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn connect(run_dir: &Path, ledger: Option<&OwnedFd>) -> Result<Rings, LinkError> {
        let (socket, welcome, descriptors) = handshake(&run_dir.join(DATAPLANE_SOCKET), ledger)?;
        Rings::build(socket, welcome, descriptors)
    }

    fn build(
        socket: OwnedFd,
        welcome: Welcome,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Rings, LinkError> {
        let shards = welcome.shards as usize;
        if descriptors.len() != shards + 3 {
            return Err(LinkError::Malformed);
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(LinkError::Malformed);
        let region = Region::map(next()?, u64::from(LAYOUT_VERSION))?;
        // The stats region is for those who look; see the metrics.
        drop(next()?);
        let sizes = Sizes {
            shards: welcome.shards,
            sessions_max: welcome.sessions_max,
            rooms_max: welcome.rooms_max,
        };
        let (mut commands, mut events) = (Vec::new(), Vec::new());
        for shard in 0..shards {
            let command_words = region.words(ring_span(sizes.command_ring(shard)))?;
            let event_words = region.words(ring_span(sizes.event_ring(shard)))?;
            let wake = WakeUp::from_fd(next()?);
            commands.push(Producer::attach(command_words, COMMAND_RING)?.with_event(wake));
            events.push(Consumer::attach(event_words, EVENT_RING)?);
        }
        let wake = WakeUp::from_fd(next()?);
        Ok(Rings {
            welcome,
            socket,
            wake,
            region,
            commands,
            events,
            buffer: Zeroizing::new([0; MESSAGE_MAX]),
        })
    }

    /// What the data plane said of itself.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The control region, to be brought to the next data plane.
    ///
    /// # Errors
    /// The host's.
    pub fn ledger(&self) -> io::Result<OwnedFd> {
        self.region.as_fd().try_clone_to_owned()
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.commands.len()).map(|index| ShardId(index as u8))
    }

    /// Writes an encoded command; `false` when the ring is full.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn push(&mut self, shard: ShardId, bytes: &[u8]) -> Result<bool, LinkError> {
        match self.commands[shard.0 as usize].push(bytes) {
            Ok(()) => Ok(true),
            Err(PushError::Full) => Ok(false),
            // Orders are encoded into at most a message: this cannot be, and is skipped if it is.
            Err(PushError::TooLong { .. }) => Ok(true),
            Err(PushError::Corrupt(_)) => Err(LinkError::Corrupt),
        }
    }

    /// Encodes and writes a command without keys; `false` when the ring is full.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn push_command(&mut self, shard: ShardId, command: &Command) -> Result<bool, LinkError> {
        let mut bytes = [0; 64];
        let len = codec::encode(command, &mut bytes).map_err(|_| LinkError::Malformed)?;
        self.push(shard, &bytes[..len])
    }

    /// Wakes a shard's worker, if it sleeps.
    pub fn wake(&mut self, shard: ShardId) {
        // If the write fails the worker looks by itself within a millisecond.
        let _ = self.commands[shard.0 as usize].wake();
    }

    /// The next event of a shard. Bytes that are no event are skipped.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn pop_event(&mut self, shard: ShardId) -> Result<Option<Event>, LinkError> {
        loop {
            match self.events[shard.0 as usize].pop(&mut self.buffer[..]) {
                Ok(None) => return Ok(None),
                Ok(Some(len)) => match codec::decode(&self.buffer[..len]) {
                    Ok(event) => return Ok(Some(event)),
                    Err(error) => tracing::error!(%error, shard = shard.0, "an event was skipped"),
                },
                Err(PopError::Corrupt(_) | PopError::TooSmall { .. }) => {
                    return Err(LinkError::Corrupt);
                }
            }
        }
    }

    /// Announces a sleep; `false` when there is an event.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn arm(&mut self) -> Result<bool, LinkError> {
        for index in 0..self.events.len() {
            if !self.events[index].arm()? {
                self.disarm();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a sleep.
    pub fn disarm(&mut self) {
        self.events.iter_mut().for_each(Consumer::disarm);
    }

    /// Sleeps until a shard wakes us, `ordered` is signalled or `timeout` has passed.
    ///
    /// # Errors
    /// [`LinkError::Closed`]: the data plane hung up. It says nothing else after its welcome.
    pub fn wait(&self, ordered: &WakeUp, timeout: Duration) -> Result<(), LinkError> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(ordered, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return Err(LinkError::Closed);
        }
        for event in [(&self.wake, ready[1]), (ordered, ready[2])] {
            if let (event, true) = event {
                event.drain()?;
            }
        }
        Ok(())
    }
}

fn ring_span(offset_bytes: usize) -> Span {
    Span { offset_words: offset_bytes / WORD_BYTES, len_words: RING_BYTES / WORD_BYTES }
}

fn handshake(
    path: &Path,
    ledger: Option<&OwnedFd>,
) -> Result<(OwnedFd, Welcome, Vec<OwnedFd>), LinkError> {
    let socket = fdpass::connect(path)?;
    fdpass::limit_waiting(&socket, HANDSHAKE_MESSAGE_TIMEOUT)?;
    let hello = Hello { layout_version: LAYOUT_VERSION, has_ledger: ledger.is_some() };
    let mut bytes = [0; HANDSHAKE_BYTES];
    let len = codec::encode(&hello, &mut bytes).map_err(|_| LinkError::Malformed)?;
    let descriptors: Vec<_> = ledger.iter().map(|fd| fd.as_fd()).collect();
    fdpass::send(&socket, &bytes[..len], &descriptors)?;
    let received = fdpass::recv(&socket, &mut bytes)?;
    let welcome: Welcome =
        codec::decode(&bytes[..received.len_bytes]).map_err(|_| LinkError::Malformed)?;
    if welcome.layout_version != LAYOUT_VERSION {
        return Err(LinkError::Version(welcome.layout_version));
    }
    let mut descriptors = received.descriptors;
    // Control region, stats region, a wake-up per shard, ours: what does not fit one message follows.
    let wanted = (welcome.shards as usize).min(64) + 3;
    while descriptors.len() < wanted {
        let more = fdpass::recv(&socket, &mut bytes)?;
        if more.descriptors.is_empty() {
            return Err(LinkError::Malformed);
        }
        descriptors.extend(more.descriptors);
    }
    Ok((socket, welcome, descriptors))
}

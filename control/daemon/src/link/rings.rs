//! This side's ends of the rings, and the handshake that gives them to us.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use proto::codec::{self, MESSAGE_MAX};
use proto::link::{DATAPLANE_SOCKET, Hello, Welcome};
use proto::region::{LAYOUT_VERSION, PUNT_RING_BYTES, RING_BYTES, Sizes};
use proto::{Command, Event, SessionId, ShardId, punt};
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
/// A shard's punt ring, and its inject ring.
const PUNT_RING: RingSpec = RingSpec::new(PUNT_RING_BYTES / 2, punt::MESSAGE_MAX);

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
    shards: Vec<Ends>,
    buffer: Zeroizing<[u8; MESSAGE_MAX]>,
    datagram: Box<[u8; punt::MESSAGE_MAX]>,
}

/// This side's ends of one shard's rings.
struct Ends {
    commands: Producer,
    events: Consumer,
    punts: Consumer,
    injects: Producer,
}

impl Ends {
    fn attach(
        region: &Region,
        sizes: &Sizes,
        shard: usize,
        wake: WakeUp,
    ) -> Result<Ends, LinkError> {
        let ring = |offset| region.words(span(offset, RING_BYTES));
        let punt_ring = |offset| region.words(span(offset, PUNT_RING_BYTES));
        let injects = Producer::attach(punt_ring(sizes.inject_ring(shard))?, PUNT_RING)?;
        let commands = Producer::attach(ring(sizes.command_ring(shard))?, COMMAND_RING)?;
        Ok(Ends {
            injects: injects.with_event(wake.try_clone()?),
            commands: commands.with_event(wake),
            events: Consumer::attach(ring(sizes.event_ring(shard))?, EVENT_RING)?,
            punts: Consumer::attach(punt_ring(sizes.punt_ring(shard))?, PUNT_RING)?,
        })
    }
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
        let mut ends = Vec::with_capacity(shards);
        for shard in 0..shards {
            ends.push(Ends::attach(&region, &sizes, shard, WakeUp::from_fd(next()?))?);
        }
        let wake = WakeUp::from_fd(next()?);
        Ok(Rings {
            welcome,
            socket,
            wake,
            region,
            shards: ends,
            buffer: Zeroizing::new([0; MESSAGE_MAX]),
            datagram: Box::new([0; punt::MESSAGE_MAX]),
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
        (0..self.shards.len()).map(|index| ShardId(index as u8))
    }

    /// Writes an encoded command; `false` when the ring is full.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn push(&mut self, shard: ShardId, bytes: &[u8]) -> Result<bool, LinkError> {
        pushed(self.shards[shard.0 as usize].commands.push(bytes))
    }

    /// Writes a datagram to be sent to a session's peer; `false` when the ring is full.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn push_inject(&mut self, session: SessionId, datagram: &[u8]) -> Result<bool, LinkError> {
        let Some(len) = punt::encode(session, datagram, &mut self.datagram[..]) else {
            return Ok(true);
        };
        match self.shards.get_mut(session.shard().0 as usize) {
            Some(shard) => pushed(shard.injects.push(&self.datagram[..len])),
            None => Ok(true),
        }
    }

    /// The next datagram of a shard's peers. What is too short to name a session is skipped.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn pop_punt(&mut self, shard: ShardId) -> Result<Option<(SessionId, Vec<u8>)>, LinkError> {
        loop {
            match self.shards[shard.0 as usize].punts.pop(&mut self.datagram[..]) {
                Ok(None) => return Ok(None),
                Ok(Some(len)) => match punt::decode(&self.datagram[..len]) {
                    Some((session, datagram)) => return Ok(Some((session, datagram.to_vec()))),
                    None => tracing::error!(shard = shard.0, "a punt was skipped"),
                },
                Err(PopError::Corrupt(_) | PopError::TooSmall { .. }) => {
                    return Err(LinkError::Corrupt);
                }
            }
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
        // If a write fails the worker looks by itself within milliseconds.
        let shard = &mut self.shards[shard.0 as usize];
        let _ = shard.commands.wake();
        let _ = shard.injects.wake();
    }

    /// The next event of a shard. Bytes that are no event are skipped.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn pop_event(&mut self, shard: ShardId) -> Result<Option<Event>, LinkError> {
        loop {
            match self.shards[shard.0 as usize].events.pop(&mut self.buffer[..]) {
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

    /// Announces a sleep; `false` when there is an event or a punt.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`].
    pub fn arm(&mut self) -> Result<bool, LinkError> {
        for index in 0..self.shards.len() {
            let shard = &mut self.shards[index];
            if !shard.events.arm()? || !shard.punts.arm()? {
                self.disarm();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a sleep.
    pub fn disarm(&mut self) {
        for shard in &mut self.shards {
            shard.events.disarm();
            shard.punts.disarm();
        }
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

const fn span(offset_bytes: usize, len_bytes: usize) -> Span {
    Span { offset_words: offset_bytes / WORD_BYTES, len_words: len_bytes / WORD_BYTES }
}

/// Whether a message found room. What is put here was encoded into at most a message, so one that is too
/// long cannot be, and is skipped if it is.
fn pushed(result: Result<(), PushError>) -> Result<bool, LinkError> {
    match result {
        Ok(()) | Err(PushError::TooLong { .. }) => Ok(true),
        Err(PushError::Full) => Ok(false),
        Err(PushError::Corrupt(_)) => Err(LinkError::Corrupt),
    }
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

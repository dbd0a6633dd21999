//! A control plane as the data plane sees it: the handshake, and the ends of the rings.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use node::regions::{COMMAND_RING, EVENT_RING};
use proto::codec::{self, MESSAGE_MAX};
use proto::link::{DATAPLANE_SOCKET, Hello, Welcome};
use proto::region::{LAYOUT_VERSION, LEDGER_WORDS, RING_BYTES, Sizes};
use proto::{Command, Event};
use shm::fdpass::{self, PassError};
use shm::region::Region;
use shm::ring::{Consumer, Producer};
use shm::words::{Span, WordsMut};

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connected control plane.
pub struct Control {
    pub welcome: Welcome,
    pub region_fd: OwnedFd,
    pub descriptors: usize,
    socket: OwnedFd,
    region: Region,
    sizes: Sizes,
    rings: Vec<(Producer, Consumer)>,
}

fn words(region: &Region, offset: usize, bytes: usize) -> WordsMut {
    region.words(Span { offset_words: offset / 8, len_words: bytes / 8 }).expect("inside")
}

impl Control {
    /// Connects; with `ledger`, the control region of the data plane before.
    pub fn connect(run_dir: &Path, ledger: Option<&OwnedFd>) -> Result<Self, PassError> {
        Self::connect_as(run_dir, LAYOUT_VERSION, ledger)
    }

    /// The same, speaking some layout version.
    pub fn connect_as(
        run_dir: &Path,
        layout_version: u32,
        ledger: Option<&OwnedFd>,
    ) -> Result<Self, PassError> {
        use std::os::fd::AsFd;
        let socket = fdpass::connect(&run_dir.join(DATAPLANE_SOCKET))?;
        fdpass::limit_waiting(&socket, PATIENCE)?;
        let mut bytes = [0; 64];
        let hello = Hello { layout_version, has_ledger: ledger.is_some() };
        let len = codec::encode(&hello, &mut bytes).expect("small");
        let fds: Vec<_> = ledger.iter().map(|fd| fd.as_fd()).collect();
        fdpass::send(&socket, &bytes[..len], &fds)?;
        let received = fdpass::recv(&socket, &mut bytes)?;
        let welcome: Welcome = codec::decode(&bytes[..received.len_bytes]).expect("a welcome");
        let mut fds = received.descriptors;
        if fds.is_empty() {
            return Err(PassError::Closed);
        }
        let expected = 3 + welcome.shards as usize;
        while fds.len() < expected {
            fds.extend(fdpass::recv(&socket, &mut bytes)?.descriptors);
        }
        assert_eq!(fds.len(), expected, "control, stats, one per shard, one for control");
        let descriptors = fds.len();
        let region_fd = fds.swap_remove(0);
        let dup = region_fd.try_clone().expect("dup");
        let region = Region::map(dup, u64::from(LAYOUT_VERSION)).expect("a control region");
        let Welcome { shards, sessions_max, rooms_max, .. } = welcome;
        let sizes = Sizes { shards, sessions_max, rooms_max };
        let rings = (0..shards as usize).map(|shard| {
            let commands = words(&region, sizes.command_ring(shard), RING_BYTES);
            let events = words(&region, sizes.event_ring(shard), RING_BYTES);
            let commands = Producer::attach(commands, COMMAND_RING).expect("intact");
            (commands, Consumer::attach(events, EVENT_RING).expect("intact"))
        });
        let rings = rings.collect();
        Ok(Control { welcome, region_fd, descriptors, socket, region, sizes, rings })
    }

    /// Writes a command.
    pub fn tell(&mut self, shard: usize, command: &Command) {
        let mut bytes = [0; MESSAGE_MAX];
        let len = codec::encode(command, &mut bytes).expect("encode");
        self.rings[shard].0.push(&bytes[..len]).expect("room");
    }

    /// Waits for the first event that `wanted` knows; others are passed over.
    pub fn await_event<T>(&mut self, shard: usize, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut bytes = [0; MESSAGE_MAX];
        while Instant::now() < end {
            while let Some(len) = self.rings[shard].1.pop(&mut bytes).expect("intact") {
                let event = codec::decode(&bytes[..len]).expect("an event");
                if let Event::Refused { why, .. } = event {
                    panic!("refused: {why:?}");
                }
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
            std::thread::yield_now();
        }
        panic!("the event did not come");
    }

    /// A word of a ledger record.
    pub fn ledger_word(&self, shard: usize, slot: usize, word: usize) -> u64 {
        words(&self.region, self.sizes.ledger(shard), self.sizes.sessions_max as usize * 512)
            .load(slot * LEDGER_WORDS + word)
    }

    /// Spoils the command ring of a shard, as a control plane gone mad would.
    pub fn spoil(&self, shard: usize) {
        words(&self.region, self.sizes.command_ring(shard), RING_BYTES).store(0, u64::MAX / 2);
    }

    /// Waits until the data plane closes the connection.
    pub fn await_end(&self) {
        let mut bytes = [0; 64];
        match fdpass::recv(&self.socket, &mut bytes) {
            Err(PassError::Closed) => {}
            other => panic!("the connection did not end: {other:?}"),
        }
    }
}

//! A shard's two rings with the control plane: commands come down, events go up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::codec::{self, MESSAGE_MAX};
use proto::{Command, Event};
use shm::event::Event as WakeUp;
use shm::region::RegionError;
use shm::ring::{Consumer, PopError, Producer, PushError};
use zeroize::Zeroize;

use crate::regions::{COMMAND_RING, EVENT_RING, Regions};

/// Whether a shard's rings are usable. A worker that finds them broken says so and leaves them alone;
/// the link then makes them anew before it greets the next control plane, and clears the flag.
#[derive(Debug, Clone, Default)]
pub struct Broken(Arc<AtomicBool>);

impl Broken {
    /// The worker's word.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the worker leaves the rings alone.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The link's word, after it has made both rings anew.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What came out of the command ring.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // lives on one stack frame
pub enum Incoming {
    /// A command.
    Command(Command),
    /// Bytes that are no command: the control plane's mistake, skipped.
    Malformed,
    /// Nothing now.
    Nothing,
}

/// The shard's ends of its rings.
#[derive(Debug)]
pub struct Mailbox {
    rings: Option<(Consumer, Producer)>,
    words: (shm::words::WordsMut, shm::words::WordsMut),
    control: WakeUp,
    broken: Broken,
    incoming: Box<[u8; MESSAGE_MAX]>,
    outgoing: Box<[u8; MESSAGE_MAX]>,
    /// Bytes of an encoded event that found no room.
    held: usize,
}

impl Mailbox {
    /// Takes a shard's ends. `control` wakes the control plane.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn attach(
        regions: &Regions,
        shard: usize,
        control: WakeUp,
        broken: Broken,
    ) -> Result<Self, RegionError> {
        let words = (regions.command_ring(shard)?, regions.event_ring(shard)?);
        let mut mailbox = Mailbox {
            rings: None,
            words,
            control,
            broken,
            incoming: Box::new([0; MESSAGE_MAX]),
            outgoing: Box::new([0; MESSAGE_MAX]),
            held: 0,
        };
        mailbox.take_rings();
        Ok(mailbox)
    }

    fn take_rings(&mut self) {
        let commands = Consumer::attach(self.words.0.clone(), COMMAND_RING);
        let events = Producer::attach(self.words.1.clone(), EVENT_RING);
        self.rings = match (commands, events, self.control.try_clone()) {
            (Ok(commands), Ok(events), Ok(control)) => Some((commands, events.with_event(control))),
            _ => {
                self.broken.set();
                None
            }
        };
    }

    /// Whether the rings can be used; takes them up again after the link has mended them.
    fn usable(&mut self) -> bool {
        if self.rings.is_none() && !self.broken.is_set() {
            self.held = 0;
            self.take_rings();
        }
        self.rings.is_some()
    }

    /// Whether the control plane has spoilt the rings and the link should be closed.
    pub fn is_broken(&self) -> bool {
        self.broken.is_set()
    }

    fn give_up(&mut self) {
        self.rings = None;
        self.broken.set();
    }

    /// The next command. Its bytes are wiped from the ring and from here; the caller wipes the command
    /// with [`wipe`] once it is carried out.
    pub fn next_command(&mut self) -> Incoming {
        if !self.usable() {
            return Incoming::Nothing;
        }
        let Some((commands, _)) = &mut self.rings else { return Incoming::Nothing };
        match commands.pop(&mut self.incoming[..]) {
            Ok(None) => Incoming::Nothing,
            Ok(Some(len)) => {
                let decoded = codec::decode::<Command>(&self.incoming[..len]);
                self.incoming[..len].zeroize();
                decoded.map_or(Incoming::Malformed, Incoming::Command)
            }
            Err(PopError::Corrupt(_) | PopError::TooSmall { .. }) => {
                self.give_up();
                Incoming::Nothing
            }
        }
    }

    /// Whether an event would find room: nothing is held back. Tries to get rid of what is.
    pub fn has_room(&mut self) -> bool {
        if !self.usable() {
            return false;
        }
        if self.held == 0 {
            return true;
        }
        let len = std::mem::take(&mut self.held);
        self.push(len)
    }

    /// Sends an event, or holds it back until there is room. Call after [`Mailbox::has_room`].
    pub fn send(&mut self, event: &Event) {
        debug_assert_eq!(self.held, 0, "an event is held back already");
        // The largest event is far below MESSAGE_MAX; see the test.
        if let Ok(len) = codec::encode(event, &mut self.outgoing[..]) {
            self.push(len);
        }
    }

    fn push(&mut self, len: usize) -> bool {
        let Some((_, events)) = &mut self.rings else { return false };
        match events.push(&self.outgoing[..len]) {
            Ok(()) => true,
            Err(PushError::Full) => {
                self.held = len;
                false
            }
            Err(PushError::TooLong { .. }) => true,
            Err(PushError::Corrupt(_)) => {
                self.give_up();
                false
            }
        }
    }

    /// Wakes the control plane if it sleeps: once after a turn's events.
    pub fn wake_control(&mut self) {
        if let Some((_, events)) = &mut self.rings {
            // A failed write of an eventfd means that it is no eventfd; control polls as well.
            let _ = events.wake();
        }
    }

    /// Announces a sleep; `false` when there is a command, so do not sleep.
    pub fn may_sleep(&mut self) -> bool {
        match &mut self.rings {
            Some((commands, _)) => commands.arm().unwrap_or(true),
            None => true,
        }
    }

    /// Ends a sleep.
    pub fn awake(&mut self) {
        if let Some((commands, _)) = &mut self.rings {
            commands.disarm();
        }
    }
}

/// Wipes the keys of a command that was carried out.
pub fn wipe(command: &mut Command) {
    if let Command::OpenSession(open) = command {
        open.rx_key.bytes.zeroize();
        open.tx_key.bytes.zeroize();
    }
}

/// Makes a shard's rings anew, for the next control plane. Only while its worker leaves them alone.
///
/// # Errors
/// A shard that there is not.
pub fn mend(regions: &Regions, shard: usize, broken: &Broken) -> Result<(), RegionError> {
    regions.command_ring(shard)?.zero();
    regions.event_ring(shard)?.zero();
    broken.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::command::BLOB_MAX;
    use proto::region::Sizes;
    use proto::{GrantWord, KeyMaterial, List, MemberNo, OpenSession, RoomNo, SessionId};

    use super::*;

    struct Rig {
        regions: Regions,
        mailbox: Mailbox,
        commands: Producer,
        events: Consumer,
        broken: Broken,
    }

    fn rig() -> Rig {
        let sizes = Sizes { shards: 1, sessions_max: 4, rooms_max: 4 };
        let regions = Regions::create(sizes, 1).expect("regions");
        let broken = Broken::default();
        let wake = WakeUp::new().expect("eventfd");
        let mailbox = Mailbox::attach(&regions, 0, wake, broken.clone()).expect("mailbox");
        let commands = regions.command_ring(0).expect("ring");
        let commands = Producer::attach(commands, COMMAND_RING).expect("producer");
        let events = regions.event_ring(0).expect("ring");
        let events = Consumer::attach(events, EVENT_RING).expect("consumer");
        Rig { regions, mailbox, commands, events, broken }
    }

    fn send(rig: &mut Rig, command: &Command) {
        let mut bytes = [0; MESSAGE_MAX];
        let len = codec::encode(command, &mut bytes).expect("encode");
        rig.commands.push(&bytes[..len]).expect("room");
    }

    fn event() -> Event {
        Event::Session {
            session: SessionId(u64::MAX),
            room: RoomNo(u64::MAX),
            member: MemberNo(u64::MAX),
            grant: GrantWord(u64::MAX),
            blob: List::from_slice(&[7; BLOB_MAX]).expect("fits"),
        }
    }

    #[test]
    fn keys_leave_neither_ring_nor_buffer_behind() {
        let mut rig = rig();
        let key = KeyMaterial { bytes: List::from_slice(&[0xa7; 30]).expect("fits") };
        let open = OpenSession { rx_key: key, tx_key: key, ..OpenSession::default() };
        send(&mut rig, &Command::OpenSession(open));
        let Incoming::Command(mut command) = rig.mailbox.next_command() else {
            panic!("no command")
        };
        assert_eq!(command, Command::OpenSession(open));
        wipe(&mut command);
        let Command::OpenSession(wiped) = command else { panic!("another command") };
        assert_eq!(
            (&wiped.rx_key.bytes[..], &wiped.tx_key.bytes[..]),
            (&[0; 30][..], &[0; 30][..])
        );
        assert!(rig.mailbox.incoming.iter().all(|byte| *byte == 0));
        let mut ring = vec![0; COMMAND_RING.len_words() * 8];
        rig.regions.command_ring(0).expect("ring").copy_out(0, &mut ring);
        assert!(!ring.windows(8).any(|window| window == [0xa7; 8]));
        assert_eq!(rig.mailbox.next_command(), Incoming::Nothing);
    }

    #[test]
    fn bytes_that_are_no_command_are_skipped() {
        let mut rig = rig();
        rig.commands.push(&[255; 9]).expect("room");
        send(&mut rig, &Command::Resync);
        assert_eq!(rig.mailbox.next_command(), Incoming::Malformed);
        assert_eq!(rig.mailbox.next_command(), Incoming::Command(Command::Resync));
    }

    #[test]
    fn an_event_that_finds_no_room_is_held_and_none_is_lost() {
        let mut rig = rig();
        let mut sent = 0;
        while rig.mailbox.has_room() {
            rig.mailbox.send(&event());
            sent += 1;
        }
        let mut bytes = [0; MESSAGE_MAX];
        let mut received = 0;
        loop {
            while let Some(len) = rig.events.pop(&mut bytes).expect("intact") {
                assert_eq!(codec::decode::<Event>(&bytes[..len]), Ok(event()));
                received += 1;
            }
            if rig.mailbox.held == 0 {
                break;
            }
            assert!(rig.mailbox.has_room());
        }
        assert!(sent > 1000, "{sent}");
        assert_eq!(received, sent);
    }

    #[test]
    fn rings_that_control_spoilt_are_left_alone_until_they_are_mended() {
        let mut rig = rig();
        // The tail, far beyond the ring.
        rig.regions.command_ring(0).expect("ring").store(0, u64::MAX / 2);
        assert_eq!(rig.mailbox.next_command(), Incoming::Nothing);
        assert!(rig.mailbox.is_broken() && !rig.mailbox.has_room());
        mend(&rig.regions, 0, &rig.broken).expect("mended");
        assert!(rig.mailbox.has_room());
        let ring = rig.regions.command_ring(0).expect("ring");
        rig.commands = Producer::attach(ring, COMMAND_RING).expect("fresh");
        send(&mut rig, &Command::Resync);
        assert_eq!(rig.mailbox.next_command(), Incoming::Command(Command::Resync));
        assert!(!rig.mailbox.is_broken());
    }
}

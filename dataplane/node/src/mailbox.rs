//! A shard's four rings with the control plane: commands come down and events go up, datagrams of
//! handshakes come down (injects) and go up (punts).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::codec::{self, MESSAGE_MAX};
use proto::{Command, Event, SessionId, punt};
use shm::event::Event as WakeUp;
use shm::region::RegionError;
use shm::ring::{Consumer, PopError, Producer, PushError};
use shm::words::WordsMut;
use zeroize::Zeroize;

use crate::regions::{COMMAND_RING, EVENT_RING, PUNT_RING, Regions};

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

/// The shard's ends of its four rings.
#[derive(Debug)]
struct Ends {
    commands: Consumer,
    events: Producer,
    punts: Producer,
    injects: Consumer,
}

/// Their words in the control region.
#[derive(Debug)]
struct RingWords {
    commands: WordsMut,
    events: WordsMut,
    punts: WordsMut,
    injects: WordsMut,
}

impl RingWords {
    fn of(regions: &Regions, shard: usize) -> Result<Self, RegionError> {
        Ok(RingWords {
            commands: regions.command_ring(shard)?,
            events: regions.event_ring(shard)?,
            punts: regions.punt_ring(shard)?,
            injects: regions.inject_ring(shard)?,
        })
    }

    /// `control` wakes whoever reads events and punts.
    fn attach(&self, control: &WakeUp) -> Option<Ends> {
        let commands = Consumer::attach(self.commands.clone(), COMMAND_RING).ok()?;
        let events = Producer::attach(self.events.clone(), EVENT_RING).ok()?;
        let punts = Producer::attach(self.punts.clone(), PUNT_RING).ok()?;
        let injects = Consumer::attach(self.injects.clone(), PUNT_RING).ok()?;
        Some(Ends {
            commands,
            events: events.with_event(control.try_clone().ok()?),
            punts: punts.with_event(control.try_clone().ok()?),
            injects,
        })
    }
}

/// A shard's side of its rings with the control plane.
#[derive(Debug)]
pub struct Mailbox {
    ends: Option<Ends>,
    words: RingWords,
    control: WakeUp,
    broken: Broken,
    incoming: Box<[u8; MESSAGE_MAX]>,
    outgoing: Box<[u8; MESSAGE_MAX]>,
    /// Bytes of an encoded event that found no room.
    held: usize,
    punt: Box<[u8; punt::MESSAGE_MAX]>,
    /// Something was punted in this turn.
    punted: bool,
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
        let mut mailbox = Mailbox {
            ends: None,
            words: RingWords::of(regions, shard)?,
            control,
            broken,
            incoming: Box::new([0; MESSAGE_MAX]),
            outgoing: Box::new([0; MESSAGE_MAX]),
            held: 0,
            punt: Box::new([0; punt::MESSAGE_MAX]),
            punted: false,
        };
        mailbox.take_rings();
        Ok(mailbox)
    }

    fn take_rings(&mut self) {
        self.ends = self.words.attach(&self.control);
        if self.ends.is_none() {
            self.broken.set();
        }
    }

    /// Our ends, while they can be used; taken up again after the link has mended the rings.
    fn usable(&mut self) -> Option<&mut Ends> {
        if self.ends.is_none() && !self.broken.is_set() {
            self.held = 0;
            self.take_rings();
        }
        self.ends.as_mut()
    }

    /// Whether the control plane has spoilt the rings and the link should be closed.
    pub fn is_broken(&self) -> bool {
        self.broken.is_set()
    }

    fn give_up(&mut self) {
        self.ends = None;
        self.broken.set();
    }

    /// The next command. Its bytes are wiped from the ring and from here; the caller wipes the command
    /// with [`wipe`] once it is carried out.
    pub fn next_command(&mut self) -> Incoming {
        if self.usable().is_none() {
            return Incoming::Nothing;
        }
        let Some(ends) = &mut self.ends else { return Incoming::Nothing };
        match ends.commands.pop(&mut self.incoming[..]) {
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

    /// The next datagram to send for the control plane, copied into `out`; `None` when there is none, or
    /// when a command waits: whatever was ordered before the datagram is carried out before it is sent.
    /// An unreadable one is skipped, with an empty datagram for no session.
    pub fn next_inject<'a>(
        &mut self,
        out: &'a mut [u8; punt::MESSAGE_MAX],
    ) -> Option<(SessionId, &'a [u8])> {
        let popped = {
            let ends = self.usable()?;
            next_inject(ends, out)
        };
        match popped {
            Ok(None) => None,
            Ok(Some(len)) => Some(punt::decode(&out[..len]).unwrap_or((SessionId(0), &[]))),
            Err(PopError::Corrupt(_) | PopError::TooSmall { .. }) => {
                self.give_up();
                None
            }
        }
    }

    /// Hands a datagram up; `false` when the ring has no room. Control is woken by
    /// [`Mailbox::wake_control`].
    pub fn punt(&mut self, session: SessionId, datagram: &[u8]) -> bool {
        if self.usable().is_none() {
            return false;
        }
        let Some(ends) = &mut self.ends else { return false };
        let Some(len) = punt::encode(session, datagram, &mut self.punt[..]) else { return false };
        match ends.punts.push(&self.punt[..len]) {
            Ok(()) => {
                self.punted = true;
                true
            }
            Err(PushError::Full | PushError::TooLong { .. }) => false,
            Err(PushError::Corrupt(_)) => {
                self.give_up();
                false
            }
        }
    }

    /// Whether an event would find room: nothing is held back. Tries to get rid of what is.
    pub fn has_room(&mut self) -> bool {
        if self.usable().is_none() {
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
        let Some(ends) = &mut self.ends else { return false };
        match ends.events.push(&self.outgoing[..len]) {
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

    /// Wakes the control plane if it sleeps: once after a turn's events and punts.
    pub fn wake_control(&mut self, told: bool) {
        let punted = std::mem::take(&mut self.punted);
        let Some(ends) = &mut self.ends else { return };
        // A failed write of an eventfd means that it is no eventfd; control polls as well.
        if told {
            let _ = ends.events.wake();
        }
        if punted {
            let _ = ends.punts.wake();
        }
    }

    /// Announces a sleep; `false` when there is a command or a datagram, so do not sleep.
    pub fn may_sleep(&mut self) -> bool {
        let Some(ends) = &mut self.ends else { return true };
        if !ends.commands.arm().unwrap_or(true) {
            return false;
        }
        let is_quiet = ends.injects.arm().unwrap_or(true);
        if !is_quiet {
            ends.commands.disarm();
        }
        is_quiet
    }

    /// Ends a sleep.
    pub fn awake(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.commands.disarm();
            ends.injects.disarm();
        }
    }
}

/// The datagram is looked for first and the command second: control writes them in the order of its
/// orders, so a command that cannot be seen by then was ordered later.
fn next_inject(
    ends: &mut Ends,
    out: &mut [u8; punt::MESSAGE_MAX],
) -> Result<Option<usize>, PopError> {
    if ends.injects.is_empty()? || !ends.commands.is_empty()? {
        return Ok(None);
    }
    ends.injects.pop(&mut out[..])
}

/// Wipes the secrets of a command that was carried out.
pub fn wipe(command: &mut Command) {
    match command {
        Command::OpenSession(open) => {
            open.rx_key.bytes.zeroize();
            open.tx_key.bytes.zeroize();
            if let Some(ice) = &mut open.ice {
                ice.password.zeroize();
            }
        }
        Command::InstallKeys { rx_key, tx_key, .. } => {
            rx_key.bytes.zeroize();
            tx_key.bytes.zeroize();
        }
        Command::RestartIce { ice, .. } => ice.password.zeroize(),
        Command::SetUfragKey { key } => key.0.zeroize(),
        _ => {}
    }
}

/// Makes a shard's rings anew, for the next control plane. Only while its worker leaves them alone.
///
/// # Errors
/// A shard that there is not.
pub fn mend(regions: &Regions, shard: usize, broken: &Broken) -> Result<(), RegionError> {
    let words = RingWords::of(regions, shard)?;
    for ring in [words.commands, words.events, words.punts, words.injects] {
        ring.zero();
    }
    broken.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::command::BLOB_MAX;
    use proto::region::Sizes;
    use proto::{
        GrantWord, IceCredentials, KeyMaterial, List, MemberNo, OpenSession, RoomNo, SessionId,
    };

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
    fn no_secret_of_a_command_that_was_carried_out_stays() {
        let key = KeyMaterial { bytes: List::from_slice(&[0xa7; 30]).expect("fits") };
        let ice = IceCredentials {
            generation: 1,
            password: List::from_slice(&[0xa7; 24]).expect("fits"),
        };
        let session = SessionId(1);
        let profile = proto::SrtpProfile::AeadAes128Gcm;
        let commands = [
            Command::OpenSession(OpenSession { ice: Some(ice), ..OpenSession::default() }),
            Command::InstallKeys { session, profile, rx_key: key, tx_key: key },
            Command::RestartIce { session, ice },
            Command::SetUfragKey { key: proto::ufrag::UfragKey([0xa7; 16]) },
        ];
        for mut command in commands {
            let has_secret = |command: &Command| {
                let mut bytes = [0; MESSAGE_MAX];
                let len = codec::encode(command, &mut bytes).expect("encode");
                bytes[..len].windows(8).any(|window| window == [0xa7; 8])
            };
            assert!(has_secret(&command), "the test looks for nothing");
            wipe(&mut command);
            assert!(!has_secret(&command));
        }
    }

    #[test]
    fn a_datagram_keeps_its_receiver_awake_and_mending_empties_its_ring() {
        let mut rig = rig();
        let ring = rig.regions.inject_ring(0).expect("ring");
        let mut injects = Producer::attach(ring, PUNT_RING).expect("producer");
        assert!(rig.mailbox.may_sleep());
        rig.mailbox.awake();
        let mut bytes = [0; punt::MESSAGE_MAX];
        let len = punt::encode(SessionId(3), b"hello", &mut bytes).expect("fits");
        injects.push(&bytes[..len]).expect("room");
        assert!(!rig.mailbox.may_sleep(), "something waits");
        let mut out = [0; punt::MESSAGE_MAX];
        assert_eq!(rig.mailbox.next_inject(&mut out), Some((SessionId(3), &b"hello"[..])));
        assert_eq!(rig.mailbox.next_inject(&mut out), None);
        assert!(rig.mailbox.punt(SessionId(4), b"up"));
        // The tail of the inject ring, far beyond it.
        rig.regions.inject_ring(0).expect("ring").store(0, u64::MAX / 2);
        assert_eq!(rig.mailbox.next_inject(&mut out), None);
        assert!(rig.mailbox.is_broken() && !rig.mailbox.punt(SessionId(4), b"up"));
        mend(&rig.regions, 0, &rig.broken).expect("mended");
        assert!(rig.mailbox.punt(SessionId(5), b"anew"));
        let punts = rig.regions.punt_ring(0).expect("ring");
        let mut punts = Consumer::attach(punts, PUNT_RING).expect("consumer");
        let len = punts.pop(&mut bytes).expect("intact").expect("one");
        assert_eq!(punt::decode(&bytes[..len]), Some((SessionId(5), &b"anew"[..])));
        assert_eq!(punts.pop(&mut bytes).expect("intact"), None, "what was there before is gone");
    }

    #[test]
    fn a_sleeper_is_woken_by_a_datagram() {
        let mut rig = rig();
        let ring = rig.regions.inject_ring(0).expect("ring");
        let mut injects = Producer::attach(ring, PUNT_RING).expect("producer");
        let mut bytes = [0; punt::MESSAGE_MAX];
        let len = punt::encode(SessionId(3), b"hello", &mut bytes).expect("fits");
        injects.push(&bytes[..len]).expect("room");
        assert!(!injects.needs_wake(), "it is awake");
        let mut out = [0; punt::MESSAGE_MAX];
        assert!(rig.mailbox.next_inject(&mut out).is_some());
        assert!(rig.mailbox.may_sleep());
        injects.push(&bytes[..len]).expect("room");
        assert!(injects.needs_wake(), "it sleeps");
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

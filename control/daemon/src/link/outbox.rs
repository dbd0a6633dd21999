//! What waits for a place in one shard's rings: commands, and datagrams for peers of its sessions.
//!
//! The two travel over rings of their own, and a datagram never delays a command. The other way round
//! order is kept: a datagram is written after every command that was ordered before it, and the worker
//! reads them so, which is how keys arrive before the datagram that lets the peer use them.

use std::collections::VecDeque;

use proto::SessionId;
use zeroize::Zeroizing;

use super::rings::LinkError;
use crate::limits::INJECTS_MAX;

/// See the module.
#[derive(Default)]
pub struct Outbox {
    commands: VecDeque<Zeroizing<Vec<u8>>>,
    /// Commands ordered and commands written so far.
    ordered: u64,
    written: u64,
    /// With the number of commands that go first.
    injects: VecDeque<(u64, SessionId, Vec<u8>)>,
}

/// Where an outbox is emptied into: the rings. Each answers whether there was room.
pub trait Rings {
    /// Writes a command.
    ///
    /// # Errors
    /// The link's.
    fn command(&mut self, bytes: &[u8]) -> Result<bool, LinkError>;
    /// Writes a datagram.
    ///
    /// # Errors
    /// The link's.
    fn inject(&mut self, session: SessionId, datagram: &[u8]) -> Result<bool, LinkError>;
}

/// What became of an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emptied {
    /// Something was written.
    pub sent: bool,
    /// A ring was full, and something waits still.
    pub blocked: bool,
}

impl Outbox {
    /// Commands that wait.
    pub fn commands(&self) -> usize {
        self.commands.len()
    }

    /// Orders an encoded command.
    pub fn order(&mut self, bytes: Zeroizing<Vec<u8>>) {
        self.commands.push_back(bytes);
        self.ordered += 1;
    }

    /// Orders a datagram; `false` when too many wait.
    pub fn inject(&mut self, session: SessionId, datagram: &[u8]) -> bool {
        let has_room = self.injects.len() < INJECTS_MAX;
        if has_room {
            self.injects.push_back((self.ordered, session, datagram.to_vec()));
        }
        has_room
    }

    /// Writes as much as the rings take.
    ///
    /// # Errors
    /// The link's.
    pub fn empty_into(&mut self, rings: &mut impl Rings) -> Result<Emptied, LinkError> {
        let mut emptied = Emptied::default();
        while let Some(bytes) = self.commands.front() {
            if !rings.command(bytes)? {
                emptied.blocked = true;
                break;
            }
            self.commands.pop_front();
            self.written += 1;
            emptied.sent = true;
        }
        while let Some((after, session, datagram)) = self.injects.front() {
            if *after > self.written {
                break;
            }
            if !rings.inject(*session, datagram)? {
                emptied.blocked = true;
                break;
            }
            self.injects.pop_front();
            emptied.sent = true;
        }
        Ok(emptied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings with so much room; what was written, in its order.
    #[derive(Default)]
    struct Room {
        commands: usize,
        injects: usize,
        written: Vec<u8>,
    }

    impl Rings for Room {
        fn command(&mut self, bytes: &[u8]) -> Result<bool, LinkError> {
            Ok(self.take(bytes, |room| &mut room.commands))
        }
        fn inject(&mut self, _: SessionId, datagram: &[u8]) -> Result<bool, LinkError> {
            Ok(self.take(datagram, |room| &mut room.injects))
        }
    }

    impl Room {
        fn take(&mut self, bytes: &[u8], room: impl Fn(&mut Room) -> &mut usize) -> bool {
            let left = room(self);
            let fits = *left > 0;
            if fits {
                *left -= 1;
                self.written.extend(bytes);
            }
            fits
        }
    }

    const SESSION: SessionId = SessionId(1);

    fn command(tag: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![tag])
    }

    #[test]
    fn a_datagram_follows_every_command_ordered_before_it_and_delays_none() {
        let mut outbox = Outbox::default();
        outbox.order(command(b'a'));
        outbox.inject(SESSION, b"1");
        outbox.order(command(b'b'));
        outbox.inject(SESSION, b"2");
        let mut none = Room { injects: 9, ..Room::default() };
        let emptied = outbox.empty_into(&mut none).unwrap();
        assert_eq!((none.written.len(), emptied), (0, Emptied { sent: false, blocked: true }));
        let mut one = Room { commands: 1, injects: 9, ..Room::default() };
        assert!(outbox.empty_into(&mut one).unwrap().blocked);
        assert_eq!(one.written, b"a1", "the second datagram waits for its command");
        let mut no_injects = Room { commands: 9, ..Room::default() };
        outbox.order(command(b'c'));
        assert!(outbox.empty_into(&mut no_injects).unwrap().blocked);
        assert_eq!(no_injects.written, b"bc", "commands do not wait for datagrams");
        let mut rest = Room { commands: 9, injects: 9, ..Room::default() };
        assert!(!outbox.empty_into(&mut rest).unwrap().blocked);
        assert_eq!(rest.written, b"2");
    }

    #[test]
    fn datagrams_are_bounded() {
        let mut outbox = Outbox::default();
        assert!((0..INJECTS_MAX).all(|_| outbox.inject(SESSION, b"x")));
        assert!(!outbox.inject(SESSION, b"x"));
    }
}

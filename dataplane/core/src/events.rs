//! Events that wait for the control plane: a ring of a fixed size, and the answer to `Resync`.

use proto::Event;
use srtp::Provider;

use crate::limits::EVENTS_MAX;
use crate::session::Session;
use crate::shard::Shard;

/// First in, first out; when it is full new events are refused.
#[derive(Debug)]
pub struct EventQueue {
    places: Vec<Event>,
    first: usize,
    len: usize,
}

impl EventQueue {
    /// An empty queue with all its memory.
    pub fn new() -> Self {
        EventQueue { places: vec![Event::ResyncDone { sessions: 0 }; EVENTS_MAX], first: 0, len: 0 }
    }

    /// Appends; `false` when full.
    pub fn push(&mut self, event: Event) -> bool {
        if self.len == EVENTS_MAX {
            return false;
        }
        self.places[(self.first + self.len) % EVENTS_MAX] = event;
        self.len += 1;
        true
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Event> {
        if self.len == 0 {
            return None;
        }
        let event = self.places[self.first];
        self.first = (self.first + 1) % EVENTS_MAX;
        self.len -= 1;
        Some(event)
    }
}

impl<P: Provider> Shard<P> {
    /// One open session after the other, each with its streams and slots behind it, so that an answer of
    /// any length needs no queue.
    pub(crate) fn next_resync_event(&mut self) -> Option<Event> {
        let mut resync = self.resync?;
        while resync.at < self.sessions_high {
            let session = &self.sessions[resync.at as usize];
            let event = session.is_open().then(|| self.part(session, resync.part)).flatten();
            match event {
                Some(_) => {
                    resync.told += u32::from(resync.part == 0);
                    resync.part += 1;
                    self.resync = Some(resync);
                    return event;
                }
                None => (resync.at, resync.part) = (resync.at + 1, 0),
            }
        }
        self.resync = None;
        Some(Event::ResyncDone { sessions: resync.told })
    }

    /// What is told of a session: itself, then its publications, then its slots.
    fn part(&self, session: &Session, part: usize) -> Option<Event> {
        let id = session.id;
        let Some(part) = part.checked_sub(1) else {
            let room = self.rooms[session.room].no;
            let (member, grant, blob) = (session.member, session.grant, session.blob);
            return Some(Event::Session { session: id, room, member, grant, blob });
        };
        if let Some(publication) = session.publications.get(part) {
            let spec = self.publications[*publication].spec;
            return Some(Event::Publication { session: id, spec });
        }
        let index = *session.slots.get(part - session.publications.len())?;
        let slot = &self.slots[index];
        Some(Event::SlotOpen {
            session: id,
            slot: slot.position,
            mid: slot.mid,
            kind: slot.kind,
            ssrcs: (slot.ssrc, slot.rtx_ssrc),
            state: self.slot_state(index),
        })
    }
}

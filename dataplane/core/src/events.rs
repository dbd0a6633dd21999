//! Events that wait for the control plane: a ring of a fixed size, and the answer to `Resync`.

use proto::Event;
use srtp::Provider;

use crate::limits::EVENTS_MAX;
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
    /// One open session after the other, so that an answer of any length needs no queue.
    pub(crate) fn next_resync_event(&mut self) -> Option<Event> {
        let mut resync = self.resync?;
        while resync.at < self.sessions_high {
            let session = &self.sessions[resync.at as usize];
            resync.at += 1;
            if session.is_open() {
                resync.told += 1;
                self.resync = Some(resync);
                return Some(Event::Session {
                    session: session.id,
                    room: self.rooms[session.room].no,
                    member: session.member,
                    grant: session.grant,
                    blob: session.blob,
                });
            }
        }
        self.resync = None;
        Some(Event::ResyncDone { sessions: resync.told })
    }
}

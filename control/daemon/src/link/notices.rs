//! Who listens to what a resource's receive sections show. Part of the hub's state.

use std::collections::HashMap;

use proto::CloseReason;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::directory::{ResourceId, SlotView};
use crate::limits::{EVENT_QUEUE_MAX, EVENT_STREAMS_PER_RESOURCE};

/// What a listener is told.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A section changed.
    Slot(SlotView),
    /// Anything may have changed.
    Everything,
    /// The resource ended.
    Ended(&'static str),
}

/// Senders by resource; only of resources that somebody listened to.
#[derive(Default)]
pub struct Notices(HashMap<ResourceId, Sender<Notice>>);

impl Notices {
    /// Another listener; `None` when the resource has as many as it may.
    pub fn listen(&mut self, resource: ResourceId) -> Option<Receiver<Notice>> {
        let sender = self.0.entry(resource).or_insert_with(|| channel(EVENT_QUEUE_MAX).0);
        let has_room = sender.receiver_count() < EVENT_STREAMS_PER_RESOURCE;
        has_room.then(|| sender.subscribe())
    }

    /// Whether anybody listens.
    pub fn has_listeners(&self, resource: ResourceId) -> bool {
        self.0.get(&resource).is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells a resource's listeners.
    pub fn tell(&self, resource: ResourceId, notice: Notice) {
        if let Some(sender) = self.0.get(&resource) {
            // Nobody listening is no error.
            let _ = sender.send(notice);
        }
    }

    /// Tells all listeners to look anew.
    pub fn tell_all(&self) {
        for sender in self.0.values() {
            let _ = sender.send(Notice::Everything);
        }
    }

    /// A resource ended: the last word to its listeners.
    pub fn end(&mut self, resource: ResourceId, reason: CloseReason) {
        if let Some(sender) = self.0.remove(&resource) {
            let _ = sender.send(Notice::Ended(name(reason)));
        }
    }

    /// Ends every stream without a word, so that listeners come back to the next process.
    pub fn close(&mut self) {
        self.0.clear();
    }
}

const fn name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Left => "left",
        CloseReason::Kicked => "kicked",
        CloseReason::RoomEnded => "room_ended",
        CloseReason::GrantExpired => "grant_expired",
        CloseReason::TimedOut => "timed_out",
        CloseReason::Replaced => "replaced",
    }
}

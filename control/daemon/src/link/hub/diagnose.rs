//! What the hub asks and keeps for those who look for a fault: looks, the trail, the packet trace.

use std::collections::HashMap;

use proto::{
    CaptureOrder, CloseReason, Command, Event, Look, RoomNo, SessionId, ShardId, TraceOrder,
};
use token::UserId;

use super::{Hub, refusal};
use crate::directory::{Between, Named, Orders, RoomKey, Seated};
use crate::limits::LOOK_TIMEOUT;
use crate::link::captures::{Of, Wanted};
use crate::{mask, trail};

impl Hub {
    /// What is known of two members of a room.
    pub fn between(&self, key: &RoomKey, from: &UserId, to: &UserId) -> Between {
        self.lock().directory.between(key, from, to)
    }

    /// The sessions there are, or one, or those of a room.
    pub fn seated(&self, session: Option<SessionId>, room: Option<RoomNo>) -> Vec<Seated> {
        self.lock().directory.seated(session, room)
    }

    /// Traces the next packets of a room on each of its shards. `false` when there is no such room.
    pub fn trace(&self, key: &RoomKey, count: u16, drops_only: bool) -> bool {
        self.order(|directory, orders| {
            let Some((room, shards)) = directory.shards_of(key) else { return false };
            self.traces.start(room, mask::room(&key.room), shards.clone());
            let order = TraceOrder { room, count, drops_only };
            shards.iter().for_each(|shard| orders.push(*shard, Command::Trace(order)));
            true
        })
    }

    /// Ends the trace. `false` when there was none.
    pub fn stop_trace(&self) -> bool {
        self.order(|_, orders| {
            let Some((room, shards)) = self.traces.running() else { return false };
            let order = TraceOrder { room, ..TraceOrder::default() };
            shards.iter().for_each(|shard| orders.push(*shard, Command::Trace(order)));
            true
        })
    }

    /// Whose these sessions are, in the clear: for answers that may show it.
    pub fn named(&self, sessions: &[SessionId]) -> HashMap<SessionId, Named> {
        self.lock().directory.named(sessions)
    }

    /// A room's number.
    pub fn room_no(&self, key: &RoomKey) -> Option<RoomNo> {
        self.lock().directory.room(key)
    }

    /// Captures headers on every shard that has sessions of the room, or on that of the session. `None`
    /// when there are as many captures as may be.
    pub fn capture(&self, wanted: Wanted, of: Of) -> Option<u32> {
        let mut state = self.lock();
        let shards = match of.session {
            Some(session) => vec![session.shard()],
            None => state.directory.shards_with(of.room),
        };
        let order = self.captures.start(wanted, of, shards.clone())?;
        let mut orders = Orders::default();
        shards.iter().for_each(|shard| orders.push(*shard, Command::Capture(order)));
        self.dispatch(&mut state, orders);
        Some(order.capture)
    }

    /// Ends one capture, or all; the numbers of those.
    pub fn stop_captures(&self, only: Option<u32>) -> Vec<u32> {
        self.end_captures(self.captures.stop(only))
    }

    /// Ends captures that nobody reads.
    pub fn sweep_captures(&self) {
        self.end_captures(self.captures.sweep());
    }

    fn end_captures(&self, ended: Vec<(CaptureOrder, Vec<ShardId>)>) -> Vec<u32> {
        if ended.is_empty() {
            return vec![];
        }
        let mut state = self.lock();
        let mut orders = Orders::default();
        for (order, shards) in &ended {
            shards.iter().for_each(|shard| orders.push(*shard, Command::Capture(*order)));
        }
        self.dispatch(&mut state, orders);
        ended.iter().map(|(order, _)| order.capture).collect()
    }

    /// Asks the shard of a session about it. An empty answer: it is not there, or the shard did not answer
    /// within [`LOOK_TIMEOUT`].
    pub async fn look(&self, session: SessionId) -> Vec<Look> {
        let wait = {
            let mut state = self.lock();
            let mut orders = Orders::default();
            orders.push(session.shard(), Command::Look { session });
            let wait = state.looks.wait(session);
            self.dispatch(&mut state, orders);
            wait
        };
        let told = tokio::time::timeout(LOOK_TIMEOUT, wait).await;
        told.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// What of an event belongs to somebody's trail.
    pub(super) fn note(&self, event: &Event) {
        let (kind, session, what) = match *event {
            Event::Alive { session } => (trail::Kind::Change, session, "first authentic packet"),
            Event::PathMoved { session, .. } => (trail::Kind::Change, session, "path settled"),
            Event::GrantEnded { session } => (trail::Kind::Change, session, "grant expired"),
            Event::Closed { session, reason, .. } => (trail::Kind::End, session, ended(reason)),
            Event::Refused { session, why, .. } if session != SessionId(0) => {
                (trail::Kind::Refusal, session, refusal(why).code)
            }
            _ => return,
        };
        self.trail.of_session(kind, session, what, 1);
    }
}

fn ended(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Left => "left",
        CloseReason::Kicked => "kicked",
        CloseReason::RoomEnded => "room ended",
        CloseReason::GrantExpired => "grant expired",
        CloseReason::TimedOut => "timed out",
        CloseReason::Replaced => "replaced by a newer join",
    }
}

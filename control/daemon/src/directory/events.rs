//! What shards tell, and what follows.

use proto::{CloseReason, Command, Event, Refusal, RoomNo, SessionId, ShardId, SlotState};

use super::{Directory, Orders, ResourceId};

/// What somebody may be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All sessions of a resource are open.
    Open(ResourceId),
    /// A resource was refused by the shard and is gone.
    Refused(ResourceId, Refusal),
    /// A receive section of a resource shows something else: the session, and the section's place.
    Slot(ResourceId, SessionId, u8),
    /// A session's place is free.
    Closed(SessionId, Option<CloseReason>),
}

impl Directory {
    /// Takes in one event of a shard. `Session` and `ResyncDone` belong to the link, see
    /// [`Directory::attach`].
    pub fn event(&mut self, shard: ShardId, event: &Event, orders: &mut Orders) -> Vec<Outcome> {
        match *event {
            Event::Opened { session } => self.opened(session),
            Event::Refused { session, room, why } => {
                self.refused(shard, session, room, why, orders)
            }
            Event::Closed { session, reason, .. } => self.closed(session, Some(reason), orders),
            Event::Slot { session, slot, state } => self.slot_changed(session, slot, state),
            Event::PathMoved { session, path } => {
                self.moved(session, path);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn slot_changed(&mut self, id: SessionId, place: u8, state: SlotState) -> Vec<Outcome> {
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let Some(slot) = session.slots.get_mut(usize::from(place)) else { return Vec::new() };
        slot.state = state;
        session.resource.map(|resource| Outcome::Slot(resource, id, place)).into_iter().collect()
    }

    fn opened(&mut self, session: SessionId) -> Vec<Outcome> {
        let Some(id) = self.resource_of(session) else { return Vec::new() };
        let Some(resource) = self.resources.get_mut(&id) else { return Vec::new() };
        let was_opening = resource.opening > 0;
        resource.opening = resource.opening.saturating_sub(1);
        if was_opening && resource.opening == 0 { vec![Outcome::Open(id)] } else { Vec::new() }
    }

    /// A session that was refused takes its resource with it; a room that was refused, all resources
    /// that are opening there.
    fn refused(
        &mut self,
        shard: ShardId,
        session: SessionId,
        room: RoomNo,
        why: Refusal,
        orders: &mut Orders,
    ) -> Vec<Outcome> {
        if session != SessionId(0) {
            if why == Refusal::Unknown && self.resource_of(session).is_none() {
                // It was to be closed and is closed already.
                return self.closed(session, None, orders);
            }
            return self.give_up(session, why, orders);
        }
        // The home of a room may tell a shard twice about a publication; that harms nobody.
        if why == Refusal::Taken {
            return Vec::new();
        }
        let opening = |resource: &super::Resource| {
            resource.room == room && resource.shard == shard && resource.opening > 0
        };
        let refused: Vec<_> = self
            .resources
            .iter()
            .filter(|(_, resource)| opening(resource))
            .filter_map(|(_, resource)| resource.sessions.first().copied())
            .collect();
        refused.into_iter().flat_map(|session| self.give_up(session, why, orders)).collect()
    }

    fn give_up(&mut self, session: SessionId, why: Refusal, orders: &mut Orders) -> Vec<Outcome> {
        let Some(id) = self.resource_of(session) else {
            return Vec::new();
        };
        // A refused renewal of a session that is open: the shard closes it by itself in time.
        if self.resources.get(&id).is_none_or(|resource| resource.opening == 0) {
            return Vec::new();
        }
        self.close_resource(id, CloseReason::Left, orders);
        vec![Outcome::Refused(id, why)]
    }

    /// A session's place is free; a resource ends with its last session.
    fn closed(
        &mut self,
        session: SessionId,
        reason: Option<CloseReason>,
        orders: &mut Orders,
    ) -> Vec<Outcome> {
        if !self.knows(session) {
            return Vec::new();
        }
        let resource = self.resource_of(session);
        self.retire(session, orders);
        self.release(session);
        if let Some(id) = resource
            && let Some(resource) = self.resources.get_mut(&id)
        {
            resource.sessions.retain(|known| *known != session);
            if resource.sessions.is_empty() {
                self.forget_resource(id, reason.unwrap_or(CloseReason::TimedOut));
            }
        }
        vec![Outcome::Closed(session, reason)]
    }

    /// Closes a resource that did not open in time.
    pub fn abandon(&mut self, id: ResourceId, orders: &mut Orders) {
        self.close_resource(id, CloseReason::Left, orders);
    }

    /// Whether the shard must be told about the apps anew: all of them, for a new data plane.
    pub(super) fn order_apps(&self, shard: ShardId, orders: &mut Orders) {
        for (app, quota) in &self.settings.apps {
            orders.push(shard, Command::SetApp { app: *app, quota: *quota });
        }
    }
}

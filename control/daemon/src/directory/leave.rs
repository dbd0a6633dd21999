//! Leaving, kicking, ending: membership ends at once, a session's place when its shard says so.

use proto::{CloseReason, Command, PublicationNo, RoomNo, SessionId, ShardId};

use super::{Directory, Orders, ResourceId, RoomKey};

impl Directory {
    /// Closes a resource with all its sessions. Returns them; empty when it is not there.
    pub fn close_resource(
        &mut self,
        id: ResourceId,
        reason: CloseReason,
        orders: &mut Orders,
    ) -> Vec<SessionId> {
        let Some(resource) = self.resources.get(&id) else { return Vec::new() };
        let sessions = resource.sessions.clone();
        for session in &sessions {
            orders.push(session.shard(), Command::CloseSession { session: *session, reason });
            self.retire(*session, orders);
        }
        self.forget_resource(id, reason);
        sessions
    }

    /// Closes the resource that a session belongs to: to an operator, the peer.
    pub fn kick(&mut self, session: SessionId, orders: &mut Orders) -> Option<Vec<SessionId>> {
        let resource = self.resource_of(session)?;
        Some(self.close_resource(resource, CloseReason::Kicked, orders))
    }

    /// Ends a room: its epoch moves on, so that nothing passes from the next packet on, then everybody
    /// leaves. Returns the sessions; `None` when there is no such room.
    pub fn end_room(&mut self, key: &RoomKey, orders: &mut Orders) -> Option<Vec<SessionId>> {
        let no = *self.names.get(key)?;
        let room = self.rooms.get_mut(&no)?;
        room.epoch = room.epoch % 0xff_ffff + 1;
        for shard in room.presence.keys() {
            orders.push(*shard, Command::BumpEpoch { room: no, epoch: room.epoch });
        }
        let resources: Vec<_> = room.resources.iter().copied().collect();
        let close = |id| self.close_resource(id, CloseReason::RoomEnded, orders);
        let sessions = resources.into_iter().flat_map(close).collect();
        self.forget_room(no);
        Some(sessions)
    }

    /// Takes a session out of its room; its place stays taken until the shard has closed it.
    pub(super) fn retire(&mut self, id: SessionId, orders: &mut Orders) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(resource) = session.resource.take() else { return };
        session.desired = None;
        if session.dtls.take().is_some() {
            self.ended.push(id);
        }
        let (app, remote) = (session.app, session.remote);
        let publications = session.publications.clone();
        if self.remotes.get(&remote) == Some(&id) {
            self.remotes.remove(&remote);
        }
        let shard = id.shard();
        let Some(no) = self.resources.get(&resource).map(|resource| resource.room) else { return };
        for publication in publications {
            self.unpublish(no, publication, orders);
        }
        let is_last = self.leave_shard(no, shard, orders);
        if let Some(shard) = self.shard(shard) {
            let used = shard.apps.entry(app).or_default();
            used.sessions = used.sessions.saturating_sub(1);
            used.rooms = used.rooms.saturating_sub(u32::from(is_last));
            if used.sessions == 0 && used.rooms == 0 {
                shard.apps.remove(&app);
            }
        }
    }

    /// One session of a room less on a shard. True when it was the last; away from home, the room's
    /// publications then no longer need to come there.
    fn leave_shard(&mut self, no: RoomNo, shard: ShardId, orders: &mut Orders) -> bool {
        let Some(room) = self.rooms.get_mut(&no) else { return false };
        let Some(present) = room.presence.get_mut(&shard) else { return false };
        *present = present.saturating_sub(1);
        if *present > 0 {
            return false;
        }
        room.presence.remove(&shard);
        if shard != room.home {
            for publication in &room.publications {
                let publication = publication.spec.publication;
                orders.push(room.home, Command::RemoveRelay { publication, to: shard });
                orders.push(shard, Command::CloseRemote { publication });
            }
        }
        true
    }

    /// Takes a publication off the other shards of its room.
    fn unpublish(&mut self, no: RoomNo, publication: PublicationNo, orders: &mut Orders) {
        let Some(room) = self.rooms.get_mut(&no) else { return };
        room.publications.retain(|known| known.spec.publication != publication);
        for shard in room.away() {
            orders.push(shard, Command::CloseRemote { publication });
        }
    }

    /// Frees a session's place: its shard has closed it, or never opened it, or is no more.
    pub(super) fn release(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for ssrc in &session.ssrcs {
            self.ssrcs.remove(ssrc);
        }
        for publication in &session.publications {
            self.publications.remove(&publication.0);
        }
        if let Some(shard) = self.shard(id.shard()) {
            shard.slots.give_back(id);
            shard.sessions = shard.sessions.saturating_sub(1);
        }
    }

    /// Ends the membership that a resource was: all its sessions are retired.
    pub(super) fn forget_resource(&mut self, id: ResourceId, reason: CloseReason) {
        let Some(resource) = self.resources.remove(&id) else { return };
        if let Some(events) = resource.events {
            self.events.remove(&events);
            self.ended_resources.push((id, reason));
        }
        let Some(room) = self.rooms.get_mut(&resource.room) else { return };
        room.resources.remove(&id);
        if let Some(member) = room.members.get_mut(&resource.user) {
            member.resources.retain(|known| *known != id);
        }
        if let Some(watched) = resource.publisher.as_ref().and_then(|u| room.members.get_mut(u)) {
            watched.watchers = watched.watchers.saturating_sub(1);
        }
        for user in [Some(&resource.user), resource.publisher.as_ref()].into_iter().flatten() {
            let is_gone =
                |member: &super::Member| member.resources.is_empty() && member.watchers == 0;
            if room.members.get(user).is_some_and(is_gone) {
                room.members.remove(user);
            }
        }
        if room.resources.is_empty() {
            self.forget_room(resource.room);
        }
    }

    /// A room ends with its last member.
    fn forget_room(&mut self, no: RoomNo) {
        if let Some(room) = self.rooms.remove(&no)
            && self.names.get(&room.key) == Some(&no)
        {
            self.names.remove(&room.key);
        }
    }
}

//! What others may know of the directory.

use std::collections::HashMap;

use proto::{CloseReason, MediaKind, RoomNo, SdkAppId, SessionId, ShardId, SlotState, Token};
use token::UserId;

use super::{Directory, EventsId, Resource, ResourceId, RoomKey, Slot};
use crate::mask;
use crate::signalling::Role;
use crate::trail::About;

/// What the API may tell about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceView {
    /// Where it is.
    pub key: RoomKey,
    /// Whose it is.
    pub user: UserId,
    /// Entity tag.
    pub etag: String,
    /// What it does.
    pub role: Role,
    /// Its sessions.
    pub sessions: Vec<SessionId>,
}

/// What a receive section shows, for its subscriber alone: members of a room know each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotView {
    /// Its m-section; `None` without BUNDLE.
    pub mid: Option<String>,
    /// What it takes.
    pub kind: MediaKind,
    /// `on`, `off` or `codec_mismatch`.
    pub state: &'static str,
    /// Which stream, the CSRC of its packets.
    pub publication: Option<u32>,
    /// Whose.
    pub user: Option<UserId>,
}

/// A session and where it is, masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated {
    /// Which.
    pub session: SessionId,
    /// Tenant.
    pub app: SdkAppId,
    /// The room's number.
    pub room: RoomNo,
    /// Its masked name.
    pub room_label: String,
    /// Masked user.
    pub user: String,
}

/// A session's user and room as the app names them. It is for answers that may show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub room: RoomKey,
}

/// A member as trails have it: masked.
pub fn about(key: &RoomKey, user: &UserId, session: Option<SessionId>) -> About {
    About {
        app: Some(key.app.0),
        room: mask::room(&key.room),
        user: mask::identity(user.as_str()),
        session,
        source: String::new(),
    }
}

impl Directory {
    /// A resource, if it is there.
    pub fn resource(&self, id: ResourceId) -> Option<ResourceView> {
        let resource = self.resources.get(&id)?;
        let room = self.rooms.get(&resource.room)?;
        Some(ResourceView {
            key: room.key.clone(),
            user: resource.user.clone(),
            etag: resource.etag(),
            role: resource.role,
            sessions: resource.sessions.clone(),
        })
    }

    /// Whose each session is, masked; without those that are closing.
    pub fn owners(&self) -> HashMap<SessionId, About> {
        let owner = |(session, held): (&SessionId, &super::Session)| {
            let resource = self.resources.get(&held.resource?)?;
            let room = self.rooms.get(&resource.room)?;
            Some((*session, about(&room.key, &resource.user, Some(*session))))
        };
        self.sessions.iter().filter_map(owner).collect()
    }

    /// The sessions there are, or one, or those of a room, in the order of their ids; without those that
    /// are closing.
    pub fn seated(&self, session: Option<SessionId>, room: Option<RoomNo>) -> Vec<Seated> {
        let seat = |(id, held): (&SessionId, &super::Session)| {
            let resource = self.resources.get(&held.resource?)?;
            let is_meant = session.is_none_or(|only| only == *id)
                && room.is_none_or(|only| only == resource.room);
            let key = &self.rooms.get(&resource.room).filter(|_| is_meant)?.key;
            Some(Seated {
                session: *id,
                app: key.app,
                room: resource.room,
                room_label: mask::room(&key.room),
                user: mask::identity(resource.user.as_str()),
            })
        };
        let mut seated: Vec<Seated> = self.sessions.iter().filter_map(seat).collect();
        seated.sort_unstable_by_key(|seated| seated.session);
        seated
    }

    /// Whose these sessions are and where, in the clear; without those that are closing.
    pub fn named(&self, sessions: &[SessionId]) -> HashMap<SessionId, Named> {
        let name = |id: &SessionId| {
            let resource = self.resources.get(&self.sessions.get(id)?.resource?)?;
            let room = self.rooms.get(&resource.room)?.key.clone();
            Some((*id, Named { user: resource.user.clone(), room }))
        };
        sessions.iter().filter_map(name).collect()
    }

    /// Rooms and their names, or that of one, in the clear.
    pub fn names(&self, only: Option<RoomNo>) -> Vec<(RoomNo, RoomKey)> {
        let meant = self.rooms.values().filter(|room| only.is_none_or(|only| only == room.no));
        meant.map(|room| (room.no, room.key.clone())).collect()
    }

    /// The room that has this number.
    pub fn key_of(&self, no: RoomNo) -> Option<RoomKey> {
        Some(self.rooms.get(&no)?.key.clone())
    }

    /// A room's number, and the shards that have sessions of it.
    pub fn shards_of(&self, key: &RoomKey) -> Option<(RoomNo, Vec<ShardId>)> {
        let room = self.rooms.get(self.names.get(key)?)?;
        Some((room.no, room.presence.keys().copied().collect()))
    }

    /// The shards that have sessions of a room.
    pub fn shards_with(&self, room: RoomNo) -> Vec<ShardId> {
        self.rooms.get(&room).map_or_else(Vec::new, |room| room.presence.keys().copied().collect())
    }

    /// The resource whose event stream this is.
    pub fn resource_of_events(&self, id: EventsId) -> Option<ResourceId> {
        self.events.get(&id).copied()
    }

    /// What a resource's receive sections show.
    pub fn slots(&self, id: ResourceId) -> Vec<SlotView> {
        let Some(resource) = self.resources.get(&id) else { return Vec::new() };
        let sessions = resource.sessions.iter().filter_map(|session| self.sessions.get(session));
        let slots = sessions.flat_map(|session| &session.slots);
        slots.map(|slot| self.view(resource.room, slot)).collect()
    }

    /// What one receive section shows.
    pub fn slot(&self, id: SessionId, place: u8) -> Option<SlotView> {
        let session = self.sessions.get(&id)?;
        let resource = self.resources.get(&session.resource?)?;
        Some(self.view(resource.room, session.slots.get(usize::from(place))?))
    }

    fn view(&self, room: RoomNo, slot: &Slot) -> SlotView {
        let (state, member, publication) = match slot.state {
            SlotState::Off => ("off", None, None),
            SlotState::On { member, publication } => ("on", Some(member), Some(publication.0)),
            SlotState::CodecMismatch { member } => ("codec_mismatch", Some(member), None),
        };
        let user = member.and_then(|no| {
            let mut members = self.rooms.get(&room)?.members.iter();
            members.find(|(_, member)| member.no == no).map(|(user, _)| user.clone())
        });
        let mid = std::str::from_utf8(&slot.mid).ok().filter(|mid| !mid.is_empty());
        SlotView { mid: mid.map(str::to_owned), kind: slot.kind, state, publication, user }
    }

    /// Kinds and names of the m-sections that a resource has, in order.
    pub(super) fn sections(&self, id: ResourceId, resource: &Resource) -> Vec<(MediaKind, Token)> {
        let sessions = resource.sessions.iter().filter_map(|session| self.sessions.get(session));
        let slots = sessions.flat_map(|session| &session.slots).map(|slot| (slot.kind, slot.mid));
        let room = self.rooms.get(&resource.room);
        let published = room.map_or(&[][..], |room| &room.publications);
        let own = published.iter().filter(|publication| publication.resource == id);
        slots.chain(own.map(|publication| (publication.spec.kind, publication.spec.mid))).collect()
    }

    /// Members that are in a room now.
    pub fn members_of(&self, key: &RoomKey) -> usize {
        let room = self.names.get(key).and_then(|no| self.rooms.get(no));
        let present = |member: &&super::Member| !member.resources.is_empty();
        room.map_or(0, |room| room.members.values().filter(present).count())
    }

    /// Streams in, and receive sections out, by kind: audio, video, substream.
    pub fn streams_by_kind(&self) -> [(u64, u64); 3] {
        let mut streams = [(0, 0); 3];
        for publication in self.rooms.values().flat_map(|room| &room.publications) {
            streams[publication.spec.kind as usize].0 += 1;
        }
        for slot in self.sessions.values().flat_map(|session| &session.slots) {
            streams[slot.kind as usize].1 += 1;
        }
        streams
    }

    /// Resources that ended since this was last called, and why.
    pub fn take_ended_resources(&mut self) -> Vec<(ResourceId, CloseReason)> {
        std::mem::take(&mut self.ended_resources)
    }
}

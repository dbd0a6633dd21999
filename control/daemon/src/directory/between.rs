//! What the directory knows of two members of a room: where they are, and what they asked for.

use proto::{MediaKind, MemberNo, PublicationNo, SessionId};
use token::UserId;

use super::{Directory, Room, RoomKey};
use crate::limits::LOOK_SESSIONS_MAX;
use crate::signalling::Role;

/// Two members and their room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Between {
    /// Whether there is such a room now.
    pub has_room: bool,
    /// Who sends; `None` when not in the room.
    pub from: Option<Present>,
    /// Who receives; `None` when not in the room.
    pub to: Option<Present>,
}

/// A member that is in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its number.
    pub member: MemberNo,
    /// Its sessions, at most [`LOOK_SESSIONS_MAX`].
    pub sessions: Vec<Held>,
}

/// A session of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub session: SessionId,
    /// What its resource does.
    pub role: Role,
    /// The streams it publishes.
    pub publications: Vec<(PublicationNo, MediaKind)>,
}

impl Directory {
    /// See the module.
    pub fn between(&self, key: &RoomKey, from: &UserId, to: &UserId) -> Between {
        let Some(room) = self.names.get(key).and_then(|no| self.rooms.get(no)) else {
            return Between::default();
        };
        Between { has_room: true, from: self.present(room, from), to: self.present(room, to) }
    }

    /// Whom somebody only waits for is a member without a resource.
    fn present(&self, room: &Room, user: &UserId) -> Option<Present> {
        let member = room.members.get(user).filter(|member| !member.resources.is_empty())?;
        let resources = member.resources.iter().filter_map(|id| self.resources.get(id));
        let sessions = resources
            .flat_map(|resource| resource.sessions.iter().map(|session| (*session, resource.role)));
        let held =
            |(session, role)| Held { session, role, publications: self.streams(room, session) };
        Some(Present {
            member: member.no,
            sessions: sessions.take(LOOK_SESSIONS_MAX).map(held).collect(),
        })
    }

    fn streams(&self, room: &Room, session: SessionId) -> Vec<(PublicationNo, MediaKind)> {
        let Some(session) = self.sessions.get(&session) else { return Vec::new() };
        let kind = |no: &PublicationNo| {
            let found = room.publications.iter().find(|known| known.spec.publication == *no)?;
            Some((*no, found.spec.kind))
        };
        session.publications.iter().filter_map(kind).collect()
    }
}

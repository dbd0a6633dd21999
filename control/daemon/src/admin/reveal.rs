//! Names in the clear, for those who may see them. Each use is in the audit file before its answer leaves.

use std::collections::BTreeSet;

use proto::{RoomNo, SessionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use token::RoomId;

use super::{refused, session_id};
use crate::directory::{Named, RoomKey};
use crate::limits::REVEALED_MAX;
use crate::link::hub::Hub;
use crate::running::Refused;

/// Whose names.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", deny_unknown_fields)]
pub enum RevealAct {
    /// Users and rooms of sessions.
    #[serde(rename = "reveal.session")]
    Session {
        #[serde(default)]
        session: Option<String>,
        /// Of this room, by its own number.
        #[serde(default)]
        room: Option<u64>,
    },
    /// Names of rooms.
    #[serde(rename = "reveal.room")]
    Room {
        /// By its own number.
        #[serde(default)]
        room: Option<u64>,
    },
}

impl RevealAct {
    /// The words of `act`, to tell these acts from others.
    pub const NAMES: [&'static str; 2] = ["reveal.session", "reveal.room"];

    /// The word of `act`.
    pub fn name(&self) -> &'static str {
        match self {
            RevealAct::Session { .. } => Self::NAMES[0],
            RevealAct::Room { .. } => Self::NAMES[1],
        }
    }

    /// Whose names, for the audit.
    pub fn target(&self) -> String {
        match self {
            RevealAct::Session { session: Some(session), .. } => {
                session.parse::<SessionId>().map_or_else(|()| "?".into(), |id| id.to_string())
            }
            RevealAct::Session { room: Some(room), .. } | RevealAct::Room { room: Some(room) } => {
                format!("room no {room}")
            }
            RevealAct::Session { .. } | RevealAct::Room { .. } => "all".to_owned(),
        }
    }

    /// The answer.
    pub fn carry_out(&self, hub: &Hub) -> Result<Value, Refused> {
        match self {
            RevealAct::Session { session, room } => {
                let only = session.as_deref().map(session_id).transpose()?;
                let seated = hub.seated(only, room.map(RoomNo));
                let ids: Vec<SessionId> = seated.iter().map(|seated| seated.session).collect();
                if let (true, Some(id)) = (ids.is_empty(), only) {
                    return refused("not_found", format!("no session {id}"));
                }
                bounded(ids.len())?;
                let named = hub.named(&ids).into_iter();
                let named: Map<String, Value> =
                    named.map(|(id, named)| (id.to_string(), session_names(&named))).collect();
                Ok(json!({ "sessions": named }))
            }
            RevealAct::Room { room } => {
                let rooms = hub.rooms(room.map(RoomNo));
                if let (true, Some(room)) = (rooms.is_empty(), room) {
                    return refused("not_found", format!("no room {room}"));
                }
                bounded(rooms.len())?;
                let named: Map<String, Value> = rooms
                    .into_iter()
                    .map(|(no, key)| (no.0.to_string(), room_name(&key)))
                    .collect();
                Ok(json!({ "rooms": named }))
            }
        }
    }
}

/// Users and rooms of notes whose sessions are there still; of others nobody knows more than the mask.
pub fn in_notes(hub: &Hub, answer: &mut Value) {
    let Some(notes) = answer["notes"].as_array_mut() else { return };
    let id = |note: &Value| note["session"].as_str().and_then(|id| id.parse::<SessionId>().ok());
    let ids: BTreeSet<SessionId> = notes.iter().filter_map(id).collect();
    let named = hub.named(&Vec::from_iter(ids));
    for note in notes {
        if let Some(names) = id(note).and_then(|id| named.get(&id)).map(session_names) {
            (note["user"], note["room"]) = (names["user"].clone(), names["room"].clone());
        }
    }
}

fn bounded(count: usize) -> Result<(), Refused> {
    match count > REVEALED_MAX {
        true => refused("limit", format!("{count} names are more than one answer shows: name one")),
        false => Ok(()),
    }
}

/// A session's user and room.
pub fn session_names(named: &Named) -> Value {
    let mut names = room_name(&named.room);
    names["user"] = named.user.as_str().into();
    names
}

/// A room as the app names it.
pub fn room_name(key: &RoomKey) -> Value {
    match &key.room {
        RoomId::Number(number) => json!({ "room": number.to_string(), "room_type": "number" }),
        RoomId::Text(name) => json!({ "room": name.as_str(), "room_type": "string" }),
    }
}

//! Rows for consoles: copies of what a shard knows, without keys and names.

use proto::snapshot::{RoomRow, SessionRow, row_label};
use srtp::Provider;

use crate::session::{Reported, State};
use crate::shard::Shard;

impl<P: Provider> Shard<P> {
    /// Places in the room table.
    pub fn room_rows(&self) -> u32 {
        self.rooms.capacity() as u32
    }

    /// Places in the session table that were ever used.
    pub fn session_rows(&self) -> u32 {
        self.sessions_high
    }

    /// A place of the room table; all zero when it is free.
    pub fn room_row(&self, index: u32) -> RoomRow {
        let room = &self.rooms[index];
        if self.room_by_no.get(&room.no) != Some(index) {
            return RoomRow::default();
        }
        RoomRow {
            room: room.no.0,
            app: self.apps[room.app].id.0,
            epoch: room.epoch,
            label: row_label(&room.label),
            sessions: room.session_count,
            publications: room.publication_count,
            subscriptions: room.subscription_count,
            reserved: 0,
            opened_ns: room.opened.0,
            rx_packets: room.rx_packets,
            tx_packets: room.tx_packets,
        }
    }

    /// What a session's subscriber reported of its slots, by their places.
    pub fn slot_reports(&self, index: u32) -> impl Iterator<Item = (u8, Reported)> {
        let slots = self.sessions[index as usize].slots;
        let places = 0..slots.len();
        places.map(move |place| {
            let slot = &self.slots[slots[place]];
            (slot.position, slot.reported)
        })
    }

    /// A place of the session table; all zero when it is free.
    pub fn session_row(&self, index: u32) -> SessionRow {
        let session = &self.sessions[index as usize];
        let state = match session.state {
            State::Free => return SessionRow::default(),
            State::Opening => 0,
            State::Alive => 1,
            State::GrantEnded => 2,
            State::Closed(_) => 3,
        };
        let streams = || session.streams.iter().map(|(_, index)| &self.ingress[*index]);
        let media = || streams().filter(|stream| !stream.role.is_repair);
        SessionRow {
            session_plus_one: session.id.0 + 1,
            room: self.rooms[session.room].no.0,
            member: session.member.0,
            grant: session.grant.0,
            label: row_label(&session.label),
            opened_ns: session.opened.0,
            heard_ns: session.heard.0,
            rx_packets: session.rx_packets,
            rx_bytes: session.rx_bytes,
            tx_packets: session.tx_packets,
            tx_bytes: session.tx_bytes,
            auth_failures: session.auth_failures,
            rx_lost: media().map(|stream| stream.reception.lost()).sum(),
            jitter: media().next().map_or(0, |stream| stream.reception.jitter()),
            publications: session.publications.len() as u16,
            slots: session.slots.len() as u16,
            profile: session.profile as u32,
            state,
        }
    }
}

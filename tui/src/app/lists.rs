//! The rooms, sessions and apps in the order that the user wants.

use std::collections::{BTreeMap, HashMap};

use proto::RoomNo;
use serde_json::Value;
use stats::{RoomView, SessionView, Snapshot};

use super::{App, Level, Pane};
use crate::panes::{Table, session};

/// What an app uses of what it may.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Share {
    /// `SdkAppId`.
    pub app: u32,
    /// `open` or `suspended`; `-` while control does not say.
    pub state: String,
    /// Its rooms on the node, where one that several workers serve is one.
    pub rooms: u64,
    /// Its sessions on the node.
    pub sessions: u64,
    /// Its rooms on the worker that has most of them.
    pub rooms_on_one: u64,
    /// Its sessions on the worker that has most of them.
    pub sessions_on_one: u64,
    /// Packets per second in on the worker that has most of them.
    pub rx_pps_on_one: f64,
    /// Packets per second in and out on the node.
    pub pps: (f64, f64),
    /// What it may have on a worker; zero while unknown.
    pub quota_rooms: u64,
    /// Likewise.
    pub quota_sessions: u64,
    /// Likewise, per second.
    pub quota_pps: u64,
}

impl Share {
    /// The fullest part of its quotas, 0 to 1 and above.
    pub fn fullest(&self) -> f64 {
        let part = |used: f64, max: u64| if max == 0 { 0.0 } else { used / max as f64 };
        part(self.sessions_on_one as f64, self.quota_sessions)
            .max(part(self.rooms_on_one as f64, self.quota_rooms))
            .max(part(self.rx_pps_on_one, self.quota_pps))
    }
}

impl App {
    /// Counts what a new look says of rooms and apps.
    pub(super) fn count_rooms(&mut self) {
        let Some(seen) = &self.seen else { return };
        let new = &seen.snapshot;
        let (old, seconds) = match &self.before {
            Some(before) => (&before.snapshot, self.rates.seconds),
            None => (new, 0.0),
        };
        let of_shards = rates_by_shard(old, new, seconds);
        self.room_rates.clear();
        for ((room, _), (rx, tx)) in &of_shards {
            let sum = self.room_rates.entry(*room).or_default();
            *sum = (sum.0 + rx, sum.1 + tx);
        }
        self.merged = new.rooms_merged();
        self.shares = shares(new, &of_shards, &self.control.apps);
    }

    /// Filters and sorts anew, and finds the selected row again.
    pub(super) fn arrange(&mut self) {
        self.rooms = self.merged.clone();
        let filter = self.filter.as_str();
        if self.table() == Table::Rooms && !filter.is_empty() {
            let strict = self.strict;
            self.rooms.retain(|room| {
                let label = match strict {
                    true => String::new(),
                    false => proto::snapshot::label_text(&room.row.label),
                };
                [label, room.row.room.to_string(), room.row.app.to_string()]
                    .iter()
                    .any(|text| text.contains(filter))
            });
        }
        let order = self.order(Table::Rooms);
        let rates = &self.room_rates;
        self.rooms.sort_by(|one, other| {
            let traffic = |room: &RoomView| {
                let (rx, tx) = rates.get(&room.row.room).copied().unwrap_or_default();
                rx + tx
            };
            let order = match order {
                0 => traffic(other).total_cmp(&traffic(one)),
                1 => other.row.sessions.cmp(&one.row.sessions),
                2 => other.row.opened_ns.cmp(&one.row.opened_ns),
                _ => one.row.label.cmp(&other.row.label),
            };
            order.then(one.row.room.cmp(&other.row.room))
        });
        if self.reverse && self.table() == Table::Rooms {
            self.rooms.reverse();
        }
        match self.level {
            Level::Rooms => self.sessions.clear(),
            Level::Room(room) | Level::Session(room, _) | Level::Streams(room, _) => {
                self.arrange_sessions(room)
            }
        }
        self.find_selected();
    }

    fn arrange_sessions(&mut self, room: RoomNo) {
        let Some(seen) = &self.seen else { return };
        let of_room = |session: &&SessionView| session.row.room == room.0;
        let mut sessions: Vec<SessionView> =
            seen.snapshot.sessions.iter().filter(of_room).copied().collect();
        let before = self.before.as_ref().map(|before| &before.snapshot.sessions);
        let before: HashMap<u64, &SessionView> = before
            .into_iter()
            .flatten()
            .filter(of_room)
            .map(|session| (session.row.session_plus_one, session))
            .collect();
        let per_s = |old: u64, new: u64| match self.rates.seconds {
            seconds if seconds > 0.0 => new.saturating_sub(old) as f64 / seconds,
            _ => 0.0,
        };
        self.session_rates = sessions
            .iter()
            .filter_map(|session| {
                let (old, row) = (&before.get(&session.row.session_plus_one)?.row, &session.row);
                let rates =
                    (per_s(old.rx_packets, row.rx_packets), per_s(old.tx_packets, row.tx_packets));
                Some((row.session_plus_one, rates))
            })
            .collect();
        if !self.filter.is_empty() {
            sessions.retain(|session| {
                let label = self.masked(&session.row.label);
                [label, session.id().to_string()].iter().any(|text| text.contains(&self.filter))
            });
        }
        let order = self.order(Table::Sessions);
        sessions.sort_by(|one, other| {
            let traffic = |session| {
                let (rx, tx) = self.session_rate(session);
                rx + tx
            };
            let trouble = |view: &SessionView| session::judge(self, view).0;
            let order = match order {
                0 => trouble(other).cmp(&trouble(one)),
                1 => traffic(other).total_cmp(&traffic(one)),
                2 => other.row.opened_ns.cmp(&one.row.opened_ns),
                _ => one.row.label.cmp(&other.row.label),
            };
            order.then(one.row.session_plus_one.cmp(&other.row.session_plus_one))
        });
        if self.reverse {
            sessions.reverse();
        }
        self.sessions = sessions;
    }

    fn find_selected(&mut self) {
        let at =
            self.selected.and_then(|key| (0..self.listed()).find(|at| self.key(*at) == Some(key)));
        match at {
            Some(at) => self.cursor = at,
            // Nothing was chosen, or it is gone: the cursor stays where it is.
            None if self.is_list() => {
                self.selected = None;
                self.cursor = self.cursor.min(self.row_count().saturating_sub(1));
            }
            None => {}
        }
    }

    fn is_list(&self) -> bool {
        matches!(self.table(), Table::Rooms | Table::Sessions)
    }

    fn listed(&self) -> usize {
        match self.table() {
            Table::Rooms => self.rooms.len(),
            Table::Sessions => self.sessions.len(),
            _ => 0,
        }
    }

    fn key(&self, row: usize) -> Option<u64> {
        match self.table() {
            Table::Rooms => self.rooms.get(row).map(|room| room.row.room),
            Table::Sessions => self.sessions.get(row).map(|session| session.row.session_plus_one),
            _ => None,
        }
    }

    /// Moves the cursor to a row that is there.
    pub(super) fn put_cursor(&mut self, row: usize) {
        self.cursor = row.min(self.row_count().saturating_sub(1));
        self.selected = self.key(self.cursor);
    }

    /// The room one is in, or under the cursor.
    pub fn room_at_cursor(&self) -> Option<RoomView> {
        let number = match (self.table(), self.level) {
            (Table::Rooms, _) => return self.rooms.get(self.cursor).copied(),
            (_, Level::Room(no) | Level::Session(no, _) | Level::Streams(no, _))
                if self.pane == Pane::Rooms =>
            {
                no
            }
            _ => return None,
        };
        self.merged.iter().find(|room| room.row.room == number.0).copied()
    }

    /// The session one looks at, or under the cursor.
    pub fn session_at_cursor(&self) -> Option<SessionView> {
        match (self.table(), self.level) {
            (Table::Sessions, _) => self.sessions.get(self.cursor).copied(),
            (Table::Session | Table::Streams, Level::Session(_, id) | Level::Streams(_, id)) => {
                self.sessions.iter().find(|session| session.id() == id).copied()
            }
            _ => None,
        }
    }
}

/// Packets per second in and out by room and shard.
type ShardRates = HashMap<(u64, u64), (f64, f64)>;

fn rates_by_shard(old: &Snapshot, new: &Snapshot, seconds: f64) -> ShardRates {
    if seconds <= 0.0 {
        return HashMap::new();
    }
    let key = |room: &RoomView| (room.row.room, room.shards);
    let before: HashMap<(u64, u64), &RoomView> =
        old.rooms.iter().map(|room| (key(room), room)).collect();
    let per_s = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
    let rate = |room: &RoomView| {
        let old = &before.get(&key(room))?.row;
        let row = &room.row;
        let rates = (per_s(old.rx_packets, row.rx_packets), per_s(old.tx_packets, row.tx_packets));
        Some((key(room), rates))
    };
    new.rooms.iter().filter_map(rate).collect()
}

fn shares(new: &Snapshot, rates: &ShardRates, apps: &Value) -> Vec<Share> {
    let mut shares: BTreeMap<u32, Share> = BTreeMap::new();
    for app in apps["apps"].as_array().into_iter().flatten() {
        let number = |key: &str| app[key].as_u64().unwrap_or_default();
        let Ok(id) = u32::try_from(number("sdkappid")) else { continue };
        shares.insert(
            id,
            Share {
                app: id,
                state: crate::grid::plain(app["state"].as_str().unwrap_or("-")),
                quota_rooms: number("quota_rooms"),
                quota_sessions: number("quota_sessions"),
                quota_pps: number("quota_packets_per_s"),
                ..Share::default()
            },
        );
    }
    let mut on_shards: HashMap<(u32, u64), (u64, u64, f64)> = HashMap::new();
    for room in &new.rooms {
        let (rx, tx) = rates.get(&(room.row.room, room.shards)).copied().unwrap_or_default();
        let share = shares.entry(room.row.app).or_insert_with(|| Share {
            app: room.row.app,
            state: "-".to_owned(),
            ..Share::default()
        });
        share.sessions += u64::from(room.row.sessions);
        share.pps = (share.pps.0 + rx, share.pps.1 + tx);
        let on_one = on_shards.entry((room.row.app, room.shards)).or_default();
        *on_one = (on_one.0 + 1, on_one.1 + u64::from(room.row.sessions), on_one.2 + rx);
        share.rooms_on_one = share.rooms_on_one.max(on_one.0);
        share.sessions_on_one = share.sessions_on_one.max(on_one.1);
        share.rx_pps_on_one = share.rx_pps_on_one.max(on_one.2);
    }
    let mut seen = std::collections::HashSet::new();
    for room in new.rooms.iter().filter(|room| seen.insert(room.row.room)) {
        if let Some(share) = shares.get_mut(&room.row.app) {
            share.rooms += 1;
        }
    }
    shares.into_values().collect()
}

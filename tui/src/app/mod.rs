//! What the dashboard knows and wants: changed by messages alone, drawn by `ui`.

mod effects;
mod keys;
mod lists;
mod watch;

use std::collections::{HashMap, VecDeque};

use crossterm::event::KeyEvent;
use proto::RoomNo;
use proto::snapshot::label_text;
use serde_json::Value;
use stats::{Rates, RoomView, SessionView};

use crate::alarms::Alarm;
use crate::control::{Control, Wants};
use crate::history::{History, WINDOWS};
use crate::keymap::Keymap;
use crate::panes::Table;
use crate::settings::Settings;
use crate::source::Seen;

pub use effects::{Effect, Intent, Pending};
pub use keys::meant;
pub use lists::Share;
pub use watch::Change;

/// Longest filter or typed word, in characters.
const TYPED_MAX: usize = 40;
/// Without a heartbeat for so long, data is old; nanoseconds.
pub const STALE_NS: u64 = 1_000_000_000;

/// What happens to the dashboard.
#[derive(Debug)]
pub enum Msg {
    /// The node was looked at.
    Seen(Box<Seen>),
    /// The control daemon was asked.
    Control(Box<Control>),
    /// How an effect went.
    Said(String),
    /// A key was pressed.
    Key(KeyEvent),
}

/// What has the keyboard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// The pane.
    #[default]
    Watch,
    /// The help over it.
    Help,
    /// A filter is typed.
    Filter,
    /// A command is typed.
    Palette(String),
    /// Columns are chosen; the one under the cursor.
    Columns(usize),
    /// An act waits for its word.
    Confirm(Pending),
}

/// What fills the screen below the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    /// Workers, rooms and drops together.
    #[default]
    Overview,
    /// The workers.
    Workers,
    /// The rooms, and what is in them.
    Rooms,
    /// The drops, and who attacks.
    Drops,
    /// How long packets stay.
    Latency,
    /// What happens below UDP.
    Ports,
    /// What happened, what ends.
    Events,
    /// The apps and their quotas.
    Apps,
    /// What runs.
    Config,
}

impl Pane {
    /// All, in the order of their numbers.
    pub const ALL: [Pane; 9] = [
        Pane::Overview,
        Pane::Workers,
        Pane::Rooms,
        Pane::Drops,
        Pane::Latency,
        Pane::Ports,
        Pane::Events,
        Pane::Apps,
        Pane::Config,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Pane::Overview => "overview",
            Pane::Workers => "workers",
            Pane::Rooms => "rooms",
            Pane::Drops => "drops",
            Pane::Latency => "latency",
            Pane::Ports => "ports",
            Pane::Events => "events",
            Pane::Apps => "apps",
            Pane::Config => "config",
        }
    }
}

/// How far down one went from the rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// All rooms.
    #[default]
    Rooms,
    /// The sessions of one.
    Room(RoomNo),
    /// One session of it.
    Session(RoomNo, proto::SessionId),
    /// The streams of that.
    Streams(RoomNo, proto::SessionId),
}

/// What went out of a slot by control's last answer.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Payload bytes, modulo 2^32.
    octets: u32,
    /// When that was, on the shard's clock.
    at_ns: u64,
    /// In bits per second; `None` before the second answer.
    rate: Option<f64>,
}

/// Everything on the screen.
#[derive(Debug, Default)]
pub struct App {
    /// The last look that is shown.
    pub seen: Option<Seen>,
    /// What control said last.
    pub control: Control,
    /// What the node says of itself.
    pub about: Value,
    /// Between the last two looks.
    pub rates: Rates,
    /// Of the last looks.
    pub history: History,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
    /// What changed, oldest first.
    pub changes: VecDeque<Change>,
    /// What fills the screen.
    pub pane: Pane,
    /// How far down one is.
    pub level: Level,
    /// What has the keyboard.
    pub mode: Mode,
    /// New data is not shown.
    pub frozen: bool,
    /// Labels are not shown at all.
    pub strict: bool,
    /// Only rows with it.
    pub filter: String,
    /// The order is turned round.
    pub reverse: bool,
    /// The row that keys are about.
    pub cursor: usize,
    /// Acts are offered.
    pub admin: bool,
    /// What keys mean.
    pub keys: Keymap,
    /// The table alone, without curves and other tables.
    pub expanded: bool,
    /// How often the colours were changed.
    pub theme_turns: usize,
    /// Told in the last line until the next key.
    pub said: Option<String>,
    /// First line of the help that is shown.
    pub help_from: usize,
    /// Rooms that pass the filter, in their order.
    pub rooms: Vec<RoomView>,
    /// Sessions of the room one is in, likewise.
    pub sessions: Vec<SessionView>,
    effects: Vec<Effect>,
    hidden: HashMap<Table, u32>,
    orders: HashMap<Table, usize>,
    window: usize,
    /// The room or session under the cursor: rows move, it stays.
    selected: Option<u64>,
    merged: Vec<RoomView>,
    room_rates: HashMap<u64, (f64, f64)>,
    shares: Vec<Share>,
    session_rates: HashMap<u64, (f64, f64)>,
    before: Option<Seen>,
    /// Of the slots of the session one looks at.
    sent: HashMap<u64, Sent>,
    security_before: Option<(u64, Value)>,
    security_ps: Vec<f64>,
    quits: bool,
}

impl App {
    /// A dashboard that shows `pane` first.
    pub fn at(pane: Pane, admin: bool, settings: &Settings) -> App {
        App {
            pane,
            admin,
            strict: settings.strict,
            keys: settings.keys.clone(),
            hidden: settings.hidden.clone(),
            ..App::default()
        }
    }

    /// Whether the user wants to leave.
    pub fn quits(&self) -> bool {
        self.quits
    }

    /// Whether what is shown is no longer true.
    pub fn is_stale(&self) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.snapshot.age_ns() > STALE_NS)
    }

    /// When the last look was, on the monotonic clock.
    pub fn now_ns(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.snapshot.taken_ns)
    }

    /// The only way anything changes.
    pub fn update(&mut self, msg: Msg) {
        match msg {
            Msg::Seen(_) | Msg::Control(_) if self.frozen => {}
            Msg::Seen(seen) => self.take(*seen),
            Msg::Control(control) => self.heard(*control),
            Msg::Said(text) => self.say(text),
            Msg::Key(key) => self.press(key),
        }
    }

    /// What control must be asked for, for this screen.
    pub fn wants(&self) -> Wants {
        Wants {
            config: self.pane == Pane::Config,
            notes: self.pane == Pane::Events,
            session: match (self.pane, self.level) {
                (Pane::Rooms, Level::Session(_, session) | Level::Streams(_, session)) => {
                    Some(session.to_string())
                }
                _ => None,
            },
        }
    }

    /// Looks that curves cover.
    pub fn window(&self) -> usize {
        WINDOWS[self.window]
    }

    /// The table that keys are about.
    pub fn table(&self) -> Table {
        match (self.pane, self.level) {
            (Pane::Overview, _) | (Pane::Rooms, Level::Rooms) => Table::Rooms,
            (Pane::Rooms, Level::Room(_)) => Table::Sessions,
            (Pane::Rooms, Level::Session(..)) => Table::Session,
            (Pane::Rooms, Level::Streams(..)) => Table::Streams,
            (Pane::Workers, _) => Table::Workers,
            (Pane::Drops, _) => Table::Drops,
            (Pane::Latency, _) => Table::Latency,
            (Pane::Ports, _) => Table::Ports,
            (Pane::Events, _) => Table::Events,
            (Pane::Apps, _) => Table::Apps,
            (Pane::Config, _) => Table::Config,
        }
    }

    /// The order of a table: an index of [`Table::orders`].
    pub fn order(&self, table: Table) -> usize {
        self.orders.get(&table).copied().unwrap_or_default()
    }

    /// Columns of a table that nobody wants: a bit for each.
    pub fn hidden(&self, table: Table) -> u32 {
        self.hidden.get(&table).copied().unwrap_or_default()
    }

    /// The rows of the table that keys are about.
    pub fn row_count(&self) -> usize {
        match self.table() {
            Table::Rooms => self.rooms.len(),
            Table::Sessions => self.sessions.len(),
            table => crate::panes::grid(self, table, &crate::theme::Theme::plain(true)).rows.len(),
        }
    }

    /// A label as it may be shown.
    pub fn masked(&self, label: &proto::snapshot::RowLabel) -> String {
        if self.strict { "***".to_owned() } else { label_text(label) }
    }

    /// A room's label as it may be shown.
    pub fn label(&self, room: &RoomView) -> String {
        self.masked(&room.row.label)
    }

    /// A room's packets per second in and out.
    pub fn room_rate(&self, room: u64) -> (f64, f64) {
        self.room_rates.get(&room).copied().unwrap_or_default()
    }

    /// A session's bits per second in and packets per second in, out, failures.
    pub fn session_rate(&self, session: &SessionView) -> (f64, f64) {
        self.session_rates.get(&session.row.session_plus_one).copied().unwrap_or_default()
    }

    /// The streams that a session was said to have last.
    pub fn streams(&self, session: &str) -> impl Iterator<Item = &Value> {
        let is_it = self.control.session["session"] == session;
        let streams = self.control.session["streams"].as_array().filter(|_| is_it);
        streams.into_iter().flatten()
    }

    /// All rooms, in the order of their numbers.
    pub fn all_rooms(&self) -> &[RoomView] {
        &self.merged
    }

    /// Apps by how much of their quotas they use.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// How often an event of the security table happened per second, between control's last answers.
    pub fn security_ps(&self, event: proto::security::SecurityEvent) -> f64 {
        self.security_ps.get(event as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests;

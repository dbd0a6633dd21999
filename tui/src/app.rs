//! What the dashboard knows and wants: changed by messages alone, drawn by `ui`.

use std::collections::{HashMap, VecDeque};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proto::snapshot::label_text;
use stats::{Rates, RoomView, Snapshot};

use crate::keymap::{Action, action};
use crate::source::Seen;

/// Looks that the curves show.
pub const HISTORY_MAX: usize = 600;
/// Longest filter, in characters.
const FILTER_MAX: usize = 32;
/// Without a heartbeat for so long, data is old; nanoseconds.
pub const STALE_NS: u64 = 1_500_000_000;

/// What happens to the dashboard.
#[derive(Debug)]
pub enum Msg {
    /// The node was looked at.
    Seen(Box<Seen>),
    /// A key was pressed.
    Key(KeyEvent),
}

/// By what rooms are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Most packets per second first.
    #[default]
    Traffic,
    /// Most sessions first.
    Sessions,
    /// Newest first.
    Age,
}

impl Sort {
    /// The word on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Traffic => "traffic",
            Sort::Sessions => "sessions",
            Sort::Age => "age",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Traffic => Sort::Sessions,
            Sort::Sessions => Sort::Age,
            Sort::Age => Sort::Traffic,
        }
    }
}

/// What fills the keyboard's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The pane.
    #[default]
    Watch,
    /// The help over it.
    Help,
    /// A filter is typed.
    Filter,
}

/// What fills the screen below the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    /// Workers, rooms and drops together.
    #[default]
    Overview,
    /// The workers alone.
    Workers,
    /// The rooms alone.
    Rooms,
    /// The drops alone.
    Drops,
}

impl Pane {
    fn next(self) -> Pane {
        match self {
            Pane::Overview => Pane::Workers,
            Pane::Workers => Pane::Rooms,
            Pane::Rooms => Pane::Drops,
            Pane::Drops => Pane::Overview,
        }
    }
}

/// Everything on the screen.
#[derive(Debug, Default)]
pub struct App {
    /// The last look that is shown.
    pub seen: Option<Seen>,
    /// From the look before it.
    pub rates: Rates,
    /// Packets per second in and out, oldest first.
    pub history: VecDeque<(f64, f64)>,
    /// What fills the screen.
    pub pane: Pane,
    /// What has the keyboard.
    pub mode: Mode,
    /// New data is not shown.
    pub frozen: bool,
    /// Labels are not shown at all.
    pub strict: bool,
    /// Rooms whose label, number or app contains it.
    pub filter: String,
    /// Order of rooms.
    pub sort: Sort,
    /// The order is turned round.
    pub reverse: bool,
    /// First room that is shown.
    pub scroll: usize,
    room_rates: HashMap<u64, (f64, f64)>,
    quits: bool,
}

impl App {
    /// Whether the user wants to leave.
    pub fn quits(&self) -> bool {
        self.quits
    }

    /// Whether what is shown is no longer true.
    pub fn is_stale(&self) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.snapshot.age_ns() > STALE_NS)
    }

    /// The only way anything changes.
    pub fn update(&mut self, msg: Msg) {
        match msg {
            Msg::Seen(seen) if !self.frozen => self.take(*seen),
            Msg::Seen(_) => {}
            Msg::Key(key) if self.mode == Mode::Filter => self.type_filter(key),
            Msg::Key(key) => {
                if let Some(action) = action(key) {
                    self.act(action);
                }
            }
        }
    }

    fn take(&mut self, seen: Seen) {
        if let Some(old) = &self.seen {
            self.rates = Rates::between(&old.snapshot, &seen.snapshot);
            self.room_rates = room_rates(&old.snapshot, &seen.snapshot, self.rates.seconds);
        } else {
            self.rates = Rates::between(&seen.snapshot, &seen.snapshot);
        }
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back((self.rates.rx_pps, self.rates.tx_pps));
        self.seen = Some(seen);
        self.scroll = self.scroll.min(self.rooms().len().saturating_sub(1));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Quit => self.quits = true,
            Action::Help if self.mode == Mode::Help => self.mode = Mode::Watch,
            Action::Help => self.mode = Mode::Help,
            Action::Back if self.mode == Mode::Help => self.mode = Mode::Watch,
            Action::Back => self.filter.clear(),
            Action::Freeze => self.frozen = !self.frozen,
            Action::Filter => self.mode = Mode::Filter,
            Action::Sort => self.sort = self.sort.next(),
            Action::Reverse => self.reverse = !self.reverse,
            Action::Strict => self.strict = true,
            Action::Overview => self.pane = Pane::Overview,
            Action::Workers => self.pane = Pane::Workers,
            Action::Rooms => self.pane = Pane::Rooms,
            Action::Drops => self.pane = Pane::Drops,
            Action::NextPane => self.pane = self.pane.next(),
            Action::Up => self.scroll = self.scroll.saturating_sub(1),
            Action::Down => self.scroll_to(self.scroll + 1),
            Action::PageUp => self.scroll = self.scroll.saturating_sub(10),
            Action::PageDown => self.scroll_to(self.scroll + 10),
            Action::First => self.scroll = 0,
            Action::Last => self.scroll_to(usize::MAX),
        }
    }

    fn scroll_to(&mut self, row: usize) {
        self.scroll = row.min(self.rooms().len().saturating_sub(1));
    }

    fn type_filter(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => self.quits = true,
            KeyCode::Enter => self.mode = Mode::Watch,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Watch;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if !control && self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(c);
            }
            _ => {}
        }
        self.scroll = 0;
    }

    /// A room's label as it may be shown.
    pub fn label(&self, room: &RoomView) -> String {
        if self.strict { "***".to_owned() } else { label_text(&room.row.label) }
    }

    /// A room's packets per second in and out.
    pub fn room_rate(&self, room: &RoomView) -> (f64, f64) {
        self.room_rates.get(&room.row.room).copied().unwrap_or_default()
    }

    /// Rooms that pass the filter, in the order chosen.
    pub fn rooms(&self) -> Vec<RoomView> {
        let Some(seen) = &self.seen else { return vec![] };
        let mut rooms = seen.snapshot.rooms_merged();
        rooms.retain(|room| {
            let number = room.row.room.to_string();
            let app = room.row.app.to_string();
            [self.label(room), number, app].iter().any(|text| text.contains(&self.filter))
        });
        rooms.sort_by(|one, other| {
            let traffic = |room| {
                let (rx, tx) = self.room_rate(room);
                rx + tx
            };
            let order = match self.sort {
                Sort::Traffic => traffic(other).total_cmp(&traffic(one)),
                Sort::Sessions => other.row.sessions.cmp(&one.row.sessions),
                Sort::Age => other.row.opened_ns.cmp(&one.row.opened_ns),
            };
            order.then(one.row.room.cmp(&other.row.room))
        });
        if self.reverse {
            rooms.reverse();
        }
        rooms
    }
}

fn room_rates(old: &Snapshot, new: &Snapshot, seconds: f64) -> HashMap<u64, (f64, f64)> {
    if seconds <= 0.0 {
        return HashMap::new();
    }
    let before: HashMap<u64, RoomView> =
        old.rooms_merged().into_iter().map(|room| (room.row.room, room)).collect();
    let rate = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
    new.rooms_merged()
        .iter()
        .filter_map(|room| {
            let old = &before.get(&room.row.room)?.row;
            let rates = (
                rate(old.rx_packets, room.row.rx_packets),
                rate(old.tx_packets, room.row.tx_packets),
            );
            Some((room.row.room, rates))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;

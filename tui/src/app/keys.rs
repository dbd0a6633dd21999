//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proto::RoomNo;

use super::effects::{Effect, Intent};
use super::{App, Level, Mode, Pane, TYPED_MAX};
use crate::history::WINDOWS;
use crate::keymap::Action;
use crate::panes::{self, Table};

/// Rows that a page key moves by.
const PAGE: usize = 10;

/// What can be typed behind `:`, besides the names of panes.
pub const COMMANDS: [&str; 16] = [
    "room ",
    "sort ",
    "filter ",
    "export csv",
    "export json",
    "expand",
    "columns",
    "theme",
    "freeze",
    "help",
    "drain",
    "kick",
    "end",
    "trace",
    "capture",
    "quit",
];

impl App {
    pub(super) fn press(&mut self, key: KeyEvent) {
        self.said = None;
        let is_interrupt =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_interrupt {
            self.quits = true;
            return;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Watch => self.act_on(key),
            Mode::Help => {
                self.mode = Mode::Help;
                self.act_on(key);
            }
            Mode::Filter => self.type_filter(key),
            Mode::Columns(at) => self.choose_column(key, at),
            Mode::Palette(mut typed) => match edit(&mut typed, key) {
                Edited::Still => self.mode = Mode::Palette(typed),
                Edited::Left => {}
                Edited::Done => self.command(&typed),
                Edited::Completed => self.mode = Mode::Palette(completed(&typed)),
            },
            Mode::Confirm(mut pending) => match edit(&mut pending.typed, key) {
                Edited::Still | Edited::Completed => self.mode = Mode::Confirm(pending),
                Edited::Left => self.say("not done".to_owned()),
                Edited::Done => self.confirm(pending),
            },
        }
    }

    fn act_on(&mut self, key: KeyEvent) {
        if let Some(action) = self.keys.action(key) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let in_help = self.mode == Mode::Help;
        match action {
            Action::Quit => self.quits = true,
            Action::Help | Action::Back if in_help => self.mode = Mode::Watch,
            Action::Help => (self.mode, self.help_from) = (Mode::Help, 0),
            Action::Up if in_help => self.help_from = self.help_from.saturating_sub(1),
            Action::Down if in_help => self.help_from += 1,
            Action::Back => self.back(),
            Action::Enter => self.enter(),
            Action::Freeze => self.frozen = !self.frozen,
            Action::Filter => self.mode = Mode::Filter,
            Action::Palette => self.mode = Mode::Palette(String::new()),
            Action::Columns => self.mode = Mode::Columns(0),
            Action::Expand => self.expanded = !self.expanded,
            Action::Theme => self.theme_turns += 1,
            Action::Copy => self.copy(),
            Action::Export => self.export(false),
            Action::Suspend => self.effects.push(Effect::Suspend),
            Action::Sort => self.sort(),
            Action::Act(intent) => self.intend(intent),
            Action::Reverse => {
                self.reverse = !self.reverse;
                self.arrange();
            }
            Action::Strict => {
                self.strict = true;
                self.arrange();
            }
            Action::Wider => self.window = (self.window + 1).min(WINDOWS.len() - 1),
            Action::Narrower => self.window = self.window.saturating_sub(1),
            Action::Pane(number) => self.show(Pane::ALL[number]),
            Action::NextPane => {
                let at = Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0);
                self.show(Pane::ALL[(at + 1) % Pane::ALL.len()]);
            }
            Action::Up => self.put_cursor(self.cursor.saturating_sub(1)),
            Action::Down => self.put_cursor(self.cursor + 1),
            Action::PageUp => self.put_cursor(self.cursor.saturating_sub(PAGE)),
            Action::PageDown => self.put_cursor(self.cursor + PAGE),
            Action::First => self.put_cursor(0),
            Action::Last => self.put_cursor(usize::MAX),
        }
    }

    /// What was typed behind `:`.
    fn command(&mut self, typed: &str) {
        let (word, rest) = typed.trim().split_once(' ').unwrap_or((typed.trim(), ""));
        let rest = rest.trim();
        if let Some(pane) = Pane::ALL.into_iter().find(|pane| pane.name() == word) {
            return self.show(pane);
        }
        match (word, rest) {
            ("", _) => {}
            ("room", name) => self.go_to_room(name),
            ("sort", order) => self.sort_by(order),
            ("filter", text) => {
                self.filter = text.to_owned();
                self.arrange();
            }
            ("export", kind) => self.export(kind == "json"),
            ("expand", _) => self.act(Action::Expand),
            ("columns", _) => self.act(Action::Columns),
            ("theme", _) => self.act(Action::Theme),
            ("freeze", _) => self.act(Action::Freeze),
            ("help", _) => self.act(Action::Help),
            ("drain", _) => self.intend(Intent::Drain),
            ("kick", _) => self.intend(Intent::Kick),
            ("end", _) => self.intend(Intent::End),
            ("trace", _) => self.intend(Intent::Trace),
            ("capture", _) => self.intend(Intent::Capture),
            ("quit" | "q", _) => self.quits = true,
            #[cfg(debug_assertions)]
            ("panic", _) => panic!("asked to"),
            _ => self.say(format!("no such command: {}", crate::grid::plain(word))),
        }
    }

    /// Another pane, from its top.
    fn show(&mut self, pane: Pane) {
        self.pane = pane;
        self.go_to(Level::Rooms);
    }

    pub(super) fn go_to(&mut self, level: Level) {
        self.level = level;
        self.filter.clear();
        self.reverse = false;
        self.selected = None;
        self.cursor = 0;
        self.arrange();
    }

    /// Down: rooms, the sessions of one, one session, its streams.
    fn enter(&mut self) {
        match self.table() {
            Table::Rooms => {
                let Some(room) = self.room_at_cursor() else { return };
                self.pane = Pane::Rooms;
                self.go_to(Level::Room(RoomNo(room.row.room)));
            }
            Table::Sessions => {
                let Some(session) = self.session_at_cursor() else { return };
                self.go_to(Level::Session(RoomNo(session.row.room), session.id()));
            }
            Table::Session => {
                if let Level::Session(room, session) = self.level {
                    self.go_to(Level::Streams(room, session));
                }
            }
            _ => {}
        }
    }

    /// Up again; a filter goes first. The cursor stands where one came from.
    fn back(&mut self) {
        if !self.filter.is_empty() {
            self.filter.clear();
            self.arrange();
            return;
        }
        let (level, key) = match self.level {
            Level::Rooms => return,
            Level::Room(room) => (Level::Rooms, room.0),
            Level::Session(room, session) => (Level::Room(room), session.0.wrapping_add(1)),
            Level::Streams(room, session) => (Level::Session(room, session), 0),
        };
        self.go_to(level);
        self.selected = Some(key);
        self.arrange();
    }

    fn sort(&mut self) {
        let table = self.table();
        let orders = table.orders().len();
        if orders > 0 {
            let order = self.orders.entry(table).or_default();
            *order = (*order + 1) % orders;
            self.arrange();
        }
    }

    fn sort_by(&mut self, name: &str) {
        let table = self.table();
        match table.orders().iter().position(|order| *order == name) {
            Some(order) => {
                self.orders.insert(table, order);
                self.arrange();
            }
            None => self.say(format!("orders here: {}", table.orders().join(", "))),
        }
    }

    fn type_filter(&mut self, key: KeyEvent) {
        match edit(&mut self.filter, key) {
            Edited::Still | Edited::Completed => self.mode = Mode::Filter,
            Edited::Left => self.filter.clear(),
            Edited::Done => {}
        }
        self.selected = None;
        self.cursor = 0;
        self.arrange();
    }

    /// A list of the table's columns: up and down, Enter or blank shows or hides one.
    fn choose_column(&mut self, key: KeyEvent, at: usize) {
        let count = panes::columns(self.table()).len();
        let at = match key.code {
            KeyCode::Down | KeyCode::Char('j') => (at + 1).min(count - 1),
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            KeyCode::Enter | KeyCode::Char(' ') => {
                *self.hidden.entry(self.table()).or_default() ^= 1 << at;
                at
            }
            KeyCode::Esc | KeyCode::Char('c' | 'q') => return,
            _ => at,
        };
        self.mode = Mode::Columns(at);
    }
}

/// What a key did to a line that is typed.
enum Edited {
    Still,
    Left,
    Done,
    Completed,
}

fn edit(text: &mut String, key: KeyEvent) -> Edited {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => return Edited::Done,
        KeyCode::Esc => return Edited::Left,
        KeyCode::Tab => return Edited::Completed,
        KeyCode::Backspace => {
            text.pop();
        }
        KeyCode::Char(c) if !control && !c.is_control() && text.chars().count() < TYPED_MAX => {
            text.push(c);
        }
        _ => {}
    }
    Edited::Still
}

/// What may be meant by the beginning of a command.
pub fn meant(typed: &str) -> Vec<&'static str> {
    let all = Pane::ALL.map(Pane::name).into_iter().chain(COMMANDS);
    all.filter(|command| command.starts_with(typed)).collect()
}

fn completed(typed: &str) -> String {
    meant(typed).first().map_or_else(|| typed.to_owned(), |command| (*command).to_owned())
}

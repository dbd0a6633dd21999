//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proto::RoomNo;

use super::{App, Level, Mode, Pane, TYPED_MAX};
use crate::history::WINDOWS;
use crate::keymap::{Action, action};
use crate::panes::Table;

/// Rows that a page key moves by.
const PAGE: usize = 10;

impl App {
    pub(super) fn press(&mut self, key: KeyEvent) {
        match self.mode {
            Mode::Filter => self.type_filter(key),
            Mode::Watch | Mode::Help => {
                if let Some(action) = action(key) {
                    self.act(action);
                }
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Quit => self.quits = true,
            Action::Help if self.mode == Mode::Help => self.mode = Mode::Watch,
            Action::Help => (self.mode, self.help_from) = (Mode::Help, 0),
            Action::Up if self.mode == Mode::Help => {
                self.help_from = self.help_from.saturating_sub(1);
            }
            Action::Down if self.mode == Mode::Help => self.help_from += 1,
            Action::Back if self.mode == Mode::Help => self.mode = Mode::Watch,
            Action::Back => self.back(),
            Action::Enter => self.enter(),
            Action::Freeze => self.frozen = !self.frozen,
            Action::Filter => self.mode = Mode::Filter,
            Action::Sort => self.sort(),
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

    /// Another pane, from its top.
    fn show(&mut self, pane: Pane) {
        self.pane = pane;
        self.go_to(Level::Rooms);
    }

    fn go_to(&mut self, level: Level) {
        self.level = level;
        self.filter.clear();
        self.reverse = false;
        self.selected = None;
        self.cursor = 0;
        self.arrange();
    }

    /// Down: rooms, the sessions of one, one session.
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
            KeyCode::Char(c) if !control && self.filter.chars().count() < TYPED_MAX => {
                self.filter.push(c);
            }
            _ => {}
        }
        self.selected = None;
        self.cursor = 0;
        self.arrange();
    }
}

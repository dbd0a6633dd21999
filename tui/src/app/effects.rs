//! What the dashboard asks the world for: acts, exports, copies. Deciding is here, doing is in `main`.

use proto::RoomNo;
use serde_json::{Value, json};

use super::{App, Level, Mode};
use crate::grid::{Grid, Row};
use crate::panes::{self, Table};
use crate::theme::Theme;

/// Something to be done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A request to control.
    Act(Value),
    /// A file of the headers of this session's packets.
    Capture(String),
    /// Text for the terminal's clipboard.
    Copy(String),
    /// A file to be made in the present folder: its name and text.
    Export(String, String),
    /// The shell wants the terminal for a while.
    Suspend,
}

/// An act that waits for its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What will be done.
    pub effect: Effect,
    /// What it does, in words.
    pub question: String,
    /// What must be typed.
    pub word: String,
    /// What was typed.
    pub typed: String,
}

/// Acts that keys stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Refuse newcomers, or take them again.
    Drain,
    /// End the session.
    Kick,
    /// End the room.
    End,
    /// Trace the next packets of the room.
    Trace,
    /// Write the headers of the session's next packets to a file.
    Capture,
}

/// Packets of a trace.
const TRACE_PACKETS: u16 = 50;

impl App {
    /// What is to be done now; once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Asks for the word that an act needs; says why there is none.
    pub(super) fn intend(&mut self, intent: Intent) {
        if !self.admin {
            return self.say("read-only: start with --admin to act".to_owned());
        }
        let pending = match intent {
            Intent::Drain => Some(self.drain()),
            Intent::Kick => self.kick(),
            Intent::End => self.of_room("room.end", "End room", "all its sessions end now"),
            Intent::Trace => self.of_room("trace.start", "Trace room", "see roomlane trace show"),
            Intent::Capture => self.capture(),
        };
        match pending {
            Some(pending) => self.mode = Mode::Confirm(pending),
            None if [Intent::Kick, Intent::Capture].contains(&intent) => {
                self.say("go to a member first: 3 Enter".to_owned())
            }
            None => self.say("go to a room first: 3".to_owned()),
        }
    }

    fn drain(&self) -> Pending {
        let word = crate::grid::plain(self.about["name"].as_str().unwrap_or("node"));
        let (request, question) = match self.control.is_draining() {
            true => (json!({"act": "undrain"}), "Take new sessions again"),
            false => (json!({"act": "drain"}), "Drain: refuse new sessions, keep the others"),
        };
        let effect = Effect::Act(request);
        Pending { effect, question: question.to_owned(), word, typed: String::new() }
    }

    fn kick(&self) -> Option<Pending> {
        let kick = |id: &str| Effect::Act(json!({"act": "session.kick", "session": id}));
        self.of_session(kick, "Kick", "it may join again with valid tokens")
    }

    fn capture(&self) -> Option<Pending> {
        let capture = |id: &str| Effect::Capture(id.to_owned());
        self.of_session(capture, "Capture", "headers alone, to a file here")
    }

    fn of_session(
        &self,
        effect: impl FnOnce(&str) -> Effect,
        verb: &str,
        what: &str,
    ) -> Option<Pending> {
        let session = self.session_at_cursor()?;
        let id = session.id().to_string();
        Some(Pending {
            effect: effect(&id),
            question: format!("{verb} {id}: {what}"),
            word: if self.strict { id } else { self.masked(&session.row.label) },
            typed: String::new(),
        })
    }

    fn of_room(&self, act: &str, verb: &str, what: &str) -> Option<Pending> {
        let room = self.room_at_cursor()?;
        let number = room.row.room.to_string();
        let mut request =
            json!({"act": act, "sdkappid": room.row.app, "room": number, "room_type": "internal"});
        if act == "trace.start" {
            request["count"] = TRACE_PACKETS.into();
        }
        Some(Pending {
            effect: Effect::Act(request),
            question: format!("{verb} {number}: {what}"),
            word: if self.strict { number } else { self.label(&room) },
            typed: String::new(),
        })
    }

    /// Enter was pressed under an act.
    pub(super) fn confirm(&mut self, pending: Pending) {
        if pending.typed == pending.word {
            self.say("asked control".to_owned());
            self.effects.push(pending.effect);
        } else {
            self.say(format!("not done: {} was not typed", pending.word));
        }
    }

    /// What is told in the last line until the next key.
    pub(super) fn say(&mut self, text: String) {
        self.said = Some(text);
    }

    /// The present table as a file.
    pub(super) fn export(&mut self, is_json: bool) {
        let table = self.table();
        let grid = panes::grid(self, table, &Theme::plain(true));
        let unix_s = self.seen.as_ref().map_or(0, |seen| seen.unix_ms) / 1000;
        let (end, text) = match is_json {
            true => ("json", json_text(table, &grid)),
            false => ("csv", csv_text(&grid)),
        };
        self.effects
            .push(Effect::Export(format!("roomlane-{}-{unix_s}.{end}", table.name()), text));
    }

    /// The row under the cursor as text.
    pub(super) fn copy(&mut self) {
        let grid = panes::grid(self, self.table(), &Theme::plain(true));
        match grid.rows.get(self.cursor) {
            Some(Row { cells, .. }) => {
                let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
                self.effects.push(Effect::Copy(cells.join(" ")));
            }
            None => self.say("there is no row to copy".to_owned()),
        }
    }

    /// Goes to a room by its mask or number.
    pub(super) fn go_to_room(&mut self, name: &str) {
        let found = self.all_rooms().iter().find(|room| {
            room.row.room.to_string() == name || (!self.strict && self.label(room) == name)
        });
        match found.map(|room| RoomNo(room.row.room)) {
            Some(room) => {
                self.pane = super::Pane::Rooms;
                self.go_to(Level::Room(room));
            }
            None => self.say(format!("no room {}", crate::grid::plain(name))),
        }
    }
}

fn json_text(table: Table, grid: &Grid) -> String {
    let rows = grid.rows.iter().map(|row| {
        let members =
            grid.columns.iter().zip(&row.cells).filter(|(column, _)| !column.name.is_empty());
        let object: serde_json::Map<String, Value> =
            members.map(|(column, cell)| (column.name.to_owned(), cell.trim().into())).collect();
        Value::Object(object)
    });
    let schema = format!("roomlane.top.{}.v1", table.name());
    format!("{}\n", json!({"schema": schema, "rows": rows.collect::<Vec<_>>()}))
}

/// RFC 4180. A cell that a spreadsheet would compute gets an apostrophe in front.
fn csv_text(grid: &Grid) -> String {
    let cell = |text: &str| {
        let text = text.trim();
        let text = match text.starts_with(['=', '+', '-', '@']) && text.parse::<f64>().is_err() {
            true if text.len() > 1 => format!("'{text}"),
            _ => text.to_owned(),
        };
        match text.contains([',', '"']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    let line =
        |cells: &mut dyn Iterator<Item = &str>| cells.map(cell).collect::<Vec<_>>().join(",");
    let mut text = line(&mut grid.columns.iter().map(|column| column.name)) + "\r\n";
    for row in &grid.rows {
        text += &line(&mut row.cells.iter().map(String::as_str));
        text += "\r\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::word;

    #[test]
    fn exports_cannot_be_formulas_or_break_their_lines() {
        const COLUMNS: [crate::grid::Column; 2] = [word("a", 1, 0), word("b", 1, 0)];
        let rows = vec![
            Row::new(vec!["=1+1".into(), "x, \"y\"".into()]),
            Row::new(vec!["-5".into(), "-".into()]),
        ];
        let grid = Grid { title: String::new(), columns: &COLUMNS, rows };
        assert_eq!(csv_text(&grid), "a,b\r\n'=1+1,\"x, \"\"y\"\"\"\r\n-5,-\r\n");
        let json: Value = serde_json::from_str(&json_text(Table::Drops, &grid)).unwrap();
        assert_eq!(json["rows"][0], json!({"a": "=1+1", "b": "x, \"y\""}));
    }
}

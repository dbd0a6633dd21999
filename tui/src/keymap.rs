//! Keys: one table, from which the help and the settings file are printed, too.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::app::Intent;

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Show or hide the keys.
    Help,
    /// Close what is open; clear the filter; go up.
    Back,
    /// Hold the picture still.
    Freeze,
    /// Type a filter.
    Filter,
    /// The next order of rows.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Hide labels; there is no way back but to start anew.
    Strict,
    /// Type a command.
    Palette,
    /// Choose columns.
    Columns,
    /// The table alone.
    Expand,
    /// Other colours.
    Theme,
    /// Copy the row.
    Copy,
    /// Write the table to a file.
    Export,
    /// Give the terminal to the shell.
    Suspend,
    /// Change something, with --admin.
    Act(Intent),
    /// Go down into the row.
    Enter,
    /// Curves cover more time.
    Wider,
    /// Curves cover less time.
    Narrower,
    /// A pane by its place.
    Pane(usize),
    /// The next of these.
    NextPane,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// Ten rows up.
    PageUp,
    /// Ten rows down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
}

/// A key with its modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

/// Keys that are no character, as they are written.
const NAMED: [(&str, KeyCode); 13] = [
    ("Enter", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Tab", KeyCode::Tab),
    ("Space", KeyCode::Char(' ')),
    ("Backspace", KeyCode::Backspace),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("PgUp", KeyCode::PageUp),
    ("PgDn", KeyCode::PageDown),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
];

/// What a key may be, for people.
pub const KEYS: &str = "one character, ctrl- and a letter, F1 to F12, Enter, Esc, Tab, Space, \
                        Backspace, up, down, left, right, PgUp, PgDn, Home, End";

impl Key {
    /// Always ends the program; nothing else may have it.
    pub const INTERRUPT: Key = Key { code: KeyCode::Char('c'), ctrl: true };
}

impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Key, ()> {
        let plain = |code| Ok(Key { code, ctrl: false });
        if let Some((_, code)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return plain(*code);
        }
        if let Some(number) = text.strip_prefix(['F', 'f']).and_then(|n| n.parse().ok()) {
            return if (1..=12).contains(&number) { plain(KeyCode::F(number)) } else { Err(()) };
        }
        let (rest, ctrl) = match text.strip_prefix("ctrl-") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut characters = rest.chars();
        match (characters.next(), characters.next()) {
            (Some(c), None) if ctrl && c.is_ascii_lowercase() => {
                Ok(Key { code: KeyCode::Char(c), ctrl })
            }
            (Some(c), None) if !ctrl && c != ' ' && crate::grid::plain(rest) == rest => {
                plain(KeyCode::Char(c))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        match (NAMED.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, KeyCode::F(number)) => write!(f, "F{number}"),
            (None, _) => f.write_str("?"),
        }
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its word in the settings file.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    action: Action,
    /// What stands for it.
    pub keys: Vec<Key>,
}

impl Binding {
    /// As the help writes its keys.
    pub fn keys_text(&self) -> String {
        self.keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ")
    }
}

use Action as A;

/// An act's word, itself, what it does, its keys.
type Preset = (&'static str, Action, &'static str, &'static [&'static str]);

/// Every act, its keys at the start, and what it does.
const DEFAULTS: [Preset; 39] = [
    ("quit", A::Quit, "quit", &["q", "ctrl-c"]),
    ("help", A::Help, "show or hide this help", &["?"]),
    ("overview", A::Pane(0), "overview", &["1"]),
    ("workers", A::Pane(1), "workers: which core is hottest", &["2"]),
    ("rooms", A::Pane(2), "rooms, dearest first; Enter: members", &["3"]),
    ("drops", A::Pane(3), "drops: what, why, since when, who", &["4"]),
    ("latency", A::Pane(4), "latency: how late packets are", &["5"]),
    ("ports", A::Pane(5), "ports", &["6"]),
    ("events", A::Pane(6), "events: what changed, ends, who did it", &["7"]),
    ("apps", A::Pane(7), "apps: who fills a quota", &["8"]),
    ("config", A::Pane(8), "configuration", &["9"]),
    ("next_pane", A::NextPane, "the next pane", &["Tab"]),
    ("enter", A::Enter, "down: room, member, its streams", &["Enter", "l", "right"]),
    ("back", A::Back, "up; clear the filter", &["Esc", "h", "left"]),
    ("freeze", A::Freeze, "hold the picture still", &["f"]),
    ("filter", A::Filter, "only rows with these letters", &["/"]),
    ("sort", A::Sort, "the next order", &["s"]),
    ("reverse", A::Reverse, "reverse the order", &["r"]),
    ("command", A::Palette, "type a command, Tab completes", &[":"]),
    ("expand", A::Expand, "the table alone, and back", &["e"]),
    ("columns", A::Columns, "choose columns", &["c"]),
    ("theme", A::Theme, "other colours", &["t"]),
    ("copy", A::Copy, "copy the row (masked)", &["y"]),
    ("export", A::Export, "write the table to a CSV file here", &["x"]),
    ("strict", A::Strict, "hide labels", &["p"]),
    ("wider", A::Wider, "curves cover more time", &["+"]),
    ("narrower", A::Narrower, "curves cover less time", &["-"]),
    ("up", A::Up, "up", &["k", "up"]),
    ("down", A::Down, "down", &["j", "down"]),
    ("page_up", A::PageUp, "ten up", &["PgUp", "ctrl-u"]),
    ("page_down", A::PageDown, "ten down", &["PgDn", "ctrl-d"]),
    ("first", A::First, "first", &["g", "Home"]),
    ("last", A::Last, "last", &["G", "End"]),
    ("suspend", A::Suspend, "back to the shell; fg returns", &["ctrl-z"]),
    ("drain", A::Act(Intent::Drain), "--admin: drain the node, or undrain", &["d"]),
    ("kick", A::Act(Intent::Kick), "--admin: kick the member", &["K"]),
    ("end", A::Act(Intent::End), "--admin: end the room", &["E"]),
    ("trace", A::Act(Intent::Trace), "--admin: trace the room's packets", &["T"]),
    ("capture", A::Act(Intent::Capture), "--admin: the member's headers to a file", &["C"]),
];

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap(Vec<Binding>);

impl Default for Keymap {
    fn default() -> Self {
        let binding = |(name, action, what, keys): &Preset| {
            let keys = keys.iter().map(|key| key.parse().expect("a key, by the test below"));
            Binding { name, action: *action, what, keys: keys.collect() }
        };
        Keymap(DEFAULTS.iter().map(binding).collect())
    }
}

impl Keymap {
    /// Its lines.
    pub fn bindings(&self) -> &[Binding] {
        &self.0
    }

    /// Gives an act other keys. `false` when there is no such act.
    pub fn bind(&mut self, name: &str, keys: Vec<Key>) -> bool {
        let binding = self.0.iter_mut().find(|binding| binding.name == name);
        binding.map(|binding| binding.keys = keys).is_some()
    }

    /// The acts that a key stands for; it must not be several.
    pub fn acts(&self, key: Key) -> impl Iterator<Item = &'static str> {
        let has = move |binding: &&Binding| binding.keys.contains(&key);
        self.0.iter().filter(has).map(|binding| binding.name)
    }

    /// What a key press means, if anything. Shift is part of the character that it makes.
    pub fn action(&self, key: KeyEvent) -> Option<Action> {
        let modifiers = key.modifiers.difference(KeyModifiers::SHIFT);
        let ctrl = match modifiers {
            KeyModifiers::NONE => false,
            KeyModifiers::CONTROL => true,
            _ => return None,
        };
        let key = Key { code: key.code, ctrl };
        self.0.iter().find(|binding| binding.keys.contains(&key)).map(|binding| binding.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_one_is_written_as_it_is_read_and_means_one_thing() {
        let keys = Keymap::default();
        for (name, _, _, texts) in DEFAULTS {
            for text in texts {
                let key: Key = text.parse().unwrap();
                assert_eq!(key.to_string(), *text);
                assert_eq!(keys.acts(key).collect::<Vec<_>>(), [name]);
            }
        }
        for text in ["", "ab", "ctrl-", "ctrl-C", "ctrl-ab", "F13", " ", "\u{1b}", "\u{202e}"] {
            assert_eq!(text.parse::<Key>(), Err(()), "{text:?}");
        }
        assert_eq!("f5".parse::<Key>().unwrap().to_string(), "F5");
    }

    #[test]
    fn shifted_letters_and_control_are_told_apart() {
        let keys = Keymap::default();
        let key = |code, mods| keys.action(KeyEvent::new(code, mods));
        let (none, ctrl) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Action::Last));
        assert_eq!(key(KeyCode::Char('g'), none), Some(Action::First));
        assert_eq!(key(KeyCode::Char('c'), ctrl), Some(Action::Quit));
        assert_eq!(key(KeyCode::Char('c'), none), Some(Action::Columns));
        assert_eq!(key(KeyCode::Char('k'), none), Some(Action::Up));
        assert_eq!(key(KeyCode::Char('K'), KeyModifiers::SHIFT), Some(Action::Act(Intent::Kick)));
        assert_eq!(key(KeyCode::Char('w'), none), None);
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::ALT), None);
    }
}

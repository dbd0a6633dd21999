//! Keys: one table, from which the help is printed, too.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Show or hide the keys.
    Help,
    /// Close what is open; clear the filter.
    Back,
    /// Hold the picture still.
    Freeze,
    /// Type a filter.
    Filter,
    /// The next order of rooms.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Hide labels; there is no way back but to start anew.
    Strict,
    /// Workers, rooms and drops together.
    Overview,
    /// The workers alone.
    Workers,
    /// The rooms alone.
    Rooms,
    /// The drops alone.
    Drops,
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

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// As the help writes the keys.
    pub keys: &'static str,
    /// What they do.
    pub what: &'static str,
    action: Action,
    codes: &'static [(KeyCode, KeyModifiers)],
}

const NONE: KeyModifiers = KeyModifiers::NONE;
const CTRL: KeyModifiers = KeyModifiers::CONTROL;

macro_rules! bindings {
    ($($keys:literal $action:ident $what:literal [$($code:expr, $mods:ident);+];)*) => {
        /// Every key.
        pub const BINDINGS: &[Binding] = &[$(Binding {
            keys: $keys, what: $what, action: Action::$action, codes: &[$(($code, $mods)),+],
        },)*];
    };
}

bindings! {
    "q, ctrl-c" Quit "quit" [KeyCode::Char('q'), NONE; KeyCode::Char('c'), CTRL];
    "?, h" Help "show or hide this help" [KeyCode::Char('?'), NONE; KeyCode::Char('h'), NONE];
    "Esc" Back "close, clear the filter" [KeyCode::Esc, NONE];
    "f" Freeze "hold the picture still" [KeyCode::Char('f'), NONE];
    "/" Filter "filter rooms by label, number or app" [KeyCode::Char('/'), NONE];
    "s" Sort "sort rooms by traffic, sessions, age" [KeyCode::Char('s'), NONE];
    "r" Reverse "reverse the order" [KeyCode::Char('r'), NONE];
    "p" Strict "hide labels" [KeyCode::Char('p'), NONE];
    "1" Overview "overview" [KeyCode::Char('1'), NONE];
    "2" Workers "workers alone" [KeyCode::Char('2'), NONE];
    "3" Rooms "rooms alone" [KeyCode::Char('3'), NONE];
    "4" Drops "drops alone" [KeyCode::Char('4'), NONE];
    "Tab" NextPane "the next of these" [KeyCode::Tab, NONE];
    "k, up" Up "up" [KeyCode::Char('k'), NONE; KeyCode::Up, NONE];
    "j, down" Down "down" [KeyCode::Char('j'), NONE; KeyCode::Down, NONE];
    "PgUp, ctrl-u" PageUp "ten up" [KeyCode::PageUp, NONE; KeyCode::Char('u'), CTRL];
    "PgDn, ctrl-d" PageDown "ten down" [KeyCode::PageDown, NONE; KeyCode::Char('d'), CTRL];
    "g, Home" First "first" [KeyCode::Char('g'), NONE; KeyCode::Home, NONE];
    "G, End" Last "last" [KeyCode::Char('G'), NONE; KeyCode::End, NONE];
}

/// What a key press means, if anything. Shift is part of the character that it makes.
pub fn action(key: KeyEvent) -> Option<Action> {
    let modifiers = key.modifiers.difference(KeyModifiers::SHIFT);
    let is = |(code, mods): &(KeyCode, KeyModifiers)| *code == key.code && *mods == modifiers;
    BINDINGS.iter().find(|binding| binding.codes.iter().any(is)).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        let codes: Vec<_> = BINDINGS.iter().flat_map(|binding| binding.codes).collect();
        for (index, code) in codes.iter().enumerate() {
            assert!(!codes[index + 1..].contains(code), "{code:?}");
        }
    }

    #[test]
    fn shifted_letters_and_control_are_told_apart() {
        let key = |code, mods| action(KeyEvent::new(code, mods));
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Action::Last));
        assert_eq!(key(KeyCode::Char('g'), NONE), Some(Action::First));
        assert_eq!(key(KeyCode::Char('c'), CTRL), Some(Action::Quit));
        assert_eq!(key(KeyCode::Char('c'), NONE), None);
    }
}

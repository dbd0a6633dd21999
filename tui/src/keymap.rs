//! Keys: one table, from which the help is printed, too.

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
    ($($keys:literal $action:expr, $what:literal [$($code:expr, $mods:ident);+];)*) => {
        /// Every key.
        pub const BINDINGS: &[Binding] = &[$(Binding {
            keys: $keys, what: $what, action: $action, codes: &[$(($code, $mods)),+],
        },)*];
    };
}

use Action as A;
use KeyCode::Char;

bindings! {
    "q, ctrl-c" A::Quit, "quit" [Char('q'), NONE; Char('c'), CTRL];
    "?" A::Help, "show or hide this help" [Char('?'), NONE];
    "1" A::Pane(0), "overview" [Char('1'), NONE];
    "2" A::Pane(1), "workers: which core is hottest" [Char('2'), NONE];
    "3" A::Pane(2), "rooms, dearest first; Enter: members" [Char('3'), NONE];
    "4" A::Pane(3), "drops: what, why, since when, who" [Char('4'), NONE];
    "5" A::Pane(4), "latency: how late packets are" [Char('5'), NONE];
    "6" A::Pane(5), "ports" [Char('6'), NONE];
    "7" A::Pane(6), "events: what changed, ends, who did it" [Char('7'), NONE];
    "8" A::Pane(7), "apps: who fills a quota" [Char('8'), NONE];
    "9" A::Pane(8), "configuration" [Char('9'), NONE];
    "Tab" A::NextPane, "the next pane" [KeyCode::Tab, NONE];
    "Enter, l" A::Enter, "down: room, member, its streams" [KeyCode::Enter, NONE; Char('l'), NONE; KeyCode::Right, NONE];
    "Esc, h" A::Back, "up; clear the filter" [KeyCode::Esc, NONE; Char('h'), NONE; KeyCode::Left, NONE];
    "f" A::Freeze, "hold the picture still" [Char('f'), NONE];
    "/" A::Filter, "only rows with these letters" [Char('/'), NONE];
    "s" A::Sort, "the next order" [Char('s'), NONE];
    "r" A::Reverse, "reverse the order" [Char('r'), NONE];
    ":" A::Palette, "type a command, Tab completes" [Char(':'), NONE];
    "e" A::Expand, "the table alone, and back" [Char('e'), NONE];
    "c" A::Columns, "choose columns" [Char('c'), NONE];
    "t" A::Theme, "other colours" [Char('t'), NONE];
    "y" A::Copy, "copy the row (masked)" [Char('y'), NONE];
    "x" A::Export, "write the table to a CSV file here" [Char('x'), NONE];
    "p" A::Strict, "hide labels" [Char('p'), NONE];
    "+ -" A::Wider, "curves cover more, less time" [Char('+'), NONE];
    "" A::Narrower, "" [Char('-'), NONE];
    "k, up" A::Up, "up" [Char('k'), NONE; KeyCode::Up, NONE];
    "j, down" A::Down, "down" [Char('j'), NONE; KeyCode::Down, NONE];
    "PgUp, ctrl-u" A::PageUp, "ten up" [KeyCode::PageUp, NONE; Char('u'), CTRL];
    "PgDn, ctrl-d" A::PageDown, "ten down" [KeyCode::PageDown, NONE; Char('d'), CTRL];
    "g, Home" A::First, "first" [Char('g'), NONE; KeyCode::Home, NONE];
    "G, End" A::Last, "last" [Char('G'), NONE; KeyCode::End, NONE];
    "ctrl-z" A::Suspend, "back to the shell; fg returns" [Char('z'), CTRL];
    "d" A::Act(Intent::Drain), "--admin: drain the node, or undrain" [Char('d'), NONE];
    "K" A::Act(Intent::Kick), "--admin: kick the member" [Char('K'), NONE];
    "E" A::Act(Intent::End), "--admin: end the room" [Char('E'), NONE];
    "T" A::Act(Intent::Trace), "--admin: trace the room's packets" [Char('T'), NONE];
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
        assert_eq!(key(KeyCode::Char('c'), NONE), Some(Action::Columns));
        assert_eq!(key(KeyCode::Char('k'), NONE), Some(Action::Up));
        assert_eq!(key(KeyCode::Char('K'), KeyModifiers::SHIFT), Some(Action::Act(Intent::Kick)));
        assert_eq!(key(KeyCode::Char('w'), NONE), None);
    }
}

//! Tables as data: what a pane shows is drawn, exported and copied from the same rows.

/// How a row looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As everything.
    #[default]
    Plain,
    /// Look here.
    Bad,
    /// Unimportant.
    Dim,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name; also in exports.
    pub name: &'static str,
    /// Characters; of the growing one, the fewest.
    pub width: u16,
    /// Numbers stand on the right.
    pub is_number: bool,
    /// Where there is no room the highest goes first; zero stays.
    pub drop: u8,
    /// It takes what is left.
    pub grows: bool,
}

/// A column of words.
pub const fn word(name: &'static str, width: u16, drop: u8) -> Column {
    Column { name, width, is_number: false, drop, grows: false }
}

/// A column of numbers.
pub const fn number(name: &'static str, width: u16, drop: u8) -> Column {
    Column { name, width, is_number: true, drop, grows: false }
}

/// A column of words that takes what is left of the line.
pub const fn rest(name: &'static str, width: u16, drop: u8) -> Column {
    Column { name, width, is_number: false, drop, grows: true }
}

/// A column of curves over time that takes what is left; of what has no place the oldest goes.
pub const fn strip(name: &'static str, width: u16, drop: u8) -> Column {
    Column { name, width, is_number: true, drop, grows: true }
}

/// Characters of a curve in such a column: one for each look of the shortest window.
pub const STRIP: usize = 60;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// As many as there are columns.
    pub cells: Vec<String>,
    /// How it looks.
    pub tone: Tone,
}

impl Row {
    /// An ordinary row.
    pub fn new(cells: Vec<String>) -> Row {
        Row { cells, tone: Tone::Plain }
    }

    /// One that looks so.
    pub fn toned(cells: Vec<String>, tone: Tone) -> Row {
        Row { cells, tone }
    }
}

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    /// Above it.
    pub title: String,
    /// Its columns.
    pub columns: &'static [Column],
    /// Its rows.
    pub rows: Vec<Row>,
}

/// Text from elsewhere as it may stand on a terminal: escapes, control and bidirectional characters, and
/// whatever does not take exactly one place become `?`.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~' | '\u{c0}'..='\u{24f}');
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// Which columns stay within `width`, one blank apart, when the dispensable ones go in turn. A column is
/// whole or not there. `hidden` has a bit for each that nobody wants.
pub fn kept(columns: &[Column], hidden: u32, width: u16) -> Vec<bool> {
    let mut keep: Vec<bool> = (0..columns.len()).map(|i| hidden & 1 << i == 0).collect();
    loop {
        let widths = columns.iter().zip(&keep).filter(|(_, keep)| **keep);
        if widths.map(|(column, _)| column.width + 1).sum::<u16>() <= width + 1 {
            return keep;
        }
        let droppable = (0..columns.len()).filter(|i| keep[*i] && columns[*i].drop > 0);
        match droppable.max_by_key(|i| columns[*i].drop) {
            Some(index) => keep[index] = false,
            None => return keep,
        }
    }
}

/// Seconds in at most four characters.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of packets per second, in at most six characters.
pub fn short(number: f64) -> String {
    match number {
        n if n < 9_999.5 => format!("{n:.0}"),
        n if n < 999_950.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_950_000.0 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_whole_by_their_rank_and_hidden_ones_first() {
        const COLUMNS: [Column; 4] =
            [word("name", 10, 0), number("a", 5, 1), number("b", 5, 2), number("c", 5, 0)];
        assert_eq!(kept(&COLUMNS, 0, 28), [true; 4]);
        assert_eq!(kept(&COLUMNS, 0, 27), [true, true, false, true]);
        assert_eq!(kept(&COLUMNS, 0, 20), [true, false, false, true]);
        assert_eq!(kept(&COLUMNS, 2, 27), [true, false, true, true]);
        assert_eq!(kept(&COLUMNS, 0, 3), [true, false, false, true], "what stays is cut");
    }

    #[test]
    fn text_from_elsewhere_cannot_write_to_the_terminal() {
        assert_eq!(plain("M\u{fc}nchen-1 a"), "M\u{fc}nchen-1 a");
        assert_eq!(plain("\x1b[2J\u{9b}31m\u{202e}evil\u{200b}\u{5d0}\r\n"), "?[2J?31m?evil????");
    }

    #[test]
    fn numbers_stay_short() {
        let all =
            [(0.0, "0"), (9_999.4, "9999"), (12_345.0, "12.3k"), (1.5e6, "1.5M"), (2e9, "2.0G")];
        for (number, text) in all {
            assert_eq!(short(number), text);
        }
    }
}

//! Tables for people: columns as wide as they must be, numbers to the right.

use std::cmp::Ordering;
use std::io::{self, Write};

use serde_json::Value;

/// Rows of text under column names.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// The same as `rows` for programs, where every row has one.
    objects: Vec<Value>,
}

#[derive(Debug, Clone)]
struct Column {
    name: &'static str,
    right: bool,
}

impl Table {
    /// A name that starts with `>` is a column of numbers.
    pub fn new(names: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => Column { name, right: true },
            None => Column { name, right: false },
        };
        Table { columns: names.iter().map(column).collect(), rows: vec![], objects: vec![] }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The last row for programs.
    pub fn about(&mut self, object: Value) {
        self.objects.push(object);
        debug_assert_eq!(self.objects.len(), self.rows.len());
    }

    /// The rows for programs; none where rows have no objects.
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// Keeps and sorts rows by their objects.
    pub fn select(
        &mut self,
        keeps: impl Fn(&Value) -> bool,
        order: impl Fn(&Value, &Value) -> Ordering,
    ) {
        if self.objects.len() != self.rows.len() {
            return;
        }
        let rows = std::mem::take(&mut self.rows).into_iter();
        let mut both: Vec<_> = rows.zip(std::mem::take(&mut self.objects)).collect();
        both.retain(|(_, object)| keeps(object));
        both.sort_by(|(_, a), (_, b)| order(a, b));
        (self.rows, self.objects) = both.into_iter().unzip();
    }

    /// Changes the objects of rows, and with what comes of it a cell of each.
    pub fn rewrite(&mut self, column: &str, mut change: impl FnMut(&mut Value) -> Option<String>) {
        let at = self.columns.iter().position(|it| it.name == column);
        for (row, object) in self.rows.iter_mut().zip(&mut self.objects) {
            if let (Some(cell), Some(at)) = (change(object), at) {
                row[at] = cell;
            }
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes it, two blanks between columns, no blank at the end of a line.
    pub fn write(&self, out: &mut dyn Write, header: bool) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| row[at].chars().count());
                let name = if header { self.columns[at].name.len() } else { 0 };
                cells.max().unwrap_or(0).max(name)
            })
            .collect();
        if header {
            let names: Vec<String> = self.columns.iter().map(|c| c.name.to_owned()).collect();
            self.line(out, &names, &widths)?;
        }
        self.rows.iter().try_for_each(|row| self.line(out, row, &widths))
    }

    fn line(&self, out: &mut dyn Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let padding = " ".repeat(width - cell.chars().count());
            if !line.is_empty() {
                line.push_str("  ");
            }
            match column.right {
                true => line.extend([padding.as_str(), cell]),
                false => line.extend([cell.as_str(), &padding]),
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// A duration in seconds, short: `9s`, `3m20s`, `5h02m`, `4d03h`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A part of one, in percent with one digit.
pub fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["name", ">count", "what"]);
        table.row(vec!["a".into(), "1".into(), "x".into()]);
        table.row(vec!["longer".into(), "12345678".into(), String::new()]);
        let mut out = vec![];
        table.write(&mut out, true).unwrap();
        let expected = "name       count  what\na              1  x\nlonger  12345678\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut bare = vec![];
        table.write(&mut bare, false).unwrap();
        assert!(!String::from_utf8(bare).unwrap().contains("name"));
    }

    #[test]
    fn durations_are_short() {
        let all = [(9, "9s"), (200, "3m20s"), (18_120, "5h02m"), (356_400, "4d03h")];
        for (seconds, text) in all {
            assert_eq!(duration(seconds), text);
        }
    }
}

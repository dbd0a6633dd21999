//! Lists that the control daemon has, in the forms that `roomlane show` has: for people, JSON, CSV, chosen
//! and sorted by members.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::args::Output;
use crate::exit::Failure;
use crate::show::select::{Select, csv};
use crate::table::Table;

/// How a list is printed.
#[derive(Debug, Args, Clone)]
pub struct ListArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The form of the output; json is the same as --json.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Only rows where a member of --json has this value; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Sort rows by a member of --json; -KEY for the largest first.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Without the line of column names.
    #[arg(long)]
    pub no_header: bool,
}

/// A name that somebody else chose, as text for a terminal: what moves the cursor or turns the order of
/// letters is escaped, so that two names that differ look different.
pub fn shown(name: &str) -> String {
    let is_sly = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    name.chars().fold(String::new(), |mut text, c| {
        match is_sly(c) {
            true => text.extend(c.escape_unicode()),
            false => text.push(c),
        }
        text
    })
}

/// A list as it was fetched: its schema, the name of its rows, what else the answer has.
pub struct List<'a> {
    /// `roomlane.X.v1`.
    pub schema: &'a str,
    /// The member that holds the rows.
    pub rows: &'a str,
    /// A table whose rows have their objects.
    pub table: Table,
}

impl ListArgs {
    /// What a row must be, checked before anything is fetched.
    ///
    /// # Errors
    /// A filter that is none.
    pub fn select(&self) -> Result<Select, Failure> {
        Select::new(&self.filter, self.sort.as_deref())
    }

    /// Prints it.
    ///
    /// # Errors
    /// A key that no row has; stdout's.
    pub fn print(&self, select: &Select, list: List<'_>) -> Result<(), Failure> {
        let mut tables = [list.table];
        select.tables(&mut tables)?;
        let mut out = std::io::stdout().lock();
        match (self.json, self.output) {
            (true, _) | (_, Output::Json) => {
                let mut object = json!({ "schema": list.schema });
                object[list.rows] = tables[0].objects().into();
                writeln!(out, "{object}")?;
            }
            (_, Output::Csv) => csv(&mut out, &tables, &Value::Null, !self.no_header)?,
            (_, Output::Table) => tables[0].write(&mut out, !self.no_header)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_write_to_the_terminal_nor_turn_it_round() {
        assert_eq!(super::shown("al\u{1b}[2J\u{202e}ice"), "al\\u{1b}[2J\\u{202e}ice");
        assert_eq!(super::shown("zo\u{eb}"), "zo\u{eb}");
    }
}

//! Which rows are shown, in which order, in which form. Keys are the members of `--json`.

use std::cmp::Ordering;
use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::table::Table;

/// Rows to keep, and their order.
#[derive(Debug, Default)]
pub struct Select {
    filters: Vec<(String, String)>,
    /// The key, and whether the largest comes first.
    sort: Option<(String, bool)>,
}

impl Select {
    /// Filters are `key=value`; a key to sort by has `-` in front for the other direction.
    pub fn new(filters: &[String], sort: Option<&str>) -> Result<Select, Failure> {
        let filter = |text: &String| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::usage(format!("{text:?} is no filter; filters look like key=value"))),
        };
        let filters = filters.iter().map(filter).collect::<Result<_, _>>()?;
        let sort = sort.map(|key| match key.strip_prefix('-') {
            Some(key) => (key.to_owned(), true),
            None => (key.to_owned(), false),
        });
        Ok(Select { filters, sort })
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        self.filters.iter().map(|(key, _)| key).chain(self.sort.iter().map(|(key, _)| key))
    }

    fn keeps(&self, row: &Value) -> bool {
        self.filters.iter().all(|(key, value)| text(&row[key]) == *value)
    }

    fn order(&self, a: &Value, b: &Value) -> Ordering {
        let Some((key, is_reverse)) = &self.sort else { return Ordering::Equal };
        let order = match (a[key].as_f64(), b[key].as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => text(&a[key]).cmp(&text(&b[key])),
        };
        if *is_reverse { order.reverse() } else { order }
    }

    /// Tables whose rows have objects; the others stay.
    pub fn tables(&self, tables: &mut [Table]) -> Result<(), Failure> {
        if self.keys().next().is_none() {
            return Ok(());
        }
        let first = tables.iter().find_map(|table| table.objects().first());
        if let Some(first) = first
            && let Some(unknown) = self.keys().find(|key| first.get(key.as_str()).is_none())
        {
            let known: Vec<&str> = scalars(first).map(|(key, _)| key.as_str()).collect();
            let text = format!("no key {unknown:?} here; there are {}", known.join(", "));
            return Err(Failure::usage(text));
        }
        for table in tables {
            table.select(|row| self.keeps(row), |a, b| self.order(a, b));
        }
        Ok(())
    }

    /// Lists of objects that have the keys, wherever they are.
    pub fn json(&self, members: &mut Map<String, Value>) {
        if self.keys().next().is_some() {
            members.values_mut().for_each(|value| self.inside(value));
        }
    }

    fn inside(&self, value: &mut Value) {
        let Value::Array(rows) = value else { return };
        let has_all = |row: &Value| self.keys().all(|key| row.get(key.as_str()).is_some());
        if rows.first().is_some_and(has_all) {
            rows.retain(|row| self.keeps(row));
            rows.sort_by(|a, b| self.order(a, b));
        } else {
            let members = rows.iter_mut().filter_map(Value::as_object_mut);
            members.flat_map(Map::values_mut).for_each(|value| self.inside(value));
        }
    }
}

/// Members that fit one cell.
fn scalars(row: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = row.as_object().into_iter().flatten();
    members.filter(|(_, value)| !value.is_object() && !value.is_array())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A line of names, and one per row (RFC 4180, with LF). `whole` is the one row of a noun without rows.
pub fn csv(out: &mut dyn Write, tables: &[Table], whole: &Value, header: bool) -> io::Result<()> {
    let listed = tables.iter().map(Table::objects).find(|rows| !rows.is_empty());
    let alone = [whole.clone()];
    let has_lists = whole.as_object().into_iter().flatten().any(|(_, value)| value.is_array());
    let rows = match listed {
        Some(rows) => rows,
        None if has_lists || !whole.is_object() => return Ok(()),
        None => &alone[..],
    };
    let names: Vec<&String> = scalars(&rows[0]).map(|(name, _)| name).collect();
    if header {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        writeln!(out, "{}", names.join(","))?;
    }
    for row in rows {
        let cells: Vec<String> =
            names.iter().map(|name| quoted(&text(&row[name.as_str()]))).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn quoted(cell: &str) -> String {
    let cell: String = cell.chars().filter(|c| !c.is_control()).collect();
    // A spreadsheet takes a cell that begins so for a formula.
    let cell = if cell.starts_with(['=', '+', '@']) { format!("'{cell}") } else { cell };
    match cell.contains([',', '"']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[">n", "name"]);
        for (n, name) in [(10, "b"), (9, "a"), (100, "a")] {
            table.row(vec![n.to_string(), name.to_owned()]);
            table.about(json!({ "n": n, "name": name, "list": [] }));
        }
        table
    }

    fn shown(select: &Select) -> String {
        let (mut tables, mut out) = ([table()], vec![]);
        select.tables(&mut tables).unwrap();
        csv(&mut out, &tables, &Value::Null, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_kept_by_value_and_sorted_as_numbers() {
        let select = |filters: &[&str], sort| {
            let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
            Select::new(&filters, sort).unwrap()
        };
        assert_eq!(shown(&select(&[], Some("n"))), "9,a\n10,b\n100,a\n");
        assert_eq!(shown(&select(&[], Some("-n"))), "100,a\n10,b\n9,a\n");
        assert_eq!(shown(&select(&["name=a"], Some("-n"))), "100,a\n9,a\n");
        assert_eq!(shown(&select(&["name=z"], None)), "");
        let unknown = select(&[], Some("weight")).tables(&mut [table()]).unwrap_err();
        assert!(unknown.message.contains("there are n, name"), "{}", unknown.message);
        assert!(Select::new(&["name".to_owned()], None).is_err());
        let mut members = Map::from_iter([("rows".to_owned(), json!([{"n": 2}, {"n": 1}]))]);
        select(&[], Some("n")).json(&mut members);
        assert_eq!(members["rows"], json!([{"n": 1}, {"n": 2}]));
    }

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let mut table = Table::new(&["a"]);
        table.row(vec![String::new()]);
        table.about(json!({ "a": "x,\"y\"", "b": "=1+1", "c": "e\u{1b}[2J" }));
        let mut out = vec![];
        csv(&mut out, &[table], &Value::Null, true).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a,b,c\n\"x,\"\"y\"\"\",'=1+1,e[2J\n");
    }
}

//! What runs, by key; what the file says otherwise stands first.

use std::collections::HashMap;

use serde_json::Value;

use crate::app::App;
use crate::grid::{Column, Grid, Row, Tone, rest, word};

pub(super) const COLUMNS: [Column; 3] =
    [word("key", 39, 0), rest("in force", 16, 0), word("the file says", 30, 1)];

pub fn grid(app: &App) -> Grid {
    let diff: HashMap<&str, &Value> = app.control.diff["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry["key"].as_str()?, entry)))
        .collect();
    let file_says = |entry: &Value| {
        let (now, state) = (super::text(&entry["now"]), super::text(&entry["state"]));
        format!("{now} ({state})")
    };
    let mut rows: Vec<Row> = vec![];
    let settings = app.control.config["settings"].as_object();
    let known = |key: &str| settings.is_some_and(|settings| settings.contains_key(key));
    for (key, entry) in diff.iter().filter(|(key, _)| !known(key)) {
        let cells = vec![crate::grid::plain(key), super::text(&entry["was"]), file_says(entry)];
        rows.push(Row::toned(cells, Tone::Bad));
    }
    for (key, value) in settings.into_iter().flatten() {
        let (said, tone) = match diff.get(key.as_str()) {
            Some(entry) => (file_says(entry), Tone::Bad),
            None => (String::new(), Tone::Plain),
        };
        rows.push(Row::toned(vec![crate::grid::plain(key), super::text(value), said], tone));
    }
    rows.sort_by_key(|row| row.tone != Tone::Bad);
    let differ = match diff.len() {
        0 => "as in the file".to_owned(),
        count => format!("{count} keys differ from the file"),
    };
    let title = format!("Configuration: {differ}{}", super::control_words(app));
    Grid { title, columns: &COLUMNS, rows }
}

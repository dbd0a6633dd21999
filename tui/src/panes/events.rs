//! What ends soon and what somebody has to look after, then what happened, newest first: what this program
//! saw change, and what control remembers of joins, refusals, ends and acts, each with who did it.

use proto::GrantWord;
use serde_json::Value;

use crate::app::App;
use crate::grid::{Column, Grid, Row, Tone, age, rest, word};

pub(super) const COLUMNS: [Column; 3] =
    [word("UTC", 8, 0), word("kind", 8, 1), rest("what", 47, 0)];
/// Tokens that end within so many seconds are told.
const ENDING_S: u64 = 300;

pub fn grid(app: &App) -> Grid {
    let shown = app.order(super::Table::Events);
    let mut dated: Vec<(u64, Row)> = app
        .changes
        .iter()
        .map(|change| {
            let tone = if change.kind == "alarm" { Tone::Bad } else { Tone::Plain };
            let cells = vec![clock(change.unix_ms), change.kind.to_owned(), change.text.clone()];
            (change.unix_ms, Row::toned(cells, tone))
        })
        .collect();
    let notes = app.control.notes["notes"].as_array().into_iter().flatten();
    let has_apps = app.shares().len() > 1;
    dated.extend(notes.map(|note| noted(note, app.strict, has_apps)));
    let fits = |row: &Row| match shown {
        1 => row.cells[1] == "act",
        2 => matches!(row.cells[1].as_str(), "alarm" | "ended"),
        3 => row.cells[1] == "refusal",
        _ => true,
    };
    dated.retain(|(_, row)| fits(row));
    // Stable: what came later in its list is newer.
    dated.reverse();
    dated.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut rows = if shown == 0 { ending(app) } else { vec![] };
    if matches!(shown, 0 | 2) {
        rows.extend(incidents(app));
    }
    rows.extend(dated.into_iter().map(|(_, row)| row));
    let order = super::Table::Events.orders()[shown];
    let title = format!("Events: {order}{}", super::control_words(app));
    Grid { title, columns: &COLUMNS, rows }
}

/// `has_apps`: there are several, so that it matters whose it is.
fn noted(note: &Value, is_strict: bool, has_apps: bool) -> (u64, Row) {
    let at = note["until_ms"].as_u64().unwrap_or_default();
    let mut what = super::text(&note["what"]);
    if let Some(count @ 2..) = note["count"].as_u64() {
        what += &format!(" x{count}");
    }
    let masked = ["user", "room", "source"].iter().filter(|_| !is_strict);
    let keys = masked.chain(&["session"]).copied();
    let mut about: Vec<String> = keys
        .map(|key| &note[key])
        .filter(|v| v.is_string() && **v != "")
        .map(super::text)
        .collect();
    if let Some(app) = note["app"].as_u64().filter(|_| has_apps) {
        about.push(format!("app {app}"));
    }
    let kind = super::text(&note["kind"]);
    let tone = if matches!(kind.as_str(), "refusal" | "drop") { Tone::Bad } else { Tone::Plain };
    if !about.is_empty() {
        what += &format!(": {}", about.join(" "));
    }
    (at, Row::toned(vec![clock(at), kind, what], tone))
}

/// Incidents that nobody has closed, each with a glyph and the word for how far somebody has come.
fn incidents(app: &App) -> impl Iterator<Item = Row> + '_ {
    let all = app.control.incidents["incidents"].as_array().into_iter().flatten();
    all.filter(|incident| incident["state"] != "closed").map(|incident| {
        let of = |key: &str| super::text(&incident[key]);
        let is_open = incident["state"] == "open";
        let glyph = if is_open { "!" } else { "~" };
        let mut what = format!("{glyph} {} {} x{}", of("state"), of("event"), of("count"));
        if !app.strict && incident["about"].as_str().is_some_and(|about| !about.is_empty()) {
            what += &format!(": {}", of("about"));
        }
        what += &format!(" (incident show {})", of("incident"));
        let at = clock(incident["last_unix_ms"].as_u64().unwrap_or_default());
        let tone = if is_open { Tone::Bad } else { Tone::Plain };
        Row::toned(vec![at, "incident".to_owned(), what], tone)
    })
}

/// What will end by itself.
fn ending(app: &App) -> Vec<Row> {
    let mut rows = vec![];
    let mut line = |what: String| {
        let cells = vec!["soon".to_owned(), "ending".to_owned(), what];
        rows.push(Row::toned(cells, Tone::Bad));
    };
    if app.control.is_draining() {
        let sessions = app.control.drain["sessions"].as_u64().unwrap_or_default();
        line(match app.control.drain["deadline_s"].as_u64() {
            Some(left_s) => format!("the node drains: {sessions} sessions end in {}", age(left_s)),
            None => format!("the node drains: {sessions} sessions left, no deadline"),
        });
    }
    let now_s = app.now_ns() / 1_000_000_000;
    let sessions = app.seen.as_ref().map(|seen| &seen.snapshot.sessions);
    let left =
        sessions.into_iter().flatten().filter(|session| session.row.state < 2).map(|session| {
            u64::from(GrantWord(session.row.grant).deadline_s()).saturating_sub(now_s)
        });
    let soon: Vec<u64> = left.filter(|left_s| *left_s <= ENDING_S).collect();
    if let Some(first_s) = soon.iter().min() {
        line(format!("tokens of {} sessions, the first in {}", soon.len(), age(*first_s)));
    }
    let suspended = app.shares().iter().filter(|share| share.state == "suspended");
    for share in suspended.filter(|share| share.sessions > 0) {
        line(format!("app {} is suspended: {} sessions left", share.app, share.sessions));
    }
    rows
}

/// A time of the day, UTC.
pub fn clock(unix_ms: u64) -> String {
    let of_day = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

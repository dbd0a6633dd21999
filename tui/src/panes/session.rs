//! The sessions of a room, each with what is the matter with it; one session in full.

use proto::snapshot::SessionRow;
use proto::{GrantWord, Privileges};
use serde_json::Value;
use stats::{SessionView, session_state};

use crate::app::App;
use crate::grid::{Column, Grid, Row, Tone, age, number, rest, short, word};
use crate::theme::Theme;

/// Without an authentic packet for so long a peer is silent; seconds.
const SILENT_S: u64 = 5;
/// Part of its packets that a publisher may lose before it is said.
const LOSS_MAX: f64 = 0.05;

pub(super) const COLUMNS: [Column; 10] = [
    word("label", 16, 0),
    word("session", 10, 4),
    rest("what is the matter", 24, 0),
    number("pub", 3, 3),
    number("slots", 5, 5),
    number("in/s", 6, 0),
    number("out/s", 6, 0),
    number("lost", 6, 2),
    number("forged", 6, 1),
    number("age", 4, 6),
];

pub fn list(app: &App, theme: &Theme) -> Grid {
    let Some(seen) = &app.seen else { return Grid::default() };
    let rows = app.sessions.iter().map(|session| {
        let row = &session.row;
        let (is_bad, words) = judge(app, session);
        let (rx, tx) = app.session_rate(session);
        let age_s = seen.snapshot.taken_ns.saturating_sub(row.opened_ns) / 1_000_000_000;
        let sign = if is_bad { theme.bad_sign() } else { theme.good_sign() };
        let cells = vec![
            app.masked(&row.label),
            session.id().to_string(),
            format!("{sign} {words}"),
            row.publications.to_string(),
            row.slots.to_string(),
            short(rx),
            short(tx),
            row.rx_lost.to_string(),
            row.auth_failures.to_string(),
            age(age_s),
        ];
        Row::toned(cells, if is_bad { Tone::Bad } else { Tone::Plain })
    });
    let rows = rows.collect();
    let room = app.room_at_cursor().map_or_else(|| "ended".to_owned(), |room| app.label(&room));
    let order = super::Table::Sessions.orders()[app.order(super::Table::Sessions)];
    let mut title = format!("Room {room}: {} sessions by {order}", app.sessions.len());
    if !app.filter.is_empty() {
        title += &format!(" /{}", app.filter);
    }
    Grid { title, columns: &COLUMNS, rows }
}

/// Whether something is the matter with a session, and what, in a few words: the first thing that keeps
/// its media from flowing.
pub fn judge(app: &App, session: &SessionView) -> (bool, String) {
    let row = &session.row;
    let now_ns = app.now_ns();
    let seconds = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000_000;
    let grant = GrantWord(row.grant);
    let bad = |words: &str| (true, words.to_owned());
    if row.state == 3 {
        return bad("closed");
    }
    if grant.0 == 0 {
        return bad("kicked, or its room ended");
    }
    if row.state == 2 || now_ns / 1_000_000_000 >= u64::from(grant.deadline_s()) {
        return bad("its tokens ended");
    }
    if row.heard_ns == 0 {
        return match row.auth_failures {
            0 => (true, format!("nothing arrived for {} s", seconds(row.opened_ns))),
            _ => bad("all that arrives is forged"),
        };
    }
    if seconds(row.heard_ns) >= SILENT_S {
        return (true, format!("silent for {} s", seconds(row.heard_ns)));
    }
    if row.publications == 0 {
        return (false, "listens".to_owned());
    }
    let sends = Privileges::SEND_AUDIO | Privileges::SEND_VIDEO | Privileges::SEND_SUBSTREAM;
    if grant.privileges().0 & sends == 0 {
        return bad("may not send");
    }
    let (rx, _) = app.session_rate(session);
    if rx == 0.0 {
        return bad("sends no packets now");
    }
    let loss = loss(row);
    if loss > LOSS_MAX {
        return (true, format!("sends; {:.0} % is lost", loss * 100.0));
    }
    (false, "sends".to_owned())
}

fn loss(row: &SessionRow) -> f64 {
    match row.rx_packets + row.rx_lost {
        0 => 0.0,
        all => row.rx_lost as f64 / all as f64,
    }
}

pub(super) const DETAILS: [Column; 2] = [word("of the session", 14, 0), rest("", 30, 0)];

pub fn details(app: &App, theme: &Theme) -> Grid {
    let (Some(session), Some(seen)) = (app.session_at_cursor(), &app.seen) else {
        let title = "The session is gone; Esc goes back".to_owned();
        return Grid { title, columns: &DETAILS, rows: vec![] };
    };
    let row = &session.row;
    let label = app.masked(&row.label);
    let (is_bad, words) = judge(app, &session);
    let mut rows = vec![];
    let mut line = |name: &str, value: String| rows.push(Row::new(vec![name.to_owned(), value]));
    let sign = if is_bad { theme.bad_sign() } else { theme.good_sign() };
    line("now", format!("{sign} {words}"));
    line("who", format!("{label}  {}  member {}", session.id(), row.member));
    let ago = |then_ns: u64| match then_ns {
        0 => "never".to_owned(),
        _ => format!("{} ago", age(seen.snapshot.taken_ns.saturating_sub(then_ns) / 1_000_000_000)),
    };
    let state = session_state(row.state);
    line("state", format!("{state}; opened {}; heard {}", ago(row.opened_ns), ago(row.heard_ns)));
    line("may", rights(GrantWord(row.grant)));
    let now_s = seen.snapshot.taken_ns / 1_000_000_000;
    let left_s = u64::from(GrantWord(row.grant).deadline_s()).saturating_sub(now_s);
    line("tokens end", format!("in {}", age(left_s)));
    let (rx, tx) = app.session_rate(&session);
    line("in", format!("{}/s, {} packets, {} bytes", short(rx), row.rx_packets, row.rx_bytes));
    line("out", format!("{}/s, {} packets, {} bytes", short(tx), row.tx_packets, row.tx_bytes));
    line("lost", format!("{} ({:.1} %)", row.rx_lost, loss(row) * 100.0));
    line("forged", row.auth_failures.to_string());
    line("streams", format!("{} in, {} slots; Enter shows them", row.publications, row.slots));
    if app.control.session["session"] == session.id().to_string().as_str() {
        closer(&app.control.session, &mut line);
        notes(&app.control.session_notes, &mut line);
    }
    let title = format!("Session {label} {}{}", session.id(), super::control_words(app));
    Grid { title, columns: &DETAILS, rows }
}

fn rights(grant: GrantWord) -> String {
    let names = [
        (Privileges::SEND_AUDIO, "send audio"),
        (Privileges::SEND_VIDEO, "send video"),
        (Privileges::SEND_SUBSTREAM, "share screen"),
        (Privileges::RECEIVE_AUDIO, "hear"),
        (Privileges::RECEIVE_VIDEO, "see"),
        (Privileges::RECEIVE_SUBSTREAM, "see screen"),
    ];
    let has = names.iter().filter(|(bit, _)| grant.privileges().has(*bit));
    let has: Vec<&str> = has.map(|(_, name)| *name).collect();
    if has.is_empty() { "nothing".to_owned() } else { has.join(", ") }
}

/// What its shard told control of its transport; its streams have a table of their own.
fn closer(look: &Value, line: &mut impl FnMut(&str, String)) {
    let is = |key: &str| look["transport"][key] == true;
    let word = |key: &str, name: &str| format!("{} {name}", if is(key) { "has" } else { "no" });
    if look["transport"].is_object() {
        let words = [word("has_keys", "keys"), word("has_path", "path"), word("has_ice", "ICE")];
        line("transport", words.join(", "));
    }
}

/// What happened to it lately, newest first.
fn notes(trail: &Value, line: &mut impl FnMut(&str, String)) {
    for note in trail["notes"].as_array().into_iter().flatten().rev() {
        let at = super::events::clock(note["until_ms"].as_u64().unwrap_or_default());
        line(&at, format!("{}: {}", super::text(&note["kind"]), super::text(&note["what"])));
    }
}

//! The streams of a session: each SSRC that comes in, each slot that goes out, as its shard told control.

use serde_json::Value;

use crate::app::App;
use crate::grid::{Column, Grid, Row, Tone, number, rest, short, word};

/// Part of its packets that a stream may lose before it is said.
const LOSS_MAX: f64 = 0.05;

pub(super) const COLUMNS: [Column; 17] = [
    word("way", 3, 0),
    word("kind", 9, 0),
    word("codec", 5, 2),
    word("ssrc", 8, 6),
    number("stream", 10, 5),
    number("of member", 17, 11),
    number("layer", 5, 8),
    number("slot", 4, 7),
    number("kbit/s", 6, 0),
    number("packets", 9, 10),
    number("loss", 6, 0),
    number("jitter ms", 9, 3),
    number("rtt ms", 6, 4),
    number("nack", 5, 1),
    number("pli", 4, 4),
    number("again", 5, 9),
    rest("state", 15, 0),
];

pub fn grid(app: &App) -> Grid {
    let Some(session) = app.session_at_cursor() else {
        let title = "The session is gone; Esc goes back".to_owned();
        return Grid { title, columns: &COLUMNS, rows: vec![] };
    };
    let id = session.id().to_string();
    let mut streams: Vec<&Value> = app.streams(&id).collect();
    let number = |stream: &Value, key: &str| stream[key].as_f64().unwrap_or_default();
    let by = |key: &'static str| {
        move |one: &&Value, other: &&Value| number(other, key).total_cmp(&number(one, key))
    };
    match app.order(super::Table::Streams) {
        1 => streams.sort_by(by("bits_per_s")),
        2 => streams.sort_by(by("loss_ratio")),
        3 => streams.sort_by(by("jitter_ms")),
        _ => {}
    }
    let rows = streams.into_iter().map(row).collect::<Vec<_>>();
    let label = app.masked(&session.row.label);
    let order = super::Table::Streams.orders()[app.order(super::Table::Streams)];
    let words = super::control_words(app);
    let title = format!("Streams of {label} {id}: {} by {order}{words}", rows.len());
    Grid { title, columns: &COLUMNS, rows }
}

fn row(stream: &Value) -> Row {
    let count = |key: &str| stream[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
    let tenths = |key: &str| stream[key].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let loss = stream["loss_ratio"].as_f64().unwrap_or_default();
    let kind = super::text(&stream["kind"]);
    let cells = vec![
        super::text(&stream["direction"]),
        if stream["repairs"] == true { format!("{kind} rtx") } else { kind },
        super::text(&stream["codec"]),
        stream["ssrc"].as_u64().map_or("-".to_owned(), |ssrc| format!("{ssrc:08x}")),
        count("publication"),
        count("member"),
        count("layer"),
        count("slot"),
        stream["bits_per_s"].as_f64().map_or("-".to_owned(), |bits| short(bits / 1e3)),
        count("packets"),
        format!("{:.1}%", loss * 100.0),
        tenths("jitter_ms"),
        tenths("rtt_ms"),
        count("nacks"),
        count("plis"),
        count("sent_again"),
        super::text(&stream["state"]),
    ];
    let is_idle = stream["packets"].as_u64() == Some(0);
    let tone = match (loss > LOSS_MAX, is_idle) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Dim,
        (false, false) => Tone::Plain,
    };
    Row::toned(cells, tone)
}

//! The rooms, by masked name.

use crate::app::App;
use crate::grid::{Column, Grid, Row, age, number, short, word};

pub(super) const COLUMNS: [Column; 10] = [
    word("label", 16, 0),
    number("room", 17, 4),
    number("app", 10, 5),
    number("sessions", 8, 0),
    number("pub", 3, 1),
    number("subs", 4, 2),
    number("in/s", 6, 0),
    number("out/s", 6, 0),
    number("cost", 4, 0),
    number("age", 4, 0),
];

pub fn grid(app: &App) -> Grid {
    let Some(seen) = &app.seen else { return Grid::default() };
    let all: f64 = app.all_rooms().iter().map(|room| cost(app, room.row.room)).sum();
    let rows = app.rooms.iter().map(|room| {
        let (rx, tx) = app.room_rate(room.row.room);
        let age_s = seen.snapshot.taken_ns.saturating_sub(room.row.opened_ns) / 1_000_000_000;
        let part = if all > 0.0 { 100.0 * cost(app, room.row.room) / all } else { 0.0 };
        Row::new(vec![
            app.label(room),
            room.row.room.to_string(),
            room.row.app.to_string(),
            room.row.sessions.to_string(),
            room.row.publications.to_string(),
            room.row.subscriptions.to_string(),
            short(rx),
            short(tx),
            format!("{part:.0}%"),
            age(age_s),
        ])
    });
    let rows = rows.collect();
    let order = super::Table::Rooms.orders()[app.order(super::Table::Rooms)];
    let mut title = format!("Rooms {} by {order}", app.rooms.len());
    if app.reverse {
        title += " reversed";
    }
    if !app.filter.is_empty() {
        title += &format!(" /{}", app.filter);
    }
    Grid { title, columns: &COLUMNS, rows }
}

/// Packets per second that are opened and sealed for a room: what it costs the workers.
fn cost(app: &App, room: u64) -> f64 {
    let (rx, tx) = app.room_rate(room);
    rx + tx
}

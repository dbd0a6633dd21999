//! What each pane shows, as tables: drawn by `ui`.

mod apps;
mod config;
mod drops;
mod events;
mod latency;
mod ports;
mod rooms;
pub mod session;
mod streams;
mod workers;

use crate::app::App;
use crate::grid::{Column, Grid};
use crate::theme::Theme;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Workers.
    Workers,
    /// Rooms.
    Rooms,
    /// The sessions of a room.
    Sessions,
    /// One session.
    Session,
    /// Its streams.
    Streams,
    /// Drops by reason.
    Drops,
    /// Turns by duration.
    Latency,
    /// Workers' queues.
    Ports,
    /// What happened and what ends.
    Events,
    /// Apps.
    Apps,
    /// Settings.
    Config,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 11] = [
        Table::Workers,
        Table::Rooms,
        Table::Sessions,
        Table::Session,
        Table::Streams,
        Table::Drops,
        Table::Latency,
        Table::Ports,
        Table::Events,
        Table::Apps,
        Table::Config,
    ];

    /// The orders that `s` goes through; the first is the one at the start.
    pub fn orders(self) -> &'static [&'static str] {
        match self {
            Table::Workers => &["number", "load"],
            Table::Rooms => &["traffic", "sessions", "age", "label"],
            Table::Sessions => &["trouble", "traffic", "age", "label"],
            Table::Streams => &["place", "rate", "loss", "jitter"],
            Table::Drops => &["rate", "total"],
            Table::Events => &["all", "acts", "alarms", "refusals"],
            Table::Apps => &["use", "traffic", "app"],
            Table::Session | Table::Latency | Table::Ports | Table::Config => &[],
        }
    }

    /// Its word in the names of exported files.
    pub fn name(self) -> &'static str {
        match self {
            Table::Workers => "workers",
            Table::Rooms => "rooms",
            Table::Sessions => "sessions",
            Table::Session => "session",
            Table::Streams => "streams",
            Table::Drops => "drops",
            Table::Latency => "latency",
            Table::Ports => "ports",
            Table::Events => "events",
            Table::Apps => "apps",
            Table::Config => "config",
        }
    }
}

/// The columns of a table.
pub fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Workers => &workers::COLUMNS,
        Table::Rooms => &rooms::COLUMNS,
        Table::Sessions => &session::COLUMNS,
        Table::Session => &session::DETAILS,
        Table::Streams => &streams::COLUMNS,
        Table::Drops => &drops::COLUMNS,
        Table::Latency => &latency::COLUMNS,
        Table::Ports => &ports::COLUMNS,
        Table::Events => &events::COLUMNS,
        Table::Apps => &apps::COLUMNS,
        Table::Config => &config::COLUMNS,
    }
}

/// All of a table: filtered, in its order.
pub fn grid(app: &App, table: Table, theme: &Theme) -> Grid {
    let mut grid = match table {
        Table::Rooms => return rooms::grid(app),
        Table::Sessions => return session::list(app, theme),
        Table::Workers => workers::grid(app, theme),
        Table::Session => session::details(app, theme),
        Table::Streams => streams::grid(app),
        Table::Drops => drops::grid(app, theme),
        Table::Latency => latency::grid(app, theme),
        Table::Ports => ports::grid(app),
        Table::Events => events::grid(app),
        Table::Apps => apps::grid(app, theme),
        Table::Config => config::grid(app),
    };
    if app.table() == table {
        if !app.filter.is_empty() {
            let fits = |cell: &String| cell.contains(&app.filter);
            grid.rows.retain(|row| row.cells.iter().any(fits));
            grid.title += &format!(" /{}", app.filter);
        }
        if app.reverse {
            grid.rows.reverse();
        }
    }
    grid
}

/// The end of a title where control is asked and says nothing.
fn control_words(app: &App) -> &'static str {
    use crate::control::State;
    match app.control.state {
        State::Unknown => ": control was not asked yet",
        State::Up => "",
        State::Refuses => ": control refuses; needs group roomlane",
        State::Silent => ": control does not answer; old",
        State::Dead => ": control is down; old",
    }
}

/// A JSON text as it may stand on the screen.
fn text(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => crate::grid::plain(text),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{} {}", crate::grid::plain(key), text(value))
            };
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        other => crate::grid::plain(&other.to_string()),
    }
}

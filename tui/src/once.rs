//! `--once`: one frame as text, or the same data as JSON; for scripts, tests and screen readers.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use proto::DropReason;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use crate::Arguments;
use crate::app::{App, Msg};
use crate::control::{self, Line, State};
use crate::settings::Settings;
use crate::source::Source;
use crate::theme::Theme;
use crate::ui;

/// Looks twice, because rates need two looks, and prints.
pub fn print(
    source: &mut Source,
    interval: Duration,
    arguments: &Arguments,
    settings: &Settings,
) -> Result<()> {
    let mut app = App::at(arguments.pane(), false, settings);
    let mut line = Line::new(source.run_dir());
    for pause in [Duration::ZERO, interval] {
        std::thread::sleep(pause);
        app.update(Msg::Seen(Box::new(source.look())));
        let control = control::look(&mut line, &app.wants(), app.control.clone());
        app.update(Msg::Control(Box::new(control)));
    }
    let text = match arguments.json {
        true => format!("{}\n", data(&app)),
        false => {
            let ascii = std::env::var_os("ROOMLANE_ASCII").is_some_and(|value| !value.is_empty());
            frame(&app, Theme::plain(ascii), arguments.width, arguments.height)?
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A frame as text, without blanks at the ends of lines.
pub fn frame(app: &App, theme: Theme, width: u16, height: u16) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| ui::draw(frame, app, &theme))?;
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}

/// What the frame shows, for programs.
pub fn data(app: &App) -> Value {
    let Some(seen) = &app.seen else { return json!({"schema": "roomlane.top.v1"}) };
    let (snapshot, rates) = (&seen.snapshot, &app.rates);
    let totals = snapshot.totals();
    let workers: Vec<Value> = snapshot
        .shards
        .iter()
        .map(|view| {
            let rates = rates.workers.get(view.shard).copied().unwrap_or_default();
            let worker = view.worker.unwrap_or_default();
            let core = Some(worker.core).filter(|core| view.worker.is_some() && *core != u64::MAX);
            json!({"worker": view.shard, "core": core, "busy": rates.busy,
                   "rx_pps": rates.rx_pps, "tx_pps": rates.tx_pps,
                   "bufs_in_use": worker.bufs_in_use, "restarts": worker.restarts})
        })
        .collect();
    let rooms: Vec<Value> = app
        .rooms
        .iter()
        .map(|room| {
            let (rx_pps, tx_pps) = app.room_rate(room.row.room);
            json!({"room": room.row.room, "sdkappid": room.row.app, "label": app.label(room),
                   "sessions": room.row.sessions, "publications": room.row.publications,
                   "subscriptions": room.row.subscriptions, "rx_pps": rx_pps, "tx_pps": tx_pps})
        })
        .collect();
    let drops = snapshot.drops();
    let drops: Vec<Value> = DropReason::ALL
        .iter()
        .zip(drops)
        .zip(&rates.drops_by_reason_ps)
        .filter(|((_, count), _)| *count > 0)
        .map(|((reason, count), per_s)| json!({"reason": reason.name(), "count": count, "per_s": per_s}))
        .collect();
    json!({
        "schema": "roomlane.top.v1", "instance": format!("{:016x}", snapshot.node.instance),
        "age_ms": snapshot.age_ns() / 1_000_000, "stale": app.is_stale(),
        "control_alive": !matches!(app.control.state, State::Dead | State::Silent),
        "alarms": app.alarms.iter().map(|alarm| alarm.finding.text.as_str()).collect::<Vec<_>>(),
        "rx_pps": rates.rx_pps, "tx_pps": rates.tx_pps, "rx_bps": rates.rx_bps,
        "tx_bps": rates.tx_bps, "drops_ps": rates.drops_ps, "drops_total": snapshot.dropped(),
        "sessions": totals.sessions, "workers": workers, "rooms": rooms, "drops": drops,
    })
}

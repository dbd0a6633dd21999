//! The workers: core, load, packets, buffers.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Row, Table};

use super::{boxed, columns, kept, short};
use crate::app::{App, STALE_NS};
use crate::theme::Theme;

const WIDTHS: [u16; 9] = [6, 4, 10, 6, 7, 7, 8, 12, 8];
/// Columns that go first where there is no room: restarts (an alarm says them), buffers, sessions, core.
const DROPPED_FIRST: [usize; 4] = [8, 7, 6, 1];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else { return };
    let snapshot = &seen.snapshot;
    let keep = columns(&WIDTHS, &DROPPED_FIRST, area.width.saturating_sub(2));
    let rows = snapshot.shards.iter().map(|view| {
        let rates = app.rates.workers.get(view.shard).copied().unwrap_or_default();
        let worker = view.worker.unwrap_or_default();
        let counters = view.counters.unwrap_or_default();
        let silent = snapshot.taken_ns.saturating_sub(worker.heartbeat_ns) > STALE_NS;
        let (sign, state, style) = match view.worker {
            None => (theme.bad_sign(), "starting", theme.dim()),
            Some(_) if silent => (theme.bad_sign(), "silent", theme.bad()),
            Some(_) => (theme.good_sign(), "running", Style::new()),
        };
        let pinned = view.worker.is_some() && worker.core != u64::MAX;
        let cells = [
            format!("{:>6}", view.shard),
            format!("{:>4}", if pinned { worker.core.to_string() } else { "-".to_owned() }),
            format!("{sign} {state}"),
            format!("{:>6}", format!("{:.0}%", rates.busy * 100.0)),
            format!("{:>7}", short(rates.rx_pps)),
            format!("{:>7}", short(rates.tx_pps)),
            format!("{:>8}", counters.sessions),
            format!("{:>12}", format!("{}/{}", worker.bufs_in_use, worker.bufs_total)),
            format!("{:>8}", worker.restarts),
        ];
        Row::new(kept(cells, &keep)).style(if app.is_stale() { theme.dim() } else { style })
    });
    let widths = kept(WIDTHS, &keep).into_iter().map(Constraint::Length);
    let names = [
        "worker",
        "core",
        "state",
        "  busy",
        "   in/s",
        "  out/s",
        "sessions",
        "     buffers",
        "restarts",
    ];
    let shown = usize::from(area.height.saturating_sub(3));
    let title = match snapshot.shards.len() {
        count if count > shown => format!(" Workers ({shown} of {count}) "),
        _ => " Workers ".to_owned(),
    };
    let table = Table::new(rows, widths)
        .header(Row::new(kept(names, &keep)).style(theme.title()))
        .block(boxed(title, theme));
    frame.render_widget(table, area);
}

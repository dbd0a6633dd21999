//! The rooms, by masked name.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Row, Table};

use super::{boxed, columns, kept, short};
use crate::app::App;
use crate::theme::Theme;

const WIDTHS: [u16; 9] = [16, 17, 10, 8, 3, 4, 6, 6, 6];
/// Columns that go first where there is no room: app, number, subscriptions, publications.
const DROPPED_FIRST: [usize; 4] = [2, 1, 5, 4];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else { return };
    let rooms = app.rooms();
    let keep = columns(&WIDTHS, &DROPPED_FIRST, area.width.saturating_sub(2));
    let rows = rooms.iter().skip(app.scroll).map(|room| {
        let (rx, tx) = app.room_rate(room);
        let age_s = seen.snapshot.taken_ns.saturating_sub(room.row.opened_ns) / 1_000_000_000;
        let cells = [
            app.label(room),
            format!("{:>17}", room.row.room),
            format!("{:>10}", room.row.app),
            format!("{:>8}", room.row.sessions),
            format!("{:>3}", room.row.publications),
            format!("{:>4}", room.row.subscriptions),
            format!("{:>6}", short(rx)),
            format!("{:>6}", short(tx)),
            format!("{:>6}", age(age_s)),
        ];
        let row = Row::new(kept(cells, &keep));
        if app.is_stale() { row.style(theme.dim()) } else { row }
    });
    let names = [
        "label",
        "             room",
        "       app",
        "sessions",
        "pub",
        "subs",
        "  in/s",
        " out/s",
        "   age",
    ];
    let mut title = format!(" Rooms {} by {}", rooms.len(), app.sort.name());
    if app.reverse {
        title += " reversed";
    }
    if !app.filter.is_empty() {
        title += &format!(" /{}", app.filter);
    }
    if app.scroll > 0 {
        title += &format!(" from {}", app.scroll + 1);
    }
    title.push(' ');
    let table = Table::new(rows, kept(WIDTHS, &keep).into_iter().map(Constraint::Length))
        .header(Row::new(kept(names, &keep)).style(theme.title()))
        .block(boxed(title, theme));
    frame.render_widget(table, area);
}

fn age(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

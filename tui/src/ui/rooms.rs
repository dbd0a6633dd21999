//! The rooms, by masked name.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Row, Table};

use super::{boxed, short};
use crate::app::App;
use crate::theme::Theme;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else { return };
    let rooms = app.rooms();
    let rows = rooms.iter().skip(app.scroll).map(|room| {
        let (rx, tx) = app.room_rate(room);
        let age_s = seen.snapshot.taken_ns.saturating_sub(room.row.opened_ns) / 1_000_000_000;
        let row = Row::new(vec![
            app.label(room),
            format!("{:>6}", room.row.room),
            format!("{:>10}", room.row.app),
            format!("{:>8}", room.row.sessions),
            format!("{:>3}", room.row.publications),
            format!("{:>4}", room.row.subscriptions),
            format!("{:>6}", short(rx)),
            format!("{:>6}", short(tx)),
            format!("{:>6}", age(age_s)),
        ]);
        if app.is_stale() { row.style(theme.dim()) } else { row }
    });
    let widths = [16, 6, 10, 8, 3, 4, 6, 6, 6].map(Constraint::Length);
    let names =
        ["label", "  room", "       app", "sessions", "pub", "subs", "  in/s", " out/s", "   age"];
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
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(theme.title()))
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

//! The rooms, by masked name.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Row, Table};

use super::{boxed, short};
use crate::app::App;
use crate::theme::Theme;

/// From here on there is room for the app.
const WIDTH_APP: u16 = 92;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else { return };
    let rooms = app.rooms();
    let wide = area.width >= WIDTH_APP;
    let rows = rooms.iter().skip(app.scroll).map(|room| {
        let (rx, tx) = app.room_rate(room);
        let age_s = seen.snapshot.taken_ns.saturating_sub(room.row.opened_ns) / 1_000_000_000;
        let mut cells = vec![
            app.label(room),
            format!("{:>17}", room.row.room),
            format!("{:>8}", room.row.sessions),
            format!("{:>3}", room.row.publications),
            format!("{:>4}", room.row.subscriptions),
            format!("{:>6}", short(rx)),
            format!("{:>6}", short(tx)),
            format!("{:>6}", age(age_s)),
        ];
        if wide {
            cells.insert(2, format!("{:>10}", room.row.app));
        }
        let row = Row::new(cells);
        if app.is_stale() { row.style(theme.dim()) } else { row }
    });
    let mut widths = vec![16, 17, 8, 3, 4, 6, 6, 6];
    let mut names =
        vec!["label", "             room", "sessions", "pub", "subs", "  in/s", " out/s", "   age"];
    if wide {
        widths.insert(2, 10);
        names.insert(2, "       app");
    }
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
    let table = Table::new(rows, widths.into_iter().map(Constraint::Length))
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

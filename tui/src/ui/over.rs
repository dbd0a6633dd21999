//! What stands over the screen for a while: the word that an act needs, the choice of columns.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::boxed;
use crate::app::{App, Pending};
use crate::panes;
use crate::theme::Theme;

/// Columns that the boxes take.
const WIDTH: u16 = 58;

fn draw(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>, theme: &Theme) {
    let (width, height) = (WIDTH.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let place = Rect { x, y, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(boxed(format!(" {title} "), theme)), place);
}

pub(super) fn confirm(frame: &mut Frame<'_>, area: Rect, pending: &Pending, theme: &Theme) {
    let lines = vec![
        Line::styled(format!(" {}.", pending.question), theme.bad()),
        Line::raw(format!(" Type {} and press Enter; Esc leaves it.", pending.word)),
        Line::raw(format!(" > {}", crate::grid::plain(&pending.typed))),
    ];
    draw(frame, area, "Are you sure?", lines, theme);
}

pub(super) fn columns(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme, at: usize) {
    let hidden = app.hidden(app.table());
    let columns = panes::columns(app.table()).iter().enumerate().map(|(index, column)| {
        let sign = if index == at { theme.cursor_sign() } else { " " };
        let shown = if hidden & 1 << index == 0 { "[x]" } else { "[ ]" };
        let name = if column.name.is_empty() { "(bar)" } else { column.name };
        Line::raw(format!(" {sign} {shown} {name}"))
    });
    draw(frame, area, "Columns: Enter shows or hides, Esc goes back", columns.collect(), theme);
}

//! A table in its box.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::boxed;
use crate::app::App;
use crate::grid::{Column, Grid, STRIP, Tone, kept};
use crate::panes;
use crate::theme::Theme;

/// Draws a table; around the cursor when keys are about it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    theme: &Theme,
    which: panes::Table,
) {
    let grid = panes::grid(app, which, theme);
    let cursor = (app.table() == which).then_some(app.cursor);
    let lines = usize::from(area.height.saturating_sub(3));
    let count = grid.rows.len();
    // The cursor in the middle, without empty lines below the last row.
    let from = cursor.map_or(0, |at| at.saturating_sub(lines / 2).min(count.saturating_sub(lines)));
    // Borders, the cursor's sign and the blank behind it.
    let width = area.width.saturating_sub(4);
    let keep = kept(grid.columns, app.hidden(which), width);
    let rows = grid.rows.iter().enumerate().skip(from).take(lines).map(|(index, row)| {
        let is_at = cursor == Some(index);
        let style = match (app.is_stale(), row.tone) {
            (true, _) | (false, Tone::Dim) => theme.dim(),
            (false, Tone::Bad) => theme.bad(),
            (false, Tone::Plain) => theme.plain_text(),
        };
        let sign = if is_at { theme.cursor_sign() } else { " " };
        let cells = cells(&grid, &keep, |column| row.cells.get(column).cloned());
        let row = Row::new([Cell::from(sign)].into_iter().chain(cells));
        row.style(if is_at { style.add_modifier(Modifier::BOLD) } else { style })
    });
    let mut widths = vec![Constraint::Length(1)];
    let kept = grid.columns.iter().zip(&keep).filter(|(_, keep)| **keep);
    let left = left(grid.columns, &keep, width);
    let grows =
        grid.columns.iter().zip(&keep).filter(|(column, keep)| **keep && column.grows).count();
    widths.extend(kept.map(|(column, _)| match (column.grows, column.is_number) {
        // A curve has no more to show, and stands near what it is about.
        (true, true) => Constraint::Length((column.width + left / grows as u16).min(STRIP as u16)),
        (true, false) => Constraint::Fill(1),
        (false, _) => Constraint::Length(column.width),
    }));
    let names = cells(&grid, &keep, |column| Some(grid.columns[column].name.to_owned()));
    let header = Row::new([Cell::from("")].into_iter().chain(names)).style(theme.title());
    let mut title = grid.title.clone();
    if count > lines && lines > 0 {
        let place = format!(" ({}-{} of {count})", from + 1, (from + lines).min(count));
        // Whole or not at all, between corners and blanks.
        if title.chars().count() + place.len() + 4 <= usize::from(area.width) {
            title += &place;
        }
    }
    let table = Table::new(rows.collect::<Vec<_>>(), widths)
        .column_spacing(1)
        .header(header)
        .block(boxed(format!(" {title} "), theme));
    frame.render_widget(table, area);
}

/// What the columns leave of a line.
fn left(columns: &[Column], keep: &[bool], width: u16) -> u16 {
    let kept = columns.iter().zip(keep).filter(|(_, keep)| **keep);
    (width + 1).saturating_sub(kept.map(|(column, _)| column.width + 1).sum())
}

fn cells<'a>(
    grid: &'a Grid,
    keep: &'a [bool],
    text: impl Fn(usize) -> Option<String> + 'a,
) -> impl Iterator<Item = Cell<'static>> + 'a {
    (0..grid.columns.len()).filter(|column| keep[*column]).map(move |column| {
        let line = Line::from(text(column).unwrap_or_default());
        Cell::from(match grid.columns[column].is_number {
            true => line.right_aligned(),
            false => line,
        })
    })
}

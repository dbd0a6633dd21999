//! The screen: head, curves, the pane, keys.

mod head;
mod help;
mod over;
mod table;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::app::{App, Mode, Pane};
use crate::panes::Table;
use crate::theme::Theme;

/// Smallest terminal that everything fits in.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 15;
/// From here on rooms and drops stand side by side.
const WIDTH_WIDE: u16 = 120;
/// From here on the streams of a member stand below it.
const HEIGHT_STREAMS: u16 = 40;
/// From here on there are curves.
const HEIGHT_CURVES: u16 = 20;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App, theme: &Theme) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!(
            "terminal too small ({}x{}, need {WIDTH_MIN}x{HEIGHT_MIN})",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let has_curves = area.height >= HEIGHT_CURVES && !app.expanded;
    let curves = if has_curves { head::CURVES } else { 0 };
    let [head, curve, rest, foot] = Layout::vertical([
        Constraint::Length(head::height(app, area.height)),
        Constraint::Length(curves),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    head::draw(frame, head, app, theme);
    if curves > 0 {
        head::curves(frame, curve, app, theme);
    }
    match app.pane {
        Pane::Overview if !app.expanded => draw_overview(frame, rest, app, theme),
        Pane::Rooms if area.height >= HEIGHT_STREAMS && app.table() == Table::Session => {
            let [member, streams] =
                Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest);
            table::draw(frame, member, app, theme, Table::Session);
            table::draw(frame, streams, app, theme, Table::Streams);
        }
        _ => table::draw(frame, rest, app, theme, app.table()),
    }
    draw_foot(frame, foot, app, theme);
    match &app.mode {
        Mode::Help => help::draw(frame, area, app, theme),
        Mode::Columns(at) => over::columns(frame, area, app, theme, *at),
        Mode::Confirm(pending) => over::confirm(frame, area, pending, theme),
        Mode::Watch | Mode::Filter | Mode::Palette(_) => {}
    }
}

fn draw_overview(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let screen = frame.area();
    let count = app.seen.as_ref().map_or(1, |seen| seen.snapshot.shards.len()) as u16;
    // Box and column names take three lines; rooms and drops keep at least half of the screen.
    let height = (count + 3).min(screen.height / 3).max(4);
    let [workers, rest] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    table::draw(frame, workers, app, theme, Table::Workers);
    if screen.width < WIDTH_WIDE && screen.height < HEIGHT_CURVES {
        // Two boxes would have no line each; the drops have a pane of their own.
        return table::draw(frame, rest, app, theme, Table::Rooms);
    }
    let [rooms, drops] = match screen.width >= WIDTH_WIDE {
        true => {
            Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(rest)
        }
        false => Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest),
    };
    table::draw(frame, rooms, app, theme, Table::Rooms);
    table::draw(frame, drops, app, theme, Table::Drops);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let line = match (&app.mode, &app.said) {
        (Mode::Filter, _) => Line::styled(format!("/{}", app.filter), theme.bad()),
        (Mode::Palette(typed), _) => {
            let meant = crate::app::meant(typed).join("  ");
            Line::styled(format!(":{typed}  {meant}"), theme.bad())
        }
        (_, Some(said)) => Line::styled(crate::grid::plain(said), theme.bad()),
        _ if app.frozen => Line::styled("FROZEN: f goes on  q quit  ? help", theme.bad()),
        _ if app.admin => {
            let keys = "ADMIN: d drain K kick E end T trace C capture  q quit ? help 1-9 panes";
            Line::styled(keys, theme.bad())
        }
        _ => {
            Line::styled("read-only  q quit  ? help  1-9 panes  Enter down  : command", theme.dim())
        }
    };
    frame.render_widget(line, area);
}

/// A box with a name.
fn boxed<'a>(title: String, theme: &Theme) -> Block<'a> {
    Block::bordered().border_set(theme.border()).title(Line::styled(title, theme.title()))
}

#[cfg(test)]
mod tests;

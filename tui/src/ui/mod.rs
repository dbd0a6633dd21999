//! The screen: head line, traffic, the pane (workers, rooms, drops or all three), keys.

mod drops;
mod head;
mod help;
mod rooms;
mod workers;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::app::{App, Mode, Pane};
use crate::theme::Theme;

/// Smallest terminal that everything fits in.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 15;
/// From here on rooms and drops stand side by side.
const WIDTH_WIDE: u16 = 120;
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
    let curves = if area.height >= HEIGHT_CURVES { 2 } else { 0 };
    let [head, curve, rest, foot] = Layout::vertical([
        Constraint::Length(3),
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
        Pane::Overview => draw_overview(frame, rest, app, theme),
        Pane::Workers => workers::draw(frame, rest, app, theme),
        Pane::Rooms => rooms::draw(frame, rest, app, theme),
        Pane::Drops => drops::draw(frame, rest, app, theme),
    }
    draw_foot(frame, foot, app, theme);
    if app.mode == Mode::Help {
        help::draw(frame, area, theme);
    }
}

fn draw_overview(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let screen = frame.area();
    let count = app.seen.as_ref().map_or(1, |seen| seen.snapshot.shards.len()) as u16;
    // Box and column names take three lines; rooms and drops keep at least half of the screen.
    let height = (count + 3).min(screen.height / 3).max(4);
    let [workers, rest] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    workers::draw(frame, workers, app, theme);
    if screen.width < WIDTH_WIDE && screen.height < HEIGHT_CURVES {
        // Two boxes would have no line each; the drops have a pane of their own.
        return rooms::draw(frame, rest, app, theme);
    }
    let [rooms, drops] = match screen.width >= WIDTH_WIDE {
        true => {
            Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(rest)
        }
        false => Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest),
    };
    rooms::draw(frame, rooms, app, theme);
    drops::draw(frame, drops, app, theme);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let line = match app.mode {
        Mode::Filter => Line::styled(format!("/{}", app.filter), theme.bad()),
        _ => Line::styled("q quit  ? help  1-4 panes  f freeze  / filter  s sort", theme.dim()),
    };
    frame.render_widget(line, area);
}

/// A box with a name.
fn boxed<'a>(title: String, theme: &Theme) -> Block<'a> {
    Block::bordered().border_set(theme.border()).title(Line::styled(title, theme.title()))
}

/// Which columns of such widths, one blank apart, stay within `width` when those of `dropped_first` go
/// in turn: a column is whole or not there.
fn columns<const N: usize>(widths: &[u16; N], dropped_first: &[usize], width: u16) -> [bool; N] {
    let mut keep = [true; N];
    for column in dropped_first {
        let kept = widths.iter().zip(keep).filter(|(_, keep)| *keep);
        if kept.map(|(width, _)| width + 1).sum::<u16>() <= width + 1 {
            break;
        }
        keep[*column] = false;
    }
    keep
}

/// The columns that stay.
fn kept<T, const N: usize>(cells: [T; N], keep: &[bool; N]) -> Vec<T> {
    cells.into_iter().zip(keep).filter(|(_, keep)| **keep).map(|(cell, _)| cell).collect()
}

/// A number of packets per second, in at most six characters.
pub fn short(number: f64) -> String {
    match number {
        n if n < 9_999.5 => format!("{n:.0}"),
        n if n < 999_950.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_950_000.0 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

#[cfg(test)]
mod tests;

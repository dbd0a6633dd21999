//! The one pane: head line, traffic, workers, rooms, drops, keys.

mod drops;
mod head;
mod help;
mod rooms;
mod workers;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::app::{App, Mode};
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
    let count = app.seen.as_ref().map_or(1, |seen| seen.snapshot.shards.len()) as u16;
    // Box and column names take three lines; rooms and drops keep at least half of the screen.
    let workers_height = (count + 3).min(area.height / 3).max(4);
    let [head, curve, workers, rest, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(curves),
        Constraint::Length(workers_height),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    head::draw(frame, head, app, theme);
    if curves > 0 {
        head::curves(frame, curve, app, theme);
    }
    workers::draw(frame, workers, app, theme);
    let [rooms, drops] = match area.width >= WIDTH_WIDE {
        true => {
            Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(rest)
        }
        false => Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest),
    };
    rooms::draw(frame, rooms, app, theme);
    drops::draw(frame, drops, app, theme);
    draw_foot(frame, foot, app, theme);
    if app.mode == Mode::Help {
        help::draw(frame, area, theme);
    }
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let line = match app.mode {
        Mode::Filter => Line::styled(format!("/{}", app.filter), theme.bad()),
        _ => Line::styled(
            "q quit  ? help  f freeze  / filter  s sort  r reverse  p hide labels",
            theme.dim(),
        ),
    };
    frame.render_widget(line, area);
}

/// A box with a name.
fn boxed<'a>(title: String, theme: &Theme) -> Block<'a> {
    Block::bordered().border_set(theme.border()).title(Line::styled(title, theme.title()))
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

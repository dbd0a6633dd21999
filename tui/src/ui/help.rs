//! The keys, from their own table.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::boxed;
use crate::app::App;
use crate::theme::Theme;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let bound = app.keys.bindings().iter().filter(|binding| !binding.keys.is_empty());
    let mut lines: Vec<Line<'_>> = bound
        .map(|binding| Line::raw(format!(" {:<15} {}", binding.keys_text(), binding.what)))
        .collect();
    let count = lines.len();
    let (width, height) = (58.min(area.width), (count as u16 + 2).min(area.height));
    let shown = usize::from(height.saturating_sub(2));
    let from = app.help_from.min(count.saturating_sub(shown));
    lines.drain(..from);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let title = match shown < count {
        true => format!(" Keys {}-{} of {count}: j, k ", from + 1, (from + shown).min(count)),
        false => " Keys ".to_owned(),
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(boxed(title, theme)), place);
}

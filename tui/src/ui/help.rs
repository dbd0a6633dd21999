//! The keys, from their own table.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::boxed;
use crate::keymap::BINDINGS;
use crate::theme::Theme;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
    let lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|binding| Line::raw(format!(" {:<13} {}", binding.keys, binding.what)))
        .collect();
    let (width, height) = (56.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(boxed(" Keys ".to_owned(), theme)), place);
}

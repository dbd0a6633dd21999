//! The drops by reason, the liveliest first.

use proto::DropReason;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Row, Table};

use super::{boxed, short};
use crate::app::App;
use crate::theme::Theme;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else { return };
    let counts = seen.snapshot.drops();
    let rate = |index: usize| app.rates.drops_by_reason_ps.get(index).copied().unwrap_or_default();
    let mut reasons: Vec<(usize, &DropReason)> =
        DropReason::ALL.iter().enumerate().filter(|(index, _)| counts[*index] > 0).collect();
    reasons.sort_by(|(one, _), (other, _)| {
        rate(*other).total_cmp(&rate(*one)).then(counts[*other].cmp(&counts[*one]))
    });
    let rows = reasons.iter().map(|(index, reason)| {
        let row = Row::new(vec![
            reason.name().to_owned(),
            format!("{:>7}", short(rate(*index))),
            format!("{:>11}", counts[*index]),
            reason.sentence().to_owned(),
        ]);
        match (app.is_stale(), rate(*index) > 0.0) {
            (true, _) => row.style(theme.dim()),
            (false, true) => row.style(theme.bad()),
            (false, false) => row,
        }
    });
    let widths = [
        Constraint::Length(17),
        Constraint::Length(7),
        Constraint::Length(11),
        Constraint::Fill(1),
    ];
    let names = ["reason", "  per s", "      total", "meaning"];
    let title = match reasons.is_empty() {
        true => " Drops: none ".to_owned(),
        false => format!(" Drops {} ", seen.snapshot.dropped()),
    };
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(theme.title()))
        .block(boxed(title, theme));
    frame.render_widget(table, area);
}

//! Who the node is, whether it lives, and what goes in and out.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::short;
use crate::alarms::alarms;
use crate::app::App;
use crate::theme::Theme;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(seen) = &app.seen else {
        frame.render_widget(Paragraph::new("looking for data"), area);
        return;
    };
    let snapshot = &seen.snapshot;
    let about: serde_json::Value = serde_json::from_str(&snapshot.node.about).unwrap_or_default();
    let fact = |key: &str| {
        let text = about[key].as_str().unwrap_or("-");
        text.chars().filter(|c| !c.is_control()).take(24).collect::<String>()
    };
    let age_ns = snapshot.age_ns();
    let age = match age_ns {
        0..10_000_000_000 => format!("{} ms", age_ns / 1_000_000),
        _ => format!("{} s", age_ns / 1_000_000_000),
    };
    let mut first = vec![
        Span::styled("roomlane ", theme.title()),
        Span::raw(format!("{}  ", fact("name"))),
        state(theme, !app.is_stale(), "data plane", "running", "silent"),
        state(theme, seen.control_alive, "control", "running", "dead"),
        Span::raw(format!("data age {age}")),
    ];
    if app.frozen {
        first.push(Span::styled("  FROZEN", theme.bad()));
    }
    let rates = &app.rates;
    let totals = snapshot.totals();
    let second = format!(
        "in {} pps {}bit/s  out {} pps {}bit/s  drops {}/s  sessions {}  rooms {}",
        short(rates.rx_pps),
        short(rates.rx_bps),
        short(rates.tx_pps),
        short(rates.tx_bps),
        short(rates.drops_ps),
        totals.sessions,
        snapshot.rooms_merged().len(),
    );
    let second = match app.is_stale() {
        true => Line::styled(format!("(old) {second}"), theme.dim()),
        false => Line::raw(second),
    };
    let wrong = alarms(app);
    let third = match (app.is_stale(), seen.control_alive) {
        (true, _) => Line::styled(
            "The data plane does not answer: what is below was true when it last did.",
            theme.bad(),
        ),
        (false, false) => Line::styled(
            "Control is dead: media goes on; nobody can join, nothing can be ended or kicked.",
            theme.bad(),
        ),
        (false, true) if !wrong.is_empty() => {
            Line::styled(format!("{} {}", theme.bad_sign(), wrong.join("; ")), theme.bad())
        }
        (false, true) => Line::styled(
            format!(
                "port {} ({})  udp {}  pid {}  version {}",
                fact("port"),
                fact("driver"),
                snapshot.node.udp_base,
                snapshot.node.pid,
                fact("version"),
            ),
            theme.dim(),
        ),
    };
    frame.render_widget(Paragraph::new(vec![Line::from(first), second, third]), area);
}

fn state<'a>(theme: &Theme, well: bool, what: &str, good: &str, bad: &str) -> Span<'a> {
    match well {
        true => Span::styled(format!("{} {what} {good}  ", theme.good_sign()), theme.good()),
        false => Span::styled(format!("{} {what} {bad}  ", theme.bad_sign()), theme.bad()),
    }
}

pub(super) fn curves(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let ins: Vec<f64> = app.history.iter().map(|(rx, _)| *rx).collect();
    let outs: Vec<f64> = app.history.iter().map(|(_, tx)| *tx).collect();
    let width = usize::from(area.width).saturating_sub(4);
    let lines = [("in  ", ins), ("out ", outs)].map(|(name, values)| {
        Line::from(vec![
            Span::styled(name, theme.title()),
            Span::styled(curve(&values, width, theme.levels()), theme.good()),
        ])
    });
    frame.render_widget(Paragraph::new(lines.to_vec()), area);
}

/// The last `width` values, one character each, against the highest of them.
fn curve(values: &[f64], width: usize, levels: &[char]) -> String {
    let values = &values[values.len().saturating_sub(width)..];
    let highest = values.iter().copied().fold(0.0, f64::max);
    let top = levels.len() - 1;
    let level = |value: &f64| match highest > 0.0 {
        true => levels[((value / highest * top as f64).round() as usize).min(top)],
        false => levels[0],
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_relative_to_their_highest_value_and_keep_the_newest() {
        let levels = Theme::plain(true).levels();
        assert_eq!(curve(&[9.0, 0.0, 5.0, 10.0], 3, levels), "_=#");
        assert_eq!(curve(&[0.0, 0.0], 5, levels), "__");
        assert_eq!(curve(&[], 5, levels), "");
    }
}

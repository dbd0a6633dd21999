//! Who the node is, whether it lives, what goes in and out, and what is wrong.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::app::App;
use crate::control::State;
use crate::grid::{age, plain, short};
use crate::history::curve;
use crate::theme::Theme;

/// Lines of the head without alarms.
const LINES: u16 = 2;

/// From here on an ordinary node is said to be one.
const WIDTH_DEVELOPMENT: u16 = 70;

/// Alarms that have a line of their own on a screen of such a height.
fn alarm_lines(height: u16) -> usize {
    usize::from(height / 5)
}

/// Lines that the head takes.
pub(super) fn height(app: &App, screen: u16) -> u16 {
    let alarms = app.alarms.len().min(alarm_lines(screen)).max(1);
    LINES + alarms as u16
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    if app.seen.is_none() {
        frame.render_widget(Paragraph::new("looking for data"), area);
        return;
    }
    let mut lines = vec![first(app, theme, area.width), second(app, theme, area.width)];
    let room = alarm_lines(frame.area().height);
    if app.alarms.is_empty() {
        lines.push(quiet(app, theme, area.width));
    }
    let now_ns = app.now_ns();
    for (index, alarm) in app.alarms.iter().take(room).enumerate() {
        let more = app.alarms.len() - index;
        let text = match index + 1 == room && more > 1 {
            true => format!("{} {more} more faults: see 7", theme.bad_sign()),
            false => {
                let since_s = now_ns.saturating_sub(alarm.since_ns) / 1_000_000_000;
                format!("{} {} ({})", theme.bad_sign(), alarm.finding.text, age(since_s))
            }
        };
        lines.push(Line::styled(text, theme.bad()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn first<'a>(app: &App, theme: &Theme, width: u16) -> Line<'a> {
    let name = app.about["name"].as_str().unwrap_or("node");
    let name: String = plain(name).chars().take(12).collect();
    let environment = match app.about["environment"].as_str() {
        Some("production") => Span::styled("PRODUCTION ", theme.title()),
        // Where there is no room, silence means this.
        Some(_) if width < WIDTH_DEVELOPMENT => Span::raw(""),
        Some(_) => Span::raw("development "),
        None => Span::raw(""),
    };
    let (is_up, control) = match app.control.state {
        State::Unknown => (true, "?"),
        State::Up => (true, "up"),
        State::Refuses => (true, "up, not for you"),
        State::Silent => (false, "silent"),
        State::Dead => (false, "dead"),
    };
    let age_ns = app.seen.as_ref().map_or(0, |seen| seen.snapshot.age_ns());
    let age = match age_ns {
        0..10_000_000_000 => format!("{} ms", age_ns / 1_000_000),
        _ => format!("{} s", age_ns / 1_000_000_000),
    };
    let plane = if app.is_stale() { "silent" } else { "up" };
    Line::from(vec![
        Span::styled(format!("{name} "), theme.title()),
        environment,
        state(theme, !app.is_stale(), "data plane", plane),
        state(theme, is_up, "control", control),
        Span::raw(format!("age {age}")),
    ])
}

fn state<'a>(theme: &Theme, is_well: bool, what: &str, word: &str) -> Span<'a> {
    let (sign, style) = match is_well {
        true => (theme.good_sign(), theme.good()),
        false => (theme.bad_sign(), theme.bad()),
    };
    Span::styled(format!("{sign} {what} {word} "), style)
}

fn second<'a>(app: &App, theme: &Theme, width: u16) -> Line<'a> {
    let rates = &app.rates;
    let totals = app.seen.as_ref().map(|seen| seen.snapshot.totals()).unwrap_or_default();
    let age = if app.is_stale() { "(old) " } else { "" };
    let counts = format!("sessions {} rooms {}", totals.sessions, app.all_rooms().len());
    let drops = format!("drops {}/s", short(rates.drops_ps));
    let long = format!(
        "{age}in {}/s {}bit/s  out {}/s {}bit/s  {drops}  {counts}",
        short(rates.rx_pps),
        short(rates.rx_bps),
        short(rates.tx_pps),
        short(rates.tx_bps),
    );
    let text = match long.len() <= usize::from(width) {
        true => long,
        false => {
            format!(
                "{age}in {}/s out {}/s {drops} {counts}",
                short(rates.rx_pps),
                short(rates.tx_pps)
            )
        }
    };
    if app.is_stale() { Line::styled(text, theme.dim()) } else { Line::raw(text) }
}

/// What stands where alarms would.
fn quiet<'a>(app: &App, theme: &Theme, width: u16) -> Line<'a> {
    let fact = |key: &str| plain(app.about[key].as_str().unwrap_or("-"));
    let node = app.seen.as_ref().map(|seen| &seen.snapshot.node);
    let (udp, pid) = node.map_or((0, 0), |node| (node.udp_base, node.pid));
    let pieces = [
        "no faults".to_owned(),
        format!("port {}", fact("port")),
        format!("udp {udp}"),
        format!("pid {pid}"),
        format!("version {}", fact("version")),
    ];
    let mut text = String::new();
    for piece in pieces {
        if text.len() + piece.len() + 2 <= usize::from(width) {
            text += if text.is_empty() { "" } else { "  " };
            text += &piece;
        }
    }
    Line::styled(text, theme.dim())
}

/// Lines that the curves take.
pub(super) const CURVES: u16 = 3;

/// Characters beside a curve: its name, its present value, its highest.
const BESIDE: usize = 6 + 8 + 12;

pub(super) fn curves(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let looks = app.window();
    let ins: Vec<f64> = app.history.last(looks).map(|point| point.rx_pps).collect();
    let outs: Vec<f64> = app.history.last(looks).map(|point| point.tx_pps).collect();
    let width = usize::from(area.width).saturating_sub(BESIDE).min(looks);
    let line = |name: &str, now: String, text: String, end: String| {
        Line::from(vec![
            Span::styled(format!("{name:<6}"), theme.title()),
            Span::raw(format!("{now:>7} ")),
            Span::styled(text, theme.good()),
            Span::styled(format!(" {end}"), theme.dim()),
        ])
    };
    let over_time = |name: &str, values: &[f64]| {
        let now = values.last().copied().unwrap_or_default();
        let highest = values.iter().copied().fold(0.0, f64::max);
        // The newest always stands in the same place.
        let text = format!("{:>width$}", curve(values, width, theme.levels()));
        line(name, format!("{}/s", short(now)), text, format!("max {}/s", short(highest)))
    };
    let strip: String = app
        .rates
        .workers
        .iter()
        .map(|worker| theme.levels()[level(worker.busy, theme.levels().len())])
        .take(width)
        .collect();
    let busiest = app.rates.workers.iter().map(|worker| worker.busy).fold(0.0, f64::max);
    let lines = [
        over_time("in", &ins),
        over_time("out", &outs),
        line("cores", format!("{:.0}%", busiest * 100.0), strip, "is the busiest".to_owned()),
    ];
    frame.render_widget(Paragraph::new(lines.to_vec()), area);
}

/// A part of one as one of `count` levels.
fn level(part: f64, count: usize) -> usize {
    ((part * (count - 1) as f64).round() as usize).min(count - 1)
}

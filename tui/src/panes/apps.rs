//! The apps: what each uses of what it may have on a worker, the fullest first.

use crate::app::{App, Share};
use crate::grid::{Column, Grid, Row, Tone, number, short, word};
use crate::theme::Theme;

pub(super) const COLUMNS: [Column; 8] = [
    number("app", 10, 0),
    word("state", 9, 2),
    number("full", 5, 0),
    word("", 10, 3),
    number("sessions", 11, 0),
    number("rooms", 11, 0),
    number("in/s", 13, 1),
    number("out/s", 7, 4),
];

pub fn grid(app: &App, theme: &Theme) -> Grid {
    let mut shares: Vec<&Share> = app.shares().iter().collect();
    match app.order(super::Table::Apps) {
        0 => shares.sort_by(|one, other| other.fullest().total_cmp(&one.fullest())),
        1 => shares
            .sort_by(|one, other| (other.pps.0 + other.pps.1).total_cmp(&(one.pps.0 + one.pps.1))),
        _ => {}
    }
    let of = |used: String, max: u64, max_text: String| match max {
        0 => used,
        _ => format!("{used}/{max_text}"),
    };
    let rows = shares.iter().map(|share| {
        let cells = vec![
            share.app.to_string(),
            share.state.clone(),
            format!("{:.0}%", share.fullest() * 100.0),
            theme.bar(share.fullest(), 10),
            of(
                share.sessions_on_one.to_string(),
                share.quota_sessions,
                share.quota_sessions.to_string(),
            ),
            of(share.rooms_on_one.to_string(), share.quota_rooms, share.quota_rooms.to_string()),
            of(short(share.rx_pps_on_one), share.quota_pps, short(share.quota_pps as f64)),
            short(share.pps.1),
        ];
        let is_bad = share.fullest() >= 0.9 || share.state == "suspended";
        Row::toned(cells, if is_bad { Tone::Bad } else { Tone::Plain })
    });
    let rows = rows.collect();
    let title = format!("Apps, use of quotas on the fullest worker{}", super::control_words(app));
    Grid { title, columns: &COLUMNS, rows }
}

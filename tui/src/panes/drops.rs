//! The drops by reason, the liveliest first: how many, since when, why; and who is behind them.

use proto::DropReason as R;

use crate::app::App;
use crate::grid::{Column, Grid, Row, STRIP, Tone, age, number, rest, short, strip, word};
use crate::history::curve;
use crate::theme::Theme;

pub(super) const COLUMNS: [Column; 6] = [
    word("reason", 17, 0),
    number("per s", 6, 0),
    number("since", 5, 0),
    number("total", 11, 2),
    strip("over time", 20, 3),
    rest("why", 24, 1),
];

/// Signs of somebody who means harm.
const HOSTILE: [R; 10] = [
    R::AuthFailed,
    R::FailureBudget,
    R::Replay,
    R::StunReplay,
    R::SourceBudget,
    R::UnknownUfrag,
    R::NoSession,
    R::UnknownClass,
    R::BadStun,
    R::Malformed,
];
/// Fewer of them per second are strays.
const HOSTILE_PER_S: f64 = 10.0;

pub fn grid(app: &App, theme: &Theme) -> Grid {
    let Some(seen) = &app.seen else { return Grid::default() };
    let counts = seen.snapshot.drops();
    let rate =
        |reason: R| app.rates.drops_by_reason_ps.get(reason as usize).copied().unwrap_or(0.0);
    let mut reasons: Vec<R> =
        R::ALL.iter().filter(|reason| counts[**reason as usize] > 0).copied().collect();
    let by_total = app.order(super::Table::Drops) == 1;
    reasons.sort_by(|one, other| {
        let total = counts[*other as usize].cmp(&counts[*one as usize]);
        if by_total { total } else { rate(*other).total_cmp(&rate(*one)).then(total) }
    });
    let rows = reasons.iter().map(|reason| {
        let flows = rate(*reason) > 0.0;
        let since = match flows {
            true => age(app.history.dropping_s(*reason) as u64),
            false => "-".to_owned(),
        };
        let cells = vec![
            reason.name().to_owned(),
            short(rate(*reason)),
            since,
            counts[*reason as usize].to_string(),
            curve(&app.history.drops(*reason, app.window()), STRIP, theme.levels()),
            reason.sentence().to_owned(),
        ];
        Row::toned(cells, if flows { Tone::Bad } else { Tone::Plain })
    });
    let mut rows: Vec<Row> = rows.collect();
    if rows.is_empty() {
        let words = ["none", "-", "-", "0", "", "nothing was dropped since the node began"];
        rows.push(Row::toned(words.map(str::to_owned).to_vec(), Tone::Dim));
    }
    let hostile: f64 = HOSTILE.iter().map(|reason| rate(*reason)).sum();
    let attack = match hostile >= HOSTILE_PER_S {
        true => format!("attack? {}/s{}", short(hostile), offender(app)),
        false => "no sign of an attack".to_owned(),
    };
    Grid { title: format!("Drops {}: {attack}", seen.snapshot.dropped()), columns: &COLUMNS, rows }
}

/// The session with most forged packets, when any has some.
fn offender(app: &App) -> String {
    let sessions = app.seen.as_ref().map(|seen| &seen.snapshot.sessions);
    let worst = sessions.into_iter().flatten().max_by_key(|session| session.row.auth_failures);
    match worst {
        Some(worst) if worst.row.auth_failures > 0 => {
            format!(", most at {} {}", app.masked(&worst.row.label), worst.id())
        }
        _ => String::new(),
    }
}

//! What is wrong with the node, in words that fit on one line of the narrowest screen.

use proto::DropReason;
use proto::security::{SecurityEvent, Severity};

use crate::app::{App, STALE_NS};
use crate::control::State;

/// Failed authentications or replays per second that are no accident.
const BURST_PER_S: f64 = 10.0;
/// Part of received packets that may be dropped.
const DROP_RATIO_MAX: f64 = 0.001;
/// Drops per second below which the ratio says nothing.
const DROPS_MIN_PER_S: f64 = 10.0;
/// Without a heartbeat for so long a worker stands still; nanoseconds.
const WORKER_STALLED_NS: u64 = 1_000_000_000;
/// Refused tokens per second that are more than somebody's mistake.
const REFUSED_PER_S: f64 = 2.0;
/// Packets per second that a device may lose before it is told.
const PORT_LOST_PER_S: f64 = 1.0;
/// How long a thing that happened once stays in the head; seconds.
pub const ONCE_S: u64 = 60;
/// How long a rate's alarm stays after the rate fell; seconds.
const RATE_S: u64 = 5;
/// Longest sentence, so that sign and age fit on 60 columns.
pub const TEXT_MAX: usize = 51;

/// What packets are dropped for that no peer of ours would send.
const FLOOD: [DropReason; 6] = [
    DropReason::NoSession,
    DropReason::SourceBudget,
    DropReason::UnknownUfrag,
    DropReason::UnknownClass,
    DropReason::BadStun,
    DropReason::Malformed,
];

/// One thing that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The same for the same thing, whatever its figures.
    pub key: String,
    /// In words.
    pub text: String,
    /// How long it stays after it was found last; seconds.
    pub stays_s: u64,
}

/// A finding with its times on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What.
    pub finding: Finding,
    /// When it was found first; nanoseconds.
    pub since_ns: u64,
    /// When it was found last; nanoseconds.
    pub last_ns: u64,
}

/// A list of findings, the worst first.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Something that holds as long as it is found.
    fn state(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.add(key.into(), text.into(), 0);
    }

    /// Something that comes and goes with a rate.
    fn rate(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.add(key.into(), text.into(), RATE_S);
    }

    /// Something that happened.
    pub fn once(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.add(key.into(), text.into(), ONCE_S);
    }

    fn add(&mut self, key: String, text: String, stays_s: u64) {
        self.0.push(Finding { key, text: text.chars().take(TEXT_MAX).collect(), stays_s });
    }
}

/// Everything that is wrong, the worst first.
pub fn findings(app: &App) -> Vec<Finding> {
    let mut found = Findings::default();
    let Some(seen) = &app.seen else { return vec![] };
    if app.is_stale() {
        let age_s = seen.snapshot.age_ns() / 1_000_000_000;
        found.state(
            "data plane silent",
            format!("data plane silent for {age_s} s: figures are old"),
        );
    }
    control(app, &mut found);
    if !app.is_stale() {
        // All of these would be about the past.
        workers(app, &mut found);
        port(app, &mut found);
        drops(app, &mut found);
        apps(app, &mut found);
    }
    security(app, &mut found);
    found.0
}

fn control(app: &App, found: &mut Findings) {
    match app.control.state {
        State::Dead => {
            found.state("control down", "control down: no joins, no acts; media goes on")
        }
        State::Silent => found.state("control silent", "control does not answer; media goes on"),
        State::Unknown | State::Up | State::Refuses => {}
    }
    if app.control.status["data_plane"] == "down" && !app.is_stale() {
        found.state("link", "control and data plane do not find each other");
    }
    if app.control.is_draining() {
        let sessions = app.control.drain["sessions"].as_u64().unwrap_or_default();
        let end = match app.control.drain["deadline_s"].as_u64() {
            Some(seconds) => format!("the rest ends in {seconds} s"),
            None => "no deadline".to_owned(),
        };
        found.state("draining", format!("draining: {sessions} sessions left, {end}"));
    }
    if app.control.status["config_reload_successful"] == false {
        found.state("reload", "configuration was not reloaded; the old one goes on");
    }
}

fn workers(app: &App, found: &mut Findings) {
    let Some(seen) = &app.seen else { return };
    let snapshot = &seen.snapshot;
    for view in &snapshot.shards {
        let shard = view.shard;
        if let Some(worker) = &view.worker {
            let silent = snapshot.taken_ns.saturating_sub(worker.heartbeat_ns);
            if silent > WORKER_STALLED_NS.min(STALE_NS) {
                let text = format!("worker {shard} stalled for {} ms", silent / 1_000_000);
                found.state(format!("worker {shard} stalled"), text);
            }
            let free = worker.bufs_total.saturating_sub(worker.bufs_in_use);
            if worker.bufs_total > 0 && free * 10 < worker.bufs_total {
                let text = format!("buffers low on worker {shard}: {free} free");
                found.rate(format!("buffers {shard}"), text);
            }
        }
        let Some(counters) = &view.counters else { continue };
        if counters.seal_faults > 0 {
            let text = format!("worker {shard}: cipher kernel was wrong, ring seals");
            found.state(format!("cipher {shard}"), text);
        }
        let node = &snapshot.node;
        let tables = [
            ("sessions", counters.sessions, node.sessions_max),
            ("rooms", counters.rooms, node.rooms_max),
        ];
        for (name, used, max) in tables {
            if max > 0 && used * 10 >= u64::from(max) * 9 {
                let text = format!("table full on worker {shard}: {used} of {max} {name}");
                found.state(format!("table {shard} {name}"), text);
            }
        }
    }
}

fn port(app: &App, found: &mut Findings) {
    if app.about["link"] == "down" {
        found.state("port", "port down: its link carries nothing");
    }
    let lost = app.rates.port_lost_ps;
    if lost >= PORT_LOST_PER_S {
        found.rate("port loss", format!("port loses {}/s, see Ports", crate::grid::short(lost)));
    }
}

fn drops(app: &App, found: &mut Findings) {
    let rate = |reasons: &[DropReason]| -> f64 {
        let rates = &app.rates.drops_by_reason_ps;
        reasons.iter().filter_map(|reason| rates.get(*reason as usize)).sum()
    };
    use DropReason as R;
    let bursts: [(&str, &[R]); 5] = [
        ("authentication failures", &[R::AuthFailed, R::FailureBudget]),
        ("replays", &[R::Replay, R::StunReplay, R::TooOld]),
        ("flood from unknown sources", &FLOOD),
        ("quota of an app filled", &[R::AppPackets, R::AppBytes]),
        ("buffers or queues full", &[R::NoMbuf, R::TxFull, R::SteerFull, R::RelayFull]),
    ];
    for (name, reasons) in bursts {
        let per_s = rate(reasons);
        if per_s >= BURST_PER_S {
            found.rate(name, format!("{name}: {}/s", crate::grid::short(per_s)));
        }
    }
    let (dropped, received) = (app.rates.drops_ps, app.rates.rx_pps);
    if dropped >= DROPS_MIN_PER_S && dropped > received * DROP_RATIO_MAX {
        let ratio = 100.0 * dropped / received.max(dropped);
        found.rate("drop ratio", format!("drop ratio {ratio:.1} %"));
    }
}

/// Apps whose sessions or rooms are as many as they may be on a worker: others of them cannot join.
fn apps(app: &App, found: &mut Findings) {
    for share in app.shares() {
        for (name, used, max) in [
            ("sessions", share.sessions_on_one, share.quota_sessions),
            ("rooms", share.rooms_on_one, share.quota_rooms),
        ] {
            if max > 0 && used >= max {
                let text = format!("quota of app {} full: {used} of {max} {name}", share.app);
                found.state(format!("quota {} {name}", share.app), text);
            }
        }
    }
}

/// Events of control's table that rose between its last two answers.
fn security(app: &App, found: &mut Findings) {
    let refused = app.security_ps(SecurityEvent::TokensRefused);
    if refused >= REFUSED_PER_S {
        found.rate("tokens refused", format!("tokens refused: {}/s", crate::grid::short(refused)));
    }
    use SecurityEvent as E;
    for event in SecurityEvent::ALL {
        // Those that a line above tells, with more.
        let is_told = matches!(
            event,
            E::FloodBegan
                | E::MediaForged
                | E::MediaReplayed
                | E::WorkerReplaced
                | E::DataPlaneLost
        );
        if is_told || event.severity() < Severity::Warning || app.security_ps(*event) == 0.0 {
            continue;
        }
        let text = match event {
            E::AuditFailed => "acts cannot be written to the audit file".to_owned(),
            E::AuditCut => "the audit file ended in the middle of a line".to_owned(),
            event => event.name().replace('_', " "),
        };
        found.once(format!("security {}", event.name()), text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::app::Msg;
    use crate::app::tests::{control, seen, watching};
    use crate::control::Control;
    use crate::source::Seen;

    /// What a second look says that `change` was applied to.
    fn after(change: impl Fn(&mut Seen, &mut Control)) -> String {
        let mut app = watching();
        let (mut look, mut control) = (seen(102), control());
        change(&mut look, &mut control);
        app.update(Msg::Seen(Box::new(look)));
        app.update(Msg::Control(Box::new(control)));
        app.alarms.iter().for_each(|a| assert!(a.finding.text.len() <= TEXT_MAX));
        app.alarms.iter().map(|a| a.finding.text.clone()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_node_that_is_well_raises_no_alarm_and_each_fault_is_named() {
        assert_eq!(after(|_, _| {}), "");
        let drops = |reason: DropReason| {
            after(|look, _| {
                look.snapshot.shards[0].counters.as_mut().unwrap().drops[reason as usize] += 500
            })
        };
        assert!(drops(DropReason::AuthFailed).contains("authentication failures: 500/s"));
        assert!(drops(DropReason::AuthFailed).contains("drop ratio"));
        assert!(drops(DropReason::Replay).contains("replays: 503/s"));
        assert!(drops(DropReason::SourceBudget).contains("flood from unknown sources"));
        assert!(drops(DropReason::AppBytes).contains("quota of an app filled"));
        assert!(drops(DropReason::TxFull).contains("buffers or queues full"));
        let worker = |change: fn(&mut proto::counters::WorkerCounters)| {
            after(|look, _| change(look.snapshot.shards[0].worker.as_mut().unwrap()))
        };
        assert!(worker(|w| w.heartbeat_ns -= 1_200_000_000).contains("worker 0 stalled"));
        assert!(worker(|w| w.restarts = 1).contains("worker 0 was replaced"));
        assert!(worker(|w| w.bufs_in_use = w.bufs_total - 5).contains("buffers low on worker 0"));
        let wrong = after(|look, _| {
            look.snapshot.shards[0].counters.as_mut().unwrap().seal_faults = 1;
        });
        assert!(wrong.contains("cipher kernel was wrong, ring seals"), "{wrong}");
        let full = after(|look, _| look.snapshot.node.sessions_max = 5);
        assert!(full.contains("table full on worker 0: 5 of 5 sessions"), "{full}");
        let down =
            |text: &'static str| after(move |look, _| look.snapshot.node.about = text.into());
        assert!(down(r#"{"link":"down"}"#).contains("port down"));
        assert!(!down(r#"{"link":"up"}"#).contains("port down"));
        let missed = after(|look, _| look.snapshot.port.rx_missed = 40);
        assert!(missed.contains("port loses 40/s, see Ports"), "{missed}");
    }

    #[test]
    fn the_state_of_both_daemons_is_named() {
        let state = |state| after(move |_, control| control.state = state);
        assert!(state(State::Dead).contains("control down"));
        assert!(state(State::Silent).contains("control does not answer"));
        assert_eq!(state(State::Refuses), "");
        assert!(
            after(|look, _| look.snapshot.taken_ns += 9_000_000_000).contains("data plane silent")
        );
        assert!(after(|_, c| c.status["pid"] = 8.into()).contains("control restarted"));
        let restarted = after(|look, _| {
            (look.snapshot.node.instance, look.snapshot.node.pid) = (8, 4300);
        });
        assert!(restarted.contains("data plane restarted: pid 4300, was 4242"), "{restarted}");
        let draining = after(|_, control| {
            control.status["draining"] = true.into();
            control.drain = json!({"sessions": 12, "deadline_s": 300});
        });
        assert!(draining.contains("draining: 12 sessions left, the rest ends in 300 s"));
    }

    #[test]
    fn a_full_quota_refused_tokens_and_a_full_disk_are_named() {
        let quota = after(|_, control| control.apps["apps"][0]["quota_sessions"] = 5.into());
        assert!(quota.contains("quota of app 1400000001 full: 5 of 5 sessions"), "{quota}");
        let event = |name: &'static str, count: u64| {
            after(move |_, control| control.status["security"][name] = count.into())
        };
        assert!(event("tokens_refused", 40).contains("tokens refused: 40/s"));
        assert_eq!(event("tokens_refused", 1), "");
        assert!(event("audit_failed", 1).contains("acts cannot be written to the audit file"));
        assert!(event("dtls_peer_mismatch", 1).contains("dtls peer mismatch"));
        assert_eq!(event("act_done", 1), "");
    }

    #[test]
    fn what_happened_once_leaves_the_head_after_a_minute() {
        let mut app = watching();
        let replaced = |at_s| {
            let mut look = seen(at_s);
            look.snapshot.shards[0].worker.as_mut().unwrap().restarts = 1;
            Msg::Seen(Box::new(look))
        };
        app.update(replaced(102));
        app.update(replaced(102 + ONCE_S));
        assert!(app.alarms.iter().any(|alarm| alarm.finding.text.contains("replaced")));
        app.update(replaced(103 + ONCE_S));
        assert!(!app.alarms.iter().any(|alarm| alarm.finding.text.contains("replaced")));
    }
}

//! What is wrong with the node, in words, from one look and the rates since the look before it.

use proto::DropReason;

use crate::app::{App, STALE_NS};

/// Failed authentications or replays per second that are no accident.
const BURST_PER_S: f64 = 10.0;
/// Part of received packets that may be dropped.
const DROP_RATIO_MAX: f64 = 0.001;
/// Drops per second below which the ratio says nothing.
const DROPS_MIN_PER_S: f64 = 10.0;
/// Without a heartbeat for so long a worker stands still; nanoseconds.
const WORKER_STALLED_NS: u64 = 1_000_000_000;

/// Everything that is wrong, the worst first.
pub fn alarms(app: &App) -> Vec<String> {
    let Some(seen) = &app.seen else { return vec![] };
    let mut alarms = vec![];
    if app.is_stale() {
        // All else would be about the past.
        return vec![format!("data plane silent for {} s", seen.snapshot.age_ns() / 1_000_000_000)];
    }
    if !seen.control_alive {
        alarms.push("control down: no joins, no acts; media goes on".to_owned());
    }
    workers(app, &mut alarms);
    drops(app, &mut alarms);
    alarms
}

fn workers(app: &App, alarms: &mut Vec<String>) {
    let Some(seen) = &app.seen else { return };
    let snapshot = &seen.snapshot;
    for view in &snapshot.shards {
        let shard = view.shard;
        if let Some(worker) = &view.worker {
            let silent = snapshot.taken_ns.saturating_sub(worker.heartbeat_ns);
            if silent > WORKER_STALLED_NS.min(STALE_NS) {
                alarms.push(format!("worker {shard} stalled for {} ms", silent / 1_000_000));
            }
            if worker.restarts > 0 {
                alarms.push(format!("worker {shard} restarted {} times", worker.restarts));
            }
            let free = worker.bufs_total.saturating_sub(worker.bufs_in_use);
            if worker.bufs_total > 0 && free * 10 < worker.bufs_total {
                alarms.push(format!("buffers low on worker {shard}: {free} free"));
            }
        }
        let Some(counters) = &view.counters else { continue };
        let full = |used: u64, max: u32| used * 10 >= u64::from(max) * 9;
        if full(counters.sessions, snapshot.node.sessions_max) {
            alarms.push(format!("table full on worker {shard}: {} sessions", counters.sessions));
        }
        if full(counters.rooms, snapshot.node.rooms_max) {
            alarms.push(format!("table full on worker {shard}: {} rooms", counters.rooms));
        }
    }
}

fn drops(app: &App, alarms: &mut Vec<String>) {
    let rate = |reasons: &[DropReason]| -> f64 {
        let rates = &app.rates.drops_by_reason_ps;
        reasons.iter().filter_map(|reason| rates.get(*reason as usize)).sum()
    };
    use DropReason as R;
    let bursts: [(&str, &[R]); 5] = [
        ("authentication failures", &[R::AuthFailed, R::FailureBudget]),
        ("replays", &[R::Replay, R::StunReplay]),
        ("flood from unknown sources", &[R::NoSession, R::SourceBudget, R::UnknownUfrag]),
        ("quota of an app filled", &[R::AppPackets, R::AppBytes]),
        ("buffers or queues full", &[R::NoMbuf, R::TxFull, R::SteerFull, R::RelayFull]),
    ];
    for (name, reasons) in bursts {
        let per_s = rate(reasons);
        if per_s >= BURST_PER_S {
            alarms.push(format!("{name}: {per_s:.0}/s"));
        }
    }
    let (dropped, received) = (app.rates.drops_ps, app.rates.rx_pps);
    if dropped >= DROPS_MIN_PER_S && dropped > received * DROP_RATIO_MAX {
        let ratio = 100.0 * dropped / received.max(dropped);
        alarms.push(format!("drop ratio {ratio:.1} %"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Msg;
    use crate::app::tests::{seen, watching};
    use crate::source::Seen;

    /// What a second look says that `change` was applied to.
    fn after(change: impl Fn(&mut Seen)) -> String {
        let mut app = watching();
        let mut look = seen(102);
        change(&mut look);
        app.update(Msg::Seen(Box::new(look)));
        alarms(&app).join("; ")
    }

    #[test]
    fn a_node_that_is_well_raises_no_alarm_and_each_fault_is_named() {
        assert_eq!(after(|_| {}), "");
        let drops = |reason: DropReason| {
            after(|look| {
                look.snapshot.shards[0].counters.as_mut().unwrap().drops[reason as usize] += 500
            })
        };
        assert!(drops(DropReason::AuthFailed).contains("authentication failures: 500/s"));
        assert!(drops(DropReason::AuthFailed).contains("drop ratio"));
        assert!(drops(DropReason::Replay).contains("replays: 503/s"));
        assert!(drops(DropReason::SourceBudget).contains("flood from unknown sources"));
        assert!(drops(DropReason::AppBytes).contains("quota of an app filled"));
        assert!(drops(DropReason::TxFull).contains("buffers or queues full"));
        assert!(after(|look| look.control_alive = false).contains("control down"));
        assert!(
            after(|look| look.snapshot.taken_ns += 9_000_000_000).contains("data plane silent")
        );
        let worker = |change: fn(&mut proto::counters::WorkerCounters)| {
            after(|look| change(look.snapshot.shards[0].worker.as_mut().unwrap()))
        };
        assert!(worker(|w| w.heartbeat_ns -= 1_200_000_000).contains("worker 0 stalled"));
        assert!(worker(|w| w.restarts = 1).contains("worker 0 restarted 1 times"));
        assert!(worker(|w| w.bufs_in_use = w.bufs_total - 5).contains("buffers low on worker 0"));
        let full = after(|look| look.snapshot.node.sessions_max = 5);
        assert!(full.contains("table full on worker 0: 5 sessions"), "{full}");
    }
}

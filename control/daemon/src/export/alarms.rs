//! Alarms that the node raises by itself, once a second: those of the shipped rules that its own counters
//! can judge, under the same thresholds, so that an incident opens without a Prometheus, too.
//!
//! Others of the rules are security events of their own (floods, forgeries, replays, a data plane that is
//! gone, a clock that was set), or nothing that a control daemon can say (that it is dead).

use std::collections::BTreeMap;

use proto::SecurityEvent;
use stats::{Rates, Snapshot};

use super::shards::stress;
use crate::limits::{
    ALARM_BUFFERS_FREE, ALARM_CALM_LOOKS, ALARM_DROP_RATIO, ALARM_HEARTBEAT_NS, ALARM_STRESS,
};
use crate::security::Security;

/// What is wrong, and with what.
type Subject = (SecurityEvent, String);

/// How long something has been wrong, or right again.
#[derive(Debug, Default)]
struct Course {
    bad: u32,
    calm: u32,
    is_raised: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<(u8, String), Course>);

/// Looks in a row, a second apart, that raise an alarm: as long as its rule waits.
fn patience(event: SecurityEvent) -> u32 {
    match event {
        // One more than the rule: a look may fall between two beats of a machine that was suspended.
        SecurityEvent::WorkerStalled => 2,
        SecurityEvent::BuffersLow => 60,
        SecurityEvent::DropsHigh => 300,
        SecurityEvent::StressHigh => 600,
        _ => 1,
    }
}

impl Alarms {
    /// Judges what was seen; reports what has become an alarm, and ends what is none any more.
    pub fn look(&mut self, seen: &Snapshot, rates: Option<&Rates>, security: &Security) {
        let bad = judge(seen, rates);
        for (event, about) in &bad {
            self.0.entry((*event as u8, about.clone())).or_default();
        }
        self.0.retain(|(number, about), course| {
            let event = SecurityEvent::ALL[usize::from(*number)];
            let is_bad = bad.iter().any(|(other, of)| *other == event && of == about);
            course.go_on(is_bad);
            if !course.is_raised && course.bad >= patience(event) {
                course.is_raised = true;
                security.report(event, about, 1);
            }
            let is_over = course.calm >= ALARM_CALM_LOOKS;
            if is_over && course.is_raised {
                security.ended(event, about);
            }
            // What was never raised has to be wrong all the time to become an alarm.
            !is_over && (course.is_raised || is_bad)
        });
    }

    /// Nobody knows more: the data plane is gone, which is an event of its own.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

impl Course {
    fn go_on(&mut self, is_bad: bool) {
        match is_bad {
            true => (self.bad, self.calm) = (self.bad.saturating_add(1), 0),
            false => (self.bad, self.calm) = (0, self.calm.saturating_add(1)),
        }
    }
}

fn judge(seen: &Snapshot, rates: Option<&Rates>) -> Vec<Subject> {
    let mut bad = vec![];
    for shard in &seen.shards {
        let Some(worker) = &shard.worker else { continue };
        let about = format!("worker {}", shard.shard);
        let age_ns = seen.taken_ns.saturating_sub(worker.heartbeat_ns);
        // Zero: it has not begun.
        if worker.heartbeat_ns > 0 && age_ns > ALARM_HEARTBEAT_NS {
            bad.push((SecurityEvent::WorkerStalled, about.clone()));
        }
        let free = worker.bufs_total.saturating_sub(worker.bufs_in_use) as f64;
        if worker.bufs_total > 0 && free / (worker.bufs_total as f64) < ALARM_BUFFERS_FREE {
            bad.push((SecurityEvent::BuffersLow, about));
        }
    }
    if stress(seen, rates) > ALARM_STRESS {
        bad.push((SecurityEvent::StressHigh, String::new()));
    }
    if rates
        .is_some_and(|rates| rates.rx_pps > 0.0 && rates.drops_ps / rates.rx_pps > ALARM_DROP_RATIO)
    {
        bad.push((SecurityEvent::DropsHigh, String::new()));
    }
    bad
}

#[cfg(test)]
mod tests {
    use proto::counters::WorkerCounters;
    use stats::{NodeFacts, ShardView};

    use super::*;

    fn seen(second: u64, heartbeat_s: u64, in_use: u64) -> Snapshot {
        let second_ns = 1_000_000_000;
        let heartbeat_ns = heartbeat_s * second_ns;
        let worker = WorkerCounters {
            heartbeat_ns,
            bufs_total: 100,
            bufs_in_use: in_use,
            ..Default::default()
        };
        let node = NodeFacts {
            pid: 1,
            instance: 1,
            heartbeat_ns,
            udp_base: 8000,
            shards: 1,
            sessions_max: 8,
            rooms_max: 8,
            about: String::new(),
        };
        let shards = vec![ShardView { shard: 0, counters: None, worker: Some(worker) }];
        let (port, rooms, sessions) = (Default::default(), vec![], vec![]);
        Snapshot { taken_ns: second * second_ns, node, port, shards, rooms, sessions }
    }

    fn told(security: &Security) -> Vec<(&'static str, String)> {
        let recent = security.recent();
        recent.iter().map(|record| (record.event.name(), record.about.clone())).collect()
    }

    #[test]
    fn a_worker_that_stands_still_is_told_once_and_its_incident_ends_when_it_goes_on() {
        let (mut alarms, security) = (Alarms::default(), Security::default());
        let mut look =
            |second, heartbeat| alarms.look(&seen(second, heartbeat, 1), None, &security);
        look(10, 10);
        look(11, 9);
        assert_eq!(told(&security), [], "once may be anything");
        (12..30).for_each(|second| look(second, 9));
        assert_eq!(told(&security), [("worker_stalled", "worker 0".to_owned())]);
        let ended = || security.incidents.list()["incidents"][0]["ended_unix_ms"].clone();
        assert!(ended().is_null());
        (30..30 + u64::from(ALARM_CALM_LOOKS)).for_each(|second| look(second, second));
        assert!(ended().is_u64(), "{}", security.incidents.list());
        (50..53).for_each(|second| look(second, 40));
        assert_eq!(told(&security).len(), 2, "it may happen again");
        assert_eq!(security.incidents.list()["incidents"][0]["count"], 2);
    }

    #[test]
    fn what_a_rule_waits_for_has_to_last_so_long_without_a_break() {
        let (mut alarms, security) = (Alarms::default(), Security::default());
        for second in 1..200 {
            // A breath of air every fifty seconds.
            let in_use = if second % 50 == 0 { 50 } else { 95 };
            alarms.look(&seen(second, second, in_use), None, &security);
        }
        assert_eq!(told(&security), []);
        (200..262).for_each(|second| alarms.look(&seen(second, second, 95), None, &security));
        assert_eq!(told(&security), [("buffers_low", "worker 0".to_owned())]);
        let unborn = seen(300, 0, 1);
        (0..5).for_each(|_| alarms.look(&unborn, None, &security));
        assert_eq!(told(&security).len(), 1, "a worker without a heartbeat yet has not stalled");
    }
}

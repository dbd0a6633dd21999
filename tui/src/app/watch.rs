//! What a new look changes: rates, curves, alarms, and the list of what changed.

use std::collections::HashMap;

use proto::security::SecurityEvent;
use serde_json::Value;
use stats::Rates;

use super::{App, Sent};
use crate::alarms::{Alarm, Finding, Findings, findings};
use crate::control::{Control, State};
use crate::source::Seen;

/// Changes that are remembered.
const CHANGES_MAX: usize = 256;

/// Something that changed while this program looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, in milliseconds of Unix time.
    pub unix_ms: u64,
    /// `alarm`, `ended` or `change`.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

impl App {
    /// One more look at the stats region.
    pub(super) fn take(&mut self, seen: Seen) {
        let mut happened = Findings::default();
        let old = self.seen.replace(seen);
        let Some(new) = &self.seen else { return };
        let base = old.as_ref().unwrap_or(new);
        self.rates = Rates::between(&base.snapshot, &new.snapshot);
        self.history.push(&base.snapshot, &new.snapshot, &self.rates);
        if old.as_ref().is_none_or(|old| old.snapshot.node.about != new.snapshot.node.about) {
            self.about = serde_json::from_str(&new.snapshot.node.about).unwrap_or_default();
        }
        if let Some(old) = &old {
            lives(old, new, &mut happened);
        }
        self.before = old;
        self.count_rooms();
        self.arrange();
        self.settle(happened);
    }

    /// One more answer of control.
    pub(super) fn heard(&mut self, control: Control) {
        let mut happened = Findings::default();
        let was = std::mem::replace(&mut self.control, control);
        let now = &self.control;
        if let (Some(was), Some(now)) = (was.pid(), now.pid())
            && was != now
        {
            happened.once("control restarted", format!("control restarted: pid {now}, was {was}"));
            self.security_before = None;
        }
        let hash = |control: &Control| control.status["config_hash"].as_str().map(str::to_owned);
        if let (Some(was), Some(now)) = (hash(&was), hash(now))
            && was != now
        {
            self.change("change", "another configuration is in force: see pane 9".to_owned());
        }
        self.rate_security();
        self.rate_streams();
        self.count_rooms();
        self.settle(happened);
    }

    /// Bits per second out of each slot since control's answer before.
    fn rate_streams(&mut self) {
        let mut known = HashMap::new();
        for stream in self.control.session["streams"].as_array_mut().into_iter().flatten() {
            let figures =
                (stream["slot"].as_u64(), stream["octets"].as_u64(), stream["at_ns"].as_u64());
            let (Some(slot), Some(octets), Some(at_ns)) = figures else { continue };
            let key = slot_key(stream["session"].as_str().unwrap_or_default(), slot);
            let mut sent = Sent { octets: octets as u32, at_ns, rate: None };
            if let Some(then) = self.sent.get(&key) {
                // An answer that is shown again tells nothing new.
                sent.rate = match at_ns.saturating_sub(then.at_ns) {
                    0 => then.rate,
                    ns => Some(f64::from(sent.octets.wrapping_sub(then.octets)) * 8e9 / ns as f64),
                };
            }
            stream["bits_per_s"] = sent.rate.map(f64::round).into();
            known.insert(key, sent);
        }
        self.sent = known;
    }

    /// How often each security event happened since control's answer before.
    fn rate_security(&mut self) {
        self.security_ps = vec![0.0; SecurityEvent::COUNT];
        if self.control.state != State::Up {
            return;
        }
        let now = (self.now_ns(), self.control.status["security"].clone());
        if let Some((then_ns, before)) = &self.security_before {
            // Both daemons are asked once a second; two answers within one look count as one second.
            let seconds = (now.0.saturating_sub(*then_ns) as f64 / 1e9).max(1.0);
            let count = |counts: &Value, name: &str| counts[name].as_u64().unwrap_or_default();
            for event in SecurityEvent::ALL {
                let more = count(&now.1, event.name()).saturating_sub(count(before, event.name()));
                self.security_ps[*event as usize] = more as f64 / seconds;
            }
        }
        self.security_before = Some(now);
    }

    /// Brings the alarms up to date; notes which began and which ended.
    fn settle(&mut self, happened: Findings) {
        let now_ns = self.now_ns();
        let mut found: Vec<Finding> = happened.0;
        found.extend(findings(self));
        let mut alarms: Vec<Alarm> = vec![];
        for finding in found {
            let known = self.alarms.iter().find(|alarm| alarm.finding.key == finding.key);
            let since_ns = known.map_or(now_ns, |alarm| alarm.since_ns);
            if known.is_none() {
                self.change("alarm", finding.text.clone());
            }
            alarms.push(Alarm { finding, since_ns, last_ns: now_ns });
        }
        for old in std::mem::take(&mut self.alarms) {
            if alarms.iter().any(|alarm| alarm.finding.key == old.finding.key) {
                continue;
            }
            if now_ns.saturating_sub(old.last_ns) <= old.finding.stays_s * 1_000_000_000
                && old.finding.stays_s > 0
            {
                alarms.push(old);
            } else if old.finding.stays_s < crate::alarms::ONCE_S {
                let lasted_s = now_ns.saturating_sub(old.since_ns) / 1_000_000_000;
                self.change("ended", format!("after {lasted_s} s: {}", old.finding.text));
            }
        }
        self.alarms = alarms;
    }

    /// Something to be found again under Events.
    pub(super) fn change(&mut self, kind: &'static str, text: String) {
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        let unix_ms = self.seen.as_ref().map_or(0, |seen| seen.unix_ms);
        self.changes.push_back(Change { unix_ms, kind, text });
    }
}

/// A slot of a session as one number.
fn slot_key(session: &str, slot: u64) -> u64 {
    let id = session.parse::<proto::SessionId>().map_or(0, |id| id.0);
    // An id takes 48 bits, a place in a session far less than the others.
    id << 8 | (slot & 0xff)
}

/// Lives that ended between two looks.
fn lives(old: &Seen, new: &Seen, happened: &mut Findings) {
    let (was, now) = (&old.snapshot.node, &new.snapshot.node);
    if was.instance != now.instance {
        let text = format!("data plane restarted: pid {}, was {}", now.pid, was.pid);
        happened.once("data plane restarted", text);
        return;
    }
    for (was, now) in old.snapshot.shards.iter().zip(&new.snapshot.shards) {
        let (Some(worker), Some(before)) = (&now.worker, &was.worker) else { continue };
        if worker.restarts > before.restarts {
            let text = format!("worker {} was replaced after a fault", now.shard);
            happened.once(format!("worker {} replaced", now.shard), text);
        }
    }
}

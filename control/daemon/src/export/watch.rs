//! Looks at the counters once a second: rates, floods, and what guards of a node want to know of them.

use proto::{DropReason, SecurityEvent};
use stats::{Rates, Snapshot};

use super::alarms::Alarms;
use crate::limits::{
    CLOCK_STEP_MIN_NS, FLOOD_ENDS_AFTER, FLOOD_PACKETS_PER_S, FLOOD_REQUESTS_PER_S,
    FORGED_PACKETS_PER_S, REPLAYED_PACKETS_PER_S,
};
use crate::security::Security;

/// Classes of unwanted packets, each with the drops that it consists of.
pub const FLOODS: [(&str, &[DropReason]); 5] = [
    (
        "link",
        &[
            DropReason::BadFrame,
            DropReason::BadIp,
            DropReason::BadLength,
            DropReason::BadChecksum,
            DropReason::Fragment,
            DropReason::NoPort,
            DropReason::PingLimit,
        ],
    ),
    ("junk", &[DropReason::UnknownClass, DropReason::Malformed]),
    (
        "stun",
        &[
            DropReason::BadStun,
            DropReason::UnknownUfrag,
            DropReason::SourceBudget,
            DropReason::StunReplay,
            DropReason::StunLimit,
        ],
    ),
    ("dtls", &[DropReason::NotServed, DropReason::PuntLimit, DropReason::PuntFull]),
    (
        "media",
        &[
            DropReason::NoSession,
            DropReason::UnknownSsrc,
            DropReason::FailureBudget,
            DropReason::AuthFailed,
            DropReason::Replay,
            DropReason::TooOld,
        ],
    ),
];
/// The class of requests that were refused for their rate.
pub const SIGNALLING: &str = "signalling";

/// One class's state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flood {
    /// Dropped since the start of who counts it.
    pub dropped: u64,
    /// Whether it is above its threshold, or was a moment ago.
    pub is_active: bool,
    /// Looks in a row below half of the threshold.
    calm: u32,
}

impl Flood {
    /// Takes a new count; whether the state has changed.
    fn look(&mut self, dropped: u64, per_s: f64, threshold: f64) -> bool {
        self.dropped = dropped;
        self.calm = if per_s < threshold / 2.0 { self.calm + 1 } else { 0 };
        let was_active = self.is_active;
        self.is_active = match was_active {
            false => per_s >= threshold,
            true => self.calm < FLOOD_ENDS_AFTER,
        };
        self.is_active != was_active
    }
}

/// What the last looks have shown.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Snapshot>,
    /// Of the last second.
    pub rates: Option<Rates>,
    /// By [`FLOODS`], then [`SIGNALLING`].
    pub floods: [Flood; FLOODS.len() + 1],
    /// Data planes met.
    pub lives: u64,
    /// Unix time less monotonic time at the first look, in nanoseconds.
    offset_ns: Option<i128>,
    /// By how much the wall clock was set since, in nanoseconds.
    pub clock_step_ns: i128,
    is_lost: bool,
    alarms: Alarms,
}

/// The two clocks, and what is not in the stats region.
#[derive(Debug, Clone, Copy)]
pub struct Outside {
    /// Monotonic clock, nanoseconds.
    pub monotonic_ns: u64,
    /// Wall clock, nanoseconds.
    pub unix_ns: u64,
    /// Requests refused for their rate since the start.
    pub rate_limited: u64,
    /// Seconds since the look before.
    pub elapsed_s: f64,
}

impl Watch {
    /// Takes the counters of now (`None`: no data plane). The snapshot of the look before comes back.
    pub fn look(
        &mut self,
        now: Option<Snapshot>,
        outside: Outside,
        security: &Security,
    ) -> Option<Snapshot> {
        self.clock(outside, security);
        self.presence(now.as_ref(), security);
        let requests = outside.rate_limited;
        let of_signalling = &mut self.floods[FLOODS.len()];
        let refused = requests.saturating_sub(of_signalling.dropped) as f64;
        let per_s = refused / outside.elapsed_s.max(0.1);
        if of_signalling.look(requests, per_s, FLOOD_REQUESTS_PER_S) {
            tell(security, SIGNALLING, of_signalling.is_active);
        }
        let before = std::mem::replace(&mut self.last, now);
        let (Some(old), Some(new)) = (&before, &self.last) else {
            self.rates = None;
            if self.last.is_none() {
                self.alarms.forget();
            }
            return before;
        };
        let rates = Rates::between(old, new);
        packets(&mut self.floods, new, &rates, security);
        if old.node.instance == new.node.instance {
            marks(old, new, &rates, security);
        }
        self.rates = (rates.seconds > 0.0).then_some(rates);
        self.alarms.look(new, self.rates.as_ref(), security);
        before
    }

    /// What was seen last.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.last.as_ref()
    }

    fn presence(&mut self, now: Option<&Snapshot>, security: &Security) {
        let instance = |snapshot: &Snapshot| snapshot.node.instance;
        let (old, new) = (self.last.as_ref().map(instance), now.map(instance));
        let is_other = new.is_some() && old != new;
        if (old.is_some() && old != new) && !self.is_lost {
            self.is_lost = true;
            security.report(SecurityEvent::DataPlaneLost, "", 1);
        }
        if is_other && (self.lives == 0 || self.is_lost) {
            self.lives += 1;
            self.is_lost = false;
            security.report(SecurityEvent::DataPlaneBack, "", 1);
        }
    }

    /// A clock that is slewed moves the monotonic one as well: what differs was set.
    fn clock(&mut self, outside: Outside, security: &Security) {
        let offset_ns = i128::from(outside.unix_ns) - i128::from(outside.monotonic_ns);
        let first_ns = *self.offset_ns.get_or_insert(offset_ns);
        let step_ns = offset_ns - first_ns;
        if (step_ns - self.clock_step_ns).abs() >= CLOCK_STEP_MIN_NS {
            let by = format!("{:+.1} s", (step_ns - self.clock_step_ns) as f64 / 1e9);
            security.report(SecurityEvent::ClockStepped, &by, 1);
            self.clock_step_ns = step_ns;
        }
    }
}

fn tell(security: &Security, class: &str, is_active: bool) {
    let event = if is_active { SecurityEvent::FloodBegan } else { SecurityEvent::FloodEnded };
    security.report(event, class, 1);
}

fn packets(floods: &mut [Flood], new: &Snapshot, rates: &Rates, security: &Security) {
    let dropped = new.drops();
    for (flood, (class, reasons)) in floods.iter_mut().zip(FLOODS) {
        let count = reasons.iter().map(|reason| dropped[*reason as usize]).sum();
        let per_s = reasons.iter().map(|reason| rates.drops_by_reason_ps[*reason as usize]).sum();
        if flood.look(count, per_s, FLOOD_PACKETS_PER_S) {
            tell(security, class, flood.is_active);
        }
    }
}

/// Signs of tampering, and shards that were replaced.
fn marks(old: &Snapshot, new: &Snapshot, rates: &Rates, security: &Security) {
    let per_s = |reason: DropReason| rates.drops_by_reason_ps[reason as usize];
    let (before, after) = (old.drops(), new.drops());
    let more = |reason: DropReason| after[reason as usize].saturating_sub(before[reason as usize]);
    for (event, reason, threshold) in [
        (SecurityEvent::MediaForged, DropReason::AuthFailed, FORGED_PACKETS_PER_S),
        (SecurityEvent::MediaReplayed, DropReason::Replay, REPLAYED_PACKETS_PER_S),
    ] {
        if per_s(reason) >= threshold {
            security.report(event, reason.name(), more(reason));
        }
    }
    for reason in [DropReason::ForeignRoom, DropReason::ForeignApp] {
        if more(reason) > 0 {
            security.report(SecurityEvent::IsolationRefused, reason.name(), more(reason));
        }
    }
    for (old, new) in old.shards.iter().zip(&new.shards) {
        let (Some(old), Some(now)) = (&old.worker, &new.worker) else { continue };
        let replaced = now.restarts.saturating_sub(old.restarts);
        if replaced > 0 {
            let worker = format!("worker {}", new.shard);
            security.report(SecurityEvent::WorkerReplaced, &worker, replaced);
        }
    }
}

#[cfg(test)]
mod tests;

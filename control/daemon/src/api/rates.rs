//! Budgets of joins: per source address over all apps, and per app.
//!
//! The source pays for every request before anything is verified; the app pays only for requests that
//! showed valid tokens, so that strangers cannot spend its share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::limits::SOURCES_MAX;
use crate::problem::{Code, Problem};

/// A source: an IPv4 address, or the /64 network of an IPv6 address, which is what one host gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    /// The Unix socket, and all sources beyond the limit.
    Other,
}

impl Source {
    pub(super) fn of(ip: Option<IpAddr>) -> Source {
        match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(v4)) => Source::V4(v4.octets()),
            Some(IpAddr::V6(v6)) => {
                let mut network = [0; 8];
                network.copy_from_slice(&v6.octets()[..8]);
                Source::V6(network)
            }
            None => Source::Other,
        }
    }
}

type PerSource = RateLimiter<Source, HashMapStateStore<Source>, DefaultClock>;
type PerApp = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// The budgets.
pub struct Rates {
    clock: DefaultClock,
    sources: RwLock<Sources>,
    apps: RwLock<HashMap<u32, (u32, PerApp)>>,
}

/// The limit that a budget was made for, and the budget.
struct Sources {
    per_s: u32,
    limiter: Option<PerSource>,
}

fn quota(per_s: u32) -> Option<Quota> {
    NonZeroU32::new(per_s).map(Quota::per_second)
}

impl Rates {
    /// `source_joins_per_s` for each source, and each app's share; zero means unlimited. A second's
    /// budget may be spent at once.
    pub fn new(source_joins_per_s: u32, apps: impl IntoIterator<Item = (u32, u32)>) -> Rates {
        let limiter = quota(source_joins_per_s).map(RateLimiter::hashmap);
        let rates = Rates {
            clock: DefaultClock::default(),
            sources: RwLock::new(Sources { per_s: source_joins_per_s, limiter }),
            apps: RwLock::default(),
        };
        rates.set(source_joins_per_s, apps);
        rates
    }

    /// Other limits from now on. Who has the same limit as before keeps what is spent.
    pub fn set(&self, source_joins_per_s: u32, apps: impl IntoIterator<Item = (u32, u32)>) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        if sources.per_s != source_joins_per_s {
            let limiter = quota(source_joins_per_s).map(RateLimiter::hashmap);
            *sources = Sources { per_s: source_joins_per_s, limiter };
        }
        let mut known = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *known);
        for (app, per_s) in apps {
            let Some(quota) = quota(per_s) else { continue };
            let kept = old.remove(&app).filter(|(limit, _)| *limit == per_s);
            known.insert(app, kept.unwrap_or_else(|| (per_s, RateLimiter::direct(quota))));
        }
    }

    /// Spends one request of a source.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn spend_source(&self, ip: Option<IpAddr>) -> Result<(), Problem> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let Some(limiter) = &sources.limiter else { return Ok(()) };
        let source = if limiter.len() < SOURCES_MAX { Source::of(ip) } else { Source::Other };
        limiter.check_key(&source).map_err(|refused| {
            Code::JoinRate.retry_after(seconds(refused.wait_time_from(self.clock.now())))
        })
    }

    /// Spends one join of an app.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn spend_app(&self, app: u32) -> Result<(), Problem> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        let Some((_, limiter)) = apps.get(&app) else { return Ok(()) };
        limiter.check().map_err(|refused| {
            Code::AppJoinRate.retry_after(seconds(refused.wait_time_from(self.clock.now())))
        })
    }

    /// Forgets sources that have their whole budget again.
    pub fn sweep(&self) {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = &sources.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

fn seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_spends_only_its_own_budget_whatever_its_spelling() {
        let rates = Rates::new(3, []);
        let ip = |text: &str| Some(text.parse().unwrap());
        for spelling in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            assert!(rates.spend_source(ip(spelling)).is_ok());
        }
        let refused = rates.spend_source(ip("192.0.2.1")).unwrap_err();
        assert_eq!(
            (refused.status, refused.code, refused.retry_after_s),
            (429, "join_rate", Some(1))
        );
        assert!(rates.spend_source(ip("192.0.2.2")).is_ok());
        for host in 0..3 {
            assert!(rates.spend_source(ip(&format!("2001:db8::{host}"))).is_ok());
        }
        assert!(rates.spend_source(ip("2001:db8::ffff")).is_err(), "one network, one budget");
        assert!(rates.spend_source(ip("2001:db8:0:1::1")).is_ok());
        rates.sweep();
        assert!(rates.spend_source(ip("192.0.2.1")).is_err(), "a sweep forgives nothing");
    }

    #[test]
    fn a_change_of_limits_forgives_only_those_whose_limit_changed() {
        let rates = Rates::new(1, [(1, 1), (2, 1)]);
        assert!(rates.spend_app(1).is_ok() && rates.spend_app(2).is_ok());
        assert!(rates.spend_source(None).is_ok());
        rates.set(1, [(1, 1), (2, 5), (3, 1)]);
        assert!(rates.spend_source(None).is_err() && rates.spend_app(1).is_err());
        assert!(rates.spend_app(2).is_ok() && rates.spend_app(3).is_ok());
        rates.set(0, []);
        assert!(rates.spend_source(None).is_ok() && rates.spend_app(1).is_ok());
    }

    #[test]
    fn an_app_spends_only_its_own_share_and_zero_means_unlimited() {
        let rates = Rates::new(0, [(1, 2), (2, 0)]);
        assert!(rates.spend_app(1).is_ok() && rates.spend_app(1).is_ok());
        assert_eq!(rates.spend_app(1).unwrap_err().code, "app_join_rate");
        assert!((0..1000).all(|_| rates.spend_app(2).is_ok() && rates.spend_source(None).is_ok()));
    }
}

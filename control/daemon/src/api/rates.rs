//! Budgets of joins: per source address over all apps, and per app.
//!
//! The source pays for every request before anything is verified; the app pays only for requests that
//! showed valid tokens, so that strangers cannot spend its share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

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
    sources: Option<PerSource>,
    apps: HashMap<u32, PerApp>,
}

impl Rates {
    /// `source_joins_per_s` for each source, and each app's share; zero means unlimited. A second's
    /// budget may be spent at once.
    pub fn new(source_joins_per_s: u32, apps: impl IntoIterator<Item = (u32, u32)>) -> Rates {
        let quota = |per_s: u32| NonZeroU32::new(per_s).map(Quota::per_second);
        Rates {
            clock: DefaultClock::default(),
            sources: quota(source_joins_per_s).map(RateLimiter::hashmap),
            apps: apps
                .into_iter()
                .filter_map(|(app, per_s)| Some((app, RateLimiter::direct(quota(per_s)?))))
                .collect(),
        }
    }

    /// Spends one request of a source.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn spend_source(&self, ip: Option<IpAddr>) -> Result<(), Problem> {
        let Some(limiter) = &self.sources else { return Ok(()) };
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
        let Some(limiter) = self.apps.get(&app) else { return Ok(()) };
        limiter.check().map_err(|refused| {
            Code::AppJoinRate.retry_after(seconds(refused.wait_time_from(self.clock.now())))
        })
    }

    /// Forgets sources that have their whole budget again.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.sources {
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
    fn an_app_spends_only_its_own_share_and_zero_means_unlimited() {
        let rates = Rates::new(0, [(1, 2), (2, 0)]);
        assert!(rates.spend_app(1).is_ok() && rates.spend_app(1).is_ok());
        assert_eq!(rates.spend_app(1).unwrap_err().code, "app_join_rate");
        assert!((0..1000).all(|_| rates.spend_app(2).is_ok() && rates.spend_source(None).is_ok()));
    }
}

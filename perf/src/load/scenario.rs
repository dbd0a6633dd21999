//! Scenarios of a whole node under load, from a TOML file.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use srtp::Profile;

use super::lane::LANES_MAX;
use crate::Failure;

/// The scenarios of the specification.
const DEFAULT: &str = include_str!("../../scenarios/load.toml");
/// Payload bytes: a watermark at least, what docs tell payloaders and some at most.
const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 20..=1400;
/// What is sealed before the clock starts, at most, in bytes.
const SEALED_BYTES_MAX: u64 = 2 << 30;
/// Subscribing sessions that a member may have.
const PUBLISHERS_MAX: u32 = 4;

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Stands in front of its figures.
    pub name: String,
    /// Rooms, all alike.
    pub rooms: u32,
    /// Publishers of each room.
    pub publishers: u32,
    /// Subscribers of each publisher.
    pub subscribers: u32,
    /// RTP payload.
    pub payload_bytes: usize,
    /// Packets that each publisher sends a second.
    pub packets_per_s: f64,
    /// How long.
    pub seconds: f64,
    /// Crypto suite, by its name in SDP.
    #[serde(default = "gcm")]
    pub profile: String,
    /// The node's port: a DPDK device, `uring` or `udp`.
    pub port: String,
    /// One packet in so many is opened by the sink, and the first of each subscriber; 1: all.
    #[serde(default = "one")]
    pub verify_every: u32,
    /// The promise: no more than this is lost.
    pub loss_percent_max: Option<f64>,
    /// The promise: 99 of 100 packets are no later than this.
    pub latency_p99_us_max: Option<f64>,
}

fn gcm() -> String {
    Profile::AeadAes128Gcm.to_string()
}

fn one() -> u32 {
    1
}

impl Scenario {
    /// The suite.
    ///
    /// # Panics
    /// When the name was not checked.
    pub fn suite(&self) -> Profile {
        self.profile.parse().expect("checked when it was read")
    }

    /// Packets that all publishers together send a second.
    pub fn ingress_per_s(&self) -> f64 {
        f64::from(self.rooms * self.publishers) * self.packets_per_s
    }

    fn check(&self) -> Result<(), String> {
        let publishers = u64::from(self.rooms) * u64::from(self.publishers);
        let sessions = publishers.saturating_mul(1 + u64::from(self.subscribers));
        let sealed = self.ingress_per_s() * self.seconds * (self.payload_bytes + 32) as f64;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let refuse = |why: String| Err(format!("`{}`: {why}", self.name));
        match () {
            () if self.name.is_empty() || !self.name.chars().all(is_name) => {
                refuse("a name has letters, digits and `_`".into())
            }
            () if self.rooms == 0 || self.subscribers == 0 => {
                refuse("rooms and subscribers begin at 1".into())
            }
            () if !(1..=PUBLISHERS_MAX).contains(&self.publishers) => {
                refuse(format!("publishers is 1 to {PUBLISHERS_MAX}"))
            }
            () if sessions > LANES_MAX.into() => {
                refuse(format!("{sessions} sessions; there are addresses for {LANES_MAX}"))
            }
            () if !PAYLOAD_BYTES.contains(&self.payload_bytes) => {
                refuse(format!("payload_bytes is {PAYLOAD_BYTES:?}"))
            }
            () if !(self.packets_per_s >= 1.0 && self.packets_per_s <= 1e6) => {
                refuse("packets_per_s is 1 to 1,000,000".into())
            }
            () if !(self.seconds >= 0.1 && self.seconds <= 600.0) => {
                refuse("seconds is 0.1 to 600; longer runs are `soak`".into())
            }
            () if sealed > SEALED_BYTES_MAX as f64 => refuse(
                "more than 2 GiB would be sealed beforehand: fewer seconds or packets".into(),
            ),
            () if self.profile.parse::<Profile>().is_err() => {
                refuse(format!("`{}` is no profile: AEAD_AES_128_GCM and others", self.profile))
            }
            () if self.verify_every == 0 => refuse("verify_every begins at 1".into()),
            () => Ok(()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

/// Reads a file, or the scenarios of the specification.
///
/// # Errors
/// [`Failure::Scenario`] with the reason.
pub fn read(file: Option<&Path>) -> Result<Vec<Scenario>> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .context(Failure::Scenario)
            .with_context(|| path.display().to_string())?,
        None => DEFAULT.to_owned(),
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Scenario>> {
    let refused = |why: String| anyhow::Error::new(Failure::Scenario).context(why);
    let file: File = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
    file.scenario.iter().try_for_each(Scenario::check).map_err(refused)?;
    Ok(file.scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[scenario]]\nname = \"a\"\nrooms = 2\npublishers = 1\nsubscribers = 3\n\
                        payload_bytes = 160\npackets_per_s = 50\nseconds = 1\nport = \"uring\"\n";

    #[test]
    fn a_scenario_is_what_its_file_says() {
        let all = parse(GOOD).unwrap();
        assert_eq!((all.len(), all[0].ingress_per_s()), (1, 100.0));
        assert_eq!((all[0].suite(), all[0].verify_every), (Profile::AeadAes128Gcm, 1));
        assert!(
            parse(DEFAULT).unwrap().iter().all(|scenario| scenario.loss_percent_max == Some(0.0))
        );
    }

    #[test]
    fn what_no_scenario_may_say_is_refused_with_the_exit_code_of_scenarios() {
        for (from, to) in [
            ("rooms = 2", "rooms = 0"),
            ("publishers = 1", "publishers = 5"),
            ("subscribers = 3", "subscribers = 100000"),
            ("payload_bytes = 160", "payload_bytes = 9"),
            ("payload_bytes = 160", "payload_bytes = 9000"),
            ("packets_per_s = 50", "packets_per_s = 0"),
            ("seconds = 1", "seconds = 0"),
            ("seconds = 1", "seconds = 1\nprofile = \"ROT13\""),
            ("seconds = 1", "seconds = 1\nverify_every = 0"),
            ("seconds = 1", "seconds = 1\ncolour = \"blue\""),
            ("seconds = 1", "duration = 1"),
            ("name = \"a\"", "name = \"a b\""),
            ("packets_per_s = 50\nseconds = 1", "packets_per_s = 1e6\nseconds = 600"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let error = parse(&text).expect_err(to);
            assert_eq!(error.downcast_ref::<Failure>().map(|f| *f as u8), Some(3), "{to}");
        }
    }
}

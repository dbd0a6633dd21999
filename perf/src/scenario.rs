//! Scenarios of the shard core. A name carries its parameters, so that a name and what ran cannot
//! differ: `fanout_50_payload_1200_warm`, with `_ext` behind it when packets carry an extension.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::Failure;

/// The scenarios of the specification.
const DEFAULT: &str = include_str!("../scenarios/core.toml");

/// One room: its state fits the nearest caches.
const HOT_ROOMS: u32 = 1;
/// Rooms whose state fits the caches.
const WARM_ROOMS: u32 = 16;
/// Rooms whose state does not.
const COLD_ROOMS: u32 = 4096;
/// Subscribers of a publisher at most.
const FANOUT_MAX: u32 = 1000;
/// Payload bytes at most: what docs tell payloaders, and some.
const PAYLOAD_MAX: usize = 1400;

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rooms, each with one publisher.
    pub rooms: u32,
    /// Subscribers of each room.
    pub fanout: u32,
    /// RTP payload, in bytes.
    pub payload: usize,
    /// Packets carry an audio level that all subscribers negotiated.
    pub has_extension: bool,
}

impl Shape {
    /// Sessions of all rooms.
    pub fn sessions(&self) -> u32 {
        self.rooms * (self.fanout + 1)
    }
}

/// A name that says no shape.
#[derive(Debug)]
pub struct BadName;

impl FromStr for Shape {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Shape, BadName> {
        let words: Vec<&str> = name.split('_').collect();
        let ["fanout", fanout, "payload", payload, cache, rest @ ..] = &words[..] else {
            return Err(BadName);
        };
        let fanout: u32 = fanout.parse().map_err(|_| BadName)?;
        let payload: usize = payload.parse().map_err(|_| BadName)?;
        let rooms = match *cache {
            "hot" => HOT_ROOMS,
            "warm" => WARM_ROOMS,
            "cold" => COLD_ROOMS,
            _ => return Err(BadName),
        };
        let has_extension = match rest {
            [] => false,
            ["ext"] => true,
            _ => return Err(BadName),
        };
        if !(1..=FANOUT_MAX).contains(&fanout) || !(1..=PAYLOAD_MAX).contains(&payload) {
            return Err(BadName);
        }
        Ok(Shape { rooms, fanout, payload, has_extension })
    }
}

/// What a promise is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// Sealing all copies in place, nothing else.
    Seal,
    /// Opening the packet once and sealing all copies; copies but the last get the payload copied.
    OpenSeal,
}

/// One scenario of a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// As in the module's head.
    pub name: String,
    /// The promise: time per copy over that of `against`.
    pub ratio_max: Option<f64>,
    /// What `ratio_max` is measured against; `open_seal` by default.
    #[serde(default = "open_seal")]
    pub against: Against,
}

fn open_seal() -> Against {
    Against::OpenSeal
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
pub fn read(file: Option<&Path>) -> Result<Vec<(Scenario, Shape)>> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .context(Failure::Scenario)
            .with_context(|| path.display().to_string())?,
        None => DEFAULT.to_owned(),
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<(Scenario, Shape)>> {
    let file: File = toml::from_str(text)
        .map_err(|error| anyhow::Error::new(Failure::Scenario).context(error.to_string()))?;
    let with_shape = |scenario: Scenario| match scenario.name.parse() {
        Ok(shape) => Ok((scenario, shape)),
        Err(BadName) => Err(anyhow::Error::new(Failure::Scenario).context(format!(
            "`{}`: a name is fanout_N_payload_BYTES_hot|warm|cold[_ext], N up to {FANOUT_MAX}, \
             BYTES up to {PAYLOAD_MAX}",
            scenario.name
        ))),
    };
    file.scenario.into_iter().map(with_shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_shape_and_nothing_else_does() {
        let shape: Shape = "fanout_50_payload_1200_warm".parse().unwrap();
        let expected = Shape { rooms: 16, fanout: 50, payload: 1200, has_extension: false };
        assert_eq!((shape, shape.sessions()), (expected, 16 * 51));
        let shape: Shape = "fanout_1_payload_160_cold_ext".parse().unwrap();
        let expected = Shape { rooms: 4096, fanout: 1, payload: 160, has_extension: true };
        assert_eq!(shape, expected);
        for bad in [
            "",
            "fanout_50_payload_1200",
            "fanout_0_payload_160_warm",
            "fanout_1_payload_9000_warm",
            "fanout_1_payload_160_tepid",
            "fanout_1_payload_160_warm_x",
        ] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_scenarios_of_the_specification_hold_its_two_promises() {
        let all = parse(DEFAULT).unwrap();
        let promise = |name: &str| {
            let (scenario, _) = all.iter().find(|(scenario, _)| scenario.name == name).unwrap();
            (scenario.ratio_max, scenario.against)
        };
        assert_eq!(promise("fanout_50_payload_1200_warm"), (Some(1.5), Against::Seal));
        assert_eq!(promise("fanout_1_payload_160_warm"), (Some(2.5), Against::OpenSeal));
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_exit_code_of_scenarios() {
        for bad in ["x = 1", "[[scenario]]\nname = \"audio\"\n", "[[scenario]]\nname = 1\n"] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().map(|f| *f as u8), Some(3), "{bad}");
        }
    }
}

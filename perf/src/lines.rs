//! What `seal` and `ladder` found, rung by rung: a table for people, one JSON object a line for machines.

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::sample::Summary;

/// One thing that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// How far a packet went: `seal_only`, `open_only`, or a rung of the ladder.
    pub rung: &'static str,
    /// Who sealed and opened: `ring`, `fanout`, `aes-gcm`, `null`.
    pub provider: &'static str,
    /// On which instructions: those of the fan-out kernel, `library` for what others choose by themselves.
    pub path: &'static str,
    /// Protection profile.
    pub profile: &'static str,
    /// RTP payload, in bytes.
    pub payload_bytes: usize,
    /// Subscribers of a publisher; 0 where nothing is sent.
    pub fanout: u32,
    /// Rooms, or lists of keys, that took turns.
    pub rooms: u32,
    /// What the packets went through.
    pub port: &'static str,
    /// Workers that shared the work, a core each.
    pub workers: u32,
    /// The middle sample: nanoseconds per copy where copies are sent, per packet received otherwise.
    pub ns_per_packet: f64,
    /// All samples.
    pub samples: Summary,
}

/// A figure that follows from lines, and what is promised of it.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// What over what.
    pub figure: String,
    /// The number.
    pub value: f64,
    /// Its unit; `x` of ratios.
    pub unit: &'static str,
    /// No more than this is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// No less than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Whether the promise was kept; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Ratio {
    /// Without a promise.
    pub fn new(figure: String, value: f64, unit: &'static str) -> Ratio {
        Ratio { figure, value, unit, at_most: None, at_least: None, met: None }
    }
}

/// Everything of one run.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Vec<Line>,
    ratios: Vec<Ratio>,
    samples: u64,
    cut: u64,
    crowded: bool,
    machine: Option<Machine>,
}

impl Lines {
    /// Adds what was measured and shows it as progress.
    pub fn push(&mut self, line: Line) {
        eprintln!("{}", text_of(&line));
        self.lines.push(line);
    }

    /// Adds a figure that is promised to be so small; without a promise when there is none.
    pub fn at_most(&mut self, ratio: String, value: f64, bound: Option<f64>) {
        self.push_figure(Ratio { at_most: bound, ..Ratio::new(ratio, value, "x") });
    }

    /// Adds a figure that is promised to be so large.
    pub fn at_least(&mut self, ratio: String, value: f64, bound: Option<f64>) {
        self.push_figure(Ratio { at_least: bound, ..Ratio::new(ratio, value, "x") });
    }

    /// Adds a figure and sees whether its promise was kept. A value that is no number breaks it.
    pub fn push_figure(&mut self, mut figure: Ratio) {
        figure.met = match (figure.at_most, figure.at_least) {
            (Some(bound), _) => Some(figure.value <= bound),
            (_, Some(bound)) => Some(figure.value >= bound),
            _ => None,
        };
        self.ratios.push(figure);
    }

    /// Takes note of rounds taken, and of those that others disturbed.
    pub fn sampled(&mut self, samples: u64, cut: u64) {
        self.samples += samples;
        self.cut += cut;
    }

    /// Takes note that there were fewer CPUs than workers.
    pub fn crowded(&mut self) {
        self.crowded = true;
    }

    /// With the machine.
    pub fn on(mut self, mut machine: Machine) -> Lines {
        machine.cut(self.cut as f64 / self.samples.max(1) as f64);
        if self.crowded {
            machine.crowded();
        }
        self.machine = Some(machine);
        self
    }

    /// Whether a promise was broken.
    pub fn missed(&self) -> bool {
        self.ratios.iter().any(|ratio| ratio.met == Some(false))
    }

    /// One object a line: what was measured, then ratios, then the machine.
    pub fn json(&self) -> Vec<Value> {
        let lines = self.lines.iter().map(|line| json!(line));
        let ratios = self.ratios.iter().map(|ratio| json!(ratio));
        let machine = self.machine.iter().map(|machine| json!({ "machine": machine }));
        lines.chain(ratios).chain(machine).collect()
    }

    /// Lines for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&text_of(line));
            text.push('\n');
        }
        for ratio in &self.ratios {
            let promise = match (ratio.at_most, ratio.at_least) {
                (Some(bound), _) => format!("at most {bound}"),
                (_, Some(bound)) => format!("at least {bound}"),
                _ => String::new(),
            };
            let met = match ratio.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let Ratio { figure, value, unit, .. } = ratio;
            let line = format!("{figure:<72} {value:>8.2} {unit:<3} {promise} {met}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if let Some(machine) = &self.machine {
            text.push_str(&machine.text());
        }
        text
    }
}

fn text_of(line: &Line) -> String {
    let Line { rung, provider, path, profile, payload_bytes, fanout, rooms, port, workers, .. } =
        line;
    let workers = if *workers > 1 { format!(" {workers} workers") } else { String::new() };
    format!(
        "{rung:<10} {provider:<8} {path:<8} {profile:<24} {payload_bytes:>5} B  1:{fanout:<4} rooms {rooms:<5} \
         {port:<9} {:>9.1} ns{workers}",
        line.ns_per_packet
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_an_object_of_its_own_and_a_broken_promise_shows() {
        let mut lines = Lines::default();
        lines.push(Line {
            rung: "seal_only",
            provider: "ring",
            path: "library",
            profile: "AEAD_AES_128_GCM",
            payload_bytes: 100,
            fanout: 50,
            rooms: 1,
            port: "none",
            workers: 1,
            ns_per_packet: 12.5,
            samples: Summary::of(vec![12.5]).unwrap(),
        });
        lines.at_least("fast".into(), 6.0, Some(5.5));
        assert!(!lines.missed());
        lines.at_most("slow".into(), f64::NAN, Some(1.5));
        assert!(lines.missed());
        let json = lines.json();
        assert_eq!(json.len(), 3);
        assert_eq!(json[0]["ns_per_packet"], 12.5);
        assert_eq!((&json[1]["met"], &json[2]["met"]), (&true.into(), &false.into()));
        assert!(lines.table().contains("MISSED"));
    }
}

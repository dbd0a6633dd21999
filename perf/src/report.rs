//! What a run found: figures with units and targets, as a table for people and JSON for machines.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;

/// One number.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured; the unit stands last in it where it is not `unit`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The promise: no more than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Whether the promise was kept; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// For people: where the number comes from.
    pub note: String,
    /// The samples behind it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl Figure {
    /// A number without a promise.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure {
            name: name.into(),
            value,
            unit,
            at_most: None,
            met: None,
            note: String::new(),
            detail: Value::Null,
        }
    }

    /// With a promise. A value that is no number breaks it.
    pub fn at_most(mut self, bound: Option<f64>) -> Figure {
        self.at_most = bound;
        self.met = bound.map(|bound| self.value <= bound);
        self
    }

    /// With a word on it.
    pub fn note(mut self, note: String) -> Figure {
        self.note = note;
        self
    }

    /// With the samples behind it.
    pub fn detail(mut self, detail: Value) -> Figure {
        self.detail = detail;
        self
    }
}

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    what: &'static str,
    port: String,
    figures: Vec<Figure>,
    samples: u64,
    cut: u64,
    machine: Option<Machine>,
    attached: Vec<(String, String)>,
}

impl Report {
    /// An empty report of one subcommand; `port` is the kind of port the packets went through.
    pub fn new(what: &'static str, port: impl Into<String>) -> Report {
        let (figures, attached) = (vec![], vec![]);
        Report { what, port: port.into(), figures, samples: 0, cut: 0, machine: None, attached }
    }

    /// Adds a figure and shows it as progress.
    pub fn push(&mut self, figure: Figure) {
        eprintln!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// Takes note of samples taken, and of those thrown away because others disturbed them.
    pub fn sampled(&mut self, samples: u64, cut: u64) {
        self.samples += samples;
        self.cut += cut;
    }

    /// With the machine.
    pub fn on(mut self, mut machine: Machine) -> Report {
        if self.samples > 0 {
            machine.cut(self.cut as f64 / self.samples as f64);
        }
        self.machine = Some(machine);
        self
    }

    /// Adds a file that [`save`](Self::save) writes.
    pub fn attach(&mut self, name: String, text: String) {
        self.attached.push((name, text));
    }

    /// Writes the JSON object and what is attached into a folder, which is made if it is missing.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let json = (format!("{}.json", self.what), format!("{:#}\n", self.json()));
        for (name, text) in [&json].into_iter().chain(&self.attached) {
            let file = folder.join(name);
            std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Whether a promise was broken.
    pub fn missed(&self) -> bool {
        self.figures.iter().any(|figure| figure.met == Some(false))
    }

    /// One object.
    pub fn json(&self) -> Value {
        json!({
            "schema": format!("roomlane.perf.{}.v1", self.what),
            "port": self.port,
            "machine": self.machine,
            "figures": self.figures,
        })
    }

    /// Lines for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for figure in &self.figures {
            text.push_str(&line(figure));
            text.push('\n');
        }
        if let Some(machine) = &self.machine {
            text.push_str(&format!("port {}; {}", self.port, machine.text()));
        }
        text
    }
}

fn line(figure: &Figure) -> String {
    let target = match (figure.at_most, figure.met) {
        (Some(bound), Some(true)) => format!("<= {bound} met"),
        (Some(bound), _) => format!("<= {bound} MISSED"),
        _ => String::new(),
    };
    let value = format!("{:.*}", if figure.value < 100.0 { 2 } else { 0 }, figure.value);
    let (name, unit, note) = (&figure.name, figure.unit, &figure.note);
    format!("{name:<42} {value:>12} {unit:<8} {target:<16} {note}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_promise_shows_in_table_json_and_exit() {
        let mut report = Report::new("core", "memory");
        report.push(Figure::new("good", 1.0, "x").at_most(Some(1.5)));
        assert!(!report.missed());
        report.push(Figure::new("nothing", f64::NAN, "x").at_most(Some(1.5)));
        report.push(Figure::new("bad", 2.0, "x").at_most(Some(1.5)));
        report.push(Figure::new("plain", 3.0, "ns"));
        assert!(report.missed());
        assert!(report.table().lines().nth(2).unwrap().ends_with("<= 1.5 MISSED"));
        let json = report.json();
        let met = |at: usize| json["figures"][at]["met"].clone();
        assert_eq!(
            [met(0), met(1), met(2), met(3)],
            [true.into(), false.into(), false.into(), Value::Null]
        );
    }
}

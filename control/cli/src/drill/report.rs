//! What a drill leaves: a page for people, an object for programs. Names, ids and addresses are not in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::exit::Failure;
use crate::utc;

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise that could be measured was held.
    Held,
    /// One was not.
    Broken,
    /// Something did not happen in time.
    TimedOut,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Broken => "broken",
            Verdict::TimedOut => "timed out",
        }
    }
}

/// A promise and what was measured.
#[derive(Debug)]
struct Promise {
    text: &'static str,
    unit: &'static str,
    limit: f64,
    /// `None` when it did not happen in time.
    measured: Option<f64>,
    /// Why it was not measured.
    unmeasured: Option<&'static str>,
}

impl Promise {
    fn verdict(&self) -> Option<Verdict> {
        match (self.unmeasured, self.measured) {
            (Some(_), _) => None,
            (None, None) => Some(Verdict::TimedOut),
            (None, Some(measured)) if measured <= self.limit => Some(Verdict::Held),
            (None, Some(_)) => Some(Verdict::Broken),
        }
    }

    fn json(&self) -> Value {
        json!({
            "promise": self.text, "unit": self.unit, "limit": self.limit,
            "measured": self.measured, "unmeasured": self.unmeasured,
            "verdict": self.verdict().map(Verdict::word),
        })
    }

    /// Cells of a table: limit, measured, verdict.
    fn cells(&self) -> [String; 3] {
        let amount = |value: f64| format!("{value} {}", self.unit);
        if let Some(why) = self.unmeasured {
            return ["-".to_owned(), why.to_owned(), "not measured".to_owned()];
        }
        let measured = self.measured.map_or_else(|| "did not happen".to_owned(), amount);
        let verdict = self.verdict().map_or("-", Verdict::word).to_owned();
        [amount(self.limit), measured, verdict]
    }
}

/// The report of one drill.
#[derive(Debug)]
pub struct Report {
    fault: &'static str,
    path: PathBuf,
    file: File,
    started_ms: u64,
    ended_ms: u64,
    environment: String,
    deeds: Vec<String>,
    promises: Vec<Promise>,
    figures: Vec<(String, f64)>,
    versions: Vec<(&'static str, String)>,
}

impl Report {
    /// Makes its file, so that nothing is broken for a report that cannot be written.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn new(fault: &'static str, path: Option<&Path>, about: &Value) -> Result<Report, Failure> {
        let started_ms = utc::now_ms();
        let date = utc::rfc3339(started_ms);
        let date = date.split('.').next().unwrap_or_default().replace(':', "-");
        let path = path.map_or_else(
            || PathBuf::from(format!("roomlane-drill-{fault}-{date}Z.md")),
            Path::to_owned,
        );
        let made = File::options().write(true).create_new(true).open(&path);
        let file = made.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let port = format!("{}, {}", plain(&about["port"]), plain(&about["driver"]));
        let versions = vec![
            ("roomlane", env!("CARGO_PKG_VERSION").to_owned()),
            ("data plane", plain(&about["version"])),
            ("port", port),
            ("kernel", kernel.trim().to_owned()),
        ];
        Ok(Report {
            fault,
            path,
            file,
            started_ms,
            ended_ms: started_ms,
            environment: plain(&about["environment"]),
            deeds: vec![],
            promises: vec![],
            figures: vec![],
            versions,
        })
    }

    /// Something was done.
    pub fn did(&mut self, what: String) {
        self.deeds.push(what);
    }

    /// A figure that no promise is about.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.push((name.to_owned(), value));
    }

    /// A part's version, as it says.
    pub fn version(&mut self, part: &'static str, version: &Value) {
        self.versions.push((part, plain(version)));
    }

    /// What was promised, at most `limit`; `None` when it did not happen.
    pub fn promise(
        &mut self,
        text: &'static str,
        unit: &'static str,
        limit: f64,
        measured: Option<f64>,
    ) {
        self.promises.push(Promise { text, unit, limit, measured, unmeasured: None });
    }

    /// What was promised and could not be measured.
    pub fn unmeasured(&mut self, text: &'static str, why: &'static str) {
        let (unit, limit, measured) = ("", 0.0, None);
        self.promises.push(Promise { text, unit, limit, measured, unmeasured: Some(why) });
    }

    /// The worst of all promises.
    fn verdict(&self) -> Verdict {
        let all = || self.promises.iter().filter_map(Promise::verdict);
        match () {
            () if all().any(|verdict| verdict == Verdict::TimedOut) => Verdict::TimedOut,
            () if all().any(|verdict| verdict == Verdict::Broken) => Verdict::Broken,
            () => Verdict::Held,
        }
    }

    /// Writes the page.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&mut self) -> Result<Verdict, Failure> {
        self.ended_ms = utc::now_ms();
        let page = self.page();
        self.file.write_all(page.as_bytes())?;
        Ok(self.verdict())
    }

    /// Removes the empty file of a drill that did not come about.
    pub fn discard(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn page(&self) -> String {
        let seconds = self.ended_ms.saturating_sub(self.started_ms) as f64 / 1000.0;
        let mut page = format!(
            "# Drill {}: {}\n\n{}, {seconds:.1} s, on a node of environment {}.\n\n## Done\n\n",
            self.fault,
            self.verdict().word(),
            utc::rfc3339(self.started_ms),
            self.environment
        );
        for (at, deed) in self.deeds.iter().enumerate() {
            page += &format!("{}. {deed}\n", at + 1);
        }
        page +=
            "\n## Promised and measured\n\n| promise | at most | measured | |\n|---|---|---|---|\n";
        for promise in &self.promises {
            let [limit, measured, verdict] = promise.cells();
            page += &format!("| {} | {limit} | {measured} | {verdict} |\n", promise.text);
        }
        page += "\n## Figures\n\n| figure | value |\n|---|---|\n";
        for (name, value) in &self.figures {
            page += &format!("| {name} | {value} |\n");
        }
        page += "\nPackets are those of the data plane's counters, which are written every 100 ms: a gap is \
                 told with that precision.\n\n## Versions\n\n| part | version |\n|---|---|\n";
        for (part, version) in &self.versions {
            page += &format!("| {part} | {version} |\n");
        }
        page
    }

    /// One object.
    pub fn json(&self) -> Value {
        let figures = self.figures.iter().map(|(name, value)| (name.clone(), json!(value)));
        let figures: serde_json::Map<String, Value> = figures.collect();
        let versions =
            self.versions.iter().map(|(part, version)| ((*part).to_owned(), json!(version)));
        let versions: serde_json::Map<String, Value> = versions.collect();
        json!({
            "schema": "roomlane.drill.v1",
            "fault": self.fault,
            "verdict": self.verdict().word(),
            "started": utc::rfc3339(self.started_ms),
            "ended": utc::rfc3339(self.ended_ms),
            "environment": self.environment,
            "done": self.deeds,
            "promises": self.promises.iter().map(Promise::json).collect::<Vec<_>>(),
            "figures": figures,
            "versions": versions,
            "report": self.path,
        })
    }

    /// For the terminal.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for promise in &self.promises {
            let [limit, measured, verdict] = promise.cells();
            let line = format!("{verdict}: {}: {measured} (at most {limit})", promise.text);
            writeln!(text, "{line}").expect("a string takes everything");
        }
        let (verdict, path) = (self.verdict().word(), self.path.display());
        writeln!(text, "{}: {verdict}; report in {path}", self.fault)
            .expect("a string takes everything");
        text
    }
}

/// A node's word about itself, for a table in a page.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    text.chars().filter(|c| !c.is_control() && *c != '|').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone(PathBuf);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn report(name: &str) -> (Report, Gone) {
        let path = std::env::temp_dir().join(format!("rl-drill-{}-{name}.md", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let about = json!({"environment": "development", "version": "1|2\u{1b}", "port": "udp"});
        (Report::new("kill-control", Some(&path), &about).unwrap(), Gone(path))
    }

    #[test]
    fn one_broken_promise_breaks_the_drill_and_one_that_never_came_times_it_out() {
        let (mut report, _gone) = report("verdict");
        report.promise("a", "ms", 1000.0, Some(1000.0));
        report.unmeasured("b", "no media flowed");
        assert_eq!(report.verdict(), Verdict::Held);
        report.promise("c", "packets", 0.0, Some(1.0));
        assert_eq!(report.verdict(), Verdict::Broken);
        report.promise("d", "ms", 1000.0, None);
        assert_eq!(report.verdict(), Verdict::TimedOut);
        let all = report.json();
        let verdicts: Vec<_> =
            all["promises"].as_array().unwrap().iter().map(|p| &p["verdict"]).collect();
        assert_eq!(verdicts, [&json!("held"), &Value::Null, &json!("broken"), &json!("timed out")]);
    }

    #[test]
    fn a_report_is_never_written_over_and_says_what_was_measured() {
        let (mut first, gone) = report("page");
        assert!(Report::new("kill-control", Some(&gone.0), &Value::Null).is_err());
        first.did("killed pid 7".to_owned());
        first.figure("sessions before", 3.0);
        first.promise("control answers again", "ms", 1000.0, Some(321.5));
        assert_eq!(first.finish().unwrap(), Verdict::Held);
        let page = std::fs::read_to_string(&gone.0).unwrap();
        for line in [
            "# Drill kill-control: held",
            "1. killed pid 7",
            "| control answers again | 1000 ms | 321.5 ms | held |",
            "| sessions before | 3 |",
            "| data plane | 12 |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(
            first.summary().contains("held: control answers again: 321.5 ms (at most 1000 ms)")
        );
    }
}

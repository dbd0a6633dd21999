//! `counts`: instructions per packet of each step, counted by `valgrind --tool=callgrind`, against the counts in
//! `perf/counts.toml`. Times differ from run to run and machine to machine; these do not, so that a change which makes
//! a step dearer is seen where no time could show it.
//!
//! | case | what a packet goes through |
//! |---|---|
//! | `classify` | receive, classify, the books: its first bytes are of nothing that is known |
//! | `lookup` | and its session is found, and its grant refused |
//! | `open` | and it is opened, and its payload type is not one that was agreed on |
//! | `route` | and nobody subscribes to it |
//! | `seal` | all stages, fifty copies: per copy |
//! | `worker` | the same in a node's worker, turn by turn: per copy |
//! | `egress` | a sealed datagram gets its headers and checksums below UDP |
//! | `aead_*` | the kernel's AES-NI path alone, through its provider |
//!
//! All but the last encrypt nothing. callgrind knows no VAES, and tells the program that the CPU has none, so the
//! counts are the same on every x86-64 with AES-NI; they change with the compiler, which the tree pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

mod cases;

use cases::{CASES, Case};

/// Percent that a count may be away from the one in the file.
const TOLERANCE: f64 = 3.0;
/// Where the counts are, seen from the top of the tree.
const BASELINE: &str = "perf/counts.toml";
const HEAD: &str = "# Instructions per packet of each step (see perf/src/counts.rs).\n\
                    # Made by: cargo build --release -p roomlane-perf && target/release/roomlane-perf counts --bless\n";

/// What `counts` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The counts to compare with.
    #[arg(long, value_name = "FILE", default_value = BASELINE)]
    baseline: PathBuf,
    /// Take what is counted now for right, and write it into the file.
    #[arg(long)]
    bless: bool,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with = "bless")]
    only: Option<String>,
    /// Let this case's packets through, and nothing else: what valgrind runs.
    #[arg(long, value_name = "CASE", hide = true)]
    run: Option<String>,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    instructions: BTreeMap<String, f64>,
}

/// One case, beside what it should be.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    instructions_per_packet: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_percent: Option<f64>,
    met: bool,
}

/// Counts and compares; true when a case is away from its baseline.
///
/// # Errors
/// There is no valgrind, or no baseline; a case did not do what its name says.
pub fn run(options: &Options, as_json: bool) -> Result<bool> {
    if let Some(name) = &options.run {
        let case = CASES.iter().find(|case| case.name == name).context("there is no such case")?;
        (case.run)(&mut counted)?;
        return Ok(false);
    }
    let baseline = match options.bless {
        true => Counts::default(),
        false => read(&options.baseline)?,
    };
    let mut rows = vec![];
    for case in CASES {
        if options.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        let known = baseline.instructions.get(case.name).copied();
        let row = compare(case.name, count(case)?, known, options.bless);
        match as_json {
            true => println!("{}", json!(row)),
            false => println!("{}", row.text()),
        }
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "there is no such case");
    if options.bless {
        let instructions =
            rows.iter().map(|row| (row.case.to_owned(), row.instructions_per_packet)).collect();
        let text = toml::to_string(&Counts { instructions })?;
        let path = options.baseline.display();
        std::fs::write(&options.baseline, format!("{HEAD}\n{text}"))
            .with_context(|| format!("{path}"))?;
        eprintln!("roomlane-perf: {} counts in {path}", rows.len());
        return Ok(false);
    }
    let missed = rows.iter().any(|row| !row.met);
    if missed {
        eprintln!(
            "roomlane-perf: counts differ by more than {TOLERANCE} % from {}. Where that is meant, say why in the \
             commit and run: target/release/roomlane-perf counts --bless",
            options.baseline.display()
        );
    }
    Ok(missed)
}

fn read(path: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("{}: run this at the top of the tree, or name the file", path.display())
    })?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// A count that fell is away from its baseline as well: what it fell by could be given back unseen.
fn compare(case: &'static str, now: f64, baseline: Option<f64>, blesses: bool) -> Row {
    let now = (now * 10.0).round() / 10.0;
    let change = baseline.map(|before| (now / before - 1.0) * 100.0);
    let met = blesses || change.is_some_and(|change| change.abs() <= TOLERANCE);
    Row { case, instructions_per_packet: now, baseline, change_percent: change, met }
}

impl Row {
    fn text(&self) -> String {
        let now = format!("{:<20} {:>9.1} instructions", self.case, self.instructions_per_packet);
        match (self.baseline, self.change_percent) {
            (Some(baseline), Some(change)) => {
                let verdict = if self.met { "" } else { "  AWAY" };
                format!("{now}, was {baseline:>9.1}: {change:>+6.2} %{verdict}")
            }
            _ if self.met => now,
            _ => format!("{now}, never counted before  AWAY"),
        }
    }
}

/// What callgrind counts is what happens below this function.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// Runs a case under callgrind; instructions per packet.
fn count(case: &Case) -> Result<f64> {
    let out = std::env::temp_dir().join(format!("roomlane-counts-{}", std::process::id()));
    let me = std::env::current_exe().context("this program")?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*counts*counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(me)
        .args(["counts", "--run", case.name])
        .stdin(Stdio::null())
        .output();
    let run = match run {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("valgrind is not installed: apt-get install valgrind")
        }
        run => run.context("valgrind")?,
    };
    let said = String::from_utf8_lossy(&run.stderr);
    let text = std::fs::read_to_string(&out);
    let _ = std::fs::remove_file(&out);
    ensure!(run.status.success(), "{} under valgrind: {}: {said}", case.name, run.status);
    let text = text.context("what callgrind wrote")?;
    let total = total(&text).with_context(|| format!("callgrind wrote no total: {said}"))?;
    ensure!(total > 0, "{}: callgrind did not see the function it counts from", case.name);
    Ok(total as f64 / case.packets as f64)
}

/// The sum of a callgrind file.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    line?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_away_from_its_baseline_in_either_direction_is_found() {
        let met = |now, baseline| compare("x", now, baseline, false).met;
        assert!(met(100.0, Some(100.0)) && met(102.9, Some(100.0)) && met(97.1, Some(100.0)));
        assert!(!met(103.2, Some(100.0)) && !met(96.8, Some(100.0)) && !met(100.0, None));
        assert!(compare("x", 100.0, None, true).met);
        assert!(compare("x", 103.2, Some(100.0), false).text().contains("+3.20 %  AWAY"));
    }

    #[test]
    fn the_sum_of_a_callgrind_file_is_read() {
        assert_eq!(total("events: Ir\nfn=(1) a\n5 12\ntotals: 3456\n"), Some(3456));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn every_case_does_what_it_says_and_is_counted_once() {
        for case in CASES {
            let mut calls = 0;
            let run = (case.run)(&mut |work| {
                calls += 1;
                work();
            });
            run.unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
            assert_eq!(calls, 1, "{}", case.name);
        }
    }

    #[test]
    fn the_counts_in_the_tree_are_those_of_the_cases() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml");
        let mut cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        cases.sort_unstable();
        assert!(read(&path).unwrap().instructions.keys().eq(cases), "run counts --bless");
    }
}

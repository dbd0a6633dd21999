//! `roomlane drill`: breaks one thing of a lab node on purpose, measures what is promised for that case,
//! and writes a dated report.
//!
//! What it measures comes from the stats region and from control's own answers, as every console has
//! them; nothing in the node knows of drills but the audit file.

mod disk;
mod kill;
mod link;
mod process;
mod report;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use config::{Config, Environment};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use stats::Stats;

use crate::args::Place;
use crate::exit::{Exit, Failure};
use crate::{act, node_cmd};
use report::{Report, Verdict};
use watch::{Seen, Watch};

/// How long a node is watched before anything is done to it.
const BASELINE: Duration = Duration::from_millis(1500);
/// How long it is watched after it has recovered: what was lost on the way is counted by then.
const SETTLE: Duration = Duration::from_millis(1000);
/// How often something that is awaited is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// kill -9 of the control daemon.
    KillControl,
    /// kill -9 of the data plane.
    KillDataplane,
    /// The link of the port goes down, and up again.
    PortDown,
    /// The file system of the audit file fills up, and empties again.
    DiskFull,
}

impl Fault {
    /// The word on the command line, in reports and in the audit file.
    fn name(self) -> &'static str {
        match self {
            Fault::KillControl => "kill-control",
            Fault::KillDataplane => "kill-dataplane",
            Fault::PortDown => "port-down",
            Fault::DiskFull => "disk-full",
        }
    }

    /// For the question before it.
    fn deed(self) -> &'static str {
        match self {
            Fault::KillControl => "kill the control daemon of this node",
            Fault::KillDataplane => {
                "kill the data plane of this node: its media stops for a moment"
            }
            Fault::PortDown => "take the link of this node's port down: its media stops meanwhile",
            Fault::DiskFull => "fill the file system of this node's audit file",
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every promise was held, 1 one was broken, 124 the node did not \
                        come back in time; 7 the node is one of production, 5 not root."
)]
pub struct DrillArgs {
    /// What is broken.
    fault: Fault,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print one JSON object; the report is written all the same.
    #[arg(long)]
    json: bool,
    /// Where the report goes; it must not be there yet [default:
    /// roomlane-drill-FAULT-DATE.md in this folder].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How long the link is down or the disk full.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = node_cmd::duration)]
    hold: Duration,
    /// How long the node may take to come back before the drill gives up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = node_cmd::duration)]
    timeout: Duration,
    /// Run by a shell after the kill, where no supervisor starts the process again.
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// The interface of port-down [default: that of port.device or port.addresses].
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The folder of disk-full [default: that of the audit file].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A drill under way.
struct Drill<'a> {
    args: &'a DrillArgs,
    dirs: Vec<PathBuf>,
    run_dir: PathBuf,
    config: Option<Config>,
    watch: Watch,
    /// A signal asked us to end; what was broken is mended first.
    stop: Arc<AtomicBool>,
    report: Report,
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &DrillArgs) -> Result<ExitCode, Failure> {
    let config = match place.config_path() {
        Some(path) => {
            let config = Config::load_alone(&path);
            Some(config.map_err(|errors| Failure::config(errors.to_string()))?)
        }
        None => None,
    };
    let is_production = |config: &Config| config.node.environment == Environment::Production;
    if config.as_ref().is_some_and(is_production) {
        return Err(production());
    }
    if !rustix::process::geteuid().is_root() {
        let text = "a drill kills processes and takes devices away: sudo roomlane drill ...";
        return Err(Failure::new(Exit::NotPermitted, text));
    }
    let dirs = place.run_dirs()?;
    let stats = Stats::find(&dirs)?;
    let about: Value = serde_json::from_str(&stats.snapshot().node.about).unwrap_or_default();
    // The file may have changed since the node read it.
    if about["environment"] == "production" {
        return Err(production());
    }
    node_cmd::confirm(args.yes, args.fault.deed())?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    // The node must be whole, and the drill permitted and written down, before anything breaks.
    act::ask(&dirs, &json!({ "act": "drill", "fault": args.fault.name() }))?;
    let run_dir = stats.run_dir().to_owned();
    let watch = Watch::start(dirs.clone(), stats)?;
    let report = Report::new(args.fault.name(), args.report.as_deref(), &about)?;
    let mut drill = Drill { args, dirs, run_dir, config, watch, stop, report };
    let ended = match args.fault {
        Fault::KillControl => kill::control(&mut drill),
        Fault::KillDataplane => kill::dataplane(&mut drill),
        Fault::PortDown => link::down(&mut drill),
        Fault::DiskFull => disk::full(&mut drill),
    };
    drill.end(ended)
}

fn production() -> Failure {
    let text = "this is a node of production (node.environment); drills are for nodes in a lab";
    Failure::new(Exit::Refused, text)
}

impl Drill<'_> {
    /// Writes the report and says how it went. A drill that could not be carried out leaves none.
    fn end(mut self, ended: Result<(), Failure>) -> Result<ExitCode, Failure> {
        if let Err(failure) = ended {
            self.report.discard();
            return Err(failure);
        }
        let verdict = self.report.finish()?;
        let mut out = std::io::stdout().lock();
        match self.args.json {
            true => writeln!(out, "{}", self.report.json())?,
            false => write!(out, "{}", self.report.summary())?,
        }
        Ok(match verdict {
            Verdict::Held => ExitCode::SUCCESS,
            Verdict::Broken => ExitCode::FAILURE,
            Verdict::TimedOut => Exit::TimedOut.into(),
        })
    }

    /// What is being done, for the report and whoever watches.
    fn did(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("drill: {what}");
        self.report.did(what);
    }

    /// Watches the node as it is; its state at the end of that.
    fn baseline(&mut self) -> Result<Baseline, Failure> {
        let first = self.watch.seen();
        let began = Instant::now();
        self.pass(BASELINE)?;
        let seen = self.watch.seen();
        let seconds = began.elapsed().as_secs_f64();
        let per_s = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
        let baseline = Baseline {
            rx_pps: per_s(first.rx, seen.rx),
            tx_pps: per_s(first.tx, seen.tx),
            drops_ps: per_s(first.lost, seen.lost),
            seen,
        };
        let figures = [
            ("packets received per second before", baseline.rx_pps),
            ("packets sent per second before", baseline.tx_pps),
            ("packets lost per second before", baseline.drops_ps),
            ("sessions before", baseline.seen.sessions as f64),
        ];
        figures.iter().for_each(|(name, value)| self.report.figure(name, value.round()));
        if !baseline.has_media() {
            self.did("no media flows: what is promised of packets cannot be measured");
        }
        Ok(baseline)
    }

    /// Lets time pass.
    fn pass(&self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.check_stop()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until `look` says true: how long that took since `since`, `None` when the time was over.
    fn until(
        &self,
        since: Instant,
        mut look: impl FnMut(&Self) -> bool,
    ) -> Result<Option<Duration>, Failure> {
        while since.elapsed() < self.args.timeout {
            if look(self) {
                return Ok(Some(since.elapsed()));
            }
            self.check_stop()?;
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    fn check_stop(&self) -> Result<(), Failure> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Failure::new(Exit::Interrupted, "interrupted; what was broken is mended")),
            false => Ok(()),
        }
    }

    /// What control says of itself, if it answers.
    fn status(&self) -> Option<Value> {
        act::ask(&self.dirs, &json!({ "act": "status" })).ok()
    }
}

/// The node before anything was done to it.
struct Baseline {
    rx_pps: f64,
    tx_pps: f64,
    drops_ps: f64,
    seen: Seen,
}

impl Baseline {
    /// Whether enough flows to see an interruption in counters that are written ten times a second.
    fn has_media(&self) -> bool {
        self.tx_pps >= 20.0
    }

    /// Packets lost since, beyond what would have been lost anyway.
    fn lost(&self, now: &Seen, time: Duration) -> f64 {
        let lost = now.lost.saturating_sub(self.seen.lost) as f64;
        (lost - (self.drops_ps * time.as_secs_f64()).ceil()).max(0.0)
    }
}

/// Milliseconds, for promises.
fn ms(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1e4).round() / 10.0)
}

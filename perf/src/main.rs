//! `roomlane-perf`: measures the shard core, its memory, a DPDK memory port, and a node at rest and while peers
//! join.
//!
//! Data goes to standard output (a table, or one JSON object with `--json`), progress to standard
//! error. Each figure stands beside what it is compared with in the same run, and beside the machine,
//! its load and the commit. README.md says how to get quiet numbers and what is never claimed.
#![forbid(unsafe_code)]

mod alloc;
mod bed;
mod cores;
mod counts;
mod fanout;
mod flame;
mod floor;
mod idle;
mod joins;
mod ladder;
mod lines;
mod load;
mod machine;
mod memory;
mod ndr;
mod peers;
mod report;
mod ring;
mod rounds;
mod sample;
mod scenario;
mod seal;
mod soak;
mod timing;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roomlane_peers::netns;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use lines::Lines;
use machine::Watch;
use report::Report;

/// Measures Roomlane.
///
/// Exit codes: 0 all targets met; 1 a target missed, or the measurement failed; 2 wrong usage;
/// 3 a scenario file refused.
#[derive(Debug, Parser)]
#[command(name = "roomlane-perf", version)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Measure on this CPU alone.
    #[arg(long, global = true, value_name = "CPU")]
    cpu: Option<usize>,
    /// Write the JSON object, and what belongs to it, into this folder as well; of `flame`, the picture into this
    /// file.
    #[arg(long, global = true, value_name = "PATH")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The shard core over a port in memory, interleaved with bare `ring` in the same run.
    Core(fanout::Options),
    /// Sealing and opening alone: the fan-out kernel on each path beside `ring` and `aes-gcm`, keys warm
    /// and cold. One JSON object a line with --json.
    Seal(seal::Options),
    /// One figure per added cost: an echo of the port, lookup, open, route, the whole shard, each with
    /// and without ciphers. One JSON object a line with --json.
    Ladder(ladder::Options),
    /// Two workers against one: many rooms, and one room of 500 spread over both. One JSON object a line
    /// with --json.
    Cores(cores::Options),
    /// Where the time goes: samples a running process, or a shard under load, and draws a flame graph
    /// (--out FILE.svg).
    Flame(flame::Options),
    /// Instructions per packet of each step, counted by valgrind, against those in perf/counts.toml. One JSON
    /// object a line with --json.
    Counts(counts::Options),
    /// Heap allocations in steady state; there must be none.
    Alloc(alloc::Options),
    /// Memory of an idle session.
    Memory(memory::Options),
    /// CPU time of an idle node: starts `roomlane-dataplane` on a UDP port.
    Idle(idle::Options),
    /// WebRTC sessions join a running node while others exchange media: starts the real programs in
    /// namespaces, with signalling over HTTP, connectivity checks and DTLS handshakes.
    Joins(joins::Options),
    /// A whole node under media from outside: starts the real programs in namespaces.
    Load(load::Options),
    /// The highest loads of a node without loss (NDR) and with little (PDR), by MLRsearch's rules.
    Ndr(ndr::Options),
    /// A node under a steady share of its NDR for minutes: loss, memory, latency.
    Soak(soak::Options),
    /// Roomlane and other engines on the same cable, in turn; they are installed by perf/peers/install.
    Peers(peers::Options),
    /// The shard behind a DPDK memory port (net_ring), beside the same port without the core.
    Dpdk(ring::Options),
    /// Whether refusals tell by their duration how much of a forged tag was right.
    Timing(timing::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let told = match &arguments.what {
        What::Seal(options) => lines(&arguments, || seal::run(options)),
        What::Ladder(options) => lines(&arguments, || ladder::run(options)),
        What::Cores(options) => lines(&arguments, || cores::run(options)),
        What::Counts(options) => counts::run(options, arguments.json),
        What::Flame(options) => flame::run(options, arguments.out.as_deref()).map(|drawn| {
            match arguments.json {
                true => println!("{}", drawn.json()),
                false => print!("{}", drawn.text()),
            }
            false
        }),
        _ => run(&arguments).map(|report| {
            match arguments.json {
                true => println!("{:#}", report.json()),
                false => print!("{}", report.table()),
            }
            report.missed()
        }),
    };
    match told {
        Ok(missed) => ExitCode::from(u8::from(missed)),
        Err(error) => {
            eprintln!("roomlane-perf: {error:#}");
            let code = error.downcast_ref::<Failure>().map_or(1, |failure| *failure as u8);
            ExitCode::from(code)
        }
    }
}

/// Measures and prints line by line; returns whether a promise was missed.
fn lines(
    arguments: &Arguments,
    measure: impl FnOnce() -> anyhow::Result<Lines>,
) -> anyhow::Result<bool> {
    if let Some(cpu) = arguments.cpu {
        machine::pin(cpu)?;
    }
    let watch = Watch::start();
    let lines = measure()?.on(watch.end());
    match arguments.json {
        true => lines.json().iter().for_each(|line| println!("{line}")),
        false => print!("{}", lines.table()),
    }
    Ok(lines.missed())
}

/// Ends this process when it is asked to, without leaving namespaces behind.
fn end_when_asked() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // Nobody may be reading.
        let _ = writeln!(std::io::stderr(), "roomlane-perf: interrupted, nothing is reported");
        netns::abandon();
        let _ = emulate_default_handler(signal);
    });
    Ok(())
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    end_when_asked()?;
    if let Some(cpu) = arguments.cpu {
        machine::pin(cpu)?;
    }
    let watch = Watch::start();
    let report = match &arguments.what {
        What::Core(options) => fanout::run(options)?,
        What::Alloc(options) => alloc::run(options)?,
        What::Memory(options) => memory::run(options)?,
        What::Idle(options) => idle::run(options)?,
        What::Joins(options) => joins::run(options)?,
        What::Load(options) => load::run(options)?,
        What::Ndr(options) => ndr::run(options)?,
        What::Soak(options) => soak::run(options)?,
        What::Peers(options) => peers::run(options)?,
        What::Dpdk(options) => ring::run(options)?,
        What::Timing(options) => timing::run(options)?,
        What::Seal(_) | What::Ladder(_) | What::Cores(_) | What::Counts(_) | What::Flame(_) => {
            unreachable!("told by itself")
        }
    };
    let report = report.on(watch.end());
    if let Some(folder) = &arguments.out {
        report.save(folder)?;
    }
    Ok(report)
}

/// Failures with an exit code of their own.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    /// A scenario file is wrong.
    Scenario = 3,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::Scenario => "the scenario file is refused",
        })
    }
}

impl std::error::Error for Failure {}

//! `roomlane-perf`: measures the shard core, its memory, a DPDK memory port, and a node at rest and while peers
//! join.
//!
//! Data goes to standard output (a table, or one JSON object with `--json`), progress to standard
//! error. Each figure stands beside what it is compared with in the same run, and beside the machine,
//! its load and the commit. README.md says how to get quiet numbers and what is never claimed.
#![forbid(unsafe_code)]

mod alloc;
mod bed;
mod fanout;
mod floor;
mod idle;
mod joins;
mod machine;
mod memory;
mod report;
mod ring;
mod sample;
mod scenario;
mod timing;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The shard core over a port in memory, interleaved with bare `ring` in the same run.
    Core(fanout::Options),
    /// Heap allocations in steady state; there must be none.
    Alloc(alloc::Options),
    /// Memory of an idle session.
    Memory(memory::Options),
    /// CPU time of an idle node: starts `roomlane-dataplane` on a UDP port.
    Idle(idle::Options),
    /// WebRTC sessions join a running node while others exchange media: starts the real programs in
    /// namespaces, with signalling over HTTP, connectivity checks and DTLS handshakes.
    Joins(joins::Options),
    /// The shard behind a DPDK memory port (net_ring), beside the same port without the core.
    Dpdk(ring::Options),
    /// Whether refusals tell by their duration how much of a forged tag was right.
    Timing(timing::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            if arguments.json {
                println!("{:#}", report.json());
            } else {
                print!("{}", report.table());
            }
            if report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("roomlane-perf: {error:#}");
            let code = error.downcast_ref::<Failure>().map_or(1, |failure| *failure as u8);
            ExitCode::from(code)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
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
        What::Dpdk(options) => ring::run(options)?,
        What::Timing(options) => timing::run(options)?,
    };
    Ok(report.on(watch.end()))
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

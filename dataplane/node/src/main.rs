//! The `roomlane-dataplane` program: arguments, start and end of a node.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use config::Config;
use node::node::{End, Plan};
use node::{cable, describe, ports, supervision};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a configuration that was refused.
const EXIT_CONFIG: u8 = 3;

/// The data plane of a Roomlane node.
#[derive(Debug, Parser)]
#[command(name = "roomlane-dataplane", disable_version_flag = true)]
struct Arguments {
    /// The node's configuration.
    #[arg(long, short, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print the memory that the node takes at its start, and exit.
    #[arg(long)]
    print_layout: bool,
    /// Print the version, the ports and the drivers in this build, and exit.
    #[arg(long, short = 'V')]
    version: bool,
    /// Print the manual page, and exit.
    #[arg(long, hide = true)]
    man: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    keep_memory_to_itself();
    if arguments.man {
        return print_page();
    }
    if arguments.version {
        print!("{}", ports::version());
        return ExitCode::SUCCESS;
    }
    // Apps come from the control plane; their files may be readable to that alone.
    let config = match Config::load_alone(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.print_layout {
        print!("{}", describe::layout(&config));
        return ExitCode::SUCCESS;
    }
    log_to_stderr();
    // What is told of apps is the control plane's, which knows them all.
    for warning in config.warnings.iter().filter(|warning| !warning.key.starts_with("app")) {
        tracing::warn!("{warning}");
    }
    match run(&config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("roomlane-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_page() -> ExitCode {
    let page = clap_mangen::Man::new(Arguments::command()).manual("Roomlane").section("8");
    match page.render(&mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// No core dump of a process that has keys and open packets, whatever the host's limits say, and nobody
/// but root looks into it.
fn keep_memory_to_itself() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("roomlane-dataplane: warning: core dumps cannot be switched off: {error}");
    }
}

fn run(config: &Config) -> Result<ExitCode> {
    // Before any thread, so that a signal during the start ends the node in order.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).context("the host takes no signal handler")?;
    let run_dir = config.run_dir();
    let mut plan = Plan::new(config, &run_dir)?;
    let end = plan.end();
    let watch = move || {
        for signal in &mut signals {
            if end.send(End::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    let device = ports::open(config, &mut plan)?;
    plan.drop_privileges(config)?;
    let about = describe::About::new(config, plan.regions().instance(), device.about());
    let node = plan.go(&about)?;
    device.telemetry();
    let cable = cable::watch(config, &about, node.regions(), device.dpdk());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", about.ready_line(&run_dir)).and_then(|()| out.flush())?;
    drop(out);
    supervision::ready(run_dir);
    let end = node.wait();
    supervision::stopping();
    drop(cable);
    // Workers close their queues, then the device goes, then the sockets' files are gone already.
    drop(node);
    let leftover = device.leftover();
    drop(device);
    if let Some(leftover) = leftover {
        tracing::warn!("{leftover}");
    }
    match end {
        End::Signal(signal) => {
            tracing::info!(signal, "stopped");
            Ok(ExitCode::SUCCESS)
        }
        End::Worker(worker) => {
            tracing::error!(worker, "a worker ended by itself; the node stopped");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Lines for people on a terminal, JSON for everything else; `ROOMLANE_LOG` has the filter.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROOMLANE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

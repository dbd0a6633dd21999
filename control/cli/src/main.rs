//! The `roomlane` command: starts a node, looks at it, acts on it, and makes peers for it.
//!
//! It never touches a shard: it reads the stats region, sends acts to the control daemon's admin
//! socket, and starts processes. Data goes to stdout, messages to stderr; exit codes are in [`exit`].
#![forbid(unsafe_code)]

mod act;
mod app_cmd;
mod args;
mod audit_cmd;
mod bundle;
mod capture;
mod config_cmd;
mod doctor;
mod drill;
mod exit;
mod incident_cmd;
mod listing;
mod node_cmd;
mod pages;
mod peer;
mod programs;
mod show;
mod table;
mod token_cmd;
mod trace_cmd;
mod trail_cmd;
mod up;
mod utc;
mod why_cmd;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use exit::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        print!("{}", programs::version());
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("roomlane: {}", failure.message);
            }
            failure.code.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let place = arguments.place;
    match arguments.command {
        None => Err(Failure::usage("no command; see roomlane --help")),
        Some(Command::Up) => up::run(&place).map(|()| ExitCode::SUCCESS),
        Some(Command::Show(args)) => show::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Why(args)) => why_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Trail(args)) => trail_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Trace(args)) => trace_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Capture(args)) => capture::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::SupportBundle(args)) => {
            bundle::run(&place, &args).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Incident(args)) => {
            incident_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Room(args)) => act::room(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Session(args)) => act::session(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Clear { what: args::Cleared::Runtime }) => {
            show::baseline::clear(&place).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::App(args)) => app_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Drain(args)) => node_cmd::drain(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Undrain) => node_cmd::undrain(&place).map(|()| ExitCode::SUCCESS),
        Some(Command::Set(args)) => node_cmd::set(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Config(args)) => config_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Doctor(args)) => doctor::run(&place, &args),
        Some(Command::Drill(args)) => drill::run(&place, &args),
        Some(Command::Peer(args)) => peer::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Token(args)) => Ok(token_cmd::run(args)),
        Some(Command::Audit(args)) => audit_cmd::run(&place, &args).map(|()| ExitCode::SUCCESS),
        Some(Command::Release) => up::release(&place).map(|()| ExitCode::SUCCESS),
        Some(Command::Completions(args)) => pages::completions(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Man(args)) => pages::man(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Top(args)) => Err(programs::exec_top(&place, &args.rest)),
        Some(Command::Perf(args)) => Err(programs::exec_perf(&args.rest)),
        Some(Command::External(words)) => Err(programs::exec_external(&words)),
    }
}

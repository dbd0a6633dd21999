//! The `roomlane-control` program: arguments, start and end of the control process.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use config::Config;
use daemon::daemon::Daemon;
use daemon::logs;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

/// Wipes what is freed: requests, ids and tokens do not outlive their use in memory.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// Exit code of a configuration that was refused.
const EXIT_CONFIG: u8 = 3;

/// The control process of a Roomlane node: signalling, directory, admin socket.
#[derive(Debug, Parser)]
#[command(name = "roomlane-control", version)]
struct Arguments {
    /// The node's configuration.
    #[arg(long, short, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print the manual page, and exit.
    #[arg(long, hide = true)]
    man: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return print_page();
    }
    // No core dump of a process that has ids, tokens and secrets, and nobody but root looks into it.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("roomlane-control: warning: core dumps cannot be switched off: {error}");
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    // Secrets belong to the configuration: a file that is wrong is named the same way.
    if let Err(error) = daemon::daemon::apps(&config) {
        eprintln!("{}: app.secret_files: {error:#}", arguments.config.display());
        return ExitCode::from(EXIT_CONFIG);
    }
    logs::to_stderr(config.control.log_level);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let done = runtime.block_on(run(&config, &arguments.config));
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roomlane-control: {error:#}");
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

async fn run(config: &Config, file: &Path) -> Result<()> {
    // Before anything is bound, so that a signal during the start ends us in order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let daemon = Daemon::start(config, file).await?;
    tracing::info!(
        listen = %config.control.listen,
        admin_listen = %config.control.admin_listen,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    // Not started by systemd: nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let mut watchdog = Watchdog::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                let _ = sd_notify::notify(&[NotifyState::Reloading]);
                daemon.reload().await;
                let _ = sd_notify::notify(&[NotifyState::Ready]);
            }
            () = watchdog.is_due() => if watchdog.may_be_fed(daemon.rounds()) {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            },
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping; media goes on");
    daemon.stop().await;
    Ok(())
}

/// Feeds the service manager's watchdog, at half of the time that it allows, while rounds go on.
#[derive(Debug)]
struct Watchdog {
    /// `None` when no manager asks for it.
    looks: Option<Interval>,
    rounds: u64,
}

impl Watchdog {
    fn new() -> Self {
        let looks = sd_notify::watchdog_enabled().map(|allowed| {
            let mut looks = tokio::time::interval(allowed / 2);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            looks
        });
        Watchdog { looks, rounds: 0 }
    }

    /// Returns when it is time to look.
    async fn is_due(&mut self) {
        match &mut self.looks {
            Some(looks) => _ = looks.tick().await,
            None => std::future::pending().await,
        }
    }

    /// Whether rounds went on since the last look.
    fn may_be_fed(&mut self, rounds: u64) -> bool {
        std::mem::replace(&mut self.rounds, rounds) != rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_stand_still_starve_the_watchdog_though_the_main_loop_works() {
        let mut watchdog = Watchdog { looks: None, rounds: 0 };
        assert!(!watchdog.may_be_fed(0), "no round yet");
        assert!(watchdog.may_be_fed(2));
        assert!(!watchdog.may_be_fed(2));
        assert!(watchdog.may_be_fed(3), "it lives again");
    }
}

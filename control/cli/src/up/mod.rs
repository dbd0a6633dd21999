//! `roomlane up`: starts the data plane and the control daemon, starts either again when it dies, and
//! stops both in order.
//!
//! It parses nothing that comes from a network and holds no secret. The order matters: control connects
//! to the data plane's socket, so the data plane comes first; at the end control goes first, so that
//! nobody joins a node that is going away.

mod child;
mod claim;
mod sockets;
mod xdp;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use config::Config;
use nix::sys::signal::Signal;
use proto::link::DRAIN_FILE;
use serde_json::{Value, json};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Place;
use crate::exit::{Exit, Failure};
use crate::programs;
use child::{Child, Ids};
use claim::Claim;
pub use claim::supervisor;

/// How long a process may take until it is ready, for the first time.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long each process may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How often sockets and processes are looked at while something is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// What happens to a supervisor.
enum Event {
    /// A signal arrived.
    Signal(i32),
    /// The data plane said that it is up.
    Ready(Value),
}

/// Runs a node until it is told to stop.
pub fn run(place: &Place) -> Result<(), Failure> {
    let (file, config) = configuration(place)?;
    let run_dir = config.run_dir();
    if place.node.as_ref().is_some_and(|node| *node != run_dir) {
        return Err(Failure::usage(format!(
            "the configuration's run_dir is {}; write node.run_dir there instead of --node",
            run_dir.display()
        )));
    }
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    let ids = Ids::of(&config)?;
    prepare(&run_dir, ids)?;
    let (claim, notices) = claim::claim(&run_dir)?;
    notices.iter().for_each(|notice| say(notice));
    // A data plane that was killed left its program on the interface; ours would share its packets.
    if !notices.is_empty() {
        xdp::detach(&config).iter().for_each(|notice| say(notice));
    }
    sockets::check(&config)?;
    let file = match file {
        Some(file) => file,
        None => defaults(&run_dir)?,
    };
    Supervisor::new(config, file, run_dir, ids, claim)?.run()
}

/// Before a data plane starts and after it has ended without a supervisor: detaches the program that a
/// killed one left on its interface, and takes sessions again.
pub fn release(place: &Place) -> Result<(), Failure> {
    let Some(path) = place.config_path() else { return Ok(()) };
    let config = Config::load_alone(&path);
    let config = config.map_err(|errors| Failure::config(errors.to_string()))?;
    xdp::detach(&config).iter().for_each(|notice| eprintln!("roomlane release: {notice}"));
    match std::fs::remove_file(config.run_dir().join(DRAIN_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("{}: {error}", config.run_dir().display())))
        }
        _ => Ok(()),
    }
}

/// One line of the supervisor's own.
fn say(text: &str) {
    eprintln!("roomlane up: {text}");
}

/// The configuration and its file; without a file, the default.
fn configuration(place: &Place) -> Result<(Option<PathBuf>, Config), Failure> {
    if let Some((path, config)) = place.load()? {
        return Ok((Some(path), config));
    }
    let mut config = Config::default();
    config.node.run_dir = place.node.clone();
    Ok((None, config))
}

/// Writes the default configuration for the two processes, which both read a file.
fn defaults(run_dir: &Path) -> Result<PathBuf, Failure> {
    let path = run_dir.join("node.toml");
    let dir = run_dir.display().to_string();
    let own = format!("run_dir = {}", Value::String(dir));
    let text = config::sample().replace("#run_dir = \"/run/roomlane\"", &own);
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    std::fs::write(&path, text).map_err(failed)?;
    say(&format!("no {}; running with the defaults in {}", config::DEFAULT_PATH, path.display()));
    Ok(path)
}

/// Makes the folder of sockets. Files in it belong to control's group, so that control can use the data
/// plane's socket and the group's members can look.
fn prepare(run_dir: &Path, ids: Option<Ids>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("{}: {error}", run_dir.display());
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Failure::new(
                Exit::NotPermitted,
                format!("{text}; run as root, or set node.run_dir to a folder of yours"),
            ),
            _ => Failure::failed(text),
        }
    };
    std::fs::create_dir_all(run_dir).map_err(failed)?;
    if let Some(ids) = ids {
        std::os::unix::fs::chown(run_dir, Some(ids.user), Some(ids.group)).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(0o2755);
        std::fs::set_permissions(run_dir, mode).map_err(failed)?;
    }
    Ok(())
}

/// Both processes and what happens to them.
struct Supervisor {
    config: Config,
    run_dir: PathBuf,
    claim: Claim,
    dataplane: Child,
    control: Child,
    events: Receiver<Event>,
    sender: Sender<Event>,
    stopping: bool,
}

impl Supervisor {
    fn new(
        config: Config,
        file: PathBuf,
        run_dir: PathBuf,
        ids: Option<Ids>,
        claim: Claim,
    ) -> Result<Self, Failure> {
        // A node that is started takes sessions, whatever it was told before.
        let _ = std::fs::remove_file(run_dir.join(DRAIN_FILE));
        let dataplane = Child::new(programs::DATAPLANE, &file, None)?;
        let control = Child::new(programs::CONTROL, &file, ids)?;
        let (sender, events) = channel();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])
            .map_err(|error| Failure::failed(format!("no signal handler: {error}")))?;
        let to = sender.clone();
        std::thread::spawn(move || {
            signals.forever().all(|signal| to.send(Event::Signal(signal)).is_ok())
        });
        let stopping = false;
        Ok(Supervisor { config, run_dir, claim, dataplane, control, events, sender, stopping })
    }

    fn run(mut self) -> Result<(), Failure> {
        let started = self.start();
        let ended = match &started {
            Ok(()) => self.supervise(),
            Err(_) => Ok(()),
        };
        self.stop();
        started.and(ended)
    }

    /// Both processes, the first time: what fails here would fail again, so nothing is retried.
    fn start(&mut self) -> Result<(), Failure> {
        self.spawn_dataplane()?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let ready = loop {
            match self.next(deadline) {
                Some(Event::Ready(ready)) => break ready,
                Some(Event::Signal(SIGCHLD)) => self.first_end(true)?,
                // The files are about to be read, or just were.
                Some(Event::Signal(SIGHUP)) => {}
                Some(Event::Signal(_)) => {
                    self.stopping = true;
                    return Ok(());
                }
                None => return Err(late(self.dataplane.name)),
            }
        };
        self.control.spawn().map_err(|error| Failure::failed(error.to_string()))?;
        self.record();
        let deadline = Instant::now() + READY_TIMEOUT;
        while !is_whole(&self.run_dir) {
            match self.next(Instant::now() + LOOK) {
                Some(Event::Signal(SIGCHLD)) => self.first_end(false)?,
                Some(Event::Signal(SIGHUP)) => {}
                Some(Event::Signal(_)) => {
                    self.stopping = true;
                    return Ok(());
                }
                _ if Instant::now() > deadline => return Err(late(self.control.name)),
                _ => {}
            }
        }
        self.announce(&ready);
        Ok(())
    }

    /// A process that ended before both were up is a failure with its exit code's meaning.
    fn first_end(&mut self, starting_dataplane: bool) -> Result<(), Failure> {
        let ended = [&mut self.dataplane, &mut self.control]
            .into_iter()
            .find_map(|child| child.ended().map(|status| (child.name, status)));
        let Some((name, status)) = ended else { return Ok(()) };
        if starting_dataplane || name == programs::DATAPLANE {
            xdp::detach(&self.config).iter().for_each(|notice| say(notice));
        }
        let code = if status.code() == Some(3) { Exit::Config } else { Exit::Failed };
        Err(Failure::new(
            code,
            format!("{name} ended before it was ready: {}", child::words(status)),
        ))
    }

    fn announce(&self, ready: &Value) {
        let (dataplane, control) = (self.dataplane.pid(), self.control.pid());
        let text = |key: &str| ready[key].as_str().unwrap_or("-").to_owned();
        let line = format!(
            "node {} is up: port {} ({}), data plane pid {}, control pid {}, signalling on {}, sockets in {}",
            self.config.node.name,
            text("port"),
            text("driver"),
            dataplane.unwrap_or_default(),
            control.unwrap_or_default(),
            self.config.control.listen,
            self.run_dir.display(),
        );
        // A closed stdout is no reason to stop a node.
        let _ = writeln!(std::io::stdout(), "{line}").and_then(|()| std::io::stdout().flush());
    }

    /// Waits for signals, and starts again what died.
    fn supervise(&mut self) -> Result<(), Failure> {
        while !self.stopping {
            let due = [&self.dataplane, &self.control].into_iter().filter_map(|c| c.retry_at).min();
            match self.next(due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))) {
                Some(Event::Signal(SIGCHLD)) => self.reap(),
                Some(Event::Signal(SIGHUP)) => self.reload(),
                Some(Event::Signal(_)) => self.stopping = true,
                Some(Event::Ready(_)) => say("the data plane is up again"),
                None => {}
            }
            self.restart();
        }
        Ok(())
    }

    /// The control daemon reloads, and says in its log what came of it.
    fn reload(&self) {
        match self.control.signal(Signal::SIGHUP) {
            true => say("reload: passed on to the control daemon"),
            false => say("reload: the control daemon is being started and reads the file anyway"),
        }
    }

    fn reap(&mut self) {
        if let Some(status) = self.dataplane.ended() {
            let wait = self.dataplane.back_off();
            say(&child::obituary(&self.dataplane, status, wait));
            xdp::detach(&self.config).iter().for_each(|notice| say(notice));
        }
        if let Some(status) = self.control.ended() {
            let wait = self.control.back_off();
            say(&child::obituary(&self.control, status, wait));
        }
    }

    fn restart(&mut self) {
        let now = Instant::now();
        if self.dataplane.retry_at.is_some_and(|at| at <= now)
            && let Err(failure) = self.spawn_dataplane()
        {
            say(&failure.message);
            self.dataplane.back_off();
        }
        if self.control.retry_at.is_some_and(|at| at <= now) {
            match self.control.spawn() {
                Ok(_) => self.record(),
                Err(error) => {
                    say(&error.to_string());
                    self.control.back_off();
                }
            }
        }
    }

    fn spawn_dataplane(&mut self) -> Result<(), Failure> {
        let stdout = self.dataplane.spawn().map_err(|error| Failure::failed(error.to_string()))?;
        self.record();
        if let Some(stdout) = stdout {
            let to = self.sender.clone();
            std::thread::spawn(move || pass_on(stdout, &to));
        }
        Ok(())
    }

    fn record(&mut self) {
        let running = [&self.dataplane, &self.control];
        let pids = running.into_iter().filter_map(|child| Some((child.name, child.pid()?)));
        if let Err(error) = self.claim.record(&pids.collect::<Vec<_>>()) {
            say(&format!("the pid file cannot be written: {error}"));
        }
    }

    /// The next event before `deadline`.
    fn next(&self, deadline: Instant) -> Option<Event> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
        }
    }

    /// Control first, then the data plane; whoever does not stop is killed.
    fn stop(&mut self) {
        self.control.stop(STOP_TIMEOUT);
        let killed = self.dataplane.stop(STOP_TIMEOUT);
        let notices = xdp::detach(&self.config);
        // After an orderly end there is nothing to detach, and nothing to say.
        notices.iter().for_each(|notice| say(notice));
        if killed {
            say("the data plane did not stop in time and was killed");
        }
    }
}

/// Whether control answers and has taken up with the data plane: before that it refuses joins.
fn is_whole(run_dir: &PathBuf) -> bool {
    match crate::act::ask(std::slice::from_ref(run_dir), &json!({"act": "status"})) {
        Ok(answer) => answer["data_plane"] == "up",
        // It is there, and does not talk to us.
        Err(failure) => failure.code == Exit::NotPermitted,
    }
}

fn late(name: &str) -> Failure {
    let text = format!("{name} was not ready within {} s", READY_TIMEOUT.as_secs());
    Failure::new(Exit::TimedOut, text)
}

/// Lines of the data plane: the one that says ready is for us, others for whoever reads ours.
fn pass_on(stdout: ChildStdout, to: &Sender<Event>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str::<Value>(&line) {
            Ok(value) if value["ready"] == Value::Bool(true) => {
                let _ = to.send(Event::Ready(value));
            }
            _ => {
                let _ = writeln!(std::io::stdout(), "{line}");
            }
        }
    }
}

//! One supervised process: started, watched, stopped, started again with growing pauses.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use config::Config;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User};

use crate::exit::{Exit, Failure};
use crate::programs;

/// Pause before the first restart; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A process that lived so long starts again without a pause that grew.
const HEALTHY: Duration = Duration::from_secs(30);

/// The account a process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

impl Ids {
    /// Control's account: only root can change to it, and only when one is configured.
    pub fn of(config: &Config) -> Result<Option<Ids>, Failure> {
        let Some(name) = &config.control.user else { return Ok(None) };
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let missing = |what: &str, name: &str| {
            let text = format!(
                "there is no {what} {name:?} on this host; make it or change the configuration"
            );
            Failure::new(Exit::Config, text)
        };
        let user = User::from_name(name).ok().flatten().ok_or_else(|| missing("user", name))?;
        let group = match &config.control.group {
            None => user.gid,
            Some(name) => {
                Group::from_name(name).ok().flatten().ok_or_else(|| missing("group", name))?.gid
            }
        };
        Ok(Some(Ids { user: user.uid.as_raw(), group: group.as_raw() }))
    }
}

/// A process to keep alive.
#[derive(Debug)]
pub struct Child {
    /// Its program's name.
    pub name: &'static str,
    /// When it is to be started again.
    pub retry_at: Option<Instant>,
    program: PathBuf,
    config: PathBuf,
    ids: Option<Ids>,
    process: Option<std::process::Child>,
    started: Instant,
    pause: Duration,
    starts: u64,
}

impl Child {
    /// Finds the program; starts nothing.
    pub fn new(name: &'static str, config: &Path, ids: Option<Ids>) -> Result<Self, Failure> {
        let program = programs::find(name.as_ref()).ok_or_else(|| {
            Failure::failed(format!(
                "{name} is neither beside this program nor on PATH; install it"
            ))
        })?;
        let config = config.to_owned();
        let (started, pause) = (Instant::now(), PAUSE_MIN);
        Ok(Child {
            name,
            retry_at: None,
            program,
            config,
            ids,
            process: None,
            started,
            pause,
            starts: 0,
        })
    }

    /// Starts it; the data plane's stdout, which says when it is ready, comes back.
    pub fn spawn(&mut self) -> std::io::Result<Option<ChildStdout>> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).stdin(Stdio::null());
        // It counts its lives in a metric, and cannot know them by itself.
        command.env("ROOMLANE_RESTARTS", self.starts.to_string());
        // A group of its own: Ctrl-C is for the supervisor, which stops both in order.
        command.process_group(0);
        if self.name == programs::DATAPLANE {
            command.stdout(Stdio::piped());
        }
        if let Some(ids) = self.ids {
            // Supplementary groups of root go, too: the standard library clears them with the user.
            command.uid(ids.user).gid(ids.group);
        }
        let mut process = command.spawn().map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", self.program.display()))
        })?;
        let stdout = process.stdout.take();
        self.process = Some(process);
        self.starts += 1;
        self.started = Instant::now();
        self.retry_at = None;
        Ok(stdout)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(std::process::Child::id)
    }

    /// Sends it a signal; `false` when it does not run.
    pub fn signal(&self, signal: Signal) -> bool {
        let pid = self.pid().map(|pid| Pid::from_raw(pid as i32));
        pid.is_some_and(|pid| kill(pid, signal).is_ok())
    }

    /// How it ended, once.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok().flatten()?;
        self.process = None;
        Some(status)
    }

    /// Plans the next start and returns the pause before it.
    pub fn back_off(&mut self) -> Duration {
        if self.started.elapsed() > HEALTHY {
            self.pause = PAUSE_MIN;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.retry_at = Some(Instant::now() + pause);
        pause
    }

    /// Asks it to stop, and kills it after `timeout`; says whether it came to that.
    pub fn stop(&mut self, timeout: Duration) -> bool {
        self.retry_at = None;
        let Some(mut process) = self.process.take() else { return false };
        let _ = kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            match process.try_wait() {
                Ok(Some(_)) | Err(_) => return false,
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let _ = process.kill();
        let _ = process.wait();
        true
    }
}

/// An exit status in words.
pub fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => {
            let name =
                Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.to_string());
            format!("killed by {name}")
        }
        (None, None) => "unknown end".to_owned(),
    }
}

/// What is said when a process ended by itself.
pub fn obituary(child: &Child, status: ExitStatus, pause: Duration) -> String {
    format!(
        "{} ended ({}); starting it again in {} ms",
        child.name,
        words(status),
        pause.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child() -> Child {
        Child {
            name: "test",
            retry_at: None,
            program: "/bin/sleep".into(),
            config: "5".into(),
            ids: None,
            process: None,
            started: Instant::now(),
            pause: PAUSE_MIN,
            starts: 0,
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_shrink_after_a_healthy_life() {
        let mut child = child();
        let pauses: Vec<u128> = (0..9).map(|_| child.back_off().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        let Some(long_ago) = Instant::now().checked_sub(HEALTHY * 2) else { return };
        child.started = long_ago;
        assert_eq!(child.back_off(), PAUSE_MIN);
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(words(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(words(ExitStatus::from_raw(9)), "killed by SIGKILL");
    }
}

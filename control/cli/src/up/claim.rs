//! One supervisor per folder: a lock that dies with its holder, and a pid file that outlives a kill -9,
//! so that the next one can name and clean what was left.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::link::{ADMIN_SOCKET, DATAPLANE_SOCKET, STATS_SOCKET};

use crate::exit::{Exit, Failure};

/// File name of pid file and lock.
const PID_FILE: &str = "roomlane.pid";
/// How long an orphan may take to stop before it is killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(5);

/// The right to run a node in a folder; gone with this value, or with its process.
#[derive(Debug)]
pub struct Claim {
    file: File,
}

/// Takes the folder. What a killed instance left there is cleaned, and told in the notices.
///
/// # Errors
/// [`Exit::Refused`] with the pid of a running instance.
pub fn claim(run_dir: &Path) -> Result<(Claim, Vec<String>), Failure> {
    let path = run_dir.join(PID_FILE);
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Failure::new(code, format!("{}: {error}", path.display()))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(failed)?;
    let locked = file.try_lock();
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let recorded: Vec<Record> = text.lines().filter_map(Record::parse).collect();
    match locked {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
        Err(TryLockError::WouldBlock) => {
            let pid =
                recorded.first().map_or("unknown".to_owned(), |record| record.pid.to_string());
            let text = format!(
                "another instance is running here: pid {pid} ({}); stop it with: kill {pid}",
                run_dir.display()
            );
            return Err(Failure::new(Exit::Refused, text));
        }
    }
    let notices = clean(run_dir, &recorded);
    let mut claim = Claim { file };
    claim.record(&[]).map_err(|error| Failure::failed(error.to_string()))?;
    Ok((claim, notices))
}

/// The supervisor that runs a node in a folder, by its pid.
pub fn supervisor(run_dir: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(run_dir.join(PID_FILE)).ok()?;
    let record = text.lines().next().and_then(Record::parse)?;
    record.is_running().then_some(record.pid)
}

impl Claim {
    /// Writes down who runs now, besides this process.
    pub fn record(&mut self, children: &[(&str, u32)]) -> std::io::Result<()> {
        let own = ("roomlane", std::process::id());
        let mut text = String::new();
        for (name, pid) in std::iter::once(&own).chain(children) {
            text += &format!("{name} {pid} {}\n", start_time(*pid).unwrap_or_default());
        }
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Emptied and not removed: somebody may have opened it already, and would lock a file that no
        // longer has a name.
        let _ = self.file.set_len(0);
    }
}

/// A process as written down: its start time tells it from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    name: String,
    pid: u32,
    start: u64,
}

impl Record {
    fn parse(line: &str) -> Option<Record> {
        let mut words = line.split_whitespace();
        let (name, pid, start) = (words.next()?, words.next()?, words.next()?);
        Some(Record { name: name.to_owned(), pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    fn is_running(&self) -> bool {
        self.start != 0 && start_time(self.pid) == Some(self.start)
    }
}

/// A process's start, in clock ticks since the host's; `None` when there is none, or only its remains.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything; fields are counted behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Stops processes that outlived their supervisor, and removes sockets without a process.
fn clean(run_dir: &Path, recorded: &[Record]) -> Vec<String> {
    let mut notices = vec![];
    let Some((supervisor, children)) = recorded.split_first() else { return notices };
    notices
        .push(format!("the instance with pid {} was killed; cleaning up after it", supervisor.pid));
    for record in children.iter().rev().filter(|record| record.is_running()) {
        notices.push(format!(
            "{} (pid {}) was still running: {}",
            record.name,
            record.pid,
            end(record)
        ));
    }
    for name in [DATAPLANE_SOCKET, STATS_SOCKET, ADMIN_SOCKET] {
        // Nobody of ours is left, so a socket that remains is a left-over.
        let path = run_dir.join(name);
        if std::fs::symlink_metadata(&path).is_ok() && std::fs::remove_file(&path).is_ok() {
            notices.push(format!("removed the left-over socket {}", path.display()));
        }
    }
    notices
}

fn end(record: &Record) -> &'static str {
    let pid = Pid::from_raw(record.pid as i32);
    for (signal, done) in [(Signal::SIGTERM, "stopped"), (Signal::SIGKILL, "killed")] {
        if kill(pid, signal).is_err() {
            return "it could not be stopped";
        }
        let deadline = Instant::now() + ORPHAN_TIMEOUT;
        while Instant::now() < deadline {
            if !record.is_running() {
                return done;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    "it does not end"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// One test at a time: a child that another one spawns holds our locks until its exec.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    struct Dir(std::path::PathBuf, #[expect(dead_code)] std::sync::MutexGuard<'static, ()>);

    impl Dir {
        fn new(name: &str) -> Self {
            let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let dir = std::env::temp_dir().join(format!("rl-claim-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Dir(dir, alone)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_second_instance_is_refused_with_the_pid_of_the_first() {
        let dir = Dir::new("second");
        let (first, notices) = claim(&dir.0).unwrap();
        assert!(notices.is_empty());
        let failure = claim(&dir.0).unwrap_err();
        assert_eq!(failure.code, Exit::Refused);
        assert!(
            failure.message.contains(&format!("pid {}", std::process::id())),
            "{}",
            failure.message
        );
        drop(first);
        let (_again, notices) = claim(&dir.0).unwrap();
        assert!(notices.is_empty(), "an orderly end leaves nothing: {notices:?}");
    }

    #[test]
    fn what_a_killed_instance_left_is_named_stopped_and_removed() {
        let dir = Dir::new("killed");
        let mut orphan = Command::new("sleep").arg("60").spawn().unwrap();
        let start = start_time(orphan.id()).unwrap();
        let text = format!("roomlane 4000000 1\nroomlane-dataplane {} {start}\n", orphan.id());
        std::fs::write(dir.0.join(PID_FILE), text).unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.0.join(STATS_SOCKET)).unwrap());
        let (_claim, notices) = claim(&dir.0).unwrap();
        assert!(notices[0].contains("pid 4000000 was killed"), "{notices:?}");
        assert!(notices[1].ends_with("was still running: stopped"), "{notices:?}");
        assert!(notices[2].contains("left-over socket"), "{notices:?}");
        assert!(!dir.0.join(STATS_SOCKET).exists());
        assert!(orphan.wait().unwrap().code().is_none(), "ended by a signal");
    }

    #[test]
    fn a_stranger_with_a_recorded_pid_is_left_alone() {
        let dir = Dir::new("stranger");
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let wrong = start_time(stranger.id()).unwrap() - 1;
        let text = format!("roomlane 4000000 1\nroomlane-control {} {wrong}\n", stranger.id());
        std::fs::write(dir.0.join(PID_FILE), text).unwrap();
        let (_claim, notices) = claim(&dir.0).unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(stranger.try_wait().unwrap().is_none(), "still running");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

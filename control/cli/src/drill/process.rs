//! The node's processes: found by what they say of themselves, killed by pid, started again by whoever
//! supervises them.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::up;

/// Bytes of a process name that the kernel keeps.
const COMM_BYTES: usize = 15;

/// A process of the node.
#[derive(Debug)]
pub struct Target {
    pid: i32,
    name: &'static str,
}

impl Target {
    /// The process `pid`, which must be `name`.
    ///
    /// # Errors
    /// Somebody else has that pid here, as from inside of a container.
    pub fn of(name: &'static str, pid: Option<u64>) -> Result<Target, Failure> {
        let missing = || Failure::new(Exit::NoNode, format!("{name} does not say its pid"));
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
        let pid = pid.ok_or_else(missing)?;
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let expected = &name[..name.len().min(COMM_BYTES)];
        if comm.trim_end() != expected {
            let text = format!(
                "{name} says that it is pid {pid}, which is {:?} here: run the drill where it runs",
                comm.trim_end()
            );
            return Err(Failure::new(Exit::Refused, text));
        }
        Ok(Target { pid, name })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&self) -> Result<(), Failure> {
        kill(Pid::from_raw(self.pid), Signal::SIGKILL).map_err(|error| {
            let text = format!("{} (pid {}): {error}", self.name, self.pid);
            let code = match error {
                nix::errno::Errno::EPERM => Exit::NotPermitted,
                _ => Exit::Failed,
            };
            Failure::new(code, text)
        })
    }
}

/// Who starts a process again.
#[derive(Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// `roomlane up`, by its pid.
    Up(u32),
    /// systemd, by the unit.
    Systemd(String),
    /// Nobody.
    Nobody,
}

impl Supervisor {
    /// Of a process of the node in `run_dir`.
    pub fn of(run_dir: &Path, target: &Target) -> Supervisor {
        if let Some(pid) = up::supervisor(run_dir) {
            return Supervisor::Up(pid);
        }
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", target.pid));
        unit(&cgroup.unwrap_or_default()).map_or(Supervisor::Nobody, Supervisor::Systemd)
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Supervisor::Up(pid) => format!("roomlane up (pid {pid})"),
            Supervisor::Systemd(unit) => format!("systemd ({unit})"),
            Supervisor::Nobody => "nobody".to_owned(),
        }
    }
}

/// The unit of a line such as `0::/system.slice/roomlane-control.service`.
fn unit(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.rsplit_once("::").map(|(_, path)| path));
    let mut parts = paths.flat_map(|path| path.split('/'));
    let is_ours = |part: &&str| part.starts_with("roomlane") && part.ends_with(".service");
    parts.find(is_ours).map(str::to_owned)
}

/// Starts the operator's command and leaves it alone: it may be the process itself.
///
/// # Errors
/// There is no shell.
pub fn start(command: &str) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    shell.spawn().map(drop).map_err(|error| Failure::failed(format!("sh: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_under_the_nodes_pid_is_not_touched() {
        let me = u64::from(std::process::id());
        let failure = Target::of("roomlane-control", Some(me)).unwrap_err();
        assert_eq!(failure.code, Exit::Refused);
        for nobody in [None, Some(0), Some(1), Some(u64::MAX)] {
            assert_eq!(Target::of("roomlane-control", nobody).unwrap_err().code, Exit::NoNode);
        }
    }

    #[test]
    fn the_unit_is_read_from_the_control_group() {
        let text = "1:name=x:/\n0::/system.slice/roomlane-control.service\n";
        assert_eq!(unit(text).as_deref(), Some("roomlane-control.service"));
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(unit(""), None);
    }
}

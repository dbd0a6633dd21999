//! What the control process tells a service manager, heard at a socket of the test's own.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The time between two feedings that the test's service manager allows.
const WATCHDOG: Duration = Duration::from_secs(4);
/// How long anything that should happen soon may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service manager, its folder and the process that it started.
struct Supervisor {
    folder: PathBuf,
    socket: UnixDatagram,
    child: Child,
}

impl Supervisor {
    fn start(name: &str) -> Supervisor {
        let folder = std::env::temp_dir().join(format!("rl-sup-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let run_dir = folder.join("run");
        let text = format!(
            "[node]\nrun_dir = {run_dir:?}\n[port]\ntype = \"udp\"\n\
             [control]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"
        );
        std::fs::write(folder.join("node.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomlane-control"));
        command.arg("--config").arg(folder.join("node.toml")).stderr(Stdio::null());
        command.env_remove("LOGS_DIRECTORY").env_remove("STATE_DIRECTORY");
        command.env("NOTIFY_SOCKET", folder.join("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Supervisor { child: command.spawn().unwrap(), folder, socket }
    }

    /// The first line of the next message within `time`.
    fn hear(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 256];
        let len = self.socket.recv(&mut bytes).ok()?;
        String::from_utf8_lossy(&bytes[..len]).lines().next().map(str::to_owned)
    }

    /// Whether it says `word` soon; only feedings may come before.
    fn says(&self, word: &str) -> bool {
        let mut heard = std::iter::from_fn(|| self.hear(PATIENCE));
        heard.find(|heard| heard != "WATCHDOG=1" || word == heard).as_deref() == Some(word)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_service_manager_hears_that_control_is_up_lives_reloads_and_stops() {
    let mut manager = Supervisor::start("whole");
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("READY=1"));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    assert_eq!(manager.hear(WATCHDOG).as_deref(), Some("WATCHDOG=1"), "in time, again");
    manager.signal(Signal::SIGHUP);
    assert!(manager.says("RELOADING=1"));
    assert!(manager.says("READY=1"));
    manager.signal(Signal::SIGTERM);
    assert!(manager.says("STOPPING=1"));
    assert!(manager.child.wait().unwrap().success());
}

#[test]
fn a_stopped_control_process_starves_the_watchdog() {
    let manager = Supervisor::start("stopped");
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("READY=1"));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    manager.signal(Signal::SIGSTOP);
    // What was said before it stopped.
    while manager.hear(WATCHDOG / 8).is_some() {}
    assert_eq!(manager.hear(WATCHDOG), None, "nothing for as long as the manager waits");
    manager.signal(Signal::SIGCONT);
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"), "it lives again");
}

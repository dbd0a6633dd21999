//! What the program tells a service manager, heard at a socket of the test's own.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use support::control::PATIENCE;
use support::process::{DataPlane, Folder, free_ports, program};

/// The time between two feedings that the test's service manager allows.
const WATCHDOG: Duration = Duration::from_secs(2);

struct Supervisor(UnixDatagram);

impl Supervisor {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("bound");
        Supervisor(socket)
    }

    /// Starts a node of two workers, or of one where there is one core.
    fn start(&self, folder: &Folder) -> DataPlane {
        let base = free_ports(2);
        let cores: Vec<usize> =
            shm::affinity::cores().expect("cores").into_iter().take(2).collect();
        let config = folder.config(&format!(
            "[port]\ntype = \"udp\"\nudp_base = {base}\nmempool_buffers = 2048\n\
             [workers]\ncores = {cores:?}\n[limits]\nsessions_max = 64\nrooms_max = 16\n"
        ));
        let mut command = program();
        command.env("NOTIFY_SOCKET", folder.path().join("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        DataPlane::start_as(command, &config, Stdio::null())
    }

    /// The next message within `time`.
    fn hear(&self, time: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(time)).expect("set");
        let mut bytes = [0; 256];
        let len = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).trim().to_owned())
    }
}

/// A thread of the process by its name.
fn thread(pid: u32, name: &str) -> Pid {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let is_it = |path: &Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let found = threads.flatten().find(|thread| is_it(&thread.path())).expect("the thread");
    Pid::from_raw(found.file_name().to_string_lossy().parse().expect("a number"))
}

#[test]
fn a_service_manager_hears_that_the_node_is_up_that_it_lives_and_that_it_stops() {
    let folder = Folder::new();
    let manager = Supervisor::new(&folder);
    let node = manager.start(&folder);
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("READY=1"));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    assert_eq!(manager.hear(WATCHDOG).as_deref(), Some("WATCHDOG=1"), "in time, again");
    assert!(node.stop().success());
    let last = std::iter::from_fn(|| manager.hear(Duration::from_millis(10))).last();
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_frozen_worker_starves_the_watchdog_though_the_rest_works() {
    let folder = Folder::new();
    let manager = Supervisor::new(&folder);
    let node = manager.start(&folder);
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("READY=1"));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    // The last one, which has its own core where there are two.
    let last = shm::affinity::cores().expect("cores").len().min(2) - 1;
    let worker = thread(node.pid(), &format!("worker{last}"));
    if let Err(error) = ptrace::seize(worker, ptrace::Options::empty()) {
        eprintln!("skipped: this host lets nobody stop a single thread ({error})");
        return;
    }
    ptrace::interrupt(worker).expect("stopped");
    waitpid(worker, Some(WaitPidFlag::__WALL)).expect("it has stopped");
    // What was on its way when the worker stopped; its last beat may count in one more look.
    let since = Instant::now();
    while since.elapsed() < WATCHDOG / 2 + Duration::from_millis(100) {
        let _ = manager.hear(Duration::from_millis(50));
    }
    let heard = manager.hear(WATCHDOG);
    // Before anything is asserted: a thread that is still ours would keep its process from ending.
    ptrace::detach(worker, None).expect("let go");
    assert_eq!(heard, None, "nothing for as long as the manager waits");
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"), "it lives again");
}

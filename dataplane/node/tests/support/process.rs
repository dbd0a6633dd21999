//! The data plane as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("roomlane-node-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a configuration with its sockets in this folder.
    pub fn config(&self, rest: &str) -> PathBuf {
        let file = self.0.join("node.toml");
        let run = self.0.join("run");
        let text = format!("[node]\nrun_dir = \"{}\"\n{rest}", run.display());
        std::fs::write(&file, text).expect("written");
        file
    }

    pub fn run_dir(&self) -> PathBuf {
        self.0.join("run")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `count` free UDP ports in a row on loopback.
pub fn free_ports(count: u16) -> u16 {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let base = first.local_addr().expect("bound").port();
        if base.checked_add(count).is_none() {
            continue;
        }
        let others: Result<Vec<_>, _> =
            (1..count).map(|i| UdpSocket::bind(("127.0.0.1", base + i))).collect();
        if others.is_ok() {
            return base;
        }
    }
}

/// The program, to be started.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_roomlane-dataplane"))
}

/// A running data plane.
pub struct DataPlane {
    child: Child,
    pub ready: Value,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl DataPlane {
    /// Starts it and waits for its line.
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, Stdio::null())
    }

    pub fn start_with(config: &Path, stderr: Stdio) -> Self {
        Self::start_as(program(), config, stderr)
    }

    /// By another program that becomes it.
    pub fn start_as(mut command: Command, config: &Path, stderr: Stdio) -> Self {
        command.arg("--config").arg(config).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("started");
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next().expect("a line before its end").expect("UTF-8");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(ready["ready"], true);
        DataPlane { child, ready, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is our child");
    }

    /// Kills it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("reaped");
    }

    /// Ends it in order and waits.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().expect("reaped")
    }

    /// Whatever it wrote to standard error; only after its end.
    pub fn errors(mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).expect("UTF-8");
        }
        text
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        // Nothing to be done if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

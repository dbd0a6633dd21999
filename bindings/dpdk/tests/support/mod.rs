//! What the tests share: EAL starts once per process, so a test runs its body in a child, which is
//! the same executable told to run that one test; and namespaces with a veth pair between them.
#![allow(dead_code)]

pub mod responder;

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use dpdk::{Eal, EalConfig, Memory};

const ROLE: &str = "ROOMLANE_TEST_ROLE";
const DEADLINE: Duration = Duration::from_secs(30);

/// The role this process was started in, `None` in the test runner itself.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs `body` in a child process and asserts that it succeeded.
pub fn in_child(test: &str, body: impl FnOnce()) {
    if role().is_some() {
        return body();
    }
    Process::spawn(test, "child", None).finish();
}

/// EAL on ordinary pages, so that a test needs nothing of the host.
pub fn no_huge(memory_mib: u32) -> EalConfig {
    EalConfig { memory: Memory::NoHuge, memory_mib, telemetry: false, ..EalConfig::default() }
}

pub fn start(memory_mib: u32) -> Eal {
    Eal::start(&no_huge(memory_mib)).expect("EAL starts")
}

/// Repeats `attempt` until it says true; panics with `what` after 30 s.
pub fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < DEADLINE, "not within 30 s: {what}");
        thread::yield_now();
    }
}

/// True once standard input was closed: how a parent tells a child to end.
pub fn end_of_stdin() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::SeqCst);
    });
    ended
}

/// A child that runs one test of this executable in a role.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub fn spawn(test: &str, role: &str, netns: Option<&str>) -> Process {
        let exe = env::current_exe().expect("own path");
        let mut command = match netns {
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(exe);
                command
            }
            None => Command::new(exe),
        };
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the child starts");
        let (sender, lines) = channel();
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("piped"));
        for stream in [out, err] {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Process { child, lines, seen: vec![] }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`; false when the child ends first.
    pub fn wait_for(&mut self, text: &str) -> bool {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    self.seen.push(line);
                    if self.seen.last().is_some_and(|line| line.contains(text)) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => self.give_up(text),
            }
        }
    }

    /// Closes its standard input, waits for its end, asserts success, and returns what it printed.
    pub fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        // Its output ends with it.
        while self.wait_for("\u{0}") {}
        let status = self.child.wait().expect("the child can be waited for");
        self.remove_runtime_dir();
        let seen = self.seen.join("\n");
        assert!(status.success(), "the child ended with {status}:\n{seen}");
        assert!(seen.contains("1 passed"), "the child ran no test:\n{seen}");
        seen
    }

    /// Ends it without giving it a chance to clean up.
    pub fn kill(mut self) {
        self.child.kill().expect("the child can be killed");
        let _ = self.child.wait();
        self.remove_runtime_dir();
    }

    /// EAL leaves it behind when it is killed, or when telemetry's socket was in it.
    fn remove_runtime_dir(&self) {
        let _ = std::fs::remove_dir(format!("/var/run/dpdk/roomlane-{}", self.child.id()));
    }

    fn give_up(&mut self, text: &str) -> ! {
        let _ = self.child.kill();
        let _ = self.child.wait();
        panic!("no `{text}` within 30 s:\n{}", self.seen.join("\n"));
    }
}

/// Runs a command; its output, or its error text.
pub fn run(words: &[&str]) -> Result<String, String> {
    let out = Command::new(words[0]).args(&words[1..]).output();
    let out = out.map_err(|error| format!("{}: {error}", words[0]))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if out.status.success() {
        return Ok(text(&out.stdout));
    }
    Err(format!("{}: {} {}", words.join(" "), text(&out.stdout), text(&out.stderr)))
}

/// A network namespace, removed on drop.
pub struct NetNs {
    pub name: String,
}

impl NetNs {
    /// `None`, said loudly, where the host does not let us make one.
    pub fn new() -> Option<NetNs> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("rl-dpdk-{}-{number}", std::process::id());
        match run(&["ip", "netns", "add", &name]) {
            Ok(_) => Some(NetNs { name }),
            Err(why) => {
                eprintln!("SKIPPED: no namespace: {why}");
                None
            }
        }
    }

    pub fn ip(&self, words: &str) -> String {
        let words: Vec<_> =
            ["ip", "-n", &self.name].into_iter().chain(words.split_whitespace()).collect();
        run(&words).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Sends `count` pings to `to`, 10 ms apart, and asserts that every one was answered.
    pub fn ping(&self, to: &str, count: u32) {
        let count_text = count.to_string();
        let words =
            ["ip", "netns", "exec", &self.name, "ping", "-n", "-i", "0.01", "-W", "5", "-c"];
        let words: Vec<_> = words.into_iter().chain([count_text.as_str(), to]).collect();
        let out = run(&words).unwrap_or_else(|why| panic!("{why}"));
        assert!(out.contains(&format!("{count} received")), "{out}");
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

/// Two namespaces with a veth pair: `d0` for the device, `c0` with 198.18.7.1/24 for an ordinary
/// client.
pub struct Lab {
    pub device: NetNs,
    pub client: NetNs,
}

impl Lab {
    pub fn new() -> Option<Lab> {
        let lab = Lab { device: NetNs::new()?, client: NetNs::new()? };
        lab.device.ip(&format!("link add d0 type veth peer name c0 netns {}", lab.client.name));
        lab.device.ip("link set d0 up");
        lab.client.ip("addr add 198.18.7.1/24 dev c0");
        lab.client.ip("link set c0 up");
        Some(lab)
    }
}

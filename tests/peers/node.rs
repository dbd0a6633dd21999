//! The real programs as a node: started by `roomlane up`, looked at by `roomlane show`, stopped and
//! removed at the end.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use serde_json::Value;

use crate::netns::{NODE_MANAGE_IP, NetNs, own_name, run, skip};
use crate::sdes::Api;

/// How long a node may take to come up or go down.
const NODE_TIMEOUT: Duration = Duration::from_secs(60);
/// Where a node with HTTPS listens.
const HTTPS_PORT: u16 = 8443;
/// The folder of a node's own disk.
const DISK: &str = "disk";
/// The app of every node here.
pub const APP: u32 = 1_400_000_001;

/// Where the programs are: `ROOMLANE_BIN_DIR`, or the folder of this executable, or for a test's the one
/// above it. `None`, said loudly, when they were not built.
pub fn programs() -> Option<PathBuf> {
    let dir = match std::env::var_os("ROOMLANE_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let me = std::env::current_exe().expect("own path");
            let mut dir = me.parent().expect("it is in a folder");
            if dir.ends_with("deps") {
                dir = dir.parent().expect("target/PROFILE/deps");
            }
            dir.to_owned()
        }
    };
    for name in ["roomlane", "roomlane-dataplane", "roomlane-control"] {
        if !dir.join(name).exists() {
            skip(&format!("no {name} in {}; build it first (scripts/test does)", dir.display()));
            return None;
        }
    }
    Some(dir)
}

/// A node's port, in the words of its configuration.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Lines of `[port]` without addresses.
    pub port: String,
    /// Lines of `[workers]`.
    pub workers: String,
    /// The user that both processes become.
    pub user: Option<&'static str>,
    /// HTTPS on the management cable with the demo page, instead of a Unix socket.
    pub https: bool,
    /// Whole sections behind the others.
    pub more: String,
    /// Audit file and incidents lie on a disk of their own of this many KiB, which no other process sees.
    pub disk_kib: Option<u32>,
}

impl NodeConfig {
    /// A DPDK device, or `uring` or `udp`.
    pub fn port(device: &str) -> NodeConfig {
        let port = match device {
            "udp" | "uring" => format!("type = \"{device}\"\n"),
            device => format!("type = \"dpdk\"\ndevice = \"{device}\"\n"),
        };
        NodeConfig {
            port,
            workers: String::new(),
            user: None,
            https: false,
            more: String::new(),
            disk_kib: None,
        }
    }

    fn text(&self, dir: &Path) -> String {
        let dir = dir.display();
        let signalling = match self.https {
            true => format!(
                "listen = \"{NODE_MANAGE_IP}:{HTTPS_PORT}\"\ntls_cert = \"{dir}/cert.pem\"\n\
                 tls_key = \"{dir}/key.pem\"\ndemo = true"
            ),
            false => format!("listen = \"unix:{dir}/http.sock\""),
        };
        let mut text =
            format!("[node]\nname = \"test\"\nrun_dir = \"{dir}/run\"\n[port]\n{}", self.port);
        if !self.port.contains("addresses") {
            text += "addresses = [\"198.18.7.2/24\", \"2001:db8:7::2/64\"]\n";
        }
        write!(
            text,
            "[workers]\n{}\n{}\n[control]\n{signalling}\n\
             [sdes]\nallow = [\"198.18.7.0/24\", \"2001:db8:7::/64\"]\n{}\n\
             [[app]]\nsdkappid = {APP}\nsecret_files = [\"{dir}/secret\"]\n",
            self.workers,
            self.user.map(|user| format!("user = \"{user}\"")).unwrap_or_default(),
            self.more
        )
        .expect("a string takes everything");
        text
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its folder: configuration, secret, sockets, log.
    pub dir: PathBuf,
    programs: PathBuf,
    secret: String,
    up: Option<Child>,
}

impl Node {
    /// Starts one in `ns` and waits until it is up. `None` where the programs are missing.
    ///
    /// # Errors
    /// What it said before it ended.
    pub fn start(ns: &NetNs, config: &NodeConfig) -> Option<Result<Node, String>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let programs = programs()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(own_name(number));
        std::fs::create_dir_all(&dir).expect("the temporary folder takes a folder");
        let secret = format!("{:0>64x}", u128::from(std::process::id()) << 64 | u128::from(number));
        write(&dir.join("secret"), &secret, 0o400);
        if let Some(user) = config.user.and_then(|name| User::from_name(name).expect("readable")) {
            chown(dir.join("secret"), Some(user.uid.as_raw()), None)
                .expect("root may give files away");
            // The control daemon makes its HTTP socket here.
            chown(&dir, Some(user.uid.as_raw()), None).expect("root may give files away");
        }
        if config.https {
            certificate(&dir);
        }
        write(&dir.join("node.toml"), &config.text(&dir), 0o644);
        let log = File::create(dir.join("log")).expect("a log");
        let mut command = match config.disk_kib {
            None => ns.command(programs.join("roomlane").as_os_str()),
            Some(kib) => on_a_disk(ns, &dir.join(DISK), kib, &programs.join("roomlane")),
        };
        command.args(["up", "--config"]).arg(dir.join("node.toml")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let up = command.spawn().expect("ip is there, or no namespace would be");
        let mut node = Node { dir, programs, secret, up: Some(up) };
        Some(node.wait_until_up().map(|()| node))
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + NODE_TIMEOUT;
        loop {
            let log = self.log();
            if log.contains("node test is up") {
                return Ok(());
            }
            let ended = self.up.as_mut().is_none_or(|up| !matches!(up.try_wait(), Ok(None)));
            if ended {
                // JSON lines are the log; the others say why.
                let words = log.lines().filter(|line| !line.starts_with('{'));
                return Err(words.collect::<Vec<_>>().join("; "));
            }
            assert!(Instant::now() < deadline, "not up within 60 s:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Signalling and demo page over HTTPS.
    pub fn url(&self, path: &str) -> String {
        format!("https://{NODE_MANAGE_IP}:{HTTPS_PORT}{path}")
    }

    /// Where peers ask.
    pub fn api(&self) -> Api {
        Api::new(&self.dir.join("http.sock"), APP, &self.secret)
    }

    /// The disk of [`NodeConfig::disk_kib`], as the control daemon sees it.
    pub fn disk(&self) -> PathBuf {
        let pid = self.pid("roomlane-control").expect("control runs");
        let inside = self.dir.join(DISK);
        let inside = inside.strip_prefix("/").expect("temporary folders are absolute");
        Path::new("/proc").join(pid.to_string()).join("root").join(inside)
    }

    /// `roomlane words`, for this node, as a user who belongs to no group of the node's.
    pub fn roomlane_as_nobody(&self, words: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        command.arg(self.programs.join("roomlane"));
        command.args(words).arg("--node").arg(self.dir.join("run")).current_dir("/tmp");
        command.output().expect("setpriv is part of util-linux")
    }

    /// A `roomlane words` that goes on, for this node.
    pub fn roomlane_going(&self, words: &[&str]) -> Child {
        let mut command = Command::new(self.programs.join("roomlane"));
        command.args(words).arg("--node").arg(self.dir.join("run"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }

    /// `roomlane words`, for this node.
    pub fn roomlane(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it starts")
    }

    /// The same, to be started by whoever asks.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("roomlane"));
        command.args(words).arg("--node").arg(self.dir.join("run"));
        command
    }

    /// `roomlane show noun --json`.
    pub fn show(&self, noun: &str) -> Value {
        let out = self.roomlane(&["show", noun, "--json", "--interval", "20"]);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "show {noun}: {error}\n{}", self.log());
        serde_json::from_slice(&out.stdout).unwrap_or_else(|why| panic!("show {noun}: {why}"))
    }

    /// Waits until every worker has written its figures anew: what came before this call is in them.
    pub fn until_counted(&self) {
        let turns = |node: &Node| -> Vec<u64> {
            let shown = node.show("worker");
            let list = shown["workers"].as_array().expect("a list");
            list.iter().filter_map(|worker| worker["turns"].as_u64()).collect()
        };
        let before = turns(self);
        self.until("figures are written anew", |node| {
            turns(node).iter().zip(&before).all(|(now, before)| now != before)
        });
    }

    /// Drops by reason: on receipt, on the way out, and below UDP, added up.
    pub fn drops(&self, reason: &str) -> u64 {
        let shown = self.show("drops");
        let list = shown["drops"].as_array().expect("a list");
        let row = list.iter().find(|row| row["reason"] == reason);
        let row = row.unwrap_or_else(|| panic!("no reason {reason}"));
        ["received", "outgoing", "port"].iter().filter_map(|key| row[key].as_u64()).sum()
    }

    /// Every drop there was, with its number, for messages.
    pub fn all_drops(&self) -> String {
        let out = self.roomlane(&["show", "drops", "--interval", "20"]);
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Repeats `look` until it says true.
    pub fn until(&self, what: &str, mut look: impl FnMut(&Node) -> bool) {
        let deadline = Instant::now() + NODE_TIMEOUT;
        while !look(self) {
            assert!(
                Instant::now() < deadline,
                "not within 60 s: {what}\n{}\n{}",
                self.all_drops(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The pid of one of its processes, from the supervisor's pid file.
    pub fn pid(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.dir.join("run/roomlane.pid")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line?.split(' ').next()?.parse().ok()
    }

    /// The file that it was started with, and reloads.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    /// Sends a signal to one of its processes; `roomlane` is the supervisor.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = self.pid(name).unwrap_or_else(|| panic!("no {name} runs"));
        kill(Pid::from_raw(pid), signal).expect("it is ours");
    }

    /// `kill -9` of one of its processes; its pid.
    pub fn kill(&self, name: &str) -> i32 {
        let pid = self.pid(name).unwrap_or_else(|| panic!("no {name} runs"));
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is ours");
        pid
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        if std::thread::panicking() {
            eprintln!("--- the node's log:\n{}", self.log());
        }
        end(&mut up, NODE_TIMEOUT);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Asks a program to end, and ends it by force when it takes longer.
pub fn end(program: &mut Child, patience: Duration) {
    let _ = kill(Pid::from_raw(program.id() as i32), Signal::SIGTERM);
    let deadline = Instant::now() + patience;
    while matches!(program.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = program.kill();
            let _ = program.wait();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program in `ns` with a disk of its own at `dir`, where it keeps its records. The mount is seen by it and
/// its children alone, since `ip netns exec` gives it a mount namespace.
fn on_a_disk(ns: &NetNs, dir: &Path, kib: u32, program: &Path) -> Command {
    std::fs::create_dir_all(dir).expect("the node's folder takes a folder");
    let script = "mount -t tmpfs -o \"size=$1k,mode=0755\" small \"$2\" && shift 2 && exec \"$@\"";
    let mut command = ns.command(std::ffi::OsStr::new("sh"));
    command.args(["-c", script, "sh"]).arg(kib.to_string()).arg(dir).arg(program);
    command.env("LOGS_DIRECTORY", dir).env("STATE_DIRECTORY", dir);
    command
}

/// A certificate and key for this node alone.
fn certificate(dir: &Path) {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (key, cert, name) =
        (at("key.pem"), at("cert.pem"), format!("subjectAltName=IP:{NODE_MANAGE_IP}"));
    let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let about = ["-days", "2", "-subj", "/CN=roomlane-test", "-addext", &name];
    let files = ["-keyout", &key, "-out", &cert];
    let words = [&["openssl"][..], &kind, &about, &files].concat();
    run(&words).unwrap_or_else(|why| panic!("{why}"));
    let owner_only = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(&key, owner_only).expect("it is ours");
}

fn write(path: &Path, text: &str, mode: u32) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

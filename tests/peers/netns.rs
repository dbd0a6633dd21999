//! Network namespaces of the tests' own, with a cable between them; removed when they go.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs a command; its output, or its words with its error text.
///
/// # Errors
/// What it printed, or why it did not start.
pub fn run(words: &[&str]) -> Result<String, String> {
    let out = Command::new(words[0]).args(&words[1..]).output();
    let out = out.map_err(|error| format!("{}: {error}", words[0]))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if out.status.success() {
        return Ok(text(&out.stdout));
    }
    Err(format!("{}: {} {}", words.join(" "), text(&out.stdout), text(&out.stderr)))
}

/// Says loudly that a test did not run, with the host's own words. `scripts/test` counts these lines
/// from the file that it names in `ROOMLANE_SKIPS`.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {}", why.replace('\n', " "));
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("ROOMLANE_SKIPS") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.to_string_lossy()));
    }
}

/// Names of namespaces and temporary folders: this, the number of the process that made it, and more.
const PREFIX: &str = "rl-t";
/// How long programs in a namespace may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A name for something of this process.
pub fn own_name(what: impl std::fmt::Display) -> String {
    format!("{PREFIX}{}-{what}", std::process::id())
}

/// Removes all namespaces and folders with a name of this process, and ends what runs there: for who is about
/// to be ended himself. Those of killed processes are removed by the next one that makes any.
pub fn abandon() {
    remove(|owner| owner == std::process::id());
}

fn remove(is_one: impl Fn(u32) -> bool) {
    let list = run(&["ip", "netns", "list"]).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let owner = |name: &str| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok();
    for name in names.filter(|name| owner(name).is_some_and(&is_one)) {
        let began = Instant::now();
        loop {
            let there = run(&["ip", "netns", "pids", name]).unwrap_or_default();
            let there: Vec<i32> = there.lines().filter_map(|pid| pid.trim().parse().ok()).collect();
            if there.is_empty() || began.elapsed() > END_TIMEOUT {
                break;
            }
            for pid in there {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = run(&["ip", "netns", "del", name]);
    }
    for entry in std::env::temp_dir().read_dir().into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(owner).is_some_and(&is_one) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct NetNs {
    /// Its name, for `ip netns exec`.
    pub name: String,
}

impl NetNs {
    /// Makes one with a name that nobody else has.
    ///
    /// # Errors
    /// The host's own words.
    pub fn new() -> Result<NetNs, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| remove(|owner| !Path::new(&format!("/proc/{owner}")).exists()));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = own_name(number);
        run(&["ip", "netns", "add", &name])?;
        let ns = NetNs { name };
        ns.ip("link set lo up");
        // Kernels without IPv6 have no such file; then there is nothing to hurry.
        let _ = ns.exec(&["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0"]);
        let _ = ns.exec(&["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
        Ok(ns)
    }

    /// `ip -n THIS words`.
    pub fn ip(&self, words: &str) -> String {
        let all: Vec<_> =
            ["ip", "-n", &self.name].into_iter().chain(words.split_whitespace()).collect();
        run(&all).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Runs a command inside.
    ///
    /// # Errors
    /// As [`run`].
    pub fn exec(&self, words: &[&str]) -> Result<String, String> {
        run(&[&["ip", "netns", "exec", &self.name], words].concat())
    }

    /// A command that will run inside.
    pub fn command(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `f` on a thread inside: sockets it opens belong to the namespace for good.
    pub fn within<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A non-blocking UDP socket inside, on a free port of `ip`.
    pub fn udp(&self, ip: IpAddr) -> UdpSocket {
        self.within(|| {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0));
            let socket = socket.unwrap_or_else(|error| panic!("{ip}: {error}"));
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            socket
        })
    }

    /// Pings `to` `count` times, 20 ms apart; how many answers came.
    pub fn ping(&self, to: &str, count: u32) -> u32 {
        let count = count.to_string();
        let words =
            ["ip", "netns", "exec", &self.name, "ping", "-n", "-i", "0.02", "-W", "1", "-c"];
        let all: Vec<_> = words.into_iter().chain([count.as_str(), to]).collect();
        let text = run(&all).unwrap_or_else(|why| why);
        let before = text.split(" received").next().unwrap_or_default();
        let number = before.rsplit(' ').next().unwrap_or_default();
        number.parse().unwrap_or_else(|_| panic!("ping said: {text}"))
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

/// The node's IPv4 address in a [`Lab`].
pub const NODE_IP: &str = "198.18.7.2";
/// The node's IPv6 address.
pub const NODE_IP6: &str = "2001:db8:7::2";
/// The peers' IPv4 address.
pub const PEER_IP: &str = "198.18.7.1";
/// The peers' IPv6 address.
pub const PEER_IP6: &str = "2001:db8:7::1";

/// The node's address on the management cable of a [`Lab`].
pub const NODE_MANAGE_IP: &str = "198.18.8.2";
/// The peers' address on it.
pub const PEER_MANAGE_IP: &str = "198.18.8.1";

/// Two namespaces with a veth pair: `media0` for the node's port, `peer0` with addresses for ordinary
/// sockets. Offloads stay as the kernel has them: the checksums of what a peer sends are partial.
#[derive(Debug)]
pub struct Lab {
    /// Where the node runs.
    pub node: NetNs,
    /// Where peers live.
    pub peers: NetNs,
}

impl Lab {
    /// Makes both; `None`, said loudly, where the host does not let us.
    pub fn new() -> Option<Lab> {
        let made = NetNs::new().and_then(|node| Ok(Lab { node, peers: NetNs::new()? }));
        let lab = made.map_err(|why| skip(&format!("no namespace: {why}"))).ok()?;
        lab.node.ip(&format!("link add media0 type veth peer name peer0 netns {}", lab.peers.name));
        // The port owns this end alone: the kernel must not answer there.
        let _ = lab.node.exec(&["sysctl", "-qw", "net.ipv6.conf.media0.disable_ipv6=1"]);
        lab.node.ip("link set media0 up");
        lab.peers.ip("link set peer0 up");
        lab.give("peer0");
        Some(lab)
    }

    /// Gives the peers' addresses to an interface of theirs.
    pub fn give(&self, interface: &str) {
        self.peers.ip(&format!("addr add {PEER_IP}/24 dev {interface}"));
        self.peers.ip(&format!("addr add {PEER_IP6}/64 dev {interface} nodad"));
    }

    /// Lays a second cable, with addresses of the kernel's at both ends: HTTPS needs one, because a DPDK
    /// port swallows its interface. Media cannot take it.
    pub fn manage(&self) {
        let peers = &self.peers.name;
        self.node.ip(&format!("link add manage0 type veth peer name manage1 netns {peers}"));
        let ends =
            [(&self.node, "manage0", NODE_MANAGE_IP), (&self.peers, "manage1", PEER_MANAGE_IP)];
        for (ns, interface, address) in ends {
            let _ =
                ns.exec(&["sysctl", "-qw", &format!("net.ipv6.conf.{interface}.disable_ipv6=1")]);
            ns.ip(&format!("addr add {address}/24 dev {interface}"));
            ns.ip(&format!("link set {interface} up"));
        }
        // Browsers try every pair of addresses.
        self.peers.ip(&format!("rule add from {PEER_MANAGE_IP} to {NODE_IP}/24 unreachable"));
    }

    /// Loses `percent` of the UDP datagrams on the media cable, each way, until [`Loss`] goes.
    pub fn lose(&self, percent: u32) -> Loss<'_> {
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} device \"peer0\" priority 0;\n\
                 meta l4proto udp numgen random mod 100 < {percent} counter drop\n}}\n"
            )
        };
        let rules = format!("table netdev loss {{\n{}{}}}", chain("ingress"), chain("egress"));
        self.peers.exec(&["nft", &rules]).unwrap_or_else(|why| panic!("{why}"));
        Loss { lab: self }
    }

    /// Gives the node's addresses to the kernel, for ports that are made of its sockets.
    pub fn kernel_owns_the_nodes_end(&self) {
        let _ = self.node.exec(&["sysctl", "-qw", "net.ipv6.conf.media0.disable_ipv6=0"]);
        self.node.ip(&format!("addr add {NODE_IP}/24 dev media0"));
        self.node.ip(&format!("addr add {NODE_IP6}/64 dev media0 nodad"));
    }
}

/// Loss on the media cable.
#[derive(Debug)]
pub struct Loss<'a> {
    lab: &'a Lab,
}

impl Loss<'_> {
    /// Datagrams lost so far: towards the peers, and from them.
    pub fn lost(&self) -> (u64, u64) {
        let text = self.lab.peers.exec(&["nft", "list", "table", "netdev", "loss"]);
        let text = text.unwrap_or_else(|why| panic!("{why}"));
        let mut counts = text.split("counter packets ").skip(1).map(|rest| {
            let number = rest.split(' ').next().unwrap_or_default();
            number.parse().unwrap_or_else(|_| panic!("nft said: {text}"))
        });
        (counts.next().expect("one chain in"), counts.next().expect("one chain out"))
    }
}

impl Drop for Loss<'_> {
    fn drop(&mut self) {
        let _ = self.lab.peers.exec(&["nft", "delete", "table", "netdev", "loss"]);
    }
}

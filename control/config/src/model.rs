//! The configuration after every check: what the binaries work with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::error::Warning;
use crate::net::Cidr;
use crate::secret::SecretFile;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// The device that carries media.
    pub port: Port,
    /// The loops that drive the shards.
    pub workers: Workers,
    /// Bounds, per shard unless said otherwise.
    pub limits: Limits,
    /// Signalling and administration.
    pub control: Control,
    /// Networks that an SDES offer may name as its media address, besides the HTTP client's own.
    pub sdes_allow: Vec<Cidr>,
    /// Seconds by which a token's clock may differ from ours.
    pub token_skew_s: u32,
    /// Tenants; their `sdkappid`s differ.
    pub apps: Vec<App>,
    /// Allowed, but an operator should know.
    pub warnings: Vec<Warning>,
    /// Who is told of security events.
    pub notify: Option<Notify>,
}

impl Config {
    /// The tenant with that id.
    pub fn app(&self, sdkappid: u32) -> Option<&App> {
        self.apps.iter().find(|app| app.sdkappid == sdkappid)
    }
}

/// `[notify]`: a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// HTTPS; without it the host is a loopback address.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Requests are signed with it.
    pub secret_file: SecretFile,
    /// Certificates that an HTTPS server may be signed by, PEM.
    pub ca_file: PathBuf,
}

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Shown in consoles: 1 to 63 of `[A-Za-z0-9.-]`.
    pub name: String,
    /// What may run here.
    pub environment: Environment,
    /// The folder of sockets when it is set; see [`Config::run_dir`].
    pub run_dir: Option<PathBuf>,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Demo apps are allowed.
    Development,
    /// Demo apps and in-memory ports are refused.
    Production,
}

/// `[port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Which kind, and what only that kind has.
    pub kind: PortType,
    /// Our addresses; never empty, no duplicates.
    pub addresses: Vec<Cidr>,
    /// Next hops, at most one per family, each inside a network of `addresses`.
    pub gateways: Vec<IpAddr>,
    /// Replace `addresses` in candidates and answers; empty when there is no NAT.
    pub advertise: Vec<IpAddr>,
    /// UDP port of shard 0; shard `i` has `udp_base + i`, all below 65536.
    pub udp_base: u16,
    /// IEEE 802.1Q tag, when frames carry one.
    pub vlan: Option<u16>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Memory for DPDK without hugepages, in MiB.
    pub memory_mb: u32,
    /// Packet buffers in the pool of a queue.
    pub mempool_buffers: u32,
}

impl Port {
    /// The addresses that peers are told.
    pub fn advertised(&self) -> Vec<IpAddr> {
        match self.advertise.is_empty() {
            true => self.addresses.iter().map(|cidr| cidr.addr).collect(),
            false => self.advertise.clone(),
        }
    }
}

/// The kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortType {
    /// Kernel sockets.
    Udp,
    /// Kernel sockets through io_uring.
    Uring,
    /// Memory: tests and benches.
    Sim,
    /// A DPDK device.
    Dpdk {
        /// What to open; `None` when `eal_args` says it.
        device: Option<Device>,
        /// Arguments for EAL that replace ours; empty: ours.
        eal_args: Vec<String>,
    },
}

impl PortType {
    /// The word in the file.
    pub fn name(&self) -> &'static str {
        match self {
            PortType::Udp => "udp",
            PortType::Uring => "uring",
            PortType::Sim => "sim",
            PortType::Dpdk { .. } => "dpdk",
        }
    }
}

/// A DPDK device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A PCI address with its domain: `0000:3b:00.0`.
    Pci(String),
    /// A virtual device with its arguments: `net_af_xdp0,iface=media0`.
    Vdev(String),
}

impl Device {
    /// Driver of a virtual device without its number: `net_af_xdp`; `pci` for hardware.
    pub fn driver(&self) -> &str {
        match self {
            Device::Pci(_) => "pci",
            Device::Vdev(args) => {
                let name = args.split(',').next().unwrap_or_default();
                name.trim_end_matches(|c: char| c.is_ascii_digit())
            }
        }
    }

    /// The value of a `key=value` argument of a virtual device.
    pub fn argument(&self, key: &str) -> Option<&str> {
        let Device::Vdev(args) = self else { return None };
        args.split(',').skip(1).find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
    }

    /// As EAL wants it.
    pub fn as_str(&self) -> &str {
        match self {
            Device::Pci(text) | Device::Vdev(text) => text,
        }
    }
}

/// `[workers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// One worker with one shard per core, no core twice; empty: one worker that is not pinned.
    pub cores: Vec<u16>,
    /// What a worker without work does.
    pub poll: Poll,
    /// Which code seals and opens AES-GCM.
    pub aead: Aead,
    /// Each turn's CPU time is counted, at the price of two system calls.
    pub time_turns: bool,
    /// The data plane becomes this user once its devices are open.
    pub user: Option<String>,
    /// The data plane becomes this group; the user's own when it is not set.
    pub group: Option<String>,
}

impl Workers {
    /// How many shards there are: at least one.
    pub fn shards(&self) -> usize {
        self.cores.len().max(1)
    }
}

/// Which code seals and opens AES-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// The fastest that this CPU has and that agrees with `ring`.
    Auto,
    /// The fan-out kernel on VAES and VPCLMULQDQ, 512 bits wide.
    Vaes512,
    /// The same 256 bits wide.
    Vaes,
    /// The fan-out kernel on AES-NI and PCLMULQDQ.
    AesNi,
    /// `ring`.
    Ring,
}

impl Aead {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Aead::Auto => "auto",
            Aead::Vaes512 => "vaes512",
            Aead::Vaes => "vaes",
            Aead::AesNi => "aesni",
            Aead::Ring => "ring",
        }
    }
}

/// What a worker without work does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Spins.
    Busy,
    /// Spins, then sleeps up to a millisecond.
    Adaptive,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of a shard.
    pub sessions_max: u32,
    /// Rooms of a shard.
    pub rooms_max: u32,
    /// How long an empty room is kept, in seconds.
    pub room_linger_s: u32,
    /// A session that was silent for so long is closed, in seconds.
    pub session_timeout_s: u32,
    /// Joins per second from one source address, over all apps.
    pub source_joins_per_s: u32,
    /// Forwarded packets that a shard keeps to answer NACKs from; 0 keeps none.
    pub history_packets: u32,
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Signalling.
    pub listen: Listen,
    /// Health and metrics.
    pub admin_listen: Listen,
    /// Always there when a listener can be reached from other hosts.
    pub tls: Option<Tls>,
    /// The demo page is served under `/demo/` of the signalling listener.
    pub demo: bool,
    /// Web origins whose pages may use the API; `*` alone for all.
    pub cors_origins: Vec<String>,
    /// STUN and TURN servers that peers are told.
    pub ice_servers: Vec<IceServer>,
    /// Asked before each join whether another node should serve it.
    pub redirect: Option<Hook>,
    /// Lines of the control daemon's log: this level and above.
    pub log_level: &'static str,
    /// The control daemon runs as this user when the supervisor is root.
    pub user: Option<String>,
    /// The control daemon runs as this group; the user's own when it is not set.
    pub group: Option<String>,
}

/// A server for a peer's ICE agent (RFC 9725 section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` (RFC 7064, RFC 7065).
    pub url: String,
    /// With TURN, never without.
    pub username: Option<String>,
    /// The user's password; there when the user is.
    pub credential_file: Option<SecretFile>,
}

/// An HTTP service of the operator on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Loopback.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
}

/// Where HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this host can reach it, so that plain HTTP is allowed.
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Tcp(addr) => addr.ip().is_loopback(),
            Listen::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(addr) => write!(f, "{addr}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Files of the HTTPS listener, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, own certificate first.
    pub cert: PathBuf,
    /// Private key; the rules for secret files hold.
    pub key: PathBuf,
}

/// `[[app]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Tenant, not zero.
    pub sdkappid: u32,
    /// One to four; the first makes tokens, all verify.
    pub secret_files: Vec<SecretFile>,
    /// UserSig alone does not open a room.
    pub private_map_key_required: bool,
    /// Its share of the node.
    pub quota: AppQuota,
    /// Its secret may be known to everybody; refused in production.
    pub demo: bool,
    /// Nobody joins, and nobody renews.
    pub suspended: bool,
}

/// Limits of one app. Zero means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppQuota {
    /// Sessions per shard.
    pub sessions: u32,
    /// Rooms per shard.
    pub rooms: u32,
    /// Received packets per second and shard.
    pub packets_per_s: u64,
    /// Received bytes per second and shard.
    pub bytes_per_s: u64,
    /// Joins per second on the node.
    pub joins_per_s: u32,
}

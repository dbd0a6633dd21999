//! Opens the configured device and gives each worker its share of it: the one place that knows all kinds
//! of ports. Behind it everything is monomorphic.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use config::{Config, PortType};
use port::dpdk::{self, Dpdk, DpdkConfig, Lcore};
use port::netif::Netif;
use port::sim::{Hub, SimConfig};
use port::steer::{self, SteerConfig};
use port::udp::UdpPort;
use port::uring::UringPort;

use port::{Port, PortConfig, Prefix};
use stats::Stats;

use crate::describe::DeviceAbout;
use crate::node::Plan;
use crate::privileges;
use crate::telemetry::{self, Value};

/// What the process keeps of its device besides the workers' queues.
pub struct Device {
    about: DeviceAbout,
    dpdk: Option<Arc<Dpdk>>,
    run_dir: PathBuf,
    xdp_interface: Option<String>,
}

impl Device {
    /// For consoles.
    pub fn about(&self) -> &DeviceAbout {
        &self.about
    }

    /// The DPDK device, for whoever watches it; to be let go of before this value.
    pub fn dpdk(&self) -> Option<Arc<Dpdk>> {
        self.dpdk.clone()
    }

    /// What closing the device leaves behind, because this process has given up the right to remove it.
    pub fn leftover(&self) -> Option<String> {
        let interface = self.xdp_interface.as_ref().filter(|_| !privileges::is_root())?;
        Some(format!(
            "the XDP program stays on {interface}: its removal needs CAP_NET_ADMIN, which this \
             process gave up; `roomlane up` removes it, or: ip link set dev {interface} xdp off"
        ))
    }

    /// Adds the node's commands to DPDK's telemetry socket, where there is one.
    pub fn telemetry(&self) {
        let Some(dpdk) = &self.dpdk else { return };
        let stats: Arc<OnceLock<Stats>> = Arc::default();
        for command in telemetry::COMMANDS {
            let (stats, run_dir) = (Arc::clone(&stats), self.run_dir.clone());
            let answer =
                move |parameter: Option<&str>| answer(&stats, &run_dir, command, parameter);
            let added = dpdk::telemetry::register(dpdk.eal(), command.path, command.help, answer);
            if let Err(error) = added {
                tracing::warn!(%error, path = command.path, "DPDK's telemetry took no command");
            }
        }
    }
}

/// Asks our own stats socket the first time, like any console.
fn answer(
    stats: &OnceLock<Stats>,
    run_dir: &Path,
    command: telemetry::TelemetryCommand,
    parameter: Option<&str>,
) -> dpdk::telemetry::Answer {
    if stats.get().is_none() {
        match Stats::connect(run_dir) {
            Ok(connected) => drop(stats.set(connected)),
            Err(error) => return dpdk::telemetry::Answer::Text(error.to_string()),
        }
    }
    let Some(stats) = stats.get() else { return dpdk::telemetry::Answer::Dict(vec![]) };
    let entries = (command.answer)(&stats.snapshot(), parameter).into_iter();
    let entries = entries.map(|(name, value)| match value {
        Value::Number(number) => (name, dpdk::telemetry::Value::Number(number)),
        Value::Text(text) => (name, dpdk::telemetry::Value::Text(text)),
    });
    dpdk::telemetry::Answer::Dict(entries.collect())
}

/// Opens the device and starts the workers on it; returns when all are at their places.
///
/// # Errors
/// The device's, in its own words.
pub fn open(config: &Config, plan: &mut Plan) -> Result<Device> {
    let port = port_config(config);
    port.check().context("port")?;
    let buffers = config.port.mempool_buffers;
    let mut about = DeviceAbout {
        driver: config.port.kind.name().to_owned(),
        memory: "ordinary pages".to_owned(),
        queues: config.workers.shards(),
    };
    let (mut dpdk, mut xdp_interface) = (None, None);
    match &config.port.kind {
        PortType::Udp => each(plan, |shard| {
            let (mtu, count) = (port.mtu, buffers as usize);
            let udp_port = port.udp_base + shard;
            let addresses: Vec<_> = port.addresses.iter().map(|prefix| prefix.ip).collect();
            move || Ok((UdpPort::bind(&addresses, udp_port, mtu, count)?, ()))
        })?,
        PortType::Uring => each(plan, |shard| {
            let port = port.clone();
            move || Ok((UringPort::bind(&port, shard, buffers)?, ()))
        })?,
        PortType::Sim => {
            let hub = Hub::new();
            each(plan, |shard| {
                let udp_port = port.udp_base + shard;
                let sim = SimConfig {
                    addresses: port.addresses.iter().map(|prefix| prefix.ip).collect(),
                    udp_ports: udp_port..=udp_port,
                    buffers: buffers as usize,
                    mtu: port.mtu,
                    ..SimConfig::new(port.addresses[0].ip)
                };
                let hub = hub.clone();
                move || Ok((hub.attach(sim), ()))
            })?;
        }
        PortType::Dpdk { device, eal_args } => {
            let device = device.as_ref().context("port.device: a DPDK port needs a device")?;
            let opened = open_dpdk(config, &port, device.as_str(), eal_args, plan)?;
            about.driver = opened.info().driver.clone();
            about.memory = opened.memory().to_string();
            about.queues = 1;
            dpdk = Some(Arc::new(opened));
            if device.driver() == "net_af_xdp" {
                xdp_interface = device.argument("iface").map(str::to_owned);
            }
        }
    }
    Ok(Device { about, dpdk, run_dir: config.run_dir(), xdp_interface })
}

/// Starts every worker on a port of its own.
fn each<P, G, F>(plan: &mut Plan, mut open: impl FnMut(u16) -> F) -> Result<()>
where
    P: Port + 'static,
    G: 'static,
    F: FnOnce() -> Result<(P, G)> + Send + 'static,
{
    let seats = plan.take_seats().into_iter();
    let threads = seats.map(|seat| {
        let shard = seat.index as u16;
        seat.start(open(shard))
    });
    let threads = threads.collect::<Result<Vec<_>>>()?;
    plan.await_workers(threads)
}

/// Opens a DPDK device with one queue: which shard a packet is for is known by its UDP port only, and
/// rules in the device that look at it are for a later issue. With several shards the first worker
/// does the I/O for all.
fn open_dpdk(
    config: &Config,
    port: &PortConfig,
    device: &str,
    eal_args: &[String],
    plan: &mut Plan,
) -> Result<Dpdk> {
    let workers = &config.workers.cores;
    let main_cpu = shm::affinity::cores()?
        .into_iter()
        .find(|core| !workers.iter().any(|worker| *worker as usize == *core));
    let (dpdk, queues) = Dpdk::open(&DpdkConfig {
        queues: 1,
        mtu: config.port.mtu,
        mbufs: config.port.mempool_buffers,
        file_prefix: format!("roomlane-{}", config.node.name),
        main_cpu,
        eal_args: (!eal_args.is_empty()).then(|| eal_args.to_vec()),
        ..DpdkConfig::new(device)
    })?;
    let queue = queues.into_iter().next().context("the device gave no queue")?;
    let mut key = [0; 16];
    getrandom::fill(&mut key).context("the host has no randomness")?;
    let netif = Netif::new(queue, port, key)?;
    let mut seats = plan.take_seats().into_iter();
    let first = seats.next().context("a node has at least one worker")?;
    let mut threads = Vec::new();
    if seats.len() == 0 {
        threads.push(first.start(move || {
            let lcore = netif.device().register_thread()?;
            Ok((netif, lcore))
        })?);
    } else {
        let steer = SteerConfig { udp_base: port.udp_base, shards: port.shards, owner: 0 };
        let (owner, sharers) = steer::split(netif, steer, |_| dpdk.pool());
        threads.push(first.start(move || {
            let lcore = owner.inner().device().register_thread()?;
            Ok((owner, lcore))
        })?);
        for (mut seat, (_, sharer)) in seats.zip(sharers) {
            let eal = dpdk.eal().clone();
            seat.io_worker = 0;
            threads.push(seat.start(move || {
                let lcore = Lcore::register(&eal)?;
                Ok((sharer, lcore))
            })?);
        }
    }
    plan.await_workers(threads)?;
    Ok(dpdk)
}

fn port_config(config: &Config) -> PortConfig {
    let addresses = config.port.addresses.iter();
    PortConfig {
        addresses: addresses.map(|cidr| Prefix { ip: cidr.addr, len: cidr.prefix }).collect(),
        gateways: config.port.gateways.clone(),
        advertise: config.port.advertise.clone(),
        udp_base: config.port.udp_base,
        shards: config.workers.shards() as u16,
        vlan: config.port.vlan.unwrap_or(0),
        mtu: config.port.mtu.into(),
    }
}

/// What `--version` prints.
pub fn version() -> String {
    let mut text = format!("roomlane-dataplane {}\n", env!("CARGO_PKG_VERSION"));
    match dpdk::version() {
        Some(version) => {
            let mut drivers: Vec<&str> = dpdk::drivers().collect();
            drivers.sort_unstable();
            let drivers =
                if drivers.is_empty() { "found at run time".to_owned() } else { drivers.join(" ") };
            writeln!(text, "ports: dpdk uring udp sim\n{version} ({}): {drivers}", dpdk::LINK)
        }
        None => writeln!(text, "ports: uring udp sim (built without DPDK)"),
    }
    .expect("a string takes everything");
    text
}

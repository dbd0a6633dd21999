//! The checks.

use config::{Config, Device, PortType};

use super::host::{Host, parse_cores};
use super::{Finding, hardware};
use crate::programs;

/// Capabilities by bit: what devices and pinned memory need.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

/// Socket buffers that take a burst of a few milliseconds at a hundred thousand packets per second.
const SOCKET_BYTES: u64 = 4 << 20;

/// Every check that concerns the configuration.
pub fn all(host: &Host, config: &Config) -> Vec<Finding> {
    let dpdk = matches!(config.port.kind, PortType::Dpdk { .. });
    let mut findings = vec![installed(), cores(host, config), capabilities(host, config)];
    findings.push(locked_memory(host, config));
    findings.push(clock_source(host));
    findings.extend(hardware::all(host, config));
    findings.push(io_uring(host));
    match dpdk {
        true => findings.extend(device(host, config)),
        false => findings.push(socket_buffers(host)),
    }
    findings
}

fn installed() -> Finding {
    let name = "programs";
    let missing: Vec<&str> = [programs::DATAPLANE, programs::CONTROL]
        .into_iter()
        .filter(|program| programs::find(program.as_ref()).is_none())
        .collect();
    match missing.is_empty() {
        true => Finding::ok(name, "data plane and control daemon are installed"),
        false => Finding::fail(
            name,
            format!("missing: {}", missing.join(", ")),
            "install them beside this program: cargo build --release",
        )
        .by_hand(),
    }
}

fn cores(host: &Host, config: &Config) -> Finding {
    let name = "cores";
    let online = host.cores("/sys/devices/system/cpu/online");
    let allowed = host.field("/proc/self/status", "Cpus_allowed_list").unwrap_or_default();
    let allowed = parse_cores(&allowed);
    let wanted: Vec<u32> = config.workers.cores.iter().map(|core| u32::from(*core)).collect();
    let join = |cores: &[u32]| cores.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let absent: Vec<u32> = wanted.iter().copied().filter(|core| !online.contains(core)).collect();
    if !absent.is_empty() {
        let found = format!("workers.cores names {}, online are {}", join(&absent), join(&online));
        return Finding::fail(name, found, "change workers.cores in the configuration").by_hand();
    }
    let barred: Vec<u32> = wanted.iter().copied().filter(|core| !allowed.contains(core)).collect();
    if !barred.is_empty() {
        let found = format!("this process may not run on core {}", join(&barred));
        let fix = "widen AllowedCPUs= of the unit, or the cpuset";
        return Finding::fail(name, found, fix).by_hand();
    }
    if let Some((one, other)) = siblings(host, &wanted) {
        let found = format!("cores {one} and {other} are threads of one physical core");
        let fix = "give each worker a physical core in workers.cores";
        return Finding::warn(name, found, fix).by_hand();
    }
    if wanted.is_empty() {
        let found = format!("{} online; the worker is not pinned", online.len());
        let last = online.last().copied().unwrap_or_default();
        return Finding::warn(name, found, format!("set workers.cores = [{last}]")).by_hand();
    }
    Finding::ok(name, format!("{} of {} online, one worker each", join(&wanted), online.len()))
}

/// Two workers on one physical core.
fn siblings(host: &Host, wanted: &[u32]) -> Option<(u32, u32)> {
    wanted.iter().find_map(|core| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let twins = host.cores(&path);
        wanted.iter().find(|other| *other > core && twins.contains(other)).map(|o| (*core, *o))
    })
}

fn capabilities(host: &Host, config: &Config) -> Finding {
    let name = "capabilities";
    let hex = host.field("/proc/self/status", "CapEff").unwrap_or_default();
    let effective = u64::from_str_radix(&hex, 16).unwrap_or_default();
    let has = |bit: u32| effective >> bit & 1 == 1;
    let driver = match &config.port.kind {
        PortType::Dpdk { device: Some(device), .. } => device.driver().to_owned(),
        PortType::Dpdk { .. } => "pci".to_owned(),
        _ => return Finding::ok(name, "this kind of port needs none"),
    };
    let needed: &[(&str, u32)] = match driver.as_str() {
        "net_af_xdp" | "pci" => &[
            ("CAP_NET_ADMIN", NET_ADMIN),
            ("CAP_NET_RAW", NET_RAW),
            ("CAP_IPC_LOCK", IPC_LOCK),
            ("CAP_SYS_ADMIN", SYS_ADMIN),
            ("CAP_BPF", BPF),
        ],
        "net_af_packet" | "net_tap" => &[("CAP_NET_ADMIN", NET_ADMIN), ("CAP_NET_RAW", NET_RAW)],
        _ => return Finding::ok(name, format!("{driver} needs none")),
    };
    let missing: Vec<&str> =
        needed.iter().filter(|(_, bit)| !has(*bit)).map(|(name, _)| *name).collect();
    match missing.is_empty() {
        true => Finding::ok(name, format!("all that {driver} needs")),
        false => Finding::fail(
            name,
            format!("{driver} lacks {}", missing.join(", ")),
            "start the node as root (it drops to workers.user): sudo roomlane up",
        )
        .by_hand(),
    }
}

fn locked_memory(host: &Host, config: &Config) -> Finding {
    let name = "locked memory";
    // Rings and ledgers carry keys and are kept out of swap.
    let sizes = proto::region::Sizes {
        shards: config.workers.shards() as u32,
        sessions_max: config.limits.sessions_max,
        rooms_max: config.limits.rooms_max,
    };
    let needed_kib = (sizes.control_bytes() / 1024) as u64;
    let limits = host.text("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0");
    let limit_kib = match soft {
        "unlimited" => u64::MAX,
        bytes => bytes.parse::<u64>().unwrap_or_default() / 1024,
    };
    if host.is_root || limit_kib >= needed_kib {
        return Finding::ok(name, format!("{needed_kib} KiB of keys and ledgers fit"));
    }
    let found = format!("{needed_kib} KiB of keys and ledgers, the limit is {limit_kib} KiB");
    let fix = format!("LimitMEMLOCK={}K in the unit, or ulimit -l {needed_kib}", needed_kib);
    Finding::warn(name, found, fix).by_hand()
}

fn clock_source(host: &Host) -> Finding {
    let name = "clock source";
    let dir = "/sys/devices/system/clocksource/clocksource0";
    let current = host.text(&format!("{dir}/current_clocksource")).unwrap_or_default();
    let available = host.text(&format!("{dir}/available_clocksource")).unwrap_or_default();
    match current.as_str() {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => {
            Finding::ok(name, current)
        }
        "" => Finding::warn(name, "the kernel does not say", ""),
        slow if available.split_whitespace().any(|source| source == "tsc") => {
            let fix = format!("echo tsc > {dir}/current_clocksource");
            Finding::warn(name, format!("{slow}: reading the time is a system call"), fix)
        }
        slow => Finding::warn(name, format!("{slow}: reading the time is slow here"), ""),
    }
}

fn device(host: &Host, config: &Config) -> Option<Finding> {
    let name = "device";
    let PortType::Dpdk { device: Some(device), .. } = &config.port.kind else { return None };
    match device {
        Device::Pci(address) => {
            let path = format!("/sys/bus/pci/devices/{address}");
            if !host.exists(&path) {
                let found = format!("no PCI device {address}");
                let fix = "dpdk-devbind.py --status-dev net; then change port.device";
                return Some(Finding::fail(name, found, fix).by_hand());
            }
            Some(match host.link_name(&format!("{path}/driver")).as_deref() {
                Some("vfio-pci" | "uio_pci_generic" | "igb_uio" | "mlx5_core" | "mlx4_core") => {
                    Finding::ok(name, format!("{address} is bound for user space"))
                }
                driver => {
                    let found = format!("{address} has driver {}", driver.unwrap_or("none"));
                    let fix =
                        format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}");
                    Finding::fail(name, found, fix)
                }
            })
        }
        Device::Vdev(_) => {
            let interface = device.argument("iface")?;
            // A tap device makes its interface; the others need one that is there.
            if !matches!(device.driver(), "net_af_xdp" | "net_af_packet") {
                return None;
            }
            Some(match host.text(&format!("/sys/class/net/{interface}/operstate")) {
                None => Finding::fail(
                    name,
                    format!("no interface {interface}"),
                    "ip link; then change port.device in the configuration",
                )
                .by_hand(),
                Some(state) if state == "down" => {
                    let fix = format!("ip link set dev {interface} up");
                    Finding::fail(name, format!("interface {interface} is down"), fix)
                }
                Some(_) => Finding::ok(name, format!("interface {interface} is there")),
            })
        }
    }
}

fn io_uring(host: &Host) -> Finding {
    let name = "io_uring";
    let release = host.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>());
    let version = (parts.next().and_then(Result::ok), parts.next().and_then(Result::ok));
    // Receiving many datagrams by one request needs 6.0.
    if let (Some(major), Some(_)) = version
        && major < 6
    {
        let found = format!("kernel {release} lacks multishot receive");
        let fix = "use a kernel of 6.0 or newer, or port.type = \"udp\"";
        return Finding::warn(name, found, fix).by_hand();
    }
    match host.number("/proc/sys/kernel/io_uring_disabled") {
        Some(2) => {
            let fix = "sysctl -w kernel.io_uring_disabled=0";
            Finding::warn(name, "switched off by kernel.io_uring_disabled=2", fix)
        }
        Some(1) if !host.is_root => {
            let fix = "sysctl -w kernel.io_uring_disabled=0";
            Finding::warn(name, "for privileged processes only", fix)
        }
        _ => Finding::ok(name, format!("kernel {release} has it")),
    }
}

fn socket_buffers(host: &Host) -> Finding {
    let name = "socket buffers";
    let small: Vec<&str> = ["rmem_max", "wmem_max"]
        .into_iter()
        .filter(|key| {
            let path = format!("/proc/sys/net/core/{key}");
            host.number(&path).is_some_and(|bytes| bytes < SOCKET_BYTES)
        })
        .collect();
    if small.is_empty() {
        return Finding::ok(name, "bursts fit");
    }
    let set = |key: &&str| format!("net.core.{key}={SOCKET_BYTES}");
    let fix = format!("sysctl -w {}", small.iter().map(set).collect::<Vec<_>>().join(" "));
    Finding::warn(name, format!("{} below 4 MiB: bursts may be lost", small.join(" and ")), fix)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;

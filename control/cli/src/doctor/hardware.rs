//! Checks of what a server's owner decides at boot and by its cables: IOMMU, isolated cores, interrupts,
//! memory and cores near the NIC, huge pages, what XDP can do here.

use config::{Config, Device, Poll, PortType};

use super::Finding;
use super::host::{Host, parse_cores};

/// Drivers of the kernel's that let AF_XDP receive without a copy.
const ZERO_COPY: [&str; 7] = ["ixgbe", "i40e", "ice", "igc", "mlx5_core", "nfp", "st_gmac"];
/// PCI drivers that hand a device to user space by the IOMMU.
const VFIO: &str = "vfio-pci";

/// Every check here that concerns the configuration.
pub fn all(host: &Host, config: &Config) -> Vec<Finding> {
    let mut findings = vec![isolation(host, config), interrupts(host, config)];
    findings.extend(governor(host, config));
    findings.push(transparent_hugepages(host));
    findings.push(hugepages(host, config));
    findings.push(iommu(host, config));
    findings.push(numa(host, config));
    findings.extend(zero_copy(host, config));
    findings.extend(receive_queues(host, config));
    findings
}

/// Adds words to the kernel's command line; they count from the next boot on.
fn boot(name: &str, words: &str) -> String {
    let line = format!("GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT {words}\"");
    format!("echo '{line}' > /etc/default/grub.d/roomlane-{name}.cfg && update-grub")
}

fn list(cores: &[u32]) -> String {
    cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn workers(config: &Config) -> Vec<u32> {
    config.workers.cores.iter().map(|core| u32::from(*core)).collect()
}

/// A worker that never sleeps needs a core without other programs, timer ticks and RCU's work.
pub(super) fn isolation(host: &Host, config: &Config) -> Finding {
    let name = "isolation";
    let workers = workers(config);
    if workers.is_empty() || config.workers.poll == Poll::Adaptive {
        return Finding::ok(name, "not needed while workers sleep when idle");
    }
    let command_line = host.text("/proc/cmdline").unwrap_or_default();
    let word = |key: &str| {
        let word = command_line.split_whitespace().find_map(|word| word.strip_prefix(key));
        word.and_then(|word| word.strip_prefix('=')).map(parse_cores).unwrap_or_default()
    };
    let lacking: Vec<&str> = [
        ("isolcpus", host.cores("/sys/devices/system/cpu/isolated")),
        ("nohz_full", host.cores("/sys/devices/system/cpu/nohz_full")),
        ("rcu_nocbs", word("rcu_nocbs")),
    ]
    .into_iter()
    .filter(|(_, cores)| workers.iter().any(|core| !cores.contains(core)))
    .map(|(word, _)| word)
    .collect();
    if lacking.is_empty() {
        return Finding::ok(name, "workers have their cores to themselves");
    }
    let list = list(&workers);
    let found = format!("worker cores {list} lack {}", lacking.join(", "));
    let words: Vec<String> = lacking.iter().map(|word| format!("{word}={list}")).collect();
    Finding::warn(name, found, boot("isolation", &words.join(" ")))
}

/// Interrupts of devices that are handled on a worker's core.
pub(super) fn interrupts(host: &Host, config: &Config) -> Finding {
    let name = "interrupts";
    let workers = workers(config);
    if workers.is_empty() {
        return Finding::ok(name, "no worker has a core of its own");
    }
    let online = host.cores("/sys/devices/system/cpu/online");
    let others: Vec<u32> = online.into_iter().filter(|core| !workers.contains(core)).collect();
    let numbers = host.names("/proc/irq").into_iter().filter(|irq| irq.parse::<u32>().is_ok());
    let disturbs = |irq: &String| {
        let dir = format!("/proc/irq/{irq}");
        // One without an action belongs to nobody, and never comes.
        let is_used =
            host.names(&dir).iter().any(|name| host.path(&format!("{dir}/{name}")).is_dir());
        let cores = host.cores(&format!("{dir}/effective_affinity_list"));
        is_used && cores.iter().any(|core| workers.contains(core))
    };
    let mut found: Vec<u32> = numbers.filter(disturbs).filter_map(|irq| irq.parse().ok()).collect();
    found.sort_unstable();
    if found.is_empty() {
        return Finding::ok(name, "none is handled on a worker's core");
    }
    let irqs = found.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let text = format!("handled on worker cores: {irqs}");
    match others.is_empty() {
        true => Finding::warn(name, text, "leave a core to the kernel in workers.cores").by_hand(),
        false => {
            let others = list(&others);
            let fix = format!(
                "for irq in {irqs}; do echo {others} > /proc/irq/$irq/smp_affinity_list; done"
            );
            Finding::warn(name, text, fix)
        }
    }
}

/// Of every worker's core; of all, where no worker has one.
pub(super) fn governor(host: &Host, config: &Config) -> Option<Finding> {
    let name = "frequency";
    let mut cores = workers(config);
    if cores.is_empty() {
        cores = host.cores("/sys/devices/system/cpu/online");
    }
    let of = |core: &u32| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        Some((*core, host.text(&path)?))
    };
    let governors: Vec<(u32, String)> = cores.iter().filter_map(of).collect();
    let slow: Vec<&(u32, String)> = governors.iter().filter(|(_, g)| g != "performance").collect();
    // A virtual machine has no say in it.
    let first = governors.first()?;
    let Some((_, governor)) = slow.first() else { return Some(Finding::ok(name, &first.1)) };
    let list = list(&slow.iter().map(|(core, _)| *core).collect::<Vec<_>>());
    let found = format!("governor {governor} on cores {list}: they slow down when idle");
    Some(Finding::warn(name, found, format!("cpupower -c {list} frequency-set -g performance")))
}

/// The kernel stops a process while it moves its memory together into huge pages.
pub(super) fn transparent_hugepages(host: &Host) -> Finding {
    let name = "transparent hugepages";
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = host.text(path).unwrap_or_default();
    match text.split(['[', ']']).nth(1) {
        None => Finding::ok(name, "the kernel has none"),
        Some("always") => {
            let found = "always: the kernel may stop a worker to move its memory together";
            Finding::warn(name, found, format!("echo madvise > {path}"))
        }
        Some(mode) => Finding::ok(name, mode),
    }
}

/// NUMA nodes and the cores of each.
fn nodes(host: &Host) -> Vec<(u32, Vec<u32>)> {
    let names = host.names("/sys/devices/system/node").into_iter();
    let numbers = names.filter_map(|name| name.strip_prefix("node")?.parse::<u32>().ok());
    let cores = |node| host.cores(&format!("/sys/devices/system/node/node{node}/cpulist"));
    let mut nodes: Vec<_> = numbers.map(|node| (node, cores(node))).collect();
    nodes.sort_unstable();
    nodes
}

/// The node of the port's device; `None` where it has none.
fn device_node(host: &Host, config: &Config) -> Option<u32> {
    let path = match &config.port.kind {
        PortType::Dpdk { device: Some(Device::Pci(address)), .. } => {
            format!("/sys/bus/pci/devices/{address}/numa_node")
        }
        PortType::Dpdk { device: Some(device), .. } => {
            format!("/sys/class/net/{}/device/numa_node", device.argument("iface")?)
        }
        _ => return None,
    };
    // Machines with one node say -1.
    host.text(&path)?.parse().ok()
}

/// Pages must lie on the nodes where the port's memory is taken: that of the device, or of the workers.
pub(super) fn hugepages(host: &Host, config: &Config) -> Finding {
    let name = "hugepages";
    let dir = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let free = host.number(&format!("{dir}/free_hugepages")).unwrap_or_default();
    let wanted = u64::from(config.port.memory_mb).div_ceil(2);
    let of_node = |node: u32| {
        let dir = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
        (host.number(&format!("{dir}/free_hugepages")).unwrap_or_default(), dir)
    };
    let nodes = nodes(host);
    let by_node: Vec<String> =
        nodes.iter().map(|(node, _)| format!("node{node} {}", of_node(*node).0)).collect();
    let by_node = match by_node.len() {
        0 | 1 => String::new(),
        _ => format!(" ({})", by_node.join(", ")),
    };
    let told = format!("{free} of 2 MiB are free{by_node}");
    if !matches!(config.port.kind, PortType::Dpdk { .. }) {
        return Finding::ok(name, format!("{told}; only a dpdk port uses them"));
    }
    let home = device_node(host, config).or_else(|| {
        let first = workers(config).first().copied()?;
        nodes.iter().find(|(_, cores)| cores.contains(&first)).map(|(node, _)| *node)
    });
    let (near, dir) = match home.filter(|_| nodes.len() > 1) {
        Some(node) => of_node(node),
        None => (free, dir.to_owned()),
    };
    if near >= wanted {
        return Finding::ok(name, told);
    }
    let total = host.number(&format!("{dir}/nr_hugepages")).unwrap_or(near);
    let found = match home.filter(|_| nodes.len() > 1) {
        Some(node) => format!("{told}, {wanted} on node {node} would hold port.memory_mb"),
        None => format!("{told}, {wanted} would hold port.memory_mb; ordinary memory is used"),
    };
    // Those that somebody uses stay.
    let enough = total.saturating_sub(near) + wanted;
    Finding::warn(name, found, format!("echo {enough} > {dir}/nr_hugepages"))
}

/// vfio-pci gives a device away only behind an IOMMU.
pub(super) fn iommu(host: &Host, config: &Config) -> Finding {
    let name = "IOMMU";
    let PortType::Dpdk { device: Some(Device::Pci(address)), .. } = &config.port.kind else {
        return Finding::ok(name, "only a PCI device needs one");
    };
    let path = format!("/sys/bus/pci/devices/{address}");
    let driver = host.link_name(&format!("{path}/driver")).unwrap_or_default();
    if driver.starts_with("mlx") {
        return Finding::ok(name, format!("{driver} shares the device without one"));
    }
    if let Some(group) = host.link_name(&format!("{path}/iommu_group")) {
        return Finding::ok(name, format!("{address} is in group {group}"));
    }
    let cpu = host.field("/proc/cpuinfo", "vendor_id\t").unwrap_or_default();
    let words = match cpu.as_str() {
        "AuthenticAMD" => "amd_iommu=on iommu=pt",
        _ => "intel_iommu=on iommu=pt",
    };
    let found =
        format!("{address} is in no group: {VFIO} will not take it; switch VT-d or AMD-Vi on");
    Finding::fail(name, found, boot("iommu", words))
}

/// A packet that crosses between nodes costs twice.
pub(super) fn numa(host: &Host, config: &Config) -> Finding {
    let name = "NUMA";
    let nodes = nodes(host);
    if nodes.len() < 2 {
        return Finding::ok(name, "one node");
    }
    let Some(home) = device_node(host, config) else {
        return Finding::ok(name, "the port's device is of no node");
    };
    let near = nodes.iter().find(|(node, _)| *node == home).map(|(_, cores)| cores.as_slice());
    let near = near.unwrap_or_default();
    let workers = workers(config);
    let far: Vec<u32> = workers.iter().copied().filter(|core| !near.contains(core)).collect();
    match (workers.is_empty(), far.is_empty()) {
        (false, true) => Finding::ok(name, format!("device and workers are on node {home}")),
        (true, _) => {
            let found = format!("the device is on node {home}; no worker has a core of its own");
            Finding::warn(name, found, format!("choose workers.cores among {}", list(near)))
                .by_hand()
        }
        (false, false) => {
            let found = format!("the device is on node {home}, workers on {} are not", list(&far));
            let count = workers.len().min(near.len());
            let last = &near[near.len() - count..];
            let fix = format!("set workers.cores = [{}] in the configuration", list(last));
            Finding::warn(name, found, fix).by_hand()
        }
    }
}

/// The interface of an AF_XDP port.
fn xdp_interface(config: &Config) -> Option<&str> {
    let PortType::Dpdk { device: Some(device), .. } = &config.port.kind else { return None };
    (device.driver() == "net_af_xdp").then(|| device.argument("iface"))?
}

/// Whether frames reach an AF_XDP port without a copy.
pub(super) fn zero_copy(host: &Host, config: &Config) -> Option<Finding> {
    let name = "AF_XDP zero-copy";
    let interface = xdp_interface(config)?;
    let driver = host.link_name(&format!("/sys/class/net/{interface}/device/driver"));
    Some(match driver {
        Some(driver) if ZERO_COPY.contains(&driver.as_str()) => {
            Finding::ok(name, format!("{driver} has it"))
        }
        Some(driver) => {
            let found =
                format!("{driver} of {interface} is not known to have it: frames are copied");
            let fix = format!("use a NIC of {}", ZERO_COPY.join(", "));
            Finding::warn(name, found, fix).by_hand()
        }
        None => Finding::ok(name, format!("{interface} is virtual: frames are copied")),
    })
}

/// net_af_xdp serves queue 0: what a NIC spreads to others never reaches the node.
pub(super) fn receive_queues(host: &Host, config: &Config) -> Option<Finding> {
    let name = "receive queues";
    let interface = xdp_interface(config)?;
    let queues = host.names(&format!("/sys/class/net/{interface}/queues"));
    let count = queues.iter().filter(|name| name.starts_with("rx-")).count();
    Some(match count {
        0 | 1 => Finding::ok(name, "one, which the port serves"),
        _ => {
            let found = format!("{interface} spreads packets over {count}, the port serves one");
            Finding::fail(name, found, format!("ethtool -L {interface} combined 1"))
        }
    })
}

#[cfg(test)]
#[path = "hardware_tests.rs"]
mod tests;

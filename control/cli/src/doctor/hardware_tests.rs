//! The checks on servers made of files.

use super::*;
use crate::doctor::Status;
use crate::doctor::fake::{Fake, config};

const ONLINE: (&str, &str) = ("/sys/devices/system/cpu/online", "0-3\n");

fn pci() -> Config {
    config(
        "[port]\ntype = \"dpdk\"\ndevice = \"0000:3b:00.0\"\naddresses = [\"198.18.1.2/24\"]\n\
         [workers]\ncores = [2, 3]\npoll = \"busy\"\n",
    )
}

fn af_xdp() -> Config {
    config(
        "[port]\ntype = \"dpdk\"\ndevice = \"net_af_xdp0,iface=m0\"\naddresses = [\"198.18.1.2/24\"]\n",
    )
}

#[test]
fn a_busy_workers_core_lacks_what_the_kernel_was_not_told_at_boot() {
    let all = [
        ("/sys/devices/system/cpu/isolated", "2-3\n"),
        ("/sys/devices/system/cpu/nohz_full", "2-3\n"),
        ("/proc/cmdline", "root=/dev/sda1 rcu_nocbs=2-3 quiet\n"),
    ];
    let fake = Fake::new("isolated", &all);
    assert_eq!(isolation(&fake.host(true), &pci()).status, Status::Ok);
    let fake = Fake::new("ticks", &[all[0], ("/sys/devices/system/cpu/nohz_full", "(null)\n")]);
    let finding = isolation(&fake.host(true), &pci());
    assert_eq!(finding.found, "worker cores 2,3 lack nohz_full, rcu_nocbs");
    assert!(
        finding.fix.contains(" nohz_full=2,3 rcu_nocbs=2,3\"' > /etc/default/grub.d/roomlane-")
    );
    assert!(finding.fix.ends_with("&& update-grub"), "{}", finding.fix);
    let adaptive = config("[workers]\ncores = [2]\n");
    assert_eq!(isolation(&fake.host(true), &adaptive).status, Status::Ok);
}

#[test]
fn interrupts_of_devices_are_sent_away_from_workers() {
    let effective = |irq: u32| format!("/proc/irq/{irq}/effective_affinity_list");
    let (disk, nic, nobody) = (effective(24), effective(31), effective(9));
    let files = [
        ONLINE,
        (disk.as_str(), "0\n"),
        ("/proc/irq/24/nvme0q0/x", ""),
        (nic.as_str(), "2\n"),
        ("/proc/irq/31/eth0-rx-0/x", ""),
        (nobody.as_str(), "0-3\n"),
        ("/proc/irq/default_smp_affinity", "f\n"),
    ];
    let fake = Fake::new("irq", &files);
    let finding = interrupts(&fake.host(true), &pci());
    assert_eq!(finding.found, "handled on worker cores: 31");
    let fix = "for irq in 31; do echo 0,1 > /proc/irq/$irq/smp_affinity_list; done";
    assert_eq!((finding.status, finding.fix.as_str()), (Status::Warn, fix));
    assert_eq!(interrupts(&fake.host(true), &Config::default()).status, Status::Ok);
    let all = config("[workers]\ncores = [0, 1, 2, 3]\n");
    assert!(interrupts(&fake.host(true), &all).by_hand, "nowhere to send them");
    let quiet =
        Fake::new("quiet", &[ONLINE, (disk.as_str(), "0\n"), ("/proc/irq/24/nvme0q0/x", "")]);
    assert_eq!(interrupts(&quiet.host(true), &pci()).status, Status::Ok);
}

#[test]
fn every_workers_core_must_run_at_full_speed_and_no_memory_may_be_moved() {
    let path = |core: u32| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let (two, three) = (path(2), path(3));
    let fake = Fake::new("slow3", &[(&two, "performance\n"), (&three, "powersave\n")]);
    let finding = governor(&fake.host(true), &pci()).unwrap();
    assert_eq!(finding.fix, "cpupower -c 3 frequency-set -g performance");
    let fake = Fake::new("fast", &[(&two, "performance\n"), (&three, "performance\n")]);
    assert_eq!(governor(&fake.host(true), &pci()).unwrap().status, Status::Ok);
    assert!(governor(&Fake::new("vm", &[ONLINE]).host(true), &pci()).is_none());
    let thp = "/sys/kernel/mm/transparent_hugepage/enabled";
    let fake = Fake::new("thp", &[(thp, "[always] madvise never\n")]);
    assert_eq!(transparent_hugepages(&fake.host(true)).fix, format!("echo madvise > {thp}"));
    let fake = Fake::new("madvise", &[(thp, "always [madvise] never\n")]);
    assert_eq!(transparent_hugepages(&fake.host(true)).status, Status::Ok);
}

#[test]
fn missing_hugepages_name_the_command_that_makes_them() {
    let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    let few = Fake::new("few", &[(free, "0\n")]);
    let finding = hugepages(&few.host(true), &af_xdp());
    assert_eq!(finding.status, Status::Warn);
    assert!(finding.fix.starts_with("echo 128 > /sys/kernel/mm/hugepages/"), "{}", finding.fix);
    assert_eq!(hugepages(&few.host(true), &Config::default()).status, Status::Ok, "udp needs none");
    let many = Fake::new("many", &[(free, "128\n")]);
    assert_eq!(hugepages(&many.host(true), &af_xdp()).status, Status::Ok);
}

#[test]
fn pages_are_counted_where_the_device_is() {
    let dir = |node: u32| format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
    let (free0, free1) = (dir(0) + "/free_hugepages", dir(1) + "/free_hugepages");
    let nr1 = dir(1) + "/nr_hugepages";
    let files = [
        ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1024\n"),
        ("/sys/devices/system/node/node0/cpulist", "0-1\n"),
        ("/sys/devices/system/node/node1/cpulist", "2-3\n"),
        (free0.as_str(), "1024\n"),
        (free1.as_str(), "0\n"),
        (nr1.as_str(), "64\n"),
        ("/sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n"),
    ];
    let fake = Fake::new("nodes", &files);
    let finding = hugepages(&fake.host(true), &pci());
    assert!(finding.found.contains("(node0 1024, node1 0), 128 on node 1"), "{}", finding.found);
    // 64 are in use there.
    assert_eq!(finding.fix, format!("echo 192 > {}/nr_hugepages", dir(1)));
    assert_eq!(numa(&fake.host(true), &pci()).status, Status::Ok);
    let far = config(
        "[port]\ntype = \"dpdk\"\ndevice = \"0000:3b:00.0\"\naddresses = [\"198.18.1.2/24\"]\n\
         [workers]\ncores = [1]\n",
    );
    let finding = numa(&fake.host(true), &far);
    assert_eq!(finding.found, "the device is on node 1, workers on 1 are not");
    assert_eq!(finding.fix, "set workers.cores = [3] in the configuration");
    assert_eq!(
        hugepages(&fake.host(true), &Config::default()).status,
        Status::Ok,
        "udp needs none"
    );
}

#[test]
fn a_pci_device_needs_an_iommu_unless_its_driver_shares_it() {
    let bare = Fake::new("bare", &[("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\n")]);
    let finding = iommu(&bare.host(true), &pci());
    assert_eq!(finding.status, Status::Fail);
    assert!(finding.fix.contains(" amd_iommu=on iommu=pt\"'"), "{}", finding.fix);
    let device = "/sys/bus/pci/devices/0000:3b:00.0";
    let grouped = Fake::new("grouped", &[("/sys/kernel/iommu_groups/14/type", "DMA\n")]);
    grouped.link(&format!("{device}/iommu_group"), "/sys/kernel/iommu_groups/14");
    assert_eq!(iommu(&grouped.host(true), &pci()).found, "0000:3b:00.0 is in group 14");
    let mellanox = Fake::new("mellanox", &[]);
    mellanox.link(&format!("{device}/driver"), "/sys/bus/pci/drivers/mlx5_core");
    assert_eq!(iommu(&mellanox.host(true), &pci()).status, Status::Ok);
    assert_eq!(iommu(&bare.host(true), &af_xdp()).status, Status::Ok);
}

#[test]
fn an_xdp_port_wants_one_queue_and_a_driver_that_copies_nothing() {
    let queue = |n: u32| format!("/sys/class/net/m0/queues/rx-{n}/rps_cpus");
    let (first, second) = (queue(0), queue(1));
    let fake = Fake::new("queues", &[(&first, "0\n"), (&second, "0\n")]);
    let finding = receive_queues(&fake.host(true), &af_xdp()).unwrap();
    assert_eq!((finding.status, finding.fix.as_str()), (Status::Fail, "ethtool -L m0 combined 1"));
    assert_eq!(zero_copy(&fake.host(true), &af_xdp()).unwrap().status, Status::Ok, "virtual");
    fake.link("/sys/class/net/m0/device/driver", "/sys/bus/pci/drivers/e1000e");
    assert_eq!(zero_copy(&fake.host(true), &af_xdp()).unwrap().status, Status::Warn);
    let good = Fake::new("ice", &[(&first, "0\n")]);
    good.link("/sys/class/net/m0/device/driver", "/sys/bus/pci/drivers/ice");
    assert_eq!(zero_copy(&good.host(true), &af_xdp()).unwrap().found, "ice has it");
    assert_eq!(receive_queues(&good.host(true), &af_xdp()).unwrap().status, Status::Ok);
    assert!(zero_copy(&good.host(true), &pci()).is_none());
}

//! The checks on hosts made of files.

use super::*;
use crate::doctor::Status;
use crate::doctor::fake::{Fake, config};

fn af_xdp() -> Config {
    config(
        "[port]\ntype = \"dpdk\"\ndevice = \"net_af_xdp0,iface=m0\"\naddresses = [\"198.18.1.2/24\"]\n",
    )
}

const ONLINE: (&str, &str) = ("/sys/devices/system/cpu/online", "0-1\n");
const STATUS: &str = "Name:\tx\nCapEff:\t0000000000003000\nCpus_allowed_list:\t0-1\n";

#[test]
fn cores_must_be_online_and_allowed() {
    let fake = Fake::new("cores", &[ONLINE, ("/proc/self/status", STATUS)]);
    let host = fake.host(true);
    let finding = cores(&host, &config("[workers]\ncores = [1, 5]\n"));
    assert_eq!(finding.status, Status::Fail);
    assert!(finding.found.contains("names 5"), "{}", finding.found);
    assert_eq!(cores(&host, &config("[workers]\ncores = [0, 1]\n")).status, Status::Ok);
    assert_eq!(cores(&host, &Config::default()).status, Status::Warn);
    let narrow = STATUS.replace("0-1", "0");
    let fake = Fake::new("barred", &[ONLINE, ("/proc/self/status", &narrow)]);
    let finding = cores(&fake.host(true), &config("[workers]\ncores = [1]\n"));
    assert_eq!(finding.status, Status::Fail);
}

#[test]
fn two_workers_on_one_physical_core_are_warned_about() {
    let twins = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
    let fake = Fake::new("twins", &[ONLINE, ("/proc/self/status", STATUS), (twins, "0-1")]);
    let finding = cores(&fake.host(true), &config("[workers]\ncores = [0, 1]\n"));
    assert_eq!(finding.status, Status::Warn);
}

#[test]
fn capabilities_depend_on_the_device() {
    let fake = Fake::new("caps", &[("/proc/self/status", STATUS)]);
    let finding = capabilities(&fake.host(false), &af_xdp());
    assert_eq!(finding.status, Status::Fail);
    assert!(finding.found.contains("CAP_BPF") && !finding.found.contains("NET_ADMIN"));
    assert_eq!(capabilities(&fake.host(false), &Config::default()).status, Status::Ok);
}

#[test]
fn an_interface_must_be_there_and_up() {
    let fake = Fake::new("dev", &[]);
    assert_eq!(device(&fake.host(true), &af_xdp()).unwrap().status, Status::Fail);
    let state = "/sys/class/net/m0/operstate";
    let fake = Fake::new("down", &[(state, "down\n")]);
    let finding = device(&fake.host(true), &af_xdp()).unwrap();
    assert_eq!(finding.fix, "ip link set dev m0 up");
    let fake = Fake::new("up", &[(state, "up\n")]);
    assert_eq!(device(&fake.host(true), &af_xdp()).unwrap().status, Status::Ok);
}

#[test]
fn clocks_io_uring_memory_and_sockets_are_judged() {
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let available = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    let fake = Fake::new(
        "slow",
        &[
            (clock, "hpet\n"),
            (available, "tsc hpet\n"),
            ("/proc/sys/kernel/osrelease", "6.18.44\n"),
            ("/proc/sys/kernel/io_uring_disabled", "2\n"),
            ("/proc/self/limits", "Max locked memory         65536                65536  bytes\n"),
            ("/proc/sys/net/core/rmem_max", "212992\n"),
        ],
    );
    let host = fake.host(false);
    assert!(clock_source(&host).fix.starts_with("echo tsc > "));
    assert_eq!(io_uring(&host).fix, "sysctl -w kernel.io_uring_disabled=0");
    assert_eq!(socket_buffers(&host).fix, "sysctl -w net.core.rmem_max=4194304");
    let memory = locked_memory(&host, &Config::default());
    assert_eq!(memory.status, Status::Warn);
    assert!(memory.found.ends_with("the limit is 64 KiB"), "{}", memory.found);
    assert_eq!(locked_memory(&fake.host(true), &Config::default()).status, Status::Ok);
    let old = Fake::new("old", &[("/proc/sys/kernel/osrelease", "5.10.0-30-amd64\n")]);
    assert_eq!(io_uring(&old.host(true)).status, Status::Warn);
}

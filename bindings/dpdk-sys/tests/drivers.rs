//! What `drivers()` claims is what the linker put in.
#![cfg(dpdk)]

use std::ffi::CStr;

#[test]
fn version_is_a_supported_dpdk() {
    // SAFETY: no precondition; the result is a static string.
    let version = unsafe { dpdk_sys::rl_version() };
    // SAFETY: as above.
    let version = unsafe { CStr::from_ptr(version) }.to_str().unwrap();
    let number = version.strip_prefix("DPDK ").expect("starts with DPDK");
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    assert!((parts.next().unwrap(), parts.next().unwrap()) >= (22, 11), "{version}");
}

/// A driver is there when the constructor that registers it is; its name stands in the symbol
/// table.
#[test]
fn the_registering_constructor_of_every_listed_driver_is_in_the_executable() {
    if dpdk_sys::LINK != "static" {
        eprintln!("SKIPPED: drivers are loaded at run time in this build");
        return;
    }
    let exe = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let holds = |symbol: &str| {
        let symbol = format!("\0{symbol}\0");
        exe.windows(symbol.len()).any(|window| window == symbol.as_bytes())
    };
    assert!(!holds(&format!("pciinitfn_{}", "net_nosuch")), "the search finds anything");
    let mut seen = 0;
    for driver in dpdk_sys::drivers().filter(|name| name.starts_with("net_")) {
        let constructor = match driver {
            "net_virtio" => "vdrvinitfn_virtio_user_driver".to_owned(),
            "net_e1000" => "pciinitfn_net_e1000_igb".to_owned(),
            "net_i40e" | "net_ice" | "net_igc" | "net_ixgbe" | "net_iavf" | "net_ena"
            | "net_vmxnet3" => format!("pciinitfn_{driver}"),
            _ => format!("vdrvinitfn_pmd_{}_drv", driver.trim_start_matches("net_")),
        };
        assert!(holds(&constructor), "{driver} is listed, but {constructor} is not linked");
        seen += 1;
    }
    assert!(seen >= 9);
}

#[test]
fn the_drivers_every_lab_needs_are_listed() {
    if dpdk_sys::LINK != "static" {
        eprintln!("SKIPPED: drivers are loaded at run time in this build");
        return;
    }
    let drivers: Vec<_> = dpdk_sys::drivers().collect();
    for name in ["bus_vdev", "mempool_stack", "net_af_packet", "net_af_xdp", "net_tap", "net_ring"]
    {
        assert!(drivers.contains(&name), "{name} is missing from {drivers:?}");
    }
}

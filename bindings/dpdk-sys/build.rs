//! Finds libdpdk by pkg-config, compiles the shim and says what to link. Without libdpdk the crate
//! builds empty (`cfg(dpdk)` unset) and warns, unless the feature `dpdk-required` asks for an
//! error.
//!
//! Dependants read `DEP_DPDK_DPDK` (1), `DEP_DPDK_VERSION` and `DEP_DPDK_LINK` (static or shared).

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// Drivers we link when the installed libdpdk has them. Buses and the buffer pool's stack come
/// first: without them no device and no pool can be made.
const DRIVERS: &[&str] = &[
    "bus_vdev",
    "bus_pci",
    "mempool_ring",
    "mempool_stack",
    "net_af_xdp",
    "net_af_packet",
    "net_tap",
    "net_vhost",
    "net_virtio",
    "net_memif",
    "net_pcap",
    "net_null",
    "net_ring",
    "net_e1000",
    "net_igc",
    "net_ixgbe",
    "net_i40e",
    "net_ice",
    "net_iavf",
    "net_ena",
    "net_vmxnet3",
];

/// Libraries of drivers, as opposed to DPDK's core.
const DRIVER_CLASSES: &[&str] = &[
    "baseband_",
    "bus_",
    "common_",
    "compress_",
    "crypto_",
    "dma_",
    "event_",
    "gpu_",
    "mempool_",
    "ml_",
    "net_",
    "power_",
    "raw_",
    "regex_",
    "vdpa_",
];

/// Core libraries with constructors in objects that nothing refers to (telemetry of devices and
/// pools).
const CORE_WHOLE: &[&str] = &["ethdev", "mempool"];

/// Libraries outside DPDK that the core and our drivers may need; the linker drops unused ones.
const SYSTEM: &[&str] = &[
    "xdp", "bpf", "elf", "pcap", "numa", "fdt", "bsd", "md", "jansson", "archive", "crypto", "z",
    "atomic", "rt", "dl", "m", "pthread",
];

fn main() {
    println!("cargo:rustc-check-cfg=cfg(dpdk)");
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for file in ["build.rs", "src/shim.c", "src/shim.h"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let found = pkg_config(&["--modversion", "libdpdk"])
        .and_then(|version| Ok((version, pkg_config(&["--cflags", "libdpdk"])?)));
    match found {
        Ok((version, cflags)) => build(version.trim(), &cflags),
        Err(why) if env::var_os("CARGO_FEATURE_DPDK_REQUIRED").is_some() => {
            println!(
                "cargo:warning=libdpdk not found, and the feature dpdk-required is on ({why})"
            );
            eprintln!("libdpdk not found ({why}): apt-get install libdpdk-dev pkg-config gcc");
            exit(1);
        }
        Err(why) => println!(
            "cargo:warning=libdpdk not found: building WITHOUT DPDK; \
             apt-get install libdpdk-dev pkg-config gcc ({why})"
        ),
    }
}

fn build(version: &str, cflags: &str) {
    compile_shim(cflags);
    let shared = env::var_os("CARGO_FEATURE_DPDK_SHARED").is_some();
    let drivers = if shared { None } else { link_static() };
    if drivers.is_none() {
        link_shared(!shared);
    }
    let link = if drivers.is_some() { "static" } else { "shared" };
    println!("cargo:rustc-env=ROOMLANE_DPDK_DRIVERS={}", drivers.unwrap_or_default().join(" "));
    println!("cargo:rustc-env=ROOMLANE_DPDK_LINK={link}");
    println!("cargo:rustc-cfg=dpdk");
    println!("cargo:dpdk=1");
    println!("cargo:version={version}");
    println!("cargo:link={link}");
}

/// All flags go to the compiler as they are: `-include rte_config.h` and `-march` decide what the
/// headers' inline functions need.
fn compile_shim(cflags: &str) {
    let mut cc = cc::Build::new();
    cc.file("src/shim.c").opt_level(3).warnings(true).extra_warnings(true);
    for flag in cflags.split_whitespace() {
        // As a system directory, so that DPDK's own headers do not warn here.
        match flag.strip_prefix("-I") {
            Some(dir) => cc.flag("-isystem").flag(dir),
            None => cc.flag(flag),
        };
    }
    cc.compile("roomlane_dpdk_shim");
}

/// Links drivers whole (they register themselves in constructors) and the core as needed. `None`
/// when the archives are not installed.
fn link_static() -> Option<Vec<String>> {
    let libs = pkg_config(&["--static", "--libs", "libdpdk"]).ok()?;
    let mut dirs: Vec<PathBuf> =
        libs.split_whitespace().filter_map(|t| t.strip_prefix("-L")).map(PathBuf::from).collect();
    if let Ok(dir) = pkg_config(&["--variable=libdir", "libdpdk"]) {
        dirs.push(PathBuf::from(dir.trim()));
    }
    let archives = archives(&libs, &dirs);
    let has = |name: &str| archives.iter().any(|archive| archive == name);
    if !["eal", "ethdev", "bus_vdev", "mempool_stack"].into_iter().all(has) {
        return None;
    }
    for dir in &dirs {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
    let drivers: Vec<String> =
        DRIVERS.iter().filter(|name| has(name)).map(|name| name.to_string()).collect();
    for name in drivers.iter().map(String::as_str).chain(CORE_WHOLE.iter().copied()) {
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=rte_{name}");
    }
    let is_driver = |name: &str| DRIVER_CLASSES.iter().any(|class| name.starts_with(class));
    let common = archives.iter().filter(|name| name.starts_with("common_"));
    let core = archives.iter().filter(|n| !is_driver(n) && !CORE_WHOLE.contains(&n.as_str()));
    for name in common.chain(core) {
        println!("cargo:rustc-link-lib=static:-bundle=rte_{name}");
    }
    for name in SYSTEM {
        if libs.split_whitespace().any(|token| token.strip_prefix("-l") == Some(name)) {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    }
    Some(drivers)
}

/// The `librte_X.a` that pkg-config names and that exist, in its order and once each.
fn archives(libs: &str, dirs: &[PathBuf]) -> Vec<String> {
    let mut archives: Vec<String> = Vec::new();
    for token in libs.split_whitespace() {
        let name = token.strip_prefix("-l:librte_").and_then(|rest| rest.strip_suffix(".a"));
        let Some(name) = name.or_else(|| token.strip_prefix("-lrte_")) else { continue };
        let exists = |dir: &PathBuf| Path::new(dir).join(format!("librte_{name}.a")).exists();
        if dirs.iter().any(exists) && !archives.iter().any(|archive| archive == name) {
            archives.push(name.to_owned());
        }
    }
    archives
}

fn link_shared(warn: bool) {
    if warn {
        println!(
            "cargo:warning=no static libdpdk archives: linking dynamically, drivers load at run \
             time"
        );
    }
    let libs = pkg_config(&["--libs", "libdpdk"]).unwrap_or_default();
    for token in libs.split_whitespace() {
        if let Some(dir) = token.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={dir}");
        } else if let Some(name) = token.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    }
}

fn pkg_config(args: &[&str]) -> Result<String, String> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let out = Command::new(&program)
        .args(args)
        .output()
        .map_err(|error| format!("{}: {error}", program.to_string_lossy()))?;
    if out.status.success() {
        return String::from_utf8(out.stdout).map_err(|error| error.to_string());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(text.lines().next().unwrap_or("pkg-config failed").to_owned())
}

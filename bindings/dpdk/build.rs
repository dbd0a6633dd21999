//! Passes on whether dpdk-sys found libdpdk, so that tests that need it exist only then.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(dpdk)");
    println!("cargo:rerun-if-env-changed=DEP_DPDK_DPDK");
    if std::env::var_os("DEP_DPDK_DPDK").is_some() {
        println!("cargo:rustc-cfg=dpdk");
    }
}

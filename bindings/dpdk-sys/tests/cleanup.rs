//! Ending EAL, in a process of its own because nothing can follow it.
#![cfg(dpdk)]

use std::ffi::{CString, c_int};

use dpdk_sys::*;

#[test]
fn rl_eal_cleanup_ends_what_rl_eal_init_began() {
    let prefix = format!("--file-prefix=roomlane-end-{}", std::process::id());
    let args =
        ["end", "--no-huge", "-m", "16", "--no-pci", "--no-shconf", "--no-telemetry", &prefix];
    let args = args.map(|arg| CString::new(arg).unwrap());
    std::thread::spawn(move || {
        let argv = Vec::leak(args.into_iter().map(CString::into_raw).collect());
        // SAFETY: argv is leaked.
        assert!(unsafe { rl_eal_init(argv.len() as c_int, argv.as_mut_ptr()) } >= 0);
        // SAFETY: nothing of DPDK is used afterwards.
        assert_eq!(unsafe { rl_eal_cleanup() }, 0);
    })
    .join()
    .unwrap();
    std::fs::remove_dir(format!("/var/run/dpdk/roomlane-end-{}", std::process::id())).unwrap();
}

//! Safe, owned wrappers over DPDK.

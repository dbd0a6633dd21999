//! A thick C shim over libdpdk and its declarations.

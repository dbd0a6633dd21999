//! Which memory EAL gets: hugepages when enough free ones exist, else ordinary pages. The choice is
//! pure; the reading of the host stands apart.

use std::fmt;
use std::fs;

/// Mebibytes in the hugepages we use.
const PAGE_MIB: u32 = 2;
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// What the configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// Hugepages when enough free ones exist, else ordinary pages.
    #[default]
    Auto,
    /// Hugepages (`--in-memory`); EAL fails without them.
    Hugepages,
    /// Ordinary pages (`--no-huge`).
    NoHuge,
}

/// What EAL got, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryMode {
    /// `--in-memory`: anonymous hugepages, nothing left behind on disk.
    InMemory {
        /// Free pages of 2 MiB before the start.
        free_pages: u32,
    },
    /// `--no-huge`: ordinary pages, a fixed amount, slower.
    NoHuge {
        /// The amount in MiB.
        mib: u32,
        /// Why not hugepages.
        reason: String,
    },
    /// Decided by `eal_args`.
    Explicit,
}

impl MemoryMode {
    /// Chooses for `mib` MiB of memory on a host with `free_pages` free pages of 2 MiB.
    pub fn choose(wanted: Memory, mib: u32, free_pages: u32) -> MemoryMode {
        let pages = mib.div_ceil(PAGE_MIB);
        match wanted {
            Memory::Hugepages => MemoryMode::InMemory { free_pages },
            Memory::Auto if free_pages >= pages => MemoryMode::InMemory { free_pages },
            Memory::Auto => MemoryMode::NoHuge {
                mib,
                reason: format!("{free_pages} free pages of 2 MiB, {pages} wanted"),
            },
            Memory::NoHuge => MemoryMode::NoHuge { mib, reason: "as configured".into() },
        }
    }

    /// EAL's arguments for it.
    pub(crate) fn args(&self) -> Vec<String> {
        match self {
            MemoryMode::InMemory { .. } => vec!["--in-memory".into()],
            MemoryMode::NoHuge { mib, .. } => {
                vec!["--no-huge".into(), "--no-shconf".into(), "-m".into(), mib.to_string()]
            }
            MemoryMode::Explicit => vec![],
        }
    }
}

impl fmt::Display for MemoryMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryMode::InMemory { free_pages } => {
                write!(f, "hugepages, --in-memory ({free_pages} free pages of 2 MiB)")
            }
            MemoryMode::NoHuge { mib, reason } => {
                write!(f, "no hugepages, --no-huge -m {mib} ({reason})")
            }
            MemoryMode::Explicit => f.write_str("as eal_args say"),
        }
    }
}

/// Free pages of 2 MiB that nobody has reserved; 0 when the kernel has none or hides it.
pub(crate) fn free_pages() -> u32 {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("{HUGEPAGES}/{name}")).unwrap_or_default();
        text.trim().parse::<u32>().unwrap_or(0)
    };
    read("free_hugepages").saturating_sub(read("resv_hugepages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_are_used_exactly_when_enough_are_free() {
        assert_eq!(
            MemoryMode::choose(Memory::Auto, 128, 64),
            MemoryMode::InMemory { free_pages: 64 }
        );
        let less = MemoryMode::choose(Memory::Auto, 128, 63);
        assert_eq!(
            less.to_string(),
            "no hugepages, --no-huge -m 128 (63 free pages of 2 MiB, 64 wanted)"
        );
        assert_eq!(less.args(), ["--no-huge", "--no-shconf", "-m", "128"]);
    }

    #[test]
    fn the_configuration_overrules_the_host() {
        let mode = MemoryMode::choose(Memory::NoHuge, 64, 10_000);
        assert_eq!(mode, MemoryMode::NoHuge { mib: 64, reason: "as configured".into() });
        let mode = MemoryMode::choose(Memory::Hugepages, 64, 0);
        assert_eq!(mode, MemoryMode::InMemory { free_pages: 0 });
    }
}

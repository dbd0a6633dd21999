//! What the port's device says of itself: its link, its totals and its driver's counters, as the stats
//! region carries them. What the node counts of the port is in [`crate::counters`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Counters of a driver that are carried; the shim over libdpdk asks for as many.
pub const XSTATS_MAX: usize = 256;
/// Bytes of a counter's name, zero-padded.
pub const XSTAT_NAME_BYTES: usize = 64;

/// Nobody knows the link's state.
pub const LINK_UNKNOWN: u64 = 0;
/// The link carries nothing.
pub const LINK_DOWN: u64 = 1;
/// The link carries packets.
pub const LINK_UP: u64 = 2;

/// The device, looked at twice a second.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PortState {
    /// [`LINK_UNKNOWN`], [`LINK_DOWN`] or [`LINK_UP`].
    pub link: u64,
    /// Its speed in Mbit/s; zero where nobody knows.
    pub link_mbps: u64,
    /// How often it went down or came back since the data plane started.
    pub link_changes: u64,
    /// Nanoseconds of the monotonic clock at the last change, or at the first look.
    pub link_since_ns: u64,
    /// 1 when the device counts by itself, and the totals below are its own.
    pub has_totals: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that found no place in the device's queue (DPDK's imissed).
    pub rx_missed: u64,
    /// Packets that were broken on arrival (ierrors).
    pub rx_errors: u64,
    /// Packets that could not be sent (oerrors).
    pub tx_errors: u64,
    /// Times that no buffer was free for a packet (rx_nombuf).
    pub rx_no_mbuf: u64,
}

impl PortState {
    /// Packets that the device lost: missed, broken, not sent, or without a buffer.
    pub fn lost(&self) -> u64 {
        let counts = [self.rx_missed, self.rx_errors, self.tx_errors, self.rx_no_mbuf];
        counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The link in a word; `None` where nobody knows.
    pub fn link_word(&self) -> Option<&'static str> {
        match self.link {
            LINK_DOWN => Some("down"),
            LINK_UP => Some("up"),
            _ => None,
        }
    }
}

/// One of a driver's counters; without a name it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Xstat {
    /// The driver's name for it.
    pub name: [u8; XSTAT_NAME_BYTES],
    /// Its value.
    pub value: u64,
}

/// A driver's counters.
pub type Xstats = [Xstat; XSTATS_MAX];

impl Xstat {
    /// None.
    pub const NONE: Xstat = Xstat { name: [0; XSTAT_NAME_BYTES], value: 0 };

    /// With a name that is cut where it is too long.
    pub fn new(name: &str, value: u64) -> Xstat {
        let mut xstat = Xstat { value, ..Xstat::NONE };
        let len = name.len().min(XSTAT_NAME_BYTES);
        xstat.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        xstat
    }

    /// Its name for a terminal; `None` where there is no counter.
    pub fn name(&self) -> Option<String> {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(XSTAT_NAME_BYTES);
        let printable = |byte: &u8| if byte.is_ascii_graphic() { *byte as char } else { '?' };
        (end > 0).then(|| self.name[..end].iter().map(printable).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_name_comes_back_without_control_characters() {
        assert_eq!(Xstat::new("rx_q0_errors", 7).name().as_deref(), Some("rx_q0_errors"));
        assert_eq!(Xstat::new("a\u{1b}[31m", 7).name().as_deref(), Some("a?[31m"));
        assert_eq!(Xstat::new(&"x".repeat(99), 7).name().map(|name| name.len()), Some(64));
        assert_eq!(Xstat::NONE.name(), None);
    }
}

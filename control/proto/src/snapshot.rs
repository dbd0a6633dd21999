//! Rooms and sessions as consoles see them: fixed rows without secrets or names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::{LABEL_MAX, Label};

/// A label in a row: zero-padded.
pub type RowLabel = [u8; LABEL_MAX];

/// Copies a label into a row.
pub fn row_label(label: &Label) -> RowLabel {
    let mut row = [0; LABEL_MAX];
    row[..label.len()].copy_from_slice(label);
    row
}

/// A row's label as text; anything unprintable becomes `?`, so that no row can write to a terminal.
pub fn label_text(row: &RowLabel) -> String {
    let end = row.iter().position(|byte| *byte == 0).unwrap_or(LABEL_MAX);
    row[..end].iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '?' }).collect()
}

/// A room on one shard. `room == 0` means that the row is free.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RoomRow {
    /// `RoomNo`.
    pub room: u64,
    /// `SdkAppId`.
    pub app: u32,
    /// Current epoch.
    pub epoch: u32,
    /// Masked name.
    pub label: RowLabel,
    /// Sessions in it.
    pub sessions: u32,
    /// Streams published on this shard.
    pub publications: u32,
    /// Slots that show something.
    pub subscriptions: u32,
    /// Padding, zero.
    pub reserved: u32,
    /// Monotonic nanoseconds when it was opened.
    pub opened_ns: u64,
    /// Packets accepted from its members.
    pub rx_packets: u64,
    /// Packets sent to its members.
    pub tx_packets: u64,
}

/// A session of one shard. `session == 0` means that the row is free.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SessionRow {
    /// `SessionId`, plus one so that zero means free.
    pub session_plus_one: u64,
    /// `RoomNo`.
    pub room: u64,
    /// `MemberNo`.
    pub member: u64,
    /// `GrantWord`.
    pub grant: u64,
    /// Masked user.
    pub label: RowLabel,
    /// Monotonic nanoseconds when it was opened.
    pub opened_ns: u64,
    /// Monotonic nanoseconds of the last authentic packet; zero before the first.
    pub heard_ns: u64,
    /// Accepted packets.
    pub rx_packets: u64,
    /// Accepted bytes.
    pub rx_bytes: u64,
    /// Sent packets.
    pub tx_packets: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Failed authentications.
    pub auth_failures: u64,
    /// Packets the publisher lost on its way to us, by RFC 3550 A.3.
    pub rx_lost: u64,
    /// Interarrival jitter of the first stream, in its clock units.
    pub jitter: u32,
    /// Streams in.
    pub publications: u16,
    /// Slots.
    pub slots: u16,
    /// `SrtpProfile`.
    pub profile: u32,
    /// 0 opening, 1 alive, 2 grant ended, 3 closed.
    pub state: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_carry_escapes_to_a_terminal() {
        let label = Label::from_slice(b"al***e").unwrap();
        assert_eq!(label_text(&row_label(&label)), "al***e");
        assert_eq!(label_text(b"\x1b]52;c;evil\x07\0\0\0\0"), "?]52;c;evil?");
    }
}

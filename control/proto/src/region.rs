//! Where things lie in the two shared regions: offsets that writer and readers compute alike.

use crate::counters::{ShardCounters, WorkerCounters};
use crate::port::{PortState, Xstats};
use crate::snapshot::{RoomRow, SessionRow};

/// Version of everything below; a reader refuses another one.
pub const LAYOUT_VERSION: u32 = 8;

/// Bytes of a shard's command ring, and of its event ring.
pub const RING_BYTES: usize = 1 << 20;

/// Bytes of a shard's punt ring, and of its inject ring.
pub const PUNT_RING_BYTES: usize = 1 << 18;

/// 64-bit words of one session's ledger record.
pub const LEDGER_WORDS: usize = 104;
/// Rows a snapshot page holds.
pub const PAGE_ROWS: usize = 32;

/// Words within a ledger record.
pub mod ledger {
    use crate::command::SLOTS_MAX;

    /// `SessionId + 1`; zero means that the record is free.
    pub const SESSION: usize = 0;
    /// First SRTCP index that was never claimed for sending.
    pub const RTCP_CEILING: usize = 1;
    /// Start of the egress part: per slot, the first index never claimed, then the timestamp offset
    /// (upper half) and the last timestamp (lower half).
    pub const EGRESS: usize = 2;
    /// Start of the retransmission part: per slot, the first index of its repair stream never claimed.
    pub const EGRESS_RTX: usize = EGRESS + 2 * SLOTS_MAX;
    /// Start of the ingress part: per stream, its SSRC (upper half) with what it is (lower half, see
    /// [`ingress_tag`]), then its highest authenticated index plus one.
    pub const INGRESS: usize = EGRESS_RTX + SLOTS_MAX;
    /// SSRCs that a session may send with: layers and repair streams have their own.
    pub const INGRESS_MAX: usize = 16;
    /// Start of the SRTCP part: per sender, its SSRC (upper half) and its highest authenticated index
    /// plus one.
    pub const RTCP_INGRESS: usize = INGRESS + 2 * INGRESS_MAX;
    /// Senders of SRTCP that a session remembers: some peers report on each stream that they receive
    /// with an SSRC of its own, others send from each of theirs.
    pub const RTCP_SOURCES: usize = if SLOTS_MAX > INGRESS_MAX { SLOTS_MAX } else { INGRESS_MAX };
    /// Words in use.
    pub const USED: usize = RTCP_INGRESS + RTCP_SOURCES;

    const _: () = assert!(USED <= super::LEDGER_WORDS);

    /// What an ingress stream is, as the lower half of its first word: never zero for a stream.
    /// `publication` is its place in the session, `layer` its place among the simulcast layers.
    pub const fn ingress_tag(publication: u8, layer: u8, is_repair: bool) -> u32 {
        1 << 31 | (publication as u32) << 16 | (layer as u32) << 8 | is_repair as u32
    }

    /// The parts of a tag: publication, layer, whether it repairs. `None` for a free place.
    pub const fn ingress_parts(tag: u32) -> Option<(u8, u8, bool)> {
        if tag >> 31 == 0 {
            return None;
        }
        Some(((tag >> 16) as u8 & 0x7f, (tag >> 8) as u8, tag & 1 != 0))
    }
}

/// Sizes that the data plane chose at its start; written at the front of each region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Shards.
    pub shards: u32,
    /// Sessions per shard.
    pub sessions_max: u32,
    /// Rooms per shard.
    pub rooms_max: u32,
}

/// Bytes in front of the parts: the region's own header and the sizes.
pub const HEADER_BYTES: usize = 256;

const fn lines(bytes: usize) -> usize {
    bytes.div_ceil(64) * 64
}

/// Bytes of a seqlock cell that carries `bytes`: its sequence word, then the words.
pub const fn cell_bytes(bytes: usize) -> usize {
    lines(64 + bytes)
}

impl Sizes {
    /// Bytes of the control region.
    pub const fn control_bytes(&self) -> usize {
        HEADER_BYTES + self.shards as usize * self.control_stride()
    }
    const fn control_stride(&self) -> usize {
        2 * RING_BYTES + 2 * PUNT_RING_BYTES + self.sessions_max as usize * LEDGER_WORDS * 8
    }
    /// Offset of a shard's command ring (control writes).
    pub const fn command_ring(&self, shard: usize) -> usize {
        HEADER_BYTES + shard * self.control_stride()
    }
    /// Offset of a shard's event ring (the shard writes).
    pub const fn event_ring(&self, shard: usize) -> usize {
        self.command_ring(shard) + RING_BYTES
    }
    /// Offset of a shard's punt ring (the shard writes).
    pub const fn punt_ring(&self, shard: usize) -> usize {
        self.event_ring(shard) + RING_BYTES
    }
    /// Offset of a shard's inject ring (control writes).
    pub const fn inject_ring(&self, shard: usize) -> usize {
        self.punt_ring(shard) + PUNT_RING_BYTES
    }
    /// Offset of a shard's ledger.
    pub const fn ledger(&self, shard: usize) -> usize {
        self.inject_ring(shard) + PUNT_RING_BYTES
    }

    /// Pages of session rows per shard.
    pub const fn session_pages(&self) -> usize {
        (self.sessions_max as usize).div_ceil(PAGE_ROWS)
    }
    /// Pages of room rows per shard.
    pub const fn room_pages(&self) -> usize {
        (self.rooms_max as usize).div_ceil(PAGE_ROWS)
    }
    const fn stats_stride(&self) -> usize {
        cell_bytes(size_of::<ShardCounters>())
            + cell_bytes(size_of::<WorkerCounters>())
            + self.room_pages() * Self::room_page_bytes()
            + self.session_pages() * Self::session_page_bytes()
    }
    const fn room_page_bytes() -> usize {
        cell_bytes(PAGE_ROWS * size_of::<RoomRow>())
    }
    const fn session_page_bytes() -> usize {
        cell_bytes(PAGE_ROWS * size_of::<SessionRow>())
    }
    /// Bytes of the stats region.
    pub const fn stats_bytes(&self) -> usize {
        self.port_xstats() + cell_bytes(size_of::<Xstats>())
    }
    /// Offset of a shard's counters cell.
    pub const fn shard_counters(&self, shard: usize) -> usize {
        HEADER_BYTES + shard * self.stats_stride()
    }
    /// Offset of a worker's counters cell.
    pub const fn worker_counters(&self, shard: usize) -> usize {
        self.shard_counters(shard) + cell_bytes(size_of::<ShardCounters>())
    }
    /// Offset of a page of room rows.
    pub const fn room_page(&self, shard: usize, page: usize) -> usize {
        self.worker_counters(shard)
            + cell_bytes(size_of::<WorkerCounters>())
            + page * Self::room_page_bytes()
    }
    /// Offset of a page of session rows.
    pub const fn session_page(&self, shard: usize, page: usize) -> usize {
        self.room_page(shard, self.room_pages()) + page * Self::session_page_bytes()
    }
    /// Offset of the cell with the node's self-description (JSON, zero-padded).
    pub const fn port_text(&self) -> usize {
        HEADER_BYTES + self.shards as usize * self.stats_stride()
    }
    /// Offset of the cell with the device's state.
    pub const fn port_state(&self) -> usize {
        self.port_text() + cell_bytes(PORT_TEXT_BYTES)
    }
    /// Offset of the cell with its driver's counters.
    pub const fn port_xstats(&self) -> usize {
        self.port_state() + cell_bytes(size_of::<PortState>())
    }
}

/// Bytes of the node's self-description: port type, driver, addresses masked, version, memory mode.
pub const PORT_TEXT_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_are_aligned() {
        let sizes = Sizes { shards: 3, sessions_max: 100, rooms_max: 40 };
        let mut offsets = vec![];
        for shard in 0..3 {
            offsets.push(sizes.shard_counters(shard));
            offsets.push(sizes.worker_counters(shard));
            offsets.extend((0..sizes.room_pages()).map(|page| sizes.room_page(shard, page)));
            offsets.extend((0..sizes.session_pages()).map(|page| sizes.session_page(shard, page)));
        }
        assert_eq!(ledger::ingress_parts(ledger::ingress_tag(7, 2, true)), Some((7, 2, true)));
        assert_eq!(ledger::ingress_parts(0), None);
        offsets.extend([sizes.port_text(), sizes.port_state(), sizes.port_xstats()]);
        offsets.push(sizes.stats_bytes());
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(offsets.iter().all(|offset| offset % 64 == 0));
        assert!(sizes.ledger(2) + 100 * LEDGER_WORDS * 8 == sizes.control_bytes());
    }
}

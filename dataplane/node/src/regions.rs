//! The two shared regions of a node: made, locked, described, and cut into what each shard gets.
//!
//! Offsets come from `proto::region` and count from the start of a region's payload, that is, from
//! behind the header that `shm` keeps for itself. The first words of the payload are the sizes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proto::codec::MESSAGE_MAX;
use proto::counters::{ShardCounters, WorkerCounters};
use proto::port::{PortState, Xstats};
use proto::punt;
use proto::region::{
    LAYOUT_VERSION, LEDGER_WORDS, PAGE_ROWS, PORT_TEXT_BYTES, PUNT_RING_BYTES, RING_BYTES, Sizes,
    cell_bytes,
};
use proto::snapshot::{RoomRow, SessionRow};
use shm::WORD_BYTES;
use shm::region::{Kind, Region, RegionError, RegionSpec};
use shm::ring::RingSpec;
use shm::seqlock::{PagedWriter, SnapshotWriter, cell_words};
use shm::words::{Span, WordsMut};

use crate::ledger::Ledger;

/// A shard's command ring: it carries keys, so what was read is wiped. Half of the ring's bytes are
/// data, because a ring's capacity is a power of two and its indexes need room as well.
pub const COMMAND_RING: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX).secret();
/// A shard's event ring.
pub const EVENT_RING: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX);

/// A shard's punt ring, and its inject ring: handshakes, which their peers read as well.
pub const PUNT_RING: RingSpec = RingSpec::new(PUNT_RING_BYTES / 2, punt::MESSAGE_MAX);

const _: () = assert!(COMMAND_RING.len_words() * WORD_BYTES <= RING_BYTES);
const _: () = assert!(PUNT_RING.len_words() * WORD_BYTES <= PUNT_RING_BYTES);

/// Payload words with the sizes, in both regions.
const AT_SHARDS: usize = 0;
const AT_SESSIONS: usize = 1;
const AT_ROOMS: usize = 2;
const AT_INSTANCE: usize = 3;
const SIZES: Span = Span { offset_words: 0, len_words: 4 };

/// Most shards of a node: a `u64` masks them.
pub const SHARDS_MAX: u32 = 64;

/// A page of room rows.
pub type RoomPage = [RoomRow; PAGE_ROWS];
/// A page of session rows.
pub type SessionPage = [SessionRow; PAGE_ROWS];
/// The node's self-description.
pub type PortText = [u8; PORT_TEXT_BYTES];

/// The control region and the stats region of this process.
#[derive(Debug)]
pub struct Regions {
    control: Region,
    stats: Region,
    sizes: Sizes,
    instance: u64,
}

impl Regions {
    /// Makes both. `instance` differs between any two data planes that ever ran.
    ///
    /// # Errors
    /// The host's, and sizes above what a region may have.
    pub fn create(sizes: Sizes, instance: u64) -> Result<Self, RegionError> {
        let make = |name, kind, payload_bytes| {
            let region = Region::create(RegionSpec {
                name,
                kind,
                layout_version: u64::from(LAYOUT_VERSION),
                payload_bytes,
                epoch: instance,
            })?;
            let words = region.words(SIZES)?;
            words.store(AT_SHARDS, u64::from(sizes.shards));
            words.store(AT_SESSIONS, u64::from(sizes.sessions_max));
            words.store(AT_ROOMS, u64::from(sizes.rooms_max));
            words.store_release(AT_INSTANCE, instance);
            Ok::<_, RegionError>(region)
        };
        Ok(Regions {
            control: make("roomlane-control", Kind::Control, sizes.control_bytes())?,
            stats: make("roomlane-stats", Kind::Stats, stats_payload_bytes(&sizes))?,
            sizes,
            instance,
        })
    }

    /// Keeps the control region, which carries keys, in memory and out of core dumps.
    ///
    /// # Errors
    /// The host's, mostly because `RLIMIT_MEMLOCK` is smaller than the region.
    pub fn lock(&self) -> Result<(), RegionError> {
        self.control.lock()
    }

    /// The sizes both were made with.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// See [`Regions::create`].
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Bytes of both regions.
    pub fn bytes(&self) -> (u64, u64) {
        (self.control.header().size_bytes, self.stats.header().size_bytes)
    }

    /// The control region's descriptor.
    pub fn control_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// The stats region's descriptor.
    pub fn stats_fd(&self) -> BorrowedFd<'_> {
        self.stats.as_fd()
    }

    /// Tells readers of both regions that this process lives. `now_ns` is of the monotonic clock.
    pub fn beat(&self, now_ns: u64) {
        self.control.beat(now_ns);
        self.stats.beat(now_ns);
    }

    /// Words of a shard's command ring.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn command_ring(&self, shard: usize) -> Result<WordsMut, RegionError> {
        self.control.words(span(self.sizes.command_ring(shard), RING_BYTES))
    }

    /// Words of a shard's event ring.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn event_ring(&self, shard: usize) -> Result<WordsMut, RegionError> {
        self.control.words(span(self.sizes.event_ring(shard), RING_BYTES))
    }

    /// Words of a shard's punt ring.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn punt_ring(&self, shard: usize) -> Result<WordsMut, RegionError> {
        self.control.words(span(self.sizes.punt_ring(shard), PUNT_RING_BYTES))
    }

    /// Words of a shard's inject ring.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn inject_ring(&self, shard: usize) -> Result<WordsMut, RegionError> {
        self.control.words(span(self.sizes.inject_ring(shard), PUNT_RING_BYTES))
    }

    /// A shard's ledger.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn ledger(&self, shard: usize) -> Result<Ledger, RegionError> {
        ledger_of(&self.control, &self.sizes, shard)
    }

    /// Where a shard and its worker publish.
    ///
    /// # Errors
    /// A shard that there is not.
    pub fn cells(&self, shard: usize) -> Result<ShardCells, RegionError> {
        let sizes = &self.sizes;
        let cell = |offset, words| self.stats.words(span(offset, words * WORD_BYTES));
        Ok(ShardCells {
            shard: SnapshotWriter::attach(cell(
                sizes.shard_counters(shard),
                cell_words::<ShardCounters>(1),
            )?),
            worker: SnapshotWriter::attach(cell(
                sizes.worker_counters(shard),
                cell_words::<WorkerCounters>(1),
            )?),
            rooms: (0..sizes.room_pages())
                .map(|page| {
                    let words = cell(sizes.room_page(shard, page), cell_words::<RoomPage>(1))?;
                    Ok(PagedWriter::attach(words, 1))
                })
                .collect::<Result<_, RegionError>>()?,
            sessions: (0..sizes.session_pages())
                .map(|page| {
                    let words =
                        cell(sizes.session_page(shard, page), cell_words::<SessionPage>(1))?;
                    Ok(PagedWriter::attach(words, 1))
                })
                .collect::<Result<_, RegionError>>()?,
        })
    }

    /// The cells with the device's state and its driver's counters.
    ///
    /// # Errors
    /// None but mistakes of the layout.
    pub fn device(
        &self,
    ) -> Result<(SnapshotWriter<PortState>, SnapshotWriter<Xstats>), RegionError> {
        let state = cell_words::<PortState>(1) * WORD_BYTES;
        let state = self.stats.words(span(self.sizes.port_state(), state))?;
        let xstats = cell_words::<Xstats>(1) * WORD_BYTES;
        let xstats = self.stats.words(span(self.sizes.port_xstats(), xstats))?;
        Ok((SnapshotWriter::attach(state), SnapshotWriter::attach(xstats)))
    }

    /// The cell with the node's self-description.
    ///
    /// # Errors
    /// None but mistakes of the layout.
    pub fn port_text(&self) -> Result<SnapshotWriter<PortText>, RegionError> {
        let words = cell_words::<PortText>(1) * WORD_BYTES;
        Ok(SnapshotWriter::attach(self.stats.words(span(self.sizes.port_text(), words))?))
    }
}

/// The writing ends of one shard's cells in the stats region.
#[derive(Debug)]
pub struct ShardCells {
    /// The shard's counters.
    pub shard: SnapshotWriter<ShardCounters>,
    /// Its worker's counters.
    pub worker: SnapshotWriter<WorkerCounters>,
    /// Pages of room rows, one cell each.
    pub rooms: Vec<PagedWriter<RoomPage>>,
    /// Pages of session rows, one cell each.
    pub sessions: Vec<PagedWriter<SessionPage>>,
}

/// The control region of a data plane that died, as a control plane handed it over.
#[derive(Debug)]
pub struct OldControl {
    region: Region,
    sizes: Sizes,
}

impl OldControl {
    /// Maps it after checking seals, header, sizes, and that everything the sizes promise is there.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn map(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::map(fd, u64::from(LAYOUT_VERSION))?;
        let words = region.words(SIZES)?;
        let shards = small(words.load(AT_SHARDS), SHARDS_MAX)?;
        let sessions_max = small(words.load(AT_SESSIONS), 1 << 24)?;
        let rooms_max = small(words.load(AT_ROOMS), u32::MAX)?;
        let sizes = Sizes { shards, sessions_max, rooms_max };
        region.words(span(0, sizes.control_bytes()))?;
        Ok(OldControl { region, sizes })
    }

    /// How many shards it had.
    pub fn shards(&self) -> u32 {
        self.sizes.shards
    }

    /// A shard's ledger.
    ///
    /// # Errors
    /// A shard that there was not.
    pub fn ledger(&self, shard: usize) -> Result<Ledger, RegionError> {
        ledger_of(&self.region, &self.sizes, shard)
    }
}

/// Bytes of the stats region's payload. A cell's span may reach into the pad behind it (`shm` rounds a
/// cell to two cache lines, `proto` to one, after a whole one for the sequence word); the words that
/// are written never do. Behind the last cell that pad must exist.
pub fn stats_payload_bytes(sizes: &Sizes) -> usize {
    sizes.stats_bytes() + 2 * 64
}

const fn span(offset_bytes: usize, len_bytes: usize) -> Span {
    Span { offset_words: offset_bytes / WORD_BYTES, len_words: len_bytes / WORD_BYTES }
}

fn ledger_of(region: &Region, sizes: &Sizes, shard: usize) -> Result<Ledger, RegionError> {
    if shard >= sizes.shards as usize {
        return Err(RegionError::Span { offset_words: usize::MAX, len_words: 0 });
    }
    let bytes = sizes.sessions_max as usize * LEDGER_WORDS * WORD_BYTES;
    let words = region.words(span(sizes.ledger(shard), bytes))?;
    Ok(Ledger::new(words, sizes.sessions_max))
}

/// A size that somebody else wrote, if it is one.
fn small(word: u64, max: u32) -> Result<u32, RegionError> {
    u32::try_from(word).ok().filter(|size| (1..=max).contains(size)).ok_or(RegionError::Magic)
}

// What a writer touches ends inside its own cell: sequence word and data.
const _: () = {
    assert!(WORD_BYTES + size_of::<ShardCounters>() <= cell_bytes(size_of::<ShardCounters>()));
    assert!(WORD_BYTES + size_of::<SessionPage>() <= cell_bytes(size_of::<SessionPage>()));
    assert!(WORD_BYTES + size_of::<RoomPage>() <= cell_bytes(size_of::<RoomPage>()));
    assert!(WORD_BYTES + size_of::<PortText>() <= cell_bytes(size_of::<PortText>()));
};

/// What a reader finds, for the tests of whoever writes.
#[cfg(test)]
pub(crate) mod shown {
    use shm::seqlock::SnapshotReader;
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;

    fn cell<T: FromBytes + IntoBytes>(regions: &Regions, offset: usize) -> Option<T> {
        let words = regions.stats.words(span(offset, cell_words::<T>(1) * WORD_BYTES));
        SnapshotReader::<T>::attach(words.expect("inside").view()).read().ok()
    }

    pub(crate) fn shard(regions: &Regions, shard: usize) -> Option<ShardCounters> {
        cell(regions, regions.sizes.shard_counters(shard))
    }

    pub(crate) fn worker(regions: &Regions, shard: usize) -> Option<WorkerCounters> {
        cell(regions, regions.sizes.worker_counters(shard))
    }

    pub(crate) fn rooms(regions: &Regions, shard: usize) -> Vec<RoomRow> {
        let pages = 0..regions.sizes.room_pages();
        let page = |page| cell::<RoomPage>(regions, regions.sizes.room_page(shard, page));
        pages.filter_map(page).flatten().filter(|row| row.room != 0).collect()
    }

    pub(crate) fn sessions(regions: &Regions, shard: usize) -> Vec<SessionRow> {
        let pages = 0..regions.sizes.session_pages();
        let page = |page| cell::<SessionPage>(regions, regions.sizes.session_page(shard, page));
        pages.filter_map(page).flatten().filter(|row| row.session_plus_one != 0).collect()
    }

    pub(crate) fn port_text(regions: &Regions) -> Option<PortText> {
        cell(regions, regions.sizes.port_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES_SMALL: Sizes = Sizes { shards: 2, sessions_max: 70, rooms_max: 40 };

    #[test]
    fn every_cell_reads_back_and_no_cell_touches_its_neighbour() {
        let regions = Regions::create(SIZES_SMALL, 9).expect("regions");
        assert!(shown::shard(&regions, 0).is_none() && shown::worker(&regions, 1).is_none());
        let full_rooms = [RoomRow { room: 1, reserved: u32::MAX, ..RoomRow::default() }; PAGE_ROWS];
        let full_sessions =
            [SessionRow { session_plus_one: 1, state: u32::MAX, ..SessionRow::default() };
                PAGE_ROWS];
        // Write back to front, so that a cell that reached into the next would spoil it.
        regions.port_text().expect("cell").write(&[b'x'; PORT_TEXT_BYTES]);
        for shard in (0..2).rev() {
            let mut cells = regions.cells(shard).expect("cells");
            cells.sessions.iter_mut().rev().for_each(|page| page.write(0, &full_sessions));
            cells.rooms.iter_mut().rev().for_each(|page| page.write(0, &full_rooms));
            cells.worker.write(&WorkerCounters { turns: 7, ..WorkerCounters::default() });
            cells.shard.write(&ShardCounters { rx_packets: 5, ..ShardCounters::default() });
        }
        for shard in 0..2 {
            assert_eq!(shown::shard(&regions, shard).map(|c| c.rx_packets), Some(5));
            assert_eq!(shown::worker(&regions, shard).map(|c| c.turns), Some(7));
            assert_eq!(shown::rooms(&regions, shard).len(), SIZES_SMALL.room_pages() * PAGE_ROWS);
            assert_eq!(
                shown::sessions(&regions, shard).len(),
                SIZES_SMALL.session_pages() * PAGE_ROWS
            );
            assert!(shown::sessions(&regions, shard).iter().all(|row| *row == full_sessions[0]));
        }
        assert_eq!(shown::port_text(&regions), Some([b'x'; PORT_TEXT_BYTES]));
    }

    #[test]
    fn an_old_control_region_with_impossible_sizes_is_refused() {
        let regions = Regions::create(SIZES_SMALL, 9).expect("regions");
        let dup = || regions.control_fd().try_clone_to_owned().expect("dup");
        assert_eq!(OldControl::map(dup()).expect("as it is").shards(), 2);
        let words = regions.control.words(SIZES).expect("sizes");
        for (at, value) in [(AT_SHARDS, 0), (AT_SHARDS, 65), (AT_SESSIONS, 1 << 24), (AT_ROOMS, 0)]
        {
            let old = words.load(at);
            words.store(at, value);
            assert!(OldControl::map(dup()).is_err(), "word {at} = {value}");
            words.store(at, old);
        }
        assert!(OldControl::map(regions.stats_fd().try_clone_to_owned().expect("dup")).is_err());
    }
}

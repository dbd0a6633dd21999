//! Publishes a shard's counters and tables to the stats region: counters ten times a second, tables
//! page by page, one page per turn, so that no turn is long.

use proto::counters::{ShardCounters, WorkerCounters};
use proto::region::PAGE_ROWS;
use proto::snapshot::{RoomRow, SessionRow};

use crate::regions::{RoomPage, SessionPage, ShardCells};

/// How often counters are published, in nanoseconds.
pub const COUNTERS_PERIOD_NS: u64 = 100_000_000;
/// How often a pass over the tables begins, in nanoseconds.
pub const TABLES_PERIOD_NS: u64 = 500_000_000;

/// What a shard shows.
pub trait Shown {
    /// Its counters.
    fn counters(&self) -> &ShardCounters;
    /// A room by its index; the zero row when there is none.
    fn room_row(&self, index: u32) -> RoomRow;
    /// A session by its slot; the zero row when there is none.
    fn session_row(&self, slot: u32) -> SessionRow;
}

/// The publishing end of one shard.
#[derive(Debug)]
pub struct Publisher {
    cells: ShardCells,
    counters_due_ns: u64,
    tables_due_ns: u64,
    /// Next page of the pass over rooms, then sessions.
    next_page: usize,
    /// Whether the page was published with a row in it: only then does an empty one need to be.
    shown: Vec<bool>,
    sizes: (u32, u32),
}

impl Publisher {
    /// For a shard with `rooms_max` rooms and `sessions_max` sessions.
    pub fn new(cells: ShardCells, rooms_max: u32, sessions_max: u32) -> Self {
        let pages = cells.rooms.len() + cells.sessions.len();
        Publisher {
            cells,
            counters_due_ns: 0,
            tables_due_ns: 0,
            next_page: pages,
            shown: vec![false; pages],
            sizes: (rooms_max, sessions_max),
        }
    }

    /// Whether counters are due.
    pub fn counters_due(&self, now_ns: u64) -> bool {
        now_ns >= self.counters_due_ns
    }

    /// Publishes the counters.
    pub fn counters(&mut self, now_ns: u64, shard: &impl Shown, worker: &WorkerCounters) {
        self.counters_due_ns = now_ns + COUNTERS_PERIOD_NS;
        self.cells.shard.write(shard.counters());
        self.cells.worker.write(worker);
    }

    /// Publishes at most one page of the tables.
    pub fn page(&mut self, now_ns: u64, shard: &impl Shown) {
        if self.next_page == self.shown.len() {
            if now_ns < self.tables_due_ns {
                return;
            }
            self.tables_due_ns = now_ns + TABLES_PERIOD_NS;
            self.next_page = 0;
        }
        let page = self.next_page;
        self.next_page += 1;
        let rooms = self.cells.rooms.len();
        let some = if page < rooms {
            let rows = room_page(shard, page, self.sizes.0);
            let some = rows.iter().any(|row| row.room != 0);
            if some || self.shown[page] {
                self.cells.rooms[page].write(0, &rows);
            }
            some
        } else {
            let rows = session_page(shard, page - rooms, self.sizes.1);
            let some = rows.iter().any(|row| row.session_plus_one != 0);
            if some || self.shown[page] {
                self.cells.sessions[page - rooms].write(0, &rows);
            }
            some
        };
        self.shown[page] = some;
    }
}

fn room_page(shard: &impl Shown, page: usize, rooms_max: u32) -> RoomPage {
    std::array::from_fn(|row| match row_index(page, row, rooms_max) {
        Some(index) => shard.room_row(index),
        None => RoomRow::default(),
    })
}

fn session_page(shard: &impl Shown, page: usize, sessions_max: u32) -> SessionPage {
    std::array::from_fn(|row| match row_index(page, row, sessions_max) {
        Some(index) => shard.session_row(index),
        None => SessionRow::default(),
    })
}

fn row_index(page: usize, row: usize, max: u32) -> Option<u32> {
    u32::try_from(page * PAGE_ROWS + row).ok().filter(|index| *index < max)
}

#[cfg(test)]
mod tests {
    use proto::region::Sizes;

    use super::*;
    use crate::regions::{Regions, shown};

    struct Table {
        counters: ShardCounters,
        sessions: Vec<u64>,
    }

    impl Shown for Table {
        fn counters(&self) -> &ShardCounters {
            &self.counters
        }
        fn room_row(&self, index: u32) -> RoomRow {
            RoomRow { room: u64::from(index == 39), ..RoomRow::default() }
        }
        fn session_row(&self, slot: u32) -> SessionRow {
            SessionRow { session_plus_one: self.sessions[slot as usize], ..SessionRow::default() }
        }
    }

    #[test]
    fn a_pass_shows_every_row_one_page_per_turn_and_forgets_those_that_ended() {
        let sizes = Sizes { shards: 1, sessions_max: 70, rooms_max: 40 };
        let regions = Regions::create(sizes, 1).expect("regions");
        let mut publisher = Publisher::new(regions.cells(0).expect("cells"), 40, 70);
        let mut table = Table { counters: ShardCounters::default(), sessions: vec![0; 70] };
        table.sessions[69] = 5;
        table.sessions[0] = 6;
        let pages = sizes.room_pages() + sizes.session_pages();
        for turn in 0..pages {
            let shown = shown::sessions(&regions, 0).len();
            assert_eq!(shown, usize::from(turn > sizes.room_pages()), "{turn}");
            publisher.page(0, &table);
        }
        assert_eq!(shown::rooms(&regions, 0).len(), 1);
        let ids = || -> Vec<u64> {
            shown::sessions(&regions, 0).iter().map(|row| row.session_plus_one).collect()
        };
        assert_eq!(ids(), [6, 5]);
        table.sessions[69] = 0;
        publisher.page(TABLES_PERIOD_NS - 1, &table);
        assert_eq!(ids(), [6, 5], "not due");
        (0..pages).for_each(|_| publisher.page(TABLES_PERIOD_NS, &table));
        assert_eq!(ids(), [6]);
    }

    #[test]
    fn counters_are_published_when_due() {
        let sizes = Sizes { shards: 1, sessions_max: 1, rooms_max: 1 };
        let regions = Regions::create(sizes, 1).expect("regions");
        let mut publisher = Publisher::new(regions.cells(0).expect("cells"), 1, 1);
        let mut table = Table { counters: ShardCounters::default(), sessions: vec![0] };
        table.counters.rx_packets = 3;
        assert!(publisher.counters_due(0));
        publisher.counters(0, &table, &WorkerCounters { turns: 9, ..Default::default() });
        assert_eq!(shown::shard(&regions, 0).expect("published").rx_packets, 3);
        assert_eq!(shown::worker(&regions, 0).expect("published").turns, 9);
        assert!(!publisher.counters_due(COUNTERS_PERIOD_NS - 1));
        assert!(publisher.counters_due(COUNTERS_PERIOD_NS));
    }
}

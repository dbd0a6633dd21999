//! What was forwarded lately, opened, to answer NACKs from: copies in private memory set aside at start.
//!
//! The memory is cut into blocks of [`HISTORY_BLOCK`] packets. A block holds the packets of one stream
//! whose indices differ in their last bits only, so that a packet is found without a search, a late one
//! has its place, and a gap costs nothing but its place. When no block is free, the one that was begun
//! longest ago is taken, whoever has it: a stream that went quiet gives up first, and those that go on
//! share the memory by time. One stream never has more than [`HISTORY_STREAM_BLOCKS`].
//!
//! Payloads of rooms are in it, so a block is wiped once its stream has ended.

use crate::limits::{HISTORY_BLOCK, HISTORY_SLOT, HISTORY_STREAM_BLOCKS};
use crate::slab::{NONE, Slab};

/// A packet as it is kept: the parts of which a header is made, and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept<'a> {
    /// RTP timestamp as received.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Profile of the extension block, zero when there is none.
    pub extension_profile: u16,
    /// The extension block's content, as received.
    pub extension: &'a [u8],
    /// The payload, without padding.
    pub payload: &'a [u8],
}

/// Why a packet is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It was never forwarded, though its neighbours were.
    Gap,
    /// Its block was given up, or never begun.
    Gone,
}

#[derive(Debug, Clone, Copy, Default)]
struct Head {
    timestamp: u32,
    payload_len: u16,
    extension_len: u16,
    extension_profile: u16,
    marker: bool,
}

/// A block's owner, and its place in the order of beginning.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Handle of the stream; `NONE` while it is free.
    stream: u32,
    /// Index of its packets without the last bits.
    number: u64,
    /// One bit per packet that is there.
    present: u32,
    previous: u32,
    next: u32,
}

const FREE: Block = Block { stream: NONE, number: 0, present: 0, previous: NONE, next: NONE };

/// What is kept of one stream.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Block number `n` is at `n % HISTORY_STREAM_BLOCKS`, or gone.
    blocks: [u32; HISTORY_STREAM_BLOCKS],
    /// What was below was given up for others, and is not kept again.
    floor: u64,
}

const EMPTY: Stream = Stream { blocks: [NONE; HISTORY_STREAM_BLOCKS], floor: 0 };

/// The histories of one publication: of the two ingress streams that were forwarded last.
#[derive(Debug, Clone, Copy)]
pub struct Handles([(u32, u32); 2]);

impl Default for Handles {
    fn default() -> Self {
        Handles([(NONE, NONE); 2])
    }
}

impl Handles {
    /// The history of the ingress stream `source`, by its caller's number.
    pub fn of(&self, source: u32) -> Option<u32> {
        let is_it = |entry: &&(u32, u32)| entry.0 == source && entry.1 != NONE;
        self.0.iter().find(is_it).map(|(_, handle)| *handle)
    }
}

/// The histories of all streams of a shard.
#[derive(Debug)]
pub struct History {
    streams: Slab<Stream>,
    blocks: Vec<Block>,
    heads: Vec<[Head; HISTORY_BLOCK]>,
    bytes: Vec<u8>,
    /// Blocks without an owner that hold nothing, and those that are to be wiped.
    clean: Vec<u32>,
    dirty: Vec<u32>,
    /// The block begun longest ago, and the newest.
    oldest: u32,
    newest: u32,
}

impl History {
    /// Sets aside memory for so many packets, rounded down to whole blocks.
    pub fn new(packets: usize) -> Self {
        let blocks = packets / HISTORY_BLOCK;
        History {
            streams: Slab::new(blocks, || EMPTY),
            blocks: vec![FREE; blocks],
            heads: vec![[Head::default(); HISTORY_BLOCK]; blocks],
            // Zeroed by the kernel when it is first touched.
            bytes: vec![0; blocks * HISTORY_BLOCK * HISTORY_SLOT],
            clean: (0..blocks as u32).rev().collect(),
            dirty: Vec::with_capacity(blocks),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// A handle for a stream that is to be kept; `None` when there are as many as blocks.
    fn open(&mut self) -> Option<u32> {
        self.streams.insert(EMPTY)
    }

    /// Forgets a stream; its blocks are wiped by and by.
    fn close(&mut self, stream: u32) {
        for block in self.streams[stream].blocks {
            if block != NONE {
                self.unlink(block);
                self.blocks[block as usize] = FREE;
                self.dirty.push(block);
            }
        }
        self.streams.remove(stream);
    }

    /// The history of the ingress stream `source`, begun if need be; the one that was not forwarded for
    /// longest is forgotten for it.
    pub fn handle(&mut self, handles: &mut Handles, source: u32) -> Option<u32> {
        if handles.0[0].0 != source {
            handles.0.swap(0, 1);
        }
        if handles.0[0].0 != source || handles.0[0].1 == NONE {
            self.close_one(&mut handles.0[0]);
            handles.0[0] = (source, self.open()?);
        }
        Some(handles.0[0].1)
    }

    /// Forgets the histories of a publication.
    pub fn close_all(&mut self, handles: &mut Handles) {
        handles.0.iter_mut().for_each(|entry| self.close_one(entry));
    }

    fn close_one(&mut self, entry: &mut (u32, u32)) {
        let (_, handle) = std::mem::replace(entry, (NONE, NONE));
        if handle != NONE {
            self.close(handle);
        }
    }

    /// Wipes up to `blocks` blocks of ended streams.
    pub fn wipe(&mut self, blocks: usize) {
        for _ in 0..blocks {
            let Some(block) = self.dirty.pop() else { return };
            self.wipe_block(block);
            self.clean.push(block);
        }
    }

    /// Keeps a packet with this extended ingress index; one that is too large for a place is not kept.
    pub fn record(&mut self, stream: u32, index: u64, packet: &Kept<'_>) {
        let (extension, payload) = (packet.extension, packet.payload);
        let too_large = extension.len() + payload.len() > HISTORY_SLOT;
        if too_large || index < self.streams[stream].floor {
            return;
        }
        let Some(block) = self.block_for(stream, number(index)) else { return };
        let place = place(index);
        self.heads[block as usize][place] = Head {
            timestamp: packet.timestamp,
            payload_len: payload.len() as u16,
            extension_len: extension.len() as u16,
            extension_profile: packet.extension_profile,
            marker: packet.marker,
        };
        let start = start(block, place);
        let bytes = &mut self.bytes[start..start + extension.len() + payload.len()];
        bytes[..extension.len()].copy_from_slice(extension);
        bytes[extension.len()..].copy_from_slice(payload);
        self.blocks[block as usize].present |= 1 << place;
    }

    /// The packet with this extended ingress index.
    ///
    /// # Errors
    /// [`Absent`].
    pub fn packet(&self, stream: u32, index: u64) -> Result<Kept<'_>, Absent> {
        let at = self.streams[stream].blocks[ring_place(number(index))];
        let block = self.blocks.get(at as usize).ok_or(Absent::Gone)?;
        if block.number != number(index) {
            return Err(Absent::Gone);
        }
        let place = place(index);
        if block.present >> place & 1 == 0 {
            let is_gone = index < self.streams[stream].floor;
            return Err(if is_gone { Absent::Gone } else { Absent::Gap });
        }
        let head = &self.heads[at as usize][place];
        let start = start(at, place);
        let middle = start + usize::from(head.extension_len);
        Ok(Kept {
            timestamp: head.timestamp,
            marker: head.marker,
            extension_profile: head.extension_profile,
            extension: &self.bytes[start..middle],
            payload: &self.bytes[middle..middle + usize::from(head.payload_len)],
        })
    }

    /// The stream's block of that number: the one it has, or one that is begun now.
    fn block_for(&mut self, stream: u32, number: u64) -> Option<u32> {
        let ring = ring_place(number);
        let own = self.streams[stream].blocks[ring];
        if own != NONE {
            match number.cmp(&self.blocks[own as usize].number) {
                std::cmp::Ordering::Equal => return Some(own),
                // Later than everything that is kept: nobody will ask for it any more.
                std::cmp::Ordering::Less => return None,
                std::cmp::Ordering::Greater => self.unlink(own),
            }
        }
        let block = if own == NONE { self.vacate()? } else { own };
        self.blocks[block as usize] = Block { stream, number, ..FREE };
        self.append(block);
        self.streams[stream].blocks[ring] = block;
        Some(block)
    }

    /// A block without an owner.
    fn vacate(&mut self) -> Option<u32> {
        if let Some(block) = self.clean.pop() {
            return Some(block);
        }
        if let Some(block) = self.dirty.pop() {
            self.wipe_block(block);
            return Some(block);
        }
        let block = self.oldest;
        let Block { stream, number, present, .. } = *self.blocks.get(block as usize)?;
        self.unlink(block);
        let loser = &mut self.streams[stream];
        loser.blocks[ring_place(number)] = NONE;
        let kept = u64::from(u32::BITS - present.leading_zeros());
        loser.floor = loser.floor.max(number * HISTORY_BLOCK as u64 + kept);
        Some(block)
    }

    fn wipe_block(&mut self, block: u32) {
        let start = start(block, 0);
        self.bytes[start..start + HISTORY_BLOCK * HISTORY_SLOT].fill(0);
        self.heads[block as usize] = [Head::default(); HISTORY_BLOCK];
    }

    fn append(&mut self, block: u32) {
        let before = std::mem::replace(&mut self.newest, block);
        self.blocks[block as usize].previous = before;
        match before {
            NONE => self.oldest = block,
            before => self.blocks[before as usize].next = block,
        }
    }

    fn unlink(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        match previous {
            NONE => self.oldest = next,
            previous => self.blocks[previous as usize].next = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.blocks[next as usize].previous = previous,
        }
    }
}

const fn number(index: u64) -> u64 {
    index / HISTORY_BLOCK as u64
}

const fn place(index: u64) -> usize {
    index as usize % HISTORY_BLOCK
}

const fn ring_place(number: u64) -> usize {
    number as usize % HISTORY_STREAM_BLOCKS
}

const fn start(block: u32, place: usize) -> usize {
    (block as usize * HISTORY_BLOCK + place) * HISTORY_SLOT
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn packet(payload: &[u8]) -> Kept<'_> {
        let extension = &[0x10, 7, 0, 0];
        Kept { timestamp: 9, marker: true, extension_profile: 0xbede, extension, payload }
    }

    #[test]
    fn a_packet_comes_back_as_it_was() {
        let mut history = History::new(64);
        let stream = history.open().unwrap();
        let (one, other) = (packet(b"one"), Kept { marker: false, ..packet(b"another") });
        history.record(stream, 70_001, &one);
        history.record(stream, 70_000, &other);
        assert_eq!(history.packet(stream, 70_001), Ok(one));
        assert_eq!(history.packet(stream, 70_000), Ok(other));
        assert_eq!(history.packet(stream, 70_002), Err(Absent::Gap));
        assert_eq!(history.packet(stream, 1), Err(Absent::Gone));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut history = History::new(32);
        let stream = history.open().unwrap();
        history.record(stream, 0, &packet(&[1; HISTORY_SLOT - 4]));
        history.record(stream, 1, &packet(&[1; HISTORY_SLOT - 3]));
        assert!(history.packet(stream, 0).is_ok());
        assert_eq!(history.packet(stream, 1), Err(Absent::Gap));
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let mut history = History::new(0);
        assert_eq!(history.open(), None);
    }

    #[test]
    fn the_stream_that_went_quiet_gives_up_first() {
        let mut history = History::new(4 * HISTORY_BLOCK);
        let (quiet, busy) = (history.open().unwrap(), history.open().unwrap());
        let block = HISTORY_BLOCK as u64;
        history.record(quiet, 0, &packet(b"q"));
        for index in 0..3 * block {
            history.record(busy, index, &packet(b"b"));
        }
        assert!(history.packet(quiet, 0).is_ok());
        history.record(busy, 3 * block, &packet(b"b"));
        assert_eq!(history.packet(quiet, 0), Err(Absent::Gone));
        history.record(busy, 4 * block, &packet(b"b"));
        assert_eq!(history.packet(busy, 0), Err(Absent::Gone));
        assert!(history.packet(busy, block).is_ok());
    }

    #[test]
    fn nothing_of_an_ended_stream_stays_in_memory() {
        let mut history = History::new(4 * HISTORY_BLOCK);
        let stream = history.open().unwrap();
        for index in 0..3 * HISTORY_BLOCK as u64 {
            history.record(stream, index, &packet(&[0xaa; 100]));
        }
        history.close(stream);
        history.wipe(2);
        assert!(history.bytes.contains(&0xaa));
        let other = history.open().unwrap();
        history.record(other, 0, &packet(&[0xbb; 10]));
        history.wipe(2);
        assert!(!history.bytes.contains(&0xaa));
        assert!(history.packet(other, 0).is_ok());
    }

    #[test]
    fn a_publication_keeps_the_two_streams_forwarded_last() {
        let mut history = History::new(4 * HISTORY_BLOCK);
        let mut handles = Handles::default();
        for source in [1, 2, 1] {
            let handle = history.handle(&mut handles, source).unwrap();
            history.record(handle, u64::from(source), &packet(b"x"));
        }
        let third = history.handle(&mut handles, 3).unwrap();
        assert_eq!((handles.of(2), handles.of(3)), (None, Some(third)));
        assert!(history.packet(handles.of(1).unwrap(), 1).is_ok());
        history.close_all(&mut handles);
        assert_eq!((handles.of(1), handles.of(3), handles.of(NONE)), (None, None, None));
        assert_eq!(history.streams.vacant(), 4);
    }

    proptest! {
        /// The oracle: a map of everything recorded. What comes back is what was recorded last under
        /// that index; the newest blocks of a memory's worth are there; blocks are never lost.
        #[test]
        fn behaves_like_a_map_that_forgets(
            ops in prop::collection::vec((0usize..3, 0u64..60, 0u8..40), 1..600),
        ) {
            const BLOCKS: usize = 6;
            let mut history = History::new(BLOCKS * HISTORY_BLOCK);
            let mut handles = [(); 3].map(|()| history.open().unwrap());
            let mut models = [(); 3].map(|()| HashMap::new());
            let mut highest = [0_u64; 3];
            for (turn, (which, step, op)) in ops.into_iter().enumerate() {
                if op == 0 {
                    history.close(handles[which]);
                    handles[which] = history.open().unwrap();
                    models[which].clear();
                    continue;
                }
                if op == 1 {
                    history.wipe(1);
                }
                let (late, new) = (highest[which].saturating_sub(step), highest[which] + 1 + step);
                let index = if op < 4 { late } else { new };
                if models[which].contains_key(&index) {
                    continue;
                }
                highest[which] = highest[which].max(index);
                let payload = [turn as u8; 3];
                history.record(handles[which], index, &packet(&payload));
                models[which].insert(index, payload);
                prop_assert!(history.packet(handles[which], highest[which]).is_ok() || op < 4);
                for (handle, model) in handles.iter().zip(&models) {
                    for index in model.keys().chain([&(highest[which] + 1)]) {
                        match (history.packet(*handle, *index), model.get(index)) {
                            (Ok(kept), Some(payload)) => prop_assert_eq!(kept.payload, payload),
                            (Ok(_), None) => prop_assert!(false, "never recorded"),
                            (Err(Absent::Gap), Some(_)) => prop_assert!(false, "forgotten alone"),
                            (Err(_), _) => {}
                        }
                    }
                }
                let mut owned = 0;
                let mut at = history.oldest;
                while at != NONE {
                    owned += 1;
                    at = history.blocks[at as usize].next;
                }
                prop_assert_eq!(owned + history.clean.len() + history.dirty.len(), BLOCKS);
            }
        }
    }
}

//! Relay rings: opened copies of packets between the shards of one process, and what their
//! subscribers ask for on the way back.
//!
//! Each ordered pair of shards has two rings of boxes: full ones go there, empty ones come back. The
//! boxes are made at the start, so relaying allocates nothing, and a box is private memory: an opened
//! packet never lies in a port's buffer pool.

use proto::{PublicationNo, ShardId};
use roomlane_core::buf::BUF_CAPACITY;
use roomlane_core::{RelayFeedback, RelayPacket, Start};
use rtrb::{Consumer, Producer, RingBuffer};

/// Most opened copies on their way between two shards.
pub const RELAY_SLOTS_MAX: usize = 256;
/// Slots of all rings towards one shard, shared out among its neighbours, at least 32 each.
const RELAY_SLOTS_IN: usize = 2048;
/// Requests on their way back.
pub const FEEDBACK_SLOTS: usize = 256;
/// Opened copies taken from one shard in one turn.
pub const RELAY_TURN_MAX: usize = 64;
/// Bytes of extension block and payload that a copy has room for.
pub const RELAY_BYTES: usize = BUF_CAPACITY;

/// One opened packet.
#[derive(Debug)]
struct Slot {
    publication: PublicationNo,
    ssrc: u32,
    start: Start,
    index: u64,
    timestamp: u32,
    marker: bool,
    padding: bool,
    extension_profile: u16,
    report: (u64, u32),
    extension_len: usize,
    payload_len: usize,
    bytes: [u8; RELAY_BYTES],
}

impl Slot {
    fn empty() -> Box<Self> {
        Box::new(Slot {
            publication: PublicationNo(0),
            ssrc: 0,
            start: Start::Inside,
            index: 0,
            timestamp: 0,
            marker: false,
            padding: false,
            extension_profile: 0,
            report: (0, 0),
            extension_len: 0,
            payload_len: 0,
            bytes: [0; RELAY_BYTES],
        })
    }

    fn fill(&mut self, packet: &RelayPacket<'_>) {
        let (extension, payload) = (packet.extension, packet.payload);
        self.publication = packet.publication;
        self.ssrc = packet.ssrc;
        self.start = packet.start;
        self.index = packet.index;
        self.timestamp = packet.timestamp;
        self.marker = packet.marker;
        self.padding = packet.padding;
        self.extension_profile = packet.extension_profile;
        self.report = packet.report;
        self.extension_len = extension.len();
        self.payload_len = payload.len();
        self.bytes[..extension.len()].copy_from_slice(extension);
        self.bytes[extension.len()..extension.len() + payload.len()].copy_from_slice(payload);
    }

    fn packet(&self) -> RelayPacket<'_> {
        let (extension, rest) = self.bytes.split_at(self.extension_len);
        RelayPacket {
            publication: self.publication,
            ssrc: self.ssrc,
            start: self.start,
            index: self.index,
            timestamp: self.timestamp,
            marker: self.marker,
            padding: self.padding,
            extension_profile: self.extension_profile,
            extension,
            payload: &rest[..self.payload_len],
            report: self.report,
        }
    }
}

/// Towards one other shard.
struct Out {
    full: Producer<Box<Slot>>,
    empty: Consumer<Box<Slot>>,
    feedback: Producer<RelayFeedback>,
}

/// From one other shard.
struct In {
    full: Consumer<Box<Slot>>,
    empty: Producer<Box<Slot>>,
    feedback: Consumer<RelayFeedback>,
}

/// One shard's ends of all rings.
pub struct Relays {
    outs: Vec<Option<Out>>,
    ins: Vec<Option<In>>,
}

/// Slots of each ring when there are `shards` shards.
pub const fn slots(shards: usize) -> usize {
    let others = if shards > 1 { shards - 1 } else { 1 };
    let share = RELAY_SLOTS_IN / others;
    if share > RELAY_SLOTS_MAX {
        RELAY_SLOTS_MAX
    } else if share < 32 {
        32
    } else {
        share
    }
}

/// Makes the rings between `shards` shards; one value per shard, in their order.
pub fn mesh(shards: usize) -> Vec<Relays> {
    let none = |_| Relays {
        outs: (0..shards).map(|_| None).collect(),
        ins: (0..shards).map(|_| None).collect(),
    };
    let mut mesh: Vec<Relays> = (0..shards).map(none).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (full_in, full_out) = RingBuffer::new(slots(shards));
            let (mut empty_in, empty_out) = RingBuffer::new(slots(shards));
            let (feedback_in, feedback_out) = RingBuffer::new(FEEDBACK_SLOTS);
            for _ in 0..slots(shards) {
                empty_in.push(Slot::empty()).expect("the ring has a place for each slot");
            }
            mesh[from].outs[to] =
                Some(Out { full: full_in, empty: empty_out, feedback: feedback_in });
            mesh[to].ins[from] =
                Some(In { full: full_out, empty: empty_in, feedback: feedback_out });
        }
    }
    mesh
}

/// Bytes that the rings between `shards` shards hold.
pub const fn mesh_bytes(shards: usize) -> usize {
    let pair = slots(shards) * (size_of::<Slot>() + 2 * size_of::<usize>())
        + FEEDBACK_SLOTS * size_of::<RelayFeedback>();
    shards * shards.saturating_sub(1) * pair
}

impl Relays {
    /// A shard without others.
    pub fn alone() -> Self {
        Relays { outs: Vec::new(), ins: Vec::new() }
    }

    /// Copies an opened packet to another shard; `false` when it has no room now, or there is no such
    /// shard.
    pub fn send(&mut self, to: ShardId, packet: &RelayPacket<'_>) -> bool {
        let Some(Some(out)) = self.outs.get_mut(to.0 as usize) else { return false };
        if packet.extension.len() + packet.payload.len() > RELAY_BYTES {
            return false;
        }
        let Ok(mut slot) = out.empty.pop() else { return false };
        slot.fill(packet);
        // There are as many places as slots, so one that was empty always finds a place.
        out.full.push(slot).is_ok()
    }

    /// Tells another shard what is asked of its publication; `false` when it has no room now.
    pub fn send_feedback(&mut self, home: ShardId, feedback: RelayFeedback) -> bool {
        let Some(Some(out)) = self.outs.get_mut(home.0 as usize) else { return false };
        out.feedback.push(feedback).is_ok()
    }

    /// How many shards there may be something from.
    pub(crate) fn sources(&self) -> usize {
        self.ins.len()
    }

    /// The next copy from shard `from`. Give it back with [`Relays::recycle`].
    pub(crate) fn take(&mut self, from: usize) -> Option<Taken> {
        self.ins.get_mut(from)?.as_mut()?.full.pop().ok().map(Taken)
    }

    /// Gives a slot back to the shard it came from.
    pub(crate) fn recycle(&mut self, from: usize, taken: Taken) {
        if let Some(Some(source)) = self.ins.get_mut(from) {
            let _ = source.empty.push(taken.0);
        }
    }

    /// The next request from shard `from`.
    pub(crate) fn take_feedback(&mut self, from: usize) -> Option<RelayFeedback> {
        self.ins.get_mut(from)?.as_mut()?.feedback.pop().ok()
    }
}

/// A copy that was taken from a ring.
pub(crate) struct Taken(Box<Slot>);

impl Taken {
    pub(crate) fn packet(&self) -> RelayPacket<'_> {
        self.0.packet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet<'a>(index: u64, extension: &'a [u8], payload: &'a [u8]) -> RelayPacket<'a> {
        RelayPacket {
            publication: PublicationNo(5),
            ssrc: 0xcafe,
            start: Start::Keyframe,
            index,
            timestamp: 90_000,
            marker: true,
            padding: false,
            extension_profile: 0xbede,
            extension,
            payload,
            report: (1, 2),
        }
    }

    #[test]
    fn a_copy_arrives_whole_at_the_shard_it_was_sent_to_and_no_other() {
        let mut mesh = mesh(3);
        let sent = packet(77, &[1, 2, 3, 4], b"payload");
        assert!(mesh[0].send(ShardId(2), &sent));
        assert!(mesh[1].take(0).is_none());
        let taken = mesh[2].take(0).expect("arrived");
        assert_eq!(taken.packet(), sent);
        mesh[2].recycle(0, taken);
        let wish = RelayFeedback { publication: PublicationNo(5), keyframe: true };
        assert!(mesh[2].send_feedback(ShardId(0), wish));
        assert_eq!(mesh[0].take_feedback(2), Some(wish));
    }

    #[test]
    fn a_full_ring_refuses_and_recovers_without_losing_a_slot() {
        let mut mesh = mesh(2);
        for round in 0..3u64 {
            for i in 0..slots(2) as u64 {
                assert!(mesh[0].send(ShardId(1), &packet(round << 32 | i, &[], &[9; 100])));
            }
            assert!(!mesh[0].send(ShardId(1), &packet(0, &[], &[])));
            for i in 0..slots(2) as u64 {
                let taken = mesh[1].take(0).expect("in order");
                assert_eq!(taken.packet().index, round << 32 | i);
                mesh[1].recycle(0, taken);
            }
        }
    }

    #[test]
    fn what_cannot_be_relayed_is_refused() {
        let mut mesh = mesh(2);
        assert!(!mesh[0].send(ShardId(0), &packet(0, &[], &[])), "to itself");
        assert!(!mesh[0].send(ShardId(9), &packet(0, &[], &[])), "to nobody");
        assert!(!mesh[0].send(ShardId(1), &packet(0, &[0; 49], &[0; 2000])), "too long");
        assert!(mesh[0].send(ShardId(1), &packet(0, &[0; 48], &[0; 2000])));
        assert!(!Relays::alone().send(ShardId(1), &packet(0, &[], &[])));
    }
}

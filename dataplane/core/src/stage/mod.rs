//! The stages of the packet's way: plain functions over a whole burst, called in one visible order by
//! `Shard::process`.
//!
//! Reads: the burst and the shard's tables. Sets: the parallel arrays of [`Work`]. Verdicts: a packet
//! that gets any verdict but `Next` is passed over by the stages behind.
//!
//! No stage is inlined: a call a burst costs nothing, and profiles of a release name them.

mod admit;
mod classify;
mod demux;
mod feedback;
mod ice;
mod inspect;
mod lookup;
mod media;
mod open;
mod repair;
mod retransmit;
mod route;
mod seal;

pub use admit::admit;
pub use classify::classify;
pub use feedback::feedback;
pub use ice::ice;
pub use inspect::inspect;
pub use lookup::lookup;
pub use open::open;
pub use route::route;
pub use seal::{dscp, seal, seal_relayed};

use proto::DropReason;
use proto::counters::ShardCounters;
use srtp::Provider;
pub use wire::demux::Kind;

use crate::gate::Start;
use crate::ingress::Role;
use crate::limits::SAMPLE_EVERY;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{BURST_MAX, Burst, Io};

/// What was decided about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next stage.
    Next,
    /// It ends here, as it should.
    Done,
    /// At least one copy left.
    Forwarded,
    /// The control plane has it.
    Punt,
    /// It ends here, counted.
    Drop(DropReason),
}

/// One burst on its way: parallel arrays, so that the lookups of its packets overlap.
pub struct Work {
    /// Packets in the burst.
    pub len: usize,
    /// By first bytes.
    pub kind: [Kind; BURST_MAX],
    /// What was decided so far.
    pub verdict: [Verdict; BURST_MAX],
    /// Index of the session, from `lookup`.
    pub session: [u32; BURST_MAX],
    /// Index of the publication, from `lookup`; RTP only.
    pub publication: [u32; BURST_MAX],
    /// Index of the ingress stream, from `lookup` where its SSRC is bound, else from `open`; RTP only.
    /// A repaired packet gets that of its original in `inspect`.
    pub ingress: [u32; BURST_MAX],
    /// What an SSRC that is not bound yet carries by its header, from `lookup`.
    pub role: [Role; BURST_MAX],
    /// The source is not the session's path: it spends its budget until a tag holds.
    pub unknown_source: [bool; BURST_MAX],
    /// Extended index, from `admit`; RTP only.
    pub index: [u64; BURST_MAX],
    /// Bytes of the header with CSRCs and extension, from `classify`; RTP only.
    pub header_len: [u16; BURST_MAX],
    /// Where the opened payload begins, from `classify`; RTP only. A repaired packet's begins later.
    pub payload_at: [u16; BURST_MAX],
    /// Bytes of the opened payload with its padding, from `open`; RTP only.
    pub payload_len: [u16; BURST_MAX],
    /// The transport-wide sequence number of an authentic packet, whatever becomes of it, from
    /// `inspect`.
    pub transport_seq: [Option<u16>; BURST_MAX],
    /// What it is to somebody who waits for a picture, from `inspect`.
    pub start: [Start; BURST_MAX],
    /// A retransmission that took its original's place, from `inspect`.
    pub is_repair: [bool; BURST_MAX],
}

impl Work {
    /// For a burst of `len` packets.
    pub fn new(len: usize) -> Self {
        Work {
            len,
            kind: [Kind::Unknown; BURST_MAX],
            verdict: [Verdict::Next; BURST_MAX],
            session: [NONE; BURST_MAX],
            publication: [NONE; BURST_MAX],
            ingress: [NONE; BURST_MAX],
            role: [Role::default(); BURST_MAX],
            unknown_source: [false; BURST_MAX],
            index: [0; BURST_MAX],
            header_len: [0; BURST_MAX],
            payload_at: [0; BURST_MAX],
            payload_len: [0; BURST_MAX],
            transport_seq: [None; BURST_MAX],
            start: [Start::Inside; BURST_MAX],
            is_repair: [false; BURST_MAX],
        }
    }

    /// Whether packet `i` is on its way still, and of this kind.
    pub fn is(&self, i: usize, kind: Kind) -> bool {
        self.verdict[i] == Verdict::Next && self.kind[i] == kind
    }

    fn waiting(&self) -> u64 {
        self.verdict[..self.len].iter().filter(|verdict| **verdict == Verdict::Next).count() as u64
    }
}

/// Runs a stage and counts its call, its packets and, now and then, its cycles.
pub fn run<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    work: &mut Work,
    which: usize,
    stage: impl FnOnce(&mut Shard<P>, &mut I, &mut Work),
) {
    let packets = work.waiting();
    if packets == 0 {
        return;
    }
    let sample = shard.bursts.is_multiple_of(SAMPLE_EVERY);
    let start = if sample { io.cycles() } else { 0 };
    stage(shard, io, work);
    if shard.trace.is_on() {
        shard.trace.mark(which, work);
    }
    let counters = &mut shard.counters.stages[which];
    counters.calls += 1;
    counters.packets += packets;
    if sample {
        counters.sampled_cycles += io.cycles().wrapping_sub(start);
        counters.sampled_packets += packets;
    }
}

/// Counts a packet to a session, if it is known, that ended before it was sent.
#[cold]
#[inline(never)]
pub(crate) fn drop_copy(counters: &mut ShardCounters, reason: DropReason, session: u32) {
    usdt::dropped(reason as u64, u64::from(session));
    counters.egress_drops[reason as usize] += 1;
}

/// Closes the books on a burst and gives its buffers back.
pub fn account<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    work: &Work,
    rx: &mut Burst<I::Buf>,
) {
    let counters = &mut shard.counters;
    counters.rx_packets += work.len as u64;
    let packets = work.verdict[..work.len].iter().zip(&work.kind).zip(&work.session);
    for ((verdict, kind), session) in packets {
        counters.classes[*kind as usize] += 1;
        match verdict {
            Verdict::Forwarded => counters.forwarded += 1,
            Verdict::Punt => counters.punted += 1,
            Verdict::Next | Verdict::Done => counters.done += 1,
            Verdict::Drop(reason) => {
                usdt::dropped(*reason as u64, u64::from(*session));
                counters.drops[*reason as usize] += 1;
            }
        }
    }
    for datagram in rx.drain(..) {
        io.free(datagram.buf);
    }
    if shard.trace.is_on() {
        shard.trace_burst(work);
    }
}

//! Tells the next packets of one room, with what each stage decided. While no trace is on, and no
//! [capture](crate::capture), this costs one comparison per stage and burst, and one per packet and copy
//! that is sealed.
//!
//! Records are events: they wait in the queue that all events wait in, and are left out when that is half
//! full, so that a trace loses nothing but itself.

use proto::trace::{TRACE_COPIES_MAX, TRACE_PACKETS_MAX};
use proto::{DropReason, Ended, Event, Refusal, RoomNo, TraceOrder, Traced};
use srtp::Provider;
use wire::demux::Kind;

use crate::capture::Captures;
use crate::limits::EVENTS_MAX;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::stage::{Verdict, Work};
use crate::{BURST_MAX, Buf, Burst, Now};

/// A trace that is on, or off.
#[derive(Debug)]
pub struct Trace {
    /// Packets are looked at, by the trace or by a capture.
    is_on: bool,
    /// Headers that are told on their own: out of the way of a shard that tells none.
    pub(crate) captures: Box<Captures>,
    room: RoomNo,
    /// Packets to be told still; zero is off.
    left: u16,
    drops_only: bool,
    number: u32,
    skipped: u32,
    /// The packet whose copies are decided now.
    current: Option<u32>,
    copies: u8,
    /// Packets of the burst of which a copy was dropped, as a mask.
    cut: u32,
    /// Packets of the burst that are told, as a mask.
    told: u32,
    stages: [u8; BURST_MAX],
    heads: [(u16, u8, u16, u32); BURST_MAX],
}

const _: () = assert!(BURST_MAX <= 32);

impl Default for Trace {
    fn default() -> Self {
        Trace {
            is_on: false,
            captures: Box::default(),
            room: RoomNo(0),
            left: 0,
            drops_only: false,
            number: 0,
            skipped: 0,
            current: None,
            copies: 0,
            cut: 0,
            told: 0,
            stages: [0; BURST_MAX],
            heads: [(0, 0, 0, 0); BURST_MAX],
        }
    }
}

impl Trace {
    /// Whether packets are told, by the trace or by a capture.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Begins anew, and leaves captures alone.
    fn begin(&mut self, room: RoomNo, left: u16, drops_only: bool) {
        (self.room, self.left, self.drops_only) = (room, left, drops_only);
        (self.number, self.skipped, self.current, self.copies) = (0, 0, None, 0);
        (self.cut, self.told) = (0, 0);
        self.settle();
    }

    /// Writes down what [`Trace::is_on`] says, after a change.
    pub(crate) fn settle(&mut self) {
        self.is_on = self.left > 0 || self.captures.is_on();
    }

    /// Whether copies are told now.
    pub fn has_packet(&self) -> bool {
        self.current.is_some()
    }

    /// The copies of a packet are decided.
    pub fn end_packet(&mut self) {
        self.current = None;
    }

    /// Remembers at which stage packets ended.
    pub fn mark(&mut self, stage: usize, work: &Work) {
        for i in 0..work.len {
            if stage == 0 || work.verdict[i] == Verdict::Next || self.stages[i] == u8::MAX {
                let waits = work.verdict[i] == Verdict::Next;
                self.stages[i] = if waits { u8::MAX } else { stage as u8 };
            }
        }
    }
}

impl<P: Provider> Shard<P> {
    pub(crate) fn set_trace(&mut self, order: TraceOrder) -> Result<(), Refusal> {
        if order.count > TRACE_PACKETS_MAX {
            return Err(Refusal::Invalid);
        }
        let TraceOrder { room, count, drops_only } = order;
        self.trace.begin(room, count, drops_only);
        Ok(())
    }

    /// Keeps the headers of a burst: its buffers are gone when its packets are told.
    pub(crate) fn trace_heads<B: Buf>(&mut self, now: Now, rx: &Burst<B>) {
        self.trace.captures.set_now(now);
        if self.trace.captures.is_on() {
            self.trace.captures.keep(rx);
        }
        (self.trace.cut, self.trace.told) = (0, 0);
        for (i, datagram) in rx.iter().enumerate() {
            let bytes = datagram.buf.bytes();
            let word =
                |at: usize| bytes.get(at..at + 4).map_or([0; 4], |b| [b[0], b[1], b[2], b[3]]);
            let [_, kind, high, low] = word(0);
            let sequence = u16::from_be_bytes([high, low]);
            let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            self.trace.heads[i] = (len, kind & 0x7f, sequence, u32::from_be_bytes(word(8)));
        }
    }

    /// The copies of packet `i` are decided next.
    pub(crate) fn trace_copies_of(&mut self, work: &Work, i: usize) {
        if self.is_traced(work, i) && self.has_room_for_trace() {
            self.trace.told |= 1 << i;
            (self.trace.current, self.trace.copies) = (Some(i as u32), 0);
        }
    }

    /// What was decided about one copy of it.
    pub(crate) fn trace_copy(&mut self, session: u32, dropped: Option<DropReason>) {
        let Some(i) = self.trace.current else { return };
        self.trace.cut |= u32::from(dropped.is_some()) << i;
        let is_told = self.trace.copies < TRACE_COPIES_MAX;
        if is_told && (dropped.is_some() || !self.trace.drops_only) {
            self.trace.copies += 1;
            let to = self.sessions[session as usize].id;
            let dropped = dropped.map(|reason| reason as u8);
            // The packet's own number follows from its place: what is told of the burst counts up.
            self.emit(Event::Traced(Traced::Copy { number: self.trace.number + i, to, dropped }));
        }
    }

    /// Tells the packets of a burst that is over.
    pub(crate) fn trace_burst(&mut self, work: &Work) {
        if self.trace.left > 0 {
            self.trace_packets(work);
        }
        if self.trace.captures.is_on() {
            self.capture_burst(work);
        }
        self.trace.settle();
    }

    fn trace_packets(&mut self, work: &Work) {
        let first = self.trace.number;
        for i in 0..work.len {
            let is_told = self.trace.told >> i & 1 == 1;
            if self.trace.left == 0 || !(is_told || self.is_traced(work, i)) {
                continue;
            }
            let is_cut = self.trace.cut >> i & 1 == 1;
            let ended = ended(work.verdict[i]);
            if self.trace.drops_only && !is_cut && !matches!(ended, Ended::Dropped(_)) {
                continue;
            }
            if !is_told && !self.has_room_for_trace() {
                self.trace.skipped += 1;
                continue;
            }
            let number = first + i as u32;
            self.emit(Event::Traced(self.packet(work, i, number, ended)));
            self.trace.left -= 1;
        }
        self.trace.number = first + work.len as u32;
        if self.trace.left == 0 {
            let skipped = self.trace.skipped;
            self.emit(Event::Traced(Traced::Over { skipped }));
        }
    }

    fn packet(&self, work: &Work, i: usize, number: u32, ended: Ended) -> Traced {
        let (len, payload_type, sequence, ssrc) = self.trace.heads[i];
        let class = match work.kind[i] {
            Kind::Stun => 0,
            Kind::Dtls => 1,
            Kind::Rtp => 2,
            Kind::Rtcp => 3,
            Kind::Unknown => 4,
        };
        let stage = match self.trace.stages[i] {
            u8::MAX => proto::counters::STAGES.len() as u8 - 1,
            stage => stage,
        };
        let rtp = if class == 2 { (payload_type, sequence, ssrc) } else { (0, 0, 0) };
        let session = self.sessions[work.session[i] as usize].id;
        Traced::Packet { number, session, class, len, rtp, stage, ended }
    }

    fn is_traced(&self, work: &Work, i: usize) -> bool {
        let session = work.session[i];
        self.trace.left > 0
            && session != NONE
            && self.rooms[self.sessions[session as usize].room].no == self.trace.room
    }

    fn has_room_for_trace(&self) -> bool {
        self.events.len() < EVENTS_MAX / 2
    }
}

fn ended(verdict: Verdict) -> Ended {
    match verdict {
        Verdict::Next | Verdict::Done => Ended::Done,
        Verdict::Forwarded => Ended::Forwarded,
        Verdict::Punt => Ended::Punted,
        Verdict::Drop(reason) => Ended::Dropped(reason as u8),
    }
}

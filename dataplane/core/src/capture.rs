//! Tells the headers of a room's packets, or of one session's, both ways. While neither a capture nor a
//! [trace](crate::trace) is on, both together cost one comparison each time.
//!
//! A packet that came is told when its burst is over: before `lookup` nobody knows whose it is, and behind
//! `seal` its buffer is gone, so the fronts of a burst are kept meanwhile. A packet that leaves is told as
//! it is handed to the port. Records are events, and left out when the queue of events is half full.

use arrayvec::ArrayVec;
use proto::capture::{CAPTURE_PACKETS_MAX, CAPTURES_MAX, HEAD_MAX, Head, head_len};
use proto::{CaptureOrder, Captured, Event, List, Path, Refusal};
use srtp::Provider;

use crate::limits::EVENTS_MAX;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::stage::Work;
use crate::{BURST_MAX, Buf, Burst, Instant, Now};

/// Every capture that is on.
#[derive(Debug, Default)]
pub struct Captures {
    running: ArrayVec<Capture, CAPTURES_MAX>,
    /// The time of this turn.
    now: Now,
    /// The fronts of the burst that is under way.
    fronts: [Front; BURST_MAX],
}

#[derive(Debug)]
struct Capture {
    order: CaptureOrder,
    /// Packets to be told still.
    left: u32,
    skipped: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Front {
    path: Path,
    len: u16,
    bytes: List<u8, HEAD_MAX>,
}

impl Captures {
    /// Whether headers are told.
    pub fn is_on(&self) -> bool {
        !self.running.is_empty()
    }

    /// What is sent from now on is sent at this time.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Keeps the headers of a burst: its buffers change on their way, and are gone at its end.
    pub fn keep<B: Buf>(&mut self, rx: &Burst<B>) {
        for (front, datagram) in self.fronts.iter_mut().zip(rx) {
            *front = Front::of(datagram.path, datagram.buf.bytes());
        }
    }
}

impl Front {
    fn of(path: Path, datagram: &[u8]) -> Front {
        let len = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
        let head = &datagram[..head_len(datagram)];
        let bytes = List::from_slice(head).expect("no header is longer than HEAD_MAX");
        Front { path, len, bytes }
    }
}

impl<P: Provider> Shard<P> {
    pub(crate) fn set_capture(&mut self, now: Now, order: CaptureOrder) -> Result<(), Refusal> {
        if order.count > CAPTURE_PACKETS_MAX {
            return Err(Refusal::Invalid);
        }
        let running = &mut self.trace.captures.running;
        let is_meant = |capture: &&mut Capture| {
            let all = order.capture == 0 && order.count == 0;
            all || capture.order.capture == order.capture
        };
        running.iter_mut().filter(is_meant).for_each(|capture| capture.order.until_ns = 0);
        self.end_late_captures(now.mono);
        let mut done = Ok(());
        if order.count > 0 {
            let capture = Capture { order, left: order.count, skipped: 0 };
            done = self.trace.captures.running.try_push(capture).map_err(|_| Refusal::Full);
        }
        self.trace.settle();
        done
    }

    /// Tells the headers of a burst that is over.
    #[cold]
    pub(crate) fn capture_burst(&mut self, work: &Work) {
        for i in 0..work.len {
            if work.session[i] != NONE {
                self.tell_head(work.session[i], self.trace.captures.fronts[i], false);
            }
        }
        self.end_late_captures(self.trace.captures.now.mono);
        self.trace.settle();
    }

    /// Tells a packet that leaves for a session's peer.
    #[inline]
    pub(crate) fn capture_sent(&mut self, session: u32, path: Path, datagram: &[u8]) {
        if self.trace.is_on() {
            self.tell_sent(session, path, datagram);
        }
    }

    #[cold]
    fn tell_sent(&mut self, session: u32, path: Path, datagram: &[u8]) {
        if self.trace.captures.is_on() {
            self.tell_head(session, Front::of(path, datagram), true);
            self.trace.settle();
        }
    }

    fn tell_head(&mut self, index: u32, front: Front, is_sent: bool) {
        let session = &self.sessions[index as usize];
        let (session, room) = (session.id, self.rooms[session.room].no);
        let has_place = self.events.len() < EVENTS_MAX / 2;
        let unix_ns = self.trace.captures.now.unix_ns;
        let mut records = ArrayVec::<Captured, { 2 * CAPTURES_MAX }>::new();
        self.trace.captures.running.retain(|Capture { order, left, skipped }| {
            if order.room != room || order.session.is_some_and(|only| only != session) {
                return true;
            }
            if !has_place {
                *skipped = skipped.saturating_add(1);
                return true;
            }
            let (capture, Front { path, len, bytes }) = (order.capture, front);
            let head = Head { capture, session, is_sent, unix_ns, path, len, bytes };
            records.push(Captured::Packet(head));
            *left -= 1;
            if *left == 0 {
                records.push(Captured::Over { capture, skipped: *skipped });
            }
            *left > 0
        });
        records.into_iter().for_each(|record| self.emit(Event::Captured(record)));
    }

    /// Without this a capture of a quiet room would keep its place.
    fn end_late_captures(&mut self, now: Instant) {
        let mut over = ArrayVec::<Captured, CAPTURES_MAX>::new();
        self.trace.captures.running.retain(|Capture { order, skipped, .. }| {
            let is_late = now.0 >= order.until_ns;
            if is_late {
                over.push(Captured::Over { capture: order.capture, skipped: *skipped });
            }
            !is_late
        });
        over.into_iter().for_each(|record| self.emit(Event::Captured(record)));
    }
}

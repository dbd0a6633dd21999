//! Housekeeping: reports, deadlines, timeouts, and forgetting. Each turn visits its share of the
//! sessions, so that no turn is long.

use proto::{CloseReason, Event};
use srtp::Provider;

use crate::limits::{
    GRANT_GRACE, HANDSHAKE_TIME, HISTORY_WIPES, ROOM_LINGER_MIN, TICK, TICKS_PER_VISIT,
};
use crate::report::{flush_pending_pli, send_reports};
use crate::session::State;
use crate::shard::Shard;
use crate::{Instant, Io, Now};

impl<P: Provider> Shard<P> {
    /// Does what is due; call it at `next_tick` or later.
    pub fn tick<I: Io>(&mut self, now: Now, io: &mut I) {
        self.next_tick = now.mono + TICK;
        if self.trace.is_on() {
            self.trace.captures.set_now(now);
        }
        flush_pending_pli(self, now, io);
        self.send_feedback(now, io);
        self.history.wipe(HISTORY_WIPES);
        (self.counters.seal_checks, self.counters.seal_faults) = self.provider.watched();
        // Every hundredth session, another share each time: all of them once per interval.
        let phase = self.ticks % TICKS_PER_VISIT;
        self.ticks = self.ticks.wrapping_add(1);
        for index in (phase..self.sessions_high).step_by(TICKS_PER_VISIT as usize) {
            self.visit_session(now, io, index);
        }
        for index in (phase..self.rooms.capacity() as u32).step_by(TICKS_PER_VISIT as usize) {
            self.visit_room(now, index);
        }
    }

    fn visit_session<I: Io>(&mut self, now: Now, io: &mut I, index: u32) {
        let session = &mut self.sessions[index as usize];
        session.check_consent(now);
        match session.state {
            State::Free => {}
            State::Closed(_) if now.mono >= session.close_at => self.purge(index),
            State::Closed(_) => {}
            State::GrantEnded if now.mono >= session.close_at => {
                self.close(now, io, index, CloseReason::GrantExpired);
            }
            State::GrantEnded => {}
            State::Opening | State::Alive => {
                let deadline = u64::from(session.grant.deadline_s());
                let last_heard = session.heard.max(session.opened);
                if now.mono.seconds() >= deadline {
                    let ended = Instant(deadline * 1_000_000_000);
                    session.state = State::GrantEnded;
                    session.close_at = ended.max(session.opened) + GRANT_GRACE;
                    let id = session.id;
                    self.emit(Event::GrantEnded { session: id });
                } else if now.mono.since(last_heard) >= self.config.session_timeout
                    || (!session.has_keys && now.mono.since(session.opened) >= HANDSHAKE_TIME)
                {
                    self.close(now, io, index, CloseReason::TimedOut);
                } else {
                    send_reports(self, now, io, index);
                }
            }
        }
    }

    fn visit_room(&mut self, now: Now, index: u32) {
        let room = &self.rooms[index];
        let is_known = self.room_by_no.get(&room.no) == Some(index);
        if !is_known || room.session_count > 0 || room.publication_count > 0 {
            return;
        }
        let linger = self.config.room_linger.max(ROOM_LINGER_MIN);
        if now.mono.since(room.empty_since) < linger {
            return;
        }
        let (no, app) = (room.no, room.app);
        self.room_by_no.remove(&no);
        self.rooms.remove(index);
        self.apps[app].rooms -= 1;
        self.counters.rooms -= 1;
        usdt::room(no.0, 0);
        self.emit(Event::RoomEmpty { room: no });
    }
}

//! All associations, and what bounds them. A value: the time, datagrams and the rest of the process come
//! as arguments.
//!
//! A handshake costs us two signatures' worth of work and some memory before its peer has shown
//! anything but a path that ICE has validated. So unfinished ones are bounded, in all and per app. At a
//! bound the oldest gives way to the new one, for it is the least likely to be finished yet; one younger
//! than [`DTLS_HALF_OPEN_GRACE`] does not, or a flood would drive out everybody between two flights.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use dtls::{Fingerprint, Handshake, Keys, Progress, Refusal};
use proto::{SdkAppId, SessionId};

use crate::directory::DtlsPeer as Peer;
use crate::limits::{
    DTLS_DATAGRAMS_MAX, DTLS_DEADLINE, DTLS_FAILURES_MAX, DTLS_HALF_OPEN_GRACE, DTLS_HALF_OPEN_MAX,
    DTLS_HALF_OPEN_PER_APP, DTLS_MTU,
};

/// The rest of the process, as handshakes see it.
pub trait Outside {
    /// A session's peer; `None` when there is no such session, or no DTLS is expected of it.
    fn peer(&mut self, session: SessionId) -> Option<Peer>;
    /// Keys of a finished handshake; `false` when the session is gone. Comes before the
    /// [`send`](Self::send) that lets the peer use them.
    fn install(&mut self, session: SessionId, keys: &Keys) -> bool;
    /// A datagram for a session's peer.
    fn send(&mut self, session: SessionId, datagram: &[u8]);
    /// The peer has said goodbye, authenticated.
    fn left(&mut self, session: SessionId);
    /// What became of a handshake, and how long it took.
    fn ended(&mut self, app: SdkAppId, end: End, took: Duration);
}

/// What became of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Keys are installed.
    Ok,
    /// The peer is refused, or its ClientHello.
    Refused(Refusal),
    /// Not finished in time.
    Deadline,
    /// Gave way to a newer one.
    GaveWay,
    /// Never begun: all places are taken by young ones.
    Busy,
    /// Our library failed.
    Failed,
    /// The session, or what was expected of its peer, is another.
    Overtaken,
}

impl End {
    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            End::Ok => "ok",
            End::Refused(refusal) => match refusal {
                Refusal::Certificate => "certificate",
                Refusal::NoCertificate => "no_certificate",
                Refusal::NoProfile => "no_profile",
                Refusal::NoExtendedMasterSecret => "no_extended_master_secret",
                Refusal::Version => "version",
                Refusal::NoCommonAlgorithm => "no_common_algorithm",
                Refusal::Silent => "silent",
                Refusal::Protocol(_) => "protocol",
            },
            End::Deadline => "deadline",
            End::GaveWay => "gave_way",
            End::Busy => "busy",
            End::Failed => "failed",
            End::Overtaken => "overtaken",
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Table {
    /// Sessions that have sent a ClientHello, until they end.
    sessions: HashMap<SessionId, Entry>,
    /// Unfinished ones, the oldest first.
    half_open: VecDeque<SessionId>,
    /// How many each app has of them; no zeros.
    apps: HashMap<SdkAppId, usize>,
}

struct Entry {
    association: Option<Association>,
    ice_generation: u16,
    failures: u32,
}

struct Association {
    handshake: Handshake,
    app: SdkAppId,
    expected: Vec<Fingerprint>,
    since: Instant,
    datagrams: u32,
    is_done: bool,
}

impl Table {
    /// Unfinished handshakes.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Sessions it knows of.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes a datagram of a session's peer. One that no handshake can begin with, of a session without
    /// one, is dropped.
    pub fn receive(
        &mut self,
        now: Instant,
        session: SessionId,
        datagram: &[u8],
        outside: &mut impl Outside,
    ) {
        if is_client_hello(datagram) && !self.prepare(now, session, outside) {
            return;
        }
        let Some(association) = self.association(session) else { return };
        if !association.is_done {
            association.datagrams += 1;
            if association.datagrams > DTLS_DATAGRAMS_MAX {
                return;
            }
        }
        let progress = association.handshake.receive(datagram);
        self.settle(now, session, progress, outside);
    }

    /// Repeats what is due and gives up what takes too long. Wanted every
    /// [`DTLS_TICK`](crate::limits::DTLS_TICK) while there are unfinished handshakes.
    pub fn tick(&mut self, now: Instant, outside: &mut impl Outside) {
        while let Some(session) = self.half_open.front().copied() {
            let since = self.association(session).map(|association| association.since);
            if since.is_some_and(|since| now.duration_since(since) < DTLS_DEADLINE) {
                break;
            }
            self.give_up(now, session, End::Deadline, outside);
        }
        let unfinished: Vec<_> = self.half_open.iter().copied().collect();
        for session in unfinished {
            if let Some(association) = self.association(session) {
                let progress = association.handshake.on_timeout();
                self.settle(now, session, progress, outside);
            }
        }
    }

    /// A session has ended: its peer hears it at once, and not by the silence of checks.
    pub fn forget(&mut self, now: Instant, session: SessionId, outside: &mut impl Outside) {
        if let Some(association) = self.association(session).filter(|one| one.is_done) {
            association.handshake.close();
            self.transmit(session, outside);
        }
        self.give_up(now, session, End::Overtaken, outside);
        self.sessions.remove(&session);
    }

    fn association(&mut self, session: SessionId) -> Option<&mut Association> {
        self.sessions.get_mut(&session)?.association.as_mut()
    }

    /// Whether there is an association that a ClientHello may go to. Made if need be; one whose peer
    /// was another (RFC 8842 section 5.5) makes place. A ClientHello never ends the association of the
    /// same peer.
    fn prepare(&mut self, now: Instant, session: SessionId, outside: &mut impl Outside) -> bool {
        let Some(peer) = outside.peer(session) else {
            self.forget(now, session, outside);
            return false;
        };
        let generation = peer.ice_generation;
        let entry = self.sessions.entry(session).or_insert_with(|| Entry {
            association: None,
            ice_generation: generation,
            failures: 0,
        });
        if entry.ice_generation != generation {
            entry.ice_generation = generation;
            entry.failures = 0;
        }
        match &entry.association {
            Some(association) if association.expected == peer.fingerprints => return true,
            Some(_) => self.give_up(now, session, End::Overtaken, outside),
            None if entry.failures >= DTLS_FAILURES_MAX => return false,
            None => {}
        }
        self.begin(now, session, peer, outside)
    }

    fn begin(
        &mut self,
        now: Instant,
        session: SessionId,
        peer: Peer,
        outside: &mut impl Outside,
    ) -> bool {
        if !self.make_room(now, peer.app, outside) {
            outside.ended(peer.app, End::Busy, Duration::ZERO);
            return false;
        }
        let Ok(handshake) = Handshake::server(&peer.identity, &peer.fingerprints, DTLS_MTU) else {
            outside.ended(peer.app, End::Failed, Duration::ZERO);
            return false;
        };
        let Some(entry) = self.sessions.get_mut(&session) else { return false };
        let app = peer.app;
        entry.association = Some(Association {
            handshake,
            app,
            expected: peer.fingerprints,
            since: now,
            datagrams: 0,
            is_done: false,
        });
        self.half_open.push_back(session);
        *self.apps.entry(app).or_default() += 1;
        true
    }

    /// Whether one more of this app may begin, see the module.
    fn make_room(&mut self, now: Instant, app: SdkAppId, outside: &mut impl Outside) -> bool {
        let own = self.apps.get(&app).copied().unwrap_or(0);
        let from = if own >= DTLS_HALF_OPEN_PER_APP {
            app
        } else if self.half_open.len() >= DTLS_HALF_OPEN_MAX {
            let most = self.apps.iter().max_by_key(|(app, count)| (**count, app.0));
            most.map_or(app, |(app, _)| *app)
        } else {
            return true;
        };
        let of_app = |session: &&SessionId| {
            let entry = self.sessions.get(session);
            entry.and_then(|entry| entry.association.as_ref()).is_some_and(|one| one.app == from)
        };
        let Some(oldest) = self.half_open.iter().find(of_app).copied() else { return false };
        let since = self.association(oldest).map_or(now, |association| association.since);
        if now.duration_since(since) < DTLS_HALF_OPEN_GRACE {
            return false;
        }
        self.give_up(now, oldest, End::GaveWay, outside);
        true
    }

    /// What follows from what came of a datagram.
    fn settle(
        &mut self,
        now: Instant,
        session: SessionId,
        progress: Result<Progress, Refusal>,
        outside: &mut impl Outside,
    ) {
        match progress {
            Ok(Progress::InProgress) => self.transmit(session, outside),
            Ok(Progress::Done(keys)) => {
                if !outside.install(session, &keys) {
                    return self.forget(now, session, outside);
                }
                self.transmit(session, outside);
                self.finish(now, session, outside);
            }
            Ok(Progress::Closed) => {
                self.transmit(session, outside);
                self.forget(now, session, outside);
                outside.left(session);
            }
            Err(refusal) => {
                // An alert may be there to be sent.
                self.transmit(session, outside);
                self.give_up(now, session, End::Refused(refusal), outside);
            }
        }
    }

    fn transmit(&mut self, session: SessionId, outside: &mut impl Outside) {
        let Some(association) = self.association(session) else { return };
        while let Some(datagram) = association.handshake.poll_transmit() {
            outside.send(session, &datagram);
        }
    }

    fn finish(&mut self, now: Instant, session: SessionId, outside: &mut impl Outside) {
        let Some(association) = self.association(session) else { return };
        association.is_done = true;
        let (app, since) = (association.app, association.since);
        self.leave_half_open(session, app);
        outside.ended(app, End::Ok, now.duration_since(since));
    }

    /// Drops a session's association; what has failed by its peer's fault is counted.
    fn give_up(&mut self, now: Instant, session: SessionId, end: End, outside: &mut impl Outside) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        let Some(association) = entry.association.take() else { return };
        // A refused ClientHello that the handshake survives was anybody's: no fault of the peer.
        let is_fault = match end {
            End::Refused(_) => association.handshake.is_over(),
            End::Deadline => true,
            _ => false,
        };
        entry.failures += u32::from(is_fault);
        if association.is_done {
            return;
        }
        self.leave_half_open(session, association.app);
        outside.ended(association.app, end, now.duration_since(association.since));
    }

    fn leave_half_open(&mut self, session: SessionId, app: SdkAppId) {
        self.half_open.retain(|known| *known != session);
        if let Some(count) = self.apps.get_mut(&app) {
            *count -= 1;
            if *count == 0 {
                self.apps.remove(&app);
            }
        }
    }
}

/// Whether a datagram begins with a ClientHello, or a fragment of one (RFC 6347 section 4.2.2): a
/// handshake record of epoch 0, its message of type 1.
fn is_client_hello(datagram: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    matches!(datagram, [HANDSHAKE, 0xfe, _, 0, 0, _, _, _, _, _, _, _, _, CLIENT_HELLO, ..])
}

#[cfg(test)]
mod tests;

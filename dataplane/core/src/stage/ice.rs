//! ICE: answers connectivity checks (RFC 8445 7.3), learns paths from them, and hands DTLS to the control
//! plane. Everything unauthenticated meets silence.
//!
//! A check from an unknown address costs one short MAC, over the ufrag token in its user name; only a
//! token of ours names a session, whose password then authenticates. A check from a validated path needs
//! no MAC of the token, since it is known whose it must be. Behind MESSAGE-INTEGRITY, and only there, a
//! path is learned and a nomination believed.
//!
//! Reads: STUN and DTLS. Sets: paths, nomination, consent, life of the session; sends the answers.
//! Verdicts: `done`, punt, `bad_stun`, `no_session`, `unknown_ufrag`, `source_budget`, `failure_budget`,
//! `auth_failed`, `stun_limit`, `stun_replay`, `path_taken`, `no_mbuf`, `malformed`, `oversize`,
//! `punt_limit`, `punt_full`.

use proto::{DropReason, Event, MediaKind, Path, SessionId, punt, ufrag};
use srtp::Provider;
use wire::dtls::Record;
use wire::stun::{Class, METHOD_BINDING, Message, Role, Stun};
use wire::stun_write::{self, ErrorRepr};

use super::lookup::{SOURCE_RATE, source_budget};
use super::{Kind, Verdict, Work, dscp};
use crate::ice::Agent;
use crate::limits::{CHECK_ANSWERS, CHECK_FAILURES, CONSENT, PUNTS};
use crate::policer::Rate;
use crate::session::State;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Datagram, Io, Now};

const ANSWER_RATE: Rate = Rate::new(CHECK_ANSWERS.0 as u64, CHECK_ANSWERS.1 as u64);
const FAILURE_RATE: Rate = Rate::new(CHECK_FAILURES.0 as u64, CHECK_FAILURES.1 as u64);
const PUNT_RATE: Rate = Rate::new(PUNTS.0 as u64, PUNTS.1 as u64);

/// Longest answer, in bytes: an error that names every unknown attribute stays far below.
const ANSWER_MAX: usize = 256;

/// Answers the checks of the burst and punts its DTLS.
#[inline(never)]
pub fn ice<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &Burst<I::Buf>,
) {
    for (i, datagram) in rx.iter().enumerate() {
        if work.verdict[i] != Verdict::Next {
            continue;
        }
        let (session, path, bytes) = (work.session[i], datagram.path, datagram.buf.bytes());
        let result = match work.kind[i] {
            Kind::Stun => on_stun(shard, now, io, session, path, bytes),
            Kind::Dtls => on_dtls(shard, now, io, session, path, bytes),
            _ => continue,
        };
        work.verdict[i] = result.unwrap_or_else(Verdict::Drop);
    }
}

/// Hands a handshake datagram of a validated path on.
fn on_dtls<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    index: u32,
    path: Path,
    bytes: &[u8],
) -> Result<Verdict, DropReason> {
    let id = shard.sessions[index as usize].id;
    let agent = shard.agents[index as usize].as_mut().ok_or(DropReason::NotServed)?;
    Record::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
    if bytes.len() > punt::DATAGRAM_MAX {
        return Err(DropReason::Oversize);
    }
    if !agent.punts.has(now.mono, PUNT_RATE) {
        return Err(DropReason::PuntLimit);
    }
    if !io.punt(id, bytes) {
        return Err(DropReason::PuntFull);
    }
    agent.punts.take(now.mono, PUNT_RATE, 1);
    agent.punt_path = path;
    Ok(Verdict::Punt)
}

/// One STUN message; `known` is the session that has its remote end, or `NONE`.
fn on_stun<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    known: u32,
    path: Path,
    bytes: &[u8],
) -> Result<Verdict, DropReason> {
    let stun = Stun::new_checked(bytes).map_err(|_| DropReason::BadStun)?;
    match stun.class() {
        Class::Request => {}
        // A keepalive (RFC 8445 11) proves nothing and changes nothing.
        Class::Indication if stun.method() == METHOD_BINDING => {
            return if known == NONE { Err(DropReason::NoSession) } else { Ok(Verdict::Done) };
        }
        // We never ask, so nobody answers us.
        _ => return Err(DropReason::BadStun),
    }
    let message = Message::new_checked(bytes).map_err(|_| DropReason::BadStun)?;
    let check = authenticate(shard, now, known, path, &message)?;
    let agent = shard.agents[check.session as usize].as_mut().ok_or(DropReason::UnknownUfrag)?;
    if !agent.is_valid(path) && agent.was_seen(message.transaction_id()) {
        // Overheard and sent again: that is nothing that the peer's own budget should pay for.
        let budget = source_budget(shard, path.remote);
        shard.source_budgets[budget].take(now.mono, SOURCE_RATE, 1);
        return Err(DropReason::StunReplay);
    }
    if !agent.answers.has(now.mono, ANSWER_RATE) {
        return Err(DropReason::StunLimit);
    }
    agent.answers.take(now.mono, ANSWER_RATE, 1);
    if !message.unknown().is_empty() {
        let error = ErrorRepr::unknown_attributes(message.unknown());
        return answer(shard, io, &check, path, &message, Some(error));
    }
    // A lite agent is always controlled (RFC 8445 6.1.1), so the peer has to give way.
    if matches!(message.role(), Some(Role::Controlled(_))) {
        return answer(shard, io, &check, path, &message, Some(ErrorRepr::ROLE_CONFLICT));
    }
    learn(shard, now, &check, path, message.transaction_id())?;
    if message.use_candidate() {
        nominate(shard, now, io, check.session, path);
    }
    answer(shard, io, &check, path, &message, None)
}

/// A check that its MESSAGE-INTEGRITY has proven to be the peer's.
struct Check {
    session: u32,
    generation: u16,
}

/// Whose check it is, and whether it is.
fn authenticate<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    known: u32,
    path: Path,
    message: &Message<'_>,
) -> Result<Check, DropReason> {
    let (token, _) = message.ufrags().ok_or(DropReason::BadStun)?;
    let integrity = message.integrity().ok_or(DropReason::BadStun)?;
    let of_known = ufrag::claimed(token).filter(|named| known != NONE && named.slot() == known);
    let is_stranger = of_known.is_none();
    let named = of_known.or_else(|| minted_here(shard, token)).ok_or(DropReason::UnknownUfrag)?;
    let (session, generation) = (named.slot(), named.generation());
    let place = shard.sessions.get(session as usize).ok_or(DropReason::UnknownUfrag)?;
    if named.shard() != shard.config.id || !place.is_open() {
        return Err(DropReason::UnknownUfrag);
    }
    let budget = source_budget(shard, path.remote);
    if is_stranger && !shard.source_budgets[budget].has(now.mono, SOURCE_RATE) {
        return Err(DropReason::SourceBudget);
    }
    let agent = shard.agents[session as usize].as_mut().ok_or(DropReason::UnknownUfrag)?;
    if !is_stranger && !agent.failures.has(now.mono, FAILURE_RATE) {
        return Err(DropReason::FailureBudget);
    }
    let key = agent.key(generation).ok_or(DropReason::UnknownUfrag)?;
    if key.verify(&[&integrity.header, integrity.attributes], integrity.claimed) {
        return Ok(Check { session, generation });
    }
    // Whoever only pretends to be the peer spends a budget that is not the peer's: its own, or that of
    // checks, without which media keeps consent alive as well.
    match is_stranger {
        true => shard.source_budgets[budget].take(now.mono, SOURCE_RATE, 1),
        false => agent.failures.take(now.mono, FAILURE_RATE, 1),
    }
    shard.sessions[session as usize].auth_failures += 1;
    shard.counters.stun_auth_failed += 1;
    Err(DropReason::AuthFailed)
}

/// The session that a token names, if it was minted under one of the shard's keys.
fn minted_here<P: Provider>(shard: &Shard<P>, token: &[u8]) -> Option<SessionId> {
    shard.ufrag_keys.iter().flatten().find_map(|key| ufrag::verify(key, token))
}

/// Takes note of an authenticated check and of the path it came over.
fn learn<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    check: &Check,
    path: Path,
    transaction: [u8; 12],
) -> Result<(), DropReason> {
    let index = check.session;
    claim(shard, now, index, path)?;
    let Some(agent) = &mut shard.agents[index as usize] else { return Ok(()) };
    if let Some(evicted) = agent.checked(now.mono, path, check.generation, transaction)
        && !agent.has_remote(evicted.remote)
        && shard.session_by_remote.get(&evicted.remote) == Some(index)
    {
        shard.session_by_remote.remove(&evicted.remote);
    }
    heard(shard, now, index, path);
    let session = &mut shard.sessions[index as usize];
    if session.state == State::Opening {
        session.state = State::Alive;
        let session = session.id;
        shard.emit(Event::Alive { session });
    }
    Ok(())
}

/// Makes the remote end that of this session. One that another open session has is left to it until it
/// was silent for so long that nothing is sent there any more.
fn claim<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    index: u32,
    path: Path,
) -> Result<(), DropReason> {
    let remote = path.remote;
    match shard.session_by_remote.get(&remote) {
        Some(holder) if holder == index => return Ok(()),
        Some(holder) if shard.sessions[holder as usize].is_open() => {
            let session = &mut shard.sessions[holder as usize];
            let agent = shard.agents[holder as usize].as_mut();
            let is_current = session.path.remote == remote;
            let last = match &agent {
                Some(_) if is_current => session.path_heard,
                Some(agent) => agent.last_heard(remote),
                None => session.heard.max(session.opened),
            };
            if now.mono.since(last) < CONSENT {
                return Err(DropReason::PathTaken);
            }
            if is_current {
                session.path.remote = Default::default();
            }
            if let Some(agent) = agent {
                agent.forget(remote);
            }
        }
        _ => {}
    }
    match shard.session_by_remote.insert(remote, index) {
        true => Ok(()),
        false => Err(DropReason::PathTaken),
    }
}

/// Selects the path for everything that is sent from now on.
fn nominate<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    index: u32,
    path: Path,
) {
    let Some(agent) = &mut shard.agents[index as usize] else { return };
    let session = &mut shard.sessions[index as usize];
    let could_send = session.may_send().is_ok();
    let old = session.path;
    // The session knows better than the agent when the nominated path was heard last.
    agent.heard(session.path_heard, old);
    if agent.nominate(path) {
        session.path = path;
        let session = session.id;
        shard.emit(Event::PathMoved { session, path });
    }
    heard(shard, now, index, path);
    if !could_send {
        crate::transport::wake_slots(shard, now, io, index);
    }
}

/// An authentic packet came over a path: its session lives, and the path may be sent to.
pub(super) fn heard<P: Provider>(shard: &mut Shard<P>, now: Now, index: u32, path: Path) {
    let session = &mut shard.sessions[index as usize];
    session.heard = now.mono;
    if session.path == path {
        session.path_heard = now.mono;
        session.has_consent = true;
    } else if let Some(agent) = &mut shard.agents[index as usize] {
        agent.heard(now.mono, path);
    }
}

/// Sends the answer to an authenticated check back the way it came: success, or an error.
fn answer<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    check: &Check,
    path: Path,
    message: &Message<'_>,
    error: Option<ErrorRepr<'_>>,
) -> Result<Verdict, DropReason> {
    let agent: Option<&Agent> = shard.agents[check.session as usize].as_ref();
    // A nomination may just have ended the generation of a check that came over an older path's number.
    let key = agent.and_then(|agent| agent.key(check.generation));
    let key = key.ok_or(DropReason::UnknownUfrag)?;
    let mut buf = io.alloc().ok_or(DropReason::NoMbuf)?;
    let written = buf.append(ANSWER_MAX).and_then(|out| {
        let id = message.transaction_id();
        let sign = |parts: &[&[u8]]| key.sign(parts);
        let written = match error {
            Some(error) => error.emit(out, id, sign),
            None => stun_write::success(out, id, path.remote.socket_addr(), sign),
        };
        written.ok()
    });
    let Some(len) = written else {
        io.free(buf);
        return Err(DropReason::NoMbuf);
    };
    buf.truncate(len);
    shard.counters.stun_answered += 1;
    shard.capture_sent(check.session, path, buf.bytes());
    io.send(Datagram { path, dscp: dscp(MediaKind::Audio), buf });
    Ok(Verdict::Done)
}

//! Lookup: whose packet it is. By the remote endpoint; for an endpoint that no session has, by an SSRC
//! that exactly one open session declared, within a budget per source. In a session that learns SSRCs,
//! the header of an unknown one tells its stream (`demux`).
//!
//! STUN and DTLS are looked up by the remote endpoint alone; the next stage goes on with them.
//!
//! Reads: addresses and SSRC. Sets: `session`, `publication`, `ingress`, `role`, `unknown_source`.
//! Verdicts: `no_session`, `unknown_ssrc`, `revoked`, `source_budget`, `not_served`.

use std::hash::{Hash, Hasher};

use proto::DropReason;
use siphasher::sip::SipHasher13;
use srtp::Provider;

use super::demux::demux;
use super::{Kind, Verdict, Work};
use crate::limits::{CONSENT, SOURCE_ATTEMPTS, SOURCE_BUCKETS};
use crate::policer::Rate;
use crate::session::State;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Endpoint, Now};

pub(super) const SOURCE_RATE: Rate = Rate::new(SOURCE_ATTEMPTS.0 as u64, SOURCE_ATTEMPTS.1 as u64);

/// Finds session and publication of each packet.
#[inline(never)]
pub fn lookup<P: Provider, B: Buf>(shard: &mut Shard<P>, now: Now, work: &mut Work, rx: &Burst<B>) {
    for (i, datagram) in rx.iter().enumerate() {
        if work.verdict[i] != Verdict::Next {
            continue;
        }
        let remote = datagram.path.remote;
        let by_path = shard.session_by_remote.get(&remote);
        let verdict = match work.kind[i] {
            Kind::Rtp | Kind::Rtcp => {
                let at = if work.kind[i] == Kind::Rtp { 8 } else { 4 };
                let bytes = datagram.buf.bytes();
                let ssrc = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("classified"));
                by_ssrc(shard, now, work, i, by_path, (ssrc, bytes), remote)
            }
            Kind::Stun => by_check(shard, now, work, i, by_path),
            _ => by_handshake(shard, work, i, by_path),
        };
        work.verdict[i] = verdict;
    }
}

fn by_ssrc<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    work: &mut Work,
    i: usize,
    by_path: Option<u32>,
    (ssrc, bytes): (u32, &[u8]),
    remote: Endpoint,
) -> Verdict {
    if let Some(session) = by_path {
        work.session[i] = session;
        let session = &shard.sessions[session as usize];
        if matches!(session.state, State::Closed(_)) {
            return Verdict::Drop(DropReason::Revoked);
        }
        // A subscriber's RTCP comes under an SSRC that nobody declared; its key will tell.
        if work.kind[i] == Kind::Rtcp {
            return Verdict::Next;
        }
        if let Some(ingress) = session.stream(ssrc) {
            work.ingress[i] = ingress;
            work.publication[i] = shard.ingress[ingress].publication;
            return Verdict::Next;
        }
        if session.learns {
            return match demux(shard, session, bytes) {
                Some((publication, role)) => {
                    (work.publication[i], work.role[i]) = (publication, role);
                    Verdict::Next
                }
                None => Verdict::Drop(DropReason::UnknownSsrc),
            };
        }
    }
    match declared_by(shard, ssrc) {
        Declarer::One(ingress) => {
            let budget = source_budget(shard, remote);
            if !shard.source_budgets[budget].has(now.mono, SOURCE_RATE) {
                return Verdict::Drop(DropReason::SourceBudget);
            }
            shard.source_budgets[budget].take(now.mono, SOURCE_RATE, 1);
            work.ingress[i] = ingress;
            work.publication[i] = shard.ingress[ingress].publication;
            work.session[i] = shard.ingress[ingress].session;
            work.unknown_source[i] = true;
            Verdict::Next
        }
        Declarer::Closed => Verdict::Drop(DropReason::Revoked),
        Declarer::NoneOrMany if by_path.is_some() => Verdict::Drop(DropReason::UnknownSsrc),
        Declarer::NoneOrMany => Verdict::Drop(DropReason::NoSession),
    }
}

/// A connectivity check goes on even from an unknown address: its user name says whose it is. One from
/// the address of a peer without ICE ends here, unless that peer has long been silent.
fn by_check<P: Provider>(
    shard: &Shard<P>,
    now: Now,
    work: &mut Work,
    i: usize,
    by_path: Option<u32>,
) -> Verdict {
    let Some(index) = by_path else { return Verdict::Next };
    let session = &shard.sessions[index as usize];
    if !session.is_open() {
        return Verdict::Next;
    }
    if session.has_ice {
        work.session[i] = index;
        return Verdict::Next;
    }
    match now.mono.since(session.heard.max(session.opened)) < CONSENT {
        true => Verdict::Drop(DropReason::NotServed),
        false => Verdict::Next,
    }
}

/// DTLS is taken from validated paths only: whoever races the peer with a ClientHello of its own comes from
/// somewhere else.
fn by_handshake<P: Provider>(
    shard: &Shard<P>,
    work: &mut Work,
    i: usize,
    by_path: Option<u32>,
) -> Verdict {
    let Some(index) = by_path else { return Verdict::Drop(DropReason::NoSession) };
    let session = &shard.sessions[index as usize];
    work.session[i] = index;
    match session.state {
        State::Closed(_) => Verdict::Drop(DropReason::Revoked),
        _ if session.has_ice => Verdict::Next,
        _ => Verdict::Drop(DropReason::NotServed),
    }
}

enum Declarer {
    One(u32),
    Closed,
    NoneOrMany,
}

/// Who declared an SSRC on this shard. Two open sessions with one SSRC leave it undecided: trying keys
/// in turn would let one app spend another's cycles.
fn declared_by<P: Provider>(shard: &Shard<P>, ssrc: u32) -> Declarer {
    let mut found = Declarer::NoneOrMany;
    let mut next = shard.ingress_by_ssrc.get(&ssrc).unwrap_or(NONE);
    while next != NONE {
        let stream = &shard.ingress[next];
        found = match found {
            _ if !shard.publications[stream.publication].live => match found {
                Declarer::One(_) => found,
                _ => Declarer::Closed,
            },
            Declarer::One(_) => return Declarer::NoneOrMany,
            _ => Declarer::One(next),
        };
        next = stream.next_same_ssrc;
    }
    found
}

/// The budget of a source, by a keyed hash of its address: an attacker cannot choose whom to share with.
pub(super) fn source_budget<P: Provider>(shard: &Shard<P>, remote: Endpoint) -> usize {
    let mut hasher = SipHasher13::new_with_keys(shard.source_key.0, shard.source_key.1);
    remote.ip.hash(&mut hasher);
    hasher.finish() as usize % SOURCE_BUCKETS
}

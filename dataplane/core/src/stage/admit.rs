//! Admit: what may be opened, cheapest check first. Nothing changes here but the books of budgets.
//!
//! Reads: session, room epoch, grant word, replay window, budgets. Sets: `index`. Verdicts: `no_keys`,
//! `revoked`, `grant_expired`, `no_right`, `foreign_app`, `foreign_room`, `replay`, `too_old`,
//! `failure_budget`, `app_packets`, `app_bytes`.

use proto::{DropReason, GrantRefusal};
use srtp::{PacketIndex, Provider, Replay, RocState};

use super::{Kind, Verdict, Work};
use crate::limits::{FAILURE_AHEAD, SESSION_FAILURES};
use crate::policer::Rate;
use crate::session::Session;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Now};

pub(super) const FAILURE_RATE: Rate =
    Rate::new(SESSION_FAILURES.0 as u64, SESSION_FAILURES.1 as u64);

/// Decides for each packet whether its tag is worth checking.
#[inline(never)]
pub fn admit<P: Provider, B: Buf>(shard: &mut Shard<P>, now: Now, work: &mut Work, rx: &Burst<B>) {
    for (i, datagram) in rx.iter().enumerate() {
        if work.verdict[i] != Verdict::Next {
            continue;
        }
        if let Err(reason) = admit_one(shard, now, work, i, datagram.buf.bytes()) {
            work.verdict[i] = Verdict::Drop(reason);
        }
    }
}

fn admit_one<P: Provider>(
    shard: &Shard<P>,
    now: Now,
    work: &mut Work,
    i: usize,
    bytes: &[u8],
) -> Result<(), DropReason> {
    let session = &shard.sessions[work.session[i] as usize];
    if !session.has_keys {
        return Err(DropReason::NoKeys);
    }
    let room = &shard.rooms[session.room];
    if room.app != session.app {
        return Err(DropReason::ForeignApp);
    }
    let is_rtp = work.kind[i] == Kind::Rtp;
    let publication = is_rtp.then(|| &shard.publications[work.publication[i]]);
    // The right to send this kind waits for `open`: indices go on while it is missing.
    session.grant.check(now.mono.seconds(), room.epoch, 0).map_err(refusal)?;
    if let Some(publication) = publication {
        if publication.room != session.room {
            return Err(DropReason::ForeignRoom);
        }
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        let (index, is_near) = guess(shard, session, work.ingress[i], seq)?;
        within_failure_budget(session, now, is_near)?;
        work.index[i] = index.value();
    } else {
        within_failure_budget(session, now, false)?;
    }
    let app = &shard.apps[session.app];
    if !app.packets.has(now.mono, app.packet_rate()) {
        return Err(DropReason::AppPackets);
    }
    if !app.bytes.has(now.mono, app.byte_rate()) {
        return Err(DropReason::AppBytes);
    }
    Ok(())
}

/// The index that a packet most likely has, if it may be opened, and whether it is near the last
/// authentic one. Nothing is near in a stream that has none.
fn guess<P: Provider>(
    shard: &Shard<P>,
    session: &Session,
    ingress: u32,
    seq: u16,
) -> Result<(PacketIndex, bool), DropReason> {
    if ingress == NONE {
        return Ok((RocState::new().estimate_after(session.unbound_failures, seq), false));
    }
    let stream = &shard.ingress[ingress];
    let index = stream.window.roc().estimate_after(stream.first_failures, seq);
    stream.window.check(index).map_err(replay)?;
    let is_near = |highest: PacketIndex| index.value() <= highest.value() + FAILURE_AHEAD;
    Ok((index, stream.window.highest().is_some_and(is_near)))
}

/// A session over its budget still opens packets near its last authentic index, so that whoever forges
/// cannot lock the owner out.
fn within_failure_budget(session: &Session, now: Now, is_near: bool) -> Result<(), DropReason> {
    if is_near || session.failures.has(now.mono, FAILURE_RATE) {
        Ok(())
    } else {
        Err(DropReason::FailureBudget)
    }
}

pub(super) fn refusal(refusal: GrantRefusal) -> DropReason {
    match refusal {
        GrantRefusal::Expired => DropReason::GrantExpired,
        GrantRefusal::Revoked => DropReason::Revoked,
        GrantRefusal::NoRight => DropReason::NoRight,
    }
}

pub(super) fn replay(replay: Replay) -> DropReason {
    match replay {
        Replay::Seen => DropReason::Replay,
        Replay::TooOld => DropReason::TooOld,
    }
}

//! Open: check each tag and decrypt in place, all of a burst in one call; then commit. Only behind this
//! line may a packet change any state but drop counters and budgets.
//!
//! Reads: key contexts. Sets: `payload_len`, and the session's and stream's state. Verdicts:
//! `auth_failed`, `malformed`, `replay`, `too_old`, `unknown_ssrc`.

use arrayvec::ArrayVec;
use proto::{DropReason, Event, Path};
use srtp::{OpenError, OpenJob, PacketIndex, Provider};

use super::admit::{FAILURE_RATE, replay};
use super::lookup::{SOURCE_RATE, source_budget};
use super::{Kind, Verdict, Work};
use crate::limits::PATH_SILENCE;
use crate::session::State;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{BURST_MAX, Buf, Burst, Instant, Io, Now};

/// Opens the RTP packets of the burst; RTCP is opened where it is read, in `feedback`.
#[inline(never)]
pub fn open<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &mut Burst<I::Buf>,
) {
    let mut results = [Err(OpenError::Pending); BURST_MAX];
    {
        let mut jobs = ArrayVec::<OpenJob<'_, P::Key>, BURST_MAX>::new();
        let mut places = ArrayVec::<usize, BURST_MAX>::new();
        for (i, datagram) in rx.iter_mut().enumerate() {
            if !work.is(i, Kind::Rtp) {
                continue;
            }
            let Some(keys) = &shard.inbound[work.session[i] as usize] else { continue };
            let Some(index) = PacketIndex::new(work.index[i]) else { continue };
            let header_len = usize::from(work.header_len[i]);
            let bytes = datagram.buf.bytes_mut();
            let ssrc = word_at(bytes, 8);
            jobs.push(OpenJob::new(keys, ssrc, index, header_len, bytes));
            places.push(i);
        }
        open_jobs(&shard.provider, &mut jobs);
        for (job, i) in jobs.iter().zip(places) {
            results[i] = job.result;
        }
    }
    for (i, datagram) in rx.iter_mut().enumerate() {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        let bytes = datagram.buf.bytes();
        let (timestamp, ssrc) = (word_at(bytes, 4), word_at(bytes, 8));
        let received = bytes.len();
        match results[i] {
            Ok(len) => match commit(shard, now, io, work, i, (ssrc, timestamp), len) {
                Ok(()) => {
                    shard.counters.rx_bytes += received as u64;
                    work.payload_len[i] = len as u16;
                    datagram.buf.truncate(usize::from(work.header_len[i]) + len);
                    authentic(shard, now, work, i, datagram.path, received);
                }
                Err(reason) => work.verdict[i] = Verdict::Drop(reason),
            },
            Err(error) => {
                failed(shard, now, work, i);
                work.verdict[i] = Verdict::Drop(open_error(error));
            }
        }
    }
}

/// The cipher's turn, between two probes. Out of line, so that their arguments cost no register of the loops around.
#[inline(never)]
fn open_jobs<P: Provider>(provider: &P, jobs: &mut [OpenJob<'_, P::Key>]) {
    usdt::open(jobs.len() as u64);
    provider.open_many(jobs);
    usdt::opened(jobs.len() as u64);
}

pub(super) fn open_error(error: OpenError) -> DropReason {
    match error {
        OpenError::TooShort | OpenError::NotEncrypted => DropReason::Malformed,
        OpenError::BadTag | OpenError::Pending => DropReason::AuthFailed,
    }
}

/// What a forged packet leaves behind: counters and a spent budget.
pub(super) fn failed<P: Provider>(shard: &mut Shard<P>, now: Now, work: &Work, i: usize) {
    let session = &mut shard.sessions[work.session[i] as usize];
    session.auth_failures += 1;
    session.failures.take(now.mono, FAILURE_RATE, 1);
    if work.kind[i] == Kind::Rtp {
        let failures = match work.ingress[i] {
            NONE => &mut session.unbound_failures,
            ingress => &mut shard.ingress[ingress].first_failures,
        };
        *failures = failures.wrapping_add(1);
    }
}

/// Binds the SSRC if it is new, then replay commit, ledger and statistics of the stream.
fn commit<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    i: usize,
    (ssrc, timestamp): (u32, u32),
    payload_len: usize,
) -> Result<(), DropReason> {
    let (session, publication) = (work.session[i], work.publication[i]);
    if work.ingress[i] == NONE {
        // An earlier packet of the same burst may have bound it.
        work.ingress[i] = shard.bind(io, session, publication, ssrc, work.role[i])?;
        work.publication[i] = shard.ingress[work.ingress[i]].publication;
    }
    let index = PacketIndex::new(work.index[i]).ok_or(DropReason::KeyExhausted)?;
    let spec = &shard.publications[work.publication[i]].spec;
    let (clock_rate, bit) = (spec.clock_rate, spec.kind.send_bit());
    let may_send = shard.sessions[session as usize].grant.privileges().has(bit);
    let taken = match may_send {
        true => shard.accept(now, io, work.ingress[i], index),
        // Nobody gets it, so nothing is asked for again; its index counts, or the rollover counter would be
        // lost over a long refusal.
        false => shard.commit_index(io, work.ingress[i], index),
    };
    taken.map_err(replay)?;
    let stream = &mut shard.ingress[work.ingress[i]];
    stream.reception.on_packet(now, index.value(), timestamp, clock_rate);
    stream.rhythm.on_packet(now.mono, payload_len);
    if may_send { Ok(()) } else { Err(DropReason::NoRight) }
}

/// Four bytes of a header that `classify` has measured.
fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What an authentic packet changes in its session: life, path, counters, quota.
pub(super) fn authentic<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    work: &Work,
    i: usize,
    path: Path,
    received: usize,
) {
    let index = work.session[i];
    if work.unknown_source[i] {
        let budget = source_budget(shard, path.remote);
        shard.source_budgets[budget].refund(SOURCE_RATE, 1);
    }
    let session = &mut shard.sessions[index as usize];
    session.rx_packets += 1;
    session.rx_bytes += received as u64;
    shard.rooms[session.room].rx_packets += 1;
    let app = &mut shard.apps[session.app];
    let (packets, bytes) = (app.packet_rate(), app.byte_rate());
    app.packets.take(now.mono, packets, 1);
    app.bytes.take(now.mono, bytes, received as u64);
    if session.state == State::Opening {
        session.state = State::Alive;
        let id = session.id;
        shard.emit(Event::Alive { session: id });
    }
    settle_path(shard, now, index, path);
}

/// Keeps the path alive, or moves it when the old one has been silent long enough. With ICE only checks
/// move paths.
fn settle_path<P: Provider>(shard: &mut Shard<P>, now: Now, index: u32, path: Path) {
    let session = &mut shard.sessions[index as usize];
    if session.has_ice {
        super::ice::heard(shard, now, index, path);
        return;
    }
    if session.path.remote == path.remote {
        session.path.local = path.local;
        session.heard = now.mono;
        return;
    }
    let was_heard = session.heard != Instant(0);
    if was_heard && now.mono.since(session.heard) < PATH_SILENCE {
        return;
    }
    if shard.session_by_remote.get(&path.remote).is_some_and(|other| other != index) {
        return;
    }
    let (old, id) = (session.path.remote, session.id);
    if !shard.session_by_remote.insert(path.remote, index) {
        return;
    }
    session.path = path;
    session.heard = now.mono;
    if shard.session_by_remote.get(&old) == Some(index) {
        shard.session_by_remote.remove(&old);
    }
    if was_heard {
        shard.emit(Event::PathMoved { session: id, path });
    }
}

//! Open: check each tag and decrypt in place, all of a burst in one call; then commit. Only behind this
//! line may a packet change any state but drop counters and budgets.
//!
//! Reads: key contexts. Sets: `payload_len`, and the session's and publication's state. Verdicts:
//! `auth_failed`, `malformed`, `replay`, `too_old`.

use arrayvec::ArrayVec;
use proto::region::ledger;
use proto::{DropReason, Event, Path};
use srtp::{OpenError, OpenJob, PacketIndex, Provider};

use super::admit::{FAILURE_RATE, replay};
use super::lookup::{SOURCE_RATE, source_budget};
use super::{Kind, Verdict, Work};
use crate::limits::PATH_SILENCE;
use crate::session::State;
use crate::shard::Shard;
use crate::{BURST_MAX, Buf, Burst, Instant, Io, Now};

/// Opens the RTP packets of the burst; RTCP is opened where it is read, in `feedback`.
pub fn open<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &mut Burst<I::Buf>,
) {
    let mut results = [Err(OpenError::Pending); BURST_MAX];
    {
        let mut jobs = ArrayVec::<OpenJob<'_, P>, BURST_MAX>::new();
        let mut places = ArrayVec::<usize, BURST_MAX>::new();
        for (i, datagram) in rx.iter_mut().enumerate() {
            if !work.is(i, Kind::Rtp) {
                continue;
            }
            let Some(keys) = &shard.keys[work.session[i] as usize] else { continue };
            let Some(index) = PacketIndex::new(work.index[i]) else { continue };
            let ssrc = shard.publications[work.publication[i]].spec.ssrc;
            let header_len = usize::from(work.header_len[i]);
            let bytes = datagram.buf.bytes_mut();
            jobs.push(OpenJob::new(&keys.inbound, ssrc, index, header_len, bytes));
            places.push(i);
        }
        shard.provider.open_many(&mut jobs);
        for (job, i) in jobs.iter().zip(places) {
            results[i] = job.result;
        }
    }
    for (i, datagram) in rx.iter_mut().enumerate() {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        let bytes = datagram.buf.bytes();
        let timestamp = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let received = bytes.len();
        match results[i] {
            Ok(len) => match commit(shard, now, io, work, i, timestamp, received) {
                Ok(()) => {
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
        let publication = &mut shard.publications[work.publication[i]];
        publication.first_failures = publication.first_failures.wrapping_add(1);
    }
}

/// Replay commit, statistics and ledger of one stream.
fn commit<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &Work,
    i: usize,
    timestamp: u32,
    received: usize,
) -> Result<(), DropReason> {
    let publication = &mut shard.publications[work.publication[i]];
    let index = PacketIndex::new(work.index[i]).ok_or(DropReason::KeyExhausted)?;
    publication.window.commit(index).map_err(replay)?;
    let clock_rate = publication.spec.clock_rate;
    publication.reception.on_packet(now, index.value(), timestamp, clock_rate);
    shard.counters.rx_bytes += received as u64;
    // Written for every new highest, not now and then: a store costs next to nothing, and a restarted
    // shard then lets nothing through twice.
    if publication.window.highest() == Some(index) {
        let word = ledger::INGRESS + 2 * usize::from(publication.position) + 1;
        io.ledger_store(work.session[i], word, index.value() + 1);
    }
    Ok(())
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

/// Keeps the path alive, or moves it when the old one has been silent long enough.
fn settle_path<P: Provider>(shard: &mut Shard<P>, now: Now, index: u32, path: Path) {
    let session = &mut shard.sessions[index as usize];
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

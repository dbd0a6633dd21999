//! Feedback: RTCP is opened, read and ends here; nothing of it is forwarded.
//!
//! Reads: SRTCP packets. Sets: report state, keyframe requests, replay state. Verdicts: `done`,
//! `auth_failed`, `malformed`, `replay`, `too_old`, `unknown_ssrc`, `bad_packet`.

use proto::DropReason;
use proto::region::ledger;
use srtp::{Provider, RtcpIndex, peek_rtcp};
use wire::rtcp::{Compound, Packet, ReportBlock, Rules, SenderReport};

use super::admit::replay;
use super::open::{authentic, failed, open_error};
use super::retransmit::on_nack;
use super::{Kind, Verdict, Work};
use crate::limits::SESSION_PLIS;
use crate::policer::Rate;
use crate::report::{request_keyframe, send_rtcp};
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Io, Now};

const PLI_RATE: Rate = Rate::new(SESSION_PLIS.0 as u64, SESSION_PLIS.1 as u64);

/// Packets of one compound that are looked at; what comes behind is ignored.
const PACKETS_MAX: usize = 32;

/// Handles the RTCP packets of the burst.
#[inline(never)]
pub fn feedback<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &mut Burst<I::Buf>,
) {
    for (i, datagram) in rx.iter_mut().enumerate() {
        if !work.is(i, Kind::Rtcp) {
            continue;
        }
        let received = datagram.buf.bytes().len();
        let opened = open_one(shard, now, io, work, i, datagram.buf.bytes_mut());
        work.verdict[i] = match opened {
            Ok(len) => {
                authentic(shard, now, work, i, datagram.path, received);
                shard.counters.rtcp_rx += 1;
                read(shard, now, io, work.session[i], &datagram.buf.bytes()[..len])
            }
            Err(reason) => Verdict::Drop(reason),
        };
    }
}

/// Replay check, open, replay commit; returns the length of the compound.
fn open_one<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &Work,
    i: usize,
    bytes: &mut [u8],
) -> Result<usize, DropReason> {
    let at = work.session[i];
    let session = &shard.sessions[at as usize];
    let peek = peek_rtcp(crate::commands::profile(session.profile), bytes).map_err(open_error)?;
    let source = session.rtcp_source(peek.ssrc).ok_or(DropReason::UnknownSsrc)?;
    session.rtcp_windows[source].check(peek.index).map_err(replay)?;
    let keys = shard.inbound[at as usize].as_ref().ok_or(DropReason::NoSession)?;
    let opened = shard.provider.open_rtcp(keys, bytes);
    let (len, index) = opened.map_err(|error| {
        failed(shard, now, work, i);
        open_error(error)
    })?;
    let session = &mut shard.sessions[at as usize];
    session.rtcp_sources[source] = peek.ssrc;
    let window = &mut session.rtcp_windows[source];
    window.commit(index).map_err(replay)?;
    let highest = window.highest().map_or(0, RtcpIndex::value);
    let word = u64::from(peek.ssrc) << 32 | u64::from(highest + 1);
    io.ledger_store(at, ledger::RTCP_INGRESS + source, word);
    Ok(len)
}

/// What each packet of an authentic compound means to us.
fn read<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    session: u32,
    bytes: &[u8],
) -> Verdict {
    let Ok(compound) = Compound::new_checked(bytes, Rules::ReducedSize) else {
        return Verdict::Drop(DropReason::BadPacket);
    };
    let mut clock = None;
    for packet in compound.packets().take(PACKETS_MAX) {
        match packet {
            Packet::SenderReport(report) => {
                on_sender_report(shard, now, session, &report);
                on_reception(shard, now, session, report.blocks());
            }
            Packet::ReceiverReport(report) => {
                on_reception(shard, now, session, report.blocks());
            }
            Packet::Nack(nack) => on_nack(shard, now, io, session, &nack),
            Packet::Pli(pli) => on_picture_loss(shard, now, io, session, pli.media_ssrc()),
            Packet::Fir(fir) => {
                for (ssrc, _) in fir.entries() {
                    on_picture_loss(shard, now, io, session, ssrc);
                }
            }
            Packet::ExtendedReport(report) => {
                clock = report.reference_time().map(|ntp| (report.ssrc(), ntp)).or(clock);
            }
            // A BYE proves nothing that DELETE or the session timeout would not say better.
            _ => {}
        }
    }
    if let Some((ssrc, ntp)) = clock {
        on_reference_time(shard, io, session, ssrc, ntp);
    }
    Verdict::Done
}

/// Puts the publisher's report on the node's clock: one offset per resource, held from its first report,
/// so that its streams stay in step and switching moves nothing.
fn on_sender_report<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    session: u32,
    report: &SenderReport<'_>,
) {
    let Some(ingress) = shard.sessions[session as usize].stream(report.ssrc()) else { return };
    let info = report.info();
    let offset =
        clock_offset(shard, session).unwrap_or_else(|| now.ntp().wrapping_sub(info.ntp) as i64);
    shard.sessions[session as usize].clock_offset = Some(offset);
    let stream = &mut shard.ingress[ingress];
    stream.report = (info.ntp.wrapping_add_signed(offset), info.rtp_timestamp);
    stream.report_echo = ((info.ntp >> 16) as u32, now.mono);
    let publication = &mut shard.publications[stream.publication];
    if publication.active == ingress {
        publication.report = stream.report;
    }
}

/// The offset that this session, or another of the same resource, holds already. Sessions of one
/// resource are neighbours in the room, since they are opened one after the other.
fn clock_offset<P: Provider>(shard: &Shard<P>, session: u32) -> Option<i64> {
    let mut found = shard.sessions[session as usize].clock_offset;
    crate::membership::for_each_of_resource(shard, session, |other| {
        found = found.or(shard.sessions[other as usize].clock_offset);
    });
    found
}

/// What a session says of the slots that it receives; what it says of anything else is ignored.
fn on_reception<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    session: u32,
    blocks: impl Iterator<Item = ReportBlock>,
) {
    for block in blocks {
        let is_it = |slot: &&u32| shard.slots[**slot].ssrc == block.ssrc;
        let slot = shard.sessions[session as usize].slots.iter().find(is_it).copied();
        let Some(slot) = slot else { continue };
        let reported = &mut shard.slots[slot].reported;
        reported.fraction_lost = block.fraction_lost;
        reported.jitter = block.jitter;
        if let Some(rtt_us) = round_trip_us(now, block.last_sr, block.delay_since_last_sr) {
            reported.rtt_us = rtt_us;
        }
    }
}

/// RFC 3550 6.4.1: now, less the delay at the receiver, less the time of our report, all in units of
/// 1/65,536 s. A negative one is a clock that was set back, one of more than ten seconds a lie.
fn round_trip_us(now: Now, last_sr: u32, delay: u32) -> Option<u32> {
    const LONGEST: u32 = 10 << 16;
    let units = ((now.ntp() >> 16) as u32).wrapping_sub(delay).wrapping_sub(last_sr);
    let is_true = last_sr != 0 && units <= LONGEST;
    is_true.then(|| ((u64::from(units) * 1_000_000) >> 16) as u32)
}

/// A subscriber tells its clock: it hears at once when we heard of it, and so learns the round trip that
/// paces its NACKs (RFC 3611 4.4, 4.5). One datagram for one, and nothing is kept.
fn on_reference_time<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    session: u32,
    ssrc: u32,
    ntp: u64,
) {
    let own_ssrc = shard.sessions[session as usize].rtcp_ssrc;
    send_rtcp(shard, io, session, |writer| {
        writer.receiver_report(own_ssrc, &[])?;
        writer.delay_since(own_ssrc, ssrc, (ntp >> 16) as u32, 0)
    });
}

/// A subscriber lost its picture: the stream that its slot shows is asked for a keyframe.
fn on_picture_loss<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    session: u32,
    media_ssrc: u32,
) {
    shard.counters.pli_rx += 1;
    let of_media = |index: &&u32| shard.slots[**index].ssrc == media_ssrc;
    let slot = shard.sessions[session as usize].slots.iter().find(of_media).copied();
    if let Some(slot) = slot {
        shard.slots[slot].plis = shard.slots[slot].plis.saturating_add(1);
    }
    let budget = &mut shard.sessions[session as usize].plis;
    if !budget.has(now.mono, PLI_RATE) {
        return;
    }
    budget.take(now.mono, PLI_RATE, 1);
    if let Some(publication) = slot.map(|slot| shard.slots[slot].publication)
        && publication != NONE
    {
        request_keyframe(shard, now, io, publication);
    }
}

//! Retransmit: what a subscriber lost is sent to it again as RTX (RFC 4588), from the history of this shard.
//! Its request never goes upstream, and never costs more than its budgets.
//!
//! Reads: mungers, the history, grant words. Sets: the slots' repair counters and their claims in the
//! ledger, budgets, the history. What a repair can die of is counted in `egress_drops`; what cannot be
//! repaired is counted as missed.

use proto::DropReason;
use proto::region::ledger;
use srtp::{Plaintext, Provider, SealJob};
use wire::rtcp::Nack;
use wire::rtp::{ExtensionBlock, Rtp, RtpRepr};
use wire::rtx::{OSN_LEN, put};

use super::admit::refusal;
use super::media::{BLOCK_MAX, Copy, Media, header};
use crate::history::{Absent, Kept};
use crate::limits::{REPAIR_PAUSE, SESSION_NACKS};
use crate::munger::Origin;
use crate::policer::Rate;
use crate::report::request_keyframe;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Datagram, Duration, Io, Now, Start};

const NACK_RATE: Rate = Rate::new(SESSION_NACKS.0 as u64, SESSION_NACKS.1 as u64);

/// Why a lost packet is not sent again.
enum Unrepaired {
    /// It was never sent, is on its way already, or may still come from the publisher.
    Moot,
    /// The history has it no more, or the budget is spent.
    Missed,
    /// The copy died.
    Dropped(DropReason),
}

/// Keeps an opened packet while somebody may ask for it again.
pub fn record<'a, P: Provider>(
    shard: &mut Shard<P>,
    publication: u32,
    source: u32,
    index: u64,
    packet: impl FnOnce() -> Kept<'a>,
) {
    let stream = &mut shard.publications[publication];
    if stream.repair_slots == 0 {
        return;
    }
    if let Some(handle) = shard.history.handle(&mut stream.history, source) {
        shard.history.record(handle, index, &packet());
    }
}

/// What is kept of an opened packet. Padding is not: RFC 4588 4 leaves it out of retransmissions.
pub fn kept<'a>(packet: &'a Rtp<&[u8]>, opened: &'a [u8]) -> Kept<'a> {
    let block = packet.extension().unwrap_or(ExtensionBlock { profile: 0, data: &[] });
    Kept {
        timestamp: packet.timestamp(),
        marker: packet.marker(),
        extension_profile: block.profile,
        extension: block.data,
        payload: without_padding(opened, packet.has_padding()),
    }
}

/// The payload without the padding behind it (RFC 3550 5.1), which `inspect` has checked.
pub fn without_padding(payload: &[u8], has_padding: bool) -> &[u8] {
    let padding =
        if has_padding { payload.last().map_or(0, |count| usize::from(*count)) } else { 0 };
    &payload[..payload.len().saturating_sub(padding)]
}

/// A subscriber lost packets of one of its slots.
pub fn on_nack<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    session: u32,
    nack: &Nack<'_>,
) {
    let ssrc = nack.media_ssrc();
    let is_it = |slot: &&u32| shard.slots[**slot].ssrc == ssrc;
    let Some(slot) = shard.sessions[session as usize].slots.iter().find(is_it).copied() else {
        return;
    };
    let mut is_broken = false;
    for sequence in nack.lost() {
        let budget = &mut shard.sessions[session as usize].nacks;
        if !budget.has(now.mono, NACK_RATE) {
            break;
        }
        budget.take(now.mono, NACK_RATE, 1);
        shard.counters.nack_rx += 1;
        shard.slots[slot].nacks = shard.slots[slot].nacks.saturating_add(1);
        match repair(shard, now, io, slot, sequence) {
            Ok(()) => {
                shard.counters.rtx_tx += 1;
                shard.slots[slot].sent_again = shard.slots[slot].sent_again.saturating_add(1);
            }
            Err(Unrepaired::Moot) => {}
            Err(Unrepaired::Missed) => {
                shard.counters.rtx_missed += 1;
                is_broken = true;
            }
            Err(Unrepaired::Dropped(reason)) => {
                super::drop_copy(&mut shard.counters, reason, session);
            }
        }
    }
    let publication = shard.slots[slot].publication;
    if is_broken && publication != NONE {
        request_keyframe(shard, now, io, publication);
    }
}

/// Sends one packet of a slot again.
fn repair<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    slot_index: u32,
    sequence: u16,
) -> Result<(), Unrepaired> {
    let slot = &shard.slots[slot_index];
    if slot.publication == NONE || slot.repair_type == 0 {
        return Err(Unrepaired::Moot);
    }
    let origin = slot.munger.origin(sequence).ok_or(Unrepaired::Moot)?;
    let pause = Duration::from_us(u64::from(slot.reported.rtt_us) / 2);
    let pause = pause.clamp(REPAIR_PAUSE.0, REPAIR_PAUSE.1);
    let stream = &shard.publications[slot.publication];
    let handle = stream.history.of(origin.source).ok_or(Unrepaired::Missed)?;
    let kept = match shard.history.packet(handle, origin.index) {
        Ok(kept) => kept,
        Err(Absent::Gap) if awaits(shard, slot.publication) => return Err(Unrepaired::Moot),
        Err(_) => return Err(Unrepaired::Missed),
    };
    let session = &mut shard.sessions[slot.session as usize];
    let epoch = shard.rooms[stream.room].epoch;
    let dropped = |reason| Err(Unrepaired::Dropped(reason));
    if let Err(why) = session.grant.check(now.mono.seconds(), epoch, stream.spec.kind.receive_bit())
    {
        return dropped(refusal(why));
    }
    if session.room != stream.room {
        return dropped(DropReason::ForeignRoom);
    }
    if let Err(reason) = session.may_send() {
        return dropped(reason);
    }
    if !shard.recent_repairs.admits(slot_index, sequence, now.mono, pause) {
        return Err(Unrepaired::Moot);
    }
    let bytes = kept.payload.len() + kept.extension.len();
    if !session.repairs.take(now.mono, session.tx_bytes, bytes as u64) {
        return Err(Unrepaired::Missed);
    }
    seal(shard, io, slot_index, handle, &origin, sequence).map_err(Unrepaired::Dropped)
}

/// Whether a packet that never came may still come: the publisher's receiver asks for it, here or on
/// the stream's home shard, and asks for a keyframe once it gives up.
fn awaits<P: Provider>(shard: &Shard<P>, publication: u32) -> bool {
    shard.publications[publication].spec.feedback.has(proto::Feedback::NACK)
}

/// Builds, seals and sends the retransmission of a packet that the history has.
fn seal<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    slot_index: u32,
    handle: u32,
    origin: &Origin,
    sequence: u16,
) -> Result<(), DropReason> {
    let mut buf = io.alloc().ok_or(DropReason::NoMbuf)?;
    let sealed = write(shard, io, slot_index, handle, origin, sequence, &mut buf);
    let len = match sealed {
        Ok(len) => len,
        Err(reason) => {
            io.free(buf);
            return Err(reason);
        }
    };
    buf.truncate(len);
    let slot = &shard.slots[slot_index];
    let stream = &shard.publications[slot.publication];
    let session = &mut shard.sessions[slot.session as usize];
    session.tx_packets += 1;
    session.tx_bytes += len as u64;
    shard.rooms[stream.room].tx_packets += 1;
    shard.counters.tx_packets += 1;
    shard.counters.tx_bytes += len as u64;
    let (path, dscp) = (session.path, super::dscp(stream.spec.kind));
    shard.capture_sent(shard.slots[slot_index].session, path, buf.bytes());
    io.send(Datagram { path, dscp, buf });
    Ok(())
}

/// Header, original sequence number, payload and tag; returns the length of the whole.
fn write<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    slot_index: u32,
    handle: u32,
    origin: &Origin,
    sequence: u16,
    buf: &mut I::Buf,
) -> Result<usize, DropReason> {
    let slot = &mut shard.slots[slot_index];
    let (session, position, publication) = (slot.session, slot.position, slot.publication);
    let (ssrc, payload_type) = (slot.rtx_ssrc, slot.repair_type);
    let word = ledger::EGRESS_RTX + usize::from(position);
    let index = slot.repairs.take(|ceiling| io.ledger_store(session, word, ceiling))?;
    let profile = crate::commands::profile(shard.sessions[session as usize].profile);
    let kept = shard.history.packet(handle, origin.index).map_err(|_| DropReason::NoMbuf)?;
    let place = (origin.index, kept.timestamp);
    let mut media =
        Media::new(shard, publication, origin.source, place, (kept.marker, false), Start::Keyframe);
    let block = ExtensionBlock { profile: kept.extension_profile, data: kept.extension };
    media.keep(block, &shard.publications[publication].spec.extensions);
    let timestamp = kept.timestamp.wrapping_add(origin.timestamp_offset);
    let copy = Copy { index, timestamp, tag_len: profile.rtp_tag_len() };
    let payload_len = OSN_LEN + kept.payload.len();
    let mut block = [0; BLOCK_MAX];
    let repr = header(&shard.slots[slot_index], &media, copy.place(), &mut block);
    let repr = RtpRepr { ssrc, payload_type, ..repr };
    let out = buf.append(repr.header_len() + payload_len + copy.tag_len);
    let out = out.ok_or(DropReason::Oversize)?;
    let header_len = repr.emit(out).map_err(|_| DropReason::Oversize)?;
    let payload = &mut out[header_len..header_len + payload_len];
    put(payload, sequence).map_err(|_| DropReason::Oversize)?;
    payload[OSN_LEN..].copy_from_slice(kept.payload);
    let keys = shard.outbound[session as usize].as_ref().ok_or(DropReason::Revoked)?;
    let plaintext = Plaintext::InPlace(payload_len);
    let out = buf.bytes_mut();
    let mut jobs = [SealJob::new(keys, ssrc, copy.index, header_len, out)];
    shard.provider.seal_many(plaintext, &mut jobs);
    jobs[0].result.map_err(|_| DropReason::Oversize)
}

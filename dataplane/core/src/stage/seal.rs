//! Seal: one copy per subscription, its header from the munger, its payload sealed straight into a new
//! buffer under the subscriber's key; the last subscription takes the received buffer itself.
//!
//! Reads: the opened packet, fan-out entries, grant words. Sets: mungers, ledger claims, send counters.
//! Verdicts: `forwarded`, `done`. What a copy can die of is counted in `egress_drops`.

use arrayvec::ArrayVec;
use proto::command::TOKEN_MAX;
use proto::region::ledger;
use proto::{DropReason, Extension, ExtensionId, MediaKind};
use srtp::{EgressIndex, Plaintext, Provider, SealJob};
use wire::rtp::{ExtensionBlock, Rtp, RtpRepr};
use wire::rtp_ext::{self, Elements};

use super::admit::refusal;
use super::retransmit::{kept, record, without_padding};
use super::{Kind, Verdict, Work, drop_copy};
use crate::fanout::Entry;
use crate::history::Kept;
use crate::layers::{ask_again, end_segments};
use crate::limits::{CLAIM, EXTENSION_BYTES_MAX, EXTENSION_ELEMENTS_MAX, SEAL_BATCH};
use crate::session::Slot;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Datagram, Io, Now, RelayPacket, Start};

/// Expedited forwarding for sound (RFC 3246), assured forwarding 41 for pictures (RFC 2597).
pub fn dscp(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Audio => 46,
        MediaKind::Video | MediaKind::Substream => 34,
    }
}

/// What every copy of a packet has in common; owned, so that the received buffer may be rewritten.
pub(super) struct Media {
    publication: u32,
    /// SSRC of the ingress stream that it belongs to.
    source: u32,
    room: u32,
    epoch: u32,
    receive_bit: u8,
    dscp: u8,
    clock_rate: u32,
    /// The publication's number, as CSRC.
    csrc: u32,
    /// What it is to somebody who waits for a picture.
    start: Start,
    index: u64,
    timestamp: u32,
    marker: bool,
    padding: bool,
    bytes: [u8; EXTENSION_BYTES_MAX],
    elements: ArrayVec<(Extension, u16, u16), EXTENSION_ELEMENTS_MAX>,
}

impl Media {
    /// Of a packet with this index, timestamp, marker and padding bit, without extensions.
    pub(super) fn new<P: Provider>(
        shard: &Shard<P>,
        publication: u32,
        source: u32,
        (index, timestamp): (u64, u32),
        (marker, padding): (bool, bool),
        start: Start,
    ) -> Media {
        let stream = &shard.publications[publication];
        Media {
            publication,
            source,
            room: stream.room,
            epoch: shard.rooms[stream.room].epoch,
            receive_bit: stream.spec.kind.receive_bit(),
            dscp: dscp(stream.spec.kind),
            clock_rate: stream.spec.clock_rate,
            csrc: stream.spec.publication.0,
            start,
            index,
            timestamp,
            marker,
            padding,
            bytes: [0; EXTENSION_BYTES_MAX],
            elements: ArrayVec::new(),
        }
    }

    /// Keeps the end-to-end elements that the publisher negotiated.
    pub(super) fn keep(&mut self, block: ExtensionBlock<'_>, negotiated: &[ExtensionId]) {
        let mut used = 0;
        for element in Elements::new(block).flatten() {
            let Some(known) = negotiated.iter().find(|known| known.id == element.id) else {
                continue;
            };
            let end = used + element.data.len();
            if known.extension.is_hop_by_hop() || end > EXTENSION_BYTES_MAX {
                continue;
            }
            let place = (known.extension, used as u16, end as u16);
            if self.elements.try_push(place).is_err() {
                return;
            }
            self.bytes[used..end].copy_from_slice(element.data);
            used = end;
        }
    }

    /// The elements that a subscriber negotiated, under its own ids, and its mid.
    fn block<'a>(&self, slot: &Slot, out: &'a mut [u8]) -> Option<ExtensionBlock<'a>> {
        let negotiated = &slot.extensions;
        let wanted = self.elements.iter().filter_map(|(extension, from, to)| {
            let known = negotiated.iter().find(|known| known.extension == *extension)?;
            Some((known.id, &self.bytes[usize::from(*from)..usize::from(*to)]))
        });
        rtp_ext::write(out, wanted.chain(slot.mid_element())).ok().flatten()
    }
}

/// One subscription's copy, decided but not written yet.
pub(super) struct Copy {
    pub entry: Entry,
    pub index: EgressIndex,
    pub timestamp: u32,
    pub tag_len: usize,
}

/// Copies with their headers written, waiting for one call to the provider: parallel arrays with one place
/// per copy.
struct Batch<B> {
    to: ArrayVec<Entry, SEAL_BATCH>,
    headers: ArrayVec<Header, SEAL_BATCH>,
    bufs: ArrayVec<B, SEAL_BATCH>,
}

/// What the provider is told of a header that stands in a buffer.
struct Header {
    ssrc: u32,
    len: u32,
    index: EgressIndex,
}

/// Forwards the opened RTP packets of the burst, in order, and gives all its buffers away.
#[inline(never)]
pub fn seal<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &mut Burst<I::Buf>,
) {
    for (i, datagram) in rx.drain(..).enumerate() {
        if !work.is(i, Kind::Rtp) {
            io.free(datagram.buf);
            continue;
        }
        if shard.trace.is_on() {
            shard.trace_copies_of(work, i);
        }
        let sent = seal_local(shard, now, io, work, i, datagram.buf);
        shard.trace.end_packet();
        work.verdict[i] = if sent { Verdict::Forwarded } else { Verdict::Done };
    }
}

/// One packet of this shard: copies for all subscribers but one, the buffer itself for that one.
fn seal_local<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &Work,
    i: usize,
    buf: I::Buf,
) -> bool {
    let publication = work.publication[i];
    let payload_at = usize::from(work.payload_at[i]);
    let payload = payload_at..payload_at + usize::from(work.payload_len[i]);
    let Ok(packet) = Rtp::new_sealed(buf.bytes()) else {
        io.free(buf);
        return false;
    };
    let place = (work.index[i], packet.timestamp());
    let bits = (packet.marker(), packet.has_padding());
    // A retransmission has another one in its header.
    let ssrc = shard.ingress[work.ingress[i]].ssrc;
    let mut media = Media::new(shard, publication, ssrc, place, bits, work.start[i]);
    if let Some(block) = packet.extension() {
        media.keep(block, &shard.publications[publication].spec.extensions);
    }
    let payload = &buf.bytes()[payload];
    let relayed = relay(shard, io, &media, packet.extension(), payload);
    record(shard, publication, ssrc, media.index, || kept(&packet, payload));
    let (mut sent, held) = seal_copies(shard, now, io, &media, payload, true);
    match held {
        Some(copy) => sent += seal_in_place(shard, io, &media, copy, buf, payload_at),
        None => io.free(buf),
    }
    sent > 0 || relayed
}

/// A packet that another shard opened: a copy for each subscriber of this one.
pub fn seal_relayed<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    packet: &RelayPacket<'_>,
) {
    let Some(publication) = shard.publication_by_no.get(&packet.publication) else { return };
    let stream = &mut shard.publications[publication];
    if stream.home.is_none() || !stream.live {
        return;
    }
    stream.report = packet.report;
    if stream.relayed_ssrc.replace(packet.ssrc).is_some_and(|before| before != packet.ssrc) {
        end_segments(shard, publication);
    }
    let place = (packet.index, packet.timestamp);
    let bits = (packet.marker, packet.padding);
    let mut media = Media::new(shard, publication, packet.ssrc, place, bits, packet.start);
    let stream = &shard.publications[publication];
    let block = ExtensionBlock { profile: packet.extension_profile, data: packet.extension };
    media.keep(block, &stream.spec.extensions);
    record(shard, publication, media.source, media.index, || Kept {
        timestamp: packet.timestamp,
        marker: packet.marker,
        extension_profile: packet.extension_profile,
        extension: packet.extension,
        payload: without_padding(packet.payload, packet.padding),
    });
    seal_copies(shard, now, io, &media, packet.payload, false);
}

/// Copies to other shards with subscribers; true when one was taken.
fn relay<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    media: &Media,
    block: Option<ExtensionBlock<'_>>,
    payload: &[u8],
) -> bool {
    let publication = &shard.publications[media.publication];
    let mut waiting = publication.relays;
    let mut taken = false;
    while waiting != 0 {
        let to = waiting.trailing_zeros();
        waiting &= waiting - 1;
        let copy = RelayPacket {
            publication: publication.spec.publication,
            ssrc: media.source,
            start: media.start,
            index: media.index,
            timestamp: media.timestamp,
            marker: media.marker,
            padding: media.padding,
            extension_profile: block.map_or(0, |block| block.profile),
            extension: block.map_or(&[], |block| block.data),
            payload,
            report: publication.report,
        };
        if io.relay(proto::ShardId(to as u8), &copy) {
            shard.counters.relay_tx += 1;
            taken = true;
        } else {
            drop_copy(&mut shard.counters, DropReason::RelayFull, NONE);
        }
    }
    taken
}

/// Seals a copy for each subscription; with `keep_last` that of the last one on the list is left to the caller,
/// who has a buffer for it. Returns how many were sent.
///
/// Subscriptions are taken by the batch: what the whole batch will touch is asked for before the first of
/// them is decided.
fn seal_copies<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    media: &Media,
    payload: &[u8],
    keep_last: bool,
) -> (usize, Option<Copy>) {
    let mut batch = Batch { to: ArrayVec::new(), headers: ArrayVec::new(), bufs: ArrayVec::new() };
    let mut entries = ArrayVec::<Entry, SEAL_BATCH>::new();
    let mut held = None;
    let (mut sent, mut waits) = (0, false);
    let is_traced = shard.trace.has_packet();
    let list = shard.publications[media.publication].fanout;
    let mut left = list.len();
    let mut cursor = shard.fanouts.start(&list);
    loop {
        entries.clear();
        shard.fanouts.take(&mut cursor, &mut entries);
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            touch(shard, io, entry);
        }
        for entry in &entries {
            left -= 1;
            let decided = decide(shard, now, io, media, *entry);
            if is_traced {
                shard.trace_copy(entry.session, decided.as_ref().err().copied());
            }
            let reason = match decided {
                Ok(copy) if keep_last && left == 0 => {
                    held = Some(copy);
                    continue;
                }
                Ok(copy) => prepare(shard, io, media, payload.len(), copy, &mut batch).err(),
                Err(reason) => Some(reason),
            };
            if let Some(reason) = reason {
                drop_copy(&mut shard.counters, reason, entry.session);
                waits |= reason == DropReason::AwaitingKeyframe;
            }
        }
        if !batch.to.is_empty() {
            sent += seal_batch(shard, io, media, payload, &mut batch);
        }
    }
    if waits {
        ask_again(shard, now, io, media.publication);
    }
    (sent, held)
}

/// Asks for what a copy for this subscription touches first of its session, slot and key.
#[inline]
fn touch<P: Provider, I: Io>(shard: &Shard<P>, io: &I, entry: &Entry) {
    let (session, slot) = (&shard.sessions[entry.session as usize], &shard.slots[entry.slot]);
    io.prefetch(session);
    io.prefetch(&session.tx_packets);
    io.prefetch(slot);
    io.prefetch(&slot.tx_packets);
    io.prefetch(&shard.outbound[entry.session as usize]);
}

/// Checks one subscription's rights and gives the packet its place in the subscriber's stream.
fn decide<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    media: &Media,
    entry: Entry,
) -> Result<Copy, DropReason> {
    entry.grant.check(now.mono.seconds(), media.epoch, media.receive_bit).map_err(refusal)?;
    let session = &shard.sessions[entry.session as usize];
    if session.room != media.room {
        return Err(DropReason::ForeignRoom);
    }
    session.may_send()?;
    let tag_len = crate::commands::profile(session.profile).rtp_tag_len();
    let slot = &mut shard.slots[entry.slot];
    if slot.munger.is_running() && slot.munger.leaps(media.index) {
        slot.end_segment();
    }
    let starts = !slot.munger.is_running();
    if starts && !slot.gate.admits(now.mono, media.start) {
        return Err(DropReason::AwaitingKeyframe);
    }
    let place = slot.munger.place(now.mono, media.index, media.timestamp, media.clock_rate)?;
    let index = place.index.index().value();
    if starts {
        slot.munger.set_source(media.source);
    }
    if index >= slot.ceiling || starts {
        slot.ceiling = slot.ceiling.max(index + CLAIM);
        let word = ledger::EGRESS + 2 * usize::from(slot.position);
        let (offset, last) = slot.munger.timestamps();
        io.ledger_store(entry.session, word, slot.ceiling);
        io.ledger_store(entry.session, word + 1, u64::from(offset) << 32 | u64::from(last));
    }
    Ok(Copy { entry, index: place.index, timestamp: place.timestamp, tag_len })
}

/// Room for an extension block: every kept byte, a head for each element, a mid, padding.
const BLOCK_MAX: usize = EXTENSION_BYTES_MAX + 2 * EXTENSION_ELEMENTS_MAX + (2 + TOKEN_MAX) + 4;

/// Calls `write` with the copy's header, ready to be emitted.
pub(super) fn with_header<P: Provider, T>(
    shard: &Shard<P>,
    media: &Media,
    copy: &Copy,
    write: impl FnOnce(&RtpRepr<'_>) -> T,
) -> T {
    let slot = &shard.slots[copy.entry.slot];
    let csrcs = [media.csrc];
    let mut repr = RtpRepr {
        padding: media.padding,
        marker: media.marker,
        payload_type: slot.payload_type,
        sequence: copy.index.index().seq(),
        timestamp: copy.timestamp,
        ssrc: slot.ssrc,
        csrcs: &csrcs,
        extension: None,
    };
    if !slot.extends {
        return write(&repr);
    }
    if media.elements.is_empty() {
        if !slot.mid_block.is_empty() {
            let profile = rtp_ext::PROFILE_ONE_BYTE;
            repr.extension = Some(ExtensionBlock { profile, data: &slot.mid_block });
        }
        return write(&repr);
    }
    let mut block = [0; BLOCK_MAX];
    repr.extension = media.block(slot, &mut block);
    write(&repr)
}

/// Takes a buffer for a copy and writes its header.
fn prepare<P: Provider, I: Io>(
    shard: &Shard<P>,
    io: &mut I,
    media: &Media,
    payload_len: usize,
    copy: Copy,
    batch: &mut Batch<I::Buf>,
) -> Result<(), DropReason> {
    let mut buf = io.alloc().ok_or(DropReason::NoMbuf)?;
    let header_len = with_header(shard, media, &copy, |repr| {
        let out = buf.append(repr.header_len() + payload_len + copy.tag_len)?;
        repr.emit(out).ok()
    });
    let Some(header_len) = header_len else {
        io.free(buf);
        return Err(DropReason::Oversize);
    };
    let ssrc = shard.slots[copy.entry.slot].ssrc;
    batch.to.push(copy.entry);
    batch.headers.push(Header { ssrc, len: header_len as u32, index: copy.index });
    batch.bufs.push(buf);
    Ok(())
}

/// The cipher's turn, between two probes. Out of line, so that their arguments cost no register of the loops around.
#[inline(never)]
fn seal_jobs<P: Provider>(provider: &P, jobs: &mut [SealJob<'_, P::Key>], payload_len: usize) {
    usdt::seal(jobs.len() as u64, payload_len as u64);
    provider.seal_many(jobs);
    usdt::sealed(jobs.len() as u64, payload_len as u64);
}

/// Seals a batch of copies in one call to the provider and sends them; returns how many.
fn seal_batch<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    media: &Media,
    payload: &[u8],
    batch: &mut Batch<I::Buf>,
) -> usize {
    // Zero: not sealed.
    let mut lens = ArrayVec::<usize, SEAL_BATCH>::new();
    {
        let mut jobs = ArrayVec::<SealJob<'_, P::Key>, SEAL_BATCH>::new();
        let ready = batch.headers.drain(..).zip(batch.bufs.iter_mut()).zip(&batch.to);
        for ((header, buf), entry) in ready {
            let Header { ssrc, len, index } = header;
            let keys = shard.outbound[entry.session as usize].as_ref();
            let keys = keys.expect("a session that may send has keys");
            let plaintext = Plaintext::Shared(payload);
            let out = buf.bytes_mut();
            jobs.push(SealJob::new(keys, ssrc, index, len as usize, plaintext, out));
        }
        seal_jobs(&shard.provider, &mut jobs, payload.len());
        lens.extend(jobs.iter().map(|job| job.result.unwrap_or(0)));
    }
    // Once for all of them: the loop below is too hot for a call that is never made.
    if shard.trace.is_on() {
        for ((entry, buf), len) in batch.to.iter().zip(&batch.bufs).zip(&lens) {
            capture(shard, entry, &buf.bytes()[..*len]);
        }
    }
    let (mut sent, mut bytes) = (0, 0);
    for ((entry, mut buf), len) in batch.to.drain(..).zip(batch.bufs.drain(..)).zip(lens) {
        if len == 0 {
            io.free(buf);
            continue;
        }
        buf.truncate(len);
        bytes += send(shard, io, media, entry, payload.len(), buf);
        sent += 1;
    }
    count(shard, media, sent, bytes);
    sent
}

/// Seals the last copy in the received buffer: nothing is allocated and the payload does not move.
fn seal_in_place<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    media: &Media,
    copy: Copy,
    mut buf: I::Buf,
    payload_at: usize,
) -> usize {
    let entry = copy.entry;
    buf.advance(payload_at);
    let payload_len = buf.bytes().len();
    let header_len = with_header(shard, media, &copy, |repr| {
        buf.append(copy.tag_len)?;
        let len = repr.header_len();
        buf.prepend(len)?;
        repr.emit(buf.bytes_mut()).ok()
    });
    let Some(header_len) = header_len else {
        drop_copy(&mut shard.counters, DropReason::Oversize, entry.session);
        io.free(buf);
        return 0;
    };
    let len = {
        let Some(keys) = &shard.outbound[entry.session as usize] else { return 0 };
        let ssrc = shard.slots[entry.slot].ssrc;
        let plaintext = Plaintext::InPlace(payload_len);
        let out = buf.bytes_mut();
        let mut jobs = [SealJob::new(keys, ssrc, copy.index, header_len, plaintext, out)];
        seal_jobs(&shard.provider, &mut jobs, payload_len);
        jobs[0].result
    };
    match len {
        Ok(len) => {
            buf.truncate(len);
            if shard.trace.is_on() {
                capture(shard, &entry, buf.bytes());
            }
            let bytes = send(shard, io, media, entry, payload_len, buf);
            count(shard, media, 1, bytes);
            1
        }
        Err(_) => {
            io.free(buf);
            0
        }
    }
}

/// Tells the header of a sealed copy; of none where it is empty.
#[cold]
fn capture<P: Provider>(shard: &mut Shard<P>, entry: &Entry, copy: &[u8]) {
    if !copy.is_empty() {
        let path = shard.sessions[entry.session as usize].path;
        shard.capture_sent(entry.session, path, copy);
    }
}

/// Hands a sealed copy to the port and counts it for its session and slot. Returns its bytes.
fn send<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    media: &Media,
    entry: Entry,
    payload_len: usize,
    buf: I::Buf,
) -> u64 {
    let bytes = buf.bytes().len() as u64;
    let session = &mut shard.sessions[entry.session as usize];
    session.tx_packets += 1;
    session.tx_bytes += bytes;
    let slot = &mut shard.slots[entry.slot];
    slot.tx_packets = slot.tx_packets.wrapping_add(1);
    slot.tx_octets = slot.tx_octets.wrapping_add(payload_len as u32);
    io.send(Datagram { path: session.path, dscp: media.dscp, buf });
    bytes
}

/// Counts sent copies for the room and the shard.
fn count<P: Provider>(shard: &mut Shard<P>, media: &Media, packets: usize, bytes: u64) {
    shard.rooms[media.room].tx_packets += packets as u64;
    shard.counters.tx_packets += packets as u64;
    shard.counters.tx_bytes += bytes;
}

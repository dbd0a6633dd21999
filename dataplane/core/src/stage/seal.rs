//! Seal: one copy per subscription, its header from the munger, its payload sealed straight into a new
//! buffer under the subscriber's key; the last subscription takes the received buffer itself.
//!
//! Reads: the opened packet, fan-out entries, grant words. Sets: mungers, ledger claims, send counters.
//! Verdicts: `forwarded`, `done`. What a copy can die of is counted in `egress_drops`.

use arrayvec::ArrayVec;
use proto::region::ledger;
use proto::{DropReason, MediaKind};
use srtp::{Plaintext, Provider, SealJob};
use wire::rtp::{ExtensionBlock, Rtp};

use super::admit::refusal;
use super::media::{BLOCK_MAX, Copy, Media, begin, header};
use super::retransmit::{kept, record, without_padding};
use super::{Kind, Verdict, Work, drop_copy};
use crate::fanout::Entry;
use crate::history::Kept;
use crate::layers::{ask_again, end_segments};
use crate::limits::{CLAIM, SEAL_BATCH};
use crate::session::{Session, Slot};
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Buf, Burst, Datagram, Io, Now, RelayPacket};

/// Expedited forwarding for sound (RFC 3246), assured forwarding 41 for pictures (RFC 2597).
pub fn dscp(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Audio => 46,
        MediaKind::Video | MediaKind::Substream => 34,
    }
}

/// What became of copies.
#[derive(Default)]
struct Sent {
    packets: usize,
    bytes: u64,
    /// Somebody waits for a picture to begin with.
    waits: bool,
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
        Some((entry, copy)) => {
            sent += seal_in_place(shard, io, &media, entry, copy, buf, payload_at);
        }
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
) -> (usize, Option<(Entry, Copy)>) {
    let mut entries = ArrayVec::<Entry, SEAL_BATCH>::new();
    let (mut sent, mut held) = (Sent::default(), None);
    let list = shard.publications[media.publication].fanout;
    let mut left = list.len() as usize;
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
        left -= entries.len();
        let last = if keep_last && left == 0 { entries.pop() } else { None };
        seal_batch(shard, now, io, media, payload, &mut entries, &mut sent);
        if let Some(entry) = last {
            let session = &shard.sessions[entry.session as usize];
            let decided = decide(session, &mut shard.slots[entry.slot], now, io, media, entry);
            let dropped = decided.as_ref().err().copied();
            if shard.trace.has_packet() {
                shard.trace_copy(entry.session, dropped);
            }
            if let Some(reason) = dropped {
                refuse(shard, entry, reason, &mut sent);
            }
            held = decided.ok().map(|copy| (entry, copy));
        }
    }
    count(shard, media, sent.packets, sent.bytes);
    if sent.waits {
        ask_again(shard, now, io, media.publication);
    }
    (sent.packets, held)
}

/// Counts a copy that is not made.
#[cold]
fn refuse<P: Provider>(shard: &mut Shard<P>, entry: Entry, reason: DropReason, sent: &mut Sent) {
    drop_copy(&mut shard.counters, reason, entry.session);
    sent.waits |= reason == DropReason::AwaitingKeyframe;
}

/// Asks for what a copy for this subscription touches first of its session, slot and key.
#[inline]
fn touch<P: Provider, I: Io>(shard: &Shard<P>, io: &I, entry: &Entry) {
    let (session, slot) = (&shard.sessions[entry.session as usize], &shard.slots[entry.slot]);
    io.prefetch(session);
    io.prefetch(slot);
    io.prefetch(&slot.tx_packets);
    io.prefetch(&shard.outbound[entry.session as usize]);
}

/// Checks one subscription's rights and gives the packet its place in the subscriber's stream.
#[inline(always)]
fn decide<I: Io>(
    session: &Session,
    slot: &mut Slot,
    now: Now,
    io: &mut I,
    media: &Media,
    entry: Entry,
) -> Result<Copy, DropReason> {
    entry.grant.check(now.mono.seconds(), media.epoch, media.receive_bit).map_err(refusal)?;
    if session.room != media.room {
        return Err(DropReason::ForeignRoom);
    }
    session.may_send()?;
    let tag_len = crate::commands::profile(session.profile).rtp_tag_len();
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
    Ok(Copy { index: place.index, timestamp: place.timestamp, tag_len })
}

/// The cipher's turn, between two probes. Out of line, so that their arguments cost no register of the loops around.
#[inline(never)]
fn seal_jobs<P: Provider>(
    provider: &P,
    plaintext: Plaintext<'_>,
    jobs: &mut [SealJob<'_, P::Key>],
) {
    if jobs.is_empty() {
        return;
    }
    usdt::seal(jobs.len() as u64, plaintext.len() as u64);
    provider.seal_many(plaintext, jobs);
    usdt::sealed(jobs.len() as u64, plaintext.len() as u64);
}

/// Seals a batch of copies in one call to the provider and sends them.
///
/// A copy is decided, its header written and its job made in one go, while what is known of it is at hand.
/// `entries` keeps those that are made, in the order of the buffers that are not empty then.
fn seal_batch<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    media: &Media,
    payload: &[u8],
    entries: &mut ArrayVec<Entry, SEAL_BATCH>,
    sent: &mut Sent,
) {
    let traced = shard.trace.is_on().then(|| entries.clone());
    let mut bufs = ArrayVec::<I::Buf, SEAL_BATCH>::new();
    for _ in 0..entries.len() {
        let Some(buf) = io.alloc() else { break };
        bufs.push(buf);
    }
    let mut refused = ArrayVec::<(Entry, DropReason), SEAL_BATCH>::new();
    let mut jobs = ArrayVec::<SealJob<'_, P::Key>, SEAL_BATCH>::new();
    let mut unused = bufs.iter_mut();
    for at in 0..entries.len() {
        let entry = entries[at];
        let session = &shard.sessions[entry.session as usize];
        let slot = &mut shard.slots[entry.slot];
        let copy = match decide(session, slot, now, io, media, entry) {
            Ok(copy) => copy,
            Err(reason) => {
                refused.push((entry, reason));
                continue;
            }
        };
        let Some(buf) = unused.next() else {
            refused.push((entry, DropReason::NoMbuf));
            continue;
        };
        let behind = payload.len() + copy.tag_len;
        let Some((header_len, out)) = begin(slot, media, copy.place(), behind, buf) else {
            refused.push((entry, DropReason::Oversize));
            continue;
        };
        let keys = shard.outbound[entry.session as usize].as_ref();
        let keys = keys.expect("a session that may send has keys");
        entries[jobs.len()] = entry;
        jobs.push(SealJob::new(keys, slot.ssrc, copy.index, header_len, out));
    }
    entries.truncate(jobs.len());
    seal_jobs(&shard.provider, Plaintext::Shared(payload), &mut jobs);
    let are_sealed = jobs.iter().all(|job| job.result.is_ok());
    drop(jobs);
    if !are_sealed {
        // The cipher was found wrong: the provider keeps the books of that.
        entries.clear();
    }
    if let Some(all) = traced {
        tell(shard, &all, &refused, entries, &bufs);
    }
    for (entry, reason) in refused.drain(..) {
        refuse(shard, entry, reason, sent);
    }
    sent.packets += entries.len();
    let (mut made, mut bytes) = (entries.drain(..), 0);
    for buf in bufs.drain(..) {
        let entry = if buf.bytes().is_empty() { None } else { made.next() };
        match entry {
            Some(entry) => bytes += send(shard, io, media, entry, payload.len(), buf),
            None => io.free(buf),
        }
    }
    sent.bytes += bytes;
}

/// Traces the copies of a batch and captures those that are made.
#[cold]
fn tell<P: Provider, B: Buf>(
    shard: &mut Shard<P>,
    all: &[Entry],
    refused: &[(Entry, DropReason)],
    made: &[Entry],
    bufs: &[B],
) {
    for entry in all {
        let same = |other: &&(Entry, DropReason)| other.0.slot == entry.slot;
        shard.trace_copy(entry.session, refused.iter().find(same).map(|(_, reason)| *reason));
    }
    let packets = bufs.iter().filter(|buf| !buf.bytes().is_empty());
    for (entry, buf) in made.iter().zip(packets) {
        capture(shard, entry.session, buf.bytes());
    }
}

/// Seals the last copy in the received buffer: nothing is allocated and the payload does not move.
fn seal_in_place<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    media: &Media,
    entry: Entry,
    copy: Copy,
    mut buf: I::Buf,
    payload_at: usize,
) -> usize {
    buf.advance(payload_at);
    let payload_len = buf.bytes().len();
    let slot = &shard.slots[entry.slot];
    let mut block = [0; BLOCK_MAX];
    let repr = header(slot, media, copy.place(), &mut block);
    let room = buf.append(copy.tag_len).is_some() && buf.prepend(repr.header_len()).is_some();
    let header_len = room.then(|| repr.emit(buf.bytes_mut()).ok()).flatten();
    let Some(header_len) = header_len else {
        drop_copy(&mut shard.counters, DropReason::Oversize, entry.session);
        io.free(buf);
        return 0;
    };
    let Some(keys) = &shard.outbound[entry.session as usize] else { return 0 };
    let mut jobs = [SealJob::new(keys, slot.ssrc, copy.index, header_len, buf.bytes_mut())];
    seal_jobs(&shard.provider, Plaintext::InPlace(payload_len), &mut jobs);
    if jobs[0].result.is_err() {
        io.free(buf);
        return 0;
    }
    if shard.trace.is_on() {
        capture(shard, entry.session, buf.bytes());
    }
    let bytes = send(shard, io, media, entry, payload_len, buf);
    count(shard, media, 1, bytes);
    1
}

/// Tells the header of a sealed copy.
#[cold]
fn capture<P: Provider>(shard: &mut Shard<P>, session: u32, copy: &[u8]) {
    let path = shard.sessions[session as usize].path;
    shard.capture_sent(session, path, copy);
}

/// Hands a sealed copy to the port and counts it for its session and slot. Returns its bytes.
#[inline(always)]
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

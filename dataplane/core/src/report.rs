//! RTCP that the shard sends: it ends RTCP at each hop and speaks for itself on both sides.
//!
//! Upstream, receiver reports of our own reception and picture-loss indications, merged and throttled.
//! Downstream, sender reports on the node's clock with our own counts (RFC 3550 6.4).

use arrayvec::ArrayVec;
use proto::MediaKind;
use proto::region::ledger;
use srtp::{EgressRtcpIndex, Provider, RtcpIndex};
use wire::rtcp::{ReportBlock, SenderInfo};
use wire::rtcp_write::Writer;

use crate::layers::keyframe_ssrc;
use crate::limits::{CLAIM, INGRESS_MAX, PLI_INTERVAL};
use crate::shard::Shard;
use crate::slab::NONE;
use crate::stage::dscp;
use crate::upstream::write_estimate;
use crate::{Buf, Datagram, Instant, Io, Now, RelayFeedback};

/// Largest RTCP compound we send, in bytes, without its SRTCP trailer.
pub const COMPOUND_MAX: usize = 1200;

/// Asks for a keyframe of a stream, now or as soon as the throttle allows.
pub fn request_keyframe<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    publication: u32,
) {
    let stream = &mut shard.publications[publication];
    if stream.spec.kind == MediaKind::Audio || !stream.live {
        return;
    }
    if let Some(home) = stream.home {
        stream.pli_sent = now.mono;
        let feedback = RelayFeedback { publication: stream.spec.publication, keyframe: true };
        io.relay_feedback(home, feedback);
        return;
    }
    let is_first = stream.pli_sent == Instant(0);
    if is_first || now.mono.since(stream.pli_sent) >= PLI_INTERVAL {
        send_pli(shard, now, io, publication);
    } else if !stream.pli_pending {
        stream.pli_pending = shard.pli_pending.try_push(publication).is_ok();
    }
}

/// Sends the indications that waited for the throttle.
pub fn flush_pending_pli<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I) {
    let waiting = std::mem::take(&mut shard.pli_pending);
    for publication in waiting {
        let stream = &mut shard.publications[publication];
        if !stream.pli_pending {
            continue;
        }
        if !stream.live {
            stream.pli_pending = false;
        } else if now.mono.since(stream.pli_sent) >= PLI_INTERVAL {
            send_pli(shard, now, io, publication);
        } else {
            shard.pli_pending.push(publication);
        }
    }
}

fn send_pli<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, publication: u32) {
    let media_ssrc = keyframe_ssrc(shard, now, publication);
    let stream = &mut shard.publications[publication];
    stream.pli_pending = false;
    // Before its first packet nobody knows its SSRC, and it will begin with a keyframe.
    let Some(media_ssrc) = media_ssrc else { return };
    stream.pli_sent = now.mono;
    let session = stream.session;
    let own_ssrc = shard.sessions[session as usize].rtcp_ssrc;
    let sent = send_rtcp(shard, io, session, |writer| {
        writer.receiver_report(own_ssrc, &[])?;
        writer.pli(own_ssrc, media_ssrc)
    });
    shard.counters.pli_tx += u64::from(sent);
    let plis = &mut shard.publications[publication].plis;
    *plis = plis.saturating_add(u32::from(sent));
}

/// The periodic reports of one session: receiver reports for what it publishes, sender reports for what
/// it receives.
pub fn send_reports<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, session: u32) {
    let (blocks, interval) = report_blocks(shard, now, session);
    let infos = sender_infos(shard, now, session);
    if blocks.is_empty() && infos.is_empty() {
        return;
    }
    let own_ssrc = shard.sessions[session as usize].rtcp_ssrc;
    let cname = cname(shard, session);
    let estimate = shard.estimate(now, session, interval);
    send_rtcp(shard, io, session, |writer| {
        for (ssrc, info) in &infos {
            writer.sender_report(*ssrc, info, &[])?;
        }
        if !blocks.is_empty() {
            writer.receiver_report(own_ssrc, &blocks)?;
        }
        let first = infos.first().map_or(own_ssrc, |(ssrc, _)| *ssrc);
        writer.sdes_cname(first, &cname)?;
        write_estimate(writer, own_ssrc, &estimate)
    });
}

/// A block for each stream that arrived, and the packets expected and lost of all of them.
fn report_blocks<P: Provider>(
    shard: &mut Shard<P>,
    now: Now,
    session: u32,
) -> (ArrayVec<ReportBlock, INGRESS_MAX>, (u64, u64)) {
    let mut blocks = ArrayVec::new();
    let (mut expected, mut lost) = (0, 0);
    for (ssrc, index) in shard.sessions[session as usize].streams.iter() {
        let stream = &mut shard.ingress[*index];
        if stream.role.is_repair || !stream.reception.has_packets() {
            continue;
        }
        let report = stream.reception.report();
        expected += report.interval.0;
        lost += report.interval.1;
        let (last_sr, at) = stream.report_echo;
        // In units of 1/65,536 s; a report older than 18 hours would wrap.
        let delay = (u128::from(now.mono.since(at).0) << 16) / 1_000_000_000;
        blocks.push(ReportBlock {
            ssrc: *ssrc,
            fraction_lost: report.fraction_lost,
            cumulative_lost: report.cumulative_lost,
            highest_sequence: report.highest,
            jitter: report.jitter,
            last_sr,
            delay_since_last_sr: if last_sr == 0 { 0 } else { delay as u32 },
        });
    }
    (blocks, (expected, lost))
}

fn sender_infos<P: Provider>(
    shard: &Shard<P>,
    now: Now,
    session: u32,
) -> ArrayVec<(u32, SenderInfo), { crate::limits::SLOTS_MAX }> {
    let mut infos = ArrayVec::new();
    for index in shard.sessions[session as usize].slots.iter() {
        let slot = &shard.slots[*index];
        if slot.publication == NONE || slot.tx_packets == 0 || !slot.munger.is_running() {
            continue;
        }
        let stream = &shard.publications[slot.publication];
        let (ntp, timestamp) = stream.report;
        // Before the publisher's first report nobody knows its clock, and a guess would break lip-sync.
        if ntp == 0 {
            continue;
        }
        let elapsed = i128::from(now.ntp().wrapping_sub(ntp) as i64);
        let units = ((elapsed * i128::from(stream.spec.clock_rate)) >> 32) as u32;
        let info = SenderInfo {
            ntp: now.ntp(),
            rtp_timestamp: slot.munger.timestamp(timestamp.wrapping_add(units)),
            packets: slot.tx_packets,
            bytes: slot.tx_octets,
        };
        infos.push((slot.ssrc, info));
    }
    infos
}

/// A canonical name that says nothing about anybody: the numbers of member and resource, one for all
/// sessions of a resource (RFC 7022 asks for per-session names).
fn cname<P: Provider>(shard: &Shard<P>, session: u32) -> [u8; 16] {
    let session = &shard.sessions[session as usize];
    let number = session.member.0 << 16 ^ u64::from(session.resource);
    let mut name = [0; 16];
    for (i, place) in name.iter_mut().enumerate() {
        *place = b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 15];
    }
    name
}

/// Seals and sends one compound to a session's path; false when it could not go.
pub fn send_rtcp<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    index: u32,
    write: impl FnOnce(&mut Writer<'_>) -> wire::Result<()>,
) -> bool {
    let session = &mut shard.sessions[index as usize];
    if !session.is_open() || session.may_send().is_err() {
        return false;
    }
    let Some(rtcp_index) = RtcpIndex::new(session.rtcp_next) else { return false };
    let Some(mut buf) = io.alloc() else { return false };
    let overhead = crate::commands::profile(session.profile).rtcp_overhead();
    let Some(space) = buf.append(COMPOUND_MAX + overhead) else {
        io.free(buf);
        return false;
    };
    let mut writer = Writer::new(&mut space[..COMPOUND_MAX]);
    let written = write(&mut writer);
    let len = writer.finish();
    session.rtcp_next += 1;
    if session.rtcp_next > session.rtcp_ceiling {
        session.rtcp_ceiling = session.rtcp_next + CLAIM as u32;
        io.ledger_store(index, ledger::RTCP_CEILING, u64::from(session.rtcp_ceiling));
    }
    let path = session.path;
    let sealed = match (&written, &shard.outbound[index as usize]) {
        (Ok(()), Some(keys)) => {
            let rtcp_index = EgressRtcpIndex::new(rtcp_index);
            shard.provider.seal_rtcp(keys, rtcp_index, buf.bytes_mut(), len).ok()
        }
        _ => None,
    };
    let Some(len) = sealed else {
        io.free(buf);
        return false;
    };
    buf.truncate(len);
    shard.counters.rtcp_tx += 1;
    shard.capture_sent(index, path, buf.bytes());
    io.send(Datagram { path, dscp: dscp(MediaKind::Audio), buf });
    true
}

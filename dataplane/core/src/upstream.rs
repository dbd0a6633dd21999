//! What the node tells a publisher as its receiver: which packets it misses, when each packet arrived,
//! and how much it may send. Reports and keyframe wishes are in `report`.
//!
//! Sessions with something to tell soon are on a list that each turn of the housekeeping walks; all others
//! cost nothing.

use arrayvec::ArrayVec;
use proto::{Extension, Feedback};
use srtp::{PacketIndex, Provider, Replay};
use wire::rtcp_write::Writer;

use crate::limits::INGRESS_MAX;
use crate::nack::{Hope, Lost, NackStream};
use crate::report::{COMPOUND_MAX, request_keyframe, send_rtcp};
use crate::shard::Shard;
use crate::stage::Work;
use crate::transport_cc::Arrivals;
use crate::{Io, Now};

/// Sessions that have feedback to send soon, each once.
#[derive(Debug)]
pub struct Waiting {
    sessions: Vec<u32>,
    is_in: Vec<bool>,
}

impl Waiting {
    /// Room for all sessions of a shard.
    pub fn new(sessions: usize) -> Self {
        Waiting { sessions: Vec::with_capacity(sessions), is_in: vec![false; sessions] }
    }

    fn push(&mut self, session: u32) {
        if !std::mem::replace(&mut self.is_in[session as usize], true) {
            self.sessions.push(session);
        }
    }

    fn remove(&mut self, at: usize) {
        let session = self.sessions.swap_remove(at);
        self.is_in[session as usize] = false;
    }
}

impl<P: Provider> Shard<P> {
    /// Accepts an index of a stream whose packet was authentic, and takes note of what it tells about
    /// the packets before it.
    ///
    /// # Errors
    /// [`Replay`] as [`Shard::commit_index`].
    pub(crate) fn accept<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        ingress: u32,
        index: PacketIndex,
    ) -> Result<(), Replay> {
        self.commit_index(io, ingress, index)?;
        let stream = &mut self.ingress[ingress];
        let publication = &self.publications[stream.publication];
        if !publication.spec.feedback.has(Feedback::NACK) || stream.role.is_repair {
            return Ok(());
        }
        let has_receivers = publication.fanout.len() > 0 || publication.relays != 0;
        if publication.active != ingress || !has_receivers {
            // What nobody gets need not be whole. It counts anew once somebody gets it.
            self.nacks.clear(&mut stream.nack);
            stream.nack = NackStream::default();
            return Ok(());
        }
        let hope = self.nacks.on_packet(&mut stream.nack, now.mono, index.value());
        let (session, publication) = (stream.session, stream.publication);
        if !stream.nack.is_whole() {
            self.waiting.push(session);
        }
        if hope == Hope::Lost {
            request_keyframe(self, now, io, publication);
        }
        Ok(())
    }

    /// Takes note of when the packets of a burst arrived: all authentic ones with a transport-wide
    /// sequence number, whatever becomes of them.
    pub(crate) fn note_arrivals(&mut self, now: Now, work: &Work) {
        for (sequence, session) in work.transport_seq.iter().zip(&work.session).take(work.len) {
            if let Some(sequence) = sequence
                && let Some(ring) = self.sessions[*session as usize].transport_cc
            {
                self.transport_cc.on_packet(ring, now.mono, *sequence);
                self.waiting.push(*session);
            }
        }
    }

    /// Sends the feedback that is due.
    pub(crate) fn send_feedback<I: Io>(&mut self, now: Now, io: &mut I) {
        let mut at = 0;
        while let Some(session) = self.waiting.sessions.get(at).copied() {
            if self.serve(now, io, session) {
                at += 1;
            } else {
                self.waiting.remove(at);
            }
        }
    }

    /// Sends what is due to one session; whether there will be more.
    fn serve<I: Io>(&mut self, now: Now, io: &mut I, session: u32) -> bool {
        let mut has_more = false;
        if let Some(ring) = self.sessions[session as usize].transport_cc {
            match self.transport_cc.due(ring) {
                Some(due) if now.mono >= due => self.send_arrivals(now, io, session, ring),
                Some(_) => has_more = true,
                None => {}
            }
        }
        let streams = self.sessions[session as usize].streams;
        for (ssrc, ingress) in streams.iter() {
            if !self.ingress[*ingress].nack.is_whole() {
                self.send_nack(now, io, session, *ssrc, *ingress);
                has_more |= !self.ingress[*ingress].nack.is_whole();
            }
        }
        has_more
    }

    fn send_nack<I: Io>(&mut self, now: Now, io: &mut I, session: u32, ssrc: u32, ingress: u32) {
        let mut lost = Lost::new();
        let stream = &mut self.ingress[ingress];
        let publication = stream.publication;
        if self.publications[publication].active != ingress {
            // Another layer took its place.
            return self.nacks.clear(&mut stream.nack);
        }
        let hope = self.nacks.due(&mut stream.nack, now.mono, &mut lost);
        let own_ssrc = self.sessions[session as usize].rtcp_ssrc;
        if !lost.is_empty() {
            let sent = send_rtcp(self, io, session, |writer| {
                writer.receiver_report(own_ssrc, &[])?;
                writer.nack(own_ssrc, ssrc, &lost)
            });
            let asked = if sent { lost.len() as u32 } else { 0 };
            self.counters.nack_tx += u64::from(asked);
            let nacks = &mut self.publications[publication].nacks;
            *nacks = nacks.saturating_add(asked);
        }
        if hope == Hope::Lost {
            request_keyframe(self, now, io, publication);
        }
    }

    /// One round of transport-wide feedback.
    fn send_arrivals<I: Io>(&mut self, now: Now, io: &mut I, session: u32, ring: u32) {
        let owner = &self.sessions[session as usize];
        let own_ssrc = owner.rtcp_ssrc;
        let media_ssrc = owner.streams.first().map_or(0, |(ssrc, _)| *ssrc);
        let mut arrivals = Arrivals::new();
        while let Some((base, count)) = self.transport_cc.report(ring, now.mono, &mut arrivals) {
            let mut covered = None;
            if arrivals.iter().any(Option::is_some) {
                let sent = send_rtcp(self, io, session, |writer| {
                    writer.receiver_report(own_ssrc, &[])?;
                    let len_max = COMPOUND_MAX - writer.len();
                    let told = writer
                        .transport_cc(own_ssrc, media_ssrc, base, count, &arrivals, len_max)?;
                    covered = Some(told);
                    Ok(())
                });
                self.counters.transport_cc_tx += u64::from(sent);
            }
            self.transport_cc.told(ring, now.mono, covered, arrivals.len());
        }
    }

    /// A ring for a session that is being opened, where it negotiated transport-wide feedback.
    pub(crate) fn open_transport_cc(&mut self, session: u32) {
        let publications = self.sessions[session as usize].publications;
        let is_wanted = publications.iter().any(|index| {
            let spec = &self.publications[*index].spec;
            let is_numbered =
                |known: &proto::ExtensionId| known.extension == Extension::TransportCc;
            spec.feedback.has(Feedback::TRANSPORT_CC) && spec.extensions.iter().any(is_numbered)
        });
        if is_wanted {
            self.sessions[session as usize].transport_cc = self.transport_cc.open();
        }
    }

    /// Ends the feedback to a session that closes.
    pub(crate) fn close_feedback(&mut self, session: u32) {
        let owner = &mut self.sessions[session as usize];
        if let Some(ring) = owner.transport_cc.take() {
            self.transport_cc.close(ring);
        }
        for (_, ingress) in owner.streams.iter() {
            self.nacks.clear(&mut self.ingress[*ingress].nack);
        }
    }

    /// The bitrate that a session is to be told, and the streams that share it; for those that negotiated
    /// REMB and have no transport-wide feedback. `interval` counts packets expected and lost since the
    /// last time.
    pub(crate) fn estimate(
        &mut self,
        now: Now,
        session: u32,
        interval: (u64, u64),
    ) -> Option<(u64, ArrayVec<u32, INGRESS_MAX>)> {
        let owner = &self.sessions[session as usize];
        let wants = |index: &u32| self.publications[*index].spec.feedback.has(Feedback::REMB);
        if owner.transport_cc.is_some() || !owner.publications.iter().any(wants) {
            return None;
        }
        let media = |(ssrc, ingress): &(u32, u32)| {
            let stream = &self.ingress[*ingress];
            let is_told = !stream.role.is_repair && wants(&stream.publication);
            is_told.then_some(*ssrc)
        };
        let ssrcs = owner.streams.iter().filter_map(media).collect();
        let owner = &mut self.sessions[session as usize];
        let (expected, lost) = interval;
        Some((owner.estimate.update(now.mono, owner.rx_bytes, lost, expected), ssrcs))
    }
}

/// Appends an estimate, if there is one and a stream that it is about.
pub fn write_estimate(
    writer: &mut Writer<'_>,
    own_ssrc: u32,
    estimate: &Option<(u64, ArrayVec<u32, INGRESS_MAX>)>,
) -> wire::Result<()> {
    match estimate {
        Some((bps, ssrcs)) if !ssrcs.is_empty() => writer.remb(own_ssrc, *bps, ssrcs),
        _ => Ok(()),
    }
}

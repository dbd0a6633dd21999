//! Streams as they come in: one for each SSRC that a session sends with. Several may belong to one
//! publication: the layers of a simulcast, and their repair streams (RFC 4588).
//!
//! An SSRC is bound to its stream when the session opens, where it was declared, or else by its first
//! authentic packet; the ledger keeps what was bound, so that a restarted shard knows it. A binding
//! lasts as long as its session.

use proto::region::ledger;
use proto::{DropReason, PublicationSpec};
use srtp::{PacketIndex, Provider, Replay, ReplayWindow};

use crate::gate::Frames;
use crate::layers::Rhythm;
use crate::limits::INGRESS_MAX;
use crate::nack::NackStream;
use crate::reception::Reception;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Instant, Io};

/// What an SSRC carries of its publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Role {
    /// Place among the simulcast layers; 0 where there are none.
    pub layer: u8,
    /// It repairs the stream of that layer (RFC 4588).
    pub is_repair: bool,
}

/// One SSRC that a session sends with. The order is that of use: with the places in the replay window that a
/// packet does not touch at the end.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Ingress {
    /// Index of its session.
    pub session: u32,
    /// Index of its publication.
    pub publication: u32,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Failed authentications before the first success, for the first guess of the ROC.
    pub first_failures: u32,
    /// RFC 3550 statistics.
    pub reception: Reception,
    /// How it flows.
    pub rhythm: Rhythm,
    /// What is missing of it.
    pub nack: NackStream,
    /// ROC and replay state.
    pub window: ReplayWindow,
    /// Where its pictures begin.
    pub frames: Frames,
    /// The last sender report: NTP time on the node's clock, and RTP timestamp. Zero before the first.
    pub report: (u64, u32),
    /// Middle 32 bits of the publisher's NTP time in it, and when it arrived.
    pub report_echo: (u32, Instant),
    /// The next stream of this shard with the same SSRC, where a session without a known address
    /// declared it.
    pub next_same_ssrc: u32,
    /// Its place in the session's list, and in the ledger.
    pub position: u8,
    /// What it carries.
    pub role: Role,
}

const _: () = assert!(size_of::<Ingress>() <= 320);

impl Default for Ingress {
    fn default() -> Self {
        Ingress {
            session: NONE,
            publication: NONE,
            position: 0,
            role: Role::default(),
            ssrc: 0,
            window: ReplayWindow::new(),
            first_failures: 0,
            frames: Frames::default(),
            rhythm: Rhythm::default(),
            reception: Reception::default(),
            nack: NackStream::default(),
            report: (0, 0),
            report_echo: (0, Instant(0)),
            next_same_ssrc: NONE,
        }
    }
}

/// SSRCs that a session with these publications is expected to send with: places for so many are
/// promised to it when it opens.
pub fn expected<'a>(publications: impl Iterator<Item = &'a PublicationSpec>) -> usize {
    let of_one =
        |spec: &PublicationSpec| spec.layers.len().max(1) * if spec.rtx.is_some() { 2 } else { 1 };
    publications.map(of_one).sum::<usize>().min(INGRESS_MAX)
}

/// The SSRCs that a publication declares. One number cannot stand for several layers: there the packets
/// tell.
pub fn declared(spec: &PublicationSpec) -> impl Iterator<Item = (u32, Role)> {
    let rtx = spec.rtx.map_or(0, |rtx| rtx.ssrc);
    let is_layered = spec.layers.len() > 1;
    let of = |ssrc, is_repair| (ssrc, Role { layer: 0, is_repair });
    [of(spec.ssrc, false), of(rtx, true)]
        .into_iter()
        .filter(move |(ssrc, _)| *ssrc != 0 && !is_layered)
}

impl<P: Provider> Shard<P> {
    /// Places that were promised to nobody.
    pub(crate) fn ingress_vacant(&self) -> usize {
        self.ingress.capacity() - self.ingress_promised
    }

    /// Binds what a session that is being opened declared, after what its ledger record remembers. With
    /// `in_table`, packets from unknown addresses may be tried with the session by what it declared.
    pub(crate) fn bind_at_open<I: Io>(&mut self, io: &mut I, session: u32, in_table: bool) {
        self.resume_ingress(io, session);
        let publications = self.sessions[session as usize].publications;
        for publication in publications.iter() {
            let spec = self.publications[*publication].spec;
            for (ssrc, role) in declared(&spec) {
                let Ok(index) = self.bind(io, session, *publication, ssrc, role) else { continue };
                if in_table {
                    let next = self.ingress_by_ssrc.get(&ssrc).unwrap_or(NONE);
                    self.ingress[index].next_same_ssrc = next;
                    self.ingress_by_ssrc.insert(ssrc, index);
                }
            }
        }
    }

    /// The bindings that an earlier life of the shard wrote down, each with its rollover counter.
    fn resume_ingress<I: Io>(&mut self, io: &mut I, session: u32) {
        for place in 0..INGRESS_MAX {
            let word = io.ledger_load(session, ledger::INGRESS + 2 * place);
            let Some((position, layer, is_repair)) = ledger::ingress_parts(word as u32) else {
                return;
            };
            let publications = &self.sessions[session as usize].publications;
            let Some(publication) = publications.get(usize::from(position)).copied() else {
                return;
            };
            let next = io.ledger_load(session, ledger::INGRESS + 2 * place + 1);
            let role = Role { layer, is_repair };
            let bound = self.bind(io, session, publication, (word >> 32) as u32, role);
            let highest = next.checked_sub(1).and_then(PacketIndex::new);
            if let (Ok(index), Some(highest)) = (bound, highest) {
                self.ingress[index].window = ReplayWindow::resume(highest);
            }
        }
    }

    /// The stream of an SSRC: the one it is bound to, or a new one.
    ///
    /// # Errors
    /// `UnknownSsrc` when the session has as many as it may, or no place is left for more than were
    /// promised to it.
    pub(crate) fn bind<I: Io>(
        &mut self,
        io: &mut I,
        session: u32,
        publication: u32,
        ssrc: u32,
        role: Role,
    ) -> Result<u32, DropReason> {
        let owner = &self.sessions[session as usize];
        if let Some(index) = owner.stream(ssrc) {
            return Ok(index);
        }
        let position = owner.streams.len();
        let has_promise = position < usize::from(owner.ingress_promised);
        if position == INGRESS_MAX || !has_promise && self.ingress_vacant() == 0 {
            return Err(DropReason::UnknownSsrc);
        }
        let stream = Ingress {
            session,
            publication,
            position: position as u8,
            role,
            ssrc,
            ..Ingress::default()
        };
        let index = self.ingress.insert(stream).ok_or(DropReason::UnknownSsrc)?;
        let owner = &mut self.sessions[session as usize];
        owner.streams.push((ssrc, index));
        if !has_promise {
            owner.ingress_promised += 1;
            self.ingress_promised += 1;
        }
        let stream = &mut self.publications[publication];
        if !role.is_repair && stream.active == NONE {
            stream.active = index;
        }
        let tag = ledger::ingress_tag(stream.position, role.layer, role.is_repair);
        let word = ledger::INGRESS + 2 * position;
        io.ledger_store(session, word, u64::from(ssrc) << 32 | u64::from(tag));
        Ok(index)
    }

    /// Accepts an index of a stream whose packet was authentic, once. The ledger has every new highest
    /// before anything is forwarded: a store costs next to nothing, and a restarted shard then lets
    /// nothing through twice.
    ///
    /// # Errors
    /// [`Replay`] when it was accepted before or is too old to know.
    pub(crate) fn commit_index<I: Io>(
        &mut self,
        io: &mut I,
        ingress: u32,
        index: PacketIndex,
    ) -> Result<(), Replay> {
        let stream = &mut self.ingress[ingress];
        stream.window.commit(index)?;
        if stream.window.highest() == Some(index) {
            let word = ledger::INGRESS + 2 * usize::from(stream.position) + 1;
            io.ledger_store(stream.session, word, index.value() + 1);
        }
        Ok(())
    }

    /// The stream that carries a part of a publication; the one that was bound last, if there are
    /// several.
    pub(crate) fn stream_of(&self, session: u32, publication: u32, role: Role) -> Option<u32> {
        let is_it = |index: &u32| {
            let stream = &self.ingress[*index];
            stream.publication == publication && stream.role == role
        };
        let streams = &self.sessions[session as usize].streams;
        streams.iter().rev().map(|(_, index)| *index).find(is_it)
    }

    /// Forgets the streams of a closed session.
    pub(crate) fn unbind(&mut self, streams: &[(u32, u32)], promised: u8) {
        for (ssrc, index) in streams {
            self.forget_ssrc(*ssrc, *index);
            self.nacks.clear(&mut self.ingress[*index].nack);
            self.ingress.remove(*index);
        }
        self.ingress_promised -= usize::from(promised);
    }

    /// Takes a stream out of the list of those with its SSRC, if it is in it.
    fn forget_ssrc(&mut self, ssrc: u32, index: u32) {
        let after = self.ingress[index].next_same_ssrc;
        let Some(mut at) = self.ingress_by_ssrc.get(&ssrc) else { return };
        if at == index {
            match after {
                NONE => drop(self.ingress_by_ssrc.remove(&ssrc)),
                after => drop(self.ingress_by_ssrc.insert(ssrc, after)),
            }
            return;
        }
        while at != NONE {
            let next = self.ingress[at].next_same_ssrc;
            if next == index {
                self.ingress[at].next_same_ssrc = after;
                return;
            }
            at = next;
        }
    }
}

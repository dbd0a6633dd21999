//! ICE as far as this process has it: credentials and restarts. Checks are answered by the shard.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use proto::command::ICE_PASSWORD_MAX;
use proto::{IceCredentials, List, MediaKind, SessionId, Token};
use zeroize::{Zeroize, Zeroizing};

use super::ids::random;
use super::{Directory, Orders, ResourceId};
use crate::problem::{Code, Problem};
use crate::signalling::PeerIce;
use crate::signalling::answer::GrantedIce;

/// Random bytes of a password: base64 makes them all the characters there are.
const PASSWORD_BYTES: usize = ICE_PASSWORD_MAX / 4 * 3;

/// What `If-Match` asks for (RFC 9110 section 13.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// `*`: whatever state there is, which a restart asks for.
    Any,
    /// One of these entity tags.
    Tags(&'a str),
}

/// Another ICE session of a resource.
#[derive(Debug)]
pub struct Restarted {
    /// Our side of it.
    pub ice: GrantedIce,
    /// The resource's new entity tag.
    pub etag: String,
    /// Kinds and names of its m-sections.
    pub sections: Vec<(MediaKind, Token)>,
}

/// A resource's ICE session (RFC 8838), as we know it.
pub(super) struct IceState {
    /// `None` when an earlier life of this process knew them.
    pub(super) peer: Option<PeerIce>,
    /// Ours; likewise.
    pub(super) generation: Option<u16>,
}

impl IceState {
    pub(super) fn new(peer: PeerIce, generation: u16) -> IceState {
        IceState { peer: Some(peer), generation: Some(generation) }
    }

    /// Of a session that was opened by an earlier life.
    pub(super) fn unknown() -> IceState {
        IceState { peer: None, generation: None }
    }
}

impl Directory {
    /// Fresh credentials for a session, under a generation that its slot did not have last.
    pub(super) fn ice_credentials(&mut self, session: SessionId) -> IceCredentials {
        let first = u16::from_ne_bytes(random(&mut *self.entropy));
        let bytes: Zeroizing<[u8; PASSWORD_BYTES]> = Zeroizing::new(random(&mut *self.entropy));
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(&bytes[..]));
        let password = List::from_slice(text.as_bytes()).expect("made to this length");
        let shard = &mut self.shards[session.shard().0 as usize];
        IceCredentials { generation: shard.slots.next_ice_generation(session, first), password }
    }

    /// What the peer is told of them.
    pub(super) fn granted_ice(&self, session: SessionId, ice: &IceCredentials) -> GrantedIce {
        let ascii = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        GrantedIce {
            ufrag: ascii(&self.ufrag(session, ice.generation)),
            password: Zeroizing::new(ascii(&ice.password)),
            candidates: self.candidates(session.shard()),
        }
    }

    /// What a peer trickles (RFC 9725 section 4.3): candidates for the present ICE session, or new
    /// credentials of its own, which start another one beside it; that lives once it is nominated.
    ///
    /// # Errors
    /// 404, 412 when the precondition names another state, 422 without ICE. Nothing was changed then.
    pub fn trickle(
        &mut self,
        id: ResourceId,
        precondition: Precondition<'_>,
        peer: Option<PeerIce>,
        orders: &mut Orders,
    ) -> Result<Option<Restarted>, Problem> {
        let resource = self.resources.get_mut(&id).ok_or(Code::ResourceUnknown)?;
        let names_us = match precondition {
            Precondition::Any => true,
            Precondition::Tags(tags) => resource.has_etag(tags),
        };
        let ice = resource.ice.as_mut().ok_or(Code::NoIce)?;
        if !names_us {
            return Err(Code::PreconditionFailed.into());
        }
        let Some(peer) = peer else { return Ok(None) };
        if ice.peer.as_ref() == Some(&peer) {
            return Ok(None);
        }
        if precondition != Precondition::Any {
            if ice.peer.is_some() {
                return Err(Code::PreconditionFailed
                    .because("other ICE credentials need If-Match: *, which asks for a restart"));
            }
            // An earlier life of this process knew them; the entity tag is the resource's.
            ice.peer = Some(peer);
            return Ok(None);
        }
        self.restart(id, peer, orders).map(Some).ok_or_else(|| Code::ResourceUnknown.into())
    }

    fn restart(&mut self, id: ResourceId, peer: PeerIce, orders: &mut Orders) -> Option<Restarted> {
        let session = *self.resources.get(&id)?.sessions.first()?;
        let mut ice = self.ice_credentials(session);
        let granted = self.granted_ice(session, &ice);
        let done = self.restart_ice(session, &ice, orders);
        let state = IceState::new(peer, ice.generation);
        ice.password.zeroize();
        let resource = self.resources.get_mut(&id).filter(|_| done)?;
        resource.ice = Some(state);
        let etag = resource.etag();
        let sections = self.sections(id, self.resources.get(&id)?);
        Some(Restarted { ice: granted, etag, sections })
    }
}

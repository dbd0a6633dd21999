//! ICE as far as this process has it: credentials and restarts. Checks are answered by the shard.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use proto::command::ICE_PASSWORD_MAX;
use proto::{IceCredentials, List, SessionId};
use zeroize::{Zeroize, Zeroizing};

use super::ids::random;
use super::{Directory, Orders, ResourceId};
use crate::signalling::PeerIce;
use crate::signalling::answer::GrantedIce;

/// Random bytes of a password: base64 makes them all the characters there are.
const PASSWORD_BYTES: usize = ICE_PASSWORD_MAX / 4 * 3;

/// A resource's ICE session (RFC 8838), as we know it.
pub(super) struct IceState {
    /// `None` when an earlier life of this process knew them.
    #[allow(dead_code)] // a restart is told from a candidate by it
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

    /// Another ICE generation for a resource whose peer has new credentials; the present one lives until
    /// the new one is nominated. `None` when the resource is not there or has no ICE.
    pub fn restart(
        &mut self,
        id: ResourceId,
        peer: PeerIce,
        orders: &mut Orders,
    ) -> Option<GrantedIce> {
        let resource = self.resources.get(&id)?;
        resource.ice.as_ref()?;
        let session = *resource.sessions.first()?;
        let mut ice = self.ice_credentials(session);
        let granted = self.granted_ice(session, &ice);
        let done = self.restart_ice(session, &ice, orders);
        let state = IceState::new(peer, ice.generation);
        ice.password.zeroize();
        self.resources.entry(id).and_modify(|resource| resource.ice = Some(state));
        done.then_some(granted)
    }
}

//! What a DTLS association must know of its session, and which sessions are no more.

use std::sync::Arc;

use dtls::{Fingerprint, Identity};
use proto::{CloseReason, SdkAppId, SessionId};

use super::{Directory, Orders};

/// Who a session's peer must be, and who we are to it.
#[derive(Clone)]
pub struct DtlsPeer {
    /// Tenant.
    pub app: SdkAppId,
    /// The generation of its ICE credentials: another one after an ICE restart.
    pub ice_generation: u16,
    /// Its certificate has one of them.
    pub fingerprints: Vec<Fingerprint>,
    /// What our answer announced.
    pub identity: Arc<Identity>,
}

/// The part of it that a session keeps.
pub(super) struct Dtls {
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) identity: Arc<Identity>,
}

impl Directory {
    /// The peer of a session; `None` once it is closing, without DTLS, or when an earlier life of this
    /// process knew it.
    pub fn dtls_peer(&self, id: SessionId) -> Option<DtlsPeer> {
        let session = self.sessions.get(&id)?;
        let resource = self.resources.get(&session.resource?)?;
        let dtls = session.dtls.as_ref()?;
        Some(DtlsPeer {
            app: session.app,
            ice_generation: resource.ice.as_ref().and_then(|ice| ice.generation)?,
            fingerprints: dtls.fingerprints.clone(),
            identity: Arc::clone(&dtls.identity),
        })
    }

    /// The peer of a session has said goodbye: its resource ends. `false` when it has ended before.
    pub fn left(&mut self, id: SessionId, orders: &mut Orders) -> bool {
        let resource = self.resource_of(id);
        resource.is_some_and(|id| !self.close_resource(id, CloseReason::Left, orders).is_empty())
    }

    /// Sessions with DTLS that have ended since this was asked last, be their places free or not.
    pub fn take_ended(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.ended)
    }
}

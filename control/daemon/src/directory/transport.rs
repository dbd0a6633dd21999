//! What happens to a session's transport after it was opened: its handshake is done, its peer moves, ICE
//! starts over. All of it is kept, so that the next data plane goes on from there.

use proto::ufrag::{self, UFRAG_LEN};
use proto::{Command, IceCredentials, KeyMaterial, Path, SessionId, ShardId, SrtpProfile};

use super::orders::Desired;
use super::{Directory, Orders};

impl Directory {
    /// Keys of a finished handshake. `false` when the session is not there, or is closing.
    pub fn install_keys(
        &mut self,
        id: SessionId,
        profile: SrtpProfile,
        rx_key: &KeyMaterial,
        tx_key: &KeyMaterial,
        orders: &mut Orders,
    ) -> bool {
        let (rx_key, tx_key) = (*rx_key, *tx_key);
        let command = Command::InstallKeys { session: id, profile, rx_key, tx_key };
        self.change_transport(id, command, orders, |open| {
            (open.profile, open.rx_key, open.tx_key) = (profile, rx_key, tx_key);
        })
    }

    /// Another ICE generation beside the present one. `false` when the session is not there, or is
    /// closing.
    pub fn restart_ice(
        &mut self,
        id: SessionId,
        ice: &IceCredentials,
        orders: &mut Orders,
    ) -> bool {
        let command = Command::RestartIce { session: id, ice: *ice };
        self.change_transport(id, command, orders, |open| open.ice = Some(*ice))
    }

    fn change_transport(
        &mut self,
        id: SessionId,
        command: Command,
        orders: &mut Orders,
        change: impl FnOnce(&mut proto::OpenSession),
    ) -> bool {
        let open = |session: &&mut super::Session| session.resource.is_some();
        let Some(session) = self.sessions.get_mut(&id).filter(open) else { return false };
        if let Some(desired) = &mut session.desired {
            desired.change(change);
        }
        orders.push(id.shard(), command);
        true
    }

    /// Where a session's peer is now: the next data plane sends there at once.
    pub(super) fn moved(&mut self, id: SessionId, path: Path) {
        let desired = self.sessions.get_mut(&id).and_then(|session| session.desired.as_mut());
        if let Some(desired) = desired {
            Desired::change(desired, |open| (open.local, open.remote) = (path.local, path.remote));
        }
    }

    /// The `a=ice-ufrag` that leads checks to a session, for one of its ICE generations.
    pub fn ufrag(&self, id: SessionId, generation: u16) -> [u8; UFRAG_LEN] {
        let named = SessionId::new(id.shard(), id.slot(), generation);
        ufrag::mint(&self.ufrag_key, named)
    }

    pub(super) fn order_ufrag_key(&self, shard: ShardId, orders: &mut Orders) {
        orders.push(shard, Command::SetUfragKey { key: self.ufrag_key });
    }
}

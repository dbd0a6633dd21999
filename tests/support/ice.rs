//! Browsers in a world of shards in memory, and their ICE agents.

use proto::{Command, Endpoint, KeyMaterial, MediaKind, MemberNo, OpenSession, RoomNo, SessionId};
pub use roomlane_peers::ice::*;

use crate::peer::{Publisher, Subscriber};
use crate::world::World;

impl World {
    /// Tells all shards the key of ufrag tokens.
    pub fn mint_tokens(&mut self) {
        for shard in 0..self.shards.len() {
            self.set_up(shard, Command::SetUfragKey { key: UFRAG_KEY });
        }
    }

    /// Opens a session of a browser on shard 0: without keys and address, which a handshake and checks
    /// will bring. What it was told comes back, with both.
    fn open_ice(&mut self, mut open: OpenSession) -> OpenSession {
        let told = open;
        self.handshakes.insert(open.session, (open.rx_key, open.tx_key));
        (open.rx_key, open.tx_key) = (KeyMaterial::default(), KeyMaterial::default());
        open.remote = Endpoint::default();
        open.ice = Some(credentials(open.session, 1));
        self.open(open);
        told
    }

    /// A browser that publishes one stream, and its agent; `remote` is where it will send from.
    pub fn ice_publisher(&mut self, room: RoomNo, kind: MediaKind) -> (Publisher, IcePeer) {
        let member = MemberNo(self.number());
        let mut open = self.session(0, room, 1, member);
        let spec = self.stream(kind);
        open.publications.push(spec);
        let told = self.open_ice(open);
        let ids = (told.session, room, member);
        let keys = (&told.rx_key, &told.tx_key);
        let publisher = Publisher::new(ids, spec, told.remote, self.profile(), keys, 100);
        (publisher, IcePeer::new(told.session, 1))
    }

    /// A browser with one slot per kind, and its agent; `remote` is where it will send from.
    pub fn ice_subscriber(&mut self, room: RoomNo, kinds: &[MediaKind]) -> (Subscriber, IcePeer) {
        let member = MemberNo(self.number());
        let mut open = self.session(0, room, 1, member);
        for kind in kinds {
            let slot = self.slot(*kind);
            open.slots.push(slot);
        }
        let told = self.open_ice(open);
        (self.receiver(&told), IcePeer::new(told.session, 1))
    }

    /// What control does when a session's handshake is done.
    pub fn finish_handshake(&mut self, session: SessionId) {
        let (rx_key, tx_key) = self.handshakes.remove(&session).expect("not finished before");
        let open = self.desired.get_mut(&session).expect("open");
        (open.rx_key, open.tx_key) = (rx_key, tx_key);
        let profile = open.profile;
        self.command(0, &Command::InstallKeys { session, profile, rx_key, tx_key });
    }

    /// What control sends through a session's shard.
    pub fn inject(&mut self, session: SessionId, datagram: &[u8]) {
        self.shards[0].inject(&mut self.ios[0], session, datagram);
    }

    /// A nominating check whose answer nobody waits for, among whatever else is sent.
    pub fn check_from_quietly(&mut self, peer: &mut IcePeer, from: Endpoint) {
        let check = peer.check(true);
        self.arrive(0, from, &[check]);
        self.take_sent();
    }

    /// Sends a check from an address and returns the answer, which must be the only thing sent.
    pub fn check_from(
        &mut self,
        peer: &mut IcePeer,
        from: Endpoint,
        use_candidate: bool,
    ) -> Option<Result<Endpoint, u16>> {
        let check = peer.check(use_candidate);
        self.arrive(0, from, std::slice::from_ref(&check));
        let sent = self.take_sent();
        let [(to, answer)] = &sent[..] else {
            assert!(sent.is_empty(), "one answer to one check: {}", sent.len());
            return None;
        };
        assert_eq!(*to, from, "an answer goes where its check came from");
        assert!(answer.len() <= check.len(), "{} > {}", answer.len(), check.len());
        Some(peer.answer(answer).expect("an authentic answer to this check"))
    }
}

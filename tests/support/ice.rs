//! A browser's ICE agent, as far as a lite agent meets it: it sends checks and reads the answers.

use proto::command::{ICE_PASSWORD_MAX, IceCredentials};
use proto::ufrag::{self, UfragKey};
use proto::{
    Command, Endpoint, KeyMaterial, List, MediaKind, MemberNo, OpenSession, RoomNo, SessionId,
};
use srtp::IntegrityKey;
use wire::stun::{Class, Message, Role};
use wire::stun_write::RequestRepr;

use crate::peer::{Publisher, Subscriber};
use crate::world::World;

/// What the tests' tokens are minted under.
pub const UFRAG_KEY: UfragKey = UfragKey([0x5c; 16]);

/// A generation of credentials whose password is different for every session and generation.
pub fn credentials(session: SessionId, generation: u16) -> IceCredentials {
    let text = format!("{:014x}{generation:010}", session.0);
    let password = List::from_slice(&text.as_bytes()[..ICE_PASSWORD_MAX]).expect("fits");
    IceCredentials { generation, password }
}

/// A full agent, controlling.
#[derive(Debug, Clone)]
pub struct IcePeer {
    /// The session's `a=ice-ufrag`, its own behind the colon.
    pub username: Vec<u8>,
    /// Our role, controlling unless a test says otherwise.
    pub role: Role,
    key: IntegrityKey,
    checks: u64,
}

impl IcePeer {
    /// For a session and one of its generations.
    pub fn new(session: SessionId, generation: u16) -> Self {
        Self::with(&UFRAG_KEY, session, generation, &credentials(session, generation).password)
    }

    /// The same with a token key and a password of the test's choice.
    pub fn with(key: &UfragKey, session: SessionId, generation: u16, password: &[u8]) -> Self {
        let named = SessionId::new(session.shard(), session.slot(), generation);
        let mut username = ufrag::mint(key, named).to_vec();
        username.extend(b":peer");
        let key = IntegrityKey::new(password);
        // Transactions of two agents differ as those of two browsers do.
        let checks = session.0 << 24 | u64::from(generation) << 16;
        IcePeer { username, role: Role::Controlling(7), key, checks }
    }

    /// As an answer's `a=ice-ufrag` and `a=ice-pwd` have it.
    pub fn told(ufrag: &str, password: &str) -> Self {
        let key = IntegrityKey::new(password.as_bytes());
        let username = format!("{ufrag}:peer").into_bytes();
        IcePeer { username, role: Role::Controlling(7), key, checks: 0 }
    }

    /// The next check.
    pub fn check(&mut self, use_candidate: bool) -> Vec<u8> {
        self.checks += 1;
        let mut transaction_id = [0x77; 12];
        transaction_id[..8].copy_from_slice(&self.checks.to_be_bytes());
        let request = RequestRepr {
            transaction_id,
            username: &self.username,
            priority: 0x6e00_1eff,
            role: self.role,
            use_candidate,
        };
        let mut out = vec![0; 600];
        let len = request.emit(&mut out, |parts| self.key.sign(parts)).expect("fits");
        out.truncate(len);
        out
    }

    /// The next check, with an attribute that must be understood.
    pub fn check_asking(&mut self, attribute: u16) -> Vec<u8> {
        let plain = self.check(true);
        // In front of MESSAGE-INTEGRITY and FINGERPRINT, which are 24 and 8 bytes long.
        let mut out = plain[..plain.len() - 32].to_vec();
        out.extend(attribute.to_be_bytes());
        out.extend([0, 0]);
        let with_len = |out: &mut Vec<u8>, more: usize| {
            let len = (out.len() - 20 + more) as u16;
            out[2..4].copy_from_slice(&len.to_be_bytes());
        };
        with_len(&mut out, 24);
        let tag = self.key.sign(&[&out]);
        out.extend([0, 8, 0, 20]);
        out.extend(tag);
        with_len(&mut out, 8);
        let fingerprint = crc32(&out) ^ 0x5354_554e;
        out.extend([0x80, 0x28, 0, 4]);
        out.extend(fingerprint.to_be_bytes());
        out
    }

    /// Reads an answer: the address it saw, or its error code. `None` when it is not an authentic
    /// answer to the last check.
    pub fn answer(&self, bytes: &[u8]) -> Option<Result<Endpoint, u16>> {
        let message = Message::new_checked(bytes).ok()?;
        let integrity = message.integrity()?;
        let covered = [&integrity.header, integrity.attributes];
        let is_ours = message.transaction_id()[..8] == self.checks.to_be_bytes();
        if !is_ours || !self.key.verify(&covered, integrity.claimed) {
            return None;
        }
        match message.class() {
            Class::Success => Some(Ok(message.mapped_address()?.into())),
            Class::Error => Some(Err(message.error_code()?)),
            _ => None,
        }
    }
}

/// CRC-32 of ISO 3309, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

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

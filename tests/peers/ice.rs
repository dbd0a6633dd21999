//! A browser's ICE agent, as far as a lite agent meets it: it sends checks and reads the answers.

use std::net::SocketAddr;

use proto::command::{ICE_PASSWORD_MAX, IceCredentials};
use proto::ufrag::{self, UfragKey};
use proto::{Endpoint, List, SessionId};
use srtp::IntegrityKey;
use wire::stun::{Class, Message, Role};
use wire::stun_write::{RequestRepr, success};

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

/// The answer of a full agent with this password to a check from `from`; none to anything else.
pub fn reply(password: &str, bytes: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::new_checked(bytes).ok()?;
    let (key, integrity) = (IntegrityKey::new(password.as_bytes()), message.integrity()?);
    let covered = [&integrity.header, integrity.attributes];
    if message.class() != Class::Request || !key.verify(&covered, integrity.claimed) {
        return None;
    }
    let mut out = vec![0; 600];
    let sign = |parts: &[&[u8]]| key.sign(parts);
    let len = success(&mut out, message.transaction_id(), from, sign).expect("fits");
    out.truncate(len);
    Some(out)
}

/// CRC-32 of ISO 3309, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

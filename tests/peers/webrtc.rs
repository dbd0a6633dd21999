//! A browser's transport, as far as a node meets it: full ICE that controls, a DTLS client, SRTP keys out of
//! the handshake. It joins over HTTP as [`crate::sdes`] does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtls::{Client, Fingerprint, Identity, Keys, Progress};
use proto::{KeyMaterial, List, SessionId};
use srtp::Profile;
use wire::demux::{Kind, classify};

use crate::ice::{self, IcePeer};
use crate::sdes::{Answer, Api, Tokens, Wire};

/// What is offered, in the order of Chromium.
const PROFILES: [dtls::Profile; 3] = [
    dtls::Profile::AesCm128HmacSha1_80,
    dtls::Profile::AeadAes256Gcm,
    dtls::Profile::AeadAes128Gcm,
];
/// Time between two checks until one is answered, and from then on (RFC 8445 14.3, RFC 7675 5.1 has 5 s).
const CHECKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Of its ICE agent.
const PASSWORD: &str = "abcdefghijklmnopqrstuvwx";

/// A certificate of the test's own.
pub fn identity() -> Identity {
    let unix = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    Identity::generate(Duration::from_secs(3600), unix.as_secs()).expect("a certificate")
}

/// A peer that has joined.
pub struct Browser {
    /// Where it sends from.
    pub local: SocketAddr,
    /// Where it sends to.
    pub remote: SocketAddr,
    /// Its resource.
    pub location: String,
    /// The slot's SSRC, if it was told.
    pub ssrc: Option<u32>,
    /// Of its finished handshake.
    pub keys: Option<Keys>,
    /// The node said goodbye.
    pub is_closed: bool,
    /// The node has answered a check.
    pub is_checked: bool,
    /// The other agent has sent a check, which is answered.
    pub was_asked: bool,
    /// Its DTLS datagrams so far.
    pub hellos: Vec<Vec<u8>>,
    ice: IcePeer,
    /// To checks of the other agent; a node of ours, which is lite, sends none.
    replies: Vec<Vec<u8>>,
    client: Client,
    next_check: Instant,
}

impl Browser {
    /// Joins by `verb`, `whip` or `whep`, with one Opus section and `lines` in it. It announces the
    /// certificate of `announced` and has that of `own`.
    pub fn join(
        (api, wire): (&Api, &mut impl Wire),
        (verb, lines): (&str, &str),
        tokens: &Tokens,
        (announced, own): (&Identity, &Identity),
    ) -> Browser {
        let answer = api.join(verb, tokens, &Browser::offer(announced, lines));
        Browser::of(&answer, wire.open(), own)
    }

    /// What it asks with: one Opus section with `lines` in it.
    pub fn offer(announced: &Identity, lines: &str) -> String {
        let print = announced.fingerprint();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:peer\r\n\
             a=ice-pwd:{PASSWORD}\r\na=fingerprint:{print}\r\na=setup:actpass\r\n\
             a=mid:0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n{lines}"
        )
    }

    /// One that was answered and will send from `local`.
    ///
    /// # Panics
    /// When something is missing in the answer.
    pub fn of(answer: &Answer, local: SocketAddr, own: &Identity) -> Browser {
        Browser::with_profiles(answer, local, own, &PROFILES)
    }

    /// The same with these profiles to choose from.
    ///
    /// # Panics
    /// When something is missing in the answer.
    pub fn with_profiles(
        answer: &Answer,
        local: SocketAddr,
        own: &Identity,
        profiles: &[dtls::Profile],
    ) -> Browser {
        let value = |prefix: &str| {
            let line = answer.body.lines().find_map(|line| line.strip_prefix(prefix));
            line.map(str::trim)
        };
        let must = |prefix| value(prefix).unwrap_or_else(|| panic!("no {prefix} {}", answer.body));
        let theirs: Fingerprint = must("a=fingerprint:").parse().expect("a fingerprint");
        let is_mine = |remote: &SocketAddr| remote.is_ipv4() == local.is_ipv4();
        let candidates = answer.body.lines().filter_map(|line| {
            let words: Vec<_> = line.strip_prefix("a=candidate:")?.split(' ').collect();
            Some(SocketAddr::new(words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?))
        });
        let remote = candidates.into_iter().find(is_mine);
        let ssrc = value("a=ssrc:").and_then(|rest| rest.split(' ').next()?.parse().ok());
        Browser {
            local,
            remote: remote.unwrap_or_else(|| panic!("no candidate: {}", answer.body)),
            location: answer.location.clone(),
            ssrc,
            keys: None,
            is_closed: false,
            is_checked: false,
            was_asked: false,
            hellos: vec![],
            ice: IcePeer::told(must("a=ice-ufrag:"), must("a=ice-pwd:")),
            replies: vec![],
            client: Client::new(own, &[theirs], profiles, 1200).expect("a client"),
            next_check: Instant::now(),
        }
    }

    /// Sends what is due. DTLS waits for an answered check, unless `is_hasty`.
    pub fn turn(&mut self, wire: &mut impl Wire, is_hasty: bool) {
        let now = Instant::now();
        for reply in self.replies.drain(..) {
            wire.send(self.local, self.remote, &reply);
        }
        if now >= self.next_check && !is_hasty {
            self.next_check = now + if self.is_checked { CHECKS.1 } else { CHECKS.0 };
            wire.send(self.local, self.remote, &self.ice.check(true));
        }
        if self.is_checked || is_hasty {
            let _ = self.client.on_timeout();
            while let Some(datagram) = self.client.poll_transmit() {
                wire.send(self.local, self.remote, &datagram);
                self.hellos.push(datagram);
            }
        }
    }

    /// Takes a datagram; media comes back.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match classify(bytes) {
            Kind::Stun => {
                self.is_checked |= matches!(self.ice.answer(bytes), Some(Ok(_)));
                let reply = ice::reply(PASSWORD, bytes, self.remote);
                self.was_asked |= reply.is_some();
                self.replies.extend(reply);
            }
            Kind::Dtls => match self.client.receive(bytes) {
                Ok(Progress::Done(keys)) => self.keys = Some(keys),
                Ok(Progress::Closed) => self.is_closed = true,
                Ok(Progress::InProgress) | Err(_) => {}
            },
            _ => return Some(bytes),
        }
        None
    }

    /// Says goodbye, as `RTCPeerConnection.close()` does.
    pub fn close(&mut self) {
        self.client.close();
    }

    /// Its profile, what it seals with and what the node does, once the handshake is done.
    pub fn srtp(&self) -> Option<(Profile, KeyMaterial, KeyMaterial)> {
        let keys = self.keys.as_ref()?;
        let profile = match keys.profile {
            dtls::Profile::AeadAes128Gcm => Profile::AeadAes128Gcm,
            dtls::Profile::AeadAes256Gcm => Profile::AeadAes256Gcm,
            dtls::Profile::AesCm128HmacSha1_80 => Profile::AesCm128HmacSha1_80,
        };
        let key = |bytes: &[u8]| KeyMaterial { bytes: List::from_slice(bytes).expect("fits") };
        Some((profile, key(&keys.client), key(&keys.server)))
    }
}

/// The session that a test gives to ends whose session only the node knows.
pub const SOME_SESSION: SessionId = SessionId(0);

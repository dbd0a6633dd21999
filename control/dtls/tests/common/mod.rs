//! Peers for the tests: credentials, an OpenSSL client in memory, and a link between it and a
//! [`Handshake`] that a test may disturb.
#![allow(dead_code, reason = "every test uses its part")]

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};

use dtls::{Algorithm, Fingerprint, Handshake, Identity, Keys, Progress, Refusal};

pub const MTU: u16 = 1200;
pub const NOW_UNIX_S: u64 = 1_800_000_000;
pub const ALL_PROFILES: &str =
    "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_32";
/// Longest wait for something that must happen; OpenSSL repeats after 1 s, 2 s, 4 s.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate(Duration::from_secs(86_400), NOW_UNIX_S).unwrap())
}

/// A peer's key and certificate.
pub struct Credentials {
    pub key: PKey<Private>,
    pub certificate: X509,
}

impl Credentials {
    pub fn ecdsa() -> Self {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        Self::of(PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap())
    }

    pub fn rsa(bits: u32) -> Self {
        Self::of(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    /// Expired, and by nobody: neither matters.
    fn of(key: PKey<Private>) -> Self {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "peer").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(1_000_000_000).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(1_100_000_000).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { key, certificate: builder.build() }
    }

    pub fn fingerprint(&self, algorithm: Algorithm) -> Fingerprint {
        let hash = match algorithm {
            Algorithm::Sha256 => MessageDigest::sha256(),
            Algorithm::Sha384 => MessageDigest::sha384(),
            Algorithm::Sha512 => MessageDigest::sha512(),
        };
        Fingerprint::new(algorithm, &self.certificate.digest(hash).unwrap()).unwrap()
    }

    pub fn sha256(&self) -> Fingerprint {
        self.fingerprint(Algorithm::Sha256)
    }
}

/// Datagrams to and from the client's library.
#[derive(Default)]
pub struct Pipe {
    pub incoming: VecDeque<Vec<u8>>,
    pub outgoing: VecDeque<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(Error::from(ErrorKind::WouldBlock))?;
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An OpenSSL client without a socket.
pub struct Client {
    pub tls: SslStream<Pipe>,
    pub is_done: bool,
    pub has_failed: bool,
}

impl Client {
    pub fn new(credentials: Option<&Credentials>, profiles: &str) -> Self {
        Self::with(credentials, profiles, |_| {})
    }

    /// A client whose context a test has changed.
    pub fn with(
        credentials: Option<&Credentials>,
        profiles: &str,
        change: impl FnOnce(&mut SslContextBuilder),
    ) -> Self {
        let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
        // A test may want what OpenSSL would not do by itself.
        context.set_security_level(0);
        context.set_verify(SslVerifyMode::NONE);
        if !profiles.is_empty() {
            context.set_tlsext_use_srtp(profiles).unwrap();
        }
        change(&mut context);
        if let Some(credentials) = credentials {
            context.set_certificate(&credentials.certificate).unwrap();
            context.set_private_key(&credentials.key).unwrap();
        }
        context.set_options(openssl::ssl::SslOptions::NO_QUERY_MTU);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_mtu(MTU.into()).unwrap();
        ssl.set_connect_state();
        let tls = SslStream::new(ssl, Pipe::default()).unwrap();
        Self { tls, is_done: false, has_failed: false }
    }

    /// Lets the library work, and repeat what is due.
    pub fn turn(&mut self) {
        while !self.is_done {
            match self.tls.do_handshake() {
                Ok(()) => self.is_done = true,
                Err(_) => {
                    self.has_failed = self.tls.ssl().state_string_long() == "error";
                    if self.has_failed || self.tls.get_ref().incoming.is_empty() {
                        return;
                    }
                }
            }
        }
        while !self.tls.get_ref().incoming.is_empty() {
            let _ = self.tls.ssl_read(&mut [0; 256]);
        }
    }

    /// What the client sends by itself: its ClientHello at first.
    pub fn sends(&mut self) -> Vec<Vec<u8>> {
        self.turn();
        self.tls.get_mut().outgoing.drain(..).collect()
    }

    /// The same bytes as [`joined`] makes of the server's keys.
    pub fn material(&self, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.tls.ssl().export_keying_material(&mut out, "EXTRACTOR-dtls_srtp", None).unwrap();
        out
    }
}

/// Keys as the exporter yields them (RFC 5764 section 4.2).
pub fn joined(keys: &Keys) -> Vec<u8> {
    let (client, client_salt) = keys.client.split_at(keys.profile.key_bytes());
    let (server, server_salt) = keys.server.split_at(keys.profile.key_bytes());
    [client, server, client_salt, server_salt].concat()
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Server,
    Client,
}

/// A client and a server, and what has happened.
pub struct Link {
    pub client: Client,
    pub server: Handshake,
    pub keys: Option<Keys>,
    pub refused: Option<Refusal>,
    pub is_closed: bool,
    /// Datagrams seen so far, both ways.
    pub seen: Vec<(To, Vec<u8>)>,
}

impl Link {
    pub fn new(client: Client, expected: &[Fingerprint]) -> Self {
        Self::with(client, Handshake::server(&identity(), expected, MTU).unwrap())
    }

    pub fn with(client: Client, server: Handshake) -> Self {
        Self { client, server, keys: None, refused: None, is_closed: false, seen: vec![] }
    }

    /// A datagram reaches the server.
    pub fn give(&mut self, datagram: &[u8]) {
        let progress = self.server.receive(datagram);
        self.note(progress);
    }

    fn note(&mut self, progress: std::result::Result<Progress, Refusal>) {
        match progress {
            Ok(Progress::Done(keys)) => {
                assert!(self.keys.is_none(), "keys are given out once");
                self.keys = Some(keys);
            }
            Ok(Progress::Closed) => self.is_closed = true,
            Ok(Progress::InProgress) => {}
            Err(refusal) => self.refused = Some(refusal),
        }
    }

    /// One exchange, each way. `network` says which datagrams arrive in place of one.
    pub fn exchange(&mut self, network: &mut impl FnMut(To, usize, &[u8]) -> Vec<Vec<u8>>) {
        for datagram in self.client.sends() {
            let arriving = network(To::Server, self.seen.len(), &datagram);
            self.seen.push((To::Server, datagram));
            arriving.iter().for_each(|datagram| self.give(datagram));
        }
        let progress = self.server.on_timeout();
        self.note(progress);
        while let Some(datagram) = self.server.poll_transmit() {
            let arriving = network(To::Client, self.seen.len(), &datagram);
            self.seen.push((To::Client, datagram));
            self.client.tls.get_mut().incoming.extend(arriving);
        }
    }

    pub fn is_done(&self) -> bool {
        self.keys.is_some() && self.client.is_done
    }

    /// Exchanges until both are done or one has given up.
    pub fn run(&mut self) {
        self.run_over(|_, _, datagram| vec![datagram.to_vec()]);
    }

    /// As [`run`](Self::run), over a network of the test's. Where it loses datagrams this takes as
    /// long as OpenSSL's timer, which nothing safe can set: a second at least.
    pub fn run_over(&mut self, mut network: impl FnMut(To, usize, &[u8]) -> Vec<Vec<u8>>) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_done() && !self.client.has_failed && self.refused.is_none() {
            assert!(Instant::now() < deadline, "neither done nor refused");
            let before = self.seen.len();
            self.exchange(&mut network);
            if self.seen.len() == before {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    pub fn assert_equal_keys(&self) {
        let ours = joined(self.keys.as_ref().expect("keys"));
        assert_eq!(ours, self.client.material(ours.len()));
    }
}

/// Numbers for junk; the same in every run.
pub struct Junk(pub u64);

impl Junk {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn bytes(&mut self, max: usize) -> Vec<u8> {
        let length = self.next() as usize % (max + 1);
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A record of DTLS 1.2.
pub fn record(kind: u8, epoch: u16, number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0xfe, 0xfd];
    out.extend(epoch.to_be_bytes());
    out.extend(&number.to_be_bytes()[2..]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

//! DTLS-SRTP without I/O (RFC 5764, 6347, 5705): who the other side is, and the keys for media.
//!
//! A [`Handshake`] is a value: datagrams go in with [`Handshake::receive`], come out with
//! [`Handshake::poll_transmit`], and once it yields [`Keys`], exactly once. It opens no socket and
//! starts no thread; the library underneath (OpenSSL) reads a clock for its retransmissions and
//! draws random numbers, we do neither. No type of that library shows outside this crate, so that
//! another one can take its place.
//!
//! What holds for every handshake:
//!
//! | question | answer |
//! |---|---|
//! | role | server (`a=setup:passive`), so that our order of profiles decides |
//! | version, suites | DTLS 1.2; ECDHE with an AEAD; extended master secret or nothing (RFC 7627) |
//! | profiles | AEAD-AES-128-GCM, AEAD-AES-256-GCM, AES-CM-128-HMAC-SHA1-80, in this order |
//! | who is it | the certificate must match an announced fingerprint, before any key is given out |
//! | renegotiation, tickets, resumption, compression | none |
//!
//! What is not authenticated cannot end a handshake if it can be told from the peer's messages at
//! all: `filter.rs` drops it. Whoever can send well-formed messages from the peer's own address, in the
//! moment between our first answer and the peer's, can still spoil that handshake, because DTLS
//! 1.2 authenticates them only at the end; it gets no keys by it. That is why only datagrams from a
//! path with consent (RFC 7675) may reach this crate, and why a caller may start another handshake.
//!
//! Start reading at `handshake.rs`.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod client;
mod datagrams;
mod filter;
mod fingerprint;
mod handshake;
mod identity;
mod keys;
pub mod limits;
mod refusal;

#[cfg(feature = "client")]
pub use client::Client;
pub use fingerprint::{Algorithm, Fingerprint, FingerprintError};
pub use handshake::{Handshake, Progress};
pub use identity::{Identity, certificate_expiry};
pub use keys::{Keys, Profile};
pub use refusal::{Refusal, SetupError};

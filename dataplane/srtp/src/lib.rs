//! SRTP and SRTCP: profiles, key derivation, packet index, replay window, providers
//! (RFC 3711, RFC 6188, RFC 7714).
//!
//! Plain computation: no I/O, no clock, no randomness, no allocation in seal and open. The caller
//! keeps the order that makes it safe: [`ReplayWindow::estimate`], [`ReplayWindow::check`],
//! [`Provider::open_many`], and only for what opened [`ReplayWindow::commit`].
//!
//! The HMAC-SHA1 of STUN's MESSAGE-INTEGRITY is here too ([`IntegrityKey`]), next to SRTP's.
//!
//! Start reading at [`Provider`]; keys come from [`MasterKey`] through [`Inbound`] and
//! [`Outbound`].
#![forbid(unsafe_code)]

#[cfg(feature = "audit")]
pub mod audit;
pub mod index;
mod integrity;
mod kdf;
mod key;
mod profile;
mod provider;
mod replay;
#[cfg(test)]
#[path = "../tests/suite/seeds.rs"]
mod seeds;
mod transform;
#[cfg(test)]
#[path = "../tests/suite/vectors.rs"]
mod vectors;

/// Asks for the cache line in which a value begins before it is needed; a hint.
pub use aead::prefetch;
pub use index::{EgressIndex, EgressRtcpIndex, PacketIndex, RocState, RtcpIndex};
pub use integrity::{IntegrityKey, hmac_sha1, hmac_sha1_verify};
pub use kdf::session_keys;
pub use key::{KeyError, KeyMaterial, MasterKey, SessionKeys};
pub use profile::{MASTER_LEN_MAX, OVERHEAD_MAX, Profile, UnknownProfile};
#[cfg(feature = "null")]
pub use provider::NullProvider;
pub use provider::{
    AesGcmProvider, FanoutKey, FanoutProvider, NoKernel, OpenError, OpenJob, Plaintext, Provider,
    RTP_HEADER_MIN, RingProvider, RtcpPeek, SealError, SealJob, peek_rtcp,
};
pub use replay::{REPLAY_WIDTH, RTCP_REPLAY_WIDTH, Replay, ReplayWindow, RtcpReplayWindow};
pub use transform::{Inbound, Outbound};

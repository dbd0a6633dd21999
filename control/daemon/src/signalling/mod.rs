//! Session descriptions: what a peer offers, what it may name as its address, what we answer.
//!
//! Pure: no I/O, no clock, and randomness only as an argument. Parsing of lines is `sdp-types`', which
//! keeps every attribute with its section (a=crypto too) and never puts a line's content into an error
//! or a log.

pub mod address;
pub mod answer;
mod bundle;
pub mod codec;
pub mod extension;
pub mod fragment;
pub mod offer;
pub mod sdes;
mod section;
mod streams;

pub use offer::{
    Offer, OfferedCodec, PeerIce, Role, Section, SectionOffer, Security, Stream, Terms,
};

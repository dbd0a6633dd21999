//! Real peers of a real node: ICE agents, DTLS clients, SRTP ends, signalling, and the programs
//! themselves in namespaces. Tests and measurements share it; nothing of a node does.
#![forbid(unsafe_code)]

pub mod ice;
pub mod netns;
pub mod node;
pub mod peer;
pub mod sdes;
pub mod webrtc;

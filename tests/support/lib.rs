//! What the whole-system tests share: a world of shards in memory, peers with real keys, oracles, and
//! the real programs in namespaces of their own.
#![forbid(unsafe_code)]

pub use roomlane_peers::{netns, node, peer, sdes, webrtc};

pub mod bundle;
pub mod ice;
pub mod mem;
pub mod rng;
pub mod world;

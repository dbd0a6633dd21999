//! What the whole-system tests share: a world of shards in memory, peers with real keys, oracles, and
//! the real programs in namespaces of their own.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod ice;
pub mod mem;
pub mod netns;
pub mod node;
pub mod peer;
pub mod rng;
pub mod sdes;
pub mod webrtc;
pub mod world;

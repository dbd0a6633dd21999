//! What the whole-system tests share: a world of shards in memory, peers with real keys, and oracles.
#![forbid(unsafe_code)]

pub mod mem;
pub mod peer;
pub mod rng;
pub mod world;

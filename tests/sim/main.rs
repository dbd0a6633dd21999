//! Simulation: shards, peers and the wire in one process, under one clock, from a seed.

mod crash;
mod feedback;
mod forward;
mod random;
mod refuse;

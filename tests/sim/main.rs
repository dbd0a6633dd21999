//! Simulation: shards, peers and the wire in one process, under one clock, from a seed.

mod bundle;
mod capture;
mod crash;
mod feedback;
mod forward;
mod ice;
mod ice_refuse;
mod look;
mod random;
mod refuse;
mod repair;
mod simulcast;
mod trace;
mod upstream;

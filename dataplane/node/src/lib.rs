//! The data-plane process: workers, pins, rings, regions.
//!
//! A node is a worker per shard, each on its own core, and a thread that greets the control plane and
//! hands out the stats region. Start reading at [`worker`], then [`node`].
#![forbid(unsafe_code)]

pub mod cable;
pub mod describe;
pub mod idle;
pub mod ledger;
pub mod link;
pub mod mailbox;
pub mod node;
pub mod outside;
pub mod pin;
pub mod ports;
pub mod privileges;
pub mod publish;
pub mod regions;
pub mod relay;
pub mod supervision;
pub mod telemetry;
pub mod worker;

//! The shard core: a value that turns packets and commands into packets and events.
//!
//! It has no I/O, no clock and no randomness of its own, allocates nothing after its start, and holds no
//! lock or atomic. Start reading at [`shard`]; the packet's way is `Shard::process`, one stage after the
//! other, each in its own file under `stage/`.
#![forbid(unsafe_code)]

mod budget;
pub mod buf;
pub mod burst;
mod capture;
mod commands;
mod events;
mod fanout;
mod gate;
mod history;
mod ice;
mod ingress;
pub mod io;
#[cfg(test)]
mod isolation;
mod layers;
pub mod limits;
mod look;
mod membership;
mod munger;
mod nack;
pub mod policer;
mod publication;
mod reception;
mod remb;
mod report;
mod room;
mod rows;
mod session;
pub mod shard;
mod slab;
mod stage;
mod table;
mod tick;
pub mod time;
mod trace;
mod transport;
mod transport_cc;
mod upstream;

pub use buf::{BUF_CAPACITY, Buf, HEADROOM, Pool};
pub use burst::{BURST_MAX, Burst, Datagram, Endpoint, Path, TX_BURST_MAX, TxBurst};
pub use gate::Start;
pub use io::{Io, RelayFeedback, RelayPacket};
pub use session::Reported;
pub use shard::{Shard, ShardConfig};
pub use time::{Duration, Instant, Now};

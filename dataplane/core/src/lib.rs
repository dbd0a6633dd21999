//! The shard core: a value that turns packets and commands into packets and events.
//!
//! It has no I/O, no clock and no randomness of its own, allocates nothing after its start, and holds no
//! lock or atomic. Start reading at `shard`.
#![forbid(unsafe_code)]

pub mod buf;
pub mod burst;
pub mod io;
pub mod time;

pub use buf::{Buf, Pool};
pub use burst::{BURST_MAX, Burst, Datagram, Endpoint, Path, TX_BURST_MAX, TxBurst};
pub use io::{Io, RelayFeedback, RelayPacket};
pub use time::{Duration, Instant, Now};

//! Batched UDP over io_uring: one system call receives or sends a whole burst.
//!
//! Receiving is a multishot `recvmsg` per socket with a ring of buffers that the kernel picks from,
//! so a datagram lands in the buffer it is then forwarded from: nothing is copied here. The kernel
//! puts addresses in front of the payload; that room is the headroom once they are read.
//! Sending is a `sendmsg` entry per datagram, handed over by one submit per burst. It never waits: what
//! the socket does not take is dropped and counted.
//!
//! Start reading at [`UdpRing`]. [`packet`] has the buffers, `socket` the addresses and
//! options, `rx`, `tx` and `bufring` what the kernel is told about memory.
//!
//! Absent on purpose: kernel polling threads (they would take a core), zero-copy send (pays from some
//! 4 KiB on; media packets are smaller), segmentation offload (every packet has its own key).

mod bufring;
mod error;
pub mod packet;
mod ring;
mod rx;
mod socket;
mod tx;

pub use error::UringError;
pub use packet::{CAPACITY_BYTES, HEADROOM_BYTES, Packet};
pub use ring::{Arrival, Config, Departure, RingStats, SendError, UdpRing};
pub use socket::SOCKETS_MAX;

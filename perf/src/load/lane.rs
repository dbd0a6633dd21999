//! Addresses of the generator: so many local endpoints on few sockets.
//!
//! A node knows a session by its remote endpoint, so each session here needs one of its own. A block of
//! addresses is local to the namespace as a whole (a local route), and one wildcard socket serves all of
//! them on one port: it is told which address a datagram came to, and says which one it leaves from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use roomlane_peers::netns::Lab;
use uring::{Config, SOCKETS_MAX, UdpRing};

/// First address of the block; the peers' own and the node's are below.
const BLOCK: [u8; 4] = [198, 18, 7, 128];
/// The block as a route.
const BLOCK_ROUTE: &str = "198.18.7.128/25";
/// Addresses of it that are used: not the last one, which is a broadcast.
const ADDRESSES: u32 = 126;
/// Ports of the sockets, from here on.
const PORT: u16 = 20_000;
/// Sessions that fit.
pub const LANES_MAX: u32 = ADDRESSES * SOCKETS_MAX as u32;

/// The endpoint with this number.
///
/// # Panics
/// From [`LANES_MAX`] on.
pub fn lane(number: u32) -> SocketAddr {
    assert!(number < LANES_MAX, "scenarios are checked");
    let ip = Ipv4Addr::from(u32::from_be_bytes(BLOCK) + number % ADDRESSES);
    // Below `SOCKETS_MAX`.
    SocketAddr::from((ip, PORT + (number / ADDRESSES) as u16))
}

/// Which number an endpoint has.
pub fn number(at: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = at.ip() else { return None };
    let ip = u32::from(ip).checked_sub(u32::from_be_bytes(BLOCK)).filter(|ip| *ip < ADDRESSES)?;
    let socket = at.port().checked_sub(PORT).filter(|socket| usize::from(*socket) < SOCKETS_MAX)?;
    Some((u32::from(socket) * ADDRESSES + ip) as usize)
}

/// Makes the block local in the peers' namespace.
///
/// # Errors
/// The host's own words.
pub fn own_block(lab: &Lab) -> Result<(), String> {
    lab.peers.exec(&["ip", "route", "add", "local", BLOCK_ROUTE, "dev", "peer0"]).map(drop)
}

/// Sockets for `lanes` endpoints, on the thread that will use them.
///
/// # Errors
/// The binding's.
pub fn open(lanes: u32) -> Result<UdpRing, uring::UringError> {
    let sockets = lanes.div_ceil(ADDRESSES).max(1) as u16;
    let addresses = (0..sockets).map(|at| SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT + at)));
    UdpRing::bind(&Config {
        rx_buffers: 8192,
        pool_buffers: 16_384,
        polled: true,
        socket_buffer_bytes: 32 << 20,
        ..Config::new(addresses.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_is_another_endpoint_and_knows_its_number() {
        for at in 0..LANES_MAX {
            assert_eq!(number(lane(at)), Some(at as usize));
        }
        for stranger in ["198.18.7.127:20000", "198.18.7.254:20000", "198.18.7.128:20008"] {
            assert_eq!(number(stranger.parse().unwrap()), None, "{stranger}");
        }
        assert_eq!(number("[::1]:20000".parse().unwrap()), None);
    }
}

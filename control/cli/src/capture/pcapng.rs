//! A pcapng file of headers: IP and UDP headers made up from the addresses that the control daemon told,
//! what is a header behind them, and the length that the packet had.
//!
//! Format: draft-ietf-opsawg-pcapng, link type RAW (101), times in nanoseconds.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINKTYPE_RAW: u16 = 101;
/// IPv6, UDP, and the longest header that is told.
const SNAP_LEN: u32 = 40 + 8 + 76;

const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const SHB_APPLICATION: u16 = 4;
const EPB_FLAGS: u16 = 2;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// In nanoseconds since 1970.
    pub unix_ns: u64,
    /// It left the node.
    pub is_sent: bool,
    /// The node's end.
    pub local: (IpAddr, u16),
    /// The peer's end.
    pub remote: (IpAddr, u16),
    /// Bytes of the datagram.
    pub len: u16,
    /// As many of them as are a header.
    pub head: Vec<u8>,
    /// Whose it is.
    pub comment: String,
}

/// The front of the file. `what` is said of the capture as a whole.
pub fn begin(out: &mut dyn Write, what: &str) -> io::Result<()> {
    let mut body = vec![];
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend([1, 0, 0, 0]);
    body.extend(u64::MAX.to_le_bytes());
    option(&mut body, COMMENT, what.as_bytes());
    let application = format!("roomlane {}", env!("CARGO_PKG_VERSION"));
    option(&mut body, SHB_APPLICATION, application.as_bytes());
    option(&mut body, 0, &[]);
    block(out, SECTION, &body)?;
    body.clear();
    body.extend(LINKTYPE_RAW.to_le_bytes());
    body.extend([0, 0]);
    body.extend(SNAP_LEN.to_le_bytes());
    option(&mut body, IF_NAME, b"roomlane");
    option(&mut body, IF_DESCRIPTION, b"shards, above UDP; IP and UDP headers are made up");
    option(&mut body, IF_TSRESOL, &[9]);
    option(&mut body, 0, &[]);
    block(out, INTERFACE, &body)
}

/// Appends a packet. Of two ends in different families nothing can be made.
pub fn packet(out: &mut dyn Write, packet: &Packet) -> io::Result<()> {
    let (from, to) = match packet.is_sent {
        true => (packet.local, packet.remote),
        false => (packet.remote, packet.local),
    };
    let Some(mut bytes) = headers(from, to, packet.len) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "ends in different families"));
    };
    let whole = bytes.len() + usize::from(packet.len);
    bytes.extend(&packet.head[..packet.head.len().min(usize::from(packet.len))]);
    let mut body = vec![];
    body.extend([0; 4]);
    body.extend(((packet.unix_ns >> 32) as u32).to_le_bytes());
    body.extend((packet.unix_ns as u32).to_le_bytes());
    body.extend((bytes.len() as u32).to_le_bytes());
    body.extend((whole as u32).to_le_bytes());
    body.extend(&bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    option(&mut body, EPB_FLAGS, &u32::from(packet.is_sent).saturating_add(1).to_le_bytes());
    option(&mut body, COMMENT, packet.comment.as_bytes());
    option(&mut body, 0, &[]);
    block(out, PACKET, &body)
}

/// IP and UDP headers of a datagram of `len` bytes, without a UDP checksum: its bytes are not here.
fn headers(from: (IpAddr, u16), to: (IpAddr, u16), len: u16) -> Option<Vec<u8>> {
    let udp_len = len.saturating_add(8);
    let mut bytes = match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, udp_len),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, udp_len),
        _ => return None,
    };
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(udp_len.to_be_bytes());
    bytes.extend([0; 2]);
    Some(bytes)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, payload: u16) -> Vec<u8> {
    let [high, low] = payload.saturating_add(20).to_be_bytes();
    let mut bytes = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0];
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    bytes[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    bytes
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, payload: u16) -> Vec<u8> {
    let [high, low] = payload.to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, high, low, 17, 64];
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(1000)];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Type, length, body (whole words), length again.
fn block(out: &mut dyn Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&[&kind.to_le_bytes()[..], &len, body, &len].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(remote: &str, is_sent: bool) -> Packet {
        let remote: std::net::SocketAddr = remote.parse().unwrap();
        let local = match remote.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 18, 7, 2)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Packet {
            unix_ns: 1_700_000_000_123_456_789,
            is_sent,
            local: (local, 8000),
            remote: (remote.ip(), remote.port()),
            len: 172,
            head: vec![0x80; 12],
            comment: "s0-1-1 al***e".to_owned(),
        }
    }

    #[test]
    fn blocks_are_whole_words_with_their_length_at_both_ends() {
        let mut file = vec![];
        begin(&mut file, "headers only").unwrap();
        packet(&mut file, &sample("203.0.113.9:5000", false)).unwrap();
        packet(&mut file, &sample("[2001:db8::9]:5000", true)).unwrap();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, vec![]);
        while at < file.len() {
            let len = word(at + 4) as usize;
            assert_eq!((len % 4, word(at + len - 4) as usize), (0, len));
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET]);
    }

    #[test]
    fn a_header_says_the_length_that_the_packet_had_and_its_checksum_holds() {
        let bytes = headers(
            (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 5000),
            (IpAddr::V4(Ipv4Addr::new(198, 18, 7, 2)), 8000),
            172,
        )
        .unwrap();
        assert_eq!((bytes.len(), &bytes[2..4], &bytes[24..26]), (28, &[0, 200][..], &[0, 180][..]));
        let words = bytes[..20].chunks_exact(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mixed = (IpAddr::V6(Ipv6Addr::LOCALHOST), 1);
        assert_eq!(headers((IpAddr::V4(Ipv4Addr::LOCALHOST), 1), mixed, 9), None);
    }
}

//! Every limit of this crate, by name.

use core::time::Duration;

/// Largest datagram read, in bytes; larger ones are dropped.
pub const DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams that wait to be sent; more are dropped and repeated later, as if the network had lost
/// them.
pub const OUTGOING_MAX: usize = 16;
/// Smallest and largest datagram a handshake may be told to keep to, in bytes.
pub const MTU_MIN: u16 = 256;
/// See [`MTU_MIN`].
pub const MTU_MAX: u16 = 1500;
/// Longest ClientHello, in bytes. One with a post-quantum key share has 1.4 kB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 4096;
/// Longest Certificate message, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16_384;
/// Longest ClientKeyExchange, in bytes: a point of the largest curve and its length.
pub const KEY_EXCHANGE_BYTES_MAX: usize = 256;
/// Longest CertificateVerify, in bytes: a signature with RSA of 8,192 bits.
pub const VERIFY_BYTES_MAX: usize = 1032;
/// Encrypted records kept before the peer has changed its cipher: its Finished may overtake. Each
/// of them costs the library a buffer of 17 kB.
pub const EARLY_RECORDS_MAX: usize = 8;
/// How often the first answer is repeated because the peer repeated its question. The library's own
/// timer, one second and doubling, comes on top.
pub const REPEATS_MAX: usize = 8;
/// Calls of the library for one datagram; one would do if none of its records were out of order.
pub const TURNS_PER_DATAGRAM: usize = 16;
/// Fingerprints one peer may announce.
pub const FINGERPRINTS_MAX: usize = 8;
/// Smallest RSA key accepted from a peer, in bits.
pub const RSA_BITS_MIN: u32 = 2048;
/// How far a certificate's validity begins in the past: clocks of peers differ.
pub const BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// Longest validity of a certificate.
pub const VALID_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Last second a certificate can name: the end of the year 9999 (RFC 5280 section 4.1.2.5).
pub const UNIX_S_MAX: u64 = 253_402_300_799;

const _: () = assert!(MTU_MIN < MTU_MAX && MTU_MAX as usize <= DATAGRAM_BYTES_MAX);
const _: () = assert!(CLIENT_HELLO_BYTES_MAX < CERTIFICATE_BYTES_MAX);

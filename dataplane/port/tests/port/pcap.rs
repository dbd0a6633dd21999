//! The capturing port: the file's bytes, masking, what a device refused, and a disk that is full.

use std::io;

use port::Port;
use port::pcap::{Addresses, Pcap, PcapOptions};
use port::sim::{SimConfig, pair};
use roomlane_core::TxBurst;

use crate::support::*;

const OPTIONS: PcapOptions =
    PcapOptions { addresses: Addresses::Revealed, snap_len: 65_535, unix_offset_ns: 0 };

/// The enhanced packet blocks of a file: time, flags, original length, bytes. Walks the blocks as
/// the format says and checks that both lengths of each agree.
fn packets(file: &[u8]) -> Vec<(u64, u32, usize, Vec<u8>)> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(file[..28], unhex("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000"));
    let (mut at, mut found) = (28, Vec::new());
    let mut interfaces = 0;
    while at < file.len() {
        let (kind, len) = (u32_at(at), u32_at(at + 4) as usize);
        assert_eq!(u32_at(at + len - 4) as usize, len);
        match kind {
            1 => {
                interfaces += 1;
                assert_eq!((u32_at(at + 8), u32_at(at + 16)), (101, 0x0001_0009));
            }
            6 => {
                assert_eq!((u32_at(at + 8), interfaces), (0, 1));
                let time = u64::from(u32_at(at + 12)) << 32 | u64::from(u32_at(at + 16));
                let (kept, original) = (u32_at(at + 20) as usize, u32_at(at + 24) as usize);
                let bytes = file[at + 28..at + 28 + kept].to_vec();
                let options = at + 28 + kept.next_multiple_of(4);
                assert_eq!(u32_at(options), 0x0004_0002);
                found.push((time, u32_at(options + 4), original, bytes));
            }
            _ => panic!("block {kind}"),
        }
        at += len;
    }
    found
}

#[test]
fn both_directions_are_written_with_the_headers_they_would_have_had() {
    let (peer, device) = pair(
        SimConfig::new(A4.into()),
        SimConfig { addresses: vec![B4.into(), B6.into()], ..SimConfig::new(B4.into()) },
    );
    let mut peer = peer;
    let mut port =
        Pcap::new(device, Vec::new(), PcapOptions { unix_offset_ns: 7, ..OPTIONS }).unwrap();
    assert!(send(&mut peer, START, path((A4, 5000), (B4, 8000)), b"there"));
    receive(&mut port, START);
    assert!(send(&mut port, START, path((B4, 8000), (A4, 5000)), b"back"));
    let (_, file) = port.finish().unwrap();
    let written = packets(&file);
    let [(time, 1, 33, there), (_, 2, 32, back)] = &written[..] else { panic!("{written:?}") };
    assert_eq!(*time, START.0 + 7);
    let p = wire::ipv4::Ipv4::new_checked(&there[..]).unwrap();
    assert!(p.has_valid_checksum());
    assert_eq!((p.src(), p.dst()), (A4, B4));
    let u = wire::udp::Udp::new_checked(p.payload()).unwrap();
    assert!(u.has_valid_checksum(A4.into(), B4.into()));
    assert_eq!((u.src_port(), u.dst_port(), u.payload()), (5000, 8000, &b"there"[..]));
    let p = wire::ipv4::Ipv4::new_checked(&back[..]).unwrap();
    assert_eq!((p.src(), p.dst(), &p.payload()[8..]), (B4, A4, &b"back"[..]));
}

#[test]
fn a_datagram_of_ipv6_is_byte_for_byte_that_of_scapy() {
    let (mut peer, device) = pair(SimConfig::new(A6.into()), SimConfig::new(B6.into()));
    let mut port = Pcap::new(device, Vec::new(), OPTIONS).unwrap();
    assert!(send(&mut peer, START, path((A6, 5000), (B6, 8000)), b"roomlane"));
    receive(&mut port, START);
    let golden = unhex(crate::golden::UDP6);
    let mut want = golden[14..].to_vec();
    want[..2].copy_from_slice(&[0x60, 0]); // received datagrams tell no mark
    assert_eq!(packets(&port.finish().unwrap().1)[0].3, want);
}

#[test]
fn masked_peers_have_stable_pseudonyms_and_no_byte_of_their_address_is_in_the_file() {
    let capture = |key| {
        let (mut peer, device) = pair(
            SimConfig { addresses: vec![A4.into(), A6.into()], ..SimConfig::new(A4.into()) },
            SimConfig { addresses: vec![B4.into(), B6.into()], ..SimConfig::new(B4.into()) },
        );
        let options = PcapOptions { addresses: Addresses::Masked([key; 16]), ..OPTIONS };
        let mut port = Pcap::new(device, Vec::new(), options).unwrap();
        for _ in 0..2 {
            assert!(send(&mut peer, START, path((A4, 5000), (B4, 8000)), b"x"));
            assert!(send(&mut peer, START, path((A6, 5000), (B6, 8000)), b"x"));
        }
        receive(&mut port, START);
        assert!(send(&mut port, START, path((B4, 8000), (A4, 5000)), b"y"));
        port.finish().unwrap().1
    };
    let file = capture(1);
    assert!(!file.windows(4).any(|w| w == A4.octets()));
    assert!(!file.windows(16).any(|w| w == A6.octets()));
    let p = packets(&file);
    assert_eq!((&p[0].3, &p[1].3), (&p[2].3, &p[3].3));
    assert_eq!(p[0].3[12..16], p[4].3[16..20], "one peer, one pseudonym, both ways");
    assert_eq!((p[0].3[12] >> 4, &p[1].3[8..12]), (15, &[0x20, 0x01, 0x0d, 0xb8][..]));
    assert_ne!(packets(&capture(2))[0].3[12..16], p[0].3[12..16]);
}

#[test]
fn what_the_device_refused_is_not_in_the_file_until_it_is_sent() {
    let (mut peer, device) =
        pair(SimConfig { queue_len: 2, ..SimConfig::new(A4.into()) }, SimConfig::new(B4.into()));
    let mut port = Pcap::new(device, Vec::new(), OPTIONS).unwrap();
    let mut tx = TxBurst::new();
    for i in 0..5 {
        tx.push(datagram(&mut port, path((B4, 8000), (A4, 5000)), &[i]));
    }
    while !tx.is_empty() {
        port.tx_burst(START, &mut tx);
        port.tx_burst(START, &mut tx);
        receive(&mut peer, START);
    }
    let payloads: Vec<u8> =
        packets(&port.finish().unwrap().1).iter().map(|(.., bytes)| bytes[28]).collect();
    assert_eq!(payloads, [0, 1, 2, 3, 4]);
}

#[test]
fn packets_are_cut_at_the_snap_length_and_tell_their_own() {
    let (mut peer, device) = pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    let mut port = Pcap::new(device, Vec::new(), PcapOptions { snap_len: 41, ..OPTIONS }).unwrap();
    assert!(send(&mut peer, START, path((A4, 5000), (B4, 8000)), &[7; 100]));
    receive(&mut port, START);
    let p = packets(&port.finish().unwrap().1);
    assert_eq!((p[0].2, p[0].3.len()), (128, 41));
}

/// A disk with room for `left` bytes.
struct Disk {
    left: usize,
}

impl io::Write for Disk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(data.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_capture_and_not_the_port() {
    let (mut peer, device) = pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    let mut port = Pcap::new(device, Disk { left: 100 }, OPTIONS).unwrap();
    for _ in 0..3 {
        assert!(send(&mut peer, START, path((A4, 5000), (B4, 8000)), b"x"));
        assert_eq!(receive(&mut port, START).len(), 1);
    }
    assert_eq!(port.error().unwrap().kind(), io::ErrorKind::StorageFull);
    assert!(port.finish().is_err());
}

//! Packets made by hand after section 3.1 of the draft, and the ends of what can be carried.

use super::*;
use crate::rtcp::{Compound, Packet, Rules};
use crate::rtcp_write::Writer;

/// Two small deltas as a run; then a vector of lost, large (-10), small, lost, small; padding.
const FCI: [u8; 20] = [
    0, 5, 0, 7, 0, 0, 2, 9, // base, count, reference time (128 ms), feedback count
    0x20, 0x02, 0xc9, 0x10, // 0 01 0000000000010, 1 1 00 10 01 00 01 00 00
    4, 8, 0xff, 0xf6, 20, 255, 0, 0,
];
const ARRIVALS: [Option<u64>; 7] =
    [Some(129_000), Some(131_000), None, Some(128_500), Some(133_500), None, Some(197_250)];

fn read(fci: &[u8]) -> Vec<(u16, Option<i64>)> {
    TransportCc::new_checked(fci).unwrap().statuses().collect()
}

fn write(base: u16, arrivals: &[Option<u64>], len_max: usize) -> Result<(Vec<u8>, usize)> {
    let mut out = vec![0xee; 1500];
    let mut w = Writer::new(&mut out);
    let covered = w.transport_cc(1, 2, base, 9, arrivals, len_max)?;
    let len = w.finish();
    out.truncate(len);
    Ok((out, covered))
}

#[test]
fn a_packet_made_by_hand_is_read() {
    let cc = TransportCc::new_checked(&FCI).unwrap();
    assert_eq!((cc.base_sequence(), cc.status_count(), cc.feedback_count()), (5, 7, 9));
    assert_eq!(cc.reference_us(), 128_000);
    let want: Vec<_> = (5..12).zip(ARRIVALS.map(|at| at.map(|us| us as i64))).collect();
    assert_eq!(read(&FCI), want);
}

#[test]
fn the_packet_written_is_the_one_made_by_hand() {
    let (packet, covered) = write(5, &ARRIVALS, 1500).unwrap();
    // All seven in one vector: 1 1 01 01 00 10 01 00 01.
    let want = [
        0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 7, 0, 0, 2, 9, 0xd4, 0x91, 4, 8, 0xff,
        0xf6, 20, 255,
    ];
    assert_eq!((&packet[..], covered), (&want[..], 7));
}

#[test]
fn bytes_of_padding_as_browsers_tell_them_are_taken_off() {
    // The packet above without its last delta's packet: 6 statuses, three bytes over.
    for padding in 1..=3u8 {
        let mut packet = vec![0xaf, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 1, 0, 0, 2, 9];
        packet.extend([0x20, 1, 4, 0, 0, 0, 0, 0]);
        packet[27] = padding;
        let compound = Compound::new_checked(&packet, Rules::ReducedSize).unwrap();
        let Some(Packet::TransportCc(f)) = compound.packets().next() else { panic!() };
        assert_eq!(f.fci().len(), 16 - usize::from(padding));
        assert_eq!(read(f.fci()), [(5, Some(129_000))]);
        // No other packet may be padded so.
        packet[0] = 0xa1;
        let refused = Compound::new_checked(&packet, Rules::ReducedSize).unwrap_err();
        assert_eq!(refused, Error::BadPadding);
    }
}

#[test]
fn one_bit_vectors_and_long_runs_are_read() {
    // 1 0 10000000000001: arrived, twelve lost, arrived; then a run of 8,191 lost.
    let mut fci = vec![0xff, 0xff, 0x20, 0x0d, 0xff, 0xff, 0xff, 0, 0xa0, 0x01, 0x1f, 0xff];
    fci.extend([1, 2, 0, 0]);
    let got = read(&fci);
    assert_eq!(got.len(), 14 + 8191);
    assert_eq!(got[0], (0xffff, Some(-64_000 + 250)));
    assert_eq!(got[13], (12, Some(-64_000 + 750)));
    assert_eq!(got.iter().filter(|(_, at)| at.is_some()).count(), 2);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |fci: &[u8]| TransportCc::new_checked(fci).unwrap_err();
    // The two bytes of padding may go, no more.
    for len in 0..18 {
        assert_eq!(refused(&FCI[..len]), Error::Truncated, "{len}");
    }
    assert!(TransportCc::new_checked(&FCI[..18]).is_ok());
    let changed = |at: usize, value: u8| {
        let mut fci = FCI;
        fci[at] = value;
        refused(&fci)
    };
    assert_eq!(changed(3, 0), Error::BadLength);
    // The run's symbol and one of the vector's become the reserved one.
    assert_eq!(changed(8, 0x60), Error::BadType);
    assert_eq!(changed(10, 0xf9), Error::BadType);
    assert_eq!(changed(2, 0xff), Error::BadType, "deltas are taken for chunks");
}

#[test]
fn too_large_a_gap_ends_the_packet() {
    let gap = 32_767 * TICK_US;
    for (gap, covered) in [(gap, 3), (gap + TICK_US, 2)] {
        let arrivals = [Some(64_000), None, Some(64_000 + gap)];
        let (packet, got) = write(0, &arrivals, 1500).unwrap();
        assert_eq!((got, read(&packet[12..]).len()), (covered, covered));
    }
    let back = 32_768 * TICK_US;
    for (back, covered) in [(back, 2), (back + TICK_US, 1)] {
        let arrivals = [Some(64_000_000), Some(64_000_000 - back)];
        assert_eq!(write(0, &arrivals, 1500).unwrap().1, covered);
    }
}

#[test]
fn a_thousand_neighbours_need_one_chunk_and_a_byte_each() {
    let arrivals: Vec<_> = (0..1000).map(|i| Some(1_000_000 + 250 * i)).collect();
    let (packet, covered) = write(0, &arrivals, 1500).unwrap();
    assert_eq!((covered, packet.len()), (1000, 1024));
    assert_eq!(packet[20..22], [0x23, 0xe8]);
}

#[test]
fn nothing_to_tell_and_no_room_are_errors() {
    assert_eq!(write(0, &[], 1500), Err(Error::BadLength));
    assert_eq!(write(0, &[None, None], 1500), Err(Error::BadLength));
    for len_max in 0..24 {
        assert_eq!(write(0, &[Some(1)], len_max), Err(Error::NoSpace), "{len_max}");
    }
    assert_eq!(write(0, &[Some(1)], 24).unwrap().1, 1);
    // The buffer is a limit too, and a packet before it is kept.
    let mut out = [0; 12 + 23];
    let mut w = Writer::new(&mut out);
    w.pli(1, 2).unwrap();
    assert_eq!(w.transport_cc(1, 2, 0, 0, &[Some(1)], 1500), Err(Error::NoSpace));
    assert_eq!(w.finish(), 12);
}

//! Golden bytes, bounds and rules of RTCP, reading and writing together.

use super::*;
use crate::rtcp_write::Writer;

const INFO: SenderInfo =
    SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 0x1112_1314, packets: 5, bytes: 600 };

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0xaabb_ccdd,
    fraction_lost: 64,
    cumulative_lost: -2,
    highest_sequence: 0x0001_0203,
    jitter: 9,
    last_sr: 0x0304_0506,
    delay_since_last_sr: 0x0001_0000,
};

/// SR with one block, SDES and BYE: written by hand from the figures of RFC 3550 sections 6.4 to
/// 6.6.
const GOLDEN: [u8; 92] = [
    0x81, 200, 0, 12, 0, 0, 0, 1, // SR, one block, 12 words; SSRC
    1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0, 0, 0, 5, 0, 0, 2, 0x58, // sender info
    0xaa, 0xbb, 0xcc, 0xdd, 64, 0xff, 0xff, 0xfe, 0, 1, 2, 3, 0, 0, 0, 9, 3, 4, 5, 6, 0, 1, 0, 0,
    0x81, 202, 0, 4, 0, 0, 0, 1, 1, 8, b'r', b'o', b'o', b'm', b'l', b'a', b'n', b'e', 0,
    0, // SDES
    0x82, 203, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 4, b'd', b'o', b'n', b'e', 0, 0, 0, // BYE
];

fn write(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![0xee; 1500];
    let mut w = Writer::new(&mut out);
    fill(&mut w);
    let len = w.finish();
    out.truncate(len);
    out
}

fn golden() -> Vec<u8> {
    write(|w| {
        w.sender_report(1, &INFO, &[BLOCK]).unwrap();
        w.sdes_cname(1, b"roomlane").unwrap();
        w.bye(&[1, 2], b"done").unwrap();
    })
}

fn one(data: &[u8]) -> Packet<'_> {
    let compound = Compound::new_checked(data, Rules::ReducedSize).unwrap();
    assert_eq!(compound.packets().count(), 1);
    compound.packets().next().unwrap()
}

fn refused(data: &[u8]) -> Error {
    Compound::new_checked(data, Rules::ReducedSize).unwrap_err()
}

#[test]
fn a_compound_is_written_as_rfc_3550_draws_it() {
    assert_eq!(golden(), GOLDEN);
}

#[test]
fn a_compound_is_read_as_rfc_3550_draws_it() {
    let compound = Compound::new_checked(&GOLDEN, Rules::Compound).unwrap();
    let packets: Vec<_> = compound.packets().collect();
    let [Packet::SenderReport(sr), Packet::Sdes(sdes), Packet::Bye(bye)] = packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!((sr.ssrc(), sr.info()), (1, INFO));
    assert_eq!(sr.blocks().collect::<Vec<_>>(), [BLOCK]);
    let chunks: Vec<_> = sdes.chunks().collect();
    assert_eq!((chunks.len(), chunks[0].ssrc()), (1, 1));
    assert_eq!(chunks[0].cname(), Some(&b"roomlane"[..]));
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(bye.reason(), Some(&b"done"[..]));
}

#[test]
fn a_compound_cut_between_packets_is_shorter_and_elsewhere_refused() {
    for len in 0..GOLDEN.len() {
        let result = Compound::new_checked(&GOLDEN[..len], Rules::Compound);
        match len {
            52 | 72 => assert!(result.is_ok(), "{len}"),
            _ => assert_eq!(result.unwrap_err(), Error::Truncated, "{len}"),
        }
    }
}

#[test]
fn a_report_comes_first_unless_reduced_size_was_negotiated() {
    let pli = write(|w| w.pli(1, 2).unwrap());
    assert_eq!(Compound::new_checked(&pli, Rules::Compound).unwrap_err(), Error::BadType);
    assert!(Compound::new_checked(&pli, Rules::ReducedSize).is_ok());
    let rr_first = write(|w| {
        w.receiver_report(1, &[]).unwrap();
        w.pli(1, 2).unwrap();
    });
    assert!(Compound::new_checked(&rr_first, Rules::Compound).is_ok());
}

#[test]
fn padding_is_taken_off_the_last_packet_and_refused_elsewhere() {
    let mut last = write(|w| w.receiver_report(7, &[BLOCK]).unwrap());
    let rr_len = last.len();
    last.extend([0, 0, 0, 4]);
    last[0] |= 0x20;
    last[3] += 1;
    let Packet::ReceiverReport(rr) = one(&last) else { panic!() };
    assert_eq!((rr.ssrc(), rr.blocks().next()), (7, Some(BLOCK)));
    for count in [0, 3, 36, 255] {
        let mut b = last.clone();
        *b.last_mut().unwrap() = count;
        assert_eq!(refused(&b), Error::BadPadding, "{count}");
    }
    // All 32 bytes as padding: no padding problem, but no report is left either.
    let mut b = last.clone();
    *b.last_mut().unwrap() = 32;
    assert_eq!((refused(&b), rr_len), (Error::BadLength, 32));
    last.extend(write(|w| w.pli(1, 2).unwrap()));
    assert_eq!(refused(&last), Error::BadPadding);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    for at in [0, 52, 72] {
        let mut b = GOLDEN;
        b[at] += 1;
        assert_eq!(
            Compound::new_checked(&b, Rules::Compound).unwrap_err(),
            Error::BadLength,
            "{at}"
        );
    }
    let mut short_feedback = write(|w| w.pli(1, 2).unwrap());
    short_feedback.truncate(8);
    short_feedback[3] = 1;
    assert_eq!(refused(&short_feedback), Error::BadLength);
    // A BYE reason and an SDES item that run over the end; a NACK and a FIR that ask for nothing.
    assert_eq!(refused(&[0x80, 203, 0, 1, 4, 1, 2, 3]), Error::BadLength);
    assert_eq!(refused(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b']), Error::BadLength);
    assert_eq!(refused(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 3, b'a', b'b']), Error::BadLength);
    assert_eq!(refused(&[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]), Error::BadLength);
    assert_eq!(refused(&[0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]), Error::BadLength);
}

#[test]
fn other_versions_are_refused() {
    for version in [0, 1, 3] {
        let mut b = GOLDEN;
        b[72] = b[72] & 0x3f | version << 6;
        assert_eq!(Compound::new_checked(&b, Rules::Compound).unwrap_err(), Error::BadVersion);
    }
}

#[test]
fn feedback_is_told_apart() {
    let pli = write(|w| w.pli(1, 2).unwrap());
    assert_eq!(pli, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    let Packet::Pli(f) = one(&pli) else { panic!() };
    assert_eq!((f.sender_ssrc(), f.media_ssrc()), (1, 2));
    let fir = write(|w| w.fir(1, 2, 9).unwrap());
    assert_eq!(fir, [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0]);
    let Packet::Fir(f) = one(&fir) else { panic!() };
    assert_eq!((f.sender_ssrc(), f.entries().collect::<Vec<_>>()), (1, vec![(2, 9)]));
    let remb = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0, 0, 1];
    assert!(matches!(one(&remb), Packet::Remb(_)));
    let mut not_remb = remb;
    not_remb[12] = b'X';
    assert!(matches!(one(&not_remb), Packet::Other { packet_type: 206, count: 15, .. }));
    let twcc = [0x8f, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    assert!(matches!(one(&twcc), Packet::TransportCc(_)));
    let app = [0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e'];
    assert!(
        matches!(one(&app), Packet::Other { packet_type: 204, count: 0, body } if body.len() == 8)
    );
}

#[test]
fn a_nack_packs_seventeen_numbers_into_an_entry_and_wraps() {
    let lost = [65_530, 65_531, 65_531, 65_535, 0, 10, 11, 28];
    let b = write(|w| w.nack(1, 2, &lost).unwrap());
    // 65,530 with bits for +1, +5, +6 and +16 (10 after the wrap); 11; 28 is 17 after 11.
    assert_eq!(b[3], 5);
    assert_eq!(b[12..], [0xff, 0xfa, 0x80, 0x31, 0, 11, 0, 0, 0, 28, 0, 0]);
    let Packet::Nack(nack) = one(&b) else { panic!() };
    assert_eq!((nack.sender_ssrc(), nack.media_ssrc()), (1, 2));
    let read: Vec<_> = nack.lost().collect();
    assert_eq!(read, [65_530, 65_531, 65_535, 0, 10, 11, 28]);
    let all = write(|w| w.nack(1, 2, &(100..117).collect::<Vec<_>>()).unwrap());
    assert_eq!(all[12..], [0, 100, 0xff, 0xff]);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_rest() {
    let mut out = [0; 40];
    let mut w = Writer::new(&mut out);
    w.receiver_report(1, &[BLOCK]).unwrap();
    assert_eq!(w.pli(1, 2), Err(Error::NoSpace));
    assert_eq!(w.receiver_report(1, &[BLOCK; 32]), Err(Error::BadLength));
    assert_eq!(w.nack(1, 2, &[]), Err(Error::BadLength));
    assert_eq!(w.sdes_cname(1, &[b'x'; 256]), Err(Error::BadLength));
    assert_eq!(w.bye(&[], &[b'x'; 256]), Err(Error::BadLength));
    assert_eq!(w.len(), 32);
    let len = w.finish();
    assert!(Compound::new_checked(&out[..len], Rules::Compound).is_ok());
}

#[test]
fn cumulative_loss_saturates_at_24_bits() {
    for (given, read) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1), (5, 5)] {
        let block = ReportBlock { cumulative_lost: given, ..BLOCK };
        let b = write(|w| w.receiver_report(1, &[block]).unwrap());
        let Packet::ReceiverReport(rr) = one(&b) else { panic!() };
        assert_eq!(rr.blocks().next().unwrap().cumulative_lost, read);
    }
}

#[test]
fn names_of_every_length_end_in_a_zero_on_a_word() {
    for len in 0..=255 {
        let name = vec![b'n'; len];
        let b = write(|w| w.sdes_cname(3, &name).unwrap());
        assert_eq!(b.len() % 4, 0);
        let Packet::Sdes(sdes) = one(&b) else { panic!() };
        assert_eq!(sdes.chunks().next().unwrap().cname(), Some(&name[..]));
    }
}

#[test]
fn the_sender_of_a_sealed_packet_is_read_from_its_first_eight_bytes() {
    assert_eq!(sender_ssrc(&GOLDEN[..8]), Ok(1));
    assert_eq!(sender_ssrc(&GOLDEN[..7]), Err(Error::Truncated));
    assert_eq!(sender_ssrc(&[0x40, 200, 0, 1, 0, 0, 0, 1]), Err(Error::BadVersion));
    assert_eq!(sender_ssrc(&[0x80, 100, 0, 1, 0, 0, 0, 1]), Err(Error::BadType));
}

//! The least a host answers: ARP and ping for 198.18.7.2, in place. Enough for `ping` to be the
//! oracle.
#![allow(dead_code)]

use arrayvec::ArrayVec;
use dpdk::{Mbuf, RxQueue, TxQueue};

pub const OUR_IP: [u8; 4] = [198, 18, 7, 2];

/// Turns a request into its reply; false when it is none.
pub fn answer(frame: &mut [u8], mac: [u8; 6]) -> bool {
    if frame.len() < 42 {
        return false;
    }
    match frame[12..14] {
        [0x08, 0x06] if frame[20..22] == [0, 1] && frame[38..42] == OUR_IP => {
            frame[21] = 2;
            frame.copy_within(22..32, 32);
            frame[22..28].copy_from_slice(&mac);
            frame[28..32].copy_from_slice(&OUR_IP);
        }
        [0x08, 0x00] if frame[14] == 0x45 && frame[23] == 1 && frame[30..34] == OUR_IP => {
            if frame[34] != 8 {
                return false;
            }
            frame.copy_within(26..30, 30);
            frame[26..30].copy_from_slice(&OUR_IP);
            // Type 8 becomes 0, so the sum's complement grows by 0x0800 (RFC 1624).
            frame[34] = 0;
            let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
            let sum = (sum + (sum >> 16)) as u16;
            frame[36..38].copy_from_slice(&sum.to_be_bytes());
        }
        _ => return false,
    }
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(&mac);
    true
}

/// One turn: receive, answer, send. Returns how many were answered.
pub fn turn(rx: &mut RxQueue, tx: &mut TxQueue, mac: [u8; 6]) -> usize {
    let mut replies: ArrayVec<Mbuf, 32> = ArrayVec::new();
    rx.burst(32, |mut mbuf| {
        if answer(mbuf.bytes_mut(), mac) {
            replies.push(mbuf);
        }
    });
    tx.burst(&mut replies)
}

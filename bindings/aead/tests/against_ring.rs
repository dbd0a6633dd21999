//! Every shape of packet, on every path of this CPU, against `ring`.

use aead::{AES_128, AES_256, Context, HEADER_MAX, Kernel, Path, Record, TAG};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

struct Pair<const R: usize> {
    ours: Context<R>,
    ring: LessSafeKey,
}

fn kernels() -> Vec<Kernel> {
    let found: Vec<Kernel> = Path::ALL.into_iter().filter_map(Kernel::with).collect();
    assert!(!found.is_empty(), "this CPU has no AES instructions");
    found
}

/// Bytes that look like nothing in particular.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn pair_128(kernel: Kernel, seed: u64) -> Pair<AES_128> {
    let key: [u8; 16] = bytes(seed, 16).try_into().unwrap();
    let ring = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
    let ours = kernel.aes_128(&key);
    assert_eq!(ours.key(&mut [0; 32]), key);
    Pair { ours, ring }
}

fn pair_256(kernel: Kernel, seed: u64) -> Pair<AES_256> {
    let key: [u8; 32] = bytes(seed, 32).try_into().unwrap();
    let ring = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let ours = kernel.aes_256(&key);
    assert_eq!(ours.key(&mut [0; 32]), key);
    Pair { ours, ring }
}

fn ring_seal(key: &LessSafeKey, iv: [u8; 12], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut sealed = payload.to_vec();
    let nonce = Nonce::assume_unique_for_key(iv);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
    [header, &sealed].concat()
}

/// Seals one payload for all pairs, in packets that begin at `align`, and holds every byte to ring's; then opens them.
fn agree<const R: usize>(
    kernel: Kernel,
    pairs: &[Pair<R>],
    len: usize,
    headers: &[usize],
    align: usize,
) {
    let payload = bytes(len as u64, len);
    let mut room = vec![[0xee_u8; 2048]; pairs.len()];
    let base = |room: &[u8; 2048]| (64 - room.as_ptr() as usize % 64) % 64 + align;
    let iv = |at: usize| -> [u8; 12] { bytes(7 + at as u64, 12).try_into().unwrap() };
    let header = |at: usize| headers[at % headers.len()];
    let mut jobs: Vec<_> = room
        .iter_mut()
        .zip(pairs)
        .enumerate()
        .map(|(at, (room, pair))| {
            let begin = base(room);
            let packet = &mut room[begin..begin + header(at) + len + TAG];
            packet[..header(at)].copy_from_slice(&bytes(99 + at as u64, header(at)));
            Record::new(&pair.ours, iv(at), header(at), packet).unwrap()
        })
        .collect();
    kernel.seal(&payload, &mut jobs);
    let mut copies = room.clone();
    for (at, (room, pair)) in room.iter().zip(pairs).enumerate() {
        let total = header(at) + len + TAG;
        let begin = base(room);
        let expected = ring_seal(&pair.ring, iv(at), &bytes(99 + at as u64, header(at)), &payload);
        let what = format!("{kernel:?} len {len} header {} align {align} place {at}", header(at));
        assert_eq!(room[begin..begin + total], expected, "{what}");
        assert!(room[..begin].iter().all(|byte| *byte == 0xee), "before, {what}");
        assert!(room[begin + total..].iter().all(|byte| *byte == 0xee), "behind, {what}");
    }
    let mut jobs: Vec<_> = copies
        .iter_mut()
        .zip(&room)
        .zip(pairs)
        .enumerate()
        .map(|(at, ((copy, room), pair))| {
            let (begin, total) = (base(copy), header(at) + len + TAG);
            let from = base(room);
            let packet = room[from..from + total].to_vec();
            copy.fill(0xdd);
            copy[begin..begin + total].copy_from_slice(&packet);
            Record::new(&pair.ours, iv(at), header(at), &mut copy[begin..begin + total]).unwrap()
        })
        .collect();
    kernel.open(&mut jobs);
    assert!(jobs.iter().all(|job| job.is_authentic), "{kernel:?} len {len} align {align}");
    for (at, copy) in copies.iter().enumerate() {
        let begin = base(copy);
        let end = begin + header(at) + len;
        assert_eq!(copy[begin + header(at)..end], payload, "{kernel:?} opened, len {len}");
        assert!(copy[..begin].iter().chain(&copy[end + TAG..]).all(|byte| *byte == 0xdd));
    }
    if let Some(pair) = pairs.first() {
        let mut packet = bytes(99, header(0));
        packet.extend_from_slice(&payload);
        packet.extend_from_slice(&[0; TAG]);
        let mut job = Record::new(&pair.ours, iv(0), header(0), &mut packet).unwrap();
        kernel.seal_in_place(len, &mut job);
        let from = base(&room[0]);
        assert_eq!(packet, room[0][from..from + packet.len()], "{kernel:?} in place, len {len}");
    }
}

#[test]
fn every_length_with_every_header_is_sealed_and_opened_as_by_ring() {
    for kernel in kernels() {
        let small: Vec<_> = (0..3).map(|seed| pair_128(kernel, seed)).collect();
        let large: Vec<_> = (0..3).map(|seed| pair_256(kernel, seed)).collect();
        for len in 0..=1500 {
            for header in (0..=HEADER_MAX).step_by(3) {
                let headers = [header, (header + 1).min(HEADER_MAX), (header + 2).min(HEADER_MAX)];
                agree(kernel, &small, len, &headers, 0);
                agree(kernel, &large, len, &headers, 0);
            }
        }
    }
}

#[test]
fn every_length_at_every_alignment_is_sealed_and_opened_as_by_ring() {
    for kernel in kernels() {
        let small: Vec<_> = (0..2).map(|seed| pair_128(kernel, seed)).collect();
        let large: Vec<_> = (0..2).map(|seed| pair_256(kernel, seed)).collect();
        for len in 0..=1500 {
            for align in 0..64 {
                // Headers of one block and of several take turns; all of them are tried above.
                let headers = [12 + (len + align) % 5, 12 + (len * 7 + align) % 69];
                agree(kernel, &small, len, &headers, align);
                agree(kernel, &large, len, &headers, align);
            }
        }
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused_and_leaves_zeros() {
    for kernel in kernels() {
        let pair = pair_128(kernel, 5);
        for len in [0, 1, 15, 16, 17, 100, 223, 224, 225, 300] {
            let sealed = ring_seal(&pair.ring, [9; 12], &bytes(3, 20), &bytes(4, len));
            for bit in 0..8 * sealed.len() {
                let mut packet = sealed.clone();
                packet[bit / 8] ^= 1 << (bit % 8);
                let mut job = [Record::new(&pair.ours, [9; 12], 20, &mut packet).unwrap()];
                kernel.open(&mut job);
                assert!(!job[0].is_authentic, "{kernel:?} len {len} bit {bit}");
                assert!(packet[20..20 + len].iter().all(|byte| *byte == 0), "{kernel:?} {len}");
            }
        }
    }
}

/// Packets of one length are opened in a row; a burst has rows of any length, with forgeries in any place.
#[test]
fn a_burst_of_many_lengths_is_opened_packet_by_packet() {
    const LENS: [usize; 16] =
        [100, 100, 100, 0, 1200, 1200, 33, 100, 100, 15, 16, 16, 16, 1500, 223, 224];
    for kernel in kernels() {
        let pairs: Vec<_> = (0..LENS.len() as u64).map(|seed| pair_128(kernel, seed)).collect();
        for forged in 0..=LENS.len() {
            let sealed = |at: usize| {
                let (header, payload) = (bytes(3, 12 + at), bytes(at as u64, LENS[at]));
                ring_seal(&pairs[at].ring, [at as u8; 12], &header, &payload)
            };
            let mut packets: Vec<_> = (0..LENS.len()).map(sealed).collect();
            if let Some(packet) = packets.get_mut(forged) {
                *packet.last_mut().unwrap() ^= 1;
            }
            let mut jobs: Vec<_> = packets
                .iter_mut()
                .enumerate()
                .map(|(at, packet)| {
                    Record::new(&pairs[at].ours, [at as u8; 12], 12 + at, packet).unwrap()
                })
                .collect();
            kernel.open(&mut jobs);
            let held: Vec<_> = jobs.iter().map(|job| job.is_authentic).collect();
            assert_eq!(held, (0..LENS.len()).map(|at| at != forged).collect::<Vec<_>>());
            for (at, packet) in packets.iter().enumerate() {
                let payload = &packet[12 + at..][..LENS[at]];
                match at == forged {
                    true => assert!(payload.iter().all(|byte| *byte == 0), "{kernel:?} {at}"),
                    false => assert_eq!(payload, bytes(at as u64, LENS[at]), "{kernel:?} {at}"),
                }
            }
        }
    }
}

#[test]
fn shapes_that_the_kernel_does_not_take_are_refused_before_anything_is_written() {
    let pair = pair_128(kernels()[0], 1);
    let mut packet = [7; 8192];
    for (header, total) in [(81, 200), (0, 15), (20, 35), (12, 12 + 4001 + TAG), (usize::MAX, 40)] {
        assert!(Record::new(&pair.ours, [0; 12], header, &mut packet[..total]).is_none());
    }
    assert!(Record::new(&pair.ours, [0; 12], 80, &mut packet[..80 + 4000 + TAG]).is_some());
    let largest = bytes(1, 4000);
    for kernel in kernels() {
        let mut job =
            [Record::new(&pair.ours, [2; 12], 12, &mut packet[..12 + 4000 + TAG]).unwrap()];
        kernel.seal(&largest, &mut job);
        let expected = ring_seal(&pair.ring, [2; 12], &[7; 12], &largest);
        assert_eq!(packet[..expected.len()], expected, "{kernel:?}");
    }
}

#[test]
#[should_panic(expected = "a packet has room for header, payload and tag")]
fn a_packet_that_is_too_short_for_the_payload_is_a_mistake() {
    let pair = pair_128(kernels()[0], 1);
    let mut packet = [0; 100];
    let mut job = [Record::new(&pair.ours, [0; 12], 12, &mut packet).unwrap()];
    kernels()[0].seal(&[1; 73], &mut job);
}

#[test]
fn contexts_tell_nothing() {
    let pair = pair_128(kernels()[0], 1);
    assert_eq!(format!("{:?}", pair.ours), "Context<10>(masked)");
}

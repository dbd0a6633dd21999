//! Random packets against `ring` and `aes-gcm`. 100,000 by default; `ROOMLANE_CASES` sets another number, as in
//! `ROOMLANE_CASES=100000000 cargo test --release -p roomlane-aead --test differential`. A failure names its seed,
//! and `ROOMLANE_SEED` begins with that.

use aead::{Context, HEADER_MAX, Kernel, Path, Record, TAG};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, KeyInit};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const PACKETS_MAX: usize = 5;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// One key in three libraries.
struct Key<const R: usize> {
    ours: Context<R>,
    ring: LessSafeKey,
    portable: Portable,
}

enum Portable {
    Small(Box<Aes128Gcm>),
    Large(Box<Aes256Gcm>),
}

/// Some cases under one key size; returns how many packets they were.
fn round<const R: usize>(kernel: Kernel, keys: &[Key<R>], random: &mut Random) -> usize {
    // Short packets are most of a room's, and have most of the ways through the code.
    let len = if random.below(4) == 0 { random.below(1501) } else { random.below(300) };
    let count = 1 + random.below(PACKETS_MAX);
    let mut plaintext = [0; 1501];
    random.fill(&mut plaintext[..len]);
    let plaintext = &plaintext[..len];
    let mut rooms = [[0_u8; 1700]; PACKETS_MAX];
    let mut places = [(0, 0, 0); PACKETS_MAX];
    let mut ivs = [[0; 12]; PACKETS_MAX];
    let mut jobs = Vec::with_capacity(count);
    for (at, room) in rooms[..count].iter_mut().enumerate() {
        let (begin, header) = (random.below(64), random.below(HEADER_MAX + 1));
        places[at] = (begin, header, random.below(keys.len()));
        random.fill(&mut ivs[at]);
        random.fill(&mut room[begin..begin + header]);
        let packet = &mut room[begin..begin + header + len + TAG];
        jobs.push(Record::new(&keys[places[at].2].ours, ivs[at], header, packet).unwrap());
    }
    kernel.seal(plaintext, &mut jobs);
    drop(jobs);
    for at in 0..count {
        let (begin, header, key) = places[at];
        let (key, packet) = (&keys[key], &rooms[at][begin..begin + header + len + TAG]);
        let (head, sealed) = packet.split_at(header);
        let mut expected = [0; 1501 + TAG];
        let expected = &mut expected[..len + TAG];
        expected[..len].copy_from_slice(plaintext);
        let (text, tag) = expected.split_at_mut(len);
        if random.below(8) == 0 {
            let (iv, text) = ((&ivs[at]).into(), text.into());
            let made = match &key.portable {
                Portable::Small(cipher) => cipher.encrypt_inout_detached(iv, head, text),
                Portable::Large(cipher) => cipher.encrypt_inout_detached(iv, head, text),
            };
            tag.copy_from_slice(&made.unwrap());
        } else {
            let nonce = Nonce::assume_unique_for_key(ivs[at]);
            let made = key.ring.seal_in_place_separate_tag(nonce, Aad::from(head), text);
            tag.copy_from_slice(made.unwrap().as_ref());
        }
        assert_eq!(sealed, expected, "{kernel:?} len {len} header {header} place {at}");
    }
    // One of them is damaged.
    let bad = random.below(count);
    let (begin, header, _) = places[bad];
    let bit = random.below(8 * (header + len + TAG));
    rooms[bad][begin + bit / 8] ^= 1 << (bit % 8);
    let mut jobs = Vec::with_capacity(count);
    for (at, room) in rooms[..count].iter_mut().enumerate() {
        let (begin, header, key) = places[at];
        let packet = &mut room[begin..begin + header + len + TAG];
        jobs.push(Record::new(&keys[key].ours, ivs[at], header, packet).unwrap());
    }
    kernel.open(&mut jobs);
    for (at, job) in jobs.iter().enumerate() {
        assert_eq!(job.is_authentic, at != bad, "{kernel:?} len {len} place {at} bit {bit}");
    }
    drop(jobs);
    for at in 0..count {
        let (begin, header, _) = places[at];
        let opened = &rooms[at][begin + header..begin + header + len];
        match at == bad {
            true => assert!(opened.iter().all(|byte| *byte == 0)),
            false => assert_eq!(opened, plaintext, "{kernel:?} len {len} opened"),
        }
    }
    count
}

fn keys_128(kernel: Kernel, random: &mut Random) -> Vec<Key<{ aead::AES_128 }>> {
    let make = |_| {
        let mut key = [0; 16];
        random.fill(&mut key);
        Key {
            ours: kernel.aes_128(&key),
            ring: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap()),
            portable: Portable::Small(Box::new(Aes128Gcm::new(&key.into()))),
        }
    };
    (0..3).map(make).collect()
}

fn keys_256(kernel: Kernel, random: &mut Random) -> Vec<Key<{ aead::AES_256 }>> {
    let make = |_| {
        let mut key = [0; 32];
        random.fill(&mut key);
        Key {
            ours: kernel.aes_256(&key),
            ring: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap()),
            portable: Portable::Large(Box::new(Aes256Gcm::new(&key.into()))),
        }
    };
    (0..3).map(make).collect()
}

#[test]
fn random_packets_are_sealed_opened_and_refused_as_by_others() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cases = number("ROOMLANE_CASES").unwrap_or(100_000);
    let first = number("ROOMLANE_SEED").unwrap_or(1);
    let kernels: Vec<Kernel> = Path::ALL.into_iter().filter_map(Kernel::with).collect();
    let mut done = 0;
    for seed in first.. {
        let caught = std::panic::catch_unwind(|| {
            let mut random = Random(seed);
            let kernel = kernels[random.below(kernels.len())];
            let (small, large) = (keys_128(kernel, &mut random), keys_256(kernel, &mut random));
            (0..32)
                .map(|turn| match turn % 2 {
                    0 => round(kernel, &small, &mut random),
                    _ => round(kernel, &large, &mut random),
                })
                .sum::<usize>()
        });
        done += caught.unwrap_or_else(|_| panic!("seed {seed}")) as u64;
        if done >= cases {
            break;
        }
    }
    assert!(done >= cases);
}

//! The floor under the core: the same packets, keys and sizes with nothing but the `ring` crate.
//!
//! `seal`: all copies sealed in place, one after the other. `open_seal`: the packet opened once, then for
//! each copy but the last the payload copied and sealed, and the last sealed where it was opened. Both
//! compute each IV from salt, SSRC and index (RFC 7714 section 8.1), authenticate a header of 16 bytes, and
//! put the tag behind the payload. No header is written, nothing is looked up, nothing is counted.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::scenario::Shape;

/// Bytes of a header with one CSRC.
const HEADER: usize = 16;
const TAG: usize = 16;
/// Buffers that copies go to in turn: as many as a transmit burst has.
const BUFFERS: usize = 64;
const BUFFER_LEN: usize = 2048;

/// A packet's memory, laid out as a port does it: the header begins a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Buffer([u8; BUFFER_LEN]);

/// A key with its salt, as small as it gets.
struct Key {
    key: LessSafeKey,
    salt: [u8; 12],
    ssrc: u32,
    next: u64,
}

impl Key {
    fn new(number: u64) -> Key {
        let material = crate::bed::key(number);
        let (key, salt) = material.bytes.split_at(16);
        let key = UnboundKey::new(&AES_128_GCM, key).expect("16 bytes");
        let salt = salt.try_into().expect("12 bytes");
        Key { key: LessSafeKey::new(key), salt, ssrc: number as u32, next: 1 }
    }

    #[inline]
    fn nonce(&self, index: u64) -> Nonce {
        let high = u64::from(self.ssrc) << 16 | index >> 32;
        let (salt_high, salt_low) = self.salt.split_at(8);
        let high = high ^ u64::from_be_bytes(salt_high.try_into().expect("8 of 12 bytes"));
        let low = index as u32 ^ u32::from_be_bytes(salt_low.try_into().expect("4 of 12 bytes"));
        let mut iv = [0; 12];
        iv[..8].copy_from_slice(&high.to_be_bytes());
        iv[8..].copy_from_slice(&low.to_be_bytes());
        Nonce::assume_unique_for_key(iv)
    }

    /// Seals `packet`: header, payload, room for the tag.
    #[inline]
    fn seal(&mut self, packet: &mut [u8]) {
        let nonce = self.nonce(self.next);
        self.next += 1;
        let (header, rest) = packet.split_at_mut(HEADER);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG);
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
        tag.copy_from_slice(sealed.expect("shorter than the limit of GCM").as_ref());
    }

    /// Opens the packet that was sealed at `index`.
    #[inline]
    fn open(&self, index: u64, packet: &mut [u8]) {
        let (header, rest) = packet.split_at_mut(HEADER);
        let opened = self.key.open_in_place(self.nonce(index), Aad::from(&*header), rest);
        assert!(opened.is_ok(), "the floor seals and opens with the same key");
    }
}

/// The keys and buffers of all rooms.
pub struct Floor {
    shape: Shape,
    publishers: Vec<Key>,
    /// By room, then by subscriber.
    subscribers: Vec<Key>,
    /// What arrives, in the order of a sample.
    arrived: Vec<Buffer>,
    /// Room and index of each.
    about: Vec<(usize, u64)>,
    buffers: Vec<Buffer>,
    at: usize,
}

impl Floor {
    /// Keys for every session of `shape`, in the order in which the core holds them; room for `packets`
    /// packets per sample.
    pub fn new(shape: Shape, packets: usize) -> Floor {
        let session = |room: u32, member: u32| u64::from(room * (shape.fanout + 1) + member);
        let subscribers = (0..shape.rooms)
            .flat_map(|room| (1..=shape.fanout).map(move |member| (room, member)))
            .map(|(room, member)| Key::new(2 * session(room, member) + 1));
        Floor {
            shape,
            publishers: (0..shape.rooms).map(|room| Key::new(2 * session(room, 0))).collect(),
            subscribers: subscribers.collect(),
            arrived: vec![Buffer([0x5a; BUFFER_LEN]); packets],
            about: Vec::with_capacity(packets),
            buffers: vec![Buffer([0x5a; BUFFER_LEN]); BUFFERS],
            at: 0,
        }
    }

    /// Seals one packet of each of `rooms`, in that order; not measured.
    pub fn arrive(&mut self, rooms: &[usize]) {
        let len = self.packet_len();
        self.about.clear();
        for (room, packet) in rooms.iter().zip(&mut self.arrived) {
            let publisher = &mut self.publishers[*room];
            self.about.push((*room, publisher.next));
            publisher.seal(&mut packet.0[..len]);
        }
    }

    /// Opens what arrived and seals all copies.
    pub fn open_seal(&mut self) {
        let len = self.packet_len();
        let fanout = self.shape.fanout as usize;
        for ((room, index), packet) in self.about.iter().zip(&mut self.arrived) {
            let packet = &mut packet.0[..len];
            self.publishers[*room].open(*index, packet);
            let keys = &mut self.subscribers[room * fanout..(room + 1) * fanout];
            let Some((last, others)) = keys.split_last_mut() else { continue };
            for key in others {
                let copy = &mut self.buffers[self.at].0[..len];
                self.at = (self.at + 1) % BUFFERS;
                copy[HEADER..len - TAG].copy_from_slice(&packet[HEADER..len - TAG]);
                key.seal(copy);
            }
            last.seal(packet);
        }
    }

    /// Seals as many copies, and nothing else.
    pub fn seal(&mut self) {
        let len = self.packet_len();
        let fanout = self.shape.fanout as usize;
        for (room, _) in &self.about {
            for key in &mut self.subscribers[room * fanout..(room + 1) * fanout] {
                let copy = &mut self.buffers[self.at].0[..len];
                self.at = (self.at + 1) % BUFFERS;
                key.seal(copy);
            }
        }
    }

    fn packet_len(&self) -> usize {
        HEADER + self.shape.payload + TAG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_seals_what_the_subscribers_keys_open() {
        let shape = Shape { rooms: 2, fanout: 3, payload: 100, has_extension: false };
        let mut floor = Floor::new(shape, 2);
        floor.arrive(&[1, 0]);
        floor.open_seal();
        // The last copy of the first packet stands where it arrived.
        let mut packet = floor.arrived[0].0;
        Key::new(2 * 7 + 1).open(1, &mut packet[..HEADER + 100 + TAG]);
        assert_eq!(packet[HEADER..HEADER + 100], [0x5a; 100]);
        // The first copy of it went to the first buffer.
        let mut copy = floor.buffers[0].0;
        Key::new(2 * 5 + 1).open(1, &mut copy[..HEADER + 100 + TAG]);
        assert_eq!(copy[HEADER..HEADER + 100], [0x5a; 100]);
    }
}

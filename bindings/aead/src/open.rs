//! Open: the same way in the other direction. GHASH reads what the key stream is added to, so both go over the
//! same group in one step, and no packet waits for another.

use crate::lanes::{ByTail, Head, Shape, Stream, by_tail, bytes, carry, group_powers};
use crate::packet::{Packet, SealedPacket};
use crate::simd::Simd;
use crate::{TAG, payload_len};

pub(crate) fn burst<'a, S: Simd, const R: usize, const G: usize>(
    simd: S,
    packets: &mut [impl SealedPacket<'a, R>],
) {
    let mut rest = packets;
    while let Some(packet) = rest.first_mut() {
        let (len, mut alike) = (len(packet), 1);
        while rest.get_mut(alike).is_some_and(|packet| self::len(packet) == len) {
            alike += 1;
        }
        let (run, behind) = rest.split_at_mut(alike);
        by_tail::<S, G>(simd, len, Run::<_, R, G> { len, packets: run });
        rest = behind;
    }
}

/// Bytes of its payload.
#[inline]
fn len<'a, const R: usize>(packet: &mut impl SealedPacket<'a, R>) -> usize {
    let (bytes, header) = packet.bytes();
    payload_len(bytes.len(), header).expect("a packet that the kernel takes")
}

/// Packets of one length.
struct Run<'j, J, const R: usize, const G: usize> {
    len: usize,
    packets: &'j mut [J],
}

impl<'a, S: Simd, J: SealedPacket<'a, R>, const R: usize, const G: usize> ByTail<S>
    for Run<'_, J, R, G>
{
    #[inline(always)]
    fn call<const T: usize, const ALONE: bool>(self, simd: S) {
        let shape = Shape::new::<S, G>(simd, self.len);
        let mut head = Head::new(simd, &shape, 0);
        for packet in self.packets {
            let is_authentic = open::<S, _, R, T, G, ALONE>(simd, &shape, &mut head, packet);
            packet.set_authentic(is_authentic);
        }
    }
}

#[inline(always)]
fn open<
    'a,
    S: Simd,
    J: Packet<'a, R>,
    const R: usize,
    const T: usize,
    const G: usize,
    const ALONE: bool,
>(
    simd: S,
    shape: &Shape<S::V>,
    head: &mut Head<S::V>,
    packet: &mut J,
) -> bool {
    let narrow = simd.narrow();
    let context = packet.context();
    let mut stream = Stream::<_, R>::new(simd, &context.round_keys, &packet.iv());
    let (packet, header) = packet.bytes();
    if header != head.len {
        *head = Head::new(simd, shape, header);
    }
    let first = head.fold(narrow, context, packet);
    // Whole vectors are written, and the last one reaches into the tag.
    let tag = narrow.load(&packet[packet.len() - TAG..]);
    let payload = &mut packet[header..];
    let (products, counter_block);
    if ALONE {
        let place = Place::<T, true, true>::new::<S, G>(simd, shape, payload, 0);
        let (sealed, mut blocks) = place.read(simd, shape);
        blocks[0] = simd.with_first(blocks[0], first);
        blocks[T - 1] = simd.xor(blocks[T - 1], head.lane);
        let (keys, hashed) = stream.step::<S, T, T>(simd, &blocks, shape.tail_powers(context));
        place.write(simd, keys, sealed);
        (products, counter_block) = (hashed, simd.first(keys[0]));
    } else {
        let powers = group_powers::<S, R, G>(context);
        let place = Place::<G, true, false>::new::<S, G>(simd, shape, payload, 0);
        let (sealed, mut blocks) = place.read(simd, shape);
        blocks[0] = simd.with_first(blocks[0], first);
        let (keys, mut hashed) = stream.step::<S, G, G>(simd, &blocks, powers);
        place.write(simd, keys, sealed);
        counter_block = simd.first(keys[0]);
        for group in 1..shape.groups {
            let place = Place::<G, false, false>::new::<S, G>(simd, shape, payload, group);
            let (sealed, mut blocks) = place.read(simd, shape);
            blocks[0] = simd.xor(blocks[0], carry(simd, hashed));
            let (keys, next) = stream.step::<S, G, G>(simd, &blocks, powers);
            place.write(simd, keys, sealed);
            hashed = next;
        }
        let place = Place::<T, false, true>::new::<S, G>(simd, shape, payload, shape.groups);
        let (sealed, mut blocks) = place.read(simd, shape);
        blocks[0] = simd.xor(blocks[0], carry(simd, hashed));
        blocks[T - 1] = simd.xor(blocks[T - 1], head.lane);
        let (keys, hashed) = stream.step::<S, T, T>(simd, &blocks, shape.tail_powers(context));
        place.write(simd, keys, sealed);
        products = hashed;
    }
    let hash = shape.hash(simd, products, head.lengths, context);
    let expected = narrow.xor(hash, counter_block);
    let is_authentic = narrow.is_zero(narrow.xor(expected, tag));
    if !is_authentic {
        payload[..shape.len].fill(0);
    }
    is_authentic
}

/// Where the `N` vectors of a group or tail stand, looked up before the key stream is made, as in `seal`.
struct Place<'a, const N: usize, const FIRST: bool, const LAST: bool> {
    /// Whole vectors.
    whole: &'a mut [u8],
    /// The blocks of the last vector.
    last: &'a mut [u8],
}

impl<'a, const N: usize, const FIRST: bool, const LAST: bool> Place<'a, N, FIRST, LAST> {
    #[inline(always)]
    fn new<S: Simd, const G: usize>(
        _: S,
        shape: &Shape<S::V>,
        payload: &'a mut [u8],
        group: usize,
    ) -> Place<'a, N, FIRST, LAST> {
        let at = bytes::<S>(G * group, true);
        let (whole, rest) = payload[at..].split_at_mut(Self::size::<S>());
        let last = if LAST { shape.last_blocks::<S>(FIRST && N == 1) } else { 0 };
        Place { whole, last: &mut rest[..16 * last] }
    }

    /// Bytes of the whole vectors.
    #[inline(always)]
    const fn size<S: Simd>() -> usize {
        bytes::<S>(if LAST { N - 1 } else { N }, FIRST)
    }

    /// The vectors as they stand and as GHASH takes them.
    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, shape: &Shape<S::V>) -> ([S::V; N], [S::V; N]) {
        let whole = &self.whole[..Self::size::<S>()];
        let mut sealed = [simd.zero(); N];
        let mut blocks = sealed;
        for vector in 0..N {
            let (is_first, is_last) = (FIRST && vector == 0, LAST && vector + 1 == N);
            let v = if is_last {
                simd.load_lanes(self.last, usize::from(is_first))
            } else if is_first {
                simd.load_lanes(&whole[..bytes::<S>(1, true)], 1)
            } else {
                simd.load(&whole[bytes::<S>(vector, FIRST)..])
            };
            sealed[vector] = v;
            blocks[vector] = simd.reverse(if is_last { shape.masked(simd, v) } else { v });
        }
        (sealed, blocks)
    }

    /// Adds the key stream.
    #[inline(always)]
    fn write<S: Simd>(self, simd: S, keys: [S::V; N], sealed: [S::V; N]) {
        let whole = &mut self.whole[..Self::size::<S>()];
        for vector in 0..N {
            let (is_first, is_last) = (FIRST && vector == 0, LAST && vector + 1 == N);
            let opened = simd.xor(keys[vector], sealed[vector]);
            if is_last {
                simd.store_lanes(opened, self.last, usize::from(is_first));
            } else if is_first {
                simd.store_lanes(opened, &mut whole[..bytes::<S>(1, true)], 1);
            } else {
                simd.store(opened, &mut whole[bytes::<S>(vector, FIRST)..]);
            }
        }
    }
}

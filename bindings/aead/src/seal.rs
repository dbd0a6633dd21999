//! Seal: key stream over the payload, GHASH over header and ciphertext.
//!
//! GHASH needs the ciphertext, so it is always one group behind: while the AES rounds of a group are done, the
//! group before it is hashed, and the tail of a packet beside the first group of the next packet, which has
//! another key. That is the order of the loops below; what stands in one step does not wait for each other.

use crate::context::Context;
use crate::lanes::{ByTail, Head, Shape, Stream, by_tail, bytes, carry, group_powers, products};
use crate::packet::Packet;
use crate::simd::{Block, Simd};
use crate::{PAYLOAD_MAX, TAG};

/// What a caller did not look at.
const NO_ROOM: &str = "a packet has room for header, payload and tag";

pub(crate) fn fan_out<'a, S: Simd, const R: usize, const G: usize>(
    simd: S,
    plaintext: &[u8],
    packets: &mut [impl Packet<'a, R>],
) {
    assert!(plaintext.len() <= PAYLOAD_MAX, "a payload that the kernel takes");
    by_tail::<S, G>(simd, plaintext.len(), FanOut::<_, R, G> { plaintext, packets });
}

pub(crate) fn in_place<'a, S: Simd, const R: usize, const G: usize>(
    simd: S,
    len: usize,
    packet: &mut impl Packet<'a, R>,
) {
    assert!(len <= PAYLOAD_MAX, "a payload that the kernel takes");
    by_tail::<S, G>(simd, len, InPlace::<_, R, G> { len, packet });
}

/// Many packets of one plaintext.
struct FanOut<'p, 'j, J, const R: usize, const G: usize> {
    plaintext: &'p [u8],
    packets: &'j mut [J],
}

impl<'a, S: Simd, J: Packet<'a, R>, const R: usize, const G: usize> ByTail<S>
    for FanOut<'_, '_, J, R, G>
{
    #[inline(always)]
    fn call<const T: usize, const ALONE: bool>(self, simd: S) {
        let shape = Shape::new::<S, G>(simd, self.plaintext.len());
        let source = Shared::new(simd, &shape, ALONE && T == 1, self.plaintext);
        seal::<S, _, _, R, T, G, ALONE>(simd, &shape, &source, self.packets);
    }
}

/// One packet whose payload is there already.
struct InPlace<'j, J, const R: usize, const G: usize> {
    len: usize,
    packet: &'j mut J,
}

impl<'a, S: Simd, J: Packet<'a, R>, const R: usize, const G: usize> ByTail<S>
    for InPlace<'_, J, R, G>
{
    #[inline(always)]
    fn call<const T: usize, const ALONE: bool>(self, simd: S) {
        let shape = Shape::new::<S, G>(simd, self.len);
        let packets = core::slice::from_mut(self.packet);
        seal::<S, _, _, R, T, G, ALONE>(simd, &shape, &Own, packets);
    }
}

/// Where plaintext comes from: from elsewhere for all packets, or from where the ciphertext goes.
trait Source<S: Simd> {
    /// The very first vector, whose first lane is free.
    fn first(&self, simd: S, own: &[u8]) -> S::V;
    /// All whole vectors of a group, of `len` bytes from `at` on; `None`: they stand in the packet.
    fn whole(&self, at: usize, len: usize) -> Option<&[u8]>;
    /// The last vector, whose blocks in the packet are `own`.
    fn last(&self, simd: S, own: &[u8]) -> S::V;
}

/// One plaintext for all packets. Both its ends are made into vectors once: whoever reads a whole vector
/// there would read what is not the plaintext's.
struct Shared<'p, V> {
    plaintext: &'p [u8],
    first: V,
    last: V,
}

impl<'p, V: Copy> Shared<'p, V> {
    #[inline(always)]
    fn new<S: Simd<V = V>>(
        simd: S,
        shape: &Shape<V>,
        is_one_vector: bool,
        plaintext: &'p [u8],
    ) -> Shared<'p, V> {
        let first = bytes::<S>(1, true).min(plaintext.len());
        // Lane 0 and up to three blocks behind it; in the last vector up to four.
        let mut ends = [0; 64];
        ends[16..16 + first].copy_from_slice(&plaintext[..first]);
        let first = simd.load(&ends);
        if is_one_vector {
            return Shared { plaintext, first, last: first };
        }
        let behind = &plaintext[shape.last_at..];
        ends = [0; 64];
        ends[..behind.len()].copy_from_slice(behind);
        Shared { plaintext, first, last: simd.load(&ends) }
    }
}

impl<S: Simd> Source<S> for Shared<'_, S::V> {
    #[inline(always)]
    fn first(&self, _: S, _: &[u8]) -> S::V {
        self.first
    }

    #[inline(always)]
    fn whole(&self, at: usize, len: usize) -> Option<&[u8]> {
        Some(&self.plaintext[at..][..len])
    }

    #[inline(always)]
    fn last(&self, _: S, _: &[u8]) -> S::V {
        self.last
    }
}

/// What stands in the packet. The tag's room lets whole blocks be read.
struct Own;

impl<S: Simd> Source<S> for Own {
    #[inline(always)]
    fn first(&self, simd: S, own: &[u8]) -> S::V {
        simd.load_lanes(own, 1)
    }

    #[inline(always)]
    fn whole(&self, _: usize, _: usize) -> Option<&[u8]> {
        None
    }

    #[inline(always)]
    fn last(&self, simd: S, own: &[u8]) -> S::V {
        simd.load_lanes(own, 0)
    }
}

/// The tail of a packet that is not hashed yet, and the block that its tag is encrypted by.
struct Rest<V, const T: usize> {
    blocks: [V; T],
    counter_block: Block,
}

#[inline(always)]
fn seal<
    'a,
    S: Simd,
    P: Source<S>,
    J: Packet<'a, R>,
    const R: usize,
    const T: usize,
    const G: usize,
    const ALONE: bool,
>(
    simd: S,
    shape: &Shape<S::V>,
    source: &P,
    packets: &mut [J],
) {
    // In front of the first packet there is nothing: zeros are hashed, and nobody asks for the result.
    let mut rest = Rest { blocks: [simd.zero(); T], counter_block: simd.narrow().zero() };
    let mut before: Option<(&Context<R>, Block, &mut [u8])> = None;
    let mut head = Head::new(simd, shape, 0);
    for packet in packets {
        let context = packet.context();
        let powers = shape.tail_powers(before.as_ref().map_or(context, |before| before.0));
        let mut stream = Stream::<_, R>::new(simd, &context.round_keys, &packet.iv());
        let (packet, header) = packet.bytes();
        if header != head.len {
            head = Head::new(simd, shape, header);
        }
        let packet = packet.get_mut(..header + shape.len + TAG).expect(NO_ROOM);
        let first = head.fold(simd.narrow(), context, packet);
        let payload = &mut packet[header..];
        let next;
        let tail_products;
        if ALONE {
            let place = Place::<T, true, true>::new::<S, P, G>(shape, source, payload, 0);
            let (keys, hashed) = stream.step::<S, T, T>(simd, &rest.blocks, powers);
            let mut blocks = place.encrypt(simd, shape, source, keys);
            blocks[0] = simd.with_first(blocks[0], first);
            blocks[T - 1] = simd.xor(blocks[T - 1], head.lane);
            tail_products = hashed;
            next = Rest { blocks, counter_block: simd.first(keys[0]) };
        } else {
            let place = Place::<G, true, false>::new::<S, P, G>(shape, source, payload, 0);
            let (keys, hashed) = stream.step::<S, G, T>(simd, &rest.blocks, powers);
            let mut blocks = place.encrypt(simd, shape, source, keys);
            blocks[0] = simd.with_first(blocks[0], first);
            tail_products = hashed;
            let counter_block = simd.first(keys[0]);
            let powers = group_powers::<S, R, G>(context);
            for at in 1..shape.groups {
                let place = Place::<G, false, false>::new::<S, P, G>(shape, source, payload, at);
                let (keys, hashed) = stream.step::<S, G, G>(simd, &blocks, powers);
                blocks = place.encrypt(simd, shape, source, keys);
                blocks[0] = simd.xor(blocks[0], carry(simd, hashed));
            }
            let place =
                Place::<T, false, true>::new::<S, P, G>(shape, source, payload, shape.groups);
            let (keys, hashed) = stream.step::<S, T, G>(simd, &blocks, powers);
            let mut blocks = place.encrypt(simd, shape, source, keys);
            blocks[0] = simd.xor(blocks[0], carry(simd, hashed));
            blocks[T - 1] = simd.xor(blocks[T - 1], head.lane);
            next = Rest { blocks, counter_block };
        }
        if let Some((context, lengths, packet)) = before {
            let hash = shape.hash(simd, tail_products, lengths, context);
            write_tag(simd, packet, hash, rest.counter_block);
        }
        before = Some((context, head.lengths, packet));
        rest = next;
    }
    if let Some((context, lengths, packet)) = before {
        let hashed = products(simd, &rest.blocks, shape.tail_powers(context));
        let hash = shape.hash(simd, hashed, lengths, context);
        write_tag(simd, packet, hash, rest.counter_block);
    }
}

/// Where the `N` vectors of a group or tail come from and go to. It is looked up before the key stream is
/// made, and every place in it is known then: a check that may fail, between AES and the end of it, would
/// keep the compiler from doing the vectors side by side.
struct Place<'a, const N: usize, const FIRST: bool, const LAST: bool> {
    /// What is read for whole vectors, unless it is what is written.
    from: Option<&'a [u8]>,
    /// Whole vectors.
    whole: &'a mut [u8],
    /// The blocks of the last vector.
    last: &'a mut [u8],
}

impl<'a, const N: usize, const FIRST: bool, const LAST: bool> Place<'a, N, FIRST, LAST> {
    #[inline(always)]
    fn new<S: Simd, P: Source<S>, const G: usize>(
        shape: &Shape<S::V>,
        source: &'a P,
        payload: &'a mut [u8],
        group: usize,
    ) -> Place<'a, N, FIRST, LAST> {
        let at = bytes::<S>(G * group, true);
        let whole = bytes::<S>(if LAST { N - 1 } else { N }, FIRST);
        let from = source.whole(at, whole);
        let (whole, rest) = payload[at..].split_at_mut(whole);
        let last = if LAST { shape.last_blocks::<S>(FIRST && N == 1) } else { 0 };
        Place { from, whole, last: &mut rest[..16 * last] }
    }

    /// Adds the key stream and gives the blocks for GHASH.
    #[inline(always)]
    fn encrypt<S: Simd, P: Source<S>>(
        self,
        simd: S,
        shape: &Shape<S::V>,
        source: &P,
        keys: [S::V; N],
    ) -> [S::V; N] {
        let size = bytes::<S>(if LAST { N - 1 } else { N }, FIRST);
        let whole = &mut self.whole[..size];
        let mut blocks = keys;
        for (vector, block) in blocks.iter_mut().enumerate() {
            let (is_first, is_last) = (FIRST && vector == 0, LAST && vector + 1 == N);
            let at = bytes::<S>(vector, FIRST);
            let plain = if is_first {
                let own = if is_last { &*self.last } else { &whole[..bytes::<S>(1, true)] };
                source.first(simd, own)
            } else if is_last {
                source.last(simd, self.last)
            } else if let Some(from) = self.from {
                simd.load(&from[..size][at..])
            } else {
                simd.load(&whole[at..])
            };
            let mut sealed = simd.xor(*block, plain);
            if is_last {
                simd.store_lanes(sealed, self.last, usize::from(is_first));
                sealed = shape.masked(simd, sealed);
            } else if is_first {
                simd.store_lanes(sealed, &mut whole[..bytes::<S>(1, true)], 1);
            } else {
                simd.store(sealed, &mut whole[at..]);
            }
            *block = simd.reverse(sealed);
        }
        blocks
    }
}

#[inline(always)]
fn write_tag<S: Simd>(simd: S, packet: &mut [u8], hash: Block, counter_block: Block) {
    let narrow = simd.narrow();
    let tag = packet.last_chunk_mut::<TAG>().expect("a packet has room for its tag");
    narrow.store(narrow.xor(hash, counter_block), tag);
}

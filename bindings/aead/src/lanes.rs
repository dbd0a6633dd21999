//! How a payload falls into lanes, and the step in which AES and GHASH run side by side.
//!
//! Lane 0 of a packet is the counter block that encrypts the tag; lane i is block i of the payload. GHASH has a
//! block for each of them too: in lane 0 the last block of the header, which has no key stream of its own. Lanes
//! go in vectors, vectors in groups of `G`; what is left over is the tail, of 1 to `G` vectors. Between
//! groups GHASH is reduced to one block, which is added to lane 0 of the next one. The block of the lengths
//! stands in the first free lane of the tail's last vector, or is multiplied alone where there is none.

use crate::context::{Context, POWERS, RoundKeys};
use crate::ghash::Product;
use crate::simd::{AesNi, Block, Simd, Work};
use crate::{HEADER_MAX, IV, PAYLOAD_MAX};

/// Ones, then zeros, each as long as the widest vector.
const ONES: [u8; 128] = ones(0, 64);
/// Zeros, a block of ones, zeros.
const ONE_BLOCK: [u8; 128] = ones(64, 80);

const fn ones(from: usize, to: usize) -> [u8; 128] {
    let mut bytes = [0; 128];
    let mut at = from;
    while at < to {
        bytes[at] = 0xff;
        at += 1;
    }
    bytes
}

/// Ones in the first `bytes` bytes of a vector.
#[inline(always)]
fn mask<S: Simd>(simd: S, bytes: usize) -> S::V {
    simd.load(&ONES[ONES.len() / 2 - bytes..])
}

/// A payload's lanes in groups.
#[derive(Clone, Copy)]
pub(crate) struct Shape<V> {
    /// Bytes of the payload.
    pub(crate) len: usize,
    /// Whole groups in front of the tail.
    pub(crate) groups: usize,
    /// Lanes of the tail, 1 and more.
    tail_lanes: usize,
    /// Where the payload of its last vector begins; 0 if that is the first one.
    pub(crate) last_at: usize,
    /// Lanes of its last vector that have something in them.
    pub(crate) last_lanes: usize,
    /// Ones where that vector has something in it.
    mask: V,
    /// Ones in its first free lane; zero when there is none.
    free: V,
}

/// Vectors that are a tail without a group in front of it, also where a group has fewer, if their lanes and the
/// lengths have powers: one reduction less.
const ALONE: usize = 4;

/// Whole groups in front of the tail, and the lanes of that.
#[inline(always)]
fn split<S: Simd, const G: usize>(lanes: usize) -> (usize, usize) {
    let is_alone = lanes < POWERS && lanes <= ALONE * S::LANES;
    let groups = if is_alone { 0 } else { (lanes - 1) / (G * S::LANES) };
    (groups, lanes - groups * G * S::LANES)
}

/// Work that is compiled for each number of vectors in the tail, with groups in front of it and without.
pub(crate) trait ByTail<S> {
    /// Does it for a tail of `T` vectors, which is all there is if it is `ALONE`. Implementations are
    /// `#[inline(always)]`, as those of [`Work`] are.
    fn call<const T: usize, const ALONE: bool>(self, simd: S);
}

struct Tailed<W, const T: usize, const ALONE: bool>(W);

impl<S: Simd, W: ByTail<S>, const T: usize, const ALONE: bool> Work<S> for Tailed<W, T, ALONE> {
    type Output = ();

    #[inline(always)]
    fn call(self, simd: S) {
        self.0.call::<T, ALONE>(simd);
    }
}

/// Does `work` for payloads of `len` bytes.
#[inline(always)]
pub(crate) fn by_tail<S: Simd, const G: usize>(simd: S, len: usize, work: impl ByTail<S>) {
    let (groups, tail) = split::<S, G>(len.div_ceil(16) + 1);
    match (groups == 0, tail.div_ceil(S::LANES)) {
        (true, 1) => simd.run(Tailed::<_, 1, true>(work)),
        (true, 2) => simd.run(Tailed::<_, 2, true>(work)),
        (true, 3) => simd.run(Tailed::<_, 3, true>(work)),
        (true, 4) => simd.run(Tailed::<_, 4, true>(work)),
        (true, 5) if const { 5 * S::LANES <= POWERS } => simd.run(Tailed::<_, 5, true>(work)),
        (true, 6) if const { 6 * S::LANES <= POWERS } => simd.run(Tailed::<_, 6, true>(work)),
        (true, _) => simd.run(Tailed::<_, G, true>(work)),
        (false, 1) => simd.run(Tailed::<_, 1, false>(work)),
        (false, 2) => simd.run(Tailed::<_, 2, false>(work)),
        (false, 3) => simd.run(Tailed::<_, 3, false>(work)),
        (false, 4) if const { G >= 4 } => simd.run(Tailed::<_, 4, false>(work)),
        (false, 5) if const { G >= 5 } => simd.run(Tailed::<_, 5, false>(work)),
        (false, 6) if const { G >= 6 } => simd.run(Tailed::<_, 6, false>(work)),
        (false, _) => simd.run(Tailed::<_, G, false>(work)),
    }
}

impl<V: Copy> Shape<V> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<V = V>, const G: usize>(simd: S, len: usize) -> Shape<V> {
        const { assert!(G * S::LANES < POWERS, "a group and the lengths have powers") };
        debug_assert!(len <= PAYLOAD_MAX);
        let lanes = len.div_ceil(16) + 1;
        let (groups, tail_lanes) = split::<S, G>(lanes);
        let last_lanes = (tail_lanes - 1) % S::LANES + 1;
        let before = lanes - last_lanes;
        let has_free = last_lanes < S::LANES;
        let free =
            if has_free { simd.load(&ONE_BLOCK[64 - 16 * last_lanes..]) } else { simd.zero() };
        let mask = mask(simd, 16 + len - 16 * before);
        let last_at = (16 * before).saturating_sub(16);
        Shape { len, groups, tail_lanes, last_at, last_lanes, mask, free }
    }

    /// The powers that the lanes of the tail are multiplied by, the last one of all behind them.
    #[inline(always)]
    pub(crate) fn tail_powers<'a, const R: usize>(&self, context: &'a Context<R>) -> &'a [u128] {
        &context.powers[POWERS - 1 - self.tail_lanes..]
    }

    /// What of the last vector is payload.
    #[inline(always)]
    pub(crate) fn masked<S: Simd<V = V>>(&self, simd: S, last: V) -> V {
        simd.and(last, self.mask)
    }

    /// Blocks of payload in the last vector, which may be the first one.
    #[inline(always)]
    pub(crate) fn last_blocks<S: Simd<V = V>>(&self, is_first: bool) -> usize {
        self.last_lanes - usize::from(is_first)
    }

    /// The tag, before the counter block is added, of the tail's products.
    #[inline(always)]
    pub(crate) fn hash<S: Simd<V = V>, const R: usize>(
        &self,
        simd: S,
        products: Product<V>,
        lengths: Block,
        context: &Context<R>,
    ) -> Block {
        let narrow = simd.narrow();
        let mut sum = products.sum(simd);
        if self.last_lanes == S::LANES {
            sum.add(narrow, lengths, narrow.broadcast(&context.powers[POWERS - 1]));
        }
        narrow.reverse(sum.reduce(narrow))
    }
}

/// The powers that the lanes of a whole group are multiplied by.
#[inline(always)]
pub(crate) fn group_powers<S: Simd, const R: usize, const G: usize>(
    context: &Context<R>,
) -> &[u128] {
    &context.powers[POWERS - G * S::LANES..]
}

/// The last block of GHASH: both lengths in bits.
#[inline(always)]
fn lengths(simd: AesNi, header: usize, payload: usize) -> Block {
    simd.word(((8 * header as u128) << 64) | (8 * payload as u128))
}

/// What packets with headers of one length have in common: looked at again only when a packet has another one than
/// the packet before it.
pub(crate) struct Head<V> {
    /// Bytes of the header.
    pub(crate) len: usize,
    /// Whole blocks in front of its last one.
    before: usize,
    /// Ones where the last one has something in it.
    mask: Block,
    /// The last block of GHASH.
    pub(crate) lengths: Block,
    /// The same in the lane that it has in a tail's last vector; zero if it has none.
    pub(crate) lane: V,
}

impl<V: Copy> Head<V> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<V = V>>(simd: S, shape: &Shape<V>, header: usize) -> Head<V> {
        assert!(header <= HEADER_MAX, "a header that the kernel takes");
        let narrow = simd.narrow();
        let before = header.saturating_sub(1) / 16;
        let lengths = lengths(narrow, header, shape.len);
        let lane = simd.and(simd.splat(lengths), shape.free);
        Head { len: header, before, mask: mask(narrow, header - 16 * before), lengths, lane }
    }

    /// What lane 0 has for GHASH: the last block of the header, with all blocks before it folded in.
    #[inline(always)]
    pub(crate) fn fold<const R: usize>(
        &self,
        simd: AesNi,
        context: &Context<R>,
        packet: &[u8],
    ) -> Block {
        // The packet goes on behind its header, so that a whole block can be read.
        let last = simd.load(&packet[16 * self.before..]);
        let last = simd.reverse(simd.and(last, self.mask));
        if self.before == 0 {
            return last;
        }
        let mut products = Product::zero(simd);
        let powers = &context.powers[POWERS - self.before..];
        for (block, power) in packet.chunks_exact(16).zip(powers) {
            products.add(simd, simd.reverse(simd.load(block)), simd.broadcast(power));
        }
        simd.xor(products.reduce(simd), last)
    }
}

/// The counters of one packet, on their way through AES.
pub(crate) struct Stream<'a, V, const R: usize> {
    keys: &'a RoundKeys,
    /// IV and first round key, added.
    base: V,
    /// Number of the next block in the last byte of each lane (SP 800-38D section 7.1).
    count: V,
}

impl<'a, V: Copy, const R: usize> Stream<'a, V, R> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<V = V>>(
        simd: S,
        keys: &'a RoundKeys,
        iv: &[u8; IV],
    ) -> Stream<'a, V, R> {
        // By two numbers: a vector loaded from what was just stored in parts would wait for the stores.
        let (low, high) = iv.split_at(8);
        let low = u64::from_le_bytes(low.try_into().expect("8 of 12 bytes"));
        let high = u32::from_le_bytes(high.try_into().expect("4 of 12 bytes"));
        let iv = simd.splat(simd.narrow().word((u128::from(high) << 64) | u128::from(low)));
        const FIRST: [u128; 4] = [1 << 120, 2 << 120, 3 << 120, 4 << 120];
        Stream::from_counter(simd, keys, iv, &FIRST)
    }

    /// With the last byte of the first blocks as they stand in `first`; `block` is added to all.
    #[inline(always)]
    pub(crate) fn from_counter<S: Simd<V = V>>(
        simd: S,
        keys: &'a RoundKeys,
        block: V,
        first: &[u128; 4],
    ) -> Stream<'a, V, R> {
        let base = simd.xor(block, simd.broadcast(&keys[0]));
        Stream { keys, base, count: simd.load_words(first) }
    }

    /// The next `N` vectors of key stream, and the products of `blocks` of whatever packet and `powers`.
    #[inline(always)]
    pub(crate) fn step<S: Simd<V = V>, const N: usize, const W: usize>(
        &mut self,
        simd: S,
        blocks: &[V; W],
        powers: &[u128],
    ) -> ([V; N], Product<V>) {
        const { assert!(W < R) };
        let keys = self.keys;
        let forward = simd.splat(simd.narrow().word((S::LANES as u128) << 120));
        let mut state = [self.base; N];
        for lane in &mut state {
            *lane = simd.xor(*lane, self.count);
            self.count = simd.add_words(self.count, forward);
        }
        let mut products = Product::zero(simd);
        for round in 1..R {
            let key = simd.broadcast(&keys[round]);
            for lane in &mut state {
                *lane = simd.round(*lane, key);
            }
            if round <= W {
                let power = power_of(simd, powers, round - 1, W);
                products.add(simd, blocks[round - 1], power);
            }
        }
        let key = simd.broadcast(&keys[R]);
        for lane in &mut state {
            *lane = simd.last_round(*lane, key);
        }
        (state, products)
    }
}

/// The products of `blocks` and `powers` when there is no AES to do beside them.
#[inline(always)]
pub(crate) fn products<S: Simd, const W: usize>(
    simd: S,
    blocks: &[S::V; W],
    powers: &[u128],
) -> Product<S::V> {
    let mut products = Product::zero(simd);
    for (at, block) in blocks.iter().enumerate() {
        products.add(simd, *block, power_of(simd, powers, at, W));
    }
    products
}

/// The powers for vector `at` of `count`. Free lanes of the last one have none, and nothing to multiply.
#[inline(always)]
fn power_of<S: Simd>(simd: S, powers: &[u128], at: usize, count: usize) -> S::V {
    let from = &powers[at * S::LANES..];
    if at + 1 == count { simd.load_some_words(from) } else { simd.load_words(from) }
}

/// The products of a group, reduced, as the first lane of the next one takes them.
#[inline(always)]
pub(crate) fn carry<S: Simd>(simd: S, products: Product<S::V>) -> S::V {
    simd.alone(products.sum(simd).reduce(simd.narrow()))
}

/// Bytes of payload in `vectors` vectors; the very first lane of a packet has none.
pub(crate) const fn bytes<S: Simd>(vectors: usize, is_first: bool) -> usize {
    (16 * S::LANES * vectors).saturating_sub(if is_first { 16 } else { 0 })
}

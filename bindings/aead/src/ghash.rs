//! GHASH (SP 800-38D section 6.4) on carry-less products.
//!
//! GHASH writes the coefficient of x^0 as the first bit of a block, registers have it last. Read with its
//! bytes in reverse order, a block is the mirror image of its polynomial. The product of two mirror images is
//! the mirror image of the product, one bit too low; a factor of x in one of them, put into the key once, sets
//! that right. With x^128 = x^7 + x^2 + x + 1 the mirror image of the modulus has the bits 127, 126 and 121 below
//! its top and the bit 0, so that whatever stands in the lowest 64 bits is cancelled by adding a multiple that
//! reaches 128 bits up: once itself, and once times [`FOLD`] half way.

use crate::simd::{AesNi, Block, Simd};

/// Bits 63, 62 and 57: the modulus without its two ends.
const FOLD: u64 = 0xc200_0000_0000_0000;

/// A factor: the mirror image of a polynomial times x, reduced.
pub(crate) struct Key(pub(crate) u128);

impl Key {
    /// From a block read with its first byte highest.
    pub(crate) fn new(block: u128) -> Key {
        let carry = block >> 127;
        let modulus = (u128::from(FOLD) << 64) | 1;
        Key((block << 1) ^ (carry.wrapping_neg() & modulus))
    }
}

/// A sum of products that is not reduced yet, one in each lane: 256 bits in three overlapping parts.
#[derive(Clone, Copy)]
pub(crate) struct Product<V> {
    low: V,
    middle: V,
    high: V,
}

impl<V: Copy> Product<V> {
    /// No product.
    #[inline(always)]
    pub(crate) fn zero<S: Simd<V = V>>(simd: S) -> Product<V> {
        let zero = simd.zero();
        Product { low: zero, middle: zero, high: zero }
    }

    /// Adds `block` times `power`, lane by lane.
    #[inline(always)]
    pub(crate) fn add<S: Simd<V = V>>(&mut self, simd: S, block: V, power: V) {
        self.low = simd.xor(self.low, simd.low_product(block, power));
        self.middle = simd.xor(self.middle, simd.cross_products(block, power));
        self.high = simd.xor(self.high, simd.high_product(block, power));
    }

    /// Adds up the lanes.
    #[inline(always)]
    pub(crate) fn sum<S: Simd<V = V>>(self, simd: S) -> Product<Block> {
        Product {
            low: simd.sum(self.low),
            middle: simd.sum(self.middle),
            high: simd.sum(self.high),
        }
    }
}

impl Product<Block> {
    /// The block that it is modulo the polynomial.
    #[inline(always)]
    pub(crate) fn reduce(self, simd: AesNi) -> Block {
        let folded = fold(simd, self.low, self.middle);
        fold(simd, folded, self.high)
    }
}

/// Adds `low` to `high`, which stands 64 bits above it, so that its lowest 64 bits vanish.
#[inline(always)]
fn fold(simd: AesNi, low: Block, high: Block) -> Block {
    let multiple = simd.low_product(low, simd.word(u128::from(FOLD)));
    simd.xor(simd.xor(high, simd.swap_halves(low)), multiple)
}

/// The product of a block and a [`Key`]; of two keys, the key of their product.
#[inline(always)]
pub(crate) fn multiply(simd: AesNi, block: Block, key: Block) -> Block {
    let mut product = Product::zero(simd);
    product.add(simd, block, key);
    product.reduce(simd)
}

//! Registers of 128 bits: one block.

use core::arch::x86_64::*;

use super::{Block, Simd, Work};

/// AES-NI, PCLMULQDQ and AVX on this CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AesNi(());

impl AesNi {
    pub(crate) fn detect() -> Option<AesNi> {
        let has = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx");
        has.then_some(AesNi(()))
    }

    /// A number as a block: its lowest byte first.
    #[inline(always)]
    pub(crate) fn word(self, word: u128) -> Block {
        let [low, high] = [word as u64 as i64, (word >> 64) as i64];
        instruction!(_mm_set_epi64x(high, low))
    }

    /// A block as a number.
    #[inline(always)]
    pub(crate) fn number(self, block: Block) -> u128 {
        let mut number = [0u8; 16];
        self.store(block, &mut number);
        u128::from_le_bytes(number)
    }

    /// The halves of a block exchanged.
    #[inline(always)]
    pub(crate) fn swap_halves(self, block: Block) -> Block {
        instruction!(_mm_shuffle_epi32::<0x4e>(block))
    }

    /// What the key expansion of AES does with a word of the key (FIPS 197 section 5.2): SubWord of the
    /// second and fourth 32-bit words, and RotWord of that with the round constant.
    #[inline(always)]
    pub(crate) fn key_assist<const RCON: i32>(self, block: Block) -> Block {
        instruction!(_mm_aeskeygenassist_si128::<RCON>(block))
    }

    /// The 32-bit word `AT` in all four places.
    #[inline(always)]
    pub(crate) fn spread<const AT: i32>(self, block: Block) -> Block {
        instruction!(_mm_shuffle_epi32::<AT>(block))
    }

    /// Each 32-bit word XOR all below it.
    #[inline(always)]
    pub(crate) fn running_xor(self, block: Block) -> Block {
        let once = self.xor(block, instruction!(_mm_slli_si128::<4>(block)));
        self.xor(once, instruction!(_mm_slli_si128::<8>(once)))
    }

    /// Whether all bits are zero, without a branch on the way to the answer.
    #[inline(always)]
    pub(crate) fn is_zero(self, block: Block) -> bool {
        let zero = self.zero();
        let same = instruction!(_mm_cmpeq_epi8(block, zero));
        instruction!(_mm_movemask_epi8(same)) == 0xffff
    }
}

impl Simd for AesNi {
    type V = __m128i;
    const LANES: usize = 1;

    fn run<W: Work<AesNi>>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx,aes,pclmulqdq")]
        fn inner<W: Work<AesNi>>(simd: AesNi, work: W) -> W::Output {
            work.call(simd)
        }
        instruction!(inner(self, work))
    }

    #[inline(always)]
    fn narrow(self) -> AesNi {
        self
    }

    #[inline(always)]
    fn zero(self) -> __m128i {
        instruction!(_mm_setzero_si128())
    }

    #[inline(always)]
    fn load_words(self, from: &[u128]) -> __m128i {
        let word: &u128 = &from[0];
        // SAFETY: a number is 16 bytes that may be read, at any alignment.
        unsafe { _mm_loadu_si128(core::ptr::from_ref(word).cast()) }
    }

    #[inline(always)]
    fn broadcast(self, word: &u128) -> __m128i {
        // SAFETY: a number is 16 bytes that may be read, at any alignment.
        unsafe { _mm_loadu_si128(core::ptr::from_ref(word).cast()) }
    }

    #[inline(always)]
    fn splat(self, block: Block) -> __m128i {
        block
    }

    #[inline(always)]
    fn load(self, from: &[u8]) -> __m128i {
        let from: &[u8; 16] = from.first_chunk().expect("a block");
        // SAFETY: 16 bytes that may be read, at any alignment.
        unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, v: __m128i, to: &mut [u8]) {
        let to: &mut [u8; 16] = to.first_chunk_mut().expect("a block");
        // SAFETY: 16 bytes that may be written, at any alignment.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u8], first: usize) -> __m128i {
        if first == 0 && from.len() >= 16 { self.load(from) } else { self.zero() }
    }

    #[inline(always)]
    fn store_lanes(self, v: __m128i, to: &mut [u8], first: usize) {
        if first == 0 && to.len() >= 16 {
            self.store(v, to);
        }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        instruction!(_mm_xor_si128(a, b))
    }

    #[inline(always)]
    fn and(self, a: __m128i, b: __m128i) -> __m128i {
        instruction!(_mm_and_si128(a, b))
    }

    #[inline(always)]
    fn add_words(self, a: __m128i, b: __m128i) -> __m128i {
        instruction!(_mm_add_epi32(a, b))
    }

    #[inline(always)]
    fn reverse(self, v: __m128i) -> __m128i {
        let order = self.word(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        instruction!(_mm_shuffle_epi8(v, order))
    }

    #[inline(always)]
    fn round(self, v: __m128i, key: __m128i) -> __m128i {
        instruction!(_mm_aesenc_si128(v, key))
    }

    #[inline(always)]
    fn last_round(self, v: __m128i, key: __m128i) -> __m128i {
        instruction!(_mm_aesenclast_si128(v, key))
    }

    #[inline(always)]
    fn low_product(self, a: __m128i, b: __m128i) -> __m128i {
        instruction!(_mm_clmulepi64_si128::<0x00>(a, b))
    }

    #[inline(always)]
    fn high_product(self, a: __m128i, b: __m128i) -> __m128i {
        instruction!(_mm_clmulepi64_si128::<0x11>(a, b))
    }

    #[inline(always)]
    fn cross_products(self, a: __m128i, b: __m128i) -> __m128i {
        let upper = instruction!(_mm_clmulepi64_si128::<0x01>(a, b));
        let lower = instruction!(_mm_clmulepi64_si128::<0x10>(a, b));
        self.xor(upper, lower)
    }

    #[inline(always)]
    fn alone(self, block: Block) -> __m128i {
        block
    }

    #[inline(always)]
    fn with_first(self, _: __m128i, block: Block) -> __m128i {
        block
    }

    #[inline(always)]
    fn first(self, v: __m128i) -> Block {
        v
    }

    #[inline(always)]
    fn sum(self, v: __m128i) -> Block {
        v
    }
}

//! Registers of 512 bits with masks: four blocks.

use core::arch::x86_64::*;

use super::{AesNi, Block, Simd, Vaes, Work};

/// VAES and VPCLMULQDQ on 512-bit registers with masks (AVX-512 F, BW, VL, DQ), and what [`Vaes`] has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vaes512(Vaes);

impl Vaes512 {
    pub(crate) fn detect() -> Option<Vaes512> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        Vaes::detect().filter(|_| has).map(Vaes512)
    }

    /// A mask with the two 64-bit words of each of `lanes` lanes from `first` on.
    #[inline(always)]
    fn lanes(first: usize, lanes: usize) -> u8 {
        (((1_u32 << (2 * lanes.min(4))) - 1) << (2 * first)) as u8
    }
}

impl Simd for Vaes512 {
    type V = __m512i;
    const LANES: usize = 4;

    fn run<W: Work<Vaes512>>(self, work: W) -> W::Output {
        #[target_feature(
            enable = "avx2,aes,pclmulqdq,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl"
        )]
        fn inner<W: Work<Vaes512>>(simd: Vaes512, work: W) -> W::Output {
            work.call(simd)
        }
        instruction!(inner(self, work))
    }

    #[inline(always)]
    fn narrow(self) -> AesNi {
        self.0.narrow()
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        instruction!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn load_words(self, from: &[u128]) -> __m512i {
        let from: &[u128; 4] = from.first_chunk().expect("four numbers");
        // SAFETY: four numbers are 64 bytes that may be read, at any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_some_words(self, from: &[u128]) -> __m512i {
        let mask = Vaes512::lanes(0, from.len());
        // SAFETY: the mask leaves as many numbers as there are; others are not read.
        unsafe { _mm512_maskz_loadu_epi64(mask, from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn broadcast(self, word: &u128) -> __m512i {
        self.splat(self.narrow().broadcast(word))
    }

    #[inline(always)]
    fn splat(self, block: Block) -> __m512i {
        instruction!(_mm512_broadcast_i32x4(block))
    }

    #[inline(always)]
    fn load(self, from: &[u8]) -> __m512i {
        let from: &[u8; 64] = from.first_chunk().expect("four blocks");
        // SAFETY: 64 bytes that may be read, at any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, v: __m512i, to: &mut [u8]) {
        let to: &mut [u8; 64] = to.first_chunk_mut().expect("four blocks");
        // SAFETY: 64 bytes that may be written, at any alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u8], first: usize) -> __m512i {
        let mask = Vaes512::lanes(first, (from.len() / 16).min(4 - first));
        let base = from.as_ptr().wrapping_sub(16 * first);
        // SAFETY: the mask leaves whole blocks of `from`, the first of them in lane `first`; others are not read.
        unsafe { _mm512_maskz_loadu_epi64(mask, base.cast()) }
    }

    #[inline(always)]
    fn store_lanes(self, v: __m512i, to: &mut [u8], first: usize) {
        let mask = Vaes512::lanes(first, (to.len() / 16).min(4 - first));
        let base = to.as_mut_ptr().wrapping_sub(16 * first);
        // SAFETY: the mask leaves whole blocks of `to`, the first of them from lane `first`; others are not written.
        unsafe { _mm512_mask_storeu_epi64(base.cast(), mask, v) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        instruction!(_mm512_xor_si512(a, b))
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        instruction!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn add_words(self, a: __m512i, b: __m512i) -> __m512i {
        instruction!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn reverse(self, v: __m512i) -> __m512i {
        let order = self.splat(self.narrow().word(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        instruction!(_mm512_shuffle_epi8(v, order))
    }

    #[inline(always)]
    fn round(self, v: __m512i, key: __m512i) -> __m512i {
        instruction!(_mm512_aesenc_epi128(v, key))
    }

    #[inline(always)]
    fn last_round(self, v: __m512i, key: __m512i) -> __m512i {
        instruction!(_mm512_aesenclast_epi128(v, key))
    }

    #[inline(always)]
    fn low_product(self, a: __m512i, b: __m512i) -> __m512i {
        instruction!(_mm512_clmulepi64_epi128::<0x00>(a, b))
    }

    #[inline(always)]
    fn high_product(self, a: __m512i, b: __m512i) -> __m512i {
        instruction!(_mm512_clmulepi64_epi128::<0x11>(a, b))
    }

    #[inline(always)]
    fn cross_products(self, a: __m512i, b: __m512i) -> __m512i {
        let upper = instruction!(_mm512_clmulepi64_epi128::<0x01>(a, b));
        let lower = instruction!(_mm512_clmulepi64_epi128::<0x10>(a, b));
        self.xor(upper, lower)
    }

    #[inline(always)]
    fn alone(self, block: Block) -> __m512i {
        instruction!(_mm512_zextsi128_si512(block))
    }

    #[inline(always)]
    fn with_first(self, v: __m512i, block: Block) -> __m512i {
        instruction!(_mm512_inserti32x4::<0>(v, block))
    }

    #[inline(always)]
    fn first(self, v: __m512i) -> Block {
        instruction!(_mm512_castsi512_si128(v))
    }

    #[inline(always)]
    fn sum(self, v: __m512i) -> Block {
        let upper = instruction!(_mm512_extracti64x4_epi64::<1>(v));
        let lower = instruction!(_mm512_castsi512_si256(v));
        self.0.sum(self.0.xor(lower, upper))
    }
}

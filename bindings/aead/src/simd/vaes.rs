//! Registers of 256 bits: two blocks.

use core::arch::x86_64::*;

use super::{AesNi, Block, Simd, Work};

/// VAES, VPCLMULQDQ and AVX2 on this CPU, and what [`AesNi`] has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vaes(AesNi);

impl Vaes {
    pub(crate) fn detect() -> Option<Vaes> {
        let has = is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx2");
        AesNi::detect().filter(|_| has).map(Vaes)
    }
}

impl Simd for Vaes {
    type V = __m256i;
    const LANES: usize = 2;

    fn run<W: Work<Vaes>>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,aes,pclmulqdq,vaes,vpclmulqdq")]
        fn inner<W: Work<Vaes>>(simd: Vaes, work: W) -> W::Output {
            work.call(simd)
        }
        instruction!(inner(self, work))
    }

    #[inline(always)]
    fn narrow(self) -> AesNi {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        instruction!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn load_words(self, from: &[u128]) -> __m256i {
        let from: &[u128; 2] = from.first_chunk().expect("two numbers");
        // SAFETY: two numbers are 32 bytes that may be read, at any alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn broadcast(self, word: &u128) -> __m256i {
        self.splat(self.0.broadcast(word))
    }

    #[inline(always)]
    fn splat(self, block: Block) -> __m256i {
        instruction!(_mm256_broadcastsi128_si256(block))
    }

    #[inline(always)]
    fn load(self, from: &[u8]) -> __m256i {
        let from: &[u8; 32] = from.first_chunk().expect("two blocks");
        // SAFETY: 32 bytes that may be read, at any alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, v: __m256i, to: &mut [u8]) {
        let to: &mut [u8; 32] = to.first_chunk_mut().expect("two blocks");
        // SAFETY: 32 bytes that may be written, at any alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u8], first: usize) -> __m256i {
        match (first, from.len() / 16) {
            (0, 0) | (1, 0) => self.zero(),
            (0, 1) => self.alone(self.0.load(from)),
            (0, _) => self.load(from),
            (_, _) => {
                let block = self.0.load(from);
                instruction!(_mm256_inserti128_si256::<1>(_mm256_setzero_si256(), block))
            }
        }
    }

    #[inline(always)]
    fn store_lanes(self, v: __m256i, to: &mut [u8], first: usize) {
        match (first, to.len() / 16) {
            (_, 0) => {}
            (0, 1) => self.0.store(self.first(v), to),
            (0, _) => self.store(v, to),
            (_, _) => self.0.store(instruction!(_mm256_extracti128_si256::<1>(v)), to),
        }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        instruction!(_mm256_xor_si256(a, b))
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        instruction!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn add_words(self, a: __m256i, b: __m256i) -> __m256i {
        instruction!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn reverse(self, v: __m256i) -> __m256i {
        let order = self.splat(self.0.word(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        instruction!(_mm256_shuffle_epi8(v, order))
    }

    #[inline(always)]
    fn round(self, v: __m256i, key: __m256i) -> __m256i {
        instruction!(_mm256_aesenc_epi128(v, key))
    }

    #[inline(always)]
    fn last_round(self, v: __m256i, key: __m256i) -> __m256i {
        instruction!(_mm256_aesenclast_epi128(v, key))
    }

    #[inline(always)]
    fn low_product(self, a: __m256i, b: __m256i) -> __m256i {
        instruction!(_mm256_clmulepi64_epi128::<0x00>(a, b))
    }

    #[inline(always)]
    fn high_product(self, a: __m256i, b: __m256i) -> __m256i {
        instruction!(_mm256_clmulepi64_epi128::<0x11>(a, b))
    }

    #[inline(always)]
    fn cross_products(self, a: __m256i, b: __m256i) -> __m256i {
        let upper = instruction!(_mm256_clmulepi64_epi128::<0x01>(a, b));
        let lower = instruction!(_mm256_clmulepi64_epi128::<0x10>(a, b));
        self.xor(upper, lower)
    }

    #[inline(always)]
    fn alone(self, block: Block) -> __m256i {
        instruction!(_mm256_zextsi128_si256(block))
    }

    #[inline(always)]
    fn with_first(self, v: __m256i, block: Block) -> __m256i {
        instruction!(_mm256_inserti128_si256::<0>(v, block))
    }

    #[inline(always)]
    fn first(self, v: __m256i) -> Block {
        instruction!(_mm256_castsi256_si128(v))
    }

    #[inline(always)]
    fn sum(self, v: __m256i) -> Block {
        let upper = instruction!(_mm256_extracti128_si256::<1>(v));
        self.0.xor(self.first(v), upper)
    }
}

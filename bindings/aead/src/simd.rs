//! The instructions, as safe functions of tokens: whoever has a token has asked the CPU.
//!
//! One program runs on registers of two widths. What it may do with a register is [`Simd`]; its values
//! prove that the instructions are there, so that calling them is safe, and [`Simd::run`] is where the compiler is
//! allowed to use them. All `unsafe` of this crate is in this file and each piece of it is one instruction.

use core::arch::x86_64::*;

/// A block of AES and GHASH in one register.
pub(crate) type Block = __m128i;

/// A piece of work that runs on registers of any width.
pub(crate) trait Work<S> {
    /// What it gives.
    type Output;
    /// Does it. Implementations are `#[inline(always)]`, or they would not be compiled for the
    /// instructions of `S`.
    fn call(self, simd: S) -> Self::Output;
}

/// Registers of some width, and what is done with them.
pub(crate) trait Simd: Copy {
    /// A register.
    type V: Copy;
    /// Blocks in a register.
    const LANES: usize;

    /// Runs `work`, compiled for these instructions.
    fn run<W: Work<Self>>(self, work: W) -> W::Output;
    /// The same CPU on registers of one block.
    fn narrow(self) -> AesNi;

    /// Zero.
    fn zero(self) -> Self::V;
    /// The first `LANES` numbers of `from`.
    ///
    /// # Panics
    /// If there are fewer.
    fn load_words(self, from: &[u128]) -> Self::V;
    /// The same where there may be fewer: what is in the lanes without one does not matter.
    #[inline(always)]
    fn load_some_words(self, from: &[u128]) -> Self::V {
        self.load_words(from)
    }
    /// One number in all lanes.
    fn broadcast(self, word: &u128) -> Self::V;
    /// One block in all lanes.
    fn splat(self, block: Block) -> Self::V;
    /// The first `LANES` blocks of `from`.
    ///
    /// # Panics
    /// If there are fewer.
    fn load(self, from: &[u8]) -> Self::V;
    /// Writes `LANES` blocks to the beginning of `to`.
    ///
    /// # Panics
    /// If there is no room.
    fn store(self, v: Self::V, to: &mut [u8]);
    /// As many whole blocks of `from` as there are, into the lanes from `first` on; zeros elsewhere.
    fn load_lanes(self, from: &[u8], first: usize) -> Self::V;
    /// Writes the lanes from `first` on, one block each, to as many whole blocks as `to` has.
    fn store_lanes(self, v: Self::V, to: &mut [u8], first: usize);

    /// XOR.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// AND.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Sum of the 32-bit words.
    fn add_words(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bytes of each block in reverse order.
    fn reverse(self, v: Self::V) -> Self::V;
    /// One round of AES in each lane.
    fn round(self, v: Self::V, key: Self::V) -> Self::V;
    /// The last round.
    fn last_round(self, v: Self::V, key: Self::V) -> Self::V;
    /// Carry-less products of the lower halves in each lane.
    fn low_product(self, a: Self::V, b: Self::V) -> Self::V;
    /// Of the upper halves.
    fn high_product(self, a: Self::V, b: Self::V) -> Self::V;
    /// Of the upper with the lower and of the lower with the upper halves, added.
    fn cross_products(self, a: Self::V, b: Self::V) -> Self::V;
    /// `block` in the first lane, zeros in the others.
    fn alone(self, block: Block) -> Self::V;
    /// `v` with `block` in its first lane.
    fn with_first(self, v: Self::V, block: Block) -> Self::V;
    /// The first lane.
    fn first(self, v: Self::V) -> Block;
    /// The sum of all lanes.
    fn sum(self, v: Self::V) -> Block;
}

/// Asks for the cache line in which `what` begins before it is needed; a hint.
#[inline(always)]
pub fn prefetch<T>(what: &T) {
    // SAFETY: a prefetch reads nothing that a program could see, and faults nowhere.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(what).cast()) };
}

/// `instruction!(name(..))`: one instruction that the token at hand proves to be there.
macro_rules! instruction {
    ($call:expr) => {
        // SAFETY: a token is made by `detect` alone, after it found every feature that its methods use.
        unsafe { $call }
    };
}

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

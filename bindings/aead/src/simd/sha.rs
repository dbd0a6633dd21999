//! SHA-1 by its own instructions, for several messages side by side: each instruction waits six cycles for
//! the one before it, in which another message's can be done.

use core::arch::x86_64::*;

use super::{AesNi, Block, Simd, Work};

/// SHA-NI, SSSE3 and SSE4.1 on this CPU, and what [`AesNi`] has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sha(AesNi);

/// Bytes of a block of SHA-1.
pub(crate) const SHA_BLOCK: usize = 64;

/// The chaining value (FIPS 180-4 section 6.1): a, b, c, d in one register, e in the top of another.
#[derive(Clone, Copy)]
pub(crate) struct State {
    abcd: Block,
    e: Block,
}

impl Sha {
    pub(crate) fn detect() -> Option<Sha> {
        let has = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        AesNi::detect().filter(|_| has).map(Sha)
    }

    /// Runs `work`, compiled for these instructions.
    pub(crate) fn run<W: Work<Sha>>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx,aes,pclmulqdq,sha,ssse3,sse4.1")]
        fn inner<W: Work<Sha>>(sha: Sha, work: W) -> W::Output {
            work.call(sha)
        }
        instruction!(inner(self, work))
    }

    /// From five words.
    #[inline(always)]
    pub(crate) fn state(self, [a, b, c, d, e]: [u32; 5]) -> State {
        let abcd = instruction!(_mm_set_epi32(a as i32, b as i32, c as i32, d as i32));
        State { abcd, e: instruction!(_mm_set_epi32(e as i32, 0, 0, 0)) }
    }

    /// As five words.
    #[inline(always)]
    pub(crate) fn words(self, state: State) -> [u32; 5] {
        let (abcd, e) = (self.0.number(state.abcd), self.0.number(state.e));
        [abcd >> 96, abcd >> 64, abcd >> 32, abcd, e >> 96].map(|word| word as u32)
    }

    /// Takes a block of each of `N` messages.
    #[inline(always)]
    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: [&[u8]; N]) {
        let before = *states;
        let mut words = [[self.0.zero(); 4]; N];
        for (words, block) in words.iter_mut().zip(blocks) {
            for (at, word) in words.iter_mut().enumerate() {
                *word = self.0.reverse(self.0.load(&block[16 * at..]));
            }
        }
        for (state, words) in states.iter_mut().zip(&mut words) {
            let e = instruction!(_mm_add_epi32(state.e, words[0]));
            self.rounds::<0>(state, e);
            self.schedule(words, 0);
        }
        for at in 1..5 {
            self.group::<0, N>(states, &mut words, at);
        }
        for at in 5..10 {
            self.group::<1, N>(states, &mut words, at);
        }
        for at in 10..15 {
            self.group::<2, N>(states, &mut words, at);
        }
        for at in 15..20 {
            self.group::<3, N>(states, &mut words, at);
        }
        for (state, before) in states.iter_mut().zip(before) {
            state.e = instruction!(_mm_sha1nexte_epu32(state.e, before.e));
            state.abcd = instruction!(_mm_add_epi32(state.abcd, before.abcd));
        }
    }

    /// Four rounds of each message, group `at` of twenty.
    #[inline(always)]
    fn group<const F: i32, const N: usize>(
        self,
        states: &mut [State; N],
        words: &mut [[Block; 4]; N],
        at: usize,
    ) {
        for (state, words) in states.iter_mut().zip(words) {
            let e = instruction!(_mm_sha1nexte_epu32(state.e, words[at % 4]));
            self.rounds::<F>(state, e);
            if at < 16 {
                self.schedule(words, at);
            }
        }
    }

    /// Four rounds; what e will be made of is kept in its place.
    #[inline(always)]
    fn rounds<const F: i32>(self, state: &mut State, e: Block) {
        state.e = state.abcd;
        state.abcd = instruction!(_mm_sha1rnds4_epu32::<F>(state.abcd, e));
    }

    /// The four words that take the place of those of group `at`.
    #[inline(always)]
    fn schedule(self, words: &mut [Block; 4], at: usize) {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|by| words[(at + by) % 4]);
        let sum = self.0.xor(instruction!(_mm_sha1msg1_epu32(first, second)), third);
        words[at % 4] = instruction!(_mm_sha1msg2_epu32(sum, fourth));
    }
}

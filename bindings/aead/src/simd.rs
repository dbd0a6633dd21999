//! The instructions, as safe functions of tokens: whoever has a token has asked the CPU.
//!
//! One program runs on registers of two widths. What it may do with a register is [`Simd`]; its values
//! prove that the instructions are there, so that calling them is safe, and [`Simd::run`] is where the compiler is
//! allowed to use them. All `unsafe` of this crate is here and in the files below, and each piece of it is one
//! instruction.

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

mod aesni;
mod sha;
mod vaes;
mod vaes512;

pub(crate) use aesni::AesNi;
pub(crate) use sha::{SHA_BLOCK, Sha};
pub(crate) use vaes::Vaes;
pub(crate) use vaes512::Vaes512;

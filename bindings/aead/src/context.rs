//! A key, expanded: the round keys of AES and the powers of the GHASH key.
//!
//! A context is what a packet's way needs of its key and nothing else: 496 bytes, so that an owner puts a
//! salt in front and has eight cache lines. The powers stand in falling order, as a packet's blocks meet them.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ghash::{self, Key};
use crate::simd::{AesNi, Block, Simd, Work, prefetch};
use crate::{AES_128, AES_256};

/// Powers of the GHASH key in a context: blocks that are added up before one reduction.
pub(crate) const POWERS: usize = 16;
/// Keys or powers in a cache line.
const IN_A_LINE: usize = 4;
const ROUND_KEYS: usize = AES_256 + 1;
/// Round keys as the registers hold them; those behind the last round are unused.
pub(crate) type RoundKeys = [u128; ROUND_KEYS];

/// A key for `R` rounds of AES, which is [`AES_128`] or [`AES_256`]. Wiped when dropped, prints nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(C)]
pub struct Context<const R: usize> {
    pub(crate) round_keys: RoundKeys,
    /// The powers 16 to 1 of the GHASH key, each as [`Key`] has it.
    pub(crate) powers: [u128; POWERS],
}

const _: () = assert!(size_of::<Context<AES_128>>() == 496 && size_of::<Context<AES_256>>() == 496);

impl<const R: usize> core::fmt::Debug for Context<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Context<{R}>(masked)")
    }
}

impl Context<AES_128> {
    pub(crate) fn aes_128(simd: AesNi, key: &[u8; 16]) -> Context<AES_128> {
        simd.run(Expand128(key))
    }
}

impl Context<AES_256> {
    pub(crate) fn aes_256(simd: AesNi, key: &[u8; 32]) -> Context<AES_256> {
        simd.run(Expand256(key))
    }
}

impl<const R: usize> Context<R> {
    /// Asks for its lines before a packet needs them; a hint. A short packet needs not all of them, but to tell
    /// which would take longer than to ask.
    #[inline(always)]
    pub fn prefetch(&self) {
        for line in 0..=R / IN_A_LINE {
            prefetch(&self.round_keys[IN_A_LINE * line]);
        }
        for line in 0..POWERS / IN_A_LINE {
            prefetch(&self.powers[IN_A_LINE * line]);
        }
    }

    /// A context that does not fit its key: for tests of what watches the kernel.
    #[doc(hidden)]
    pub fn damaged(&self) -> Context<R> {
        let mut context = self.clone();
        context.powers[POWERS - 1] ^= 1;
        context
    }

    /// The key itself, which AES begins with, put into `room`: for another library.
    pub fn key<'r>(&self, room: &'r mut [u8; 32]) -> &'r [u8] {
        for (to, key) in room.chunks_exact_mut(16).zip(self.round_keys) {
            to.copy_from_slice(&key.to_le_bytes());
        }
        &room[..if R == AES_128 { 16 } else { 32 }]
    }
}

/// The round keys of a key of 16 bytes alone.
pub(crate) fn expand_128(simd: AesNi, key: &[u8; 16]) -> RoundKeys {
    Context::aes_128(simd, key).round_keys
}

struct Expand128<'a>(&'a [u8; 16]);

impl Work<AesNi> for Expand128<'_> {
    type Output = Context<AES_128>;

    #[inline(always)]
    fn call(self, simd: AesNi) -> Context<AES_128> {
        let mut keys = [simd.zero(); AES_128 + 1];
        keys[0] = simd.load(self.0);
        macro_rules! next {
            ($at:literal, $rcon:literal) => {
                let word = simd.spread::<0xff>(simd.key_assist::<$rcon>(keys[$at - 1]));
                keys[$at] = simd.xor(simd.running_xor(keys[$at - 1]), word);
            };
        }
        next!(1, 0x01);
        next!(2, 0x02);
        next!(3, 0x04);
        next!(4, 0x08);
        next!(5, 0x10);
        next!(6, 0x20);
        next!(7, 0x40);
        next!(8, 0x80);
        next!(9, 0x1b);
        next!(10, 0x36);
        finish(simd, &keys)
    }
}

struct Expand256<'a>(&'a [u8; 32]);

impl Work<AesNi> for Expand256<'_> {
    type Output = Context<AES_256>;

    #[inline(always)]
    fn call(self, simd: AesNi) -> Context<AES_256> {
        let mut keys = [simd.zero(); AES_256 + 1];
        keys[0] = simd.load(&self.0[..16]);
        keys[1] = simd.load(&self.0[16..]);
        // Every second key takes the word as it is, without rotation and constant.
        macro_rules! next {
            ($at:literal, $rcon:literal, $word:literal) => {
                let word = simd.spread::<$word>(simd.key_assist::<$rcon>(keys[$at - 1]));
                keys[$at] = simd.xor(simd.running_xor(keys[$at - 2]), word);
            };
        }
        next!(2, 0x01, 0xff);
        next!(3, 0x00, 0xaa);
        next!(4, 0x02, 0xff);
        next!(5, 0x00, 0xaa);
        next!(6, 0x04, 0xff);
        next!(7, 0x00, 0xaa);
        next!(8, 0x08, 0xff);
        next!(9, 0x00, 0xaa);
        next!(10, 0x10, 0xff);
        next!(11, 0x00, 0xaa);
        next!(12, 0x20, 0xff);
        next!(13, 0x00, 0xaa);
        next!(14, 0x40, 0xff);
        finish(simd, &keys)
    }
}

/// The GHASH key is the zero block encrypted (SP 800-38D section 6.4), its powers follow from it.
#[inline(always)]
fn finish<const R: usize>(simd: AesNi, keys: &[Block]) -> Context<R> {
    let mut block = keys[0];
    for key in &keys[1..R] {
        block = simd.round(block, *key);
    }
    let hash_key = Key::new(simd.number(simd.reverse(simd.last_round(block, keys[R]))));
    let mut context = Context { round_keys: [0; ROUND_KEYS], powers: [0; POWERS] };
    for (to, key) in context.round_keys.iter_mut().zip(keys) {
        *to = simd.number(*key);
    }
    let mut powers = [simd.word(hash_key.0); POWERS];
    for at in 2..=POWERS {
        // Two halves instead of one more factor: a chain of four products instead of fifteen.
        let (a, b) = (powers[at / 2 - 1], powers[at.div_ceil(2) - 1]);
        powers[at - 1] = ghash::multiply(simd, a, b);
    }
    for (to, power) in context.powers.iter_mut().rev().zip(powers) {
        *to = simd.number(power);
    }
    context
}

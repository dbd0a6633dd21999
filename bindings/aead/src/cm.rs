//! The ciphers of AES_CM_128_HMAC_SHA1_80 (RFC 3711 sections 4.1.1 and 4.2.1) for a fan-out: AES in counter mode on
//! the kernel's registers, HMAC-SHA1 of two packets side by side.
//!
//! Both padded keys of HMAC (RFC 2104) are hashed when the context is made. Constant time as the rest of the crate:
//! control flow follows lengths alone.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::context::{RoundKeys, expand_128};
use crate::lanes::Stream;
use crate::simd::{SHA_BLOCK, Sha, Simd, Work};
use crate::{AES_128, Kernel, Token};

/// Bytes of HMAC-SHA1.
pub const MAC: usize = 20;
/// Bytes that are encrypted at most: the counter stays within its last byte.
pub const CRYPT_MAX: usize = 255 * 16;
/// What a message begins with before anything is hashed (FIPS 180-4 section 5.3.1).
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
/// Vectors of key stream at once.
const GROUP: usize = 4;

/// The keys of one direction. Wiped when dropped, prints nothing.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Context {
    round_keys: RoundKeys,
    inner: [u32; 5],
    outer: [u32; 5],
}

impl core::fmt::Debug for Context {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("cm::Context(masked)")
    }
}

/// A message to authenticate: its bytes and a few behind them, under its own key.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The key.
    pub context: &'a Context,
    /// The message.
    pub bytes: &'a [u8],
    /// What follows it without lying behind it: the rollover counter, or nothing.
    pub suffix: &'a [u8],
}

/// The ciphers on one path: a value of it is proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Cm {
    kernel: Kernel,
    sha: Sha,
}

impl Cm {
    /// Beside a kernel; `None` where the CPU has no instructions for SHA-1.
    pub fn beside(kernel: Kernel) -> Option<Cm> {
        Some(Cm { kernel, sha: Sha::detect()? })
    }

    /// Expands both keys; that of HMAC has 64 bytes at most.
    ///
    /// # Panics
    /// If it has more.
    pub fn context(self, key: &[u8; 16], auth: &[u8]) -> Context {
        let mut pads = [[0x36; SHA_BLOCK], [0x5c; SHA_BLOCK]];
        for pad in &mut pads {
            pad[..auth.len()].iter_mut().zip(auth).for_each(|(pad, auth)| *pad ^= auth);
        }
        let [inner, outer] = self.sha.run(HashPads(&pads));
        pads.zeroize();
        Context { round_keys: expand_128(self.kernel.narrow(), key), inner, outer }
    }

    /// Encrypts or decrypts: adds the key stream from `iv` on, whose last two bytes are the counter and zero.
    ///
    /// # Panics
    /// If there is more than [`CRYPT_MAX`].
    pub fn crypt(self, context: &Context, iv: &[u8; 16], in_out: &mut [u8]) {
        assert!(in_out.len() <= CRYPT_MAX, "the counter stays within its last byte");
        let work = Crypt { context, iv, in_out };
        match self.kernel.0 {
            Token::Vaes512(simd) => simd.run(work),
            Token::Vaes(simd) => simd.run(work),
            Token::AesNi(simd) => simd.run(work),
        }
    }

    /// HMAC-SHA1 of one message.
    pub fn mac(self, message: Message<'_>) -> [u8; MAC] {
        let [mac] = self.sha.run(Macs([message]));
        mac
    }

    /// HMAC-SHA1 of two messages, side by side where they have as many blocks.
    pub fn mac_two(self, messages: [Message<'_>; 2]) -> [[u8; MAC]; 2] {
        let blocks = messages.map(|message| message.blocks());
        if blocks[0] == blocks[1] {
            return self.sha.run(Macs(messages));
        }
        messages.map(|message| self.mac(message))
    }
}

impl Message<'_> {
    fn len(&self) -> usize {
        self.bytes.len() + self.suffix.len()
    }

    /// Blocks behind that of the padded key: the message, a byte of padding, eight of length.
    fn blocks(&self) -> usize {
        (self.len() + 9).div_ceil(SHA_BLOCK)
    }
}

struct Crypt<'a> {
    context: &'a Context,
    iv: &'a [u8; 16],
    in_out: &'a mut [u8],
}

impl<S: Simd> Work<S> for Crypt<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self, simd: S) {
        const FIRST: [u128; 4] = [0, 1 << 120, 2 << 120, 3 << 120];
        let iv = simd.splat(simd.narrow().word(u128::from_le_bytes(*self.iv)));
        let keys = &self.context.round_keys;
        let mut stream = Stream::<_, AES_128>::from_counter(simd, keys, iv, &FIRST);
        let bytes = 16 * S::LANES;
        for group in self.in_out.chunks_mut(GROUP * bytes) {
            let (stream, _) = stream.step::<S, GROUP, 0>(simd, &[], &[]);
            for (vector, part) in stream.into_iter().zip(group.chunks_mut(bytes)) {
                if part.len() == bytes {
                    simd.store(simd.xor(vector, simd.load(part)), part);
                    continue;
                }
                let mut whole = [0; 64];
                whole[..part.len()].copy_from_slice(part);
                let sum = simd.xor(vector, simd.load(&whole));
                simd.store(sum, &mut whole);
                part.copy_from_slice(&whole[..part.len()]);
            }
        }
    }
}

struct HashPads<'a>(&'a [[u8; SHA_BLOCK]; 2]);

impl Work<Sha> for HashPads<'_> {
    type Output = [[u32; 5]; 2];

    #[inline(always)]
    fn call(self, sha: Sha) -> [[u32; 5]; 2] {
        let mut states = [sha.state(INITIAL); 2];
        sha.compress(&mut states, [&self.0[0], &self.0[1]]);
        [sha.words(states[0]), sha.words(states[1])]
    }
}

struct Macs<'a, const N: usize>([Message<'a>; N]);

impl<const N: usize> Work<Sha> for Macs<'_, N> {
    type Output = [[u8; MAC]; N];

    #[inline(always)]
    fn call(self, sha: Sha) -> [[u8; MAC]; N] {
        let Macs(messages) = self;
        let blocks = messages[0].blocks();
        // The ends, with suffix, padding and length: two blocks at most.
        let mut ends = [[0; 2 * SHA_BLOCK]; N];
        let whole = (0..N).map(|at| messages[at].bytes.len() / SHA_BLOCK).min().unwrap_or(0);
        let whole = whole.min(blocks - 1).max(blocks.saturating_sub(2));
        for (end, message) in ends.iter_mut().zip(&messages) {
            let rest = &message.bytes[(whole * SHA_BLOCK).min(message.bytes.len())..];
            let at = rest.len();
            end[..at].copy_from_slice(rest);
            end[at..at + message.suffix.len()].copy_from_slice(message.suffix);
            end[at + message.suffix.len()] = 0x80;
            let bits = 8 * (SHA_BLOCK + message.len()) as u64;
            let last = (blocks - whole) * SHA_BLOCK;
            end[last - 8..last].copy_from_slice(&bits.to_be_bytes());
        }
        let mut states = messages.map(
            #[inline(always)]
            |message| sha.state(message.context.inner),
        );
        for block in 0..whole {
            sha.compress(&mut states, messages.map(|message| &message.bytes[block * SHA_BLOCK..]));
        }
        for block in 0..blocks - whole {
            sha.compress(&mut states, core::array::from_fn(|at| &ends[at][block * SHA_BLOCK..]));
        }
        let mut last = [[0; SHA_BLOCK]; N];
        let mut outer = states;
        for at in 0..N {
            put(&mut last[at], sha.words(states[at]));
            last[at][MAC] = 0x80;
            last[at][SHA_BLOCK - 8..]
                .copy_from_slice(&(8 * (SHA_BLOCK + MAC) as u64).to_be_bytes());
            outer[at] = sha.state(messages[at].context.outer);
        }
        sha.compress(&mut outer, core::array::from_fn(|at| &last[at][..]));
        let mut macs = [[0; MAC]; N];
        for at in 0..N {
            put(&mut macs[at], sha.words(outer[at]));
        }
        macs
    }
}

fn put(to: &mut [u8], words: [u32; 5]) {
    for (to, word) in to.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_be_bytes());
    }
}

const _: () = assert!(size_of::<Context>() <= 288);

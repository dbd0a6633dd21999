//! AES-GCM for a media room: one plaintext sealed straight into many packets under many keys, and bursts
//! of packets opened under a key each. AES-128 and AES-256, 96-bit IV, 128-bit tag (NIST SP 800-38D).
//!
//! A packet is what SRTP makes of it (RFC 7714): a header that is authenticated as it stands, a payload,
//! a tag of 16 bytes. Libraries seal one buffer under one key per call; for the short packets of a room
//! most of their time is the call, the partial block at the end and waiting for what a context has in
//! memory. Here a call takes the whole fan-out: the lengths are looked at once, the GHASH of one packet
//! fills the gaps in the AES of the next one, and whoever has many packets asks for their contexts beforehand
//! ([`Context::prefetch`]).
//!
//! # Where to start reading
//! `seal` has the order of work, `open` its mirror, `lanes` how a payload falls into registers and the
//! step in which AES and GHASH run side by side, `ghash` the arithmetic, `simd` the instructions. The two
//! widths ([`Path`]) are one program, generic over the registers it works on.
//!
//! # Constant time
//! Neither a branch nor an address depends on a key, a plaintext or a tag: control flow and addresses are
//! functions of lengths, of the number of packets, and of whether a tag held, which the caller tells anyway.
//! There is no table that is looked up by data; AES rounds, carry-less products, XOR and byte shuffles take the
//! same time for all operands on every CPU that has them. Tags are compared whole, by one XOR and one test of
//! all bits. `tests/assembly.rs` looks at what the compiler made of it.
//!
//! # What it must never do
//! Allocate; see an IV twice under one key (the caller's `EgressIndex` is made for that); give away a payload
//! whose tag did not hold: [`Kernel::open`] wipes it.

pub mod cm;
mod context;
mod ghash;
mod lanes;
mod open;
mod packet;
mod seal;
mod simd;

pub use context::Context;
pub use packet::{Packet, Record, SealedPacket};

pub use simd::prefetch;
use simd::{AesNi, Simd, Vaes, Vaes512};

/// Bytes of the tag.
pub const TAG: usize = 16;
/// Bytes of the IV.
pub const IV: usize = 12;
/// Bytes of an authenticated header at most: an RTP header with every CSRC but the last three.
pub const HEADER_MAX: usize = 80;
/// Bytes of a payload at most: a block counter of one byte is enough for it.
pub const PAYLOAD_MAX: usize = 4000;
/// Rounds of AES with a key of 16 bytes: the parameter of contexts and calls.
pub const AES_128: usize = 10;
/// Rounds of AES with a key of 32 bytes.
pub const AES_256: usize = 14;

/// Vectors of a group of one or two lanes. Seven leave the registers that the products need, and with two lanes
/// and the lengths make fifteen blocks, for which a context has powers.
const GROUP: usize = 7;
/// Of four lanes: with the lengths thirteen blocks.
const GROUP_512: usize = 3;

const _: () = assert!(PAYLOAD_MAX.div_ceil(16) + 1 < 256);

/// Which instructions do the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// VAES and VPCLMULQDQ on the 512-bit registers of AVX-512: four blocks per instruction.
    Vaes512,
    /// The same on 256-bit registers: two blocks.
    Vaes,
    /// AES-NI and PCLMULQDQ on 128-bit registers: one block.
    AesNi,
}

impl Path {
    /// All, the fastest first.
    pub const ALL: [Path; 3] = [Path::Vaes512, Path::Vaes, Path::AesNi];

    /// A word for consoles and benchmarks.
    pub const fn name(self) -> &'static str {
        match self {
            Path::Vaes512 => "vaes512",
            Path::Vaes => "vaes",
            Path::AesNi => "aesni",
        }
    }
}

/// The kernel on one path: a value of it is proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Kernel(Token);

#[derive(Debug, Clone, Copy)]
enum Token {
    Vaes512(Vaes512),
    Vaes(Vaes),
    AesNi(AesNi),
}

impl Kernel {
    /// The fastest path of this CPU; `None` where it has no AES instructions.
    pub fn detect() -> Option<Kernel> {
        Path::ALL.into_iter().find_map(Kernel::with)
    }

    /// This path, if the CPU has it.
    pub fn with(path: Path) -> Option<Kernel> {
        Some(Kernel(match path {
            Path::Vaes512 => Token::Vaes512(Vaes512::detect()?),
            Path::Vaes => Token::Vaes(Vaes::detect()?),
            Path::AesNi => Token::AesNi(AesNi::detect()?),
        }))
    }

    /// The path.
    pub fn path(self) -> Path {
        match self.0 {
            Token::Vaes512(_) => Path::Vaes512,
            Token::Vaes(_) => Path::Vaes,
            Token::AesNi(_) => Path::AesNi,
        }
    }

    fn narrow(self) -> AesNi {
        match self.0 {
            Token::Vaes512(simd) => simd.narrow(),
            Token::Vaes(simd) => simd.narrow(),
            Token::AesNi(simd) => simd,
        }
    }

    /// Expands a key of 16 bytes.
    pub fn aes_128(self, key: &[u8; 16]) -> Context<AES_128> {
        Context::aes_128(self.narrow(), key)
    }

    /// Expands a key of 32 bytes.
    pub fn aes_256(self, key: &[u8; 32]) -> Context<AES_256> {
        Context::aes_256(self.narrow(), key)
    }

    /// Seals `plaintext` into each packet, behind the packet's own header and under its own key.
    ///
    /// # Panics
    /// If it is longer than [`PAYLOAD_MAX`], a header longer than [`HEADER_MAX`], or a packet too short for both and
    /// a tag.
    pub fn seal<'a, const R: usize>(self, plaintext: &[u8], packets: &mut [impl Packet<'a, R>]) {
        match self.0 {
            Token::Vaes512(simd) => seal::fan_out::<_, R, GROUP_512>(simd, plaintext, packets),
            Token::Vaes(simd) => seal::fan_out::<_, R, GROUP>(simd, plaintext, packets),
            Token::AesNi(simd) => seal::fan_out::<_, R, GROUP>(simd, plaintext, packets),
        }
    }

    /// Seals a packet whose payload of `len` bytes stands behind its header already.
    ///
    /// # Panics
    /// As [`Kernel::seal`].
    pub fn seal_in_place<'a, const R: usize>(self, len: usize, packet: &mut impl Packet<'a, R>) {
        match self.0 {
            Token::Vaes512(simd) => seal::in_place::<_, R, GROUP_512>(simd, len, packet),
            Token::Vaes(simd) => seal::in_place::<_, R, GROUP>(simd, len, packet),
            Token::AesNi(simd) => seal::in_place::<_, R, GROUP>(simd, len, packet),
        }
    }

    /// Opens each packet in place, under its own key, and says in it whether its tag held. Where it
    /// did not, the payload is zeros.
    ///
    /// # Panics
    /// If a packet is none of those that [`payload_len`] knows the length of.
    pub fn open<'a, const R: usize>(self, packets: &mut [impl SealedPacket<'a, R>]) {
        match self.0 {
            Token::Vaes512(simd) => open::burst::<_, R, GROUP_512>(simd, packets),
            Token::Vaes(simd) => open::burst::<_, R, GROUP>(simd, packets),
            Token::AesNi(simd) => open::burst::<_, R, GROUP>(simd, packets),
        }
    }
}

/// The length of the payload of a packet of `total` bytes with a header of `header` bytes, if the kernel takes
/// such a packet.
pub fn payload_len(total: usize, header: usize) -> Option<usize> {
    let len = total.checked_sub(header)?.checked_sub(TAG)?;
    (header <= HEADER_MAX && len <= PAYLOAD_MAX).then_some(len)
}

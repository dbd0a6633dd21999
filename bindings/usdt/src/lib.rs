//! Static probes (USDT) of the data plane: places with a name at which `bpftrace`, `perf` or SystemTap can stop by,
//! while the node runs, without a build of its own.
//!
//! A probe is one `nop`. Beside the code, in a note of the ELF file (`.note.stapsdt`, version 3, the format of
//! SystemTap's `sys/sdt.h`), stands where it is, what it is called, and in which registers its arguments are. A
//! tracer reads the note and puts a breakpoint on the `nop`. Nobody asks at run time whether somebody looks, so
//! there are no semaphores.
//!
//! ```text
//! bpftrace -e 'usdt:/usr/bin/roomlane-dataplane:roomlane:seal { @copies = hist(arg0); }'
//! ```
//!
//! # What it must never do
//! Cost more than the `nop`: arguments are what the caller has in registers at that place. Tell a tracer whom a
//! packet is of: arguments are counts, lengths, reasons, and numbers that the node made.
//!
//! # Other processors
//! Notes name registers, so the format differs by processor. Elsewhere than on x86-64 probes are empty functions.

/// Declares probes: a function each, which is the probe in whatever function it is called from.
macro_rules! probes {
    ($($(#[$about:meta])* $name:ident = $probe:literal ($($argument:ident),+);)+) => {
        /// The names, as tracers say them.
        pub const NAMES: &[&str] = &[$($probe),+];

        $(
            $(#[$about])*
            #[inline(always)]
            #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
            pub fn $name($($argument: u64),+) {
                #[cfg(target_arch = "x86_64")]
                probe!($probe, $($argument),+);
            }
        )+
    };
}

/// The `nop` and its note. The note lies in a section that is not loaded, so nothing of it is in memory while the
/// node runs; `_.stapsdt.base` is there once per program, and kept (`R`) although nothing that is loaded refers to it:
/// tracers reckon from it where a program's addresses were changed later.
#[cfg(target_arch = "x86_64")]
macro_rules! probe {
    ($probe:literal, $($argument:ident),+) => {
        // SAFETY: a `nop` changes neither memory, the stack nor flags; the rest is data of sections of its own,
        // which nothing in the program refers to.
        unsafe {
            core::arch::asm!(
                "990: nop",
                ".pushsection .note.stapsdt, \"?\", @note",
                ".balign 4",
                ".4byte 992f - 991f, 994f - 993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                "993: .8byte 990b",
                ".8byte _.stapsdt.base",
                ".8byte 0",
                ".asciz \"roomlane\"",
                concat!(".asciz \"", $probe, "\""),
                concat!(".asciz \"", arguments!($($argument),+), "\""),
                "994: .balign 4",
                ".popsection",
                ".ifndef _.stapsdt.base",
                ".pushsection .stapsdt.base, \"aGR\", @progbits, .stapsdt.base, comdat",
                ".weak _.stapsdt.base",
                ".hidden _.stapsdt.base",
                "_.stapsdt.base: .space 1",
                ".size _.stapsdt.base, 1",
                ".popsection",
                ".endif",
                $($argument = in(reg) $argument,)+
                options(att_syntax, nomem, nostack, preserves_flags),
            );
        }
    };
}

/// What the note says of the arguments: eight bytes without a sign each, and the register.
#[cfg(target_arch = "x86_64")]
macro_rules! arguments {
    ($first:ident $(, $more:ident)*) => {
        concat!("8@{", stringify!($first), "}" $(, " 8@{", stringify!($more), "}")*)
    };
}

probes! {
    /// A worker received a burst of so many datagrams.
    rx_burst = "rx_burst"(packets);
    /// The shard hands so many packets to the cipher at once, to be opened.
    open = "open"(packets);
    /// They came back, and so many of them were asked for.
    opened = "opened"(packets);
    /// The shard hands so many copies of a payload of so many bytes to the cipher at once, to be sealed.
    seal = "seal"(copies, payload_bytes);
    /// They came back.
    sealed = "sealed"(copies, payload_bytes);
    /// A worker hands so many sealed datagrams to its port.
    tx_burst = "tx_burst"(datagrams);
    /// A packet, or a copy of one, ended with a reason (its number, as in `docs/drop-reasons.md`); of which session,
    /// by its place in the shard, or `u32::MAX` where that is not known.
    dropped = "drop"(reason, session);
    /// The session in this place of the shard opened (1) or closed (0), in the room with this number.
    session = "session"(place, room, is_open);
    /// The room with this number opened (1) or ended (0).
    room = "room"(room, is_open);
}

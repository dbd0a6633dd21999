//! Reads the machine code of the test program that it is part of, and looks for what could tell secrets.
//!
//! In functions that seal no instruction moves bits from a vector register to a general register, a mask or the flags;
//! in functions that open one does, the comparison of the tag with the expected one. Instructions whose time
//! depends on their operands are nowhere. (General registers and masks hold lengths, counts, pointers and IVs.)

use std::process::Command;

/// From vector registers to general registers, masks or flags.
const LEAKS: &[&str] = &[
    "pmovmskb",
    "movmskps",
    "movmskpd",
    "ptest",
    "testps",
    "testpd",
    "ucomis",
    "comis",
    "cvtsd2si",
    "cvtss2si",
    "cvttsd2si",
    "cvttss2si",
    "pextr",
    "extractps",
    "pcmpistr",
    "pcmpestr",
    "pmovb2m",
    "pmovw2m",
    "pmovd2m",
    "pmovq2m",
];
/// Slow for some operands, or an address per lane.
const UNEVEN: &[&str] = &["div", "idiv", "sqrt", "gather", "scatter", "rep"];

/// Leaks and uneven instructions of one function's listing.
pub fn count<'a>(listing: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut leaks = vec![];
    let mut uneven = vec![];
    for line in listing {
        let text = line.split('\t').nth(1).unwrap_or_default();
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let operands = words.next().unwrap_or_default();
        let bare = name.trim_start_matches('v');
        let to = operands.rsplit(',').next().unwrap_or_default();
        let from_vector = operands.split(',').next().is_some_and(|from| from.contains("mm"));
        let to_general = to.starts_with('%') && !to.contains("mm");
        let is_leak = LEAKS.iter().any(|leak| bare.starts_with(leak))
            || (matches!(bare, "movd" | "movq") && from_vector && to_general)
            || (bare.starts_with("pcmp") && to.starts_with("%k"));
        if is_leak {
            leaks.push(*line);
        }
        if UNEVEN
            .iter()
            .any(|slow| bare == *slow || bare.contains("gather") || bare.contains("scatter"))
        {
            uneven.push(*line);
        }
    }
    (leaks, uneven)
}

/// A comparison of 64-bit numbers, which the kernel does to nothing but lengths: by magnitude, or of eight at a
/// time. Blocks are 128 bits, and the tag is one of them.
pub fn is_of_lengths(line: &str) -> bool {
    let has = |name: &str| line.contains(name);
    let is_by_magnitude = has("vpcmpltuq") || has("vpcmpnltuq");
    is_by_magnitude || has("%zmm") && (has("vptestnmq") || has("vptestmq"))
}

/// Name and instructions of every function of the kernel in a listing by objdump.
fn functions(listing: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = vec![];
    let mut is_ours = false;
    for line in listing.lines() {
        if line.ends_with(">:") {
            is_ours = line.contains("aead::simd::Simd>::run::inner");
            if is_ours {
                found.push((line, vec![]));
            }
        } else if let (true, Some((_, lines))) = (is_ours, found.last_mut()) {
            lines.push(line);
        }
    }
    found
}

/// How many of this program's functions of the kernel seal, or expand keys, and how many open, if none of them
/// does what it must not; `None` without objdump.
///
/// # Panics
/// If one does.
pub fn seal_and_open() -> Option<(usize, usize)> {
    let program = std::env::current_exe().expect("this program");
    let objdump =
        Command::new("objdump").args(["-d", "-C", "--no-show-raw-insn"]).arg(program).output();
    let Ok(objdump) = objdump else {
        println!("skipped: no objdump here (package binutils)");
        return None;
    };
    let listing = String::from_utf8_lossy(&objdump.stdout);
    let (mut sealing, mut opening) = (0, 0);
    for (name, lines) in &functions(&listing) {
        let aes = lines.iter().filter(|line| line.contains("aesenc")).count();
        // Key expansion stores its results as numbers, by vector stores; it is among these too.
        assert!(aes > 0, "{name} has no AES: is the pattern of its name still right?");
        let (mut leaks, uneven) = count(lines);
        assert!(uneven.is_empty(), "{name}: {uneven:?}");
        // With AVX-512 the compiler compares lengths, too, in vectors: ranges of slices, in front of a loop.
        leaks.retain(|line| !is_of_lengths(line));
        match leaks.len() {
            0 => sealing += 1,
            1 => opening += 1,
            _ => panic!("{name}: something leaves vector registers: {leaks:?}"),
        }
    }
    Some((sealing, opening))
}

//! `timing`: whether a refusal tells by its duration how much of a forgery was right.
//!
//! The method is dudect's (Reparaz, Balasch, Verbauwhede 2017): one of two forgeries is drawn at random
//! for each sample, one wrong in the first byte of its tag and one in the last; the slowest tenth of all
//! samples is left out, since interrupts are no property of the code; Welch's t says whether the means
//! differ. Below 4.5 they do not, as far as so many samples can tell. A comparison that stops at the
//! first difference is measured beside them, and must be found.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use srtp::{
    EgressIndex, Inbound, IntegrityKey, MasterKey, OpenJob, Outbound, PacketIndex, Plaintext,
    Profile, Provider, RingProvider, SealJob,
};

use crate::report::{Figure, Report};

/// The bound on |t|.
const T_MAX: f64 = 4.5;
/// Refusals in one sample, so that a clock of some 20 ns is fine enough.
const BATCH: usize = 16;
/// The share of samples that is looked at.
const KEPT: f64 = 0.9;
const SSRC: u32 = 7;
const HEADER: usize = 12;
const PAYLOAD: usize = 160;

/// What `timing` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Samples of each comparison.
    #[arg(long, default_value_t = 1_000_000)]
    samples: usize,
}

/// Measures.
///
/// # Errors
/// A forgery was accepted, or the comparison that leaks was not found to leak.
pub fn run(options: &Options) -> Result<Report> {
    ensure!(options.samples >= 1000, "fewer than 1000 samples tell nothing: --samples");
    let mut report = Report::new("timing", "none");
    let leaks = t_of(options.samples, |late| {
        let (mine, theirs) = (black_box([0x5a_u8; 64]), forged([0x5a; 64], late));
        mine.iter().zip(&theirs).take_while(|(a, b)| black_box(a == b)).count()
    });
    ensure!(leaks.abs() > T_MAX, "a comparison that stops early shows only t = {leaks:.1}");
    report.push(
        Figure::new("stops at the first difference", leaks.abs(), "|t|")
            .note("64 bytes; the method must find it".to_owned()),
    );

    let (integrity, message) = (IntegrityKey::new(b"a password of 24 letters"), [3_u8; 100]);
    let tag = integrity.sign(&[&message]);
    let stun = t_of(options.samples, |late| {
        usize::from(integrity.verify(&[black_box(&message)], &forged(tag, late)))
    });
    report.push(bounded("STUN MESSAGE-INTEGRITY", stun, "HMAC-SHA1 over 100 bytes", options));
    for (name, profile) in [
        ("SRTP AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
        ("SRTP AES_CM_128_HMAC_SHA1_80", Profile::AesCm128HmacSha1_80),
    ] {
        let t = srtp(profile, options.samples)?;
        report.push(bounded(name, t, "a packet of 160 bytes opened", options));
    }
    Ok(report)
}

fn bounded(name: &str, t: f64, what: &str, options: &Options) -> Figure {
    Figure::new(name, t.abs(), "|t|")
        .at_most(Some(T_MAX))
        .note(format!("{what}; {} samples of {BATCH}", options.samples))
        .detail(json!({ "t": t, "samples": options.samples, "batch": BATCH, "kept": KEPT }))
}

/// `tag` with its first or its last byte wrong.
fn forged<const N: usize>(mut tag: [u8; N], is_late: bool) -> [u8; N] {
    // Both ends are written either way: choosing is not to cost one class more than the other.
    tag[0] ^= u8::from(!is_late);
    tag[N - 1] ^= u8::from(is_late);
    black_box(tag)
}

fn srtp(profile: Profile, samples: usize) -> Result<f64> {
    let provider = RingProvider::new();
    let master: Vec<u8> = (0..profile.master_len() as u8).collect();
    let master = MasterKey::new(profile, &master)?;
    let (inbound, outbound) = (Inbound::new(&provider, &master), Outbound::new(&provider, &master));
    let mut packet = vec![0_u8; HEADER + PAYLOAD + 32];
    packet[..HEADER].copy_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, SSRC as u8]);
    let index = PacketIndex::new(1).expect("48 bits hold it");
    let plaintext = Plaintext::InPlace(PAYLOAD);
    let egress = EgressIndex::new(index);
    let job = SealJob::new(&outbound, SSRC, egress, HEADER, &mut packet);
    let mut jobs = [job];
    provider.seal_many(plaintext, &mut jobs);
    let len = jobs[0].result?;
    packet.truncate(len);
    let tag_at = [len - profile.rtp_tag_len(), len - 1];
    let mut buffer = packet.clone();
    let mut accepted = 0;
    let t = t_of(samples, |late| {
        buffer.copy_from_slice(&packet);
        buffer[tag_at[0]] ^= u8::from(!late);
        buffer[tag_at[1]] ^= u8::from(late);
        let mut jobs = [OpenJob::new(&inbound, SSRC, index, HEADER, &mut buffer)];
        provider.open_many(&mut jobs);
        accepted += usize::from(jobs[0].result.is_ok());
        accepted
    });
    ensure!(accepted == 0, "{accepted} forgeries were accepted");
    Ok(t)
}

/// Welch's t of how long `refuse` takes with an early (`false`) and with a late difference.
fn t_of(samples: usize, mut refuse: impl FnMut(bool) -> usize) -> f64 {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut taken: Vec<(f64, bool)> = Vec::with_capacity(samples);
    for _ in 0..samples {
        // xorshift64 (Marsaglia 2003): which of the two comes is all that must not be a pattern.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let is_late = black_box(random >> 63 == 1);
        let begin = Instant::now();
        for _ in 0..BATCH {
            black_box(refuse(black_box(is_late)));
        }
        taken.push((begin.elapsed().as_nanos() as f64, is_late));
    }
    taken.sort_by(|a, b| a.0.total_cmp(&b.0));
    taken.truncate((samples as f64 * KEPT) as usize);
    let (early, late) = (Moments::of(&taken, false), Moments::of(&taken, true));
    (late.mean - early.mean) / (late.error + early.error).sqrt()
}

/// Mean, and variance of the mean.
struct Moments {
    mean: f64,
    error: f64,
}

impl Moments {
    fn of(samples: &[(f64, bool)], is_late: bool) -> Moments {
        let mine = || samples.iter().filter(|(_, class)| *class == is_late).map(|(ns, _)| *ns);
        let count = mine().count() as f64;
        let mean = mine().sum::<f64>() / count;
        let variance = mine().map(|ns| (ns - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Moments { mean, error: variance / count }
    }
}

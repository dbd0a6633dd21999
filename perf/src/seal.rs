//! `seal`: sealing and opening alone, by each provider and path, in one interleaved run.
//!
//! A sample seals one payload for 50 subscribers, each under a key of its own, into buffers of a port's size, by
//! the provider's own call and with all that it asks for: jobs made, indices and headers checked. `ring` copies
//! the payload and seals in place, which is what it can; the fan-out kernel seals out of place. `open` takes
//! bursts of 32 packets under 32 keys.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use roomlane_core::buf::{BUF_CAPACITY, HEADROOM};
use srtp::{
    AesGcmProvider, EgressIndex, FanoutProvider, Inbound, MasterKey, OpenJob, Outbound,
    PacketIndex, Plaintext, Profile, Provider, RingProvider, SealJob,
};

use crate::lines::{Line, Lines};
use crate::rounds::{self, Lane};
use crate::sample::Probe;

const FANOUT: usize = 50;
const BURST: usize = 32;
/// A header with one CSRC.
const HEADER: usize = 16;
/// Sessions whose keys do not fit the nearer caches.
const COLD: usize = 8192;
const SSRC: u32 = 0x5501_a0b2;
const PAYLOADS: [usize; 4] = [100, 200, 400, 1200];
/// What SPECIFICATION.md promises of a seal against `ring` with its copy, by payload.
const SEAL_PROMISES: [f64; 4] = [5.5, 4.5, 2.4, 1.6];
/// And of an open.
const OPEN_PROMISES: [(usize, f64); 3] = [(100, 4.0), (200, 3.0), (1200, 1.3)];

/// Paths of the fan-out kernel. The promises are the first one's that a CPU has; short packets are promised
/// something without the wider instructions too.
const WIDEST_FIRST: [&str; 3] = ["vaes512", "vaes", NARROW];
const NARROW: &str = "aesni";
const NARROW_PROMISE: f64 = 3.0;

/// What `seal` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds for all of it.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
}

/// Who seals.
#[derive(Clone, Copy, PartialEq)]
struct Who {
    provider: &'static str,
    path: &'static str,
    profile: Profile,
    /// Sessions that take turns, in mixed order.
    sessions: usize,
}

/// Measures everything.
///
/// # Errors
/// None so far; a provider that seals wrongly panics.
pub fn run(options: &Options) -> Result<Lines> {
    let mut lines = Lines::default();
    let mut probe = Probe::new();
    // Four sizes sealed, three opened, one of AES-CM.
    let slice = Duration::from_millis(options.seconds * 1000 / 8);
    for (payload, promise) in PAYLOADS.into_iter().zip(SEAL_PROMISES) {
        seal(payload, promise, slice, &mut probe, &mut lines);
    }
    for (payload, promise) in OPEN_PROMISES {
        open(payload, promise, slice, &mut probe, &mut lines);
    }
    Ok(lines)
}

const fn who(provider: &'static str, path: &'static str, profile: Profile, sessions: usize) -> Who {
    Who { provider, path, profile, sessions }
}

/// Paths of the fan-out kernel that this CPU has, the fastest first.
fn paths() -> Vec<&'static str> {
    WIDEST_FIRST.into_iter().filter(|path| FanoutProvider::with_path(path).is_ok()).collect()
}

fn seal(payload: usize, promise: f64, span: Duration, probe: &mut Probe, lines: &mut Lines) {
    use Profile::{AeadAes128Gcm as Small, AeadAes256Gcm as Large, AesCm128HmacSha1_80 as Cm};
    let paths = paths();
    let mut whos = vec![
        who("ring", "library", Small, FANOUT),
        who("aes-gcm", "library", Small, FANOUT),
        who("ring", "library", Large, FANOUT),
        who("ring", "library", Cm, FANOUT),
    ];
    for path in &paths {
        whos.push(who("fanout", path, Small, FANOUT));
        whos.push(who("fanout", path, Large, FANOUT));
    }
    if let Some(path) = paths.first() {
        whos.push(who("fanout", path, Small, COLD));
        whos.push(who("fanout", path, Cm, FANOUT));
    }
    whos.push(who("ring", "library", Small, COLD));
    let mut measured: Vec<Lane<'_>> =
        whos.iter().map(|who| lane(*who, payload, Direction::Seal)).collect();
    let found = rounds::take(&mut measured, probe, span);
    lines.sampled(found.taken, found.cut);
    for (who, samples) in whos.iter().zip(&found.lanes) {
        lines.push(line("seal_only", *who, payload, FANOUT as u32, samples.clone()));
    }
    let of = |wanted: Who| {
        let at = whos.iter().position(|who| *who == wanted).expect("it was measured");
        found.lanes[at].median
    };
    let ring = of(who("ring", "library", Small, FANOUT));
    for (at, path) in paths.iter().enumerate() {
        let fanout = of(who("fanout", path, Small, FANOUT));
        let bound = match *path {
            NARROW => (payload == 100).then_some(NARROW_PROMISE),
            _ => (at == 0).then_some(promise),
        };
        let name = format!("seal {payload} B: ring with its copy over fanout on {path}");
        lines.at_least(name, ring / fanout, bound);
    }
    let Some(path) = paths.first() else { return };
    let fanout = of(who("fanout", path, Small, FANOUT));
    let large = of(who("fanout", path, Large, FANOUT)) / fanout;
    lines.at_most(format!("seal {payload} B: AES-256 over AES-128, {path}"), large, Some(1.25));
    let cold = of(who("fanout", path, Small, COLD)) / fanout;
    let name = format!("seal {payload} B: {COLD} sessions in mixed order over warm, {path}");
    lines.at_most(name, cold, Some(1.2));
}

fn open(payload: usize, promise: f64, span: Duration, probe: &mut Probe, lines: &mut Lines) {
    let paths = paths();
    let mut whos = vec![
        who("ring", "library", Profile::AeadAes128Gcm, BURST),
        who("aes-gcm", "library", Profile::AeadAes128Gcm, BURST),
    ];
    whos.extend(paths.iter().map(|path| who("fanout", path, Profile::AeadAes128Gcm, BURST)));
    let mut measured: Vec<Lane<'_>> =
        whos.iter().map(|who| lane(*who, payload, Direction::Open)).collect();
    let found = rounds::take(&mut measured, probe, span);
    lines.sampled(found.taken, found.cut);
    for (who, samples) in whos.iter().zip(&found.lanes) {
        lines.push(line("open_only", *who, payload, 0, samples.clone()));
    }
    for (at, path) in paths.iter().enumerate() {
        let ratio = found.lanes[0].median / found.lanes[2 + at].median;
        let name = format!("open {payload} B: ring over fanout on {path}");
        lines.at_least(name, ratio, (at == 0 && *path != NARROW).then_some(promise));
    }
}

fn line(
    rung: &'static str,
    who: Who,
    payload_bytes: usize,
    fanout: u32,
    samples: crate::sample::Summary,
) -> Line {
    Line {
        rung,
        provider: who.provider,
        path: who.path,
        profile: who.profile.sdes_name(),
        payload_bytes,
        fanout,
        rooms: (who.sessions / FANOUT.min(who.sessions)) as u32,
        port: "none",
        workers: 1,
        ns_per_packet: samples.median,
        samples,
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

fn lane(who: Who, payload: usize, direction: Direction) -> Lane<'static> {
    fn with<P: Provider + 'static>(
        provider: P,
        who: Who,
        payload: usize,
        direction: Direction,
    ) -> Lane<'static> {
        let mut bench = Bench::new(provider, who, payload);
        match direction {
            Direction::Seal => Box::new(move || bench.seal()),
            Direction::Open => Box::new(move || bench.open()),
        }
    }
    match who.provider {
        "fanout" => {
            let provider = FanoutProvider::with_path(who.path).expect("the path was found");
            with(provider, who, payload, direction)
        }
        "aes-gcm" => with(AesGcmProvider::new(), who, payload, direction),
        _ => with(RingProvider::new(), who, payload, direction),
    }
}

/// A lane of the ladder: AES-128 for fifty warm sessions.
pub fn fan_out_lane(provider: &'static str, path: &'static str, payload: usize) -> Lane<'static> {
    lane(who(provider, path, Profile::AeadAes128Gcm, FANOUT), payload, Direction::Seal)
}

/// A packet's memory, as a port lays it out: headroom, room, a line of what it knows of them. Not a power of two, by
/// which the same lines of all buffers would fall into the same few places of the nearest cache.
#[derive(Clone)]
#[repr(align(64))]
struct Buffer([u8; HEADROOM + BUF_CAPACITY + 64]);

/// Keys and buffers of one lane.
struct Bench<P: Provider> {
    provider: P,
    payload: Vec<u8>,
    tag: usize,
    outbound: Vec<Outbound<P>>,
    inbound: Vec<Inbound<P>>,
    /// Which session comes when.
    order: Vec<usize>,
    at: usize,
    buffers: Vec<Buffer>,
    next: u64,
}

impl<P: Provider> Bench<P> {
    fn new(provider: P, who: Who, payload: usize) -> Bench<P> {
        let master = |number: usize| {
            let bytes: Vec<u8> = (0..who.profile.master_len())
                .map(|at| (number.wrapping_mul(0x9e37) >> (at % 9)) as u8 ^ at as u8)
                .collect();
            MasterKey::new(who.profile, &bytes).expect("the length of the profile")
        };
        let sessions = 0..who.sessions;
        // Warm lists have their keys in a row, as the sessions of a room have; cold ones do not.
        let mut order: Vec<usize> = sessions.clone().collect();
        if who.sessions == COLD {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            for at in (1..order.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                order.swap(at, (state >> 33) as usize % (at + 1));
            }
        }
        Bench {
            payload: (0..payload).map(|at| at as u8).collect(),
            tag: who.profile.rtp_tag_len(),
            outbound: sessions.clone().map(|at| Outbound::new(&provider, &master(at))).collect(),
            inbound: sessions.map(|at| Inbound::new(&provider, &master(at))).collect(),
            provider,
            order,
            at: 0,
            buffers: vec![Buffer([0x5a; HEADROOM + BUF_CAPACITY + 64]); FANOUT],
            next: 1,
        }
    }

    /// Nanoseconds of one sealed copy: several packets, each for the next fifty sessions.
    fn seal(&mut self) -> f64 {
        const PACKETS: usize = 16;
        let began = Instant::now();
        for _ in 0..PACKETS {
            self.packet(FANOUT);
        }
        began.elapsed().as_nanos() as f64 / (PACKETS * FANOUT) as f64
    }

    /// Seals one payload for the next `count` sessions; their packets stand in the buffers then.
    fn packet(&mut self, count: usize) {
        let index = PacketIndex::new(self.next).expect("48 bits last");
        self.next += 1;
        if self.at + count > self.order.len() {
            self.at = 0;
        }
        let sessions = &self.order[self.at..self.at + count];
        self.at += count;
        let total = HEADER + self.payload.len() + self.tag;
        for (sessions, buffers) in sessions.chunks(BURST).zip(self.buffers.chunks_mut(BURST)) {
            let mut jobs = arrayvec::ArrayVec::<SealJob<'_, P::Key>, BURST>::new();
            for (session, buffer) in sessions.iter().zip(buffers) {
                let out = &mut buffer.0[HEADROOM..HEADROOM + total];
                out[2..4].copy_from_slice(&index.seq().to_be_bytes());
                out[8..12].copy_from_slice(&SSRC.to_be_bytes());
                let egress = EgressIndex::new(index);
                let outbound = &self.outbound[*session];
                jobs.push(SealJob::new(outbound, SSRC, egress, HEADER, out));
            }
            self.provider.seal_many(Plaintext::Shared(&self.payload), &mut jobs);
            assert!(jobs.iter().all(|job| job.result.is_ok()), "every job was right");
        }
    }

    /// Nanoseconds of one opened packet: a burst of 32, sealed before the clock starts.
    fn open(&mut self) -> f64 {
        let index = self.burst();
        let began = Instant::now();
        self.open_burst(index);
        began.elapsed().as_nanos() as f64 / BURST as f64
    }

    /// Seals a burst for the first sessions and tells its index.
    fn burst(&mut self) -> PacketIndex {
        self.at = 0;
        let index = PacketIndex::new(self.next).expect("48 bits last");
        self.packet(BURST);
        index
    }

    /// Opens it.
    fn open_burst(&mut self, index: PacketIndex) {
        let total = HEADER + self.payload.len() + self.tag;
        let mut jobs = arrayvec::ArrayVec::<OpenJob<'_, P::Key>, BURST>::new();
        for (inbound, buffer) in self.inbound.iter().zip(&mut self.buffers).take(BURST) {
            let packet = &mut buffer.0[HEADROOM..HEADROOM + total];
            jobs.push(OpenJob::new(inbound, SSRC, index, HEADER, packet));
        }
        self.provider.open_many(&mut jobs);
        assert!(jobs.iter().all(|job| job.result.is_ok()), "what was sealed opens");
    }
}

/// The same work for whoever counts something else than time: fifty warm sessions.
pub struct Counted(Bench<FanoutProvider>);

impl Counted {
    /// With payloads of so many bytes.
    pub fn new(provider: FanoutProvider, payload: usize) -> Counted {
        let who = who("fanout", provider.path(), Profile::AeadAes128Gcm, FANOUT);
        Counted(Bench::new(provider, who, payload))
    }

    /// Has the sealing of so many packets for fifty sessions each counted.
    pub fn seal(&mut self, packets: usize, counter: &mut dyn FnMut(&mut dyn FnMut())) {
        counter(&mut || (0..packets).for_each(|_| self.0.packet(FANOUT)));
    }

    /// Has the opening of a burst of 32 counted.
    pub fn open(&mut self, counter: &mut dyn FnMut(&mut dyn FnMut())) {
        let index = self.0.burst();
        counter(&mut || self.0.open_burst(index));
    }
}

//! `ladder`: one figure per added cost, so that a regression names its layer.
//!
//! | rung | a packet goes as far as |
//! |---|---|
//! | `port` | the port: every datagram goes back where it came from |
//! | `lookup` | admit: classified, its session found, its grant refused |
//! | `open` | inspect: opened, and its payload type is not one that was agreed on |
//! | `route` | route: nobody subscribes to it |
//! | `node` | the whole shard: sealed for every subscriber, per copy |
//! | `seal_only` | the same copies by the provider alone |
//!
//! All rungs but the last are the same shard over a port in memory; what differs is what arrives. With provider
//! `null` nothing is encrypted, and what is left is the price of everything else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use port::Port;
use proto::{Command, DropReason, RoomNo};
use roomlane_core::{BURST_MAX, Burst, Pool, TX_BURST_MAX, TxBurst};
use srtp::{NullProvider, Provider, RingProvider};

use crate::bed::{Bed, LOCAL, MemoryPort, kernel};
use crate::fanout::Order;
use crate::lines::{Line, Lines, Ratio};
use crate::rounds::{self, Lane};
use crate::sample::{Probe, Summary};
use crate::scenario::Shape;
use crate::seal;

const FANOUT: u32 = 50;
const ROOMS: u32 = 16;
/// Packets of a sample on the rungs where nothing is sent.
const PACKETS: usize = 512;
/// Copies of a sample where copies are sent.
const COPIES: usize = 1600;
/// Rooms of ten whose state does not fit the nearer caches.
const COLD_ROOMS: u32 = 1000;
/// A payload type that nobody agreed on.
pub const STRANGE_TYPE: u8 = 97;

/// What `ladder` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds for all of it.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
}

/// How far packets go.
#[derive(Clone, Copy, PartialEq)]
enum Rung {
    Lookup,
    Open,
    Route,
    Node,
}

impl Rung {
    fn name(self) -> &'static str {
        match self {
            Rung::Lookup => "lookup",
            Rung::Open => "open",
            Rung::Route => "route",
            Rung::Node => "node",
        }
    }

    fn fanout(self) -> u32 {
        if self == Rung::Node { FANOUT } else { 0 }
    }
}

/// Measures the rungs for 100 and 1,200 bytes, cold rooms, and latency at 70 % of the load that fits.
///
/// # Errors
/// A shard that did not do with the packets what its rung says.
pub fn run(options: &Options) -> Result<Lines> {
    let mut lines = Lines::default();
    let mut probe = Probe::new();
    let slice = Duration::from_millis(options.seconds * 1000 / 4);
    for (payload, promise) in [(100, 2.5), (1200, 1.5)] {
        climb(payload, promise, slice, &mut probe, &mut lines)?;
    }
    cold(slice, &mut probe, &mut lines)?;
    latency(slice, &mut lines)?;
    Ok(lines)
}

fn climb(
    payload: usize,
    promise: f64,
    span: Duration,
    probe: &mut Probe,
    lines: &mut Lines,
) -> Result<()> {
    let path = kernel().path();
    let mut measured: Vec<(Line, Lane<'static>)> =
        vec![(line("port", "none", "none", shape(payload, 0)), echo(shape(payload, 0)))];
    measured.push(rung(Rung::Lookup, NullProvider, "null", "none", payload)?);
    for rung_of in [Rung::Open, Rung::Route, Rung::Node] {
        measured.push(rung(rung_of, NullProvider, "null", "none", payload)?);
        measured.push(rung(rung_of, RingProvider::new(), "ring", "library", payload)?);
        measured.push(rung(rung_of, kernel(), "fanout", path, payload)?);
    }
    for (provider, path) in [("ring", "library"), ("fanout", path)] {
        let about = line("seal_only", provider, path, shape(payload, FANOUT));
        measured.push((about, seal::fan_out_lane(provider, path, payload)));
    }
    let (abouts, mut lanes): (Vec<Line>, Vec<Lane<'_>>) = measured.into_iter().unzip();
    let found = rounds::take(&mut lanes, probe, span);
    lines.sampled(found.taken, found.cut);
    let mut medians = vec![];
    for (mut about, samples) in abouts.into_iter().zip(found.lanes) {
        about.ns_per_packet = samples.median;
        about.samples = samples;
        medians.push((about.rung, about.provider, about.ns_per_packet));
        lines.push(about);
    }
    let of = |rung: &str, provider: &str| {
        let found = medians.iter().find(|(r, p, _)| (*r, *p) == (rung, provider));
        found.map_or(f64::NAN, |(_, _, ns)| *ns)
    };
    let over = of("node", "fanout") / of("seal_only", "fanout");
    let name = format!("node {payload} B 1:{FANOUT}: a forwarded packet over the bare seal");
    lines.at_most(name, over, Some(promise));
    let name = format!("node {payload} B 1:{FANOUT}: ring over fanout");
    lines.at_least(name, of("node", "ring") / of("node", "fanout"), None);
    Ok(())
}

/// Rooms of ten, in mixed order, beside a room that is always in the cache.
fn cold(span: Duration, probe: &mut Probe, lines: &mut Lines) -> Result<()> {
    let path = kernel().path();
    let mut abouts = vec![];
    let mut lanes: Vec<Lane<'_>> = vec![];
    for rooms in [1, COLD_ROOMS] {
        let shape = Shape { rooms, fanout: 9, payload: 160, has_extension: false };
        abouts.push(line("node", "fanout", path, shape));
        lanes.push(node_lane(kernel(), shape)?);
    }
    let found = rounds::take(&mut lanes, probe, span);
    lines.sampled(found.taken, found.cut);
    let ratio = found.lanes[1].median / found.lanes[0].median;
    for (mut about, samples) in abouts.into_iter().zip(found.lanes) {
        about.ns_per_packet = samples.median;
        about.samples = samples;
        lines.push(about);
    }
    let name = format!("node 160 B: {COLD_ROOMS} rooms of ten, cold, over one, hot");
    lines.at_most(name, ratio, Some(2.0));
    Ok(())
}

fn shape(payload: usize, fanout: u32) -> Shape {
    Shape { rooms: ROOMS, fanout, payload, has_extension: false }
}

fn line(rung: &'static str, provider: &'static str, path: &'static str, shape: Shape) -> Line {
    Line {
        rung,
        provider,
        path,
        profile: crate::bed::PROFILE.sdes_name(),
        payload_bytes: shape.payload,
        fanout: shape.fanout,
        rooms: shape.rooms,
        port: if rung == "seal_only" { "none" } else { "memory" },
        workers: 1,
        ns_per_packet: f64::NAN,
        samples: Summary::of(vec![f64::NAN]).expect("one sample"),
    }
}

/// A port with room for a sample of `packets`.
fn port_for(packets: usize) -> MemoryPort {
    MemoryPort::new(packets + 2 * TX_BURST_MAX + BURST_MAX, packets)
}

/// The port alone.
fn echo(shape: Shape) -> Lane<'static> {
    let mut port = port_for(PACKETS);
    Box::new(move || {
        let path = proto::Path { local: LOCAL, remote: LOCAL };
        for _ in 0..PACKETS {
            port.arrive(path, |out| {
                let len = 12 + shape.payload + 16;
                out[..len].fill(0x80);
                len
            });
        }
        let (mut rx, mut tx) = (Burst::new(), TxBurst::new());
        let now = roomlane_core::Instant(1);
        let began = Instant::now();
        while port.rx_burst(now, &mut rx) > 0 {
            tx.extend(rx.drain(..));
            port.tx_burst(now, &mut tx);
        }
        began.elapsed().as_nanos() as f64 / PACKETS as f64
    })
}

/// A lane whose packets end at `rung`, tried once: that they do is part of the figure.
fn rung<C: Provider + 'static>(
    rung: Rung,
    provider: C,
    name: &'static str,
    path: &'static str,
    payload: usize,
) -> Result<(Line, Lane<'static>)> {
    let shape = shape(payload, rung.fanout());
    let about = line(rung.name(), name, path, shape);
    if rung == Rung::Node {
        return Ok((about, node_lane(provider, shape)?));
    }
    let mut bed = Bed::open_with(provider, shape, port_for(PACKETS));
    match rung {
        Rung::Lookup => {
            // Every grant is of an older epoch from now on.
            for room in 1..=u64::from(shape.rooms) {
                bed.command(&Command::BumpEpoch { room: RoomNo(room), epoch: 2 });
            }
        }
        Rung::Open => {
            bed.streams.iter_mut().for_each(|stream| stream.set_payload_type(STRANGE_TYPE))
        }
        Rung::Route | Rung::Node => {}
    }
    let mut order = Order::new(shape.rooms as usize);
    let mut sample = move || {
        for _ in 0..PACKETS {
            let arrived = bed.arrive(order.next());
            debug_assert!(arrived, "buffers for a whole sample");
        }
        let began = Instant::now();
        while bed.turn() > 0 {}
        let took = began.elapsed().as_nanos() as f64 / PACKETS as f64;
        bed.pass(roomlane_core::Duration::from_ms(1));
        let counters = bed.shard.counters();
        let ended = match rung {
            Rung::Lookup => counters.drops[DropReason::Revoked as usize],
            Rung::Open => counters.drops[DropReason::PayloadType as usize],
            Rung::Route | Rung::Node => counters.done,
        };
        (took, ended == counters.rx_packets)
    };
    ensure!(sample().1, "packets of rung {} did not end there", rung.name());
    Ok((about, Box::new(move || sample().0)))
}

/// The whole shard, per copy.
fn node_lane<C: Provider + 'static>(provider: C, shape: Shape) -> Result<Lane<'static>> {
    let packets = (COPIES / shape.fanout as usize).next_multiple_of(BURST_MAX);
    // Every room comes once before one comes twice.
    let packets = packets.max(shape.rooms as usize);
    let mut bed = Bed::open_with(provider, shape, port_for(packets));
    let mut order = Order::new(shape.rooms as usize);
    let copies = packets * shape.fanout as usize;
    let mut sample = move || {
        for _ in 0..packets {
            let arrived = bed.arrive(order.next());
            debug_assert!(arrived, "buffers for a whole sample");
        }
        let began = Instant::now();
        while bed.turn() > 0 {}
        let took = began.elapsed().as_nanos() as f64 / copies as f64;
        bed.pass(roomlane_core::Duration::from_ms(1));
        let counters = bed.shard.counters();
        let is_whole = counters.tx_packets == counters.rx_packets * u64::from(shape.fanout);
        (took, is_whole && bed.io.port.in_use() == 0)
    };
    ensure!(sample().1, "not every packet reached every subscriber");
    Ok(Box::new(move || sample().0))
}

/// What the shard adds to a packet's way at 70 % of the load that it can take: from the moment at which the
/// packet was due to arrive until the turn that sent its copies was over. The schedule does not wait for anybody,
/// so a turn that comes late counts for every packet that waited for it.
fn latency(span: Duration, lines: &mut Lines) -> Result<()> {
    const PAYLOAD: usize = 160;
    /// Packets that are sealed before the clock starts, and taken in turn.
    const STORED: usize = 4096;
    let shape = shape(PAYLOAD, FANOUT);
    let mut bed = Bed::open(shape, port_for(1024));
    let mut order = Order::new(shape.rooms as usize);
    let capacity_ns = {
        let began = Instant::now();
        for _ in 0..1024 {
            bed.arrive(order.next());
        }
        let sealed = began.elapsed();
        let began = Instant::now();
        while bed.turn() > 0 {}
        ensure!(sealed.as_nanos() > 0, "a clock that moves");
        began.elapsed().as_nanos() as f64 / 1024.0
    };
    let gap_ns = capacity_ns / 0.7;
    let mut late = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let began = Instant::now();
    let mut stored = vec![];
    'run: while began.elapsed() < span {
        stored.clear();
        for _ in 0..STORED {
            stored.push(bed.make(order.next()));
        }
        let start = Instant::now();
        let (mut arrived, mut done) = (0, 0);
        while done < STORED {
            let now_ns = start.elapsed().as_nanos() as f64;
            while arrived < STORED && (arrived as f64) * gap_ns <= now_ns {
                let (path, packet) = &stored[arrived];
                if !bed.io.port.arrive(*path, |out| {
                    out[..packet.len()].copy_from_slice(packet);
                    packet.len()
                }) {
                    break;
                }
                arrived += 1;
            }
            let received = bed.turn();
            let now_ns = start.elapsed().as_nanos() as f64;
            for at in done..done + received {
                late.saturating_record((now_ns - at as f64 * gap_ns).max(1.0) as u64);
            }
            done += received;
            if began.elapsed() > 2 * span {
                break 'run;
            }
        }
        bed.pass(roomlane_core::Duration::from_ms(1));
    }
    ensure!(!late.is_empty(), "nothing was sent");
    let p99_us = late.value_at_quantile(0.99) as f64 / 1000.0;
    let name = format!(
        "latency p99 1:{FANOUT} {PAYLOAD} B at 70 % of {:.0}/s in (p50 {:.1}, p99.9 {:.1})",
        1e9 / capacity_ns,
        late.value_at_quantile(0.5) as f64 / 1000.0,
        late.value_at_quantile(0.999) as f64 / 1000.0
    );
    lines.push_figure(Ratio { at_most: Some(50.0), ..Ratio::new(name, p99_us, "us") });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_end_at_their_rung_with_every_provider() {
        for rung_of in [Rung::Lookup, Rung::Open, Rung::Route, Rung::Node] {
            for payload in [100, 1200] {
                drop(rung(rung_of, NullProvider, "null", "none", payload).unwrap());
                drop(rung(rung_of, RingProvider::new(), "ring", "library", payload).unwrap());
                drop(rung(rung_of, kernel(), "fanout", "any", payload).unwrap());
            }
        }
    }

    #[test]
    fn a_short_ladder_has_every_rung() {
        let lines = run(&Options { seconds: 2 }).unwrap();
        let json = lines.json();
        for rung in ["port", "lookup", "open", "route", "node", "seal_only"] {
            let found = json.iter().find(|line| line["rung"] == rung);
            assert!(found.is_some_and(|line| line["ns_per_packet"].as_f64() > Some(0.0)), "{rung}");
        }
    }
}

//! `memory`: what an idle session costs the data plane.
//!
//! A shard sets all its memory aside when it starts, so the figure is that of a shard made exactly for so
//! many sessions, divided: its tables, its share of the ledger and of the rows that consoles read. Tables
//! are written when they are made; the growth of resident memory is what the kernel saw.

use anyhow::{Result, ensure};
use clap::Args;
use proto::region::{LEDGER_WORDS, Sizes};
use serde_json::json;
use srtp::{Inbound, Outbound, RingProvider};

use crate::bed::{self, Bed, MemoryPort, PortIo};
use crate::machine::rss_bytes;
use crate::report::{Figure, Report};
use crate::scenario::Shape;

/// The promise, in bytes.
const SESSION_BYTES_MAX: f64 = 8192.0;

/// What `memory` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Sessions to open; a tenth of them publishes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    sessions: u32,
}

/// Measures.
///
/// # Errors
/// `/proc` says nothing, or the shard refused a session.
pub fn run(options: &Options) -> Result<Report> {
    const MEMBERS: u32 = 10;
    let shape = Shape {
        rooms: options.sessions / MEMBERS,
        fanout: MEMBERS - 1,
        payload: 160,
        has_extension: true,
    };
    let sessions = shape.sessions();
    let port = MemoryPort::new(1024, 1);
    let sizes = Sizes { shards: 1, sessions_max: sessions, rooms_max: shape.rooms };
    let before = rss_bytes()?;
    // As the node's stats region: its pages are written as sessions come, so count them in full.
    let rows = vec![1_u64; sizes.stats_bytes() / 8];
    let with_rows = rss_bytes()?;
    let shard = bed::shard(sessions, shape.rooms);
    let with_shard = rss_bytes()?;
    let io = PortIo::new(port, sessions as usize);
    let bed = Bed::open_in(shard, io, shape);
    let open = rss_bytes()?;
    ensure!(bed.shard.counters().sessions == u64::from(sessions), "not all sessions are open");
    // The generator's own keys are no part of a node.
    let far_ends = (bed.streams.len() * size_of::<bed::Stream>()) as u64;
    // Of the ledger only the records of open sessions were touched; it counts in full.
    let per_session = |bytes: u64| bytes as f64 / f64::from(sessions);
    let grown = (open - before).saturating_sub(far_ends);
    std::hint::black_box(&rows);
    let keys = size_of::<Inbound<RingProvider>>() + size_of::<Outbound<RingProvider>>();
    let mut report = Report::new("memory", "memory");
    report.push(
        Figure::new("idle_session_rss_bytes", per_session(grown), "B")
            .at_most(Some(SESSION_BYTES_MAX))
            .note(format!("{sessions} sessions in {} rooms", shape.rooms))
            .detail(json!({
                "sessions": sessions,
                "rss_before": before,
                "rss_with_rows": with_rows,
                "rss_with_shard": with_shard,
                "rss_with_sessions": open,
                "generator_bytes": far_ends,
            })),
    );
    let parts = [
        ("rows_bytes_per_session", with_rows - before, "snapshot rows and counters"),
        ("shard_bytes_per_session", with_shard - with_rows, "the shard as it was made"),
        (
            "opening_bytes_per_session",
            (open - with_shard).saturating_sub(far_ends),
            "ledger, and what opening touched",
        ),
    ];
    for (name, bytes, note) in parts {
        report.push(Figure::new(name, per_session(bytes), "B").note(note.to_owned()));
    }
    report.push(
        Figure::new("key_contexts_bytes", keys as f64, "B")
            .note("both directions of a session".into()),
    );
    let ledger = (LEDGER_WORDS * 8) as f64;
    report.push(Figure::new("ledger_record_bytes", ledger, "B").note("shared memory".into()));
    Ok(report)
}

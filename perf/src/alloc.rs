//! `alloc`: heap allocations of a shard in steady state. There must be none: not for packets, not in
//! housekeeping, not for commands.
//!
//! The counter is this program's global allocator (the crate `allocation-counter`); it is shown to count
//! before its zero is believed.

use anyhow::{Result, ensure};
use clap::Args;
use proto::{CloseReason, Command, GrantWord, Privileges, RoomNo, SessionId, ShardId};
use roomlane_core::{BURST_MAX, Duration};
use serde_json::json;

use crate::bed::{Bed, MemoryPort};
use crate::report::{Figure, Report};
use crate::scenario::Shape;

/// What `alloc` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Packets to receive.
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
}

const SHAPE: Shape = Shape { rooms: 16, fanout: 8, payload: 160, has_extension: true };
/// Bursts between two rounds of commands.
const BURSTS_PER_COMMANDS: u64 = 64;

/// What was counted, by who worked.
#[derive(Default)]
struct Counted {
    process: allocation_counter::AllocationInfo,
    tick: allocation_counter::AllocationInfo,
    command: allocation_counter::AllocationInfo,
}

/// Counts.
///
/// # Errors
/// The counter does not count, or the shard did not forward everything.
pub fn run(options: &Options) -> Result<Report> {
    let shown = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    ensure!(shown.count_total == 1, "the allocation counter counts {} of 1", shown.count_total);
    let mut bed = Bed::open(SHAPE, MemoryPort::new(1024, BURST_MAX));
    let mut counted = Counted::default();
    let (mut packets, mut bursts, mut commands) = (0, 0, 0);
    while packets < options.packets {
        for at in 0..BURST_MAX {
            ensure!(bed.arrive(at % SHAPE.rooms as usize), "no buffer is free");
        }
        let process = allocation_counter::measure(|| packets += bed.turn() as u64);
        counted.process += process;
        counted.tick += allocation_counter::measure(|| bed.pass(Duration::from_ms(1)));
        bursts += 1;
        if bursts % BURSTS_PER_COMMANDS == 0 {
            let generation = (bursts / BURSTS_PER_COMMANDS) as u16;
            let list = commands_of(&bed, generation);
            commands += list.len() as u64;
            counted.command += allocation_counter::measure(|| {
                list.iter().for_each(|command| bed.command(command));
                bed.settle();
            });
        }
    }
    let counters = bed.shard.counters();
    ensure!(counters.forwarded == packets, "{} of {packets} forwarded", counters.forwarded);
    ensure!(counters.commands_refused == 0, "{} commands refused", counters.commands_refused);
    ensure!(counters.rtcp_tx > 0, "housekeeping sent no report");
    let mut report = Report::new("alloc", "memory");
    let rows = [
        ("process", counted.process, packets, "packets"),
        ("tick", counted.tick, bursts, "turns"),
        ("command", counted.command, commands, "commands"),
    ];
    for (name, info, of, what) in rows {
        report.push(
            Figure::new(format!("allocations_in_{name}"), info.count_total as f64, "")
                .at_most(Some(0.0))
                .note(format!("in {of} {what}"))
                .detail(json!({ "bytes": info.bytes_total, what: of })),
        );
    }
    Ok(report)
}

/// A subscriber leaves and another takes its place; grants are renewed; an epoch is confirmed; every
/// session is listed.
fn commands_of(bed: &Bed<MemoryPort>, generation: u16) -> Vec<Command> {
    let slot = 1;
    let left = SessionId::new(ShardId(0), slot, generation - 1);
    let mut came = bed.subscriber(slot, 0);
    came.session = SessionId::new(ShardId(0), slot, generation);
    let deadline_s = bed.now.mono.seconds() as u32 + 3600;
    let grant = GrantWord::new(deadline_s, 1, Privileges::ALL);
    let renewed = SessionId::new(ShardId(0), 2, 0);
    vec![
        Command::CloseSession { session: left, reason: CloseReason::Left },
        Command::OpenSession(came),
        Command::SetGrant { session: renewed, grant },
        Command::BumpEpoch { room: RoomNo(1), epoch: 1 },
        Command::Resync,
    ]
}

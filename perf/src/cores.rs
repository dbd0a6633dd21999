//! `cores`: two workers against one. The workers are a node's own, each with a port in memory that has generator
//! and sink inside, so that all there is between the cores is what the node puts there.
//!
//! * Many rooms: one worker has all of them, two have half of them each and share nothing.
//! * One room: one worker has publisher and subscribers; of two, the first has the publisher and half of the
//!   subscribers, and the second the others, for which it gets one opened copy of each packet over the relay ring.
//!
//! What arrives was sealed before the clock starts. A sample ends when the last copy of the last packet is in a
//! sink: all of them must come, and the relay ring must lose none.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use node::idle::Poll;
use node::ledger::Ledger;
use node::relay::{self, Relays};
use node::worker::{Worker, WorkerParts, clock};
use proto::{Command, List, OpenSession, PublicationSpec, RoomNo, SessionId, ShardId};
use roomlane_core::{Now, Path, Pool};
use srtp::{NullProvider, Provider};

use crate::bed::{self, APP, AUDIO_LEVEL, LOCAL, Pace, START, Source, Stream, kernel};
use crate::fanout::Order;
use crate::lines::{Line, Lines};
use crate::machine;
use crate::rounds;
use crate::sample::Probe;
use crate::scenario::Shape;

/// Rooms of the first case, and subscribers in each.
const ROOMS: u32 = 64;
const ROOM_FANOUT: u32 = 50;
/// Subscribers of the one room's publisher; with it they are 500.
const BIG_FANOUT: u32 = 499;
/// Copies of a sample: some 5 ms of one core and more.
const COPIES: u32 = 160_000;
/// Packets on their way to another shard at most; its ring has room for more.
const AHEAD: u64 = 128;
const _: () = assert!(AHEAD < relay::slots(2) as u64);
/// A worker that was ready and did not run for more than a hundredth of a sample was disturbed.
const WAIT_SHARE: u128 = 100;
/// A sample that takes longer has lost copies.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `cores` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds for all of it.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
}

/// Measures many rooms and one large room, with 100 and 1,200 bytes.
///
/// # Errors
/// There is no second CPU, or copies were lost.
pub fn run(options: &Options) -> Result<Lines> {
    let mut lines = Lines::default();
    let cpus = machine::allowed_cpus()?;
    if cpus.len() < 2 {
        // Two workers then take turns, and the ratio says nothing about cores.
        lines.crowded();
    }
    let mut probe = Probe::new();
    let slice = Duration::from_millis(options.seconds * 1000 / 4);
    for payload in [100, 1200] {
        let many = Shape { rooms: ROOMS, fanout: ROOM_FANOUT, payload, has_extension: false };
        compare(many, "many rooms", 1.8, &cpus, slice, &mut probe, &mut lines)?;
        let one = Shape { rooms: 1, fanout: BIG_FANOUT, ..many };
        compare(one, "one room of 500", 1.6, &cpus, slice, &mut probe, &mut lines)?;
    }
    Ok(lines)
}

fn compare(
    shape: Shape,
    name: &str,
    promise: f64,
    cpus: &[usize],
    span: Duration,
    probe: &mut Probe,
    lines: &mut Lines,
) -> Result<()> {
    let mut teams = [Team::new(kernel, shape, 1, clock()), Team::new(kernel, shape, 2, clock())];
    let found = rounds::take_by(teams.len(), probe, span, |at| teams[at].sample(cpus))?;
    lines.sampled(found.taken, found.cut);
    let mut medians = [0.0; 2];
    for (at, samples) in found.lanes.into_iter().enumerate() {
        medians[at] = samples.median;
        lines.push(Line {
            rung: "node",
            provider: "fanout",
            path: kernel().path(),
            profile: bed::PROFILE.sdes_name(),
            payload_bytes: shape.payload,
            fanout: shape.fanout,
            rooms: shape.rooms,
            port: "memory",
            workers: at as u32 + 1,
            ns_per_packet: samples.median,
            samples,
        });
    }
    let figure = format!("{name}, {} B: packets of two workers over one", shape.payload);
    lines.at_least(figure, medians[0] / medians[1], Some(promise));
    Ok(())
}

/// Workers that do the work of one shape together.
struct Team<C: Provider> {
    workers: Vec<Worker<Source, C>>,
    /// Publishers' far ends, by the worker that has them.
    streams: Vec<Vec<Stream>>,
    orders: Vec<Order>,
    /// Copies that a packet becomes, by the worker that receives it, then by the one that seals them.
    copies: Vec<Vec<u64>>,
    payload: usize,
    packets: usize,
}

impl<C: Provider<Key: Send> + Send> Team<C> {
    fn new(provider: fn() -> C, shape: Shape, count: u32, now: Now) -> Team<C> {
        let is_split = shape.rooms == 1 && count > 1;
        let (streams, packets) = (vec![], (COPIES / shape.fanout) as usize);
        let mut team = Team {
            workers: workers(provider, shape, count, is_split, now),
            streams,
            orders: vec![],
            copies: vec![],
            payload: shape.payload,
            packets,
        };
        match is_split {
            true => team.open_split(shape, now),
            false => team.open_apart(shape, count, now),
        }
        team
    }

    /// Every worker has rooms of its own.
    fn open_apart(&mut self, shape: Shape, count: u32, now: Now) {
        let share = shape.rooms / count;
        for (at, worker) in self.workers.iter_mut().enumerate() {
            let shard = ShardId(at as u8);
            let mut streams = vec![];
            for room in 0..share {
                open_room(worker, now, room);
                let first = room * (shape.fanout + 1);
                streams.push(publish(worker, now, shape, shard, first, room));
                for slot in first + 1..=first + shape.fanout {
                    let open = bed::subscriber(shape, slot, room);
                    command(worker, now, &Command::OpenSession(on(shard, open)));
                }
            }
            self.orders.push(Order::new(streams.len()));
            self.streams.push(streams);
            let fanout = |other| if other == at { u64::from(shape.fanout) } else { 0 };
            self.copies.push((0..count as usize).map(fanout).collect());
        }
    }

    /// One room: home shard 0, half of its subscribers on shard 1.
    fn open_split(&mut self, shape: Shape, now: Now) {
        let far = shape.fanout / 2;
        let near = shape.fanout - far;
        for worker in &mut self.workers {
            open_room(worker, now, 0);
        }
        let stream = publish(&mut self.workers[0], now, shape, ShardId(0), 0, 0);
        let spec = publication(shape);
        let add = Command::AddRelay { publication: spec.publication, to: ShardId(1) };
        command(&mut self.workers[0], now, &add);
        let (room, member, home) = (RoomNo(1), proto::MemberNo(1), ShardId(0));
        command(&mut self.workers[1], now, &Command::OpenRemote { room, member, home, spec });
        for (at, count) in [(0, near), (1, far)] {
            for slot in 1..=count {
                let open = bed::subscriber(shape, slot, 0);
                let open = on(ShardId(at as u8), open);
                command(&mut self.workers[at], now, &Command::OpenSession(open));
            }
        }
        self.streams = vec![vec![stream], vec![]];
        self.orders = vec![Order::new(1), Order::new(1)];
        self.copies = vec![vec![near.into(), far.into()], vec![0, 0]];
    }

    /// Seals what arrives next; copies that will come of it, by worker.
    fn store(&mut self) -> Vec<u64> {
        let mut due = vec![0; self.workers.len()];
        let sending = self.streams.iter().filter(|streams| !streams.is_empty()).count();
        for (at, streams) in self.streams.iter_mut().enumerate() {
            if streams.is_empty() {
                continue;
            }
            let (order, payload) = (&mut self.orders[at], self.payload);
            let packets = self.packets / sending;
            let made = (0..packets).map(|_| {
                let stream = &mut streams[order.next()];
                let mut packet = vec![0; payload + 64];
                let len = stream.seal_next(payload, &mut packet);
                packet.truncate(len);
                (Path { local: LOCAL, remote: stream.remote() }, packet)
            });
            self.workers[at].port_mut().store(made);
            for (due, copies) in due.iter_mut().zip(&self.copies[at]) {
                *due += packets as u64 * copies;
            }
        }
        due
    }

    /// Seals what arrives, then lets all workers run until every copy is in a sink: nanoseconds of a copy, and
    /// whether a worker was disturbed.
    fn sample(&mut self, cpus: &[usize]) -> Result<(f64, bool)> {
        let due = self.store();
        let copies: u64 = due.iter().sum();
        let barrier = Barrier::new(self.workers.len());
        let ran: Vec<Ran> = std::thread::scope(|scope| {
            let threads: Vec<_> = (self.workers.iter_mut().zip(due).enumerate())
                .map(|(at, (worker, due))| {
                    let (barrier, cpu) = (&barrier, cpus[at % cpus.len()]);
                    scope.spawn(move || drive(worker, due, barrier, cpu))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a worker that ends")).collect()
        });
        ensure!(ran.iter().all(|ran| ran.is_whole), "not every copy came within {PATIENCE:?}");
        for worker in &mut self.workers {
            let drops: u64 = worker.shard().counters().egress_drops.iter().sum();
            ensure!(drops == 0 && worker.port_mut().in_use() == 0, "copies were lost");
        }
        let began = ran.iter().map(|ran| ran.began).min().expect("a worker");
        let ended = ran.iter().map(|ran| ran.ended).max().expect("a worker");
        let ns_per_copy = (ended - began).as_nanos() as f64 / copies as f64;
        Ok((ns_per_copy, ran.iter().any(|ran| ran.was_cut)))
    }
}

/// A worker alone, without ciphers, at a time that stands still: for whoever counts what its turns do.
pub struct Lone {
    team: Team<NullProvider>,
}

impl Lone {
    /// With the rooms of a shape open.
    pub fn new(shape: Shape) -> Lone {
        Lone { team: Team::new(|| NullProvider, shape, 1, START) }
    }

    /// Seals so many packets, which arrive next.
    pub fn store(&mut self, packets: usize) {
        self.team.packets = packets;
        self.team.store();
    }

    /// Turns until there is nothing to do.
    pub fn turns(&mut self) {
        while self.team.workers[0].turn(START) {}
    }

    /// Copies that came so far.
    pub fn sunk(&mut self) -> u64 {
        self.team.workers[0].port_mut().sunk().load(Ordering::Relaxed)
    }
}

/// One worker's part of a sample.
struct Ran {
    began: Instant,
    ended: Instant,
    was_cut: bool,
    is_whole: bool,
}

/// Turns until so many more copies are in the worker's sink.
fn drive<C: Provider>(
    worker: &mut Worker<Source, C>,
    due: u64,
    barrier: &Barrier,
    cpu: usize,
) -> Ran {
    // Where it is refused, the scheduler places the thread; the figure is the same, with more cuts.
    let _ = machine::pin(cpu);
    let sunk = std::sync::Arc::clone(worker.port_mut().sunk());
    let target = sunk.load(Ordering::Relaxed) + due;
    barrier.wait();
    let delay = machine::run_delay_ns().unwrap_or(0);
    let began = Instant::now();
    while sunk.load(Ordering::Relaxed) < target && began.elapsed() < PATIENCE {
        worker.turn(clock());
    }
    let ended = Instant::now();
    let is_whole = sunk.load(Ordering::Relaxed) == target;
    // Threads that fill every CPU of a machine cannot but wait now and then for its housekeeping.
    let waited = machine::run_delay_ns().unwrap_or(0) - delay;
    let was_cut = u128::from(waited) * WAIT_SHARE > (ended - began).as_nanos();
    Ran { began, ended, was_cut, is_whole }
}

fn workers<C: Provider>(
    provider: fn() -> C,
    shape: Shape,
    count: u32,
    is_split: bool,
    now: Now,
) -> Vec<Worker<Source, C>> {
    let mut relays = match is_split {
        true => relay::mesh(count as usize),
        false => (0..count).map(|_| Relays::alone()).collect(),
    };
    let far = Source::new(None);
    let pace = Pace {
        sunk: std::sync::Arc::clone(far.sunk()),
        fanout: u64::from(shape.fanout / 2).max(1),
        ahead_max: AHEAD,
    };
    let mut far = Some(far);
    (0..count)
        .rev()
        .map(|at| {
            let port = match (is_split, at) {
                (true, 0) => Source::new(Some(pace.clone())),
                _ => far.take().unwrap_or_else(|| Source::new(None)),
            };
            let sessions = shape.sessions();
            let parts = WorkerParts {
                shard: bed::config(ShardId(at as u8), sessions, shape.rooms),
                provider,
                bufs_total: port.buffers(),
                port,
                ledger: Ledger::in_memory(sessions),
                relays: relays.pop().expect("one per worker"),
                mailbox: None,
                wake: None,
                publisher: None,
                link: None,
                poll: Poll::Busy,
                time_turns: false,
                core: None,
                io_worker: at as usize,
            };
            Worker::new(parts, now)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}

fn command<C: Provider>(worker: &mut Worker<Source, C>, now: Now, command: &Command) {
    worker.command(now, command);
    assert_eq!(worker.shard().counters().commands_refused, 0, "{command:?}");
}

fn open_room<C: Provider>(worker: &mut Worker<Source, C>, now: Now, room: u32) {
    command(worker, now, &Command::SetApp { app: APP, quota: proto::Quota::default() });
    let room = RoomNo(u64::from(room) + 1);
    command(worker, now, &Command::OpenRoom { room, app: APP, epoch: 1, label: List::default() });
}

fn publication(shape: Shape) -> PublicationSpec {
    let open = bed::publisher(shape, 0, 0);
    open.publications.first().copied().expect("a publisher publishes")
}

/// Opens a publisher and returns its far end.
fn publish<C: Provider>(
    worker: &mut Worker<Source, C>,
    now: Now,
    shape: Shape,
    shard: ShardId,
    slot: u32,
    room: u32,
) -> Stream {
    let open = on(shard, bed::publisher(shape, slot, room));
    let spec = open.publications.first().copied().expect("a publisher publishes");
    let stream = Stream::new(&open, &spec, AUDIO_LEVEL, false);
    command(worker, now, &Command::OpenSession(open));
    stream
}

/// The same session on another shard.
fn on(shard: ShardId, open: OpenSession) -> OpenSession {
    OpenSession { session: SessionId::new(shard, open.session.slot(), 0), ..open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_reaches_every_subscriber_on_one_worker_and_on_two() {
        for (rooms, fanout) in [(4, 10), (1, 41)] {
            let shape = Shape { rooms, fanout, payload: 160, has_extension: false };
            for count in [1, 2] {
                let mut team = Team { packets: 400, ..Team::new(kernel, shape, count, clock()) };
                let cpus = machine::allowed_cpus().unwrap();
                for _ in 0..3 {
                    assert!(team.sample(&cpus).unwrap().0 > 0.0);
                }
                let sent: u64 =
                    (team.workers.iter()).map(|worker| worker.shard().counters().tx_packets).sum();
                assert!(
                    sent >= 3 * 400 * u64::from(fanout),
                    "{rooms} rooms, {count} workers: {sent}"
                );
            }
        }
    }
}

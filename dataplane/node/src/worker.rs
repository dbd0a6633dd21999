//! A worker: the loop that drives one shard on one core.
//!
//! A turn reads the clock once, carries out commands, sends what control injects, takes opened copies of
//! other shards, receives a burst and processes it, sends, keeps house, tells events and publishes.
//! Nothing in it waits, except for a device that does not accept packets, and that for 50 us at most.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use port::Port;
use proto::counters::{
    BURST_BOUNDS, LATENCY_BUCKETS, ShardCounters, WorkerCounters, turn_cpu_bucket,
};
use proto::snapshot::{RoomRow, SessionRow};
use proto::{Command, punt};
use roomlane_core::{Burst, Instant, Now, Shard, ShardConfig};
use shm::event::Event as WakeUp;
use srtp::Provider;

use crate::idle::{Idle, Poll};
use crate::ledger::Ledger;
use crate::link::LinkHandle;
use crate::mailbox::{self, Incoming, Mailbox};
use crate::outside::Outside;
use crate::publish::{Publisher, Shown};
use crate::relay::{RELAY_TURN_MAX, Relays};

/// Commands carried out in one turn; the rest waits for the next.
pub const COMMANDS_TURN_MAX: usize = 16;
/// Datagrams sent for the control plane in one turn.
pub const INJECTS_TURN_MAX: usize = 32;
/// Events told in one turn.
pub const EVENTS_TURN_MAX: usize = 64;

impl<C: Provider> Shown for Shard<C> {
    fn counters(&self) -> &ShardCounters {
        self.counters()
    }
    fn room_row(&self, index: u32) -> RoomRow {
        self.room_row(index)
    }
    fn session_row(&self, slot: u32) -> SessionRow {
        self.session_row(slot)
    }
}

/// What a worker is made of. A bench may leave out the control plane and the publishing.
pub struct WorkerParts<P: Port, C: Provider> {
    /// The shard's sizes, id and seed.
    pub shard: ShardConfig,
    /// Makes the cipher provider of a shard: once at the start, and once after each panic.
    pub provider: fn() -> C,
    /// The device.
    pub port: P,
    /// Buffers that the device's pool has.
    pub bufs_total: u64,
    /// The shard's ledger.
    pub ledger: Ledger,
    /// Its ends of the relay rings.
    pub relays: Relays,
    /// Its rings with the control plane.
    pub mailbox: Option<Mailbox>,
    /// What control wakes it by, for a device that can only be polled: it then sleeps on this instead of
    /// in the device. Other devices sleep by themselves, [`crate::idle::SLEEP_QUIET_NS`] at most.
    pub wake: Option<WakeUp>,
    /// Where it publishes.
    pub publisher: Option<Publisher>,
    /// Whom it tells that its sessions are lost.
    pub link: Option<Arc<LinkHandle>>,
    /// Whether it sleeps.
    pub poll: Poll,
    /// Whether it counts the CPU time of turns with work.
    pub time_turns: bool,
    /// The core it was pinned to.
    pub core: Option<usize>,
    /// Which worker does its I/O: its own index, unless it shares a device with one queue.
    pub io_worker: usize,
}

/// What the turn before this one did; its time is known only now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Worked,
    Idle,
    Slept,
}

/// The loop around one shard. Monomorphic in the device and the ciphers.
pub struct Worker<P: Port, C: Provider> {
    shard: Shard<C>,
    config: ShardConfig,
    provider: fn() -> C,
    outside: Outside<P>,
    rx: Burst<P::Buf>,
    inject: Box<[u8; punt::MESSAGE_MAX]>,
    wake: Option<WakeUp>,
    publisher: Option<Publisher>,
    link: Option<Arc<LinkHandle>>,
    idle: Idle,
    time_turns: bool,
    counters: WorkerCounters,
    before: Before,
    turn_began_ns: u64,
}

impl<P: Port, C: Provider> Worker<P, C> {
    /// A worker whose shard is empty.
    pub fn new(parts: WorkerParts<P, C>, now: Now) -> Self {
        let counters = WorkerCounters {
            core: parts.core.map_or(u64::MAX, |core| core as u64),
            io_worker: parts.io_worker as u64,
            bufs_total: parts.bufs_total,
            ..WorkerCounters::default()
        };
        // Other shards ring no bell, and a device that is only polled has none. The one source is the shard itself.
        let is_woken = parts.port.caps().can_wait && parts.relays.sources() <= 1;
        Worker {
            shard: Shard::new(&parts.shard, (parts.provider)(), now),
            config: parts.shard,
            provider: parts.provider,
            outside: Outside::new(parts.port, parts.ledger, parts.relays, parts.mailbox),
            rx: Burst::new(),
            inject: Box::new([0; punt::MESSAGE_MAX]),
            wake: parts.wake,
            publisher: parts.publisher,
            link: parts.link,
            idle: Idle::new(parts.poll, is_woken),
            time_turns: parts.time_turns,
            counters,
            before: Before::Idle,
            turn_began_ns: now.mono.0,
        }
    }

    /// Turns until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.turn(clock()) {
                self.idle.worked();
                self.before = Before::Worked;
                continue;
            }
            self.before = match self.idle.rested() {
                0 => Before::Idle,
                sleep_ns => self.sleep(sleep_ns),
            };
        }
        self.outside.flush();
        self.publish(shm::clock::monotonic_ns(), true);
    }

    /// One turn; whether there was anything to do.
    pub fn turn(&mut self, now: Now) -> bool {
        self.account(now.mono);
        if self.time_turns { self.timed_turn(now) } else { self.guarded_turn(now) }
    }

    /// Out of line: the loop of a node without measurements has a branch for it and nothing else.
    #[cold]
    #[inline(never)]
    fn timed_turn(&mut self, now: Now) -> bool {
        let of_control = |counters: &ShardCounters| {
            counters.commands + counters.commands_refused + counters.injected + counters.punted
        };
        let before = of_control(self.shard.counters());
        let began_ns = shm::clock::thread_cpu_ns();
        let worked = self.guarded_turn(now);
        if worked {
            let span_ns = shm::clock::thread_cpu_ns() - began_ns;
            let bucket = turn_cpu_bucket(span_ns);
            self.counters.turn_cpu[bucket] += 1;
            let is_of_control = of_control(self.shard.counters()) != before;
            self.counters.turn_cpu_control[bucket] += u64::from(is_of_control);
        }
        worked
    }

    /// A panic in the shard ends the shard, not the worker.
    fn guarded_turn(&mut self, now: Now) -> bool {
        // The shard is thrown away after a panic, so that nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| self.work(now))) {
            Ok(worked) => worked,
            Err(_) => {
                self.replace_shard(now);
                true
            }
        }
    }

    fn work(&mut self, now: Now) -> bool {
        self.outside.begin(now.mono);
        let mut worked = self.carry_out_commands(now);
        worked |= self.send_injected();
        worked |= self.take_relayed(now);
        let received = self.outside.port.rx_burst(now.mono, &mut self.rx);
        if received > 0 {
            usdt::rx_burst(received as u64);
            worked = true;
            self.counters.bursts[burst_bucket(received)] += 1;
            self.counters.burst_packets += received as u64;
            self.shard.process(now, &mut self.outside, &mut self.rx);
            debug_assert!(self.rx.is_empty(), "the shard takes every datagram");
        }
        if now.mono >= self.shard.next_tick() {
            self.shard.tick(now, &mut self.outside);
        }
        self.outside.flush();
        self.tell_events();
        self.publish(now.mono.0, false);
        worked
    }

    fn carry_out_commands(&mut self, now: Now) -> bool {
        let mut worked = false;
        for _ in 0..COMMANDS_TURN_MAX {
            let Some(mailbox) = &mut self.outside.mailbox else { return false };
            match mailbox.next_command() {
                Incoming::Command(mut command) => {
                    self.shard.command(now, &mut self.outside, &command);
                    mailbox::wipe(&mut command);
                }
                Incoming::Malformed => {
                    tracing::error!("the control plane sent bytes that are no command");
                }
                Incoming::Nothing => break,
            }
            worked = true;
        }
        worked
    }

    /// Sends datagrams of the control plane, unless commands wait still: keys come before the datagram
    /// that lets the peer use them.
    fn send_injected(&mut self) -> bool {
        let mut worked = false;
        for _ in 0..INJECTS_TURN_MAX {
            let Some(mailbox) = &mut self.outside.mailbox else { return false };
            let Some((session, datagram)) = mailbox.next_inject(&mut self.inject) else { break };
            if datagram.is_empty() {
                tracing::error!("the control plane sent bytes that are no datagram of a session");
            } else {
                self.shard.inject(&mut self.outside, session, datagram);
            }
            worked = true;
        }
        worked
    }

    fn take_relayed(&mut self, now: Now) -> bool {
        let mut worked = false;
        for from in 0..self.outside.relays.sources() {
            for _ in 0..RELAY_TURN_MAX {
                let Some(taken) = self.outside.relays.take(from) else { break };
                self.shard.relay_in(now, &mut self.outside, &taken.packet());
                self.outside.relays.recycle(from, taken);
                worked = true;
            }
            for _ in 0..RELAY_TURN_MAX {
                let Some(feedback) = self.outside.relays.take_feedback(from) else { break };
                self.shard.feedback_in(now, &mut self.outside, feedback);
                worked = true;
            }
        }
        worked
    }

    /// Without room in the ring, events wait in the shard.
    fn tell_events(&mut self) {
        let Some(mailbox) = &mut self.outside.mailbox else {
            // Nobody listens; the shard's queue must not fill up.
            while self.shard.pop_event().is_some() {}
            return;
        };
        let mut told = false;
        for _ in 0..EVENTS_TURN_MAX {
            if !mailbox.has_room() {
                break;
            }
            let Some(event) = self.shard.pop_event() else { break };
            mailbox.send(&event);
            told = true;
        }
        mailbox.wake_control(told);
    }

    fn publish(&mut self, now_ns: u64, last: bool) {
        let Some(publisher) = &mut self.publisher else { return };
        if last || publisher.counters_due(now_ns) {
            refresh(&mut self.counters, &self.outside, now_ns);
            publisher.counters(now_ns, &self.shard, &self.counters);
            if let (Some(mailbox), Some(link)) = (&self.outside.mailbox, &self.link)
                && mailbox.is_broken()
            {
                link.ask_for_replay();
            }
        }
        publisher.page(now_ns, &self.shard);
    }

    /// A fresh shard with the same ledger. Control opens its sessions again.
    fn replace_shard(&mut self, now: Now) {
        self.counters.restarts += 1;
        // Buffers that the old shard was working on go back to their pool.
        self.rx.clear();
        if getrandom::fill(&mut self.config.seed).is_err() {
            tracing::error!("no randomness for the new shard's hash keys; the old ones stay");
        }
        self.shard = Shard::new(&self.config, (self.provider)(), now);
        tracing::error!(
            shard = self.config.id.0,
            restarts = self.counters.restarts,
            "the shard panicked and was replaced; its sessions are opened again by control"
        );
        if let Some(link) = &self.link {
            link.ask_for_replay();
        }
    }

    /// Sleeps until something arrives or the time is over.
    fn sleep(&mut self, sleep_ns: u64) -> Before {
        let (Some(mailbox), Some(wake)) = (&mut self.outside.mailbox, &self.wake) else {
            self.outside.port.wait(sleep_ns);
            return Before::Slept;
        };
        if !mailbox.may_sleep() {
            return Before::Idle;
        }
        if wake.wait(Duration::from_nanos(sleep_ns)).unwrap_or(false) {
            let _ = wake.drain();
        }
        mailbox.awake();
        Before::Slept
    }

    /// Books the time since the turn before began.
    fn account(&mut self, now: Instant) {
        let span_ns = now.0.saturating_sub(self.turn_began_ns);
        self.turn_began_ns = now.0;
        self.counters.turns += 1;
        match self.before {
            Before::Worked => {
                self.counters.busy_ns += span_ns;
                self.counters.turn_latency[latency_bucket(span_ns)] += 1;
            }
            Before::Idle => self.counters.idle_turns += 1,
            Before::Slept => {
                self.counters.idle_turns += 1;
                self.counters.asleep_ns += span_ns;
            }
        }
    }

    /// The shard, for tests and benches.
    pub fn shard(&self) -> &Shard<C> {
        &self.shard
    }

    /// The port, for tests and benches.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.outside.port
    }

    /// What the loop counted, as of now.
    pub fn counters(&mut self) -> &WorkerCounters {
        refresh(&mut self.counters, &self.outside, self.turn_began_ns);
        &self.counters
    }

    /// Carries out one command now: for benches and tests without a control plane.
    pub fn command(&mut self, now: Now, command: &Command) {
        self.outside.begin(now.mono);
        self.shard.command(now, &mut self.outside, command);
    }
}

/// Both clocks, read once.
pub fn clock() -> Now {
    Now { mono: Instant(shm::clock::monotonic_ns()), unix_ns: shm::clock::unix_ns() }
}

fn refresh<P: Port>(counters: &mut WorkerCounters, outside: &Outside<P>, now_ns: u64) {
    let stats = outside.port.stats();
    counters.heartbeat_ns = now_ns;
    counters.bufs_in_use = outside.port.in_use() as u64;
    counters.port_rx_packets = stats.rx_packets;
    counters.port_rx_bytes = stats.rx_bytes;
    counters.port_tx_packets = stats.tx_packets;
    counters.port_tx_bytes = stats.tx_bytes;
    counters.port_answered = stats.answered;
    counters.port_drops = outside.drops(stats);
}

/// The bucket of a turn that took `span_ns`.
fn latency_bucket(span_ns: u64) -> usize {
    let us = span_ns / 1_000;
    ((u64::BITS - us.leading_zeros()) as usize).min(LATENCY_BUCKETS - 1)
}

/// The bucket of a burst: the first whose bound holds it.
fn burst_bucket(packets: usize) -> usize {
    BURST_BOUNDS.partition_point(|bound| *bound < packets as u64).min(BURST_BOUNDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_lands_in_the_first_bucket_that_holds_it() {
        let buckets = [1, 2, 3, 4, 5, 16, 17, 32].map(burst_bucket);
        assert_eq!(buckets, [0, 1, 2, 2, 3, 4, 5, 5]);
    }

    #[test]
    fn a_turn_lands_in_the_bucket_whose_bound_it_stays_below() {
        for (span_ns, bucket) in [(0, 0), (999, 0), (1_000, 1), (1_999, 1), (2_000, 2), (3_999, 2)]
        {
            assert_eq!(latency_bucket(span_ns), bucket, "{span_ns}");
        }
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }
}

//! A worker over a port in memory: media, events, full devices, panics, relays, steering.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use node::link::LinkHandle;
use node::outside::TX_PATIENCE_NS;
use node::publish::Publisher;
use node::relay;
use node::worker::{Worker, WorkerParts};
use port::sim::{Hub, SimConfig, SimPort};
use port::steer::{self, SteerConfig};
use port::{Port, PortCaps, PortStats};
use proto::region::ledger;
use proto::{Command, DropReason, Endpoint, Event, ShardId};
use roomlane_core::{Burst, Instant, Pool, TxBurst};
use srtp::RingProvider;
use support::bed::{
    Control, LOCAL, NODE, PEERS, PUBLISHER, SIZES, VIEWER, at_ms, parts, receive, send, sim,
};
use support::{Peer, ROOM, open_publisher, open_room, open_viewer};

#[test]
fn commands_come_down_media_goes_through_and_events_come_up() {
    let (port, mut peers) = port::sim::pair(sim(NODE), sim(PEERS));
    let mut mailboxes = vec![];
    let mut control = Control::of(SIZES, &mut mailboxes);
    let cells = control.regions.cells(0).expect("cells");
    let parts = WorkerParts {
        mailbox: mailboxes.pop(),
        publisher: Some(Publisher::new(cells, 4, 8)),
        ledger: control.regions.ledger(0).expect("ledger"),
        time_turns: true,
        ..parts(port, 0)
    };
    let mut worker = Worker::new(parts, at_ms(0));
    open_room(ROOM).iter().for_each(|command| control.tell(command));
    control.tell(&open_publisher(0, LOCAL, PUBLISHER));
    control.tell(&open_viewer(1, LOCAL, VIEWER));
    assert!(worker.turn(at_ms(1)), "commands are work");
    let of_control = worker.counters().turn_cpu_control.iter().sum::<u64>();
    assert_eq!(of_control, 1, "and the control plane's");
    let opened = |event: &Event| matches!(event, Event::Opened { .. });
    assert_eq!(control.hear().iter().filter(|event| opened(event)).count(), 2);
    assert!(!worker.turn(at_ms(2)), "nothing to do");

    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    for i in 0..50u8 {
        let now = at_ms(20 * u64::from(i));
        send(&mut peers, now, PUBLISHER, LOCAL, &publisher.seal(&[i; 160]));
        assert!(worker.turn(now), "a packet is work");
        let heard: Vec<_> =
            receive(&mut peers, now, VIEWER).into_iter().filter_map(|p| viewer.open(p)).collect();
        assert_eq!(heard.len(), 1, "packet {i}");
        assert_eq!(heard[0].1, [i; 160]);
    }
    assert!(control.hear().iter().any(|event| matches!(event, Event::Alive { .. })));
    let (rx_packets, forwarded) = {
        let counters = worker.shard().counters();
        assert!(counters.balances());
        (counters.rx_packets, counters.forwarded)
    };
    assert_eq!((rx_packets, forwarded), (50, 50));
    assert_eq!(worker.counters().port_rx_packets, 50);
    let ledger_words = control.regions.ledger(0).expect("ledger");
    assert!(ledger_words.load(1, ledger::EGRESS) > 100, "a ceiling was claimed");
    assert!(worker.port_mut().in_use() == 0, "every buffer is back");
}

#[test]
fn a_device_that_takes_nothing_costs_50_us_and_is_counted_never_sealed_again() {
    let (port, mut peers) = port::sim::pair(sim(NODE), SimConfig { queue_len: 3, ..sim(PEERS) });
    let mut worker = Worker::new(parts(port, 0), at_ms(0));
    open_room(ROOM).iter().for_each(|command| worker.command(at_ms(0), command));
    worker.command(at_ms(0), &open_publisher(0, LOCAL, PUBLISHER));
    worker.command(at_ms(0), &open_viewer(1, LOCAL, VIEWER));
    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    for i in 0..10u8 {
        send(&mut peers, at_ms(1), PUBLISHER, LOCAL, &publisher.seal(&[i; 100]));
    }
    let began = shm::clock::monotonic_ns();
    worker.turn(at_ms(1));
    let spent_ns = shm::clock::monotonic_ns() - began;
    assert!(spent_ns >= TX_PATIENCE_NS, "it tried again");
    let heard: Vec<_> =
        receive(&mut peers, at_ms(1), VIEWER).into_iter().filter_map(|p| viewer.open(p)).collect();
    assert_eq!(heard.iter().map(|(_, payload)| payload[0]).collect::<Vec<_>>(), [0, 1, 2]);
    let drops = worker.counters().port_drops[DropReason::TxFull as usize];
    assert_eq!(drops, 7);
    // What was dropped has spent its indexes: the next packet's lies above them all.
    send(&mut peers, at_ms(2), PUBLISHER, LOCAL, &publisher.seal(&[10; 100]));
    worker.turn(at_ms(2));
    let next = receive(&mut peers, at_ms(2), VIEWER).into_iter().find_map(|p| viewer.open(p));
    assert_eq!(next.expect("sent").0, heard[0].0 + 10);
    assert_eq!(worker.port_mut().in_use(), 0, "dropped buffers are back");
}

/// A port whose receive call panics when it is told to, with the burst half full.
struct Panicky {
    inner: SimPort,
    fuse: Arc<AtomicU32>,
}

impl Pool for Panicky {
    type Buf = <SimPort as Pool>::Buf;
    fn alloc(&mut self) -> Option<Self::Buf> {
        self.inner.alloc()
    }
    fn free(&mut self, buf: Self::Buf) {
        self.inner.free(buf);
    }
    fn in_use(&self) -> usize {
        self.inner.in_use()
    }
}

impl Port for Panicky {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<Self::Buf>) -> usize {
        let received = self.inner.rx_burst(now, rx);
        let armed = self.fuse.swap(0, Ordering::Relaxed) == 1;
        assert!(!armed, "the fuse is lit: this panic is part of the test");
        received
    }
    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<Self::Buf>) -> usize {
        self.inner.tx_burst(now, tx)
    }
    fn wait(&mut self, timeout_ns: u64) {
        self.inner.wait(timeout_ns);
    }
    fn caps(&self) -> PortCaps {
        self.inner.caps()
    }
    fn stats(&self) -> &PortStats {
        self.inner.stats()
    }
}

#[test]
fn a_shard_that_panics_is_replaced_and_goes_on_above_everything_it_ever_sent() {
    let (inner, mut peers) = port::sim::pair(sim(NODE), sim(PEERS));
    let fuse = Arc::new(AtomicU32::new(0));
    let link = Arc::new(LinkHandle::new().expect("eventfd"));
    let parts = WorkerParts {
        link: Some(Arc::clone(&link)),
        ..parts(Panicky { inner, fuse: Arc::clone(&fuse) }, 0)
    };
    let mut worker = Worker::new(parts, at_ms(0));
    let open = |worker: &mut Worker<Panicky, RingProvider>| {
        open_room(ROOM).iter().for_each(|command| worker.command(at_ms(0), command));
        worker.command(at_ms(0), &open_publisher(0, LOCAL, PUBLISHER));
        worker.command(at_ms(0), &open_viewer(1, LOCAL, VIEWER));
    };
    open(&mut worker);
    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    let mut seen = std::collections::BTreeSet::new();
    let mut play = |worker: &mut Worker<Panicky, RingProvider>, publisher: &mut Peer, count: u8| {
        let mut heard = 0;
        for i in 0..count {
            send(&mut peers, at_ms(1), PUBLISHER, LOCAL, &publisher.seal(&[i; 50]));
            worker.turn(at_ms(1));
            for packet in receive(&mut peers, at_ms(1), VIEWER) {
                let Some((index, _)) = viewer.open(packet) else { continue };
                assert!(seen.insert(index), "index {index} was used twice under one key");
                assert!(seen.last() == Some(&index), "indexes only grow");
                heard += 1;
            }
        }
        heard
    };
    assert_eq!(play(&mut worker, &mut publisher, 20), 20);
    fuse.store(1, Ordering::Relaxed);
    assert_eq!(play(&mut worker, &mut publisher, 1), 0, "the burst of the panic is lost");
    assert_eq!(worker.counters().restarts, 1);
    assert_eq!(worker.shard().sessions(), 0, "a fresh shard");
    assert_eq!(worker.port_mut().in_use(), 0, "the burst's buffers are back");
    assert!(link.replay_is_asked(), "control is told");
    assert_eq!(play(&mut worker, &mut publisher, 3), 0, "nobody is known before the replay");
    open(&mut worker);
    assert_eq!(play(&mut worker, &mut publisher, 20), 20, "and then it goes on");
    assert_eq!(worker.counters().restarts, 1);
}

#[test]
fn a_viewer_on_another_shard_hears_the_same_by_relay() {
    let hub = Hub::new();
    let attach = |shard: u16| {
        let port = 8000 + shard;
        hub.attach(SimConfig { udp_ports: port..=port, ..sim(NODE) })
    };
    let mut peers = hub.attach(sim(PEERS));
    let mut mesh = relay::mesh(2).into_iter();
    let mut workers: Vec<_> = (0..2u8)
        .map(|id| {
            let relays = mesh.next().expect("one per shard");
            Worker::new(WorkerParts { relays, ..parts(attach(id.into()), id) }, at_ms(0))
        })
        .collect();
    let remote_local = Endpoint::v4(NODE, 8001);
    for worker in &mut workers {
        open_room(ROOM).iter().for_each(|command| worker.command(at_ms(0), command));
    }
    workers[0].command(at_ms(0), &open_publisher(0, LOCAL, PUBLISHER));
    let add = Command::AddRelay { publication: support::PUBLICATION, to: ShardId(1) };
    workers[0].command(at_ms(0), &add);
    workers[1].command(at_ms(0), &support::open_remote(ShardId(0)));
    let viewer_session = support::open_viewer_on(ShardId(1), 1, remote_local, VIEWER);
    workers[1].command(at_ms(0), &viewer_session);
    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    let mut heard = vec![];
    for i in 0..30u8 {
        let now = at_ms(u64::from(i));
        send(&mut peers, now, PUBLISHER, LOCAL, &publisher.seal(&[i; 700]));
        for worker in &mut workers {
            worker.turn(now);
        }
        heard.extend(receive(&mut peers, now, VIEWER).into_iter().filter_map(|p| viewer.open(p)));
    }
    assert!(heard.iter().map(|(_, payload)| payload[0]).eq(0..30), "{}", heard.len());
    assert_eq!(workers[0].shard().counters().relay_tx, 30);
    assert_eq!(workers[1].shard().counters().relay_rx, 30);
    assert_eq!(workers[0].port_mut().in_use() + workers[1].port_mut().in_use(), 0);
}

#[test]
fn one_queue_serves_two_shards() {
    let (port, mut peers) = port::sim::pair(sim(NODE), sim(PEERS));
    let config = SteerConfig { udp_base: 8000, shards: 2, owner: 0 };
    let pool = |_| port::slab::SlabPool::new(64);
    let (owner, mut sharers) = steer::split(port, config, pool);
    let mut first = Worker::new(parts(owner, 0), at_ms(0));
    let (_, sharer) = sharers.pop().expect("one sharer");
    let parts = WorkerParts { io_worker: 0, ..parts(sharer, 1) };
    let mut second = Worker::new(parts, at_ms(0));
    let local = Endpoint::v4(NODE, 8001);
    open_room(ROOM).iter().for_each(|command| second.command(at_ms(0), command));
    second.command(at_ms(0), &support::open_publisher_on(ShardId(1), 0, local, PUBLISHER));
    second.command(at_ms(0), &support::open_viewer_on(ShardId(1), 1, local, VIEWER));
    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    for i in 0..40u8 {
        let now = at_ms(u64::from(i));
        send(&mut peers, now, PUBLISHER, local, &publisher.seal(&[i; 300]));
        first.turn(now);
        second.turn(now);
        first.turn(now);
        let heard: Vec<_> =
            receive(&mut peers, now, VIEWER).into_iter().filter_map(|p| viewer.open(p)).collect();
        assert_eq!(heard.len(), 1, "packet {i}");
        assert_eq!(heard[0].1, [i; 300]);
    }
    assert_eq!(first.shard().counters().rx_packets, 0, "the owner opened nothing");
    assert_eq!(second.shard().counters().forwarded, 40);
    assert_eq!(second.counters().io_worker, 0);
}

#[test]
fn only_a_worker_that_is_told_to_counts_the_cpu_time_of_turns_with_work() {
    for time_turns in [false, true] {
        let (port, mut peers) = port::sim::pair(sim(NODE), sim(PEERS));
        let mut worker = Worker::new(WorkerParts { time_turns, ..parts(port, 0) }, at_ms(0));
        for ms in 1..=20 {
            send(&mut peers, at_ms(ms), PUBLISHER, LOCAL, &[0x80; 40]);
            assert!(worker.turn(at_ms(ms)) && !worker.turn(at_ms(ms)));
        }
        let counted = worker.counters().turn_cpu.iter().sum::<u64>();
        assert_eq!(counted, if time_turns { 20 } else { 0 });
        assert_eq!(worker.counters().turn_cpu[0], 0, "no turn takes no time");
        assert_eq!(worker.counters().turn_cpu_control.iter().sum::<u64>(), 0);
    }
}

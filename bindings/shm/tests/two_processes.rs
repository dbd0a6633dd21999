//! Regions between two real processes: handed over a socket, read while the writer writes, and
//! taken over after the writer was killed in the middle of it.
//!
//! The writer is this test binary, started again with an environment variable.
#![cfg(not(loom))]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shm::event::Event;
use shm::fdpass::{Listener, connect, limit_waiting, peer_credentials, recv, send};
use shm::region::{Kind, ReadRegion, Region, RegionError, RegionSpec};
use shm::ring::{Consumer, Producer, PushError, RingSpec};
use shm::seqlock::{ReadError, SnapshotReader, SnapshotWriter, cell_words};
use shm::words::{Layout, Span};

const SOCKET: &str = "SHM_TEST_SOCKET";
const LAYOUT_VERSION: u64 = 1;
const RING: RingSpec = RingSpec::new(4096, 64);

/// Large, so that a kill nearly always falls into the middle of a write.
type Big = [u64; 8192];

struct Spans {
    payload_bytes: usize,
    ring: Span,
}

fn control_spans() -> Spans {
    let mut layout = Layout::new();
    let ring = layout.take(RING.len_words());
    Spans { payload_bytes: layout.payload_bytes(), ring }
}

fn snapshot_span() -> Span {
    Layout::new().take(cell_words::<Big>(1))
}

fn spec(name: &str, kind: Kind, payload_bytes: usize) -> RegionSpec<'_> {
    RegionSpec { name, kind, layout_version: LAYOUT_VERSION, payload_bytes, epoch: 1 }
}

/// The child: makes both regions, hands them over and writes until it is killed.
#[test]
fn writer_child() {
    let Some(path) = std::env::var_os(SOCKET) else { return };
    let spans = control_spans();
    let control =
        Region::create(spec("control", Kind::Control, spans.payload_bytes)).expect("control");
    let stats = Region::create(spec("stats", Kind::Stats, size_of::<Big>() + 4096)).expect("stats");
    let event = Event::new().expect("eventfd");
    let socket = connect(Path::new(&path)).expect("connect");
    send(&socket, b"regions", &[control.as_fd(), stats.as_fd(), event.as_fd()]).expect("send");

    let mut producer =
        Producer::attach(control.words(spans.ring).expect("span"), RING).expect("fresh");
    producer = producer.with_event(event);
    let mut cell = SnapshotWriter::<Big>::attach(stats.words(snapshot_span()).expect("span"));
    let mut big = Box::new([0; 8192]);
    for round in 1u64.. {
        big.fill(round);
        cell.write(&big);
        stats.beat(shm::clock::monotonic_ns());
        match producer.push(&message(round)[..17 + round as usize % 40]) {
            Ok(()) => drop(producer.wake().expect("wake")),
            Err(PushError::Full) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Message `round`: its number, repeated.
fn message(round: u64) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&round.to_le_bytes()));
    bytes
}

struct Writer {
    child: Child,
    control: Region,
    stats: ReadRegion,
    event: Event,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Writer {
    fn start(path: &PathBuf) -> Self {
        let listener = Listener::bind(path, 0o600).expect("bind");
        let child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "writer_child"])
            .env(SOCKET, path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("child");
        let socket = listener.accept().expect("accept");
        assert_eq!(peer_credentials(&socket).expect("credentials").pid, child.id());
        limit_waiting(&socket, Duration::from_secs(10)).expect("timeout");
        let mut bytes = [0; 16];
        let received = recv(&socket, &mut bytes).expect("receive");
        assert_eq!(&bytes[..received.len_bytes], b"regions");
        let [control, stats, event] = received.descriptors.try_into().expect("three");
        let writable = Region::map(stats.try_clone().expect("dup"), LAYOUT_VERSION);
        assert!(matches!(writable, Err(RegionError::Host { call: "map", .. })), "{writable:?}");
        Self {
            control: Region::map(control, LAYOUT_VERSION).expect("control"),
            stats: ReadRegion::map(&stats, LAYOUT_VERSION).expect("stats"),
            event: Event::from_fd(event),
            child,
        }
    }

    fn kill(&mut self) {
        // SIGKILL: nothing of the writer runs any more.
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

/// Pops all there is; every message is whole and newer than the last.
fn drain(consumer: &mut Consumer, last: &mut u64) -> usize {
    let mut out = [0; 64];
    let mut count = 0;
    while let Some(len) = consumer.pop(&mut out).expect("a killed writer corrupts nothing") {
        let round = u64::from_le_bytes(out[..8].try_into().expect("eight"));
        assert!(round > *last, "{round} after {last}");
        assert_eq!(out[..len], message(round)[..17 + round as usize % 40]);
        *last = round;
        count += 1;
    }
    count
}

#[test]
fn a_writer_killed_in_the_middle_leaves_a_sound_ring_and_a_torn_or_whole_snapshot() {
    let path = std::env::temp_dir().join(format!("shm-kill-{}.sock", std::process::id()));
    let mut torn = 0;
    for _ in 0..20 {
        let mut writer = Writer::start(&path);
        let ring = writer.control.words(control_spans().ring).expect("span");
        let mut consumer = Consumer::attach(ring.clone(), RING).expect("sound");
        let reader =
            SnapshotReader::<Big>::attach(writer.stats.words(snapshot_span()).expect("span"));
        let (mut last, mut popped) = (0, 0);
        while popped < 100 {
            let some = consumer.wait(&writer.event, Duration::from_secs(10)).expect("wait");
            assert!(some, "the writer must wake a sleeping reader");
            popped += drain(&mut consumer, &mut last);
        }
        assert!(writer.stats.header().heartbeat_ns > 0);
        assert_eq!(writer.stats.header().writer_pid, u64::from(writer.child.id()));
        writer.kill();

        match reader.read() {
            Ok(big) => assert!(big.iter().all(|&word| word == big[0]), "mixed"),
            Err(ReadError::Torn) => torn += 1,
            Err(ReadError::Empty) => panic!("it had written"),
        }
        drain(&mut consumer, &mut last);
        // Another writer goes on in the same region.
        writer.control.claim(2);
        let mut producer = Producer::attach(ring, RING).expect("sound");
        let next = last + 1;
        producer.push(&message(next)[..17 + next as usize % 40]).expect("room");
        assert_eq!(drain(&mut consumer, &mut last), 1);
        assert_eq!(writer.control.header().epoch, 2);
    }
    assert!(torn > 0, "not one of 20 kills fell into a write: this test shows nothing");
}

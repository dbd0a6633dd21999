//! A region written the way a data plane writes it comes out as it went in.

use std::os::fd::AsFd;

use proto::DropReason;
use proto::snapshot::row_label;
use proto::{Label, SessionId, ShardId};
use shm::fdpass::Listener;
use shm::region::{Kind, Region, RegionSpec};
use shm::seqlock::SnapshotWriter;
use zerocopy::Immutable;

use super::*;

const SIZES: Sizes = Sizes { shards: 2, sessions_max: 40, rooms_max: 4 };
const INSTANCE: u64 = 77;

fn region() -> Region {
    let spec = RegionSpec {
        name: "stats-test",
        kind: Kind::Stats,
        layout_version: u64::from(LAYOUT_VERSION),
        payload_bytes: SIZES.stats_bytes() + 128,
        epoch: INSTANCE,
    };
    Region::create(spec).expect("memfd")
}

fn write<T: IntoBytes + Immutable>(region: &Region, offset: usize, value: &T) {
    let words = region.words(span(offset, cell_words::<T>(1) * WORD_BYTES)).expect("inside");
    SnapshotWriter::attach(words).write(value);
}

fn welcome() -> Welcome {
    Welcome {
        layout_version: LAYOUT_VERSION,
        instance: INSTANCE,
        shards: SIZES.shards,
        sessions_max: SIZES.sessions_max,
        rooms_max: SIZES.rooms_max,
        udp_base: 8000,
        adopted: false,
        resync: false,
    }
}

/// A folder of its own for one test, removed at its end.
struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rl-stats-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        RunDir(dir)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Answers one console.
fn serve(dir: &Path, welcome: Welcome, region: Option<&Region>) -> std::thread::JoinHandle<()> {
    let listener = Listener::bind(&dir.join(STATS_SOCKET), 0o600).unwrap();
    let fd = region.map(|region| region.as_fd().try_clone_to_owned().unwrap());
    std::thread::spawn(move || {
        let peer = listener.accept().unwrap();
        let mut bytes = [0; WELCOME_BYTES];
        let len = codec::encode(&welcome, &mut bytes).unwrap();
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        fdpass::send(&peer, &bytes[..len], &fds).unwrap();
    })
}

fn drops(reason: DropReason, count: u64) -> [u64; DropReason::COUNT] {
    let mut drops = [0; DropReason::COUNT];
    drops[reason as usize] = count;
    drops
}

#[test]
fn what_a_data_plane_publishes_is_what_a_console_reads() {
    let region = region();
    let dir = RunDir::new("reads");
    let label = row_label(&Label::from_slice(b"r:7f3a").unwrap());
    for shard in 0..2 {
        let counters = ShardCounters {
            rx_packets: 10 + shard as u64,
            drops: drops(DropReason::Replay, 3),
            egress_drops: drops(DropReason::GrantExpired, 1),
            ..Default::default()
        };
        write(&region, SIZES.shard_counters(shard), &counters);
        let worker = WorkerCounters {
            core: 5,
            port_drops: drops(DropReason::BadIp, 2),
            ..Default::default()
        };
        write(&region, SIZES.worker_counters(shard), &worker);
        let mut rooms = [RoomRow::default(); PAGE_ROWS];
        rooms[1] = RoomRow { room: 9, app: 7, label, sessions: 2, ..Default::default() };
        write(&region, SIZES.room_page(shard, 0), &rooms);
    }
    let id = SessionId::new(ShardId(1), 33, 4);
    let mut sessions = [SessionRow::default(); PAGE_ROWS];
    sessions[1] = SessionRow { session_plus_one: id.0 + 1, room: 9, ..Default::default() };
    write(&region, SIZES.session_page(1, 1), &sessions);
    let mut about = [0u8; PORT_TEXT_BYTES];
    about[..14].copy_from_slice(br#"{"port":"sim"}"#);
    write(&region, SIZES.port_text(), &about);

    let server = serve(&dir.0, welcome(), Some(&region));
    let stats = Stats::find(&[dir.0.join("nothing"), dir.0.clone()]).expect("a node");
    server.join().unwrap();
    let snapshot = stats.snapshot();
    assert_eq!(snapshot.totals().rx_packets, 21);
    assert_eq!(snapshot.drops()[DropReason::Replay as usize], 6);
    assert_eq!(snapshot.dropped(), 12);
    assert_eq!(snapshot.shards[1].worker.map(|worker| worker.core), Some(5));
    assert_eq!(snapshot.node.about, r#"{"port":"sim"}"#);
    assert_eq!(snapshot.node.pid, u64::from(std::process::id()));
    assert_eq!(snapshot.sessions.len(), 1);
    assert_eq!(snapshot.sessions[0].id(), id);
    let merged = snapshot.rooms_merged();
    assert_eq!((merged.len(), merged[0].shards, merged[0].row.sessions), (1, 0b11, 4));
    region.beat(snapshot.taken_ns);
    assert!(stats.snapshot().age_ns() < 1_000_000_000);
}

#[test]
fn a_shard_that_published_nothing_is_shown_as_such() {
    let region = region();
    let dir = RunDir::new("silent");
    let server = serve(&dir.0, welcome(), Some(&region));
    let snapshot = Stats::connect(&dir.0).unwrap().snapshot();
    server.join().unwrap();
    assert!(snapshot.shards.iter().all(|shard| shard.counters.is_none()));
    assert!(snapshot.rooms.is_empty() && snapshot.node.about.is_empty());
}

#[test]
fn without_a_node_the_next_command_is_named() {
    let dir = RunDir::new("nobody");
    let error = Stats::find(std::slice::from_ref(&dir.0)).unwrap_err();
    assert!(matches!(&error, StatsError::NoNode { tried } if *tried == [dir.0.clone()]));
    assert_eq!(error.to_string(), "no node running; start one with roomlane up");
}

#[test]
fn a_node_of_another_release_or_a_liar_is_refused() {
    let region = region();
    let small = Region::create(RegionSpec {
        name: "small",
        kind: Kind::Stats,
        layout_version: u64::from(LAYOUT_VERSION),
        payload_bytes: 64,
        epoch: 1,
    })
    .unwrap();
    let other = Welcome { layout_version: LAYOUT_VERSION + 1, ..welcome() };
    let lies = Welcome { shards: 65, ..welcome() };
    let cases = [
        ("version", other, Some(&region), "layout version"),
        ("none", welcome(), None, "0 descriptors"),
        ("shards", lies, Some(&region), "no region of this kind"),
        ("small", welcome(), Some(&small), "lie outside"),
    ];
    for (name, welcome, region, expected) in cases {
        let dir = RunDir::new(name);
        let server = serve(&dir.0, welcome, region);
        let error = Stats::connect(&dir.0).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn rates_are_differences_per_second_and_zero_across_restarts() {
    let region = region();
    let dir = RunDir::new("rates");
    let server = serve(&dir.0, welcome(), Some(&region));
    let stats = Stats::connect(&dir.0).unwrap();
    server.join().unwrap();
    let publish = |rx_packets, busy_ns, heartbeat_ns| {
        let counters = ShardCounters {
            rx_packets,
            rx_bytes: rx_packets * 100,
            drops: drops(DropReason::Replay, rx_packets / 10),
            ..Default::default()
        };
        write(&region, SIZES.shard_counters(0), &counters);
        let worker = WorkerCounters { busy_ns, heartbeat_ns, ..Default::default() };
        write(&region, SIZES.worker_counters(0), &worker);
    };
    publish(100, 0, 1_000_000_000);
    let mut old = stats.snapshot();
    publish(300, 500_000_000, 2_000_000_000);
    let mut new = stats.snapshot();
    (old.taken_ns, new.taken_ns) = (5_000_000_000, 7_000_000_000);
    let rates = Rates::between(&old, &new);
    assert_eq!((rates.seconds, rates.rx_pps, rates.rx_bps), (2.0, 100.0, 80_000.0));
    assert_eq!((rates.drops_ps, rates.workers[0].busy), (10.0, 0.5));
    old.node.instance += 1;
    let other = Rates::between(&old, &new);
    assert_eq!((other.seconds, other.rx_pps, other.workers.len()), (0.0, 0.0, 2));
}

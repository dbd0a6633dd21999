//! What the dashboard costs at a full node: 1,000 rooms and 10,000 sessions that change all the time,
//! written by the node's own publisher, looked at once a second on a terminal of 200x50.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use node::publish::{Publisher, Shown};
use node::regions::Regions;
use proto::counters::{ShardCounters, WorkerCounters};
use proto::link::{STATS_SOCKET, Welcome};
use proto::region::{LAYOUT_VERSION, Sizes};
use proto::snapshot::{RoomRow, SessionRow, row_label};
use proto::{GrantWord, Label, Privileges, SessionId, ShardId, codec};
use shm::fdpass::{self, Listener};

const SIZES: Sizes = Sizes { shards: 2, sessions_max: 5_000, rooms_max: 500 };
const INSTANCE: u64 = 11;
/// How often a worker publishes something.
const TURN: Duration = Duration::from_millis(2);
/// How long it is watched: as many looks.
const WATCHED: Duration = Duration::from_secs(10);
/// Part of a core that it may take here, where code is hardly optimised and the host does other things.
/// What is promised is 2 %, of an optimised one.
const PART_MAX: f64 = 0.06;

/// A shard whose every row is used and moves.
struct Busy {
    shard: u8,
    turn: u64,
    counters: ShardCounters,
}

impl Shown for Busy {
    fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    fn room_row(&self, index: u32) -> RoomRow {
        RoomRow {
            room: 1 + u64::from(self.shard) * 1_000 + u64::from(index),
            app: 1_400_000_001 + index % 10,
            label: row_label(&Label::from_slice(format!("ro{index}***m").as_bytes()).unwrap()),
            sessions: 10,
            publications: 2,
            subscriptions: 16,
            opened_ns: 1,
            rx_packets: self.turn * u64::from(index % 97),
            tx_packets: self.turn * u64::from(index % 89) * 8,
            ..RoomRow::default()
        }
    }

    fn session_row(&self, slot: u32) -> SessionRow {
        SessionRow {
            session_plus_one: SessionId::new(ShardId(self.shard), slot, 1).0 + 1,
            room: 1 + u64::from(self.shard) * 1_000 + u64::from(slot / 10),
            member: u64::from(slot),
            grant: GrantWord::new(u32::MAX, 1, Privileges::ALL).0,
            label: row_label(&Label::from_slice(format!("us{slot}***r").as_bytes()).unwrap()),
            opened_ns: 1,
            heard_ns: shm::clock::monotonic_ns(),
            rx_packets: self.turn * 50,
            publications: 2,
            slots: 8,
            state: 1,
            ..SessionRow::default()
        }
    }
}

/// Publishes as a worker does, a page a turn, until the other end is gone.
fn publish(regions: &Regions, ends: &Receiver<()>) {
    let mut shards: Vec<(Publisher, Busy)> = (0..SIZES.shards as usize)
        .map(|shard| {
            let cells = regions.cells(shard).unwrap();
            let publisher = Publisher::new(cells, SIZES.rooms_max, SIZES.sessions_max);
            let counters = ShardCounters { rooms: 500, sessions: 5_000, ..Default::default() };
            (publisher, Busy { shard: shard as u8, turn: 0, counters })
        })
        .collect();
    let mut worker = WorkerCounters { bufs_total: 16_384, ..Default::default() };
    while ends.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
        let now_ns = shm::clock::monotonic_ns();
        regions.beat(now_ns);
        worker.heartbeat_ns = now_ns;
        worker.turn_latency[5] += 10;
        for (publisher, busy) in &mut shards {
            busy.turn += 1;
            busy.counters.rx_packets += 1_000;
            busy.counters.drops[usize::from(busy.shard) * 3] += 1;
            publisher.counters(now_ns, busy, &worker);
            publisher.page(now_ns, busy);
        }
    }
}

/// Hands the region to whoever asks, as a data plane does.
fn serve(dir: &Path, regions: &Arc<Regions>, layout_version: u32) {
    let listener = Listener::bind(&dir.join(STATS_SOCKET), 0o600).unwrap();
    let regions = Arc::clone(regions);
    std::thread::spawn(move || {
        while let Ok(peer) = listener.accept() {
            let welcome = Welcome {
                layout_version,
                instance: INSTANCE,
                shards: SIZES.shards,
                sessions_max: SIZES.sessions_max,
                rooms_max: SIZES.rooms_max,
                udp_base: 8000,
                adopted: false,
                resync: false,
            };
            let mut bytes = [0; 128];
            let len = codec::encode(&welcome, &mut bytes).unwrap();
            let _ = fdpass::send(&peer, &bytes[..len], &[regions.stats_fd().as_fd()]);
        }
    });
}

/// The dashboard beside our own programs, or in `ROOMLANE_BIN_DIR`.
fn program() -> Option<PathBuf> {
    let beside =
        || Some(PathBuf::from(env!("CARGO_BIN_EXE_roomlane-dataplane")).parent()?.to_owned());
    let dir = std::env::var_os("ROOMLANE_BIN_DIR").map(PathBuf::from).or_else(beside)?;
    Some(dir.join("roomlane-top")).filter(|program| program.exists())
}

/// Seconds of CPU that a process has taken.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every architecture that we run on.
    ticks as f64 / 100.0
}

#[test]
fn the_dashboard_takes_little_of_a_core_at_ten_thousand_sessions() {
    let Some(program) = program() else {
        eprintln!("skipped: no roomlane-top was built; scripts/test builds it first");
        return;
    };
    let dir = std::env::temp_dir().join(format!("rl-cost-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let regions = Arc::new(Regions::create(SIZES, INSTANCE).unwrap());
    serve(&dir, &regions, LAYOUT_VERSION);
    let (alive, ends) = mpsc::channel();
    let writing = Arc::clone(&regions);
    let writer = std::thread::spawn(move || publish(&writing, &ends));

    let mut once = Command::new(&program);
    let once = once.args(["--once", "--json", "--interval", "1000", "--node"]).arg(&dir).output();
    let seen: serde_json::Value = serde_json::from_slice(&once.unwrap().stdout).unwrap();
    // What a writer is at just then is left out.
    let rooms = seen["rooms"].as_array().unwrap().len();
    assert!((900..=1_000).contains(&rooms) && seen["sessions"] == 10_000, "{rooms}");
    let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let end = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut top = {
        // Its copies of the terminal go with it: the reader below waits for the last one.
        let mut command = Command::new(program);
        command.arg("--node").arg(&dir).env("TERM", "xterm-256color");
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    };
    let mut output = File::from(pty.master);
    let (tell, chunks) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(len @ 1..) = output.read(&mut bytes) {
            let _ = tell.send(bytes[..len].to_vec());
        }
    });
    let mut drawn = Vec::new();
    let mut watch = |time: Duration| {
        let began = Instant::now();
        while began.elapsed() < time {
            drawn.extend(chunks.recv_timeout(Duration::from_millis(50)).into_iter().flatten());
        }
        began.elapsed()
    };
    // The first looks find everything new.
    watch(Duration::from_secs(3));
    let before = cpu_s(top.id());
    let watched = watch(WATCHED);
    let part = (cpu_s(top.id()) - before) / watched.as_secs_f64();
    top.kill().unwrap();
    top.wait().unwrap();
    drop((pty.slave, alive));
    writer.join().unwrap();
    reader.join().unwrap();
    let drawn = String::from_utf8_lossy(&drawn).into_owned();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(drawn.contains("by traffic") && drawn.contains("***m"), "it drew the rooms");
    eprintln!("the dashboard takes {:.1} % of a core", part * 100.0);
    assert!(part > 0.0 && part < PART_MAX, "{part}");
}

#[test]
fn a_region_of_another_version_is_one_clear_line() {
    let Some(program) = program() else {
        eprintln!("skipped: no roomlane-top was built; scripts/test builds it first");
        return;
    };
    let dir = std::env::temp_dir().join(format!("rl-other-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let sizes = Sizes { shards: 1, sessions_max: 1, rooms_max: 1 };
    let regions = Arc::new(Regions::create(sizes, INSTANCE).unwrap());
    serve(&dir, &regions, LAYOUT_VERSION + 1);
    let out = Command::new(program).arg("--node").arg(&dir).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), said.lines().count()), (Some(4), 1), "{said}");
    let versions =
        format!("layout version {}, this program reads {LAYOUT_VERSION}", LAYOUT_VERSION + 1);
    assert!(said.contains(&versions) && said.contains("of the node's release"), "{said}");
    assert!(out.stdout.is_empty());
}

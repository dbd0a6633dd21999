//! Tables and JSON of a scene with known numbers.

use clap::ValueEnum;
use proto::counters::{ShardCounters, WorkerCounters};
use proto::snapshot::{RoomRow, SessionRow, row_label};
use proto::{DropReason, GrantWord, Label, Privileges, SessionId, ShardId};
use stats::{NodeFacts, RoomView, SessionView, ShardView};

use super::*;

const S: u64 = 1_000_000_000;

pub(super) fn scene() -> Scene {
    let mut counters = ShardCounters { rx_packets: 100, sessions: 2, ..Default::default() };
    counters.drops[DropReason::Replay as usize] = 3;
    counters.stages[0].calls = 10;
    counters.stages[0].packets = 45;
    counters.stages[0].sampled_cycles = 900;
    counters.stages[0].sampled_packets = 9;
    let worker = WorkerCounters {
        core: 1,
        heartbeat_ns: 100 * S - 5_000_000,
        turns: 1000,
        idle_turns: 900,
        bufs_in_use: 4,
        bufs_total: 64,
        ..Default::default()
    };
    let label = row_label(&Label::from_slice(b"u:7f3a").unwrap());
    let room =
        RoomRow { room: 9, app: 14, label, sessions: 2, opened_ns: 40 * S, ..Default::default() };
    let session = SessionRow {
        session_plus_one: SessionId::new(ShardId(0), 3, 1).0 + 1,
        room: 9,
        grant: GrantWord::new(160, 1, Privileges(42)).0,
        label,
        opened_ns: 40 * S,
        heard_ns: 99 * S,
        rx_packets: 77,
        profile: 7,
        state: 1,
        ..Default::default()
    };
    let node = NodeFacts {
        pid: 4242,
        instance: 0xabc,
        heartbeat_ns: 100 * S - 5_000_000,
        udp_base: 8000,
        shards: 2,
        sessions_max: 10,
        rooms_max: 10,
        about: r#"{"name":"n1\u001b","port":"udp"}"#.to_owned(),
    };
    let snapshot = Snapshot {
        taken_ns: 100 * S,
        node,
        port: Default::default(),
        shards: vec![
            ShardView { shard: 0, counters: Some(counters), worker: Some(worker) },
            ShardView { shard: 1, counters: None, worker: None },
        ],
        rooms: vec![RoomView { shards: 1, row: room }],
        sessions: vec![SessionView { row: session }],
    };
    let rates = Rates::between(&snapshot, &snapshot);
    Scene { snapshot, rates, control_alive: false, xstats: vec![] }
}

fn args(noun: Noun, id: Option<&str>) -> ShowArgs {
    let id = id.map(str::to_owned);
    ShowArgs {
        noun,
        id,
        json: false,
        output: Output::Table,
        filter: vec![],
        sort: None,
        watch: false,
        reveal: false,
        no_header: false,
        all: false,
        interval: Some(Duration::from_millis(20)),
    }
}

fn text(noun: Noun) -> String {
    let mut out = vec![];
    for table in show(&scene(), &args(noun, None)).unwrap().tables {
        table.write(&mut out, true).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn value(noun: Noun) -> Value {
    let scene = scene();
    let shown = show(&scene, &args(noun, None)).unwrap();
    envelope(Some(&scene), noun, shown.json)
}

#[test]
fn every_noun_has_a_schema_and_says_how_old_its_data_is() {
    // Apps come from the control daemon and not from the region.
    for noun in Noun::value_variants().iter().filter(|noun| !asks_control(**noun)) {
        let value = value(*noun);
        assert_eq!(value["schema"], format!("roomlane.{}.v1", noun.name()));
        assert_eq!(value["age_ms"], 5);
        assert_eq!(value["stale"], false);
        assert_eq!(value["control_alive"], false);
    }
}

#[test]
fn sessions_show_rights_deadline_and_masked_user() {
    let text = text(Noun::Session);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let expected = [
        "s0-3-1",
        "9",
        "u:7f3a",
        "alive",
        "-e-A-V--",
        "77",
        "0",
        "0",
        "0",
        "0",
        "1s",
        "1m00s",
        "1m00s",
        "AEAD_AES_128_GCM",
    ];
    assert_eq!(row, expected);
    assert_eq!(value(Noun::Session)["sessions"][0]["grant_ends_s"], 60);
}

#[test]
fn workers_that_published_nothing_are_starting_and_not_zero() {
    let text = text(Noun::Worker);
    assert!(text.lines().nth(1).unwrap().contains("running"), "{text}");
    assert!(text.lines().nth(2).unwrap().contains("starting"), "{text}");
    assert_eq!(value(Noun::Worker)["workers"][0]["core"], 1);
    assert_eq!(value(Noun::Worker)["workers"][1]["core"], Value::Null);
}

#[test]
fn drops_show_what_happened_and_what_it_means() {
    let text = text(Noun::Drops);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("replay") && text.contains(DropReason::Replay.sentence()));
    let value = value(Noun::Drops);
    assert_eq!(value["drops"].as_array().unwrap().len(), DropReason::COUNT);
    assert_eq!(value["total"], 3);
}

#[test]
fn runtime_divides_and_does_not_divide_by_zero() {
    let text = text(Noun::Runtime);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["0", "classify", "10", "45", "4.50", "100"]);
    assert!(text.contains("90.0%"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn a_dead_control_daemon_is_said_and_escapes_are_not_printed() {
    let text = text(Noun::Node);
    assert!(text.contains("dead: media goes on, nothing can be done"), "{text}");
    assert!(text.contains("n1\n") && !text.contains('\x1b'), "{text}");
    assert!(text.contains("8000 to 8001"), "{text}");
}

#[test]
fn what_is_not_there_is_not_found() {
    for (noun, id) in [(Noun::Room, "8"), (Noun::Session, "s0-3-2"), (Noun::Worker, "2")] {
        let failure = show(&scene(), &args(noun, Some(id))).err().expect("nothing there");
        assert_eq!(failure.code, Exit::NotFound, "{id}");
    }
    for (noun, id) in [(Noun::Room, "x"), (Noun::Session, "9"), (Noun::Drops, "replay")] {
        let failure = show(&scene(), &args(noun, Some(id))).err().expect("nonsense");
        assert_eq!(failure.code, Exit::Usage, "{id}");
    }
    assert!(show(&scene(), &args(Noun::Room, Some("9"))).is_ok());
}

#[test]
fn every_noun_is_a_csv_with_as_many_cells_in_each_line() {
    for noun in Noun::value_variants().iter().filter(|noun| !asks_control(**noun)) {
        let shown = show(&scene(), &args(*noun, None)).unwrap();
        let mut out = vec![];
        select::csv(&mut out, &shown.tables, &Value::Object(shown.json), true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() >= 2, "{noun:?}: {text}");
        // No cell of the scene has a comma of its own but sentences of drops, which are quoted.
        let plain: Vec<usize> = text
            .lines()
            .filter(|line| !line.contains('"'))
            .map(|line| line.matches(',').count())
            .collect();
        assert!(plain.windows(2).all(|pair| pair[0] == pair[1]), "{noun:?}: {text}");
    }
}

#[test]
fn tables_and_json_are_filtered_alike() {
    let (scene, select) = (scene(), Select::new(&["state=running".into()], None).unwrap());
    let mut shown = show(&scene, &args(Noun::Worker, None)).unwrap();
    select.tables(&mut shown.tables).unwrap();
    select.json(&mut shown.json);
    assert_eq!(shown.tables[0].len(), 1);
    assert_eq!(shown.json["workers"].as_array().map(Vec::len), Some(1));
}

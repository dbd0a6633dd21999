//! The dashboard's decisions, on made-up looks.

use proto::counters::{ShardCounters, WorkerCounters};
use proto::snapshot::{RoomRow, row_label};
use proto::{DropReason, Label};
use stats::{NodeFacts, ShardView};

use super::*;

const S: u64 = 1_000_000_000;

fn room(number: u64, label: &str, sessions: u32, rx_packets: u64) -> RoomView {
    let label = row_label(&Label::from_slice(label.as_bytes()).unwrap());
    let row = RoomRow {
        room: number,
        app: 1_400_000_001,
        label,
        sessions,
        publications: 2,
        subscriptions: 2 * sessions,
        opened_ns: number * S,
        rx_packets,
        tx_packets: 2 * rx_packets,
        ..Default::default()
    };
    RoomView { shards: 1, row }
}

/// A node at second `at_s`, which has done `at_s` times the same in each second.
pub(crate) fn seen(at_s: u64) -> Seen {
    let mut counters = ShardCounters {
        rx_packets: 6_100 * at_s,
        rx_bytes: 1_000_000 * at_s,
        tx_packets: 12_200 * at_s,
        tx_bytes: 2_000_000 * at_s,
        sessions: 5,
        ..Default::default()
    };
    counters.drops[DropReason::Replay as usize] = 3 * at_s;
    counters.drops[DropReason::GrantExpired as usize] = 40;
    let worker = WorkerCounters {
        core: 1,
        heartbeat_ns: at_s * S - 3_000_000,
        busy_ns: at_s * S / 4,
        bufs_in_use: 12,
        bufs_total: 16_384,
        ..Default::default()
    };
    let node = NodeFacts {
        pid: 4242,
        instance: 7,
        heartbeat_ns: at_s * S - 3_000_000,
        udp_base: 8000,
        shards: 2,
        sessions_max: 10,
        rooms_max: 10,
        about: r#"{"name":"edge-1","port":"dpdk","driver":"net_af_xdp"}"#.to_owned(),
    };
    let snapshot = Snapshot {
        taken_ns: at_s * S,
        node,
        shards: vec![
            ShardView { shard: 0, counters: Some(counters), worker: Some(worker) },
            ShardView { shard: 1, counters: None, worker: None },
        ],
        rooms: vec![room(1, "r:7f3a", 2, 100 * at_s), room(2, "r:91bc", 3, 6_000 * at_s)],
        sessions: vec![],
    };
    Seen { snapshot, control_alive: true }
}

/// A dashboard that looked twice.
pub(crate) fn watching() -> App {
    let mut app = App::default();
    app.update(Msg::Seen(Box::new(seen(100))));
    app.update(Msg::Seen(Box::new(seen(101))));
    app
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        app.update(Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
}

fn order(app: &App) -> Vec<u64> {
    app.rooms().iter().map(|room| room.row.room).collect()
}

#[test]
fn rates_come_from_two_looks() {
    let app = watching();
    assert_eq!((app.rates.rx_pps, app.rates.drops_ps), (6_100.0, 3.0));
    assert_eq!(app.room_rate(&app.rooms()[0]), (6_000.0, 12_000.0));
    assert_eq!(app.rates.workers[0].busy, 0.25);
}

#[test]
fn rooms_are_sorted_reversed_and_filtered() {
    let mut app = watching();
    assert_eq!(order(&app), [2, 1], "by traffic");
    press(&mut app, "r");
    assert_eq!(order(&app), [1, 2]);
    press(&mut app, "rss");
    assert_eq!((app.sort, order(&app)), (Sort::Age, vec![2, 1]));
    press(&mut app, "/7f3b\x08a\n");
    assert_eq!((order(&app), app.mode), (vec![1], Mode::Watch));
    press(&mut app, "\x1b");
    assert_eq!(order(&app).len(), 2);
    press(&mut app, "/q");
    assert!(!app.quits(), "a letter of the filter");
    press(&mut app, "\x1bq");
    assert!(app.quits());
}

#[test]
fn a_frozen_picture_does_not_change() {
    let mut app = watching();
    press(&mut app, "f");
    app.update(Msg::Seen(Box::new(seen(200))));
    assert_eq!(app.seen.as_ref().unwrap().snapshot.taken_ns, 101 * S);
    press(&mut app, "f");
    app.update(Msg::Seen(Box::new(seen(200))));
    assert_eq!(app.seen.as_ref().unwrap().snapshot.taken_ns, 200 * S);
}

#[test]
fn masking_can_only_become_stricter() {
    let mut app = watching();
    press(&mut app, "p");
    assert_eq!(app.label(&app.rooms()[0]), "***");
    press(&mut app, "pp\x1b");
    assert_eq!(app.label(&app.rooms()[0]), "***");
}

#[test]
fn scrolling_stays_within_the_rooms() {
    let mut app = watching();
    press(&mut app, "jjjjG");
    assert_eq!(app.scroll, 1);
    press(&mut app, "kkg");
    assert_eq!(app.scroll, 0);
    press(&mut app, "G/zzz");
    assert_eq!(app.scroll, 0, "nothing is left");
}

#[test]
fn history_is_bounded() {
    let mut app = App::default();
    for second in 0..HISTORY_MAX as u64 + 50 {
        app.update(Msg::Seen(Box::new(seen(second + 100))));
    }
    assert_eq!(app.history.len(), HISTORY_MAX);
}

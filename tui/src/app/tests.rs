//! The dashboard's decisions, on made-up looks.

use crossterm::event::{KeyCode, KeyModifiers};
use proto::counters::{ShardCounters, StageCounters, WorkerCounters};
use proto::snapshot::SessionRow;
use proto::snapshot::{RoomRow, row_label};
use proto::{DropReason, GrantWord, Label, Privileges, SessionId, ShardId};
use serde_json::json;
use stats::{NodeFacts, ShardView, Snapshot};

use super::*;
use crate::control::State;
use crate::history::HISTORY_MAX;

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
    counters.stages[4] =
        StageCounters { sampled_cycles: 52_000, sampled_packets: 100, ..StageCounters::default() };
    counters.stages[8] =
        StageCounters { sampled_cycles: 104_000, sampled_packets: 100, ..StageCounters::default() };
    let mut worker = WorkerCounters {
        core: 1,
        heartbeat_ns: at_s * S - 3_000_000,
        busy_ns: at_s * S / 4,
        bufs_in_use: 12,
        bufs_total: 16_384,
        ..Default::default()
    };
    (worker.turn_latency[3], worker.turn_latency[6]) = (900 * at_s, 9 * at_s);
    let node = NodeFacts {
        pid: 4242,
        instance: 7,
        heartbeat_ns: at_s * S - 3_000_000,
        udp_base: 8000,
        shards: 2,
        sessions_max: 10,
        rooms_max: 10,
        about: json!({
            "name": "edge-1", "port": "dpdk", "driver": "net_af_xdp", "version": "0.4.0",
            "environment": "production", "udp_base": 8000, "mtu": 1500, "link": "up",
            "addresses": ["198.18.1.x/24"],
        })
        .to_string(),
    };
    let snapshot = Snapshot {
        taken_ns: at_s * S,
        node,
        port: Default::default(),
        shards: vec![
            ShardView { shard: 0, counters: Some(counters), worker: Some(worker) },
            ShardView { shard: 1, counters: None, worker: None },
        ],
        rooms: vec![room(1, "r:7f3a", 2, 100 * at_s), room(2, "r:91bc", 3, 6_000 * at_s)],
        sessions: vec![
            session(1, 2, "al***e", 300 * at_s, at_s * S),
            session(2, 2, "b***b", 200, 40 * S),
            session(3, 1, "ca***l", 50 * at_s, at_s * S),
        ],
    };
    Seen { snapshot, unix_ms: 1_790_000_000_000 + at_s * 1000 }
}

/// What control says of it.
pub(crate) fn control() -> Control {
    let app = json!({
        "sdkappid": 1_400_000_001, "state": "open", "quota_rooms": 100, "quota_sessions": 50,
        "quota_packets_per_s": 10_000,
    });
    let note = |kind: &str, what: &str, until_ms: u64| json!({"kind": kind, "what": what, "until_ms": until_ms, "count": 1, "user": "al***e"});
    Control {
        state: State::Up,
        status: json!({"pid": 7, "draining": false, "security": {}}),
        apps: json!({"apps": [app]}),
        notes: json!({"notes": [
            note("join", "publish", 3_590_000),
            note("act", "session.kick by uid 1000: ok", 3_600_000),
        ]}),
        config: json!({"settings": {"limits.sessions_per_worker": 10, "log.level": "info"}}),
        diff: json!({"keys": [
            {"key": "log.level", "was": "info", "now": "debug", "state": "reload applies it"},
        ]}),
        ..Control::default()
    }
}

/// The streams of one session, as control tells them at second `at_s`.
pub(crate) fn streams(at_s: u64) -> serde_json::Value {
    let row = |more: serde_json::Value| {
        let mut row = json!({
            "session": "s0-1-1", "at_ns": at_s * S, "publication": 7, "member": null, "slot": null, "octets": null,
            "layer": null, "repairs": false, "packets": 900 * at_s, "lost": 0, "loss_ratio": 0.0,
            "jitter_ms": 3.25, "rtt_ms": 24.0, "nacks": 0, "plis": 0, "sent_again": null,
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let streams = [
        row(json!({"direction": "in", "ssrc": 0x2f1a_0001, "kind": "audio", "codec": "opus",
                   "bits_per_s": 32_000, "rtt_ms": null, "state": "forwarded"})),
        row(json!({"direction": "in", "ssrc": 0x2f1a_0002, "kind": "video", "codec": "vp8",
                   "layer": 2, "bits_per_s": 1_700_000, "loss_ratio": 0.081, "nacks": 341,
                   "plis": 2, "state": "forwarded"})),
        row(json!({"direction": "in", "ssrc": 0x2f1a_0003, "kind": "video", "codec": "vp8",
                   "layer": 2, "repairs": true, "bits_per_s": 130_000, "state": "repairs"})),
        row(json!({"direction": "out", "ssrc": 0x77aa_0001, "kind": "video", "codec": "vp8",
                   "slot": 0, "octets": 125_000 * at_s, "bits_per_s": null, "nacks": 12,
                   "sent_again": 11, "publication": 9, "member": 2, "state": "awaits keyframe"})),
        row(json!({"direction": "out", "ssrc": 0x77aa_0002, "kind": "audio", "codec": null,
                   "slot": 1, "octets": 0, "bits_per_s": null, "packets": 0, "jitter_ms": null,
                   "rtt_ms": null, "sent_again": 0, "publication": null, "state": "shows nobody"})),
    ];
    json!({"session": "s0-1-1", "streams": streams,
           "transport": {"has_keys": true, "has_path": true, "has_ice": false}})
}

fn session(slot: u32, room: u64, label: &str, rx_packets: u64, heard_ns: u64) -> SessionView {
    let grant = GrantWord::new(1_000, 1, Privileges::ALL).0;
    SessionView {
        row: SessionRow {
            session_plus_one: SessionId::new(ShardId(0), slot, 1).0 + 1,
            room,
            member: u64::from(slot),
            grant,
            label: row_label(&Label::from_slice(label.as_bytes()).unwrap()),
            opened_ns: 10 * S,
            heard_ns,
            rx_packets,
            publications: 2,
            slots: 4,
            state: 1,
            ..Default::default()
        },
    }
}

/// A dashboard that looked twice.
pub(crate) fn watching() -> App {
    let mut app = App::default();
    for at_s in [100, 101] {
        app.update(Msg::Seen(Box::new(seen(at_s))));
        app.update(Msg::Control(Box::new(control())));
    }
    app
}

pub(crate) fn press(app: &mut App, keys: &str) {
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
    app.rooms.iter().map(|room| room.row.room).collect()
}

#[test]
fn rates_come_from_two_looks() {
    let app = watching();
    assert_eq!((app.rates.rx_pps, app.rates.drops_ps), (6_100.0, 3.0));
    assert_eq!(app.room_rate(2), (6_000.0, 12_000.0));
    assert_eq!(app.rates.workers[0].busy, 0.25);
}

#[test]
fn rooms_are_sorted_reversed_and_filtered() {
    let mut app = watching();
    assert_eq!(order(&app), [2, 1], "by traffic");
    press(&mut app, "r");
    assert_eq!(order(&app), [1, 2]);
    press(&mut app, "rss");
    assert_eq!((app.order(Table::Rooms), order(&app)), (2, vec![2, 1]));
    press(&mut app, "/7f3b\x08a\n");
    assert_eq!((order(&app), app.mode.clone()), (vec![1], Mode::Watch));
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
    assert_eq!(app.label(&app.rooms[0]), "***");
    press(&mut app, "pp\x1b");
    assert_eq!(app.label(&app.rooms[0]), "***");
}

#[test]
fn the_cursor_stays_within_the_rooms() {
    let mut app = watching();
    press(&mut app, "jjjjG");
    assert_eq!(app.cursor, 1);
    press(&mut app, "kkg");
    assert_eq!(app.cursor, 0);
    press(&mut app, "G/zzz");
    assert_eq!(app.cursor, 0, "nothing is left");
}

#[test]
fn history_is_bounded() {
    let mut app = App::default();
    for second in 0..HISTORY_MAX as u64 + 50 {
        app.update(Msg::Seen(Box::new(seen(second + 100))));
    }
    assert_eq!(app.history.len(), HISTORY_MAX);
}

#[test]
fn the_cursor_stays_on_its_room_when_rows_move() {
    let mut app = watching();
    press(&mut app, "j");
    assert_eq!((app.cursor, app.room_at_cursor().unwrap().row.room), (1, 1));
    // From now on the other room has more traffic.
    let mut look = seen(102);
    look.snapshot.rooms[0].row.rx_packets += 1_000_000;
    app.update(Msg::Seen(Box::new(look)));
    assert_eq!((app.cursor, app.room_at_cursor().unwrap().row.room), (0, 1));
}

#[test]
fn one_goes_down_to_a_session_and_up_again() {
    let mut app = watching();
    press(&mut app, "3\n");
    assert_eq!((app.level, app.table()), (Level::Room(proto::RoomNo(2)), Table::Sessions));
    let labels: Vec<String> = app.sessions.iter().map(|s| app.masked(&s.row.label)).collect();
    assert_eq!(labels, ["b***b", "al***e"], "who is silent comes first");
    press(&mut app, "j\n");
    let session = SessionId::new(ShardId(0), 1, 1);
    assert_eq!(app.level, Level::Session(proto::RoomNo(2), session));
    assert_eq!(app.wants().session.as_deref(), Some("s0-1-1"));
    press(&mut app, "\x1b");
    assert_eq!((app.table(), app.cursor), (Table::Sessions, 1), "where one came from");
    press(&mut app, "\x1b");
    assert_eq!((app.table(), app.cursor), (Table::Rooms, 0));
    assert_eq!(app.wants().session, None);
}

#[test]
fn shares_are_those_of_the_fullest_worker() {
    let app = watching();
    let share = &app.shares()[0];
    assert_eq!((share.app, share.rooms, share.sessions), (1_400_000_001, 2, 5));
    assert_eq!(share.rx_pps_on_one, 6_100.0);
    assert_eq!(share.fullest(), 0.61);
}

#[test]
fn what_changed_is_remembered_with_its_time() {
    let mut app = watching();
    let mut silent = control();
    silent.state = State::Dead;
    app.update(Msg::Control(Box::new(silent)));
    app.update(Msg::Seen(Box::new(seen(103))));
    app.update(Msg::Control(Box::new(control())));
    let told: Vec<_> = app.changes.iter().map(|c| (c.kind, c.text.as_str())).collect();
    let down = "control down: no joins, no acts; media goes on";
    assert_eq!(told, [("alarm", down), ("ended", format!("after 2 s: {down}").as_str())]);
    assert_eq!(app.changes[0].unix_ms, 1_790_000_101_000);
}

#[test]
fn without_admin_nothing_can_be_asked_for_and_that_is_said() {
    let mut app = watching();
    for key in ["d", "3K", "3E", "3T", "3C", ":drain\n", "3\n:kick\n", "3:end\n"] {
        press(&mut app, key);
        assert_eq!(app.said.as_deref(), Some("read-only: start with --admin to act"), "{key}");
        assert_eq!((app.mode.clone(), app.take_effects()), (Mode::Watch, vec![]));
    }
}

#[test]
fn an_act_needs_the_masked_id_to_be_typed() {
    let mut app = watching();
    app.admin = true;
    press(&mut app, "3\njK");
    let Mode::Confirm(pending) = &app.mode else { panic!("{:?}", app.mode) };
    assert_eq!(pending.word, "al***e");
    press(&mut app, "b***b\n");
    assert_eq!((app.take_effects(), app.said.is_some()), (vec![], true));
    press(&mut app, "Kal***e\x1b");
    assert_eq!((app.take_effects(), app.mode.clone()), (vec![], Mode::Watch));
    press(&mut app, "Kal***e\n");
    let kick = json!({"act": "session.kick", "session": "s0-1-1"});
    assert_eq!(app.take_effects(), [Effect::Act(kick)]);
    press(&mut app, "C");
    let Mode::Confirm(pending) = &app.mode else { panic!("{:?}", app.mode) };
    assert_eq!(pending.question, "Capture s0-1-1: headers alone, to a file here");
    press(&mut app, "al***e\n");
    assert_eq!(app.take_effects(), [Effect::Capture("s0-1-1".to_owned())]);
    press(&mut app, "Er:91bc\n");
    let end = json!({"act": "room.end", "sdkappid": 1_400_000_001u32, "room": "2",
                     "room_type": "internal"});
    assert_eq!(app.take_effects(), [Effect::Act(end)], "the room one is in");
    press(&mut app, "dedge-1\n");
    assert_eq!(app.take_effects(), [Effect::Act(json!({"act": "drain"}))]);
    press(&mut app, "p3\nK");
    let Mode::Confirm(pending) = &app.mode else { panic!("{:?}", app.mode) };
    assert_eq!(pending.word, "s0-2-1", "where labels are hidden, ids are typed");
}

#[test]
fn the_target_of_an_act_is_the_one_that_was_chosen_even_if_rows_move() {
    let mut app = watching();
    app.admin = true;
    press(&mut app, "3E");
    let mut look = seen(102);
    look.snapshot.rooms[0].row.rx_packets += 1_000_000;
    app.update(Msg::Seen(Box::new(look)));
    press(&mut app, "r:91bc\n");
    let [Effect::Act(request)] = &app.take_effects()[..] else { panic!() };
    assert_eq!(request["room"], "2");
}

#[test]
fn commands_do_what_keys_do_and_tab_completes_them() {
    let mut app = watching();
    press(&mut app, ":drops\n");
    assert_eq!(app.pane, Pane::Drops);
    press(&mut app, ":room r:7f3a\n");
    assert_eq!(app.level, Level::Room(proto::RoomNo(1)));
    press(&mut app, ":room nobody\n");
    assert_eq!(app.said.as_deref(), Some("no room nobody"));
    press(&mut app, ":lat");
    app.update(Msg::Key(KeyCode::Tab.into()));
    press(&mut app, "\n");
    assert_eq!(app.pane, Pane::Latency);
    press(&mut app, ":rooms\n:sort age\n");
    assert_eq!(app.order(Table::Rooms), 2);
    press(&mut app, ":sort nonsense\n");
    assert_eq!(app.said.as_deref(), Some("orders here: traffic, sessions, age, label"));
    press(&mut app, ":what\x1b\x1b:what\n");
    assert_eq!(app.said.as_deref(), Some("no such command: what"));
    press(&mut app, ":quit\n");
    assert!(app.quits());
}

#[test]
fn what_is_exported_and_copied_is_what_is_seen() {
    let mut app = watching();
    press(&mut app, "3x");
    let [Effect::Export(name, text)] = &app.take_effects()[..] else { panic!() };
    assert_eq!(name, "roomlane-rooms-1790000101.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "label,room,app,sessions,pub,subs,in/s,out/s,cost,age");
    assert_eq!(lines[1], "r:91bc,2,1400000001,3,2,6,6000,12.0k,98%,99s");
    press(&mut app, "p:export json\n");
    let [Effect::Export(name, text)] = &app.take_effects()[..] else { panic!() };
    assert!(name.ends_with(".json") && text.contains("***") && !text.contains("91bc"), "{text}");
    press(&mut app, "y");
    assert_eq!(
        app.take_effects(),
        [Effect::Copy("*** 2 1400000001 3 2 6 6000 12.0k 98% 99s".to_owned())]
    );
}

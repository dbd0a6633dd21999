//! The pane as text, at two sizes and in every bad state.

use proto::DropReason;
use serde_json::json;

use crate::app::tests::{control, press, seen, streams, watching};
use crate::app::{App, Msg, Pane};
use crate::control::{Control, State};
use crate::keymap::Keymap;
use crate::once::{data, frame};
use crate::theme::Theme;

fn text(app: &App, width: u16, height: u16) -> String {
    frame(app, Theme::plain(false), width, height).unwrap()
}

#[test]
fn pane_at_80x24() {
    insta::assert_snapshot!(text(&watching(), 80, 24));
}

#[test]
fn pane_at_200x50() {
    insta::assert_snapshot!(text(&watching(), 200, 50));
}

#[test]
fn pane_at_60x15() {
    insta::assert_snapshot!(text(&watching(), 60, 15));
}

#[test]
fn each_pane_at_80x24() {
    for (number, pane) in Pane::ALL.iter().enumerate().skip(1) {
        let mut app = watching();
        press(&mut app, &(number + 1).to_string());
        assert_eq!(app.pane, *pane);
        insta::assert_snapshot!(format!("{}_at_80x24", pane.name()), text(&app, 80, 24));
    }
}

/// Down to the streams of `al***e`, whose shard answered twice.
fn at_streams() -> App {
    let mut app = watching();
    press(&mut app, "3\n");
    press(&mut app, "/al\n\n");
    for at_s in [100, 101] {
        let told = Control { session: streams(at_s), ..control() };
        app.update(Msg::Control(Box::new(told)));
    }
    press(&mut app, "\n");
    app
}

#[test]
fn streams_at_three_sizes() {
    let app = at_streams();
    insta::assert_snapshot!("streams_at_60x15", text(&app, 60, 15));
    insta::assert_snapshot!("streams_at_80x24", text(&app, 80, 24));
    insta::assert_snapshot!("streams_at_200x50", text(&app, 200, 50));
}

#[test]
fn streams_are_told_with_their_rates_and_stand_below_a_member_on_a_tall_screen() {
    let mut app = at_streams();
    assert!(text(&app, 200, 50).contains("1000"), "125,000 bytes a second are 1000 kbit/s");
    press(&mut app, "ss");
    let shown = text(&app, 80, 24);
    let first = shown.lines().find(|line| line.contains('▸')).unwrap();
    assert!(first.contains("8.1%"), "the worst loss first: {first}");
    press(&mut app, "\x1b");
    let shown = text(&app, 200, 50);
    assert!(shown.contains("has keys, has path") && shown.contains("Streams of al***e"), "{shown}");
    assert!(!text(&app, 80, 24).contains("Streams of"));
    // An answer about another session is not this one's.
    app.update(Msg::Control(Box::new(Control {
        session: json!({"session": "s0-9-9"}),
        ..control()
    })));
    press(&mut app, "\n");
    assert!(text(&app, 80, 24).contains("Streams of al***e s0-1-1: 0"));
}

#[test]
fn tab_goes_round_all_panes() {
    let mut app = watching();
    let mut seen = vec![];
    for _ in Pane::ALL {
        seen.push(app.pane);
        app.update(Msg::Key(crossterm::event::KeyCode::Tab.into()));
    }
    assert_eq!((&seen[..], app.pane), (&Pane::ALL[..], Pane::Overview));
}

#[test]
fn alarms_stand_on_the_first_screen_one_on_a_line_and_whole() {
    let mut app = watching();
    let mut look = seen(102);
    let worker = look.snapshot.shards[0].worker.as_mut().unwrap();
    (worker.restarts, worker.bufs_in_use) = (2, worker.bufs_total);
    app.update(Msg::Seen(Box::new(look)));
    let mut dead = control();
    dead.state = State::Dead;
    app.update(Msg::Control(Box::new(dead)));
    let shown = text(&app, 60, 15);
    let lines: Vec<&str> = shown.lines().skip(2).take(3).collect();
    assert_eq!(
        lines,
        [
            "▲ control down: no joins, no acts; media goes on (0s)",
            "▲ buffers low on worker 0: 0 free (0s)",
            "▲ worker 0 was replaced after a fault (0s)",
        ]
    );
    app.alarms.push(app.alarms[0].clone());
    assert!(text(&app, 60, 15).contains("▲ 2 more faults: see 7\n"));
}

#[test]
fn help_at_80x24() {
    let mut app = watching();
    let key = crossterm::event::KeyCode::Char('?').into();
    app.update(Msg::Key(key));
    insta::assert_snapshot!(text(&app, 80, 24));
}

#[test]
fn ascii_frames_have_no_other_signs() {
    let text = frame(&watching(), Theme::plain(true), 100, 30).unwrap();
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_dead_control_daemon_and_a_silent_data_plane_are_said_in_words() {
    let mut app = watching();
    let mut dead = control();
    dead.state = State::Dead;
    app.update(Msg::Control(Box::new(dead)));
    let shown = text(&app, 100, 30);
    assert!(
        shown.contains("▲ control dead") && shown.contains("control down: no joins"),
        "{shown}"
    );
    // Nothing was published for nine seconds.
    let mut look = seen(102);
    look.snapshot.taken_ns += 9_000_000_000;
    app.update(Msg::Seen(Box::new(look)));
    let shown = text(&app, 100, 30);
    assert!(shown.contains("▲ data plane silent for 9 s"), "{shown}");
    assert!(shown.contains("(old) in") && shown.contains("9003 ms"), "{shown}");
    assert_eq!(data(&app)["stale"], true);
}

/// Looks at what `keys` lead to and finds `answer` there, on the narrowest screen, too.
#[track_caller]
fn question(app: &mut App, keys: &str, answer: &str) {
    assert!(keys.chars().count() <= 3, "{keys:?}");
    press(app, keys);
    for (width, height) in [(60, 15), (80, 24), (200, 50)] {
        let shown = text(app, width, height);
        assert!(shown.contains(answer), "{answer:?} at {width}x{height}:\n{shown}");
    }
    press(app, "1");
}

#[test]
fn the_twelve_questions_are_answered_within_three_keys() {
    let mut app = watching();
    question(&mut app, "2", "hottest is 0 (core 1), 25% busy");
    question(&mut app, "3", "▸ r:91bc");
    question(&mut app, "3\n", "▲ silent for 61 s");
    question(&mut app, "3\n\n", "opened 91s ago; heard 61s ago");
    question(&mut app, "8", "▸ 1400000001");
    question(&mut app, "8", "61%");
    question(&mut app, "4", "replay");
    question(&mut app, "4", "The packet index was alr");
    // Since when: of the drops and of the faults.
    question(&mut app, "4", "     3    1s");
    question(&mut app, "4", "no sign of an attack");
    let mut attacked = seen(102);
    attacked.snapshot.shards[0].counters.as_mut().unwrap().drops[DropReason::AuthFailed as usize] =
        900;
    attacked.snapshot.shards[0].worker.as_mut().unwrap().turn_latency[6] += 100;
    attacked.snapshot.sessions[0].row.auth_failures = 900;
    app.update(Msg::Seen(Box::new(attacked)));
    question(&mut app, "4", "attack? 903/s, most at al***e s0-1-1");
    question(&mut app, "", "▲ authentication failures: 900/s (0s)");
    question(&mut app, "5", "p50 <8 us p99 <64 us");
    let mut told = control();
    told.state = State::Silent;
    told.status["draining"] = true.into();
    told.drain = json!({"sessions": 5, "deadline_s": 90});
    app.update(Msg::Control(Box::new(told)));
    question(&mut app, "", "▲ control silent");
    question(&mut app, "7", "authentication failures: 900/s");
    question(&mut app, "7", "the node drains: 5 sessions end in 90s");
    question(&mut app, "7s", "session.kick by uid 1000: ok: al***e");
}

#[test]
fn incidents_that_are_not_closed_stand_among_the_events_with_glyph_and_word() {
    let mut app = watching();
    let mut told = control();
    let incident = |number: u64, state: &str| {
        json!({"incident": number, "state": state, "event": "media_forged", "count": 130,
               "about": "auth_failed", "last_unix_ms": 3_600_000})
    };
    told.incidents =
        json!({"incidents": [incident(4, "open"), incident(3, "acked"), incident(2, "closed")]});
    app.update(Msg::Control(Box::new(told)));
    press(&mut app, "7");
    let shown = text(&app, 100, 24);
    let line = "01:00:00 incident ! open media_forged x130: auth_failed (incident show 4)";
    assert!(shown.contains(line), "{shown}");
    assert!(shown.contains("~ acked media_forged"), "{shown}");
    assert!(!shown.contains("incident show 2"), "{shown}");
    press(&mut app, "p");
    assert!(
        !text(&app, 100, 24).contains("auth_failed"),
        "stricter masking leaves the subject out"
    );
}

#[test]
fn names_from_elsewhere_change_nothing_on_the_screen() {
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}\r\n\t";
    let mut app = watching();
    let mut look = seen(102);
    look.snapshot.node.about = json!({"name": evil, "port": evil, "version": evil, "driver": evil,
        "link": evil, "addresses": [evil], "environment": evil})
    .to_string();
    look.snapshot.rooms[0].row.label = *b"\x1b]52;c;x\x07\xe2\x80\xae\x9b31m";
    look.snapshot.sessions[1].row.label = *b"\x1b[2J\r\n\xe2\x80\xae\x9b31m\x7f\x00\x07";
    app.update(Msg::Seen(Box::new(look)));
    let mut told = control();
    told.apps["apps"][0]["state"] = evil.into();
    let note = json!({"kind": evil, "what": evil, "user": evil, "until_ms": 5});
    told.notes = json!({"notes": [note]});
    told.config = json!({"settings": {evil: evil}});
    told.diff = json!({"keys": [{"key": evil, "was": evil, "now": evil, "state": evil}]});
    let stream = json!({"kind": evil, "state": evil, "codec": evil, "direction": evil});
    told.session = json!({"session": "s0-2-1", "transport": {}, "streams": [stream]});
    told.incidents = json!({"incidents": [{"state": evil, "event": evil, "about": evil}]});
    told.session_notes = told.notes.clone();
    app.update(Msg::Control(Box::new(told)));
    for keys in ["1", "2", "3", "3\n", "3\n\n", "3\n\n\n", "4", "5", "6", "7", "8", "9"] {
        press(&mut app, keys);
        let shown = text(&app, 200, 50);
        let is_drawn = |c: char| matches!(c, ' '..='~' | '\n' | '●' | '▲' | '▸' | '─'..='╿' | '▁'..='█' | '░'..='▓');
        let others: Vec<char> = shown.chars().filter(|c| !is_drawn(*c)).collect();
        assert!(others.is_empty(), "{keys:?} {others:?}\n{shown}");
        press(&mut app, "1");
    }
}

#[test]
fn small_terminals_get_one_line_and_no_size_panics() {
    let app = watching();
    assert!(text(&app, 59, 24).starts_with("terminal too small (59x24, need 60x15)"));
    for (width, height) in [(1, 1), (2, 40), (60, 15), (61, 19), (119, 20), (500, 200)] {
        text(&app, width, height);
        text(&App::default(), width, height);
    }
}

#[test]
fn data_for_programs_is_what_the_frame_shows() {
    let data = data(&watching());
    assert_eq!(data["schema"], "roomlane.top.v1");
    assert_eq!((&data["rx_pps"], &data["age_ms"]), (&6100.0.into(), &3.into()));
    let drops = data["drops"].as_array().unwrap();
    let replay = drops.iter().find(|drop| drop["reason"] == "replay").unwrap();
    assert_eq!((&replay["count"], &replay["per_s"]), (&303.into(), &3.0.into()));
    assert_eq!(data["rooms"][0]["label"], "r:91bc");
    assert_eq!(data["workers"][1]["core"], serde_json::Value::Null);
}

#[test]
fn columns_are_hidden_and_shown_and_a_table_fills_the_screen() {
    let mut app = watching();
    press(&mut app, "3c");
    assert!(text(&app, 80, 24).contains(" ▸ [x] label"));
    press(&mut app, "j\n\x1b");
    let shown = text(&app, 80, 24);
    assert!(!shown.contains(" room ") && shown.contains("cost"), "{shown}");
    press(&mut app, "cj\n\x1b");
    assert!(text(&app, 80, 24).contains(" room "));
    press(&mut app, "1e");
    let shown = text(&app, 80, 24);
    assert!(!shown.contains("cores") && !shown.contains("Workers"), "{shown}");
}

#[test]
fn an_act_is_asked_for_over_the_screen_and_its_outcome_told_below() {
    let mut app = watching();
    assert!(text(&app, 60, 15).contains("read-only"));
    app.admin = true;
    assert!(
        text(&app, 60, 15).contains("ADMIN: d drain K kick E end T trace C capture  q quit ? help")
    );
    press(&mut app, "3Er:9");
    insta::assert_snapshot!(text(&app, 60, 15));
    press(&mut app, "\x1b");
    app.update(Msg::Said("refused: room.end: \u{1b}[2J needs group".to_owned()));
    assert!(text(&app, 60, 15).contains("refused: room.end: ?[2J needs group"));
}

#[test]
fn the_handbook_has_every_key_with_what_it_does() {
    let handbook = include_str!("../../../docs/dashboard.md");
    for binding in Keymap::default().bindings() {
        let line = format!("| {} | {} |", binding.keys_text(), binding.what);
        assert!(handbook.contains(&line), "{line}");
    }
}

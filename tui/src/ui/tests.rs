//! The pane as text, at two sizes and in every bad state.

use crate::app::tests::{seen, watching};
use crate::app::{App, Msg};
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
fn numbers_and_tab_choose_what_fills_the_screen() {
    let mut app = watching();
    let boxes = |app: &App| {
        let text = text(app, 60, 15);
        ["Workers", "Rooms", "Drops"].map(|name| text.contains(&format!("┌ {name}")))
    };
    let keys = [
        ('2', [true, false, false]),
        ('3', [false, true, false]),
        ('4', [false, false, true]),
        ('1', [true, true, false]),
        ('\t', [true, false, false]),
    ];
    for (key, expected) in keys {
        let code = match key {
            '\t' => crossterm::event::KeyCode::Tab,
            key => crossterm::event::KeyCode::Char(key),
        };
        app.update(Msg::Key(code.into()));
        assert_eq!(boxes(&app), expected, "{key:?}");
    }
}

#[test]
fn alarms_stand_on_the_first_screen() {
    let mut app = watching();
    let mut look = seen(102);
    look.snapshot.shards[0].worker.as_mut().unwrap().restarts = 2;
    app.update(Msg::Seen(Box::new(look)));
    assert!(text(&app, 60, 15).contains("▲ worker 0 restarted 2 times"));
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
    let mut dead = seen(102);
    dead.control_alive = false;
    app.update(Msg::Seen(Box::new(dead.clone())));
    let shown = text(&app, 100, 30);
    assert!(
        shown.contains("control dead") && shown.contains("nothing can be ended or kicked"),
        "{shown}"
    );
    // Nothing was published for nine seconds.
    dead.snapshot.taken_ns += 9_000_000_000;
    app.update(Msg::Seen(Box::new(dead)));
    let shown = text(&app, 100, 30);
    assert!(shown.contains("data plane silent") && shown.contains("9003 ms"), "{shown}");
    assert!(shown.contains("(old) in") && shown.contains("was true when it last did"), "{shown}");
    assert_eq!(data(&app)["stale"], true);
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
fn numbers_stay_short() {
    let all = [(0.0, "0"), (9_999.4, "9999"), (12_345.0, "12.3k"), (1.5e6, "1.5M"), (2e9, "2.0G")];
    for (number, text) in all {
        assert_eq!(super::short(number), text);
    }
}

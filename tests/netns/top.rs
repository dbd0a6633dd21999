//! `roomlane top` on a terminal, at a real node with real media: it names each fault that is done to the
//! node, it acts when it may, and it gives the terminal back however it ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roomlane_tests::netns::{NODE_IP, NODE_IP6, skip};
use roomlane_tests::node::{APP, Node, NodeConfig, programs};
use roomlane_tests::sdes::{Scene, Sockets, Tokens, Wire};

use crate::terminal::Terminal;
use crate::{carries, demo, scene, up};

/// How long a fault may take to be named, on a host that does other things, too. On an idle one it is
/// within three seconds.
const NAMED: Duration = Duration::from_secs(15);

/// A dashboard of `node`; `None`, said loudly, where it was not built.
fn top(node: &Node, more: &[&str], columns: u16, lines: u16) -> Option<Terminal> {
    let program = programs()?.join("roomlane-top");
    if !program.exists() {
        skip("no roomlane-top; build it first (scripts/test does)");
        return None;
    }
    let (program, run_dir) = (program.to_string_lossy().into_owned(), node.dir.join("run"));
    let run_dir = run_dir.to_string_lossy().into_owned();
    // What it writes into the present folder goes with the node.
    let here = node.dir.to_string_lossy();
    let words = [&["env", "-C", &here, &program, "--node", &run_dir][..], more].concat();
    Some(Terminal::start(&words, columns, lines))
}

/// Does a fault until the first screen names it, and says how long that took.
fn named(screen: &Terminal, fault: &str, words: &str, meanwhile: impl FnMut()) {
    let took = screen.until_meanwhile(words, meanwhile);
    eprintln!("{fault}: named after {:.1} s", took.as_secs_f64());
    assert!(took < NAMED, "{fault} was named after {took:?}");
}

fn gone(screen: &Terminal, words: &str) {
    let began = Instant::now();
    while screen.text().contains(words) {
        assert!(began.elapsed() < Duration::from_secs(30), "{words} stays\n{}", screen.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn done(node: &Node, words: &[&str]) {
    let out = node.roomlane(words);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn each_of_thirteen_faults_is_named_on_the_first_screen() {
    let more = "[limits]\nsessions_max = 20\nsource_joins_per_s = 1000\n".to_owned();
    let Some((lab, node)) = up(&NodeConfig { more, ..NodeConfig::port("udp") }) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    let Some(screen) = top(&node, &[], 60, 15) else { return };
    screen.until("no faults");
    hostile_packets(&mut scene, &screen);
    refusals(&node, &screen);
    let app = APP.to_string();
    done(&node, &["app", "quota", &app, "--sessions", "2"]);
    named(&screen, "quota full", "quota of app 1400000001 full", || {});
    done(&node, &["app", "quota", &app, "--sessions", "50"]);
    gone(&screen, "quota of app");
    done(&node, &["set", "accepting", "off"]);
    named(&screen, "drain", "draining: 2 sessions left", || {});
    done(&node, &["set", "accepting", "on"]);
    gone(&screen, "draining");
    for viewer in 0..17 {
        scene.view(&Tokens::new("demo", &format!("viewer{viewer}")));
    }
    named(&screen, "session table", "table full on worker 0: 19 of 20 sessions", || {});

    lab.node.ip("link set media0 down");
    named(&screen, "port down", "port down: its link carries nothing", || {});
    lab.node.ip("link set media0 up");
    // A link that goes down loses this one.
    lab.node.ip(&format!("addr add {NODE_IP6}/64 dev media0 nodad"));
    gone(&screen, "port down");
    lives(&node, &screen);
}

/// A flood, replays, forged media.
fn hostile_packets(scene: &mut Scene<Sockets<'_>>, screen: &Terminal) {
    let from = scene.wire().open();
    let media = SocketAddr::new(NODE_IP.parse().expect("an address"), 8000);
    named(screen, "flood", "flood from unknown sources", || {
        for _ in 0..50 {
            scene.wire().send(from, media, &[0xff; 60]);
        }
    });
    let camera = &mut scene.cameras[0];
    let (local, remote, good) = (camera.local, camera.remote, camera.end.packet(160));
    named(screen, "replays", "▲ replays: ", || {
        for _ in 0..5 {
            scene.wire().send(local, remote, &good);
        }
    });
    named(screen, "forged media", "▲ authentication failures: ", || {
        for _ in 0..5 {
            let mut forged = scene.cameras[0].end.packet(160);
            *forged.last_mut().expect("it has a tag") ^= 1;
            scene.wire().send(local, remote, &forged);
        }
    });
    for words in ["flood from", "replays", "authentication failures", "drop ratio"] {
        gone(screen, words);
    }
}

/// Tokens that nobody made, and a configuration that is none.
fn refusals(node: &Node, screen: &Terminal) {
    let api = node.api();
    named(screen, "refused tokens", "tokens refused: ", || {
        let answer = api.request("POST", &api.path("whip", "demo"), "Bearer forged", "v=0\r\n");
        assert_eq!(answer.status, 401, "{}", answer.body);
    });
    let good = std::fs::read_to_string(node.config_file()).expect("readable");
    std::fs::write(node.config_file(), "nonsense").expect("writable");
    assert_eq!(node.roomlane(&["config", "reload"]).status.code(), Some(3));
    named(screen, "bad configuration", "configuration was not reloaded", || {});
    std::fs::write(node.config_file(), good).expect("writable");
    done(node, &["config", "reload"]);
    gone(screen, "not reloaded");
}

/// Both processes stopped, then killed.
fn lives(node: &Node, screen: &Terminal) {
    node.signal("roomlane-control", Signal::SIGSTOP);
    named(screen, "control stopped", "control does not answer", || {});
    node.signal("roomlane-control", Signal::SIGCONT);
    gone(screen, "control does not answer");
    node.signal("roomlane-dataplane", Signal::SIGSTOP);
    named(screen, "data plane stopped", "data plane silent for", || {});
    node.signal("roomlane-dataplane", Signal::SIGCONT);
    gone(screen, "data plane silent");
    let killed = node.kill("roomlane-control");
    named(screen, "control killed", &format!(", was {killed}"), || {});
    assert!(screen.text().contains("control restarted: pid "), "{}", screen.text());
    let killed = node.kill("roomlane-dataplane");
    named(screen, "data plane killed", &format!(", was {killed}"), || {});
    assert!(screen.text().contains("data plane restarted: pid "), "{}", screen.text());
}

/// Waits until control has a capture.
fn until_captured(node: &Node) {
    let began = Instant::now();
    while !String::from_utf8_lossy(&node.roomlane(&["capture", "list"]).stdout).contains("s0-") {
        assert!(began.elapsed() < NAMED, "no capture began");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Files of captures in the node's folder that begin as pcapng does and have packets behind that.
fn captures(node: &Node) -> Vec<Vec<u8>> {
    /// A section header block's type (draft-ietf-opsawg-pcapng, section 4.1), and bytes of a file without packets.
    const SECTION: ([u8; 4], usize) = ([0x0a, 0x0d, 0x0d, 0x0a], 500);
    let files = std::fs::read_dir(&node.dir).expect("the node's folder");
    let names = files.map(|file| file.expect("an entry").path());
    let captures = names.filter(|path| path.extension().is_some_and(|kind| kind == "pcapng"));
    let texts = captures.map(|path| std::fs::read(path).expect("ours"));
    texts.filter(|text| text.starts_with(&SECTION.0) && text.len() > SECTION.1).collect()
}

#[test]
fn it_acts_when_it_may_and_every_act_is_audited() {
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    let Some(mut watcher) = top(&node, &[], 80, 24) else { return };
    watcher.until("d***");
    watcher.press("3\rK");
    watcher.until("read-only: start with --admin to act");
    let Some(mut screen) = top(&node, &["--admin"], 80, 24) else { return };
    screen.until("d***");
    assert!(screen.text().contains("ADMIN"));
    screen.press("3\r");
    screen.until("2 sessions by trouble");
    // Down to one of them and up again; its streams come from its shard.
    screen.press("\r");
    screen.until("has keys, has path");
    screen.press("\x1b");
    screen.until("2 sessions by trouble");
    screen.press("Knobody\r");
    screen.until("was not typed");
    screen.press("/vi***r\r");
    screen.until("1 sessions by trouble");
    screen.press("C");
    screen.until("headers alone, to a file here");
    screen.press("vi***r\r");
    screen.until("capturing s0-");
    until_captured(&node);
    carries(&mut scene, 20, &node);
    done(&node, &["capture", "stop"]);
    screen.until("captured: roomlane-s0-");
    assert_eq!(captures(&node).len(), 1, "one file, whole: its sections can be told");
    screen.press("K");
    screen.until("Type vi***r and press Enter");
    screen.press("vi***r\r");
    screen.until("done: session.kick");
    screen.press("1Td***\r");
    screen.until("done: trace.start");
    screen.press("E");
    screen.until("all its sessions end now");
    screen.press("d***\r");
    screen.until("done: room.end");
    screen.until("Rooms 0");
    screen.press("7s");
    screen.until("room.end by uid 0: ok");
    screen.press("q");
    assert!(screen.end().success());
    let audit = std::fs::read_to_string(node.dir.join("run/audit.jsonl")).expect("written");
    let acts = ["capture.start", "capture.stop", "session.kick", "trace.start", "room.end"];
    let told: Vec<_> = audit.lines().map(|line| acts.iter().find(|a| line.contains(**a))).collect();
    assert_eq!(told, acts.iter().map(Some).collect::<Vec<_>>(), "{audit}");
    let verified = node.roomlane(&["audit", "verify"]);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("5 acts, intact"));
}

#[test]
fn streams_of_real_media_are_shown_by_the_keys_and_columns_of_a_settings_file() {
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    let file = node.dir.join("tui.toml").to_string_lossy().into_owned();
    std::fs::write(&file, "[keys]\nsort = \"r\"\n").expect("writable");
    let Some(mut screen) = top(&node, &["--tui-config", &file], 80, 24) else { return };
    screen.until("tui.toml:2:8: keys.sort: r is a key of reverse, too");
    assert_eq!(screen.end().code(), Some(3));
    let text = "mask = \"strict\"\n[keys]\nquit = \"Q\"\nenter = \"n\"\n[columns]\nstreams = [\"way\", \
                \"ssrc\", \"packets\", \"loss\", \"state\"]\n";
    std::fs::write(&file, text).expect("writable");
    let mut screen = top(&node, &["--tui-config", &file], 80, 24).expect("it was there");
    screen.until("▸ ***");
    assert!(!screen.text().contains("d***"), "{}", screen.text());
    screen.press("3n");
    screen.until("2 sessions by trouble");
    screen.press("n");
    screen.until("has keys, has path");
    screen.press("n");
    screen.until_meanwhile("Streams of ***", || carries(&mut scene, 5, &node));
    screen.until("way ssrc       packets   loss state");
    // Whichever of the two it is: the camera's stream comes in, the viewer's slot goes out.
    let shown = screen.text();
    let row = shown.lines().find(|line| line.contains(" 0.0% ")).expect("a stream");
    assert!(row.contains("forwarded") || row.contains("flows"), "{shown}");
    let (_, pane) = shown.split_once("Streams of").expect("its pane");
    assert!(!pane.contains("bit/s"), "a column that nobody asked for: {shown}");
    let told = node.roomlane(&["show", "stream", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("one object");
    let streams = told["streams"].as_array().expect("a list");
    assert_eq!((&told["schema"], streams.len()), (&"roomlane.stream.v1".into(), 2), "{told}");
    let of = |way: &str| streams.iter().find(|row| row["direction"] == way).expect("both ways");
    assert_eq!(of("in")["publication"], of("out")["publication"]);
    assert!(of("in")["packets"].as_u64() >= Some(20) && of("out")["packets"].as_u64() >= Some(20));
    screen.press("qQ");
    assert!(screen.end().success());
}

#[test]
fn the_terminal_is_given_back_however_the_dashboard_ends() {
    let Some((_lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let Some(mut screen) = top(&node, &[], 80, 24) else { return };
    screen.until("no faults");
    screen.resize(59, 20);
    screen.until("terminal too small (59x20, need 60x15)");
    screen.resize(60, 15);
    screen.until("q quit");
    screen.resize(200, 50);
    screen.until("Drops 0");
    screen.press("\x1a");
    screen.until_stopped();
    screen.until_ordinary();
    screen.signal(Signal::SIGCONT);
    screen.until("no faults");
    screen.press("q");
    assert!(screen.end().success());
    screen.until_ordinary();

    let Some(screen) = top(&node, &[], 80, 24) else { return };
    let mut screen = screen;
    screen.until("no faults");
    screen.signal(Signal::SIGTERM);
    assert!(screen.end().success());
    screen.until_ordinary();

    let Some(mut screen) = top(&node, &[], 80, 24) else { return };
    screen.until("no faults");
    // Programs that are not for measuring have such a command.
    screen.press(":panic\r");
    assert_eq!(screen.end().code(), Some(101));
    screen.until_ordinary();
    screen.until("asked to");

    let Some(mut screen) = top(&node, &[], 80, 24) else { return };
    screen.until("no faults");
    node.signal("roomlane", Signal::SIGTERM);
    screen.until("data plane silent for");
    screen.until("control down: no joins, no acts; media goes on");
    screen.press("q");
    assert!(screen.end().success());
    let mut screen = top(&node, &[], 80, 24).expect("it was there");
    assert_eq!(screen.end().code(), Some(4));
    screen.until("no node running; start one with roomlane up");
}

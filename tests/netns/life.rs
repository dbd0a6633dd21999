//! Kicks, deadlines and deaths: what is revoked stops at the next packet, and what dies does not take
//! the media with it.

use std::time::{Duration, Instant};

use roomlane_tests::netns::PEER_IP;
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets, Tokens, Wire};
use srtp::Profile;

use crate::{SOON, carries, demo, scene, up};

const DEVICE: &str = "net_af_xdp0,iface=media0";

/// The session whose user is the only one that sent `rx` or more packets, or got them.
fn session(node: &Node, direction: &str) -> String {
    let shown = node.show("session");
    let rows = shown["sessions"].as_array().expect("a list").iter();
    let mut found = rows.filter(|row| row[direction].as_u64() > Some(10));
    let row = found.next().unwrap_or_else(|| panic!("no session has {direction}: {shown}"));
    assert!(found.next().is_none(), "more than one has {direction}: {shown}");
    row["session"].as_str().expect("an id").to_owned()
}

/// Sends `count` packets that must be dropped for one of `reasons`, one by one, and reach nobody.
fn all_dropped(scene: &mut Scene<impl Wire>, node: &Node, reasons: &[&str], count: u64) {
    let drops = |node: &Node| reasons.iter().map(|reason| node.drops(reason)).sum::<u64>();
    scene.drain(Duration::from_millis(50));
    node.until_counted();
    let (before, got) = (drops(node), scene.got(0));
    for _ in 0..count {
        scene.send_one(0);
    }
    node.until("every packet is counted", |node| drops(node) >= before + count);
    assert_eq!(drops(node), before + count, "{}", node.all_drops());
    scene.drain(Duration::from_millis(100));
    assert_eq!(scene.got(0), got, "a packet passed");
}

#[test]
fn the_next_packet_of_a_kicked_session_is_counted_and_dropped() {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    let id = session(&node, "rx_packets");
    let kicked = node.roomlane(&["session", "kick", &id]);
    assert!(kicked.status.success(), "{}", String::from_utf8_lossy(&kicked.stderr));
    all_dropped(&mut scene, &node, &["revoked", "no_session"], 20);
    let again = node.roomlane(&["session", "kick", &id]);
    assert_eq!(again.status.code(), Some(6), "a session that is gone is not found");
    // The same user may come back, under a new session.
    scene.cameras[0].on = false;
    scene.publish(&Tokens::new("demo", "camera"));
    carries(&mut scene, 20, &node);
}

#[test]
fn an_ended_room_ends_for_publisher_and_viewer() {
    let Some((lab, node)) = up(&NodeConfig::port("net_af_packet0,iface=media0")) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    let app = roomlane_tests::node::APP.to_string();
    let ended = node.roomlane(&["room", "end", &app, "demo"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    all_dropped(&mut scene, &node, &["revoked", "no_session"], 20);
    node.until("the room is gone", |node| {
        node.show("room")["rooms"].as_array().is_some_and(Vec::is_empty)
    });
}

#[test]
fn the_next_packet_after_a_token_expired_is_counted_and_dropped_unless_it_was_renewed() {
    let config =
        NodeConfig { more: "[tokens]\nskew_s = 0\n".to_owned(), ..NodeConfig::port(DEVICE) };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    let short = Tokens { lifetime_s: 4, ..Tokens::new("demo", "camera") };
    scene.publish(&short);
    scene.view(&Tokens::new("demo", "viewer"));
    let joined = Instant::now();
    carries(&mut scene, 20, &node);
    let longer = Tokens { lifetime_s: 8, ..short };
    let location = scene.cameras[0].location.clone();
    let renewed = node.api().request("PATCH", &location, &node.api().bearer(&longer), "");
    assert_eq!(renewed.status, 204, "{}", renewed.body);
    // Past the first deadline media still flows; the second one ends it.
    scene.flow(Duration::from_secs(6).saturating_sub(joined.elapsed()), |_| false);
    carries(&mut scene, 20, &node);
    let expired = scene.flow(SOON, |_| joined.elapsed() > Duration::from_secs(11));
    assert!(expired && node.drops("grant_expired") > 0, "{}", node.all_drops());
    all_dropped(&mut scene, &node, &["grant_expired"], 20);
}

#[test]
fn a_killed_control_daemon_loses_no_packet_and_comes_back_with_its_rooms() {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    scene.drain(Duration::from_millis(100));
    let (sent, got) = (scene.cameras[0].sent, scene.got(0));
    let killed = node.kill("roomlane-control");
    let back = |node: &Node| {
        node.pid("roomlane-control").is_some_and(|pid| pid != killed)
            && node.show("node")["control_alive"] == true
    };
    let mut next_look = Instant::now();
    let came_back = scene.flow(SOON, |_| {
        // A look starts a process: ten a second, so that packets keep their pace.
        Instant::now() >= next_look && {
            next_look = Instant::now() + Duration::from_millis(100);
            back(&node)
        }
    });
    assert!(came_back, "control came back\n{}", node.log());
    scene.flow(Duration::from_secs(1), |_| false);
    scene.drain(Duration::from_millis(200));
    assert_eq!(
        scene.got(0) - got,
        scene.cameras[0].sent - sent,
        "no packet was lost\n{}",
        node.all_drops()
    );
    // The room is the same: a newcomer hears it, and the old camera can be kicked.
    scene.view(&Tokens::new("demo", "newcomer"));
    carries(&mut scene, 20, &node);
    let kicked = node.roomlane(&["session", "kick", &session(&node, "rx_packets")]);
    assert!(kicked.status.success(), "{}", String::from_utf8_lossy(&kicked.stderr));
    all_dropped(&mut scene, &node, &["revoked", "no_session"], 10);
}

#[test]
fn a_reload_loses_no_packet_and_a_removed_apps_secret_opens_no_room() {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    scene.drain(Duration::from_millis(100));
    let (sent, got) = (scene.cameras[0].sent, scene.got(0));
    let (file, other) = (node.config_file(), roomlane_tests::node::APP + 1);
    let good = std::fs::read_to_string(&file).expect("the configuration");
    let reload = |expected: i32| {
        let output = node.roomlane(&["config", "reload"]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{text}");
        text
    };
    let pids = || ["roomlane-control", "roomlane-dataplane"].map(|name| node.pid(name));
    let before = pids();
    // By the command, with an app that comes; by a signal to the supervisor, with one that goes.
    let added = node.roomlane(&["app", "add", &other.to_string()]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    scene.flow(Duration::from_millis(300), |_| false);
    let limits = "[tokens]\nskew_s = 7\n";
    std::fs::write(&file, format!("{limits}{good}")).expect("written");
    assert!(reload(0).contains("tokens.skew_s"), "the changed key is told");
    scene.flow(Duration::from_millis(300), |_| false);
    std::fs::write(&file, format!("{limits}{good}[port]\n")).expect("written");
    let refused = reload(3);
    assert!(refused.contains(&format!("{}:", file.display())), "with its place: {refused}");
    std::fs::write(&file, &good).expect("written");
    node.signal("roomlane", nix::sys::signal::Signal::SIGHUP);
    node.until("the signal reloaded the file", |node| {
        let shown = node.roomlane(&["config", "show", "--json"]);
        String::from_utf8_lossy(&shown.stdout).contains("\"tokens.skew_s\":5")
    });
    scene.flow(Duration::from_millis(500), |_| false);
    scene.drain(Duration::from_millis(200));
    let (sent, got) = (scene.cameras[0].sent - sent, scene.got(0) - got);
    assert!(sent >= 20, "media flowed meanwhile: {sent}");
    assert_eq!(got, sent, "no packet was lost\n{}", node.all_drops());
    assert_eq!(pids(), before, "nothing was restarted");
    // The app goes: its secret opens nothing, while those who are there stay.
    let without = good.split("[[app]]").next().expect("a head").to_owned();
    std::fs::write(&file, without).expect("written");
    reload(0);
    let api = node.api();
    let refused = api.request(
        "POST",
        &format!("/whip/{}/demo", roomlane_tests::node::APP),
        &api.bearer(&Tokens::new("demo", "late")),
        "v=0",
    );
    assert_eq!(refused.status, 404, "{}", refused.body);
    carries(&mut scene, 20, &node);
}

fn data_plane_dies(profile: Profile) {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    let sockets = Sockets::new(&lab.peers, PEER_IP);
    let mut scene = Scene::new(sockets, node.api(), Options { profile, payload_len: 160 });
    demo(&mut scene);
    scene.view(&Tokens::new("demo", "second"));
    for _ in 0..3 {
        carries(&mut scene, 50, &node);
        let last = scene.viewers[0].end.got.last().map(|got| got.egress).expect("some");
        let (ssrc, killed) = (scene.viewers[0].end.got[0].ssrc, node.kill("roomlane-dataplane"));
        // Sessions resume by themselves: the same keys, addresses and SSRCs, and higher indices.
        let goal = scene.got(0) + 50;
        let resumed = scene.flow(SOON, |scene| scene.got(0) >= goal && scene.got(1) >= goal);
        assert!(resumed, "media resumed after {killed} died\n{}\n{}", node.all_drops(), node.log());
        scene.check();
        let jump =
            scene.viewers[0].end.got.iter().find(|got| got.egress > last).expect("more").egress
                - last;
        assert!(jump < 1 << 15, "a jump of {jump} would lose the receiver's ROC");
        assert!(scene.viewers[0].end.got.iter().all(|got| got.ssrc == ssrc), "an SSRC changed");
    }
    // Reports go on too, and none of their indices came twice (see `check`).
    assert!(
        !scene.viewers[0].end.reports.is_empty()
            || scene.flow(SOON, |scene| !scene.viewers[0].end.reports.is_empty())
    );
    scene.check();
}

#[test]
fn a_killed_data_plane_resumes_gcm_sessions_without_a_repeated_nonce() {
    data_plane_dies(Profile::AeadAes128Gcm);
}

#[test]
fn a_killed_data_plane_resumes_cm_sessions_without_a_repeated_nonce() {
    data_plane_dies(Profile::AesCm128HmacSha1_80);
}

#[test]
fn a_second_instance_is_refused_and_leftovers_of_a_killed_one_are_cleaned() {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    let config = node.dir.join("node.toml");
    let second = node.roomlane(&["up", "--config", config.to_str().expect("UTF-8")]);
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    let first = node.pid("roomlane").expect("its pid");
    assert_eq!(second.status.code(), Some(7), "{words}");
    assert!(words.contains(&format!("pid {first}")), "{words}");
    // Supervisor and data plane killed: an orphan, sockets and an XDP program stay behind.
    node.kill("roomlane");
    node.kill("roomlane-dataplane");
    let mut command = lab.node.command(std::ffi::OsStr::new("timeout"));
    let program = roomlane_tests::node::programs().expect("they ran").join("roomlane");
    command
        .args(["-s", "TERM", "--preserve-status", "5"])
        .arg(program)
        .args(["up", "--config"])
        .arg(&config);
    let third = command.output().expect("it starts");
    let (out, words) =
        (String::from_utf8_lossy(&third.stdout), String::from_utf8_lossy(&third.stderr));
    assert!(out.contains("node test is up"), "{out}\n{words}");
    assert!(words.contains(&format!("the instance with pid {first} was killed")), "{words}");
    assert!(words.contains("roomlane-control"), "the orphan is named: {words}");
    assert!(third.status.success(), "{words}");
    let links = lab.node.ip("-d link show media0");
    assert!(!links.contains("prog/xdp"), "an XDP program is left: {links}");
}

#[test]
fn every_thread_of_the_data_plane_gives_its_privileges_up() {
    let config = NodeConfig { user: Some("nobody"), ..NodeConfig::port(DEVICE) };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    for program in ["roomlane-dataplane", "roomlane-control"] {
        let pid = node.pid(program).expect("it runs");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let mut threads = 0;
        for task in tasks.flatten() {
            let status = std::fs::read_to_string(task.path().join("status")).expect("a thread");
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("no {name}: {status}"))
                    .split_whitespace()
                    .collect::<Vec<_>>()
            };
            assert_eq!(field("CapEff:"), ["0000000000000000"], "{program}: {status}");
            assert!(
                field("Uid:").iter().all(|uid| *uid == field("Uid:")[0] && *uid != "0"),
                "{status}"
            );
            threads += 1;
        }
        assert!(threads > 1, "{program} has {threads} threads");
    }
}

//! Alarms fired by real faults, from the node to whoever Alertmanager tells.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::{Lab, NODE_IP6, PEER_IP};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets, Tokens, Wire};
use serde_json::Value;

use crate::tools::{self, MONITORING, Tool, is_here};

/// How long an alarm may take: scrapes, a rate over some seconds, and a busy host.
const ALARM: Duration = Duration::from_secs(90);

/// The rules with their ranges and waits in seconds, so that a fault need not last for minutes. Their
/// thresholds stay as they are.
fn hasty_rules() -> String {
    let rules = std::fs::read_to_string(format!("{MONITORING}/roomlane.rules.yml")).expect("kept");
    let mut hasty = rules.replace("[5m]", "[5s]").replace("[1m]", "[5s]").replace("[15m]", "[20s]");
    for wait in ["10m", "5m", "1m", "10s"] {
        hasty = hasty.replace(&format!("for: {wait}\n"), "for: 1s\n");
    }
    assert_ne!(hasty, rules);
    hasty
}

/// Names of the alarms that are firing.
fn firing(prometheus: &Tool) -> Vec<String> {
    let alarms = prometheus.query("ALERTS{alertstate=\"firing\"}");
    alarms.iter().filter_map(|row| row["metric"]["alertname"].as_str().map(str::to_owned)).collect()
}

/// Waits for an alarm; `meanwhile` is called over and over.
fn wait_for(prometheus: &Tool, alarm: &str, mut meanwhile: impl FnMut()) {
    let deadline = Instant::now() + ALARM;
    let mut next_look = Instant::now();
    loop {
        meanwhile();
        if Instant::now() >= next_look {
            let seen = firing(prometheus);
            if seen.iter().any(|name| name == alarm) {
                return;
            }
            assert!(Instant::now() < deadline, "{alarm} did not fire; {seen:?} did");
            next_look = Instant::now() + Duration::from_millis(500);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until an alarm is over.
fn wait_until_calm(prometheus: &Tool, alarm: &str, mut meanwhile: impl FnMut()) {
    let deadline = Instant::now() + ALARM;
    while firing(prometheus).iter().any(|name| name == alarm) {
        meanwhile();
        assert!(Instant::now() < deadline, "{alarm} goes on");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// The node's first UDP address.
fn media() -> SocketAddr {
    SocketAddr::new(roomlane_tests::netns::NODE_IP.parse().expect("an address"), 8000)
}

/// What Alertmanager posts to its webhooks, as (path, body).
fn webhook(lab: &Lab) -> mpsc::Receiver<(String, Value)> {
    let listener = lab.node.within(|| TcpListener::bind("127.0.0.1:9099").expect("a free port"));
    let (sender, posts) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let (mut bytes, mut part) = (vec![], [0; 4096]);
            let body = loop {
                match stream.read(&mut part) {
                    Ok(0) | Err(_) => break None,
                    Ok(len) => bytes.extend_from_slice(&part[..len]),
                }
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let announced = head.lines().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok()
                });
                if body.len() >= announced.unwrap_or(0) {
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    break Some((path, body.to_owned()));
                }
            };
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let Some((path, body)) = body else { continue };
            if sender.send((path, serde_json::from_str(&body).unwrap_or_default())).is_err() {
                return;
            }
        }
    });
    posts
}

#[test]
fn real_faults_fire_their_alarms_and_pages_reach_a_webhook() {
    if !is_here("prometheus") || !is_here("prometheus-alertmanager") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    lab.manage();
    // HTTPS with a certificate of two days; four places for sessions.
    let more = "[limits]\nsessions_max = 4\nsource_joins_per_s = 200\n".to_owned();
    let config = NodeConfig { more, https: true, ..NodeConfig::port("udp") };
    let Some(node) = Node::start(&lab.node, &config) else { return };
    let node = node.unwrap_or_else(|why| panic!("{why}"));
    let posts = webhook(&lab);
    let sample = format!("--config.file={MONITORING}/alertmanager.yml");
    let words = [
        sample.as_str(),
        "--storage.path={dir}/data",
        "--web.listen-address=127.0.0.1:9093",
        "--cluster.listen-address=",
    ];
    let _alertmanager = Tool::start(&lab.node, "prometheus-alertmanager", 9093, &node.dir, &words);
    let prometheus = tools::prometheus(&lab.node, &node.dir, &hasty_rules());

    wait_for(&prometheus, "CertExpiresSoon", || {});
    let mut wire = Sockets::new(&lab.peers, PEER_IP);
    let from = wire.open();
    // Neither STUN, DTLS, RTP nor RTCP, some thousands a second.
    let mut flood = || {
        for _ in 0..200 {
            wire.send(from, media(), &[0xff; 60]);
        }
    };
    wait_for(&prometheus, "FloodActive", &mut flood);
    paged(&posts, "FloodActive");
    wait_for(&prometheus, "DropRatioHigh", &mut flood);
    joins_that_fail(&lab, &prometheus);

    lab.node.ip("link set media0 down");
    wait_for(&prometheus, "PortDown", || {});
    paged(&posts, "PortDown");
    lab.node.ip("link set media0 up");
    // A link that goes down loses this one, and the next data plane wants it.
    lab.node.ip(&format!("addr add {NODE_IP6}/64 dev media0 nodad"));
    wait_until_calm(&prometheus, "PortDown", || {});

    let data_plane = Pid::from_raw(node.pid("roomlane-dataplane").expect("it runs"));
    kill(data_plane, Signal::SIGSTOP).expect("it is ours");
    wait_for(&prometheus, "WorkerStalled", || {});
    paged(&posts, "WorkerStalled");
    kill(data_plane, Signal::SIGCONT).expect("it is ours");
    wait_until_calm(&prometheus, "WorkerStalled", || {});

    let control = Pid::from_raw(node.pid("roomlane-control").expect("it runs"));
    kill(control, Signal::SIGSTOP).expect("it is ours");
    wait_for(&prometheus, "ControlDown", || {});
    paged(&posts, "ControlDown");
    kill(control, Signal::SIGCONT).expect("it is ours");
    wait_until_calm(&prometheus, "ControlDown", || {});

    // With its supervisor stopped nobody starts the data plane again.
    let supervisor = Pid::from_raw(node.pid("roomlane").expect("it runs"));
    kill(supervisor, Signal::SIGSTOP).expect("it is ours");
    kill(data_plane, Signal::SIGKILL).expect("it is ours");
    wait_for(&prometheus, "DataPlaneDown", || {});
    paged(&posts, "DataPlaneDown");
    kill(supervisor, Signal::SIGCONT).expect("it is ours");
    wait_until_calm(&prometheus, "DataPlaneDown", || {});

    let act = |words: &[&str]| node.roomlane(words);
    assert_eq!(act(&["room", "end", "1400000001", "nowhere"]).status.code(), Some(6));
    assert_eq!(act(&["session", "kick", "s0-9-9"]).status.code(), Some(6));
    let verified = act(&["audit", "verify"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("2 acts, intact"), "{said}");
    let audit = node.dir.join("run/audit.jsonl");
    let text = std::fs::read_to_string(&audit).expect("written");
    std::fs::write(&audit, text.replacen("not_found", "ok", 1)).expect("writable");
    assert_eq!(act(&["audit", "verify"]).status.code(), Some(1), "a changed line shows");
}

/// Joins with tokens that nobody made.
fn joins_that_fail(lab: &Lab, prometheus: &Tool) {
    let url =
        format!("https://{}:8443/whip/1400000001/demo", roomlane_tests::netns::NODE_MANAGE_IP);
    let words = [
        "curl",
        "-sk",
        "--http1.1",
        "-m",
        "5",
        "-X",
        "POST",
        "-H",
        "Content-Type: application/sdp",
        "-H",
        "Authorization: Bearer forged",
        "-d",
        "v=0",
        &url,
    ];
    wait_for(prometheus, "JoinFailureRatio", || {
        // An error of curl's: the answer may come, and the stream end, before it has sent its offer.
        let _ = lab.peers.exec(&words);
    });
}

/// Waits until an alarm is posted to the receiver of pages, firing and with its runbook. Before the fault
/// is mended: one that is over within a second wakes nobody.
fn paged(posts: &mpsc::Receiver<(String, Value)>, alarm: &str) {
    let deadline = Instant::now() + ALARM;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let post = posts.recv_timeout(left);
        let (path, body) = post.unwrap_or_else(|_| panic!("{alarm} was not posted"));
        let mut alarms = body["alerts"].as_array().into_iter().flatten();
        let is_it =
            |found: &&Value| found["labels"]["alertname"] == alarm && found["status"] == "firing";
        if let Some(found) = alarms.find(is_it) {
            assert_eq!(path, "/pages", "{found}");
            let runbook = found["annotations"]["runbook_url"].as_str().unwrap_or_default();
            assert!(runbook.ends_with(&format!("#{}", alarm.to_lowercase())), "{runbook}");
            return;
        }
    }
}

#[test]
fn forged_and_replayed_media_and_full_tables_fire_their_alarms() {
    if !is_here("prometheus") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    let more = "[limits]\nsessions_max = 4\n".to_owned();
    let config = NodeConfig { more, ..NodeConfig::port("udp") };
    let Some(node) = Node::start(&lab.node, &config) else { return };
    let node = node.unwrap_or_else(|why| panic!("{why}"));
    let prometheus = tools::prometheus(&lab.node, &node.dir, &hasty_rules());
    let mut scene = Scene::new(Sockets::new(&lab.peers, PEER_IP), node.api(), Options::default());
    scene.publish(&Tokens::new("demo", "camera"));
    for viewer in ["a", "b", "c"] {
        scene.view(&Tokens::new("demo", viewer));
    }
    // Four sessions in four places.
    wait_for(&prometheus, "StressHigh", || {
        scene.flow(Duration::from_millis(200), |_| false);
    });
    let camera = &mut scene.cameras[0];
    let (local, remote, good) = (camera.local, camera.remote, camera.end.packet(160));
    wait_for(&prometheus, "ReplayBurst", || {
        for _ in 0..20 {
            scene.wire().send(local, remote, &good);
        }
    });
    wait_for(&prometheus, "AuthFailureBurst", || {
        for _ in 0..20 {
            let camera = &mut scene.cameras[0];
            let mut forged = camera.end.packet(160);
            *forged.last_mut().expect("it has a tag") ^= 1;
            scene.wire().send(local, remote, &forged);
        }
    });
    let log = node.log();
    assert!(log.contains("\"media_replayed\"") && log.contains("\"media_forged\""), "{log}");
}

//! Own commands on DPDK's telemetry socket, asked as dpdk-telemetry.py asks: one command per
//! message.
#![cfg(dpdk)]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk::telemetry::{Answer, Value, register};
use dpdk::{Eal, EalConfig, Fault};
use support::{in_child, no_huge};

/// Reads commands from standard input and prints each answer on a line. Argument: the socket.
const CLIENT: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.recv(1024)
for line in sys.stdin:
    s.send(line.strip().encode())
    print(s.recv(65536).decode(), flush=True)
";

fn ask(prefix: &str, commands: &[&str]) -> Vec<String> {
    let socket = format!("/var/run/dpdk/{prefix}/dpdk_telemetry.v2");
    let mut client = Command::new("python3")
        .args(["-c", CLIENT, &socket])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let text = commands.join("\n");
    client.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let mut answers = String::new();
    client.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    assert!(client.wait().unwrap().success());
    answers.lines().map(str::to_owned).collect()
}

#[test]
fn commands_answer_with_live_values_and_survive_a_panicking_callback() {
    in_child("commands_answer_with_live_values_and_survive_a_panicking_callback", || {
        let config = EalConfig { telemetry: true, ..no_huge(32) };
        let eal = Eal::start(&config).unwrap();
        let rooms = Arc::new(AtomicU64::new(3));
        let live = Arc::clone(&rooms);
        register(&eal, "/roomlane/node", "totals of the node", move |_| {
            let rooms = live.load(Ordering::SeqCst);
            let long = "x".repeat(500);
            Answer::Dict(vec![
                ("rooms".into(), Value::Number(rooms)),
                ("in use".into(), Value::Text("a \"quoted\" word".into())),
                ("cut".into(), Value::Text(long)),
            ])
        })
        .unwrap();
        register(&eal, "/roomlane/echo", "its parameters", |params| {
            Answer::Text(params.unwrap_or("none").to_owned())
        })
        .unwrap();
        register(&eal, "/roomlane/panic", "never answers", |_| panic!("on purpose")).unwrap();
        rooms.store(4, Ordering::SeqCst);

        let commands =
            ["/roomlane/echo,shard 1", "/roomlane/panic", "/roomlane/echo", "/roomlane/node"];
        let answers = ask(&config.file_prefix, &commands);
        assert_eq!(answers[0], r#"{"/roomlane/echo":"shard 1"}"#);
        assert_eq!(answers[1], r#"{"/roomlane/panic":null}"#);
        assert_eq!(answers[2], r#"{"/roomlane/echo":"none"}"#);
        let cut = "x".repeat(127);
        let node = format!(
            r#"{{"/roomlane/node":{{"rooms":4,"in_use":"a \"quoted\" word","cut":"{cut}"}}}}"#
        );
        assert_eq!(answers[3], node);
    });
}

#[test]
fn names_that_are_foreign_long_or_taken_are_refused() {
    in_child("names_that_are_foreign_long_or_taken_are_refused", || {
        let eal = Eal::start(&no_huge(32)).unwrap();
        let answer = |_: Option<&str>| Answer::Text(String::new());
        register(&eal, "/roomlane/taken", "", answer).unwrap();
        let long = format!("/roomlane/{}", "x".repeat(46));
        for command in ["/ethdev/stats", "/roomlane/taken", "/roomlane/a,b", &long] {
            let error = register(&eal, command, "", answer).unwrap_err();
            assert_eq!(error.fault(), Fault::Bug, "{command}");
        }
    });
}

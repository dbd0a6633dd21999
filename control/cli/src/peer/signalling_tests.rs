//! Joins against a server that answers as the control daemon does.

use std::io::{Read, Write};
use std::net::TcpListener;

use clap::Parser;

use super::*;
use crate::args::{Arguments, Command};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn secret_file(name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("rl-peer-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, SECRET).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    path
}

fn args(words: &[&str]) -> PeerArgs {
    let all = ["roomlane", "peer"].iter().chain(words);
    let Some(Command::Peer(args)) = Arguments::try_parse_from(all).unwrap().command else {
        panic!("no peer command")
    };
    args
}

/// Gives each connection one answer, and what it was asked comes back.
fn server(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut bytes = vec![0; 65_536];
                let mut len = 0;
                while !whole(&bytes[..len]) {
                    len += stream.read(&mut bytes[len..]).unwrap();
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&bytes[..len]).into_owned()
            })
            .collect()
    });
    (url, thread)
}

fn whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

#[test]
fn a_peer_joins_with_both_tokens_and_leaves_by_its_location() {
    let (url, thread) = server(vec![
        "HTTP/1.1 201 Created\r\nLocation: http://node:1/whip/7/a/r1\r\nContent-Length: 3\r\n\r\nv=0".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
    ]);
    let file = secret_file("joins");
    let words = [
        "publish",
        "--room",
        "a b?c",
        "--user",
        "alice",
        "--sdkappid",
        "7",
        "--secret-file",
        file.to_str().unwrap(),
        "--url",
        &url,
        "--substream",
    ];
    let args = args(&words);
    let place = Place { config: None, node: None };
    let mut signalling = Signalling::new(&place, &args).unwrap_or_else(|f| panic!("{}", f.message));
    assert_eq!(*signalling.join("offer").unwrap_or_else(|f| panic!("{}", f.message)), "v=0");
    signalling.leave().unwrap_or_else(|f| panic!("{}", f.message));
    let asked = thread.join().unwrap();
    assert!(
        asked[0].starts_with("POST /whip/7/a%20b%3Fc?stream=substream HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(asked[1].starts_with("DELETE /whip/7/a/r1 HTTP/1.1\r\n"), "{}", asked[1]);
    let bearer = asked[0].split("Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(bearer.split('.').count(), 2);
    assert!(asked[1].contains(&bearer), "leaving needs the tokens, too");
    assert!(!asked.concat().contains(SECRET));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn refusals_carry_code_and_detail_and_become_exit_codes() {
    let body = r#"{"type":"about:blank","title":"Too many joins","status":429,"code":"rate","detail":"slow"}"#;
    let cases = [
        (429, Exit::Refused),
        (401, Exit::NotPermitted),
        (403, Exit::NotPermitted),
        (404, Exit::NotFound),
        (406, Exit::Failed),
    ];
    for (status, code) in cases {
        let (url, thread) = server(vec![format!(
            "HTTP/1.1 {status} X\r\nRetry-After: 2\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )]);
        let file = secret_file(&format!("refused{status}"));
        let words = [
            "view",
            "--room-number",
            "5",
            "--user",
            "bob",
            "--sdkappid",
            "7",
            "--secret-file",
            file.to_str().unwrap(),
            "--url",
            &url,
            "--publisher",
            "al-ice",
        ];
        let place = Place { config: None, node: None };
        let mut signalling = Signalling::new(&place, &args(&words)).unwrap_or_else(|_| panic!());
        let failure = signalling.join("offer").err().unwrap();
        assert_eq!(failure.code, code);
        assert!(failure.message.contains("rate: Too many joins: slow"), "{}", failure.message);
        assert!(failure.message.ends_with("try again in 2 s"), "{}", failure.message);
        assert!(signalling.leave().is_ok(), "nothing to leave");
        let asked = thread.join().unwrap().remove(0);
        let line = "POST /whep/7/5?room_type=number&publisher=al%2Dice HTTP/1.1";
        assert!(asked.starts_with(line), "{asked}");
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn nobody_at_the_url_is_no_node() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = secret_file("nobody");
    let url = format!("http://127.0.0.1:{port}");
    let words = [
        "view",
        "--room",
        "r",
        "--user",
        "b",
        "--sdkappid",
        "7",
        "--secret-file",
        file.to_str().unwrap(),
        "--url",
        &url,
    ];
    let place = Place { config: None, node: None };
    let signalling = Signalling::new(&place, &args(&words)).unwrap_or_else(|_| panic!());
    let failure = signalling.media_address().err().unwrap();
    assert_eq!(failure.code, Exit::NoNode);
    assert!(failure.message.contains(crate::exit::NO_NODE), "{}", failure.message);
    std::fs::remove_file(file).unwrap();
}

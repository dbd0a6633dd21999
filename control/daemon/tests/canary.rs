//! Names, tokens and keys planted as canaries must not come out anywhere but where they belong.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use daemon::admin::Admin;
use daemon::admin::audit::Audit;
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn act(socket: &std::path::Path, line: &str) -> serde_json::Value {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Every act on the admin socket, and what is none.
async fn operate(
    control: &Control,
    peer: &RingPeer,
    socket: &std::path::Path,
    room: &str,
    join: impl Fn() -> Request<Body>,
) {
    let status = act(socket, r#"{"act":"status"}"#).await;
    assert_eq!((&status["ok"], &status["rooms"]), (&true.into(), &1.into()));
    for bad in ["", "{}", "[1]", r#"{"act":"shutdown"}"#, r#"{"act":"status","x":1}"#, "\u{1b}]52;"]
    {
        let answer = act(socket, bad).await;
        assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &"malformed".into()), "{bad}");
    }
    let kick = |id: &str| format!(r#"{{"act":"session.kick","session":"{id}"}}"#);
    assert_eq!(act(socket, &kick("s0-9-9")).await["code"], "not_found");
    assert_eq!(act(socket, &kick(r"x\u001b[2J")).await["code"], "session_invalid");
    let id = peer.with(|seen| seen.sessions.values().next().unwrap().session.to_string());
    let kicked = act(socket, &kick(&id)).await;
    assert_eq!((&kicked["ok"], &kicked["confirmed"]), (&true.into(), &true.into()));
    assert!(peer.with(|seen| seen.sessions.is_empty()));

    control.send(join()).await;
    let end = format!(r#"{{"act":"room.end","sdkappid":{APP},"room":"{room}"}}"#);
    assert_eq!(act(socket, &end).await["ok"], true);
    assert_eq!(act(socket, &end).await["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_stay_inside_and_admin_acts_do_what_they_say() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let dir = folder("canary");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (user, room) = ("canaryuser-7f3a", "canaryroom 9c1b");
    let sig = user_sig(APP, user);
    let uri = format!("/whip/{APP}/{}", room.replace(' ', "%20"));
    let reply = control.send(ask("POST", &uri).bearer(&sig).sdp(&publisher(7))).await;
    assert_eq!(reply.status, 201);
    let location = reply.header("location").to_owned();
    let resource = location.rsplit('/').next().unwrap();
    let our_key = reply.text.split("inline:").nth(1).unwrap().trim().to_owned();
    let forged = format!("{}AAAA", &sig[..sig.len() - 4]);
    control.send(ask("POST", &uri).bearer(&forged).sdp(&publisher(7))).await;
    control.send(ask("POST", &uri).bearer(&sig).sdp("v=0\r\na=crypto:1 canarykey")).await;

    let (stop, stopped) = watch::channel(false);
    let (socket, audit_file) = (dir.join("control.sock"), dir.join("audit.jsonl"));
    let audit = Arc::new(Audit::open(&audit_file).unwrap());
    let admin = Admin::bind(&socket, Arc::clone(&control.hub), audit).await.unwrap();
    let serving = tokio::spawn(admin.serve(stopped));
    operate(&control, &peer, &socket, room, || ask("POST", &uri).bearer(&sig).sdp(&publisher(7)))
        .await;
    stop.send(true).unwrap();
    serving.await.unwrap();

    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let audited = std::fs::read_to_string(&audit_file).unwrap();
    let metrics = control.metrics.render(&control.hub);
    assert!(logged.contains("joined") && logged.contains("ca***a"), "the log saw the join");
    assert_eq!(audited.lines().count(), 5);
    assert!(metrics.contains("roomlane_join_total{"));
    let secret = format!("{APP:064}");
    let their_key = &KEY["inline:".len()..];
    for (where_, text) in [("log", &logged), ("audit", &audited), ("metrics", &metrics)] {
        for canary in [
            user,
            "canaryroom",
            "9c1b",
            &sig,
            &forged,
            resource,
            &our_key,
            their_key,
            "canarykey",
            &secret,
            CLIENT,
        ] {
            assert!(!text.contains(canary), "{canary} came out in the {where_}");
        }
        assert!(!text.contains('\u{1b}'), "an escape came out in the {where_}");
    }
}

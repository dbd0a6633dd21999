//! What only pages in browsers need: other origins, events, ICE servers; and the redirect hook. Events
//! and the hook run over real sockets.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use config::{Hook, Listen};
use daemon::api::cors::Cors;
use daemon::api::ice_link;
use daemon::api::server::Server;
use daemon::limits::{EVENT_KEEPALIVE, EVENT_STREAMS_PER_RESOURCE};
use proto::{Event, MemberNo, OpenSession, SlotState};
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[tokio::test]
async fn pages_of_named_origins_may_use_the_api_and_others_are_kept_out_by_their_browser() {
    let dir = folder("cors");
    let _peer = RingPeer::start(&dir, 1);
    let with = |origins: &[&str]| {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let cors = Arc::new(Cors { origins });
        Control::start_with(&dir, 0, |api| api.cors = cors)
    };
    let control = with(&["https://app.example", "http://localhost:3000"]);
    control.is_up().await;
    let uri = format!("/whip/{APP}/demo");
    let preflight = |origin: &str| {
        let ask = ask("OPTIONS", &uri).header("origin", origin);
        ask.header("access-control-request-method", "PATCH").empty()
    };
    let reply = control.send(preflight("https://app.example")).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example");
    assert!(reply.header("access-control-allow-methods").contains("PATCH"));
    let allowed = reply.header("access-control-allow-headers");
    for name in ["authorization", "content-type", "if-match", "x-private-map-key"] {
        assert!(allowed.contains(name), "{name}");
    }
    assert_eq!(reply.header("vary"), "origin");
    assert!(!reply.headers.contains_key("access-control-allow-credentials"));
    for stranger in
        ["https://app.example.evil", "http://app.example", "https://APP.example", "null"]
    {
        let reply = control.send(preflight(stranger)).await;
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{stranger}");
        assert!(!reply.headers.contains_key("access-control-allow-methods"), "{stranger}");
    }
    // Refusals are readable, too.
    let bare = ask("POST", &uri).header("origin", "https://app.example").sdp("v=0");
    let reply = control.send(bare).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example");
    let exposed = reply.header("access-control-expose-headers");
    for name in ["location", "etag", "link", "retry-after"] {
        assert!(exposed.contains(name), "{name}");
    }
    drop(control);
    let everybody = with(&["*"]);
    let reply = everybody.send(preflight("https://anywhere.example")).await;
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    drop(everybody);
    let nobody = with(&[]);
    let reply = nobody.send(preflight("https://app.example")).await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn peers_are_told_ice_servers_with_their_credentials() {
    let dir = folder("ice-servers");
    let _peer = RingPeer::start(&dir, 1);
    let links = vec![
        ice_link("stun:stun.example:3478", None).unwrap(),
        ice_link("turns:turn.example?transport=tcp", Some(("u", "p\"w\\d"))).unwrap(),
    ];
    assert!(format!("{links:?}").matches("Sensitive").count() == 2, "not in logs");
    let control = Control::start_live(&dir, |live| live.ice_links = links);
    control.is_up().await;
    let sig = user_sig(APP, "alice");
    let post = ask("POST", &format!("/whip/{APP}/demo")).bearer(&sig).sdp(CHROMIUM_CAMERA);
    let reply = control.send(post).await;
    let told: Vec<&HeaderValue> = reply.headers.get_all("link").iter().collect();
    assert_eq!(told[0], "<stun:stun.example:3478>; rel=\"ice-server\"");
    let turn = "<turns:turn.example?transport=tcp>; rel=\"ice-server\"; username=\"u\"; \
                credential=\"p\\\"w\\\\d\"; credential-type=\"password\"";
    assert_eq!(told[1], turn);
    assert_eq!(told.len(), 2);
}

/// A listener's end of an event stream over HTTP/1.1.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(address: SocketAddr, path: &str) -> (u16, Stream) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Stream(BufReader::new(stream));
        let status = stream.line().await.split(' ').nth(1).unwrap().parse().unwrap();
        let mut is_stream = false;
        loop {
            let line = stream.line().await;
            is_stream |= line.eq_ignore_ascii_case("content-type: text/event-stream");
            if line.is_empty() {
                break;
            }
        }
        assert_eq!(is_stream, status == 200);
        (status, stream)
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("in time").unwrap();
        line.trim_end().to_owned()
    }

    /// The next event: its name and its data.
    async fn event(&mut self) -> (String, serde_json::Value) {
        let mut name = String::new();
        loop {
            let line = self.line().await;
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    async fn ends(mut self) -> bool {
        let mut rest = String::new();
        let end = self.0.read_to_string(&mut rest);
        tokio::time::timeout(Duration::from_secs(10), end).await.is_ok() && !rest.contains("data:")
    }
}

async fn join(control: &Control, api: &str, user: &str, offer: &str) -> Reply {
    let sig = user_sig(APP, user);
    let uri = format!("/{api}/{APP}/demo");
    let reply = control.send(ask("POST", &uri).bearer(&sig).sdp(offer)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply
}

/// Where a subscriber's events are.
fn events_of(reply: &Reply) -> String {
    let link = reply.header("link");
    let rel = "rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"slot\"";
    assert!(link.ends_with(rel), "{link}");
    let path = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
    assert_eq!(path.len(), "/events/".len() + 32);
    path
}

async fn serve(control: &Control, stop: watch::Receiver<bool>) -> SocketAddr {
    let listen = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let server = Server::bind(&listen, None, control.router.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(stop));
    address
}

/// The session of a subscriber, and who publishes.
fn sessions(peer: &RingPeer) -> (OpenSession, OpenSession) {
    peer.with(|seen| {
        let one = |has: fn(&&OpenSession) -> bool| *seen.sessions.values().find(has).unwrap();
        (one(|open| !open.slots.is_empty()), one(|open| !open.publications.is_empty()))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_who_is_in_which_section_until_it_leaves() {
    let dir = folder("events");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (stop, stopped) = watch::channel(false);
    let address = serve(&control, stopped).await;
    join(&control, "whip", "alice", CHROMIUM_CAMERA).await;
    let viewer = join(&control, "whep", "bob", CHROMIUM_VIEWER).await;
    let (subscriber, publisher) = sessions(&peer);
    let slot =
        |slot: u8, state: SlotState| Event::Slot { session: subscriber.session, slot, state };
    let member = publisher.member;
    let publication = publisher.publications[1].publication;
    peer.with(|seen| seen.tell.push(slot(1, SlotState::On { member, publication })));
    let path = events_of(&viewer);
    let shown = |c: &Control| {
        let id = path.strip_prefix("/events/").unwrap().parse().unwrap();
        c.hub.listen(id).unwrap().2.iter().any(|view| view.state == "on")
    };
    control.wait_for(shown).await;

    let (status, mut stream) = Stream::open(address, &path).await;
    assert_eq!(status, 200);
    let json = |mid: &str, csrc: Option<u32>, user: Option<&str>, kind: &str, state: &str| {
        let data = serde_json::json!({"mid": mid, "csrc": csrc, "user": user, "kind": kind, "state": state});
        ("slot".to_owned(), data)
    };
    assert_eq!(stream.event().await, json("0", None, None, "audio", "off"));
    let on = json("1", Some(publication.0), Some("alice"), "video", "on");
    assert_eq!(stream.event().await, on);
    peer.with(|seen| seen.tell.push(slot(1, SlotState::CodecMismatch { member })));
    let mismatch = json("1", None, Some("alice"), "video", "codec_mismatch");
    assert_eq!(stream.event().await, mismatch);
    peer.with(|seen| seen.tell.push(slot(1, SlotState::Off)));
    assert_eq!(stream.event().await, json("1", None, None, "video", "off"));
    // Somebody who is not in the room's books, a section that there is not: no panic, no name.
    let stranger = SlotState::CodecMismatch { member: MemberNo(1) };
    peer.with(|seen| seen.tell.extend([slot(9, SlotState::Off), slot(0, stranger)]));
    assert_eq!(stream.event().await, json("0", None, None, "audio", "codec_mismatch"));

    let (_, second) = Stream::open(address, &path).await;
    assert_eq!(EVENT_STREAMS_PER_RESOURCE, 2);
    assert_eq!(Stream::open(address, &path).await.0, 429);
    drop(second);
    assert_eq!(Stream::open(address, "/events/00000000000000000000000000000000").await.0, 404);
    assert_eq!(Stream::open(address, "/events/x").await.0, 404);
    let post = control.send(ask("POST", &path).empty()).await;
    assert_eq!((post.problem().0, post.header("allow")), (405, "GET, HEAD"));

    assert_eq!(control.send(ask("DELETE", viewer.header("location")).empty()).await.status, 200);
    let end = ("end".to_owned(), serde_json::json!({"reason": "left"}));
    assert_eq!(stream.event().await, end);
    assert!(stream.ends().await);
    assert_eq!(Stream::open(address, &path).await.0, 404);
    stop.send(true).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_either_process() {
    let dir = folder("events-again");
    let first = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let (_stop, stopped) = watch::channel(false);
    let address = serve(&control, stopped.clone()).await;
    join(&control, "whip", "alice", CHROMIUM_CAMERA).await;
    let path = events_of(&join(&control, "whep", "bob", CHROMIUM_VIEWER).await);
    let (_, mut stream) = Stream::open(address, &path).await;
    let (subscriber, publisher) = sessions(&first);
    let session = subscriber.session;
    let (member, publication) = (publisher.member, publisher.publications[0].publication);
    let on = SlotState::On { member, publication };
    first.with(|seen| seen.tell.push(Event::Slot { session, slot: 0, state: on }));
    while stream.event().await.1["state"] != "on" {}
    drop(first);
    // The next data plane starts with empty slots, and says when they fill.
    let second = RingPeer::start(&dir, 2);
    let off = stream.event().await.1;
    assert_eq!((&off["mid"], &off["state"]), (&"0".into(), &"off".into()));
    control.wait_for(|_| second.with(|seen| seen.sessions.len() == 2)).await;
    second.with(|seen| seen.tell.push(Event::Slot { session, slot: 0, state: on }));
    while stream.event().await.1["user"] != "alice" {}

    control.hub.close_streams();
    assert!(stream.ends().await, "without an end: the browser asks again");
    drop(control);
    let control = Control::up(&dir, 0).await;
    let address = serve(&control, stopped).await;
    let (status, mut stream) = Stream::open(address, &path).await;
    assert_eq!((status, stream.event().await.0), (200, "slot".into()));
}

/// A node that comes back: all viewers behind one address open their streams again at once.
#[tokio::test]
async fn whoever_knows_the_address_of_events_does_not_spend_the_budget_of_joins() {
    let dir = folder("events-rate");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 3).await;
    let path = events_of(&join(&control, "whep", "bob", CHROMIUM_VIEWER).await);
    let guess = || ask("GET", "/events/00000000000000000000000000000000").empty();
    let mut guesses = 0;
    let refused = loop {
        let reply = control.send(guess()).await;
        if reply.status != 404 {
            break reply;
        }
        guesses += 1;
        assert!(guesses < 1000, "guesses are free");
    };
    assert_eq!(refused.problem(), (429, "join_rate".into()));
    for _ in 0..20 {
        let request = ask("GET", &path).empty();
        let opened = tower::ServiceExt::oneshot(control.router.clone(), request).await.unwrap();
        assert_eq!(opened.status(), 200);
    }
}

/// Time stands still while somebody works, so fifteen seconds pass at once.
#[tokio::test]
async fn a_silent_event_stream_shows_that_it_lives() {
    let dir = folder("events-silent");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let path = events_of(&join(&control, "whep", "bob", CHROMIUM_VIEWER).await);
    let request = ask("GET", &path).empty();
    let response = tower::ServiceExt::oneshot(control.router.clone(), request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut frames = response.into_body().into_data_stream();
    let mut seen = String::new();
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    while !seen.contains("\n:") && !seen.starts_with(':') {
        let frame = std::future::poll_fn(|cx| {
            futures_util::Stream::poll_next(std::pin::Pin::new(&mut frames), cx)
        });
        seen.push_str(std::str::from_utf8(&frame.await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(seen.matches("event: slot").count(), 2);
    assert!(before.elapsed() >= EVENT_KEEPALIVE && before.elapsed() < 2 * EVENT_KEEPALIVE);
}

/// An operator's hook that answers every question with `answer`, and keeps what it was asked.
async fn hook(answer: &'static str) -> (Hook, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, questions) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let mut len = 0;
            while !String::from_utf8_lossy(&request[..len]).trim_end().ends_with('}') {
                len += stream.read(&mut request[len..]).await.unwrap();
            }
            // A test that asked enough no longer listens.
            let _ = asked.send(String::from_utf8_lossy(&request[..len]).into_owned()).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (Hook { address, path: "/place".into() }, questions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_may_send_a_join_elsewhere_and_whatever_else_it_does_it_is_served_here() {
    let dir = folder("redirect");
    let _peer = RingPeer::start(&dir, 1);
    let sig = user_sig(APP, "alice");
    let post = || {
        let ask = ask("POST", &format!("/whip/{APP}/demo?stream=main")).bearer(&sig);
        ask.sdp(CHROMIUM_CAMERA)
    };
    let elsewhere = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n\
                     {\"location\":\"https://b.example/whip/1400000001/demo\"}";
    let elsewhere =
        elsewhere.replace("50", &elsewhere.split("\r\n\r\n").nth(1).unwrap().len().to_string());
    let (to_b, mut questions) = hook(elsewhere.leak()).await;
    let control = Control::start_live(&dir, |live| live.redirect = Some(to_b));
    control.is_up().await;
    let reply = control.send(post()).await;
    let location = reply.header("location");
    assert_eq!((reply.status, location), (307, "https://b.example/whip/1400000001/demo"));
    let question = questions.recv().await.unwrap();
    assert!(question.starts_with("POST /place HTTP/1.1\r\n"));
    let asked: serde_json::Value =
        serde_json::from_str(question.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&asked["sdkappid"], &asked["role"]), (&APP.into(), &"publish".into()));
    assert_eq!(asked["room"].as_str().unwrap().len(), 64);
    assert!(
        !question.contains("demo\"") && !question.contains("alice") && !question.contains(&sig)
    );
    // Strangers do not reach the hook.
    let forged = ask("POST", &format!("/whip/{APP}/demo")).bearer("eJw*").sdp(CHROMIUM_CAMERA);
    assert_eq!(control.send(forged).await.status, 401);
    assert!(questions.try_recv().is_err());
    drop(control);

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut hooks = vec![Hook { address: closed, path: "/".into() }];
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"location\":\"/here/x\"}",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{",
        "nonsense\r\n\r\n",
        "",
    ] {
        hooks.push(hook(answer).await.0);
    }
    for hook in hooks {
        let control = Control::start_live(&dir, |live| live.redirect = Some(hook));
        control.is_up().await;
        assert_eq!(control.send(post()).await.status, 201);
    }
}

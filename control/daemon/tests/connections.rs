//! What one host can do with connections alone, over real sockets: not keep others out, not stay
//! without a request; and event streams, which are silent by nature, live on.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use config::{Listen, Tls};
use daemon::api::server::{self, Server};
use daemon::limits::{
    CONNECTION_IDLE, CONNECTIONS_MAX, CONNECTIONS_PER_SOURCE, EVENT_KEEPALIVE, HANDSHAKE_TIMEOUT,
    HEADER_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, REQUEST_TIMEOUT,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use support::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};

/// `/` answers at once; `/hold` begins an answer and never ends it.
fn plain() -> Router {
    let begun = || futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
    let hold =
        move || async move { Body::from_stream(begun().chain(futures_util::stream::pending())) };
    Router::new().route("/", get(|| async { "ok" })).route("/hold", get(hold))
}

/// Serves until the sender is dropped or told.
async fn serve(router: Router, tls: Option<&Tls>) -> (SocketAddr, watch::Sender<bool>) {
    let listen = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let tls = tls.map(|files| server::tls(files).unwrap());
    let server = Server::bind(&listen, tls, router).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.serve(stopped));
    (address, stop)
}

async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Asks, and returns the connection once an answer has begun; `None` when it was closed instead.
async fn ask_from(source: &str, address: SocketAddr, path: &str) -> Option<TcpStream> {
    let mut stream = connect_from(source, address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    // A connection that was closed at once may refuse it.
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    let read = timeout(Duration::from_secs(10), stream.read_exact(&mut head)).await;
    read.expect("an answer or an end, in time").ok()?;
    assert_eq!(&head, b"HTTP/1.1 200");
    Some(stream)
}

/// Both ends of every connection are here.
fn allow_descriptors(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum >= count), "{maximum:?} descriptors are too few");
    if current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_holds_its_share_of_connections_keeps_nobody_else_out() {
    allow_descriptors(2 * CONNECTIONS_PER_SOURCE as u64 + 256);
    let (address, _stop) = serve(plain(), None).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_PER_SOURCE {
        held.push(ask_from("127.0.0.1", address, "/hold").await.expect("within its share"));
    }
    // What is over the share is closed at once, unheard.
    let mut silent = connect_from("127.0.0.1", address).await;
    let end = timeout(HEADER_TIMEOUT / 2, silent.read(&mut [0; 1])).await.expect("at once");
    assert_eq!(end.unwrap(), 0);
    assert!(ask_from("127.0.0.1", address, "/").await.is_none());
    assert!(ask_from("127.0.0.2", address, "/").await.is_some());
    const { assert!(CONNECTIONS_PER_SOURCE <= CONNECTIONS_MAX / 4) };

    // A place that is given back can be had again, as soon as the node sees that.
    drop(held.pop());
    let again = async { while ask_from("127.0.0.1", address, "/").await.is_none() {} };
    timeout(Duration::from_secs(10), again).await.expect("the place is free");
}

/// What a client sends of HTTP/2 before anything else: the preface, and no settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How long it takes until the other end closes.
async fn closes(mut stream: impl AsyncRead + Unpin) -> Duration {
    let begin = Instant::now();
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let end = timeout(Duration::from_secs(3600), stream.read_to_end(&mut bytes)).await;
    drop(end.expect("it stays open for an hour"));
    begin.elapsed()
}

/// Lets paused time pass in steps, each once a datagram has come that was sent after everything else. Left
/// alone it jumps to the next timer as soon as nobody here has work, also while the kernel still carries
/// bytes from one socket to another.
fn let_time_pass() {
    const STEP: Duration = Duration::from_millis(50);
    let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    own.connect(own.local_addr().unwrap()).unwrap();
    let mut steps = tokio::time::interval(STEP);
    tokio::spawn(async move {
        loop {
            steps.tick().await;
            // Both on the runtime's only thread: paused time stands still meanwhile.
            own.send(b"and now?").unwrap();
            own.recv(&mut [0; 8]).unwrap();
        }
    });
}

/// About that time: some work and timers of the other end come on top.
fn is_about(took: Duration, expected: Duration) -> bool {
    (expected..expected + Duration::from_secs(1)).contains(&took)
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_and_asks_nothing_is_closed_however_the_silence_begins() {
    let_time_pass();
    let (address, _stop) = serve(plain(), None).await;
    let half_head = &b"GET / HTTP/1.1\r\nHost: x\r\n"[..];
    let silences = [&b""[..], &PREFACE[..1], &PREFACE[..10], &PREFACE[..24], PREFACE, half_head];
    join_all(silences.map(async |words| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        let took = closes(stream).await;
        assert!(is_about(took, HEADER_TIMEOUT), "{took:?} {words:?}");
    }))
    .await;
    // HTTP/1.1 after its first request.
    let stream = ask_from("127.0.0.1", address, "/").await.unwrap();
    let took = closes(stream).await;
    assert!(took < CONNECTION_IDLE + Duration::from_secs(1), "{took:?}");
}

/// A certificate and key for 127.0.0.1.
fn certificate(dir: &Path) -> Tls {
    use std::os::unix::fs::PermissionsExt;
    let files = Tls { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&files.key)
        .arg("-out")
        .arg(&files.cert)
        .output()
        .expect("openssl is here");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    files
}

/// A client that trusts this certificate alone and speaks this protocol.
fn connector(files: &Tls, protocol: &[u8]) -> tokio_rustls::TlsConnector {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

#[tokio::test(start_paused = true)]
async fn a_finished_handshake_buys_no_silence_either() {
    let files = certificate(&folder("silent-tls"));
    let_time_pass();
    let (address, _stop) = serve(plain(), Some(&files)).await;
    let took = closes(TcpStream::connect(address).await.unwrap()).await;
    assert!(is_about(took, HANDSHAKE_TIMEOUT), "{took:?}");
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let stream = connector(&files, protocol).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        let took = closes(stream).await;
        assert!(is_about(took, HEADER_TIMEOUT), "{took:?}");
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// As much of an HTTP/2 client (RFC 9113) as it takes to ask once.
struct Http2 {
    stream: TcpStream,
    answers_pings: bool,
}

impl Http2 {
    async fn ask(address: SocketAddr, path: &str) -> Http2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let mut http = Http2 { stream, answers_pings: true };
        // RFC 7541, static table: GET, http, and a path in plain letters.
        let mut fields = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        fields.extend(path.as_bytes());
        http.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields).await;
        http
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).unwrap();
        let frame = [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat();
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next frame's type and flags; `None` at the end. Settings are taken, pings answered.
    async fn frame(&mut self) -> Option<(u8, u8)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let (kind, flags) = (head[3], head[4]);
        if kind == SETTINGS && flags & ACK == 0 {
            self.send(SETTINGS, ACK, 0, &[]).await;
        }
        if kind == PING && flags & ACK == 0 && self.answers_pings {
            self.send(PING, ACK, 0, &payload).await;
        }
        Some((kind, flags))
    }

    /// Waits for a frame of this type.
    async fn until(&mut self, kind: u8) -> u8 {
        loop {
            let (seen, flags) = self.frame().await.expect("it is still open");
            if seen == kind {
                return flags;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_without_requests_is_said_goodbye_whether_it_answers_pings_or_not() {
    let_time_pass();
    let (address, _stop) = serve(plain(), None).await;
    join_all([true, false].map(async |answers_pings| {
        let mut http = Http2::ask(address, "/").await;
        while http.until(DATA).await & END_STREAM == 0 {}
        let begin = Instant::now();
        http.answers_pings = answers_pings;
        let mut goodbyes = 0;
        let end = async {
            while let Some((kind, _)) = http.frame().await {
                goodbyes += u32::from(kind == GOAWAY);
            }
        };
        timeout(Duration::from_secs(3600), end).await.expect("it stays open for an hour");
        let took = begin.elapsed();
        assert!(goodbyes > 0, "not without a word");
        let bound = CONNECTION_IDLE + REQUEST_TIMEOUT + Duration::from_secs(1);
        assert!(took >= PING_INTERVAL && took < bound, "{took:?}");
        assert!(!answers_pings || is_about(took, CONNECTION_IDLE), "{took:?}");
    }))
    .await;
}

/// A subscriber's resource, and where its events are.
async fn subscribed(control: &Control) -> String {
    let sig = user_sig(APP, "bob");
    let post = ask("POST", &format!("/whep/{APP}/demo")).bearer(&sig).sdp(CHROMIUM_VIEWER);
    let reply = control.send(post).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let link = reply.header("link");
    link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned()
}

/// Far longer than everything that bounds connections.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn event_streams_outlive_every_bound_and_end_with_a_client_that_is_gone() {
    let dir = folder("long-events");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let path = subscribed(&control).await;
    let (address, _stop) = serve(control.router.clone(), None).await;
    tokio::time::pause();
    let_time_pass();

    let mut stream = ask_from("127.0.0.1", address, &path).await.expect("an answer");
    let begin = Instant::now();
    let mut text = Vec::new();
    while begin.elapsed() < LONG {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "after {:?}", begin.elapsed());
    }
    let signs = String::from_utf8_lossy(&text).matches("\n:").count();
    let expected = (LONG.as_secs() / EVENT_KEEPALIVE.as_secs()) as usize;
    assert!((expected - 1..=expected + 1).contains(&signs), "{signs}");

    let mut http = Http2::ask(address, &path).await;
    let begin = Instant::now();
    let mut pings = 0;
    while begin.elapsed() < LONG {
        let (kind, flags) = http.frame().await.expect("it lives");
        pings += u32::from(kind == PING && flags & ACK == 0);
        assert!(kind != GOAWAY && !(kind == DATA && flags & END_STREAM != 0));
    }
    assert!(pings > 0);
    http.answers_pings = false;
    let begin = Instant::now();
    let end = async { while http.frame().await.is_some() {} };
    timeout(LONG, end).await.expect("it stays open");
    assert!(begin.elapsed() < PING_INTERVAL + PING_TIMEOUT + EVENT_KEEPALIVE);
}

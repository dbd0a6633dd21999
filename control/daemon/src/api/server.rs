//! Listeners and connections: TLS, time limits, a bound on how many there are.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use config::{Listen, Tls};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::api::Peer;
use crate::api::connections::{Held, Requests, Sources};
use crate::api::rates::Source;
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_SOURCE, HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, PING_INTERVAL,
    PING_TIMEOUT, REQUEST_TIMEOUT, REQUESTS_PER_CONNECTION, SHUTDOWN_GRACE,
};
use crate::logs::LogLimit;
use crate::mask;

/// A bound listener.
pub struct Server {
    listener: Listener,
    tls: Option<TlsAcceptor>,
    router: Router,
    sources: Sources,
    log: LogLimit,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, std::path::PathBuf),
}

/// Reads certificate and key.
///
/// # Errors
/// What is wrong with the files.
pub fn tls(files: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    use anyhow::Context;
    config::secret::check_key_file(&files.key)?;
    let at = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| at(&files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).with_context(|| at(&files.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| at(&files.cert))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// When the first certificate of the chain ends, in Unix seconds.
///
/// # Errors
/// What is wrong with the file.
pub fn certificate_expiry(files: &Tls) -> anyhow::Result<u64> {
    use anyhow::Context;
    let at = || files.cert.display().to_string();
    let pem = std::fs::read(&files.cert).with_context(at)?;
    dtls::certificate_expiry(&pem).with_context(at)
}

impl Server {
    /// Binds. Plain HTTP only where nobody else can listen in: on loopback or a Unix socket.
    ///
    /// # Errors
    /// The host's; [`io::ErrorKind::InvalidInput`] for plain HTTP on another address.
    pub async fn bind(
        listen: &Listen,
        tls: Option<Arc<ServerConfig>>,
        router: Router,
    ) -> io::Result<Server> {
        if tls.is_none() && !listen.is_local() {
            let what = "plain HTTP is served on loopback or a Unix socket only; set tls_cert";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let listener = match listen {
            Listen::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
            Listen::Unix(path) => Listener::Unix(bind_unix(path).await?, path.clone()),
        };
        let tls = tls.filter(|_| matches!(listener, Listener::Tcp(_))).map(TlsAcceptor::from);
        let (sources, log) = (Sources::new(CONNECTIONS_PER_SOURCE), LogLimit::default());
        Ok(Server { listener, tls, router, sources, log })
    }

    /// The address, with the port that the host chose for port 0.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Serves until `stop` turns true, then lets connections finish for a while.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while !*stop.borrow() {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            tokio::select! {
                accepted = self.accept(slot, stop.clone()) => {
                    if let Err(error) = accepted {
                        // No descriptors, for instance: others are still served.
                        tracing::error!(%error, "a connection could not be accepted");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
                _ = stop.changed() => break,
            }
        }
        let all = slots.acquire_many(CONNECTIONS_MAX as u32);
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, all).await;
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }

    async fn accept(
        &self,
        slot: OwnedSemaphorePermit,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let router = self.router.clone();
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let Some(held) = self.hold(address.ip()) else { return Ok(()) };
                stream.set_nodelay(true)?;
                let peer = Peer(Some(address.ip().to_canonical()));
                let tls = self.tls.clone();
                tokio::spawn(async move {
                    let (_slot, _held) = (slot, held);
                    let Some(tls) = tls else { return serve_one(stream, peer, router, stop).await };
                    // A failed handshake is the stranger's business, and no line in our log.
                    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        serve_one(stream, peer, router, stop).await;
                    }
                });
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let _slot = slot;
                    serve_one(stream, Peer(None), router, stop).await;
                });
            }
        }
        Ok(())
    }

    /// A place for a connection of a source; none where it has its share, so that others get in.
    fn hold(&self, ip: IpAddr) -> Option<Held> {
        let held = self.sources.hold(Source::of(Some(ip)));
        if held.is_none()
            && let Some(suppressed) = self.log.allow()
        {
            let source = mask::address(ip);
            tracing::warn!(source, suppressed, "a source has as many connections as it may");
        }
        held
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let requests = Requests::default();
    let idle = requests.idle();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let serving = requests.begin();
        request.extensions_mut().insert(peer);
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await?;
            // Streams last; what has a length is to be taken, and does not keep a connection busy.
            Ok::<_, Infallible>(match answer.body().size_hint().exact() {
                Some(_) => answer,
                None => answer.map(|body| serving.with_body(body)),
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(REQUESTS_PER_CONNECTION);
    http2.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // Broken requests are the client's business.
        _ = connection.as_mut() => return,
        has_begun = idle => {
            if !has_begun {
                return;
            }
        }
        _ = stop.changed() => {}
    }
    // A request may be on its way just now; whoever does not even take our goodbye is cut off.
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
}

/// Binds a Unix socket; a file that a killed process left is replaced, a living one is not.
pub async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let refused = tokio::net::UnixStream::connect(path).await;
            if !refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

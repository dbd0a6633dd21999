//! DTLS-SRTP for sessions with ICE: datagrams that shards punt, and the associations they belong to.
//!
//! One thread of its own does it, since a handshake takes more than half a millisecond of arithmetic: it
//! must delay neither the link nor HTTP. It sleeps without a timer while no handshake is unfinished.
//!
//! | file | what it holds |
//! |---|---|
//! | `table` | associations, half-open limits, deadlines: what may begin and what must end |
//! | `queues` | datagrams that wait; sessions take turns |
//! | `identities` | our certificate and its rotation |
//!
//! An association belongs to a session of the directory, and begins with a ClientHello from a path that
//! the shard's ICE agent has validated. Its keys are ordered before the flight that lets the peer use
//! them. It then stays, to repeat that flight, to hear the peer's goodbye and to say ours when its session ends.
//! After a restart of this process there are none: sessions that have keys go on without.

pub mod identities;
pub mod queues;
pub mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dtls::{Keys, Profile, Refusal};
use proto::{KeyMaterial, List, SdkAppId, SecurityEvent, SessionId, SrtpProfile};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroize;

use crate::directory::DtlsPeer;
use crate::export::Metrics;
use crate::limits::{DTLS_PUNTS_MAX, DTLS_TICK};
use crate::link::hub::{Hub, Punt};
use crate::logs::LogLimit;
use queues::Queues;
use table::{End, Outside, Table};

/// How much this thread stands back behind the others of the process, in units of `nice`.
const NICENESS: i32 = 5;

/// The thread that serves handshakes.
pub struct Service {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Service {
    /// Starts it: from now on it gets what shards punt.
    ///
    /// # Errors
    /// The host has no thread, or no timer for it.
    pub fn start(hub: Arc<Hub>, metrics: Arc<Metrics>) -> std::io::Result<Service> {
        let (punts, punted) = mpsc::channel(DTLS_PUNTS_MAX);
        // Every session ends once, so what waits here is bounded by the sessions of the shards.
        let (ends, ended) = mpsc::unbounded_channel();
        hub.set_handshakes(punts, ends);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let bridge = Bridge { hub, metrics, log: LogLimit::default() };
        let serve = serve(Inbox { punted, ended, queues: Queues::default() }, bridge, stopped);
        let thread = std::thread::Builder::new().name("dtls".to_owned()).spawn(move || {
            // Of this thread alone, as Linux has it; without it handshakes just take their share.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            runtime.block_on(serve);
        })?;
        Ok(Service { stop, thread })
    }

    /// Ends it. Finished handshakes are not affected, others fail.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the handshakes' thread had panicked");
        }
    }
}

/// What arrives.
struct Inbox {
    punted: mpsc::Receiver<Punt>,
    ended: mpsc::UnboundedReceiver<SessionId>,
    queues: Queues,
}

async fn serve(mut inbox: Inbox, mut bridge: Bridge, mut stop: oneshot::Receiver<()>) {
    let mut table = Table::default();
    let mut tick_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            Some(session) = inbox.ended.recv() => {
                table.forget(Instant::now(), session, &mut bridge);
            }
            Some((session, datagram)) = inbox.punted.recv() => {
                bridge.enqueue(&mut inbox.queues, session, datagram);
            }
            () = tokio::time::sleep_until(tick_at.into()), if table.half_open() > 0 => {}
        }
        loop {
            inbox.take_in(&mut table, &mut bridge);
            let now = Instant::now();
            if now >= tick_at {
                table.tick(now, &mut bridge);
                tick_at = now + DTLS_TICK;
            }
            let Some((session, datagram)) = inbox.queues.pop() else { break };
            table.receive(now, session, &datagram, &mut bridge);
            if stop.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                return;
            }
        }
        bridge.metrics.dtls_half_open(table.half_open());
    }
}

impl Inbox {
    /// Takes whatever has arrived, so that turns are among all of it.
    fn take_in(&mut self, table: &mut Table, bridge: &mut Bridge) {
        while let Ok(session) = self.ended.try_recv() {
            table.forget(Instant::now(), session, bridge);
        }
        // As many as the channel holds: more may arrive meanwhile.
        for _ in 0..DTLS_PUNTS_MAX {
            let Ok((session, datagram)) = self.punted.try_recv() else { break };
            bridge.enqueue(&mut self.queues, session, datagram);
        }
    }
}

/// The rest of the process.
struct Bridge {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    log: LogLimit,
}

impl Bridge {
    fn enqueue(&self, queues: &mut Queues, session: SessionId, datagram: Vec<u8>) {
        if !queues.push(session, datagram) {
            self.metrics.dtls_dropped();
        }
    }
}

impl Outside for Bridge {
    fn peer(&mut self, session: SessionId) -> Option<DtlsPeer> {
        self.hub.dtls_peer(session)
    }

    fn install(&mut self, session: SessionId, keys: &Keys) -> bool {
        let profile = match keys.profile {
            Profile::AeadAes128Gcm => SrtpProfile::AeadAes128Gcm,
            Profile::AeadAes256Gcm => SrtpProfile::AeadAes256Gcm,
            Profile::AesCm128HmacSha1_80 => SrtpProfile::AesCm128HmacSha1_80,
        };
        let material = |bytes: &[u8]| List::from_slice(bytes).map(|bytes| KeyMaterial { bytes });
        let (Some(mut rx), Some(mut tx)) = (material(&keys.client), material(&keys.server)) else {
            return false;
        };
        let is_installed = self.hub.install_keys(session, profile, &rx, &tx);
        rx.bytes.zeroize();
        tx.bytes.zeroize();
        is_installed
    }

    fn send(&mut self, session: SessionId, datagram: &[u8]) {
        // What is dropped there is counted there; DTLS says it again.
        self.hub.inject(session, datagram);
    }

    fn left(&mut self, session: SessionId) {
        self.hub.left(session);
    }

    fn ended(&mut self, app: SdkAppId, end: End, took: Duration) {
        self.metrics.dtls_handshake(end.name(), took);
        if matches!(end, End::Ok | End::Overtaken) {
            return;
        }
        let (app, reason) = (app.0, end.name());
        if let End::Refused(Refusal::Certificate | Refusal::NoCertificate) = end {
            // Either an intermediary has its hands in it, or the signalling was tampered with.
            let (event, about) = (SecurityEvent::DtlsPeerMismatch, format!("app {app}: {reason}"));
            self.metrics.security.report(event, &about, 1);
        } else if let Some(suppressed) = self.log.allow() {
            tracing::info!(app, reason, suppressed, "a DTLS handshake came to nothing");
        }
    }
}

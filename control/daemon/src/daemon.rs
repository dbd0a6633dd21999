//! Puts the parts together: from a configuration to a running control process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::HeaderValue;
use config::{Config, PortType};
use proto::link::ADMIN_SOCKET;
use proto::{Quota, SdkAppId};
use sha2::{Digest, Sha256};
use token::{AppKeys, Secret};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::admin::audit::Audit;
use crate::api::cors::Cors;
use crate::api::rates::Rates;
use crate::api::server::{self, Server};
use crate::api::{self, Api, AppAccess, Live};
use crate::demo;
use crate::directory::{BlobKey, Directory, ROOM_SESSIONS_PER_SHARD, Settings, SystemEntropy};
use crate::export::Metrics;
use crate::handshakes::Service;
use crate::handshakes::identities::Identities;
use crate::limits::{EVENT_STREAMS_MAX, SOURCE_SWEEP};
use crate::link::Link;
use crate::link::hub::Hub;
use crate::logs::LogLimit;
use crate::notify::Notifier;
use crate::running::Running;
use crate::signalling::address::MediaAddresses;

/// How often the shards' load is measured.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// The audit file's name.
const AUDIT_FILE: &str = "audit.jsonl";
/// The name of the file of incidents.
const INCIDENTS_FILE: &str = "incidents.jsonl";

/// A running control process.
pub struct Daemon {
    /// Where requests meet the link.
    pub hub: Arc<Hub>,
    /// The configuration that runs.
    pub running: Arc<Running>,
    audit: Arc<Audit>,
    rounds: Arc<AtomicU64>,
    /// Signalling over TCP.
    pub listen: Option<SocketAddr>,
    /// Health and metrics over TCP.
    pub admin_listen: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    link: Link,
    handshakes: Service,
}

/// Reads the secrets of every app.
///
/// # Errors
/// The file and what is wrong with it, never its content.
pub fn apps(config: &Config) -> Result<HashMap<u32, AppAccess>> {
    let mut apps = HashMap::new();
    for app in &config.apps {
        let mut secrets = Vec::new();
        let mut digest = Sha256::new();
        for file in &app.secret_files {
            // Its sentence names the cause already: no chain to print twice.
            let text = file.read().map_err(|error| anyhow::anyhow!("{error}"))?;
            let secret = Secret::from_file_content(text.as_bytes())
                .with_context(|| format!("{file}: app {}", app.sdkappid))?;
            digest.update(text.as_bytes());
            digest.update(b"\n");
            secrets.push(secret);
        }
        let access = AppAccess {
            keys: AppKeys::new(app.sdkappid, secrets)?,
            private_map_key_required: app.private_map_key_required,
            joins_per_s: app.quota.joins_per_s,
            is_suspended: app.suspended,
            digest: digest.finalize().into(),
        };
        apps.insert(app.sdkappid, access);
    }
    Ok(apps)
}

/// Reads what peers are told about ICE servers.
///
/// # Errors
/// The file of a password and what is wrong with it.
pub fn ice_links(config: &Config) -> Result<Vec<HeaderValue>> {
    let link = |server: &config::IceServer| {
        let file = server.credential_file.as_ref();
        let password = file.map(|file| file.read()).transpose()?;
        let credentials = server.username.as_deref().zip(password.as_ref().map(|p| p.as_str()));
        api::ice_link(&server.url, credentials).context("a header cannot carry it")
    };
    let links = config.control.ice_servers.iter().map(link);
    links.collect::<Result<_>>().context("control.ice_servers")
}

/// Everything that requests see and a reload exchanges; reads the files of secrets.
///
/// # Errors
/// The file and what is wrong with it.
pub fn live(config: &Config) -> Result<Live> {
    Ok(Live {
        apps: apps(config)?,
        skew_s: u64::from(config.token_skew_s),
        ice_links: ice_links(config)?,
        redirect: config.control.redirect.clone(),
    })
}

/// What shards allow each app.
pub fn quotas(config: &Config) -> HashMap<SdkAppId, Quota> {
    let quota = |app: &config::App| Quota {
        packets_per_s: app.quota.packets_per_s,
        bytes_per_s: app.quota.bytes_per_s,
        sessions: app.quota.sessions,
        rooms: app.quota.rooms,
    };
    config.apps.iter().map(|app| (SdkAppId(app.sdkappid), quota(app))).collect()
}

/// What the directory needs of a configuration.
pub fn settings(config: &Config) -> Settings {
    let shards = u16::try_from(config.workers.shards()).unwrap_or(u16::MAX);
    let udp_base = config.port.udp_base;
    Settings {
        apps: quotas(config),
        media: MediaAddresses {
            own: config.port.addresses.clone(),
            advertise: config.port.advertise.clone(),
            exclusive: matches!(config.port.kind, PortType::Dpdk { .. }),
            allow: config.sdes_allow.clone(),
            udp: udp_base..udp_base.saturating_add(shards),
        },
        udp_base,
        room_sessions_per_shard: ROOM_SESSIONS_PER_SHARD,
        blob_key: BlobKey::new(&mut SystemEntropy),
    }
}

impl Daemon {
    /// Starts everything: sockets are bound and the link is on its way when this returns. `file` is
    /// where `config` came from, and what a reload reads.
    ///
    /// # Errors
    /// What could not be read or bound.
    pub async fn start(config: &Config, file: &Path) -> Result<Daemon> {
        let run_dir = config.run_dir();
        std::fs::create_dir_all(&run_dir).with_context(|| run_dir.display().to_string())?;
        let tls = config.control.tls.as_ref().map(server::tls).transpose()?;
        let unix_s = shm::clock::unix_ns() / 1_000_000_000;
        let blob_key = BlobKey::keep(&run_dir, &mut SystemEntropy).context("blob.key")?;
        let settings = Settings { blob_key, ..settings(config) };
        let directory = Directory::new(settings, Box::new(SystemEntropy), unix_s);
        let hub = Arc::new(Hub::new(directory)?);
        let metrics = Arc::new(Metrics::new(run_dir.clone())?);
        metrics.reloaded(Some(&crate::running::hash_of(config)));
        let notify = config.notify.as_ref();
        let notifier =
            notify.map(|to| Notifier::new(to, &config.node.name, &metrics)).transpose()?;
        if let Some(files) = &config.control.tls {
            metrics.certificate("https", server::certificate_expiry(files)?);
        }
        let live = live(config)?;
        let shares: Vec<_> = live.apps.iter().map(|(id, app)| (*id, app.joins_per_s)).collect();
        let handshakes = Service::start(Arc::clone(&hub), Arc::clone(&metrics))?;
        let api = Arc::new(Api {
            hub: Arc::clone(&hub),
            identities: Arc::new(Identities::new(unix_s)?),
            rates: Rates::new(config.limits.source_joins_per_s, shares),
            live: RwLock::new(Arc::new(live)),
            metrics: Arc::clone(&metrics),
            log: LogLimit::default(),
            streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            cors: Arc::new(Cors { origins: config.control.cors_origins.clone() }),
        });
        let control = &config.control;
        let mut router = api::router(Arc::clone(&api));
        if control.demo {
            router = router.merge(demo::router());
        }
        let signalling = Server::bind(&control.listen, tls.clone(), router)
            .await
            .with_context(|| format!("control.listen {}", control.listen))?;
        let tls = tls.filter(|_| !control.admin_listen.is_local());
        let health = api::health::router(Arc::clone(&hub), Arc::clone(&metrics));
        let health = Server::bind(&control.admin_listen, tls, health)
            .await
            .with_context(|| format!("control.admin_listen {}", control.admin_listen))?;
        let incidents = incidents_path(&run_dir);
        let kept = metrics.security.incidents.keep(&incidents);
        kept.with_context(|| incidents.display().to_string())?;
        let audit = audit_path(&run_dir);
        let audit = Audit::open(&audit).with_context(|| audit.display().to_string())?;
        let audit = Arc::new(audit.reporting_to(Arc::clone(&metrics)));
        let running = Arc::new(Running::new(file.to_owned(), config, Arc::clone(&api)));
        let socket = run_dir.join(ADMIN_SOCKET);
        let admin = Admin::bind(&socket, Arc::clone(&hub), Arc::clone(&audit))
            .await
            .with_context(|| socket.display().to_string())?
            .with_node(Arc::clone(&running));
        let (stop, stopped) = watch::channel(false);
        let rounds = Arc::new(AtomicU64::new(0));
        let (listen, admin_listen) = (signalling.local_addr(), health.local_addr());
        let tasks = vec![
            tokio::spawn(signalling.serve(stopped.clone())),
            tokio::spawn(health.serve(stopped.clone())),
            tokio::spawn(admin.serve(stopped.clone())),
            tokio::spawn(end_overdue(Arc::clone(&running), stopped.clone())),
            tokio::spawn(housekeeping(api, Arc::clone(&rounds), stopped.clone())),
        ];
        let notifying = notifier.map(|notifier| tokio::spawn(notifier.run(stopped)));
        let tasks = tasks.into_iter().chain(notifying).collect();
        let link = Link::start(Arc::clone(&hub), run_dir)?;
        Ok(Daemon {
            hub,
            running,
            audit,
            rounds,
            listen,
            admin_listen,
            stop,
            tasks,
            link,
            handshakes,
        })
    }

    /// Rounds of housekeeping since the start, one a second: they stand still when the tasks, the threads
    /// for blocking work or the locks of the hub do.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Applies the configuration's file, as SIGHUP asks; what comes of it is in the log and the audit.
    pub async fn reload(&self) {
        let (running, audit) = (Arc::clone(&self.running), Arc::clone(&self.audit));
        let reloaded = tokio::task::spawn_blocking(move || {
            let own = shm::fdpass::Credentials {
                pid: std::process::id(),
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            };
            if let Err(error) = audit.prepare(own, "config.reload") {
                tracing::error!(%error, "not reloaded: the audit file cannot be written");
                return;
            }
            let code = running.reload().map_or_else(|refused| refused.code, |_| "ok");
            if let Err(error) = audit.record(own, "config.reload", "SIGHUP", code) {
                tracing::error!(%error, "a reload could not be written to the audit file");
            }
        });
        let _ = reloaded.await;
    }

    /// Ends everything. Sessions and media go on without us.
    pub async fn stop(self) {
        // Nobody listens any more only when all tasks have ended, which is what we want.
        let _ = self.stop.send(true);
        self.hub.close_streams();
        for task in self.tasks {
            let _ = task.await;
        }
        let (link, handshakes) = (self.link, self.handshakes);
        let incidents = Arc::clone(self.running.incidents());
        let both = move || {
            handshakes.stop();
            link.stop();
            if let Err(error) = incidents.flush_all() {
                tracing::error!(%error, "incidents cannot be written");
            }
        };
        let _ = tokio::task::spawn_blocking(both).await;
    }
}

/// Where the audit file lies: the service's log folder, its state folder, or beside the sockets.
fn audit_path(run_dir: &Path) -> PathBuf {
    folder(["LOGS_DIRECTORY", "STATE_DIRECTORY"], run_dir).join(AUDIT_FILE)
}

/// Where incidents lie: the service's state folder, its log folder, or beside the sockets.
fn incidents_path(run_dir: &Path) -> PathBuf {
    folder(["STATE_DIRECTORY", "LOGS_DIRECTORY"], run_dir).join(INCIDENTS_FILE)
}

/// The first of these that the service manager has set.
fn folder(variables: [&str; 2], run_dir: &Path) -> PathBuf {
    let folder = variables.into_iter().find_map(std::env::var_os);
    folder.map_or_else(|| run_dir.to_owned(), PathBuf::from)
}

/// Ends what is left when the deadline of draining has passed.
async fn end_overdue(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(LOAD_INTERVAL) => {}
            _ = stop.changed() => break,
        }
        if let Some(closing) = running.overdue() {
            closing.finished().await;
        }
    }
}

/// Looks at the counters and forgets idle sources.
async fn housekeeping(api: Arc<Api>, rounds: Arc<AtomicU64>, mut stop: watch::Receiver<bool>) {
    let mut swept = std::time::Instant::now();
    let unwritten = Arc::new(LogLimit::default());
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(LOAD_INTERVAL) => {}
            _ = stop.changed() => break,
        }
        let (shared, unwritten) = (Arc::clone(&api), Arc::clone(&unwritten));
        let look = move || {
            let loads = shared.metrics.look(&shared.hub);
            if let Err(error) = shared.metrics.security.incidents.flush()
                && let Some(suppressed) = unwritten.allow()
            {
                tracing::error!(%error, suppressed, "incidents cannot be written; they are kept in memory");
            }
            loads
        };
        let looked = tokio::task::spawn_blocking(look).await;
        for (shard, pps) in looked.unwrap_or_default() {
            api.hub.set_load(shard, pps);
        }
        api.hub.sweep_captures();
        let unix_s = shm::clock::unix_ns() / 1_000_000_000;
        api.metrics.certificate("dtls", api.identities.current(unix_s).expires_unix_s());
        if swept.elapsed() >= SOURCE_SWEEP {
            swept = std::time::Instant::now();
            api.rates.sweep();
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

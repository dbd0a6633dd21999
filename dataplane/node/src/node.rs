//! A node from its configuration: regions, workers, link; its start, its end, and what it says of
//! itself.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use config::{Aead, Config, PortType};
use port::Port;
use proto::ShardId;
use proto::link::{DATAPLANE_SOCKET, STATS_SOCKET};
use proto::region::Sizes;
use roomlane_core::{Duration, ShardConfig};
use shm::event::Event as WakeUp;
use srtp::{FanoutProvider, NoKernel, Provider, RingProvider};

use crate::idle::Poll;
use crate::link::{Link, LinkHandle, LinkParts};
use crate::mailbox::{Broken, Mailbox};
use crate::publish::Publisher;
use crate::regions::Regions;
use crate::relay::{self, Relays};
use crate::worker::{Worker, WorkerParts, clock};
use crate::{describe, pin, privileges};

/// What ends a node.
#[derive(Debug)]
pub enum End {
    /// SIGTERM or SIGINT.
    Signal(i32),
    /// A worker's thread ended by itself.
    Worker(usize),
}

/// Opens when all workers stand at their places, or not at all.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<Option<bool>>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        let mut state = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The first word counts: a gate that was opened is not shut.
        state.get_or_insert(open);
        self.changed.notify_all();
    }

    fn wait(&self) -> bool {
        let mut state = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                Some(open) => return open,
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Everything a worker's thread needs but its port.
pub struct Seat {
    /// Which worker.
    pub index: usize,
    /// Its core, when it is to be pinned.
    pub core: Option<usize>,
    /// Which worker does its I/O.
    pub io_worker: usize,
    shard: ShardConfig,
    bufs_total: u64,
    relays: Relays,
    mailbox: Mailbox,
    wake: Option<WakeUp>,
    poll: Poll,
    time_turns: bool,
    aead: Aead,
    common: Common,
}

/// What all seats share.
#[derive(Clone)]
struct Common {
    regions: Arc<Regions>,
    link: Arc<LinkHandle>,
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
    ready: Sender<Result<()>>,
    ended: Sender<End>,
}

/// Tells the node that a worker's thread has ended, however it did.
struct Obituary(Sender<End>, usize);

impl Drop for Obituary {
    fn drop(&mut self) {
        let _ = self.0.send(End::Worker(self.1));
    }
}

impl Seat {
    /// Starts the worker's thread: it goes to its core, opens its port there, and waits for the others.
    /// `open` returns the port and what must outlive it in that thread.
    ///
    /// # Errors
    /// The host has no thread.
    pub fn start<P, G, F>(self, open: F) -> Result<JoinHandle<()>>
    where
        P: Port + 'static,
        G: 'static,
        F: FnOnce() -> Result<(P, G)> + Send + 'static,
    {
        let name = format!("worker{}", self.index);
        let thread = std::thread::Builder::new().name(name).spawn(move || self.work(open));
        thread.context("the host has no thread for a worker")
    }

    /// By which code the worker seals and opens is decided here, once: from then on it is a type.
    fn work<P: Port, G>(self, open: impl FnOnce() -> Result<(P, G)>) {
        const FOUND: &str = "the kernel was found before";
        match self.aead {
            Aead::Ring => self.serve(open, RingProvider::new),
            Aead::Auto if FanoutProvider::detect().is_err() => self.serve(open, RingProvider::new),
            Aead::Auto => self.serve(open, || FanoutProvider::detect().expect(FOUND)),
            Aead::Vaes512 => {
                self.serve(open, || FanoutProvider::with_path("vaes512").expect(FOUND))
            }
            Aead::Vaes => self.serve(open, || FanoutProvider::with_path("vaes").expect(FOUND)),
            Aead::AesNi => self.serve(open, || FanoutProvider::with_path("aesni").expect(FOUND)),
        }
    }

    fn serve<P: Port, G, C: Provider>(
        self,
        open: impl FnOnce() -> Result<(P, G)>,
        provider: fn() -> C,
    ) {
        let Common { ready, gate, stop, ended, .. } = self.common.clone();
        let index = self.index;
        let _obituary = Obituary(ended, index);
        match self.sit_down(open, provider) {
            Err(error) => {
                let _ = ready.send(Err(error.context(format!("worker {index}"))));
            }
            Ok((mut worker, guard)) => {
                let _ = ready.send(Ok(()));
                drop(ready);
                if gate.wait() {
                    worker.run(&stop);
                }
                drop(worker);
                drop(guard);
            }
        }
    }

    fn sit_down<P: Port, G, C: Provider>(
        self,
        open: impl FnOnce() -> Result<(P, G)>,
        provider: fn() -> C,
    ) -> Result<(Worker<P, C>, G)> {
        if let Some(core) = self.core {
            shm::affinity::pin(core)?;
        }
        let (port, guard) = open()?;
        let (rooms_max, sessions_max) = (self.shard.rooms_max, self.shard.sessions_max);
        let regions = &self.common.regions;
        let cells = regions.cells(self.index)?;
        let parts = WorkerParts {
            shard: self.shard,
            provider,
            port,
            bufs_total: self.bufs_total,
            ledger: regions.ledger(self.index)?,
            relays: self.relays,
            mailbox: Some(self.mailbox),
            wake: self.wake,
            publisher: Some(Publisher::new(cells, rooms_max, sessions_max)),
            link: Some(self.common.link),
            poll: self.poll,
            time_turns: self.time_turns,
            core: self.core,
            io_worker: self.io_worker,
        };
        Ok((Worker::new(parts, clock()), guard))
    }
}

/// One seat per shard.
fn seats(
    config: &Config,
    cores: &[usize],
    common: &Common,
    control: &WakeUp,
    wakes: Vec<WakeUp>,
    broken: Vec<Broken>,
) -> Result<Vec<Seat>> {
    let shards = wakes.len();
    let sleeps_on_eventfd = shards == 1 && matches!(config.port.kind, PortType::Dpdk { .. });
    let mut seats = Vec::with_capacity(shards);
    let outfits = relay::mesh(shards).into_iter().zip(wakes).zip(broken);
    for (index, ((relays, wake), broken)) in outfits.enumerate() {
        seats.push(Seat {
            index,
            core: cores.get(index).copied(),
            io_worker: index,
            shard: shard_config(config, index)?,
            bufs_total: config.port.mempool_buffers.into(),
            relays,
            mailbox: Mailbox::attach(&common.regions, index, control.try_clone()?, broken)?,
            // A device that is only polled, without others to serve: it can as well sleep on the
            // eventfd.
            wake: sleeps_on_eventfd.then_some(wake),
            poll: match config.workers.poll {
                config::Poll::Busy => Poll::Busy,
                config::Poll::Adaptive => Poll::Adaptive,
            },
            time_turns: config.workers.time_turns,
            aead: config.workers.aead,
            common: common.clone(),
        });
    }
    Ok(seats)
}

/// A node whose workers stand at their places.
pub struct Node {
    regions: Arc<Regions>,
    link: Arc<LinkHandle>,
    link_thread: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
    ends: Receiver<End>,
    end: Sender<End>,
}

/// A node on its way up: regions made, sockets bound, seats to be taken.
pub struct Plan {
    node: Node,
    link: Link,
    seats: Vec<Seat>,
    ready: Receiver<Result<()>>,
}

/// Which code seals and opens AES-GCM: the word for consoles.
pub fn aead_path(aead: Aead) -> &'static str {
    match aead {
        Aead::Auto => FanoutProvider::detect().map_or("ring", |provider| provider.path()),
        forced => forced.name(),
    }
}

/// Refuses a path that this CPU does not have; says why the fastest one is not taken.
fn check_aead(aead: Aead) -> Result<()> {
    match aead {
        Aead::Ring => Ok(()),
        Aead::Auto => {
            if let Err(error) = FanoutProvider::detect() {
                tracing::warn!(%error, "ring seals and opens, at a fraction of the speed");
            }
            Ok(())
        }
        Aead::Vaes512 | Aead::Vaes | Aead::AesNi => {
            let word = aead.name();
            let refused = |error: NoKernel| {
                anyhow::anyhow!("workers.aead = \"{word}\": {error}; \"auto\" takes what there is")
            };
            FanoutProvider::with_path(word).map(drop).map_err(refused)
        }
    }
}

/// The sizes of the regions.
pub fn sizes(config: &Config) -> Sizes {
    Sizes {
        shards: config.workers.shards() as u32,
        sessions_max: config.limits.sessions_max,
        rooms_max: config.limits.rooms_max,
    }
}

impl Plan {
    /// Makes regions and sockets. Sockets come before devices, so that a second node in the same
    /// folder is refused before it touches a device; they are served once the node is up.
    ///
    /// # Errors
    /// The operator's mistakes about cores and folders, and the host's refusals.
    pub fn new(config: &Config, run_dir: &Path) -> Result<Self> {
        let cores: Vec<usize> = config.workers.cores.iter().map(|core| *core as usize).collect();
        pin::check(&cores)?;
        check_aead(config.workers.aead)?;
        prepare_run_dir(config, run_dir)?;
        let mut instance = [0; 8];
        getrandom::fill(&mut instance).context("the host has no randomness")?;
        let regions = Arc::new(Regions::create(sizes(config), u64::from_le_bytes(instance))?);
        if let Err(error) = regions.lock() {
            tracing::warn!(
                %error,
                bytes = regions.bytes().0,
                "keys in shared memory may be swapped out: raise RLIMIT_MEMLOCK (LimitMEMLOCK=)"
            );
        }
        let shards = config.workers.shards();
        let handle = Arc::new(LinkHandle::new()?);
        let control = WakeUp::new()?;
        let wakes: Vec<WakeUp> = (0..shards).map(|_| WakeUp::new()).collect::<Result<_, _>>()?;
        let broken = vec![(); shards].into_iter().map(|()| Broken::default()).collect::<Vec<_>>();
        let link = Link::bind(
            run_dir,
            LinkParts {
                regions: Arc::clone(&regions),
                shards: wakes.iter().map(WakeUp::try_clone).collect::<Result<_, _>>()?,
                broken: broken.clone(),
                control: control.try_clone()?,
                udp_base: config.port.udp_base,
                handle: Arc::clone(&handle),
            },
        )?;
        give_sockets_away(config, run_dir)?;
        let (ready_in, ready) = channel();
        let (end, ends) = channel();
        let common = Common {
            regions: Arc::clone(&regions),
            link: Arc::clone(&handle),
            gate: Arc::default(),
            stop: Arc::default(),
            ready: ready_in,
            ended: end.clone(),
        };
        let seats = seats(config, &cores, &common, &control, wakes, broken)?;
        let Common { gate, stop, .. } = common;
        let node = Node {
            regions,
            link: handle,
            link_thread: None,
            workers: Vec::with_capacity(shards),
            gate,
            stop,
            ends,
            end,
        };
        Ok(Plan { node, link, seats, ready })
    }

    /// The seats, in the order of their shards; each must be [`Seat::start`]ed.
    pub fn take_seats(&mut self) -> Vec<Seat> {
        std::mem::take(&mut self.seats)
    }

    /// Where signals report.
    pub fn end(&self) -> Sender<End> {
        self.node.end.clone()
    }

    /// The regions.
    pub fn regions(&self) -> &Arc<Regions> {
        &self.node.regions
    }

    /// Waits until every worker stands at its place with its port open.
    ///
    /// # Errors
    /// The first of them that could not; the others then end.
    pub fn await_workers(&mut self, threads: Vec<JoinHandle<()>>) -> Result<()> {
        let count = threads.len();
        self.node.workers = threads;
        for _ in 0..count {
            match self.ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => bail!("a worker's thread died while it started"),
            }
        }
        Ok(())
    }

    /// Becomes the configured user on all threads; afterwards nothing here needs a privilege.
    ///
    /// # Errors
    /// Unknown names, the host's refusal, or a thread that kept something.
    pub fn drop_privileges(&self, config: &Config) -> Result<()> {
        let threads = match (&config.workers.user, privileges::is_root()) {
            (Some(user), true) => {
                let identity = privileges::Identity::of(user, config.workers.group.as_deref())?;
                identity.assume()?
            }
            (None, true) => {
                tracing::warn!("running as root: set `workers.user` to drop privileges");
                privileges::threads()?
            }
            (_, false) => privileges::threads()?,
        };
        for thread in threads {
            tracing::info!(
                tid = thread.tid,
                name = thread.name,
                uid = thread.uids[1],
                gid = thread.gids[1],
                cap_eff = format!("{:016x}", thread.cap_eff),
                "thread"
            );
        }
        Ok(())
    }

    /// Serves the sockets and lets the workers go.
    ///
    /// # Errors
    /// The host has no thread.
    pub fn go(mut self, about: &describe::About) -> Result<Node> {
        self.node.regions.port_text()?.write(&about.port_text());
        self.node.link_thread = Some(self.link.start()?);
        self.node.gate.set(true);
        Ok(self.node)
    }
}

impl Node {
    /// The regions.
    pub fn regions(&self) -> &Arc<Regions> {
        &self.regions
    }

    /// Waits for the first thing that ends a node.
    pub fn wait(&self) -> End {
        self.ends.recv().expect("the node itself holds a sender")
    }
}

impl Drop for Node {
    /// Stops the workers, which close their ports, then removes the sockets.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.gate.set(false);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker's thread had panicked");
            }
        }
        self.link.stop();
        if let Some(link) = self.link_thread.take() {
            let _ = link.join();
        }
    }
}

fn shard_config(config: &Config, index: usize) -> Result<ShardConfig> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the host has no randomness")?;
    Ok(ShardConfig {
        id: ShardId(u8::try_from(index).context("a node has at most 64 shards")?),
        seed,
        sessions_max: config.limits.sessions_max,
        rooms_max: config.limits.rooms_max,
        session_timeout: Duration::from_s(config.limits.session_timeout_s.into()),
        room_linger: Duration::from_s(config.limits.room_linger_s.into()),
        history_packets: config.limits.history_packets,
    })
}

/// Root opens the sockets for others: the control daemon's user may command, the node's group may look.
fn give_sockets_away(config: &Config, run_dir: &Path) -> Result<()> {
    let (workers, control) = (&config.workers, &config.control);
    let Some(user) = workers.user.as_ref().filter(|_| privileges::is_root()) else {
        return Ok(());
    };
    let ours = privileges::Identity::of(user, workers.group.as_deref())?;
    let theirs = match &control.user {
        Some(user) => privileges::Identity::of(user, control.group.as_deref())?,
        None => ours,
    };
    for (socket, owner) in [(STATS_SOCKET, ours), (DATAPLANE_SOCKET, theirs)] {
        let path = run_dir.join(socket);
        std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.gid))
            .with_context(|| format!("cannot give {} away", path.display()))?;
    }
    Ok(())
}

/// Makes the folder of sockets if it is not there. Root gives it to the user it will become, because the
/// sockets are removed at the end.
fn prepare_run_dir(config: &Config, run_dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if run_dir.is_dir() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(run_dir);
    made.with_context(|| format!("cannot make the folder {}", run_dir.display()))?;
    if let (Some(user), true) = (&config.workers.user, privileges::is_root()) {
        let identity = privileges::Identity::of(user, config.workers.group.as_deref())?;
        std::os::unix::fs::chown(run_dir, Some(identity.uid), Some(identity.gid))
            .with_context(|| format!("cannot give {} to {user}", run_dir.display()))?;
        // The control daemon, in the same group, has its socket here too.
        std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o775))?;
    }
    Ok(())
}

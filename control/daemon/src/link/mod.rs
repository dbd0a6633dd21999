//! The link to the data plane: one thread that owns this side of every ring.
//!
//! It connects to the data plane's socket, brings along the ledger of the last one it knew, maps the
//! control region, learns by `Resync` what the shards have, replays what they lack, and then carries
//! commands down and events up until the socket closes. Then it starts over: a data plane that died
//! comes back with an empty table, a control plane that died (we, anew) has an empty directory, and
//! both meet in [`Directory::attach`](crate::directory::Directory::attach).

pub mod captures;
pub mod hub;
mod looks;
pub mod notices;
pub mod outbox;
pub mod rings;
mod traces;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use proto::{Command, Event, SessionId, ShardId};

use crate::directory::replay::{SurvivingSlot, Survivor};
use crate::limits::{EVENTS_PER_TURN, RECONNECT_PAUSE, RESYNC_TIMEOUT, RING_POLL, RING_RETRY};
use hub::Hub;
use rings::{LinkError, Rings};

/// The thread that serves the link.
pub struct Link {
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Link {
    /// Starts it.
    ///
    /// # Errors
    /// The host has no thread.
    pub fn start(hub: Arc<Hub>, run_dir: PathBuf) -> std::io::Result<Link> {
        let stop = Arc::new(AtomicBool::new(false));
        let (for_thread, stopped) = (Arc::clone(&hub), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || run(&for_thread, &run_dir, &stopped))?;
        Ok(Link { hub, stop, thread })
    }

    /// Ends it. Sessions go on: the data plane waits for the next control plane.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // Without the signal it sees the flag within its polling time.
        let _ = self.hub.ordered().signal();
        if self.thread.join().is_err() {
            tracing::error!("the link's thread had panicked");
        }
    }
}

fn run(hub: &Hub, run_dir: &Path, stop: &AtomicBool) {
    let mut ledger: Option<OwnedFd> = None;
    let mut told = false;
    while !stop.load(Ordering::Acquire) {
        match Rings::connect(run_dir, ledger.as_ref()) {
            Ok(mut rings) => {
                told = false;
                ledger = rings.ledger().ok().or(ledger);
                if let Err(error) = serve(hub, &mut rings, stop) {
                    tracing::warn!(%error, "the data plane is gone; waiting for the next one");
                }
                hub.detach();
            }
            Err(error) => {
                // Once per outage: this is tried twenty times a second.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "no data plane yet; trying again");
                }
            }
        }
        // Signalled at the stop; orders of an outage may shorten the pause.
        let _ = hub.ordered().wait(RECONNECT_PAUSE).and_then(|_| hub.ordered().drain());
    }
}

/// One connection, until it ends or we are to stop.
fn serve(hub: &Hub, rings: &mut Rings, stop: &AtomicBool) -> Result<(), LinkError> {
    take_up(hub, rings)?;
    while !stop.load(Ordering::Acquire) {
        let mut more = receive(rings, |shard, event| hub.event(shard, &event))?;
        more |= receive_punts(hub, rings)?;
        let blocked = send(hub, rings)?;
        if more || !rings.arm()? {
            continue;
        }
        let waited = rings.wait(hub.ordered(), if blocked { RING_RETRY } else { RING_POLL });
        rings.disarm();
        waited?;
    }
    // What was ordered last is still sent.
    send(hub, rings).map(drop)
}

/// Learns what the shards have, then tells them what they lack.
fn take_up(hub: &Hub, rings: &mut Rings) -> Result<(), LinkError> {
    let mut survivors = Vec::new();
    if rings.welcome().resync {
        survivors = resync(hub, rings)?;
    }
    let welcome = *rings.welcome();
    hub.attach(&welcome, &survivors);
    tracing::info!(
        instance = welcome.instance,
        shards = welcome.shards,
        survivors = survivors.len(),
        ledger_adopted = welcome.adopted,
        "the data plane is here"
    );
    Ok(())
}

fn resync(hub: &Hub, rings: &mut Rings) -> Result<Vec<Survivor>, LinkError> {
    let end = Instant::now() + RESYNC_TIMEOUT;
    let mut waiting: Vec<ShardId> = rings.shards().collect();
    for shard in rings.shards() {
        while !rings.push_command(shard, &Command::Resync)? {
            wait(hub, rings, end)?;
        }
        rings.wake(shard);
    }
    let mut survivors = Vec::new();
    while !waiting.is_empty() {
        let mut finished = Vec::new();
        receive(rings, |shard, event| match event {
            Event::Session { session, room, member, grant, blob } => {
                let blob = blob.to_vec();
                let (publications, slots) = (Vec::new(), Vec::new());
                let survivor = Survivor { session, room, member, grant, blob, publications, slots };
                survivors.push(survivor);
            }
            Event::Publication { session, spec } => {
                if let Some(told) = told_last(&mut survivors, session) {
                    told.publications.push(spec);
                }
            }
            Event::SlotOpen { session, mid, kind, ssrcs, state, .. } => {
                let slot = SurvivingSlot { mid, kind, ssrcs, state };
                if let Some(told) = told_last(&mut survivors, session) {
                    told.slots.push(slot);
                }
            }
            Event::ResyncDone { .. } => finished.push(shard),
            // What happened on the way counts as well. A slot that was told already is not told again;
            // one that was not will be told as it then stands.
            Event::Slot { session, slot, state } => {
                let told = told_last(&mut survivors, session);
                if let Some(told) = told.and_then(|told| told.slots.get_mut(usize::from(slot))) {
                    told.state = state;
                }
                hub.event(shard, &event);
            }
            // And a session may just have closed.
            Event::Closed { session, .. } => {
                survivors.retain(|survivor: &Survivor| survivor.session != session);
                hub.event(shard, &event);
            }
            _ => hub.event(shard, &event),
        })?;
        waiting.retain(|shard| !finished.contains(shard));
        if !waiting.is_empty() {
            wait(hub, rings, end)?;
        }
    }
    Ok(survivors)
}

/// The session whose streams are being told. Shards tell at the same time, each in order.
fn told_last(survivors: &mut [Survivor], session: SessionId) -> Option<&mut Survivor> {
    survivors.iter_mut().rev().find(|survivor| survivor.session == session)
}

fn wait(hub: &Hub, rings: &Rings, end: Instant) -> Result<(), LinkError> {
    if Instant::now() > end {
        return Err(LinkError::ResyncTimeout);
    }
    rings.wait(hub.ordered(), RING_RETRY)
}

/// Takes events from all rings; true when some were left for the next turn.
fn receive(rings: &mut Rings, mut each: impl FnMut(ShardId, Event)) -> Result<bool, LinkError> {
    let mut more = false;
    for shard in rings.shards() {
        let mut taken = 0;
        while let Some(event) = rings.pop_event(shard)? {
            each(shard, event);
            taken += 1;
            if taken == EVENTS_PER_TURN {
                more = true;
                break;
            }
        }
    }
    Ok(more)
}

/// Takes the handshake datagrams of peers from all rings; true when some were left for the next turn.
fn receive_punts(hub: &Hub, rings: &mut Rings) -> Result<bool, LinkError> {
    let mut more = false;
    for shard in rings.shards() {
        let mut taken = 0;
        while let Some((session, datagram)) = rings.pop_punt(shard)? {
            // A shard speaks for its own sessions only.
            if session.shard() == shard {
                hub.punt(session, datagram);
            }
            taken += 1;
            if taken == EVENTS_PER_TURN {
                more = true;
                break;
            }
        }
    }
    Ok(more)
}

/// The rings of one shard, as its outbox sees them.
struct ShardRings<'a> {
    rings: &'a mut Rings,
    shard: ShardId,
}

impl outbox::Rings for ShardRings<'_> {
    fn command(&mut self, bytes: &[u8]) -> Result<bool, LinkError> {
        self.rings.push(self.shard, bytes)
    }
    fn inject(&mut self, session: SessionId, datagram: &[u8]) -> Result<bool, LinkError> {
        self.rings.push_inject(session, datagram)
    }
}

/// Moves orders into the rings; true when a ring was full.
fn send(hub: &Hub, rings: &mut Rings) -> Result<bool, LinkError> {
    let mut blocked = false;
    for shard in rings.shards() {
        let mut of_shard = ShardRings { rings, shard };
        let emptied = hub.with_outbox(shard, |outbox| outbox.empty_into(&mut of_shard))?;
        if emptied.sent {
            rings.wake(shard);
        }
        blocked |= emptied.blocked;
    }
    Ok(blocked)
}

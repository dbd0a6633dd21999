//! The link to the data plane: one task that owns this side of every ring.
//!
//! It connects to the data plane's socket, brings along the ledger of the last one it knew, maps the
//! control region, learns by `Resync` what the shards have, replays what they lack, and then carries
//! commands down and events up until the socket closes. Then it starts over: a data plane that died
//! comes back with an empty table, a control plane that died (we, anew) has an empty directory, and
//! both meet in [`Directory::attach`](crate::directory::Directory::attach).

pub mod hub;
pub mod rings;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use proto::{Command, Event, ShardId};
use tokio::sync::watch;

use crate::directory::replay::Survivor;
use crate::limits::{
    EVENTS_PER_TURN, RECONNECT_PAUSE, RESYNC_TIMEOUT, RING_POLL, RING_RETRY,
};
use hub::Hub;
use rings::{LinkError, Rings};

/// Serves the link until `stop` turns true.
pub async fn run(hub: Arc<Hub>, run_dir: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut ledger: Option<OwnedFd> = None;
    let mut told = false;
    while !*stop.borrow() {
        match Rings::connect(run_dir.clone(), ledger.as_ref()).await {
            Ok(rings) => {
                told = false;
                ledger = rings.ledger().ok();
                tokio::select! {
                    end = serve(&hub, rings) => {
                        tracing::warn!(error = %end, "the data plane is gone; waiting for the next one");
                    }
                    _ = stop.changed() => {}
                }
                hub.detach();
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "no data plane yet; trying again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            _ = stop.changed() => {}
        }
    }
}

/// One connection, until it ends; returns why.
async fn serve(hub: &Hub, mut rings: Rings) -> LinkError {
    match take_up(hub, &mut rings).await {
        Ok(()) => {}
        Err(error) => return error,
    }
    loop {
        let more = match receive(&mut rings, |shard, event| hub.event(shard, &event)) {
            Ok(more) => more,
            Err(error) => return error,
        };
        let blocked = match send(hub, &mut rings) {
            Ok(blocked) => blocked,
            Err(error) => return error,
        };
        if more {
            tokio::task::yield_now().await;
            continue;
        }
        match rings.arm() {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => return error,
        }
        let pause = if blocked { RING_RETRY } else { RING_POLL };
        let ended = tokio::select! {
            ended = rings.closed() => Some(ended),
            _ = rings.woken() => None,
            () = hub.ordered() => None,
            () = tokio::time::sleep(pause) => None,
        };
        rings.disarm();
        if let Some(error) = ended {
            return error;
        }
    }
}

/// Learns what the shards have, then tells them what they lack.
async fn take_up(hub: &Hub, rings: &mut Rings) -> Result<(), LinkError> {
    let mut survivors = Vec::new();
    if rings.welcome().resync {
        survivors = resync(hub, rings).await?;
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

async fn resync(hub: &Hub, rings: &mut Rings) -> Result<Vec<Survivor>, LinkError> {
    let end = Instant::now() + RESYNC_TIMEOUT;
    let mut waiting: Vec<ShardId> = rings.shards().collect();
    for shard in rings.shards() {
        while !rings.push_command(shard, &Command::Resync)? {
            wait(rings, end).await?;
        }
        rings.wake(shard);
    }
    let mut survivors = Vec::new();
    while !waiting.is_empty() {
        let mut finished = Vec::new();
        receive(rings, |shard, event| match event {
            Event::Session { session, room, member, grant, blob } => {
                let blob = blob.to_vec();
                survivors.push(Survivor { session, room, member, grant, blob });
            }
            Event::ResyncDone { .. } => finished.push(shard),
            // What happened on the way counts as well: a session may just have closed.
            Event::Closed { session, .. } => {
                survivors.retain(|survivor: &Survivor| survivor.session != session);
                hub.event(shard, &event);
            }
            _ => hub.event(shard, &event),
        })?;
        waiting.retain(|shard| !finished.contains(shard));
        if !waiting.is_empty() {
            wait(rings, end).await?;
        }
    }
    Ok(survivors)
}

async fn wait(rings: &Rings, end: Instant) -> Result<(), LinkError> {
    if Instant::now() > end {
        return Err(LinkError::ResyncTimeout);
    }
    tokio::select! {
        ended = rings.closed() => Err(ended),
        _ = rings.woken() => Ok(()),
        () = tokio::time::sleep(RING_RETRY) => Ok(()),
    }
}

/// Takes events from all rings; true when some were left for the next turn.
fn receive(
    rings: &mut Rings,
    mut each: impl FnMut(ShardId, Event),
) -> Result<bool, LinkError> {
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

/// Moves orders into the rings; true when a ring was full.
fn send(hub: &Hub, rings: &mut Rings) -> Result<bool, LinkError> {
    let mut blocked = false;
    for shard in rings.shards() {
        let (mut sent, mut full) = (false, false);
        hub.with_outbox(shard, |outbox| {
            while let Some(bytes) = outbox.front() {
                if !rings.push(shard, bytes)? {
                    full = true;
                    break;
                }
                outbox.pop_front();
                sent = true;
            }
            Ok::<(), LinkError>(())
        })?;
        if sent {
            rings.wake(shard);
        }
        blocked |= full;
    }
    Ok(blocked)
}

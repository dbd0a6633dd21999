//! Why somebody does not hear or see somebody: the chain of steps from a publisher to a viewer, judged
//! from live state, and the first step at which media stops.
//!
//! The directory knows who joined and asked for what; the shards are asked twice about the sessions in
//! between, and what moved meanwhile flows. Nothing is changed.

mod chain;

use std::collections::HashMap;

use proto::{Look, MediaKind, SessionId, SlotState, Transport};
use serde_json::{Value, json};
use token::UserId;

use crate::directory::{Between, Present, RoomKey};
use crate::limits::WHY_INTERVAL;
use crate::link::hub::{Hub, Status};
use crate::mask;

pub use chain::{Chain, State, Step};

/// What two looks at a session told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watched {
    /// At the end; `None` when its shard told nothing.
    pub transport: Option<Transport>,
    /// Seconds between the looks.
    pub seconds: f64,
    /// Authentic packets meanwhile.
    pub accepted: u64,
    /// Failed authentications meanwhile.
    pub failures: u64,
    /// By publication number: packets received and lost meanwhile.
    pub streams: HashMap<u32, (u64, u64)>,
    /// Slots as they are.
    pub slots: Vec<WatchedSlot>,
}

/// A slot, and what went out of it between the looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchedSlot {
    /// What it takes.
    pub kind: MediaKind,
    /// What it shows.
    pub state: SlotState,
    /// Only this member's streams, when set.
    pub publisher: Option<proto::MemberNo>,
    /// Packets sent meanwhile.
    pub sent: u64,
    /// Packets are kept back until a picture starts.
    pub awaits_keyframe: bool,
    /// What its subscriber lost, 0 to 1.
    pub lost: f64,
}

impl Watched {
    /// What changed between two looks.
    pub fn between(before: &[Look], after: &[Look]) -> Watched {
        let transport = |looks: &[Look]| {
            looks.iter().find_map(|look| match look {
                Look::Transport(transport) => Some(*transport),
                _ => None,
            })
        };
        let (Some(old), Some(new)) = (transport(before), transport(after)) else {
            return Watched { transport: transport(after), ..Watched::default() };
        };
        let mut watched = Watched {
            transport: Some(new),
            seconds: new.at_ns.saturating_sub(old.at_ns) as f64 / 1e9,
            accepted: new.rx_packets.saturating_sub(old.rx_packets),
            failures: new.auth_failures.saturating_sub(old.auth_failures),
            ..Watched::default()
        };
        for look in after {
            // Parts come in the same order while the session lives.
            match *look {
                // Repairs are not counted in the loss that they repair.
                Look::Stream(now) if !now.is_repair => {
                    let then = before.iter().find_map(|look| match *look {
                        Look::Stream(then) if then.ssrc == now.ssrc => Some(then),
                        _ => None,
                    });
                    let then = then.unwrap_or(now);
                    let of_publication = watched.streams.entry(now.publication.0).or_default();
                    of_publication.0 += now.received.saturating_sub(then.received);
                    of_publication.1 += now.lost.saturating_sub(then.lost);
                }
                Look::Slot(now) => {
                    let then = before.iter().find_map(|look| match *look {
                        Look::Slot(then) if then.place == now.place => Some(then.sent),
                        _ => None,
                    });
                    watched.slots.push(WatchedSlot {
                        kind: now.kind,
                        state: now.state,
                        publisher: now.publisher,
                        sent: u64::from(now.sent.wrapping_sub(then.unwrap_or(now.sent))),
                        awaits_keyframe: now.awaits_keyframe,
                        lost: f64::from(now.fraction_lost) / 256.0,
                    });
                }
                Look::Stream(_) | Look::Transport(_) | Look::Done => {}
            }
        }
        watched
    }
}

/// Looks twice, and says for each kind of media where it stops. Ids are masked in the answer.
pub async fn ask(hub: &Hub, key: &RoomKey, from: &UserId, to: &UserId) -> Value {
    let before = watch(hub, &hub.between(key, from, to)).await;
    tokio::time::sleep(WHY_INTERVAL).await;
    // Whoever came or left meanwhile is as it is now.
    let between = hub.between(key, from, to);
    let after = watch(hub, &between).await;
    let empty = Vec::new();
    let seen: HashMap<SessionId, Watched> = after
        .iter()
        .map(|(id, looks)| (*id, Watched::between(before.get(id).unwrap_or(&empty), looks)))
        .collect();
    let is_up = matches!(hub.status(), Status::Up { .. });
    let chains: Vec<Chain> = kinds(&between)
        .into_iter()
        .map(|kind| chain::judge(is_up, from == to, &between, kind, &seen))
        .collect();
    json!({
        "schema": "roomlane.why.v1",
        "sdkappid": key.app.0,
        "room": mask::room(&key.room),
        "from": mask::identity(from.as_str()),
        "to": mask::identity(to.as_str()),
        "watched_ms": WHY_INTERVAL.as_millis() as u64,
        "chains": chains.iter().map(Chain::json).collect::<Vec<_>>(),
    })
}

async fn watch(hub: &Hub, between: &Between) -> HashMap<SessionId, Vec<Look>> {
    let members: Vec<&Present> = [&between.from, &between.to].into_iter().flatten().collect();
    let sessions = members.iter().flat_map(|member| &member.sessions).map(|held| held.session);
    let looks = sessions.map(|session| async move { (session, hub.look(session).await) });
    futures_util::future::join_all(looks).await.into_iter().collect()
}

/// What the publisher publishes; one question without a kind when that is nothing.
fn kinds(between: &Between) -> Vec<Option<MediaKind>> {
    let streams = between.from.iter().flat_map(|member| &member.sessions);
    let published: Vec<MediaKind> =
        streams.flat_map(|held| &held.publications).map(|(_, kind)| *kind).collect();
    let all = [MediaKind::Audio, MediaKind::Video, MediaKind::Substream];
    let kinds: Vec<_> = all.into_iter().filter(|kind| published.contains(kind)).map(Some).collect();
    if kinds.is_empty() { vec![None] } else { kinds }
}

#[cfg(test)]
mod tests;

//! The directory: apps, rooms, members, resources, sessions, and every number the shards know them by.
//!
//! A value without I/O, clock or randomness of its own: requests and events go in, answers and orders
//! for shards come out. It changes nothing when it refuses.
//!
//! A *resource* is what a WHIP or WHEP request made; it has one *session* for its BUNDLE group, or one
//! per served m-section where keys are in the offer, all on one shard. A room's publishers are on its
//! *home* shard; when that has many sessions of the room, later subscribers go to another shard, where
//! every publication of the room is a remote one.
//!
//! Absent on purpose: a word about packets. Whether a stream may flow is decided per packet by the
//! shard, from the grant word that is made here.

mod between;
pub mod blob;
mod dtls;
mod events;
mod ice;
pub mod ids;
mod join;
mod leave;
pub mod orders;
pub mod replay;
pub mod slots;
mod specs;
mod tenants;
mod transport;
mod views;

use std::collections::{BTreeMap, HashMap, HashSet};

use proto::ufrag::UfragKey;
use proto::{
    CloseReason, Endpoint, GrantWord, Label, MediaKind, MemberNo, Privileges, PublicationNo,
    PublicationSpec, Quota, RoomNo, SdkAppId, SessionId, ShardId, SlotState, Token,
};
use token::{RoomId, UserId};
use zeroize::Zeroize;

pub use self::between::{Between, Held, Present};
pub use self::dtls::DtlsPeer;
pub use blob::BlobKey;
pub use events::Outcome;
pub use ice::{Precondition, Restarted};
pub use ids::{Entropy, EventsId, ResourceId, SystemEntropy};
pub use join::{JoinRequest, Joined};
pub use orders::Orders;
pub use views::{Named, ResourceView, Seated, SlotView, about};

use self::dtls::Dtls;
use crate::mask;
use crate::signalling::address::MediaAddresses;
use crate::signalling::{Role, Stream};
use ice::IceState;
use ids::Numbers;
use orders::Desired;
use slots::Slots;

/// What the directory needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tenants and their limits; sessions and rooms count per shard.
    pub apps: HashMap<SdkAppId, Quota>,
    /// Where peers may be.
    pub media: MediaAddresses,
    /// UDP port of shard 0.
    pub udp_base: u16,
    /// Sessions of one room on its home shard beyond which subscribers go to another shard.
    pub room_sessions_per_shard: u32,
    /// What sessions' blobs are sealed with: the next life of this process needs it.
    pub blob_key: BlobKey,
}

/// Sessions of one room that stay together by default: what a core forwards of one audio and one video
/// stream with room to spare.
pub const ROOM_SESSIONS_PER_SHARD: u32 = 1000;

/// Number and name of a room within its app: 123 and "123" differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomKey {
    /// Tenant.
    pub app: SdkAppId,
    /// Which room of it.
    pub room: RoomId,
}

/// What we know of a shard.
struct Shard {
    slots: Slots,
    /// Packets per second it moves, as last measured.
    pps: u64,
    /// Sessions and rooms by app.
    apps: HashMap<SdkAppId, Use>,
    sessions: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Use {
    sessions: u32,
    rooms: u32,
}

struct Room {
    key: RoomKey,
    no: RoomNo,
    epoch: u32,
    home: ShardId,
    label: Label,
    members: HashMap<UserId, Member>,
    /// Resources in it now.
    resources: HashSet<ResourceId>,
    /// Number of the last resource.
    last_number: u32,
    /// Open sessions by shard; no zeros.
    presence: BTreeMap<ShardId, u32>,
    publications: Vec<Publication>,
}

struct Member {
    no: MemberNo,
    resources: Vec<ResourceId>,
    /// Subscribers that asked for this user only, present or not.
    watchers: u32,
}

#[derive(Clone, Copy)]
struct Publication {
    spec: PublicationSpec,
    member: MemberNo,
    resource: ResourceId,
}

/// A WHIP or WHEP resource.
struct Resource {
    room: RoomNo,
    user: UserId,
    number: u32,
    role: Role,
    stream: Stream,
    publisher: Option<UserId>,
    shard: ShardId,
    sessions: Vec<SessionId>,
    /// Sessions that the shard has not confirmed yet.
    opening: u32,
    grant: GrantWord,
    /// `None` where the peer's address was signalled.
    ice: Option<IceState>,
    /// Of subscribers.
    events: Option<EventsId>,
}

struct Session {
    /// `None` once it is closing: its place is freed when the shard says so.
    resource: Option<ResourceId>,
    app: SdkAppId,
    remote: Endpoint,
    /// Ours: of slots, of their retransmissions, of RTCP.
    ssrcs: Vec<u32>,
    publications: Vec<PublicationNo>,
    /// By their places in the session.
    slots: Vec<Slot>,
    /// `None` without DTLS, and for sessions of an earlier life.
    dtls: Option<Dtls>,
    /// `None` for sessions of an earlier life: their keys are gone.
    desired: Option<Desired>,
}

/// A receive section, and what it shows.
struct Slot {
    mid: Token,
    kind: MediaKind,
    state: SlotState,
}

impl Slot {
    fn of(spec: &proto::SlotSpec) -> Slot {
        Slot { mid: spec.mid, kind: spec.kind, state: SlotState::Off }
    }
}

impl Resource {
    /// Names the state that a trickled candidate or a renewal is for: it changes with each ICE restart
    /// (RFC 9725 section 4.3.1).
    fn etag(&self) -> String {
        match self.ice.as_ref().and_then(|ice| ice.generation) {
            Some(generation) => format!("\"{}-{generation:04x}\"", self.number),
            None => format!("\"{}\"", self.number),
        }
    }

    /// Whether one of these entity tags names the present state. Of a resource from an earlier life of
    /// this process the generation is not known: any is taken.
    fn has_etag(&self, tags: &str) -> bool {
        let unknown = self.ice.as_ref().is_some_and(|ice| ice.generation.is_none());
        let prefix = format!("\"{}-", self.number);
        tags.split(',').map(str::trim).any(|etag| {
            etag == self.etag() || unknown && etag.starts_with(&prefix) && etag.ends_with('"')
        })
    }
}

/// Counts for consoles and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rooms.
    pub rooms: usize,
    /// Publishing resources.
    pub publishing: usize,
    /// Subscribing resources.
    pub subscribing: usize,
    /// Sessions, closing ones included.
    pub sessions: usize,
}

/// See the module.
pub struct Directory {
    settings: Settings,
    entropy: Box<dyn Entropy>,
    /// Ufrag tokens are minted under it for as long as this process lives.
    ufrag_key: UfragKey,
    numbers: Numbers,
    shards: Vec<Shard>,
    draining: bool,
    names: HashMap<RoomKey, RoomNo>,
    rooms: HashMap<RoomNo, Room>,
    resources: HashMap<ResourceId, Resource>,
    /// By their event streams.
    events: HashMap<EventsId, ResourceId>,
    /// What ended since it was last asked.
    ended_resources: Vec<(ResourceId, CloseReason)>,
    sessions: HashMap<SessionId, Session>,
    remotes: HashMap<Endpoint, SessionId>,
    /// Our SSRCs, of slots and of RTCP.
    ssrcs: HashSet<u32>,
    publications: HashSet<u32>,
    /// See [`Directory::take_ended`].
    ended: Vec<SessionId>,
}

impl Directory {
    /// An empty one, without shards. `unix_s` is the time, for numbers that never repeat.
    pub fn new(settings: Settings, mut entropy: Box<dyn Entropy>, unix_s: u64) -> Self {
        Directory {
            ufrag_key: UfragKey(ids::random(&mut *entropy)),
            settings,
            entropy,
            numbers: Numbers::new(unix_s),
            shards: Vec::new(),
            draining: false,
            names: HashMap::new(),
            rooms: HashMap::new(),
            resources: HashMap::new(),
            events: HashMap::new(),
            ended_resources: Vec::new(),
            sessions: HashMap::new(),
            remotes: HashMap::new(),
            ssrcs: HashSet::new(),
            publications: HashSet::new(),
            ended: Vec::new(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counts of now.
    pub fn totals(&self) -> Totals {
        let publishing = self.resources.values().filter(|r| r.role == Role::Publish).count();
        Totals {
            rooms: self.names.len(),
            publishing,
            subscribing: self.resources.len() - publishing,
            sessions: self.sessions.len(),
        }
    }

    /// Refuses new sessions while on.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// What a shard moves, in packets per second: joins go where least is.
    pub fn set_load(&mut self, shard: ShardId, pps: u64) {
        if let Some(shard) = self.shards.get_mut(shard.0 as usize) {
            shard.pps = pps;
        }
    }

    /// Whether one of these entity tags names the present state of a resource.
    pub fn has_etag(&self, id: ResourceId, tags: &str) -> bool {
        self.resources.get(&id).is_some_and(|resource| resource.has_etag(tags))
    }

    /// The resource that a session belongs to, unless it is closing.
    pub fn resource_of(&self, session: SessionId) -> Option<ResourceId> {
        self.sessions.get(&session)?.resource
    }

    /// Whether a session still has its place, be it open or closing.
    pub fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// A room by its name.
    pub fn room(&self, key: &RoomKey) -> Option<RoomNo> {
        self.names.get(key).copied()
    }

    /// Replaces a resource's grant: rights and deadline of fresh tokens for the same user and room.
    pub fn renew(
        &mut self,
        id: ResourceId,
        privileges: Privileges,
        deadline_s: u32,
        orders: &mut Orders,
    ) -> bool {
        let Some(resource) = self.resources.get_mut(&id) else { return false };
        let Some(room) = self.rooms.get(&resource.room) else { return false };
        let grant = GrantWord::new(deadline_s, room.epoch, privileges);
        resource.grant = grant;
        for session in &resource.sessions {
            orders.push(resource.shard, proto::Command::SetGrant { session: *session, grant });
        }
        true
    }

    fn shard(&mut self, id: ShardId) -> Option<&mut Shard> {
        self.shards.get_mut(id.0 as usize)
    }

    /// The shard with least to do: what it moves now, and what its sessions that have not started yet
    /// may move (an audio stream is 50 packets a second).
    fn least_loaded(&self, except: Option<ShardId>) -> Option<ShardId> {
        let load = |shard: &Shard| shard.pps.max(u64::from(shard.sessions) * 50);
        let ids = (0..self.shards.len()).map(|index| ShardId(index as u8));
        ids.filter(|id| Some(*id) != except).min_by_key(|id| load(&self.shards[id.0 as usize]))
    }
}

impl Room {
    fn new(key: RoomKey, no: RoomNo, home: ShardId) -> Room {
        let label = mask::label(&mask::room(&key.room));
        Room {
            key,
            no,
            epoch: 1,
            home,
            label,
            members: HashMap::new(),
            resources: HashSet::new(),
            last_number: 0,
            presence: BTreeMap::new(),
            publications: Vec::new(),
        }
    }

    /// A user's place; made when there is none.
    fn member(&mut self, user: &UserId, numbers: &mut Numbers) -> &mut Member {
        self.members.entry(user.clone()).or_insert_with(|| Member {
            no: numbers.member(),
            resources: Vec::new(),
            watchers: 0,
        })
    }

    /// Shards other than home that have sessions of this room.
    fn away(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.presence.keys().copied().filter(|shard| *shard != self.home)
    }

    fn open_command(&self) -> proto::Command {
        let (room, app, epoch) = (self.no, self.key.app, self.epoch);
        proto::Command::OpenRoom { room, app, epoch, label: self.label }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.ufrag_key.0.zeroize();
    }
}

#[cfg(test)]
mod tests;

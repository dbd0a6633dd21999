//! After a restart of either side: what the shards still have comes in, what they lack goes out again.

use std::collections::HashSet;

use proto::link::Welcome;
use proto::{Command, GrantWord, MemberNo, PublicationSpec, RoomNo, SessionId, ShardId, SlotState};

use super::blob::Blob;
use super::ice::IceState;
use super::ids::random;
use super::join::relay;
use super::slots::Slots;
use super::{
    Directory, Member, Orders, Publication, Resource, Room, RoomKey, Session, Shard, Slot,
};
use crate::signalling::Role;

/// A session that a shard has, as `Resync` told it.
#[derive(Debug, Clone)]
pub struct Survivor {
    /// Which.
    pub session: SessionId,
    /// Its room.
    pub room: RoomNo,
    /// Its member.
    pub member: MemberNo,
    /// Its grant as it stands.
    pub grant: GrantWord,
    /// What its opening carried.
    pub blob: Vec<u8>,
    /// Streams in.
    pub publications: Vec<PublicationSpec>,
    /// Streams out, by their places.
    pub slots: Vec<SurvivingSlot>,
}

/// A receive section that a shard has.
#[derive(Debug, Clone, Copy)]
pub struct SurvivingSlot {
    /// Its m-section.
    pub mid: proto::Token,
    /// What it takes.
    pub kind: proto::MediaKind,
    /// Our SSRCs: of the stream, and of its retransmissions or zero.
    pub ssrcs: (u32, u32),
    /// What it shows.
    pub state: SlotState,
}

impl From<&SurvivingSlot> for Slot {
    fn from(slot: &SurvivingSlot) -> Slot {
        Slot { mid: slot.mid, kind: slot.kind, state: slot.state }
    }
}

impl Directory {
    /// Takes up with a data plane: learns its sizes, keeps what it still has, orders what it lacks,
    /// lets go of what cannot be had again. `survivors` are the sessions that it told.
    pub fn attach(&mut self, welcome: &Welcome, survivors: &[Survivor], orders: &mut Orders) {
        let first_generation = u16::from_ne_bytes(random(&mut *self.entropy));
        self.fit_shards(welcome, first_generation);
        if !welcome.adopted && !welcome.resync {
            self.forget_keys();
        }
        for index in 0..self.shards.len() {
            self.order_ufrag_key(ShardId(index as u8), orders);
            self.order_apps(ShardId(index as u8), orders);
        }
        let alive: HashSet<_> = survivors.iter().map(|survivor| survivor.session).collect();
        for survivor in survivors {
            self.look_again(survivor);
            if self.resource_of(survivor.session).is_none() && !self.adopt(survivor) {
                let (session, reason) = (survivor.session, proto::CloseReason::Left);
                orders.push(session.shard(), Command::CloseSession { session, reason });
            }
        }
        self.settle_homes();
        self.drop_lost(&alive, orders);
        self.replay(&alive, orders);
    }

    /// What the slots of a session show that we know: changes may have been missed.
    fn look_again(&mut self, survivor: &Survivor) {
        if let Some(session) = self.sessions.get_mut(&survivor.session) {
            session.slots = survivor.slots.iter().map(Slot::from).collect();
        }
    }

    /// A new data plane without the ledger of the old one would count from the beginning: under a key that
    /// was used, that repeats nonces. Such sessions end, and their peers join anew.
    fn forget_keys(&mut self) {
        let has_keys = |session: &&mut Session| {
            session.desired.as_ref().is_some_and(|desired| desired.has_keys())
        };
        let keyed = self.sessions.values_mut().filter(has_keys);
        let lost = keyed.map(|session| session.desired = None).count();
        if lost > 0 {
            tracing::warn!(
                sessions = lost,
                "the data plane has no ledger of the former one: sessions end"
            );
        }
    }

    /// Sizes of a data plane. When they changed, places are booked anew; a session without a place is
    /// let go of later.
    fn fit_shards(&mut self, welcome: &Welcome, first_generation: u16) {
        let count = welcome.shards.min(64) as usize;
        self.settings.udp_base = welcome.udp_base;
        self.settings.media.udp = welcome.udp_base..welcome.udp_base.saturating_add(count as u16);
        let fits = |shard: &Shard| shard.slots.max() == welcome.sessions_max;
        if self.shards.len() == count && self.shards.iter().all(fits) {
            return;
        }
        let empty = |index| Shard {
            slots: Slots::new(ShardId(index as u8), welcome.sessions_max, first_generation),
            pps: 0,
            apps: Default::default(),
            sessions: 0,
        };
        self.shards = (0..count).map(empty).collect();
        for (id, session) in &mut self.sessions {
            let Some(shard) = self.shards.get_mut(id.shard().0 as usize) else { continue };
            if !shard.slots.occupy(*id) {
                session.desired = None;
                continue;
            }
            shard.sessions += 1;
            if session.resource.is_some() {
                shard.apps.entry(session.app).or_default().sessions += 1;
            }
        }
        for room in self.rooms.values() {
            for shard in room.presence.keys() {
                if let Some(shard) = self.shards.get_mut(shard.0 as usize) {
                    shard.apps.entry(room.key.app).or_default().rooms += 1;
                }
            }
        }
    }

    /// Puts a session of an earlier life back into its room. `false` when its blob is not ours or its
    /// app is no longer served: it is then to be closed.
    fn adopt(&mut self, survivor: &Survivor) -> bool {
        let Some(blob) = Blob::open(&survivor.blob, &self.settings.blob_key) else {
            return false;
        };
        let id = survivor.session;
        if !self.settings.apps.contains_key(&blob.app) || self.sessions.contains_key(&id) {
            return false;
        }
        let Some(shard) = self.shard(id.shard()) else { return false };
        if !shard.slots.occupy(id) {
            return false;
        }
        shard.sessions += 1;
        self.numbers.skip(survivor.room.0.max(survivor.member.0));
        let key = RoomKey { app: blob.app, room: blob.room.clone() };
        let no = survivor.room;
        let home = id.shard();
        // A name that has a newer room keeps it: this one lives on until its sessions end.
        self.names.entry(key.clone()).or_insert(no);
        let room = self.rooms.entry(no).or_insert_with(|| Room::new(key, no, home));
        room.epoch = room.epoch.max(survivor.grant.epoch());
        room.last_number = room.last_number.max(blob.number);
        room.resources.insert(blob.resource);
        let number_of = |no| Member { no, resources: Vec::new(), watchers: 0 };
        let member =
            room.members.entry(blob.user.clone()).or_insert_with(|| number_of(survivor.member));
        if !member.resources.contains(&blob.resource) {
            member.resources.push(blob.resource);
        }
        for spec in &survivor.publications {
            let (member, resource) = (survivor.member, blob.resource);
            room.publications.push(Publication { spec: *spec, member, resource });
            self.publications.insert(spec.publication.0);
        }
        let slots = survivor.slots.iter().flat_map(|slot| [slot.ssrcs.0, slot.ssrcs.1]);
        let ssrcs: Vec<u32> = slots.chain([blob.rtcp_ssrc]).filter(|ssrc| *ssrc != 0).collect();
        self.ssrcs.extend(&ssrcs);
        if let Some((user, no)) = &blob.publisher
            && !self.resources.contains_key(&blob.resource)
        {
            let watched = room.members.entry(user.clone()).or_insert_with(|| number_of(*no));
            watched.watchers += 1;
        }
        self.events.extend(blob.events.map(|events| (events, blob.resource)));
        let resource = self.resources.entry(blob.resource).or_insert_with(|| Resource {
            room: no,
            user: blob.user.clone(),
            number: blob.number,
            role: blob.role,
            stream: blob.stream,
            publisher: blob.publisher.as_ref().map(|(user, _)| user.clone()),
            shard: home,
            sessions: Vec::new(),
            opening: 0,
            grant: survivor.grant,
            ice: blob.is_ice.then(IceState::unknown),
            events: blob.events,
        });
        resource.sessions.push(id);
        let session = Session {
            resource: Some(blob.resource),
            app: blob.app,
            remote: blob.remote,
            ssrcs,
            publications: survivor.publications.iter().map(|spec| spec.publication).collect(),
            slots: survivor.slots.iter().map(Slot::from).collect(),
            dtls: None,
            desired: None,
        };
        self.enter(id, session, no, home);
        true
    }

    /// A room's home is where its publishers are, else where most of it is.
    fn settle_homes(&mut self) {
        for room in self.rooms.values_mut() {
            let publisher = room.resources.iter().find_map(|id| {
                let resource = self.resources.get(id)?;
                (resource.role == Role::Publish).then_some(resource.shard)
            });
            let most = || room.presence.iter().max_by_key(|(_, count)| **count).map(|(id, _)| *id);
            room.home = publisher.or_else(most).unwrap_or(room.home);
        }
    }

    /// Lets go of sessions that the data plane does not have and that cannot be opened again: closing
    /// ones, those without keys, those without a place.
    fn drop_lost(&mut self, alive: &HashSet<SessionId>, orders: &mut Orders) {
        let places = self.shards.len();
        let is_lost = |id: &SessionId, session: &Session| {
            let has_place = (id.shard().0 as usize) < places;
            !alive.contains(id)
                && (session.resource.is_none() || session.desired.is_none() || !has_place)
        };
        let lost: Vec<_> =
            self.sessions.iter().filter(|(id, s)| is_lost(id, s)).map(|(id, _)| *id).collect();
        for id in lost {
            let (reason, rx_packets, tx_packets) = (proto::CloseReason::TimedOut, 0, 0);
            let event = proto::Event::Closed { session: id, reason, rx_packets, tx_packets };
            self.event(id.shard(), &event, orders);
        }
    }

    /// Orders every room, session and relay that the data plane lacks.
    fn replay(&mut self, alive: &HashSet<SessionId>, orders: &mut Orders) {
        // What they show, a new data plane will tell.
        let again = self.sessions.iter_mut().filter(|(id, _)| !alive.contains(id));
        for slot in again.flat_map(|(_, session)| &mut session.slots) {
            slot.state = SlotState::Off;
        }
        for room in self.rooms.values() {
            for shard in room.presence.keys() {
                orders.push(*shard, room.open_command());
            }
        }
        let mut resources: Vec<_> = self.resources.values_mut().collect();
        resources.sort_by_key(|resource| (resource.room, resource.number));
        for resource in resources {
            resource.opening = 0;
            for id in &resource.sessions {
                let desired = self.sessions.get(id).and_then(|session| session.desired.as_ref());
                let Some(desired) = desired.filter(|_| !alive.contains(id)) else { continue };
                let mut open = desired.open();
                open.grant = resource.grant;
                orders.push(id.shard(), Command::OpenSession(open));
                super::orders::wipe(&mut open);
            }
        }
        for room in self.rooms.values() {
            for shard in room.away() {
                for publication in &room.publications {
                    relay(room, publication, shard, orders);
                }
            }
        }
    }

    /// Resources that no shard has confirmed yet.
    pub fn opening(&self) -> Vec<super::ResourceId> {
        let opening = self.resources.iter().filter(|(_, resource)| resource.opening > 0);
        opening.map(|(id, _)| *id).collect()
    }
}

//! Joining: everything that can be refused first, then numbers, keys and orders.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dtls::Identity;
use proto::{
    CloseReason, Command, Endpoint, GrantWord, MediaKind, MemberNo, OpenSession, Privileges,
    PublicationSpec, RoomNo, SdkAppId, SessionId, ShardId,
};
use token::{RoomId, UserId};

use super::blob::Blob;
use super::ice::IceState;
use super::ids::{fresh, random};
use super::orders::{Desired, wipe};
use super::{
    Directory, Dtls, EventsId, Orders, Publication, Resource, ResourceId, Room, RoomKey, Session,
    Slot, specs,
};
use crate::limits::SUBSCRIPTIONS_PER_MEMBER;
use crate::mask;
use crate::problem::{Code, Problem};
use crate::signalling::answer::{Granted, GrantedIce};
use crate::signalling::{Offer, Role, SectionOffer, Security, Stream, sdes};

/// Somebody with valid tokens and a readable offer.
pub struct JoinRequest<'a> {
    /// Tenant.
    pub app: SdkAppId,
    /// Where to.
    pub room: &'a RoomId,
    /// Who.
    pub user: &'a UserId,
    /// Rights.
    pub privileges: Privileges,
    /// First second of the monotonic clock at which they end.
    pub deadline_s: u32,
    /// What for.
    pub role: Role,
    /// `?stream=`.
    pub stream: Stream,
    /// `?publisher=`: the only user whose streams are wanted.
    pub publisher: Option<&'a UserId>,
    /// Read in the same role and stream.
    pub offer: &'a Offer,
    /// Our certificate, which the answer will name.
    pub identity: &'a Arc<Identity>,
    /// The HTTP client's address; `None` on a Unix socket.
    pub client: Option<IpAddr>,
}

/// An accepted join: what the answer needs, once the shard has opened the sessions.
#[derive(Debug)]
pub struct Joined {
    /// The resource.
    pub resource: ResourceId,
    /// Its entity tag.
    pub etag: String,
    /// One per served section.
    pub granted: Vec<Granted>,
    /// Our side of ICE, where the offer has a bundle.
    pub ice: Option<GrantedIce>,
    /// Its sessions, in the order of the sections.
    pub sessions: Vec<SessionId>,
    /// For `a=ssrc`.
    pub cname: String,
    /// A subscriber's event stream.
    pub events: Option<EventsId>,
}

/// What was found out before anything was changed.
struct Plan {
    key: RoomKey,
    /// The room, if it exists.
    room: Option<RoomNo>,
    /// The user's earlier resource of the same kind.
    replaced: Option<ResourceId>,
    shard: ShardId,
    /// Per session, where the peer named one.
    remotes: Vec<Endpoint>,
}

impl Directory {
    /// Plans a join, allots everything and orders it.
    ///
    /// # Errors
    /// The first reason to refuse; nothing was changed then.
    pub fn join(
        &mut self,
        request: &JoinRequest<'_>,
        orders: &mut Orders,
    ) -> Result<Joined, Problem> {
        let plan = self.plan(request)?;
        if let Some(replaced) = plan.replaced {
            self.close_resource(replaced, CloseReason::Replaced, orders);
        }
        Ok(self.carry_out(request, plan, orders))
    }

    fn plan(&self, request: &JoinRequest<'_>) -> Result<Plan, Problem> {
        if self.shards.is_empty() {
            return Err(Code::DataPlaneDown.into());
        }
        if self.draining {
            return Err(Code::Draining.into());
        }
        if !self.settings.apps.contains_key(&request.app) {
            // It went while this request was under way.
            return Err(Code::AppUnknown.into());
        }
        if !request.privileges.has(Privileges::ENTER_ROOM) {
            return Err(Code::EnterNotAllowed.into());
        }
        let key = RoomKey { app: request.app, room: request.room.clone() };
        let room = self.names.get(&key).copied();
        if room.is_none() && !request.privileges.has(Privileges::CREATE_ROOM) {
            return Err(Code::RoomDoesNotExist.into());
        }
        let existing = room.and_then(|no| self.rooms.get(&no));
        let replaced = existing.and_then(|room| self.replaced(request, room));
        if let Some(room) = existing {
            self.check_member(request, room)?;
            self.check_substream(request, room, replaced)?;
        }
        let shard = self.place(request, existing).ok_or(Code::NodeFull)?;
        self.check_room_for(request, shard, existing)?;
        let remotes = self.check_addresses(request, shard, replaced)?;
        Ok(Plan { key, room, replaced, shard, remotes })
    }

    /// The same user publishing the same stream anew takes over from itself.
    fn replaced(&self, request: &JoinRequest<'_>, room: &Room) -> Option<ResourceId> {
        let member = room.members.get(request.user)?;
        member.resources.iter().copied().find(|id| {
            self.resources.get(id).is_some_and(|resource| {
                request.role == Role::Publish
                    && resource.role == Role::Publish
                    && resource.stream == request.stream
            })
        })
    }

    fn check_member(&self, request: &JoinRequest<'_>, room: &Room) -> Result<(), Problem> {
        let Some(member) = room.members.get(request.user) else { return Ok(()) };
        let subscribing = member.resources.iter().filter(|id| {
            self.resources.get(id).is_some_and(|resource| resource.role == Role::Subscribe)
        });
        let full = subscribing.count() >= SUBSCRIPTIONS_PER_MEMBER;
        if request.role == Role::Subscribe && full {
            return Err(Code::TooManySubscriptions.into());
        }
        Ok(())
    }

    /// One substream per room.
    fn check_substream(
        &self,
        request: &JoinRequest<'_>,
        room: &Room,
        replaced: Option<ResourceId>,
    ) -> Result<(), Problem> {
        let wants = |section: &SectionOffer| section.kind == MediaKind::Substream;
        if request.role != Role::Publish || !request.offer.served().any(wants) {
            return Ok(());
        }
        let taken = room.publications.iter().any(|publication| {
            publication.spec.kind == MediaKind::Substream && Some(publication.resource) != replaced
        });
        if taken { Err(Code::SubstreamTaken.into()) } else { Ok(()) }
    }

    /// Home for publishers; for subscribers home or, when that has many of the room, another shard.
    fn place(&self, request: &JoinRequest<'_>, room: Option<&Room>) -> Option<ShardId> {
        let Some(room) = room else { return self.least_loaded(None) };
        let limit = self.settings.room_sessions_per_shard;
        let wanted = request.offer.sessions().len();
        let has_place = |shard: ShardId| {
            room.presence.get(&shard).copied().unwrap_or(0) < limit
                && self.shards[shard.0 as usize].slots.vacant() >= wanted
        };
        if request.role == Role::Publish || has_place(room.home) {
            return Some(room.home);
        }
        let elsewhere = room.away().find(|shard| has_place(*shard));
        let anywhere = || {
            let ids = (0..self.shards.len()).map(|index| ShardId(index as u8));
            let ids = ids.filter(|shard| *shard != room.home && has_place(*shard));
            ids.min_by_key(|shard| self.shards[shard.0 as usize].sessions)
        };
        elsewhere.or_else(anywhere).or(Some(room.home))
    }

    fn check_room_for(
        &self,
        request: &JoinRequest<'_>,
        shard: ShardId,
        room: Option<&Room>,
    ) -> Result<(), Problem> {
        let wanted = request.offer.sessions().len();
        let place = &self.shards[shard.0 as usize];
        if place.slots.vacant() < wanted {
            return Err(Code::NodeFull.into());
        }
        let quota = self.settings.apps.get(&request.app).copied().unwrap_or_default();
        let used = place.apps.get(&request.app).copied().unwrap_or_default();
        if quota.sessions != 0 && used.sessions as usize + wanted > quota.sessions as usize {
            return Err(Code::AppSessionsQuota.into());
        }
        let is_new_here = room.is_none_or(|room| !room.presence.contains_key(&shard));
        if is_new_here && quota.rooms != 0 && used.rooms >= quota.rooms {
            return Err(Code::AppRoomsQuota.into());
        }
        Ok(())
    }

    fn check_addresses(
        &self,
        request: &JoinRequest<'_>,
        shard: ShardId,
        replaced: Option<ResourceId>,
    ) -> Result<Vec<Endpoint>, Problem> {
        if request.offer.bundle.is_some() {
            if self.candidates(shard).is_empty() {
                return Err(Code::MediaAddressNotAllowed
                    .because("the node has no media address that it could tell"));
            }
            return Ok(vec![Endpoint::default()]);
        }
        let mut remotes: Vec<Endpoint> = Vec::new();
        for section in request.offer.served() {
            let Security::Sdes { ip, port, .. } = section.security else { continue };
            // The discard port tells nothing but the address, which must be fit all the same.
            let remote = self
                .settings
                .media
                .judge(ip, port.unwrap_or(9), request.client)
                .ok_or(Code::MediaAddressNotAllowed)?;
            if self.local(ip, shard).is_none() {
                return Err(Code::MediaAddressNotAllowed
                    .because("the node has no media address of this family"));
            }
            let remote = if port.is_some() { remote } else { Endpoint::default() };
            let holder = self.remotes.get(&remote).and_then(|session| self.resource_of(*session));
            let is_held = holder.is_some() && holder != replaced;
            if !remote.is_unset() && (is_held || remotes.contains(&remote)) {
                return Err(Code::AddressTaken.into());
            }
            remotes.push(remote);
        }
        Ok(remotes)
    }

    fn port_of(&self, shard: ShardId) -> Option<u16> {
        self.settings.udp_base.checked_add(u16::from(shard.0))
    }

    pub(super) fn candidates(&self, shard: ShardId) -> Vec<SocketAddr> {
        self.port_of(shard).map_or_else(Vec::new, |port| self.settings.media.candidates(port))
    }

    fn local(&self, peer: IpAddr, shard: ShardId) -> Option<(Endpoint, SocketAddr)> {
        self.settings.media.local(peer, self.port_of(shard)?)
    }

    fn carry_out(&mut self, request: &JoinRequest<'_>, plan: Plan, orders: &mut Orders) -> Joined {
        let shard = plan.shard;
        // Closing what was replaced may have ended the room.
        let no = match plan.room.filter(|no| self.rooms.contains_key(no)) {
            Some(no) => no,
            None => self.open_room(plan.key, shard),
        };
        let id = ResourceId(random(&mut *self.entropy));
        let events = (request.role == Role::Subscribe)
            .then(|| EventsId(ResourceId(random(&mut *self.entropy))));
        let room = self.rooms.get_mut(&no).expect("opened or found above");
        let numbers = &mut self.numbers;
        let publisher = request.publisher.map(|user| {
            let member = room.member(user, numbers);
            member.watchers += 1;
            member.no
        });
        let own = room.member(request.user, numbers);
        own.resources.push(id);
        let member = own.no;
        room.resources.insert(id);
        room.last_number += 1;
        let number = room.last_number;
        let grant = GrantWord::new(request.deadline_s, room.epoch, request.privileges);
        self.resources.insert(
            id,
            Resource {
                room: no,
                user: request.user.clone(),
                number,
                role: request.role,
                stream: request.stream,
                publisher: request.publisher.cloned(),
                shard,
                sessions: Vec::new(),
                opening: 0,
                grant,
                ice: None,
                events,
            },
        );
        self.events.extend(events.map(|events| (events, id)));
        self.enter_shard(no, shard, orders);
        let context = Context { id, no, number, member, publisher, grant, shard, events };
        let mut granted = Vec::new();
        let mut sessions = Vec::new();
        let mut ice = None;
        for (sections, remote) in request.offer.sessions().iter().zip(&plan.remotes) {
            let opened = self.open_session(request, &context, sections, *remote, orders);
            sessions.push(opened.session);
            granted.extend(opened.granted);
            ice = opened.ice;
        }
        let cname = hex(&random::<8>(&mut *self.entropy));
        let etag = self.resources.get(&id).map(Resource::etag).unwrap_or_default();
        Joined { resource: id, etag, granted, ice, sessions, cname, events }
    }

    fn open_room(&mut self, key: RoomKey, home: ShardId) -> RoomNo {
        let no = self.numbers.room();
        self.names.insert(key.clone(), no);
        self.rooms.insert(no, Room::new(key, no, home));
        no
    }

    /// Makes the room known on a shard and, away from home, its publications. Opening what is open is
    /// no error, and needed: the shard may just have forgotten the empty room.
    fn enter_shard(&mut self, no: RoomNo, shard: ShardId, orders: &mut Orders) {
        let Some(room) = self.rooms.get(&no) else { return };
        orders.push(shard, room.open_command());
        if shard == room.home || room.presence.contains_key(&shard) {
            return;
        }
        for publication in &room.publications {
            relay(room, publication, shard, orders);
        }
    }

    /// Allots and orders the session of one transport, with all its sections.
    fn open_session(
        &mut self,
        request: &JoinRequest<'_>,
        context: &Context,
        sections: &[&SectionOffer],
        remote: Endpoint,
        orders: &mut Orders,
    ) -> Opened {
        let shard = &mut self.shards[context.shard.0 as usize];
        let session = shard.slots.take().expect("counted in the plan");
        shard.sessions += 1;
        let rtcp_ssrc = fresh(&mut *self.entropy, &mut self.ssrcs);
        let mut open = OpenSession {
            session,
            room: context.no,
            member: context.member,
            resource: context.number,
            app: request.app,
            grant: context.grant,
            remote,
            rtcp_ssrc,
            label: mask::label(&mask::identity(request.user.as_str())),
            ..OpenSession::default()
        };
        let told = self.secure(&mut open, sections[0]);
        let mut kept = Session {
            resource: Some(context.id),
            app: request.app,
            remote,
            ssrcs: vec![rtcp_ssrc],
            publications: Vec::new(),
            slots: Vec::new(),
            dtls: None,
            desired: None,
        };
        let mut granted = Vec::new();
        for section in sections {
            let mut own = Granted { local: told, key: open.tx_key, ssrc: rtcp_ssrc, rtx_ssrc: 0 };
            match request.role {
                Role::Publish => {
                    let numbers = &mut self.publications;
                    let spec = specs::publication(section, &mut *self.entropy, numbers);
                    kept.publications.push(spec.publication);
                    open.publications.push(spec);
                }
                Role::Subscribe => {
                    let entropy = &mut *self.entropy;
                    let slot = specs::slot(section, context.publisher, entropy, &mut self.ssrcs);
                    kept.ssrcs.extend([slot.ssrc, slot.rtx_ssrc].iter().filter(|ssrc| **ssrc != 0));
                    kept.slots.push(Slot::of(&slot));
                    (own.ssrc, own.rtx_ssrc) = (slot.ssrc, slot.rtx_ssrc);
                    open.slots.push(slot);
                }
            }
            granted.push(own);
        }
        let blob = blob(request, context, &open);
        open.blob = blob.seal(&self.settings.blob_key, &mut *self.entropy);
        let ice = open.ice.map(|credentials| self.granted_ice(session, &credentials));
        if let (Some(bundle), Some(credentials)) = (&request.offer.bundle, &open.ice) {
            let (fingerprints, identity) = (bundle.fingerprints.clone(), request.identity.clone());
            kept.dtls = Some(Dtls { fingerprints, identity });
            let state = IceState::new(bundle.ice.clone(), credentials.generation);
            self.resources.entry(context.id).and_modify(|resource| resource.ice = Some(state));
        }
        kept.desired = Some(Desired::new(&open));
        let published = open.publications;
        orders.push(context.shard, Command::OpenSession(open));
        wipe(&mut open);
        self.enter(session, kept, context.no, context.shard);
        if let Some(resource) = self.resources.get_mut(&context.id) {
            resource.sessions.push(session);
            resource.opening += 1;
        }
        published.iter().for_each(|spec| self.publish(context, *spec, orders));
        Opened { session, granted, ice }
    }

    /// Fills in keys and addresses; returns the address that the peer is told.
    fn secure(&mut self, open: &mut OpenSession, section: &SectionOffer) -> SocketAddr {
        let shard = open.session.shard();
        match section.security {
            Security::Sdes { ip, crypto, .. } => {
                let (local, told) = self.local(ip, shard).expect("there was one in the plan");
                open.local = local;
                open.profile = crypto.profile;
                open.rx_key = crypto.key;
                open.tx_key = specs::key(&mut *self.entropy, sdes::key_bytes(crypto.profile));
                told
            }
            Security::Dtls => {
                let told = self.candidates(shard).first().copied();
                let told = told.expect("there was one in the plan");
                let local = self.local(told.ip(), shard).map(|(local, _)| local);
                open.local = local.unwrap_or_else(|| told.into());
                open.ice = Some(self.ice_credentials(open.session));
                told
            }
        }
    }

    /// Books a session with its shard, room and address.
    pub(super) fn enter(&mut self, id: SessionId, session: Session, no: RoomNo, shard: ShardId) {
        let app = session.app;
        if !session.remote.is_unset() {
            self.remotes.insert(session.remote, id);
        }
        self.sessions.insert(id, session);
        let Some(room) = self.rooms.get_mut(&no) else { return };
        let present = room.presence.entry(shard).or_insert(0);
        *present += 1;
        let is_first = *present == 1;
        if let Some(shard) = self.shard(shard) {
            let used = shard.apps.entry(app).or_default();
            used.sessions += 1;
            used.rooms += u32::from(is_first);
        }
    }

    /// Shows a new publication on the other shards of its room.
    fn publish(&mut self, context: &Context, spec: PublicationSpec, orders: &mut Orders) {
        let Some(room) = self.rooms.get_mut(&context.no) else { return };
        let publication = Publication { spec, member: context.member, resource: context.id };
        room.publications.push(publication);
        for shard in room.away() {
            relay(room, &publication, shard, orders);
        }
    }
}

/// A session that was ordered, and what its peer is told of it.
struct Opened {
    session: SessionId,
    granted: Vec<Granted>,
    ice: Option<GrantedIce>,
}

/// What the sections of one resource share.
struct Context {
    id: ResourceId,
    no: RoomNo,
    number: u32,
    member: MemberNo,
    publisher: Option<MemberNo>,
    grant: GrantWord,
    shard: ShardId,
    events: Option<EventsId>,
}

/// What a later life of this process must know of a session, besides its streams.
fn blob(request: &JoinRequest<'_>, context: &Context, open: &OpenSession) -> Blob {
    Blob {
        app: request.app,
        resource: context.id,
        number: context.number,
        role: request.role,
        stream: request.stream,
        is_ice: open.ice.is_some(),
        user: request.user.clone(),
        room: request.room.clone(),
        publisher: request.publisher.cloned().zip(context.publisher),
        remote: open.remote,
        rtcp_ssrc: open.rtcp_ssrc,
        events: context.events,
    }
}

/// Makes a publication of the home shard arrive on another one.
pub(super) fn relay(room: &Room, publication: &Publication, to: ShardId, orders: &mut Orders) {
    let (spec, member, home) = (publication.spec, publication.member, room.home);
    orders.push(to, Command::OpenRemote { room: room.no, member, home, spec });
    orders.push(home, Command::AddRelay { publication: spec.publication, to });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

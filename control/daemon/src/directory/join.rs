//! Joining: everything that can be refused first, then numbers, keys and orders.

use std::net::IpAddr;

use proto::command::{EXTENSIONS_MAX, SLOT_CODECS_MAX};
use proto::{
    CloseReason, Command, Endpoint, ExtensionId, GrantWord, KeyMaterial, List, MediaKind, MemberNo,
    OpenSession, Privileges, PublicationNo, PublicationSpec, RoomNo, SdkAppId, SessionId, ShardId,
    SlotCodec, SlotSpec,
};
use token::{RoomId, UserId};
use zeroize::Zeroizing;

use super::blob::Blob;
use super::ids::{fresh, random};
use super::orders::{Desired, wipe};
use super::{Directory, Orders, Publication, Resource, ResourceId, Room, RoomKey, Session, etag};
use crate::limits::SUBSCRIPTIONS_PER_MEMBER;
use crate::mask;
use crate::problem::{Code, Problem};
use crate::signalling::answer::Granted;
use crate::signalling::{Offer, Role, SectionOffer, Stream, sdes};

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
    /// Its sessions, in the order of the sections.
    pub sessions: Vec<SessionId>,
    /// For `a=ssrc`.
    pub cname: String,
}

/// What was found out before anything was changed.
struct Plan {
    key: RoomKey,
    /// The room, if it exists.
    room: Option<RoomNo>,
    /// The user's earlier resource of the same kind.
    replaced: Option<ResourceId>,
    shard: ShardId,
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
        let has_place = |shard: ShardId| {
            room.presence.get(&shard).copied().unwrap_or(0) < limit
                && self.shards[shard.0 as usize].slots.vacant() >= request.offer.served().count()
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
        let wanted = request.offer.served().count();
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
        let mut remotes: Vec<Endpoint> = Vec::new();
        for section in request.offer.served() {
            // The discard port tells nothing but the address, which must be fit all the same.
            let port = section.port.unwrap_or(9);
            let remote = self
                .settings
                .media
                .judge(section.ip, port, request.client)
                .ok_or(Code::MediaAddressNotAllowed)?;
            if self.local(section.ip, shard).is_none() {
                return Err(Code::MediaAddressNotAllowed
                    .because("the node has no media address of this family"));
            }
            let remote = if section.port.is_some() { remote } else { Endpoint::default() };
            let holder = self.remotes.get(&remote).and_then(|session| self.resource_of(*session));
            let is_held = holder.is_some() && holder != replaced;
            if !remote.is_unset() && (is_held || remotes.contains(&remote)) {
                return Err(Code::AddressTaken.into());
            }
            remotes.push(remote);
        }
        Ok(remotes)
    }

    fn local(&self, peer: IpAddr, shard: ShardId) -> Option<(Endpoint, std::net::SocketAddr)> {
        let port = self.settings.udp_base.checked_add(u16::from(shard.0))?;
        self.settings.media.local(peer, port)
    }

    fn carry_out(&mut self, request: &JoinRequest<'_>, plan: Plan, orders: &mut Orders) -> Joined {
        let shard = plan.shard;
        // Closing what was replaced may have ended the room.
        let no = match plan.room.filter(|no| self.rooms.contains_key(no)) {
            Some(no) => no,
            None => self.open_room(plan.key, shard),
        };
        let id = ResourceId(random(&mut *self.entropy));
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
            },
        );
        self.enter_shard(no, shard, orders);
        let context = Context { id, no, number, member, publisher, grant, shard };
        let mut granted = Vec::new();
        let mut sessions = Vec::new();
        for (section, remote) in request.offer.served().zip(&plan.remotes) {
            let (session, grant) = self.open_section(request, &context, section, *remote, orders);
            sessions.push(session);
            granted.push(grant);
        }
        let cname = hex(&random::<8>(&mut *self.entropy));
        Joined { resource: id, etag: etag(number), granted, sessions, cname }
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

    fn open_section(
        &mut self,
        request: &JoinRequest<'_>,
        context: &Context,
        section: &SectionOffer,
        remote: Endpoint,
        orders: &mut Orders,
    ) -> (SessionId, Granted) {
        let shard = &mut self.shards[context.shard.0 as usize];
        let session = shard.slots.take().expect("counted in the plan");
        shard.sessions += 1;
        let (local, told) =
            self.local(section.ip, context.shard).expect("there was one in the plan");
        let tx_key = self.make_key(sdes::key_bytes(section.crypto.profile));
        let rtcp_ssrc = fresh(&mut *self.entropy, &mut self.ssrcs);
        let mut open = OpenSession {
            session,
            room: context.no,
            member: context.member,
            resource: context.number,
            app: request.app,
            grant: context.grant,
            profile: section.crypto.profile,
            rx_key: section.crypto.key,
            tx_key,
            local,
            remote,
            rtcp_ssrc,
            label: mask::label(&mask::identity(request.user.as_str())),
            ..OpenSession::default()
        };
        let extensions = extensions(&section.extensions);
        let (mut ssrc, mut publication) = (0, None);
        match request.role {
            Role::Publish => {
                let spec = self.publication_spec(section, extensions);
                open.publications.push(spec);
                publication = Some(spec);
            }
            Role::Subscribe => {
                let slot = self.slot_spec(section, extensions, context.publisher);
                open.slots.push(slot);
                ssrc = slot.ssrc;
            }
        }
        open.blob = blob(request, context, &open, publication).encode();
        let desired = Some(Desired::new(&open));
        orders.push(context.shard, Command::OpenSession(open));
        wipe(&mut open);
        let app = request.app;
        let number = publication.map(|spec| spec.publication);
        let resource = Some(context.id);
        let kept = Session { resource, app, remote, ssrc, rtcp_ssrc, publication: number, desired };
        self.enter(session, kept, context.no, context.shard);
        if let Some(resource) = self.resources.get_mut(&context.id) {
            resource.sessions.push(session);
            resource.opening += 1;
        }
        if let Some(spec) = publication {
            self.publish(context, spec, orders);
        }
        // A publisher hears our RTCP only.
        let told_ssrc = if request.role == Role::Publish { rtcp_ssrc } else { ssrc };
        (session, Granted { local: told, key: tx_key, ssrc: told_ssrc })
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

    fn make_key(&mut self, bytes: usize) -> KeyMaterial {
        let mut key = Zeroizing::new([0; proto::command::KEY_MAX]);
        self.entropy.fill(&mut key[..bytes]);
        KeyMaterial { bytes: List::from_slice(&key[..bytes]).expect("no suite has a longer key") }
    }

    fn publication_spec(
        &mut self,
        section: &SectionOffer,
        extensions: List<ExtensionId, EXTENSIONS_MAX>,
    ) -> PublicationSpec {
        let codec = &section.codecs[0];
        PublicationSpec {
            publication: PublicationNo(fresh(&mut *self.entropy, &mut self.publications)),
            ssrc: section.ssrc.unwrap_or_default(),
            kind: section.kind,
            codec: codec.codec,
            payload_type: codec.payload_type,
            clock_rate: codec.map.clock_rate,
            extensions,
            ..PublicationSpec::default()
        }
    }

    fn slot_spec(
        &mut self,
        section: &SectionOffer,
        extensions: List<ExtensionId, EXTENSIONS_MAX>,
        publisher: Option<MemberNo>,
    ) -> SlotSpec {
        let mut codecs = List::default();
        for codec in section.codecs.iter().take(SLOT_CODECS_MAX) {
            codecs.push(SlotCodec {
                codec: codec.codec,
                payload_type: codec.payload_type,
                ..SlotCodec::default()
            });
        }
        SlotSpec {
            kind: section.kind,
            ssrc: fresh(&mut *self.entropy, &mut self.ssrcs),
            first_sequence: u16::from_ne_bytes(random(&mut *self.entropy)) >> 1,
            timestamp_offset: u32::from_ne_bytes(random(&mut *self.entropy)),
            codecs,
            extensions,
            publisher,
            ..SlotSpec::default()
        }
    }
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
}

/// What a later life of this process must know of a session.
fn blob(
    request: &JoinRequest<'_>,
    context: &Context,
    open: &OpenSession,
    publication: Option<PublicationSpec>,
) -> Blob {
    Blob {
        app: request.app,
        resource: context.id,
        number: context.number,
        role: request.role,
        stream: request.stream,
        user: request.user.clone(),
        room: request.room.clone(),
        publisher: request.publisher.cloned().zip(context.publisher),
        remote: open.remote,
        ssrc: open.slots.first().map_or(0, |slot| slot.ssrc),
        rtcp_ssrc: open.rtcp_ssrc,
        publication,
    }
}

/// Makes a publication of the home shard arrive on another one.
pub(super) fn relay(room: &Room, publication: &Publication, to: ShardId, orders: &mut Orders) {
    let (spec, member, home) = (publication.spec, publication.member, room.home);
    orders.push(to, Command::OpenRemote { room: room.no, member, home, spec });
    orders.push(home, Command::AddRelay { publication: spec.publication, to });
}

fn extensions(taken: &[ExtensionId]) -> List<ExtensionId, EXTENSIONS_MAX> {
    List::from_slice(&taken[..taken.len().min(EXTENSIONS_MAX)]).expect("cut to its length")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Carries out what the control plane says. A refused command changes nothing and is answered by
//! `Event::Refused`.

use proto::region::ledger;
use proto::{
    CloseReason, Command, Event, Extension, ExtensionId, GrantWord, Label, List, MemberNo,
    OpenSession, PublicationNo, PublicationSpec, Quota, Refusal, RoomNo, SdkAppId, SessionId,
    ShardId, SrtpProfile,
};
use srtp::{Profile, Provider, RtcpIndex, RtcpReplayWindow};

use crate::gate::Gate;
use crate::ice::Agent;
use crate::ingress;
use crate::limits::TOMBSTONE;
use crate::membership::{detach, fill_slot, show_publication, unpublish};
use crate::munger::{Munger, RepairCounter};
use crate::policer::Bucket;
use crate::publication::Publication;
use crate::room::{App, Links, Room};
use crate::session::{Session, Slot, State};
use crate::shard::{Resync, Shard};
use crate::slab::NONE;
use crate::transport::open_keys;
use crate::{Instant, Io, Now};

/// The protection profile by its number on the ring.
pub const fn profile(profile: SrtpProfile) -> Profile {
    match profile {
        SrtpProfile::AeadAes128Gcm => Profile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => Profile::AeadAes256Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => Profile::AesCm128HmacSha1_80,
    }
}

impl<P: Provider> Shard<P> {
    /// Carries out one command at the time `now`.
    pub fn command<I: Io>(&mut self, now: Now, io: &mut I, command: &Command) {
        self.counters.commands += 1;
        let mut about = (SessionId(0), RoomNo(0));
        let done = match command {
            Command::SetApp { app, quota } => self.set_app(*app, *quota),
            Command::OpenRoom { room, app, epoch, label } => {
                about.1 = *room;
                self.open_room(now, *room, *app, *epoch, label)
            }
            Command::BumpEpoch { room, epoch } => {
                about.1 = *room;
                self.bump_epoch(*room, *epoch)
            }
            Command::OpenSession(open) => {
                about = (open.session, open.room);
                self.open_session(now, io, open)
            }
            Command::SetGrant { session, grant } => {
                about.0 = *session;
                self.set_grant(*session, *grant)
            }
            Command::CloseSession { session, reason } => {
                about.0 = *session;
                self.find(*session).map(|index| self.close(now, io, index, *reason))
            }
            Command::SetUfragKey { key } => self.set_ufrag_key(*key),
            Command::RestartIce { session, ice } => {
                about.0 = *session;
                self.restart_ice(*session, ice)
            }
            Command::InstallKeys { session, profile, rx_key, tx_key } => {
                about.0 = *session;
                self.install_keys(now, io, *session, *profile, (rx_key, tx_key))
            }
            Command::AddRelay { publication, to } => self.set_relay(*publication, *to, true),
            Command::RemoveRelay { publication, to } => self.set_relay(*publication, *to, false),
            Command::OpenRemote { room, member, home, spec } => {
                about.1 = *room;
                self.open_remote(now, io, *room, *member, *home, spec)
            }
            Command::CloseRemote { publication } => self.close_remote(now, io, *publication),
            Command::Resync => {
                self.resync = Some(Resync { at: 0, part: 0, told: 0 });
                Ok(())
            }
            Command::Look { session } => {
                self.look(now, *session);
                Ok(())
            }
            Command::Trace(order) => self.set_trace(*order),
            Command::Capture(order) => self.set_capture(now, *order),
            Command::Drain { draining } => {
                self.draining = *draining;
                Ok(())
            }
        };
        if let Err(why) = done {
            self.counters.commands_refused += 1;
            self.emit(Event::Refused { session: about.0, room: about.1, why });
        }
    }

    fn set_app(&mut self, id: SdkAppId, quota: Quota) -> Result<(), Refusal> {
        if let Some(app) = self.app_by_id.get(&id) {
            self.apps[app].quota = quota;
            return Ok(());
        }
        let app = self.apps.insert(App { id, quota, ..App::default() }).ok_or(Refusal::Full)?;
        self.app_by_id.insert(id, app);
        Ok(())
    }

    /// Opening a room that is open already is no error: control and shard may cross on the way.
    fn open_room(
        &mut self,
        now: Now,
        no: RoomNo,
        app: SdkAppId,
        epoch: u32,
        label: &Label,
    ) -> Result<(), Refusal> {
        let app = self.app_by_id.get(&app).ok_or(Refusal::Unknown)?;
        if let Some(room) = self.room_by_no.get(&no) {
            return if self.rooms[room].app == app { Ok(()) } else { Err(Refusal::Foreign) };
        }
        let quota = self.apps[app].quota.rooms;
        if quota != 0 && self.apps[app].rooms >= quota {
            return Err(Refusal::Quota);
        }
        let opened = now.mono;
        let room =
            Room { no, app, epoch, label: *label, opened, empty_since: opened, ..Room::default() };
        let index = self.rooms.insert(room).ok_or(Refusal::Full)?;
        self.room_by_no.insert(no, index);
        self.apps[app].rooms += 1;
        self.counters.rooms += 1;
        usdt::room(no.0, 1);
        Ok(())
    }

    fn bump_epoch(&mut self, room: RoomNo, epoch: u32) -> Result<(), Refusal> {
        let room = self.room_by_no.get(&room).ok_or(Refusal::Unknown)?;
        self.rooms[room].epoch = epoch;
        Ok(())
    }

    /// The index of an open session with exactly this generation.
    pub(crate) fn find(&self, id: SessionId) -> Result<u32, Refusal> {
        let session = self.sessions.get(id.slot() as usize).ok_or(Refusal::Unknown)?;
        if session.id == id && session.is_open() { Ok(id.slot()) } else { Err(Refusal::Unknown) }
    }

    fn set_grant(&mut self, id: SessionId, grant: GrantWord) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let session = &mut self.sessions[index as usize];
        session.grant = grant;
        if session.state == State::GrantEnded {
            session.state = State::Alive;
        }
        let slots = session.slots;
        for slot in slots.iter() {
            let publication = self.slots[*slot].publication;
            if publication != NONE {
                let list = self.publications[publication].fanout;
                self.fanouts.set_grant(&list, *slot, grant);
            }
        }
        Ok(())
    }

    fn set_relay(&mut self, no: PublicationNo, to: ShardId, on: bool) -> Result<(), Refusal> {
        let index = self.publication_by_no.get(&no).ok_or(Refusal::Unknown)?;
        let publication = &mut self.publications[index];
        if publication.home.is_some() || to.0 >= 64 || to == self.config.id {
            return Err(Refusal::Invalid);
        }
        let bit = 1 << to.0;
        publication.relays = if on { publication.relays | bit } else { publication.relays & !bit };
        Ok(())
    }

    fn open_remote<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        room: RoomNo,
        member: MemberNo,
        home: ShardId,
        spec: &PublicationSpec,
    ) -> Result<(), Refusal> {
        let room = self.room_by_no.get(&room).ok_or(Refusal::Unknown)?;
        if self.publication_by_no.get(&spec.publication).is_some() {
            return Err(Refusal::Taken);
        }
        let mut publication = Publication::new(*spec);
        publication.home = Some(home);
        publication.member = member;
        publication.room = room;
        let index = self.publications.insert(publication).ok_or(Refusal::Full)?;
        self.publication_by_no.insert(spec.publication, index);
        self.publish(now, io, index);
        Ok(())
    }

    fn close_remote<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        no: PublicationNo,
    ) -> Result<(), Refusal> {
        let index = self.publication_by_no.get(&no).ok_or(Refusal::Unknown)?;
        if self.publications[index].home.is_none() {
            return Err(Refusal::Invalid);
        }
        unpublish(self, now, io, index);
        self.publication_by_no.remove(&no);
        self.publications.remove(index);
        Ok(())
    }

    /// Puts a publication into its room and shows it.
    fn publish<I: Io>(&mut self, now: Now, io: &mut I, index: u32) {
        let room = self.publications[index].room;
        self.publications[index].live = true;
        let mut chain = self.rooms[room].publications;
        chain.push(&mut self.publications, index, |items, index| &mut items[index].links);
        self.rooms[room].publications = chain;
        self.rooms[room].publication_count += 1;
        self.counters.publications += 1;
        show_publication(self, now, io, index);
    }

    fn open_session<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        open: &OpenSession,
    ) -> Result<(), Refusal> {
        let (room, app) = self.check_open(open)?;
        let keys = open_keys(&self.provider, open)?;
        let index = open.session.slot();
        if matches!(self.sessions[index as usize].state, State::Closed(_)) {
            self.purge(index);
        }
        if let Some(other) = self.session_by_remote.get(&open.remote)
            && !self.sessions[other as usize].is_open()
        {
            self.purge(other);
        }
        let resumes = io.ledger_load(index, ledger::SESSION) == open.session.0 + 1;
        if !resumes {
            (1..ledger::USED).for_each(|word| io.ledger_store(index, word, 0));
            io.ledger_store(index, ledger::SESSION, open.session.0 + 1);
        }
        let mut session = new_session(now, open, room, app);
        self.ingress_promised += usize::from(session.ingress_promised);
        session.has_keys = keys.is_some();
        if resumes {
            resume_rtcp(io, index, &mut session);
        }
        self.set_keys(index, keys);
        self.sessions[index as usize] = session;
        if let Some(ice) = &open.ice {
            self.open_agent(now, open, ice);
        }
        self.sessions_high = self.sessions_high.max(index + 1);
        let remote = self.sessions[index as usize].path.remote;
        if !remote.is_unset() {
            self.session_by_remote.insert(remote, index);
        }
        self.enter_room(index, room, app);
        self.emit(Event::Opened { session: open.session });
        for (position, spec) in open.slots.iter().enumerate() {
            self.add_slot(now, io, index, position, spec);
        }
        for (position, spec) in open.publications.iter().enumerate() {
            self.add_publication(index, position, spec, open);
        }
        self.bind_at_open(io, index, open.ice.is_none());
        self.open_transport_cc(index);
        let publications = self.sessions[index as usize].publications;
        for publication in publications.iter() {
            self.publish(now, io, *publication);
        }
        usdt::session(u64::from(index), open.room.0, 1);
        Ok(())
    }

    /// Everything that can be refused, before anything is changed.
    fn check_open(&self, open: &OpenSession) -> Result<(u32, u32), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let room = self.room_by_no.get(&open.room).ok_or(Refusal::Unknown)?;
        let app = self.app_by_id.get(&open.app).ok_or(Refusal::Unknown)?;
        if self.rooms[room].app != app {
            return Err(Refusal::Foreign);
        }
        let place = self.sessions.get(open.session.slot() as usize).ok_or(Refusal::Full)?;
        if open.session.shard() != self.config.id {
            return Err(Refusal::Invalid);
        }
        if place.is_open() {
            return Err(Refusal::Taken);
        }
        let quota = self.apps[app].quota.sessions;
        if quota != 0 && self.apps[app].sessions >= quota {
            return Err(Refusal::Quota);
        }
        if open.publications.len() > self.publications.vacant()
            || open.slots.len() > self.slots.vacant()
            || ingress::expected(open.publications.iter()) > self.ingress_vacant()
        {
            return Err(Refusal::Full);
        }
        let holder = self.session_by_remote.get(&open.remote);
        let is_held = holder.is_some_and(|other| self.sessions[other as usize].is_open());
        // With ICE the address is but where to begin.
        if is_held && open.ice.is_none() {
            return Err(Refusal::Taken);
        }
        let is_taken = |spec: &PublicationSpec| {
            self.publication_by_no.get(&spec.publication).is_some_and(|index| {
                self.publications[index].live || self.publications[index].home.is_some()
            })
        };
        if open.publications.iter().any(is_taken) {
            return Err(Refusal::Taken);
        }
        check_numbers(open)?;
        Ok((room, app))
    }

    fn enter_room(&mut self, index: u32, room: u32, app: u32) {
        let mut chain = self.rooms[room].sessions;
        chain.push(&mut self.sessions, index, |items, index| &mut items[index as usize].links);
        self.rooms[room].sessions = chain;
        self.rooms[room].session_count += 1;
        self.apps[app].sessions += 1;
        self.counters.sessions += 1;
    }

    fn add_slot<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        session: u32,
        position: usize,
        spec: &proto::SlotSpec,
    ) {
        let word = ledger::EGRESS + 2 * position;
        let ceiling = io.ledger_load(session, word);
        let munger = if ceiling == 0 {
            Munger::new(u64::from(spec.first_sequence), spec.timestamp_offset)
        } else {
            Munger::new(ceiling, (io.ledger_load(session, word + 1) >> 32) as u32)
        };
        let repairs = match io.ledger_load(session, ledger::EGRESS_RTX + position) {
            // Below 2^15 like that of the slot, and not the same.
            0 => u64::from((spec.first_sequence ^ spec.rtx_ssrc as u16) & 0x7fff),
            ceiling => ceiling,
        };
        let mut slot = Slot {
            session,
            position: position as u8,
            ssrc: spec.ssrc,
            kind: spec.kind,
            rtx_ssrc: spec.rtx_ssrc,
            publisher: spec.publisher,
            codecs: spec.codecs,
            extensions: spec.extensions,
            mid: spec.mid,
            munger,
            ceiling,
            gate: if ceiling == 0 { Gate::Keyframe } else { Gate::AtOnce },
            repairs: RepairCounter::new(repairs),
            ..Slot::default()
        };
        slot.prepare_extensions();
        let index = self.slots.insert(slot).expect("counted before");
        self.sessions[session as usize].slots.push(index);
        fill_slot(self, now, io, index);
    }

    fn add_publication(
        &mut self,
        session: u32,
        position: usize,
        spec: &PublicationSpec,
        open: &OpenSession,
    ) {
        let mut publication = Publication::new(*spec);
        publication.session = session;
        publication.position = position as u8;
        publication.room = self.sessions[session as usize].room;
        publication.member = open.member;
        let index = self.publications.insert(publication).expect("counted before");
        self.publication_by_no.insert(spec.publication, index);
        self.sessions[session as usize].publications.push(index);
    }

    /// Ends a session. Its place, address and SSRCs are remembered for a while, so that its late packets
    /// are counted as `revoked` and not as unknown.
    pub(crate) fn close<I: Io>(&mut self, now: Now, io: &mut I, index: u32, reason: CloseReason) {
        let session = &mut self.sessions[index as usize];
        session.state = State::Closed(reason);
        session.grant = GrantWord(0);
        session.close_at = now.mono + TOMBSTONE;
        let (id, room, app) = (session.id, session.room, session.app);
        let (slots, publications) = (std::mem::take(&mut session.slots), session.publications);
        let closed = Event::Closed {
            session: id,
            reason,
            rx_packets: session.rx_packets,
            tx_packets: session.tx_packets,
        };
        session.has_keys = false;
        self.close_feedback(index);
        self.set_keys(index, None);
        if let Some(agent) = &mut self.agents[index as usize] {
            agent.close();
        }
        (0..ledger::USED).for_each(|word| io.ledger_store(index, word, 0));
        for slot in slots.iter() {
            detach(self, *slot);
            self.slots.remove(*slot);
        }
        let mut chain = self.rooms[room].sessions;
        chain.remove(&mut self.sessions, index, |items, index| &mut items[index as usize].links);
        let left = &mut self.rooms[room];
        left.sessions = chain;
        left.session_count -= 1;
        if left.session_count == 0 {
            left.empty_since = now.mono;
        }
        self.apps[app].sessions -= 1;
        self.counters.sessions -= 1;
        for publication in publications.iter() {
            unpublish(self, now, io, *publication);
        }
        usdt::session(u64::from(index), self.rooms[room].no.0, 0);
        self.emit(closed);
    }

    /// Forgets a closed session.
    pub(crate) fn purge(&mut self, index: u32) {
        // Nothing of it stays in memory: label, address and the control plane's blob go with it.
        let session = std::mem::take(&mut self.sessions[index as usize]);
        let agent = self.agents[index as usize].take();
        let (remote, publications) = (session.path.remote, session.publications);
        let learned = agent.iter().flat_map(Agent::remotes);
        for remote in learned.chain([remote]) {
            if self.session_by_remote.get(&remote) == Some(index) {
                self.session_by_remote.remove(&remote);
            }
        }
        self.unbind(&session.streams, session.ingress_promised);
        for publication in publications.iter() {
            let no = self.publications[*publication].spec.publication;
            if self.publication_by_no.get(&no) == Some(*publication) {
                self.publication_by_no.remove(&no);
            }
            self.publications.remove(*publication);
        }
    }
}

/// SSRCs are unique within a session in each direction and can be known, first sequence numbers below 2^15.
fn check_numbers(open: &OpenSession) -> Result<(), Refusal> {
    // Zero stands for none, or for one that packets will tell.
    let slots = open.slots.iter().flat_map(|slot| [slot.ssrc, slot.rtx_ssrc]);
    let outgoing = slots.filter(|ssrc| *ssrc != 0).chain([open.rtcp_ssrc]);
    let incoming = open.publications.iter().flat_map(ingress::declared).map(|(ssrc, _)| ssrc);
    let is_unknowable = |publication: &PublicationSpec| {
        publication.ssrc == 0 && publication.mid.is_empty() && open.ice.is_none()
    };
    let is_bad = open.ice.as_ref().is_some_and(|ice| ice.password.is_empty())
        || has_repeats(outgoing)
        || has_repeats(incoming)
        || open.slots.iter().any(|slot| slot.first_sequence >= 1 << 15)
        || open.slots.iter().any(|slot| slot.ssrc == 0)
        || open.publications.iter().any(|publication| publication.clock_rate == 0)
        || open.publications.iter().any(is_unknowable);
    if is_bad { Err(Refusal::Invalid) } else { Ok(()) }
}

fn has_repeats(mut ssrcs: impl Iterator<Item = u32>) -> bool {
    let mut seen = arrayvec::ArrayVec::<u32, { 2 * crate::limits::SLOTS_MAX + 1 }>::new();
    ssrcs.any(|ssrc| {
        let known = seen.contains(&ssrc);
        seen.push(ssrc);
        known
    })
}

/// What names a stream in a header. In a BUNDLE an id means the same in every section (RFC 9143 9.2).
fn names(open: &OpenSession) -> List<ExtensionId, 3> {
    let mut names = List::default();
    for wanted in [Extension::Mid, Extension::Rid, Extension::RepairedRid] {
        let mut all = open.publications.iter().flat_map(|spec| spec.extensions.iter());
        if let Some(known) = all.find(|known| known.extension == wanted) {
            names.push(*known);
        }
    }
    names
}

fn new_session(now: Now, open: &OpenSession, room: u32, app: u32) -> Session {
    Session {
        state: State::Opening,
        grant: open.grant,
        room,
        app,
        member: open.member,
        resource: open.resource,
        id: open.session,
        path: proto::Path { local: open.local, remote: open.remote },
        failures: Bucket::default(),
        rtcp_ssrc: open.rtcp_ssrc,
        links: Links::default(),
        opened: now.mono,
        heard: Instant(0),
        learns: open.ice.is_some() || open.publications.iter().any(|spec| !spec.mid.is_empty()),
        names: names(open),
        ingress_promised: ingress::expected(open.publications.iter()) as u8,
        has_ice: open.ice.is_some(),
        has_consent: true,
        profile: open.profile,
        label: open.label,
        blob: open.blob,
        ..Session::default()
    }
}

/// Goes on with SRTCP where the ledger says that an earlier life stopped.
fn resume_rtcp<I: Io>(io: &I, index: u32, session: &mut Session) {
    session.rtcp_next = io.ledger_load(index, ledger::RTCP_CEILING) as u32;
    session.rtcp_ceiling = session.rtcp_next;
    for source in 0..ledger::RTCP_SOURCES {
        let word = io.ledger_load(index, ledger::RTCP_INGRESS + source);
        let next = word as u32;
        if let Some(highest) = next.checked_sub(1).and_then(RtcpIndex::new) {
            session.rtcp_sources[source] = (word >> 32) as u32;
            session.rtcp_windows[source] = RtcpReplayWindow::resume(highest);
        }
    }
}

//! Where requests and the link meet: the directory, the orders that wait for their rings, and those
//! who wait for an answer. One lock, held for microseconds, never across an await.

mod diagnose;
mod node;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::link::Welcome;
use proto::{
    CaptureOrder, CloseReason, Command, Event, KeyMaterial, Privileges, Refusal, SessionId,
    ShardId, SrtpProfile,
};
use shm::event::Event as WakeUp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::{mpsc, oneshot};

use crate::directory::replay::Survivor;
use crate::directory::{
    Directory, DtlsPeer, EventsId, JoinRequest, Joined, Orders, Outcome, Precondition, ResourceId,
    ResourceView, Restarted, RoomKey, SlotView, Totals,
};
use crate::limits::{CLOSE_TIMEOUT, JOIN_TIMEOUT, OUTBOX_MAX, OUTBOX_RESERVE};
use crate::problem::{Code, Problem};
use crate::trail::Trail;

use super::captures::Captures;
use super::looks::Looks;
use super::notices::{Notice, Notices};
use super::outbox::Outbox;
use super::traces::Traces;
use crate::signalling::PeerIce;

/// A DTLS datagram of a validated path, and the session it is for.
pub type Punt = (SessionId, Vec<u8>);

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No data plane.
    Down,
    /// Joins are served.
    Up {
        /// Which data plane.
        instance: u64,
        /// Its shards.
        shards: u32,
    },
}

struct State {
    directory: Directory,
    outboxes: Vec<Outbox>,
    status: Status,
    /// Whether a data plane has told what it has since this process began.
    has_attached: bool,
    opening: HashMap<ResourceId, oneshot::Sender<Result<(), Refusal>>>,
    closing: HashMap<SessionId, oneshot::Sender<()>>,
    refusals: u64,
    notices: Notices,
    looks: Looks,
    /// Who serves handshakes.
    punts: Option<mpsc::Sender<Punt>>,
    /// The same, about sessions that have ended.
    ends: Option<mpsc::UnboundedSender<SessionId>>,
    drops: HandshakeDrops,
}

/// Handshake datagrams that were not passed on; DTLS sends again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeDrops {
    /// Of peers: nobody serves handshakes, or more wait for that than its channel holds.
    pub punts: u64,
    /// To peers: too many waited for their ring, or there was no data plane.
    pub injects: u64,
}

impl State {
    /// Why something is not found. Until a data plane has told what it has, that means nothing: clients
    /// of an earlier life of this process must not take their calls for ended.
    fn unknown(&self) -> Problem {
        let code = if self.has_attached { Code::ResourceUnknown } else { Code::DataPlaneDown };
        code.into()
    }

    /// Listeners of resources that have ended are told; associations of ended sessions are of no use.
    fn tell_ended(&mut self) {
        for (resource, reason) in self.directory.take_ended_resources() {
            self.notices.end(resource, reason);
        }
        let ended = self.directory.take_ended();
        if let Some(ends) = &self.ends {
            // Without a receiver there are no associations.
            for session in ended {
                let _ = ends.send(session);
            }
        }
    }
}

/// A resource, what will change of it, and what its receive sections show now.
pub type Listening = (ResourceId, Receiver<Notice>, Vec<SlotView>);

/// See the module.
pub struct Hub {
    /// What happened lately to whom.
    pub trail: Trail,
    /// The packet trace.
    pub traces: Traces,
    /// Captures of packet headers.
    pub captures: Captures,
    state: Mutex<State>,
    ordered: WakeUp,
}

/// Sessions that are being closed.
pub struct Closing {
    /// Which.
    pub sessions: Vec<SessionId>,
    waits: Vec<oneshot::Receiver<()>>,
}

impl Closing {
    /// Waits until the shard has closed them all. `false` when that took too long; they are closed all
    /// the same as soon as the shard gets to it.
    pub async fn finished(self) -> bool {
        let all = async {
            for wait in self.waits {
                // An error means that the data plane went away, and the sessions with it.
                let _ = wait.await;
            }
        };
        tokio::time::timeout(CLOSE_TIMEOUT, all).await.is_ok()
    }
}

impl Hub {
    /// Without a data plane yet.
    ///
    /// # Errors
    /// The host has no eventfd.
    pub fn new(directory: Directory) -> std::io::Result<Hub> {
        let pseudonyms = directory.settings().blob_key.derive(b"roomlane capture addresses");
        let state = State {
            directory,
            outboxes: Vec::new(),
            status: Status::Down,
            has_attached: false,
            opening: HashMap::new(),
            closing: HashMap::new(),
            refusals: 0,
            notices: Notices::default(),
            looks: Looks::default(),
            punts: None,
            ends: None,
            drops: HandshakeDrops::default(),
        };
        Ok(Hub {
            trail: Trail::default(),
            traces: Traces::default(),
            captures: Captures::new(pseudonyms),
            state: Mutex::new(state),
            ordered: WakeUp::new()?,
        })
    }

    /// The state stays consistent over a panic: every change is made by one call of the directory.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, state: &mut State, mut orders: Orders) {
        state.tell_ended();
        if state.status == Status::Down {
            // The next data plane is told everything anyway.
            return;
        }
        for (shard, bytes) in orders.drain() {
            if let Some(outbox) = state.outboxes.get_mut(shard.0 as usize) {
                outbox.order(bytes);
            }
        }
        // Should it fail, the link looks by itself within its polling time.
        let _ = self.ordered.signal();
    }

    /// Joins, and waits until the shard has opened everything.
    ///
    /// # Errors
    /// Why not; then nothing is left of it.
    pub async fn join(&self, request: &JoinRequest<'_>) -> Result<Joined, Problem> {
        let (joined, wait) = self.start_join(request)?;
        match tokio::time::timeout(JOIN_TIMEOUT, wait).await {
            Ok(Ok(Ok(()))) => Ok(joined),
            Ok(Ok(Err(why))) => Err(refusal(why)),
            Ok(Err(_)) => Err(Code::DataPlaneDown.into()),
            Err(_) => {
                let mut state = self.lock();
                let mut orders = Orders::default();
                state.opening.remove(&joined.resource);
                state.directory.abandon(joined.resource, &mut orders);
                self.dispatch(&mut state, orders);
                Err(Code::NodeBusy.into())
            }
        }
    }

    fn start_join(
        &self,
        request: &JoinRequest<'_>,
    ) -> Result<(Joined, oneshot::Receiver<Result<(), Refusal>>), Problem> {
        let mut state = self.lock();
        if state.status == Status::Down {
            return Err(Code::DataPlaneDown.into());
        }
        if state.outboxes.iter().any(|outbox| outbox.commands() + OUTBOX_RESERVE > OUTBOX_MAX) {
            return Err(Code::NodeBusy.into());
        }
        let mut orders = Orders::default();
        let joined = state.directory.join(request, &mut orders)?;
        let (done, wait) = oneshot::channel();
        state.opening.insert(joined.resource, done);
        self.dispatch(&mut state, orders);
        Ok((joined, wait))
    }

    /// A resource.
    ///
    /// # Errors
    /// 404; 503 while no data plane has told what it has.
    pub fn resource(&self, id: ResourceId) -> Result<ResourceView, Problem> {
        let state = self.lock();
        state.directory.resource(id).ok_or_else(|| state.unknown())
    }

    /// Whether one of these entity tags names the present state of a resource.
    pub fn has_etag(&self, id: ResourceId, tags: &str) -> bool {
        self.lock().directory.has_etag(id, tags)
    }

    /// New rights and a new deadline; `false` when the resource is not there.
    pub fn renew(&self, id: ResourceId, privileges: Privileges, deadline_s: u32) -> bool {
        self.order(|directory, orders| directory.renew(id, privileges, deadline_s, orders))
    }

    /// Leaves.
    pub fn leave(&self, id: ResourceId) -> Closing {
        self.close(|directory, orders| directory.close_resource(id, CloseReason::Left, orders))
    }

    /// Removes the peer that a session belongs to.
    pub fn kick(&self, session: SessionId) -> Option<Closing> {
        let mut found = true;
        let closing = self.close(|directory, orders| match directory.kick(session, orders) {
            Some(sessions) => sessions,
            None => {
                found = false;
                Vec::new()
            }
        });
        found.then_some(closing)
    }

    /// Ends a room.
    pub fn end_room(&self, key: &RoomKey) -> Option<Closing> {
        let mut found = true;
        let closing = self.close(|directory, orders| match directory.end_room(key, orders) {
            Some(sessions) => sessions,
            None => {
                found = false;
                Vec::new()
            }
        });
        found.then_some(closing)
    }

    fn close(&self, act: impl FnOnce(&mut Directory, &mut Orders) -> Vec<SessionId>) -> Closing {
        let mut state = self.lock();
        let mut orders = Orders::default();
        let sessions = act(&mut state.directory, &mut orders);
        let mut waits = Vec::new();
        if state.status != Status::Down {
            for session in &sessions {
                let (done, wait) = oneshot::channel();
                state.closing.insert(*session, done);
                waits.push(wait);
            }
        }
        self.dispatch(&mut state, orders);
        Closing { sessions, waits }
    }

    /// Counts of now.
    pub fn totals(&self) -> Totals {
        self.lock().directory.totals()
    }

    /// Members that are in a room now.
    pub fn members_of(&self, key: &RoomKey) -> usize {
        self.lock().directory.members_of(key)
    }

    /// Streams by kind, see [`Directory::streams`].
    pub fn streams(&self) -> [(u64, u64); 3] {
        self.lock().directory.streams_by_kind()
    }

    /// The link's state.
    pub fn status(&self) -> Status {
        self.lock().status
    }

    /// Sessions that shards refused since the start.
    pub fn refusals(&self) -> u64 {
        self.lock().refusals
    }

    /// What a shard moves, in packets per second.
    pub fn set_load(&self, shard: ShardId, pps: u64) {
        self.lock().directory.set_load(shard, pps);
    }

    /// What a peer trickles, see [`Directory::trickle`].
    ///
    /// # Errors
    /// Why it changed nothing.
    pub fn trickle(
        &self,
        id: ResourceId,
        precondition: Precondition<'_>,
        peer: Option<PeerIce>,
    ) -> Result<Option<Restarted>, Problem> {
        let mut state = self.lock();
        let mut orders = Orders::default();
        let done = state.directory.trickle(id, precondition, peer, &mut orders);
        self.dispatch(&mut state, orders);
        done
    }

    /// The resource whose event stream this is.
    ///
    /// # Errors
    /// 404; 503 while no data plane has told what it has.
    pub fn resource_of_events(&self, id: EventsId) -> Result<ResourceId, Problem> {
        let state = self.lock();
        state.directory.resource_of_events(id).ok_or_else(|| state.unknown())
    }

    /// Listens to a resource's receive sections: what they show now, and what will change.
    ///
    /// # Errors
    /// As for [`Hub::resource_of_events`], and 429 when it has as many listeners as it may.
    pub fn listen(&self, id: EventsId) -> Result<Listening, Problem> {
        let mut state = self.lock();
        let known = state.directory.resource_of_events(id);
        let resource = known.ok_or_else(|| state.unknown())?;
        let notices = state.notices.listen(resource).ok_or(Code::TooManyEventStreams)?;
        Ok((resource, notices, state.directory.slots(resource)))
    }

    /// What a resource's receive sections show.
    pub fn slots(&self, id: ResourceId) -> Vec<SlotView> {
        self.lock().directory.slots(id)
    }

    /// Ends all event streams: this process stops.
    pub fn close_streams(&self) {
        self.lock().notices.close();
    }

    // What follows is for the handshakes.

    /// Who gets the DTLS datagrams of peers from now on, and learns which sessions have ended. When the
    /// channel of datagrams is full, they are dropped.
    pub fn set_handshakes(
        &self,
        punts: mpsc::Sender<Punt>,
        ends: mpsc::UnboundedSender<SessionId>,
    ) {
        let mut state = self.lock();
        (state.punts, state.ends) = (Some(punts), Some(ends));
    }

    /// Who a session's peer must be, see [`Directory::dtls_peer`].
    pub fn dtls_peer(&self, session: SessionId) -> Option<DtlsPeer> {
        self.lock().directory.dtls_peer(session)
    }

    /// The peer of a session has said goodbye. `false` when its resource has ended before.
    pub fn left(&self, session: SessionId) -> bool {
        self.order(|directory, orders| directory.left(session, orders))
    }

    /// Sends a datagram to a session's peer, after every command that was ordered before. `false` when
    /// it was dropped.
    pub fn inject(&self, session: SessionId, datagram: &[u8]) -> bool {
        let mut state = self.lock();
        let outbox = state.outboxes.get_mut(session.shard().0 as usize);
        let taken = outbox.is_some_and(|outbox| outbox.inject(session, datagram));
        if taken {
            // Should it fail, the link looks by itself within its polling time.
            let _ = self.ordered.signal();
        } else {
            state.drops.injects += 1;
        }
        taken
    }

    /// Gives a session the keys of its finished handshake. `false` when there is no such session.
    pub fn install_keys(
        &self,
        session: SessionId,
        profile: SrtpProfile,
        rx_key: &KeyMaterial,
        tx_key: &KeyMaterial,
    ) -> bool {
        self.order(|directory, orders| {
            directory.install_keys(session, profile, rx_key, tx_key, orders)
        })
    }

    /// Handshake datagrams dropped since the start.
    pub fn handshake_drops(&self) -> HandshakeDrops {
        self.lock().drops
    }

    fn order(&self, act: impl FnOnce(&mut Directory, &mut Orders) -> bool) -> bool {
        let mut state = self.lock();
        let mut orders = Orders::default();
        let done = act(&mut state.directory, &mut orders);
        self.dispatch(&mut state, orders);
        done
    }

    // What follows is the link's.

    /// Takes a DTLS datagram of a peer.
    pub fn punt(&self, session: SessionId, datagram: Vec<u8>) {
        let mut state = self.lock();
        let sent = state.punts.as_ref().map(|punts| punts.try_send((session, datagram)));
        if !matches!(sent, Some(Ok(()))) {
            state.drops.punts += 1;
        }
    }

    /// Signalled when there are new orders, and when the link is to stop.
    pub fn ordered(&self) -> &WakeUp {
        &self.ordered
    }

    /// Works on a shard's waiting orders.
    pub fn with_outbox<T>(&self, shard: ShardId, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut state = self.lock();
        match state.outboxes.get_mut(shard.0 as usize) {
            Some(outbox) => work(outbox),
            None => work(&mut Outbox::default()),
        }
    }

    /// Takes up with a data plane.
    pub fn attach(&self, welcome: &Welcome, survivors: &[Survivor]) {
        let mut state = self.lock();
        let mut orders = Orders::default();
        state.directory.attach(welcome, survivors, &mut orders);
        // Captures of an earlier life of this process have nobody who reads them.
        let none = Command::Capture(CaptureOrder::default());
        (0..welcome.shards).for_each(|shard| orders.push(ShardId(shard as u8), none));
        state.notices.tell_all();
        self.trail.owners(state.directory.owners());
        state.outboxes = (0..welcome.shards).map(|_| Outbox::default()).collect();
        state.status = Status::Up { instance: welcome.instance, shards: welcome.shards };
        state.has_attached = true;
        self.dispatch(&mut state, orders);
    }

    /// The data plane is gone. Joins that wait fail; everything else waits for the next one.
    pub fn detach(&self) {
        let mut state = self.lock();
        state.status = Status::Down;
        state.outboxes.clear();
        let mut orders = Orders::default();
        for resource in state.directory.opening() {
            state.directory.abandon(resource, &mut orders);
        }
        state.opening.clear();
        state.closing.clear();
        state.looks = Looks::default();
        self.captures.cut();
        state.tell_ended();
    }

    /// Takes in an event.
    pub fn event(&self, shard: ShardId, event: &Event) {
        let mut state = self.lock();
        match *event {
            Event::Looked { session, look } => return state.looks.told(session, look),
            Event::Traced(record) => return self.traces.told(shard, record),
            Event::Captured(record) => {
                if let Some((order, shards)) = self.captures.told(shard, record) {
                    let mut orders = Orders::default();
                    shards.iter().for_each(|at| orders.push(*at, Command::Capture(order)));
                    self.dispatch(&mut state, orders);
                }
                return;
            }
            _ => {}
        }
        self.note(event);
        let mut orders = Orders::default();
        for outcome in state.directory.event(shard, event, &mut orders) {
            match outcome {
                Outcome::Open(resource) => {
                    if let Some(done) = state.opening.remove(&resource) {
                        // The receiver is gone when the join has timed out just now.
                        let _ = done.send(Ok(()));
                    }
                }
                Outcome::Refused(resource, why) => {
                    state.refusals += 1;
                    if let Some(done) = state.opening.remove(&resource) {
                        let _ = done.send(Err(why));
                    }
                }
                Outcome::Slot(resource, session, place) => {
                    if state.notices.has_listeners(resource)
                        && let Some(view) = state.directory.slot(session, place)
                    {
                        state.notices.tell(resource, Notice::Slot(view));
                    }
                }
                Outcome::Closed(session, _) => {
                    if let Some(done) = state.closing.remove(&session) {
                        let _ = done.send(());
                    }
                }
            }
        }
        if orders.is_empty() {
            state.tell_ended();
        } else {
            self.dispatch(&mut state, orders);
        }
    }
}

/// A shard's refusal as the client gets it.
fn refusal(why: Refusal) -> Problem {
    match why {
        Refusal::Full => Code::NodeFull.into(),
        Refusal::Quota => Code::AppQuota.into(),
        Refusal::Taken => Code::AddressTaken.because("the shard holds this address or id already"),
        Refusal::Draining => Code::Draining.into(),
        Refusal::Unknown => Code::NodeBusy.because("the shard did not know the room or app yet"),
        Refusal::Foreign | Refusal::Invalid => Code::Refused.into(),
    }
}

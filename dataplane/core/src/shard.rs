//! A shard: the rooms of one core, as a value.
//!
//! Six verbs drive it: `process` a burst, carry out a `command`, `inject` a datagram of the control
//! plane, take an opened packet of another shard with `relay_in`, keep house with `tick`, and hand out
//! events with `pop_event`.

use arrayvec::ArrayVec;
use proto::counters::ShardCounters;
use proto::ufrag::UfragKey;
use proto::{Event, PublicationNo, RoomNo, SdkAppId, ShardId};
use srtp::{Inbound, Outbound, Provider};

use crate::budget::Recent;
use crate::events::EventQueue;
use crate::fanout::Fanouts;
use crate::history::History;
use crate::ice::Agent;
use crate::ingress::Ingress;
use crate::limits::{
    APPS_MAX, INGRESS_PER_SESSION, PATHS_MAX, PLI_PENDING_MAX, PUBLICATIONS_PER_SESSION,
    SLOTS_PER_SESSION, SOURCE_BUCKETS, TICK, TRANSPORT_CC_SESSIONS_MAX, UFRAG_KEYS,
};
use crate::nack::Nacks;
use crate::policer::Bucket;
use crate::publication::Publication;
use crate::room::{App, Room};
use crate::session::{Session, Slot};
use crate::slab::Slab;
use crate::stage::{self, Work};
use crate::table::Table;
use crate::trace::Trace;
use crate::transport_cc::TransportCc;
use crate::upstream::Waiting;
use crate::{Burst, Duration, Endpoint, Instant, Io, Now};

/// What a shard is made with; its memory follows from it and does not grow.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Which of the node's shards it is.
    pub id: ShardId,
    /// Keys the hashes of tables whose keys attackers choose.
    pub seed: [u8; 32],
    /// Sessions at most, tombstones included.
    pub sessions_max: u32,
    /// Rooms at most.
    pub rooms_max: u32,
    /// A session that was silent so long is closed.
    pub session_timeout: Duration,
    /// An empty room is kept so long.
    pub room_linger: Duration,
    /// Forwarded packets that are kept to answer NACKs from, over all streams; 0 keeps none.
    pub history_packets: u32,
}

/// The rooms of one core.
pub struct Shard<P: Provider> {
    pub(crate) config: ShardConfig,
    pub(crate) provider: P,
    pub(crate) apps: Slab<App>,
    pub(crate) rooms: Slab<Room>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) inbound: Vec<Option<Inbound<P>>>,
    /// Apart from those of the other direction: a copy that is sealed touches nothing else.
    pub(crate) outbound: Vec<Option<Outbound<P>>>,
    /// By session, like the keys: what only checks and handshakes touch.
    pub(crate) agents: Vec<Option<Agent>>,
    /// What ufrag tokens are minted under: the present key, and the one before it.
    pub(crate) ufrag_keys: [Option<UfragKey>; UFRAG_KEYS],
    pub(crate) publications: Slab<Publication>,
    /// One for each SSRC that sessions send with.
    pub(crate) ingress: Slab<Ingress>,
    /// Places of it that open sessions may still take, or have taken.
    pub(crate) ingress_promised: usize,
    pub(crate) slots: Slab<Slot>,
    pub(crate) fanouts: Fanouts,
    /// Trusted keys (the control plane chose them), hashed like the others for simplicity.
    pub(crate) app_by_id: Table<SdkAppId>,
    pub(crate) room_by_no: Table<RoomNo>,
    pub(crate) publication_by_no: Table<PublicationNo>,
    /// Remote endpoint to session: the local end is one port per shard. With ICE, the remote ends of all
    /// validated paths. Attackers choose the keys.
    pub(crate) session_by_remote: Table<Endpoint>,
    /// Declared SSRC to the first ingress stream with it. Publishers choose the keys.
    pub(crate) ingress_by_ssrc: Table<u32>,
    /// Budgets of unknown sources; sources share one by a keyed hash.
    pub(crate) source_budgets: Vec<Bucket>,
    pub(crate) source_key: (u64, u64),
    pub(crate) pli_pending: ArrayVec<u32, PLI_PENDING_MAX>,
    /// What publishers are told, and when.
    pub(crate) nacks: Nacks,
    pub(crate) transport_cc: TransportCc,
    pub(crate) waiting: Waiting,
    pub(crate) history: History,
    pub(crate) recent_repairs: Recent,
    pub(crate) events: EventQueue,
    pub(crate) resync: Option<Resync>,
    pub(crate) trace: Trace,
    pub(crate) counters: ShardCounters,
    pub(crate) draining: bool,
    /// Sessions with a higher index were never used.
    pub(crate) sessions_high: u32,
    pub(crate) ticks: u32,
    pub(crate) next_tick: Instant,
    pub(crate) bursts: u64,
}

/// How far the answer to `Resync` is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resync {
    /// The session that is told of.
    pub at: u32,
    /// How much of it was told.
    pub part: usize,
    /// Sessions told.
    pub told: u32,
}

impl<P: Provider> Shard<P> {
    /// Sets aside all memory the shard will ever use.
    pub fn new(config: &ShardConfig, provider: P, now: Now) -> Self {
        let sessions = config.sessions_max as usize;
        let rooms = config.rooms_max as usize;
        let publications = sessions * PUBLICATIONS_PER_SESSION;
        let ingress = sessions * INGRESS_PER_SESSION;
        let slots = sessions * SLOTS_PER_SESSION;
        let word = |at: usize| {
            u64::from_le_bytes(config.seed[at..at + 8].try_into().expect("eight bytes"))
        };
        let (key, source_key) = ((word(0), word(8)), (word(16), word(24)));
        Shard {
            provider,
            apps: Slab::new(APPS_MAX, App::default),
            rooms: Slab::new(rooms, Room::default),
            sessions: (0..sessions).map(|_| Session::default()).collect(),
            inbound: (0..sessions).map(|_| None).collect(),
            outbound: (0..sessions).map(|_| None).collect(),
            agents: (0..sessions).map(|_| None).collect(),
            ufrag_keys: [const { None }; UFRAG_KEYS],
            publications: Slab::new(publications, || Publication::new(Default::default())),
            ingress: Slab::new(ingress, Ingress::default),
            ingress_promised: 0,
            slots: Slab::new(slots, Slot::default),
            fanouts: Fanouts::new(slots, publications),
            app_by_id: Table::new(APPS_MAX, key),
            room_by_no: Table::new(rooms, key),
            publication_by_no: Table::new(publications, key),
            session_by_remote: Table::new(sessions * PATHS_MAX, key),
            ingress_by_ssrc: Table::new(ingress, key),
            source_budgets: vec![Bucket::default(); SOURCE_BUCKETS],
            source_key,
            pli_pending: ArrayVec::new(),
            nacks: Nacks::new(),
            transport_cc: TransportCc::new(sessions.min(TRANSPORT_CC_SESSIONS_MAX)),
            waiting: Waiting::new(sessions),
            history: History::new(config.history_packets as usize),
            recent_repairs: Recent::new(),
            events: EventQueue::new(),
            resync: None,
            trace: Trace::default(),
            counters: ShardCounters::default(),
            draining: false,
            sessions_high: 0,
            ticks: 0,
            next_tick: now.mono + TICK,
            bursts: 0,
            config: config.clone(),
        }
    }

    /// Takes a burst through all stages; `rx` is empty afterwards. The order of the lines is the
    /// packet's way; each stage passes once over the whole burst.
    pub fn process<I: Io>(&mut self, now: Now, io: &mut I, rx: &mut Burst<I::Buf>) {
        if rx.is_empty() {
            return;
        }
        let mut work = Work::new(rx.len());
        self.bursts += 1;
        if self.trace.is_on() {
            self.trace_heads(now, rx);
        }
        stage::run(self, io, &mut work, 0, |_, _, work| stage::classify(work, rx));
        stage::run(self, io, &mut work, 1, |shard, _, work| stage::lookup(shard, now, work, rx));
        stage::run(self, io, &mut work, 2, |shard, io, work| stage::ice(shard, now, io, work, rx));
        stage::run(self, io, &mut work, 3, |shard, _, work| stage::admit(shard, now, work, rx));
        stage::run(self, io, &mut work, 4, |shard, io, work| stage::open(shard, now, io, work, rx));
        stage::run(self, io, &mut work, 5, |shard, io, work| {
            stage::inspect(shard, now, io, work, rx);
            shard.note_arrivals(now, work);
        });
        stage::run(self, io, &mut work, 6, |shard, io, work| {
            stage::feedback(shard, now, io, work, rx)
        });
        stage::run(self, io, &mut work, 7, |shard, io, work| stage::route(shard, now, io, work));
        stage::run(self, io, &mut work, 8, |shard, io, work| stage::seal(shard, now, io, work, rx));
        stage::account(self, io, &work, rx);
    }

    /// Serves this shard's subscribers of a stream that another shard opened.
    pub fn relay_in<I: Io>(&mut self, now: Now, io: &mut I, packet: &crate::RelayPacket<'_>) {
        self.counters.relay_rx += 1;
        if self.trace.is_on() {
            self.trace.captures.set_now(now);
        }
        stage::seal_relayed(self, now, io, packet);
    }

    /// What subscribers on another shard want of a stream of this one.
    pub fn feedback_in<I: Io>(&mut self, now: Now, io: &mut I, feedback: crate::RelayFeedback) {
        if let Some(publication) = self.publication_by_no.get(&feedback.publication)
            && feedback.keyframe
        {
            crate::report::request_keyframe(self, now, io, publication);
        }
    }

    /// The next event for the control plane.
    pub fn pop_event(&mut self) -> Option<Event> {
        self.events.pop().or_else(|| self.next_resync_event())
    }

    /// When `tick` wants to be called next.
    pub fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// Everything counted so far.
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Sessions that are open now.
    pub fn sessions(&self) -> u32 {
        self.counters.sessions as u32
    }

    /// What it was made with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    pub(crate) fn emit(&mut self, event: Event) {
        if !self.events.push(event) {
            self.counters.events_lost += 1;
        }
    }
}

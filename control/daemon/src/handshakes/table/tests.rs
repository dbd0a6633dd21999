//! The table between peers of OpenSSL's client and a process made of lists.

use std::sync::Arc;

use dtls::{Client, Identity, Profile};

use super::*;

const APP: SdkAppId = SdkAppId(1);
const OTHER_APP: SdkAppId = SdkAppId(2);
const DAY: Duration = Duration::from_secs(86_400);

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate(DAY, 1_800_000_000).unwrap())
}

/// What the table did, in its order.
#[derive(Debug, PartialEq)]
enum Act {
    Install(SessionId),
    Send(SessionId, Vec<u8>),
    Left(SessionId),
    Ended(End),
}

#[derive(Default)]
struct World {
    peers: HashMap<SessionId, Peer>,
    keys: Vec<(SessionId, Vec<u8>, Vec<u8>)>,
    acts: Vec<Act>,
    /// Sessions that end just before their keys arrive.
    gone: bool,
}

impl Outside for World {
    fn peer(&mut self, session: SessionId) -> Option<Peer> {
        self.peers.get(&session).cloned()
    }
    fn install(&mut self, session: SessionId, keys: &Keys) -> bool {
        self.acts.push(Act::Install(session));
        self.keys.push((session, keys.client.to_vec(), keys.server.to_vec()));
        !self.gone
    }
    fn send(&mut self, session: SessionId, datagram: &[u8]) {
        self.acts.push(Act::Send(session, datagram.to_vec()));
    }
    fn left(&mut self, session: SessionId) {
        self.acts.push(Act::Left(session));
    }
    fn ended(&mut self, _: SdkAppId, end: End, _: Duration) {
        self.acts.push(Act::Ended(end));
    }
}

impl World {
    fn ends(&self) -> Vec<End> {
        let end = |act: &Act| if let Act::Ended(end) = act { Some(*end) } else { None };
        self.acts.iter().filter_map(end).collect()
    }

    fn sent(&self) -> usize {
        self.acts.iter().filter(|act| matches!(act, Act::Send(..))).count()
    }
}

/// A peer that is who its session expects.
struct Caller {
    session: SessionId,
    identity: Arc<Identity>,
    client: Client,
    keys: Option<Keys>,
    is_closed: bool,
    /// Everything it has sent.
    sent: Vec<Vec<u8>>,
}

impl Caller {
    /// Expected by the world.
    fn new(world: &mut World, session: u64, app: SdkAppId) -> Caller {
        let (session, own, ours) = (SessionId(session), identity(), identity());
        let peer = Peer {
            app,
            ice_generation: 1,
            fingerprints: vec![own.fingerprint().clone()],
            identity: ours,
        };
        let caller = Caller::calling(session, &own, &peer);
        world.peers.insert(session, peer);
        caller
    }

    fn calling(session: SessionId, own: &Arc<Identity>, peer: &Peer) -> Caller {
        let expected = [peer.identity.fingerprint().clone()];
        let profiles = [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm];
        Caller {
            session,
            identity: Arc::clone(own),
            client: Client::new(own, &expected, &profiles, 1200).unwrap(),
            keys: None,
            is_closed: false,
            sent: vec![],
        }
    }

    /// Takes what was sent to its session from act `from` on.
    fn hear(&mut self, world: &World, from: usize) {
        for act in &world.acts[from..] {
            let Act::Send(session, datagram) = act else { continue };
            if *session == self.session {
                match self.client.receive(datagram) {
                    Ok(Progress::Done(keys)) => self.keys = Some(keys),
                    Ok(Progress::Closed) => self.is_closed = true,
                    Ok(Progress::InProgress) | Err(_) => {}
                }
            }
        }
    }

    /// Sends what it has to send; `false` when that is nothing.
    fn speak(&mut self, table: &mut Table, world: &mut World, now: Instant) -> bool {
        let datagrams: Vec<_> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        for datagram in &datagrams {
            table.receive(now, self.session, datagram, world);
        }
        self.sent.extend(datagrams.iter().cloned());
        !datagrams.is_empty()
    }

    /// Until neither side has anything to say.
    fn call(&mut self, table: &mut Table, world: &mut World, now: Instant) {
        loop {
            let from = world.acts.len();
            if !self.speak(table, world, now) {
                return;
            }
            self.hear(world, from);
        }
    }

    fn has_keys_of(&self, world: &World) -> bool {
        let ours = world.keys.iter().rfind(|(session, ..)| *session == self.session);
        ours.zip(self.keys.as_ref())
            .is_some_and(|((_, rx, tx), keys)| *rx == *keys.client && *tx == *keys.server)
    }
}

/// A ClientHello like any other.
fn hello() -> Vec<u8> {
    let peer = identity();
    let mut client =
        Client::new(&peer, &[peer.fingerprint().clone()], &[Profile::AeadAes128Gcm], 1200).unwrap();
    client.poll_transmit().unwrap()
}

#[test]
fn keys_are_installed_before_the_flight_that_lets_the_peer_use_them() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    caller.call(&mut table, &mut world, now);
    assert!(caller.has_keys_of(&world));
    assert_eq!(caller.keys.as_ref().unwrap().profile, Profile::AeadAes128Gcm, "our order decides");
    let at = world.acts.iter().position(|act| *act == Act::Install(caller.session)).unwrap();
    assert!(matches!(world.acts[at - 1], Act::Send(..)), "the first flight");
    assert!(matches!(world.acts[at + 1], Act::Send(..)), "the last flight");
    assert_eq!(world.ends(), [End::Ok]);
    assert_eq!((table.half_open(), table.len()), (0, 1));
}

#[test]
fn a_peer_that_lost_the_last_flight_gets_it_again() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    caller.speak(&mut table, &mut world, now);
    caller.hear(&world, 0);
    caller.speak(&mut table, &mut world, now);
    assert_eq!(world.ends(), [End::Ok]);
    // Its library repeats itself after a second, which nothing safe can set.
    let (patience, lost) = (now + Duration::from_secs(20), world.acts.len());
    while world.acts.len() == lost {
        assert!(Instant::now() < patience, "the client does not repeat itself");
        std::thread::sleep(Duration::from_millis(5));
        let _ = caller.client.on_timeout();
        caller.speak(&mut table, &mut world, now);
    }
    caller.hear(&world, lost);
    assert!(caller.has_keys_of(&world));
    assert_eq!(world.keys.len(), 1, "keys are given once");
}

#[test]
fn a_wrong_certificate_gets_no_keys_and_silence_after_some_tries_until_ice_restarts() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let rightful = Caller::new(&mut world, 7, APP);
    let (session, stranger) = (rightful.session, identity());
    let peer = world.peers[&session].clone();
    for _ in 0..DTLS_FAILURES_MAX {
        let mut caller = Caller::calling(session, &stranger, &peer);
        caller.call(&mut table, &mut world, now);
        assert!(caller.keys.is_none());
    }
    assert_eq!(world.ends(), [End::Refused(Refusal::Certificate); DTLS_FAILURES_MAX as usize]);
    let sent = world.sent();
    Caller::calling(session, &rightful.identity, &peer).call(&mut table, &mut world, now);
    assert_eq!(world.sent(), sent, "silence");
    assert!(world.keys.is_empty());
    world.peers.get_mut(&session).unwrap().ice_generation = 2;
    let mut again = Caller::calling(session, &rightful.identity, &peer);
    again.call(&mut table, &mut world, now);
    assert!(again.has_keys_of(&world));
}

#[test]
fn sessions_that_expect_no_dtls_and_datagrams_that_are_no_hello_leave_nothing_behind() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    let junk =
        [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 11, 0, 0][..], &[22], &[], &[21; 40]];
    for datagram in junk {
        table.receive(now, caller.session, datagram, &mut world);
    }
    table.receive(now, SessionId(99), &hello(), &mut world);
    assert!(world.acts.is_empty() && table.is_empty());
    caller.call(&mut table, &mut world, now);
    assert!(caller.has_keys_of(&world));
}

#[test]
fn another_hello_never_ends_the_association_of_the_same_peer() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    let race = |table: &mut Table, world: &mut World| {
        for _ in 0..3 {
            table.receive(now, SessionId(7), &hello(), world);
        }
    };
    caller.speak(&mut table, &mut world, now);
    race(&mut table, &mut world);
    caller.hear(&world, 0);
    caller.call(&mut table, &mut world, now);
    assert!(caller.has_keys_of(&world));
    race(&mut table, &mut world);
    caller.client.close();
    caller.call(&mut table, &mut world, now);
    assert_eq!(world.keys.len(), 1);
    assert_eq!(world.acts.last(), Some(&Act::Left(caller.session)), "it was still heard");
}

#[test]
fn another_fingerprint_begins_another_association() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut first = Caller::new(&mut world, 7, APP);
    first.call(&mut table, &mut world, now);
    let second = identity();
    let peer = world.peers.get_mut(&first.session).unwrap();
    peer.fingerprints = vec![second.fingerprint().clone()];
    let mut second = Caller::calling(first.session, &second, &peer.clone());
    second.call(&mut table, &mut world, now);
    assert!(second.has_keys_of(&world) && !first.has_keys_of(&world));
    assert_eq!(world.ends(), [End::Ok, End::Ok]);
}

#[test]
fn a_goodbye_ends_the_session_if_it_is_authentic() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    caller.call(&mut table, &mut world, now);
    let plain = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0];
    let mut sealed = vec![21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 26];
    sealed.extend([0; 26]);
    for forged in [&plain[..], &sealed] {
        table.receive(now, caller.session, forged, &mut world);
        assert!(!world.acts.contains(&Act::Left(caller.session)));
    }
    caller.client.close();
    caller.call(&mut table, &mut world, now);
    assert_eq!(world.acts.last(), Some(&Act::Left(caller.session)));
    assert!(table.is_empty());
}

#[test]
fn the_peer_of_a_session_that_ends_is_told() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    caller.call(&mut table, &mut world, now);
    assert!(!caller.is_closed);
    let from = world.acts.len();
    table.forget(now, caller.session, &mut world);
    caller.hear(&world, from);
    assert!(caller.is_closed && table.is_empty());
    assert_eq!(world.acts.len(), from + 1, "one datagram, once");
}

#[test]
fn the_peer_of_a_session_that_just_ended_does_not_get_the_last_flight() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    world.gone = true;
    caller.call(&mut table, &mut world, now);
    assert!(caller.keys.is_none() && table.is_empty());
    assert_eq!(world.ends(), [End::Overtaken]);
}

/// `count` sessions of an app, each with a ClientHello and no more.
fn flood(table: &mut Table, world: &mut World, app: SdkAppId, count: u64, now: Instant) {
    let hello = hello();
    let caller = Caller::new(world, 1_000_000, app);
    let peer = world.peers[&caller.session].clone();
    for number in 0..count {
        let session = SessionId(u64::from(app.0) << 32 | number);
        world.peers.insert(session, peer.clone());
        table.receive(now, session, &hello, world);
    }
}

#[test]
fn a_flood_of_one_app_keeps_to_its_places_and_others_join() {
    let (mut table, mut world, start) = (Table::default(), World::default(), Instant::now());
    let flooded = 10 * DTLS_HALF_OPEN_PER_APP;
    flood(&mut table, &mut world, APP, flooded as u64, start);
    assert_eq!(table.half_open(), DTLS_HALF_OPEN_PER_APP);
    let busy = world.ends().iter().filter(|end| **end == End::Busy).count();
    assert_eq!(busy, flooded - DTLS_HALF_OPEN_PER_APP, "the young do not give way");
    let mut other = Caller::new(&mut world, 7, OTHER_APP);
    other.call(&mut table, &mut world, start);
    assert!(other.has_keys_of(&world));
    // Of the same app, its ClientHello is refused first and comes again after a second.
    let mut same = Caller::new(&mut world, 8, APP);
    same.call(&mut table, &mut world, start);
    assert!(same.keys.is_none());
    let later = start + DTLS_HALF_OPEN_GRACE;
    same.sent.clone().iter().for_each(|hello| {
        table.receive(later, same.session, hello, &mut world);
    });
    assert_eq!(table.half_open(), DTLS_HALF_OPEN_PER_APP, "the oldest gave way");
    same.hear(&world, 0);
    same.call(&mut table, &mut world, later);
    assert!(same.has_keys_of(&world));
    table.tick(start + DTLS_DEADLINE, &mut world);
    assert_eq!(table.half_open(), 0, "nothing is left after the deadline");
}

#[test]
fn when_all_places_are_taken_the_app_that_has_most_gives_way() {
    let (mut table, mut world, start) = (Table::default(), World::default(), Instant::now());
    let most = DTLS_HALF_OPEN_PER_APP as u64;
    flood(&mut table, &mut world, APP, most, start);
    flood(&mut table, &mut world, OTHER_APP, most - 10, start);
    flood(&mut table, &mut world, SdkAppId(3), 10, start);
    assert_eq!(table.half_open(), DTLS_HALF_OPEN_MAX);
    let mut caller = Caller::new(&mut world, 7, SdkAppId(3));
    caller.call(&mut table, &mut world, start + DTLS_HALF_OPEN_GRACE);
    assert!(caller.has_keys_of(&world));
    let gave_way = SessionId(u64::from(APP.0) << 32);
    assert!(table.association(gave_way).is_none());
    assert!(table.association(SessionId(u64::from(OTHER_APP.0) << 32)).is_some());
}

#[test]
fn what_is_not_finished_in_time_is_given_up_and_may_begin_again() {
    let (mut table, mut world, start) = (Table::default(), World::default(), Instant::now());
    let mut caller = Caller::new(&mut world, 7, APP);
    caller.speak(&mut table, &mut world, start);
    table.tick(start + DTLS_DEADLINE - Duration::from_millis(1), &mut world);
    assert_eq!(table.half_open(), 1);
    table.tick(start + DTLS_DEADLINE, &mut world);
    assert_eq!((table.half_open(), world.ends()), (0, vec![End::Deadline]));
    let peer = world.peers[&caller.session].clone();
    let mut again = Caller::calling(caller.session, &caller.identity, &peer);
    again.call(&mut table, &mut world, start + DTLS_DEADLINE);
    assert!(again.has_keys_of(&world));
}

#[test]
fn junk_on_the_peers_own_path_does_not_end_its_handshake_and_is_bounded() {
    for (junk, joins) in [(DTLS_DATAGRAMS_MAX - 20, true), (DTLS_DATAGRAMS_MAX, false)] {
        let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
        let mut caller = Caller::new(&mut world, 7, APP);
        caller.speak(&mut table, &mut world, now);
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 20, 99];
        record.extend([7; 19]);
        let before = world.sent();
        (0..junk).for_each(|_| table.receive(now, caller.session, &record, &mut world));
        assert_eq!(world.sent(), before, "junk is not answered");
        caller.hear(&world, 0);
        caller.call(&mut table, &mut world, now);
        assert_eq!(caller.has_keys_of(&world), joins);
    }
}

#[test]
fn a_session_that_ends_leaves_nothing_behind() {
    let (mut table, mut world, now) = (Table::default(), World::default(), Instant::now());
    let mut done = Caller::new(&mut world, 7, APP);
    done.call(&mut table, &mut world, now);
    let mut half_open = Caller::new(&mut world, 8, APP);
    half_open.speak(&mut table, &mut world, now);
    for session in [done.session, half_open.session] {
        world.peers.remove(&session);
        table.forget(now, session, &mut world);
    }
    assert!(table.is_empty() && table.half_open() == 0 && table.apps.is_empty());
    let before = world.sent();
    half_open.hear(&world, 0);
    half_open.call(&mut table, &mut world, now);
    assert_eq!(world.sent(), before);
}

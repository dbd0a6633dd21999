//! The directory against a small model of the shards: what it orders must always be what they can do.

mod world;

use std::collections::HashSet;

use proptest::prelude::*;
use proto::{CloseReason, Command, Event, OpenSession, Refusal};

use super::*;
use world::*;

#[test]
fn creating_a_room_needs_the_bit_and_entering_does_not() {
    let mut world = World::new(1, 8);
    let audience = Guest { privileges: 42, ..guest("bob") };
    assert_eq!(code(subscribe(&mut world, &audience, 5000)), "room_does_not_exist");
    publish(&mut world, &guest("alice"), 9).unwrap();
    subscribe(&mut world, &audience, 5000).unwrap();
    let outside = Guest { privileges: !2, ..guest("carol") };
    assert_eq!(code(subscribe(&mut world, &outside, 5001)), "enter_not_allowed");
    world.settle();
    world.check();
}

#[test]
fn a_number_and_its_digits_are_different_rooms() {
    let mut world = World::new(1, 8);
    let text = Guest { room: RoomId::text("123").unwrap(), ..guest("a") };
    let number = Guest { room: RoomId::number(123).unwrap(), ..guest("a") };
    publish(&mut world, &text, 9).unwrap();
    publish(&mut world, &number, 9).unwrap();
    let rooms: HashSet<_> = world.sessions().map(|open| open.room).collect();
    assert_eq!(rooms.len(), 2);
}

#[test]
fn publishing_again_replaces_and_a_fifth_subscription_is_refused() {
    let mut world = World::new(1, 16);
    let alice = guest("alice");
    let first = publish(&mut world, &alice, 5000).unwrap();
    world.settle();
    // The same address: the old session is closed before the new one opens.
    let second = publish(&mut world, &alice, 5000).unwrap();
    world.settle();
    assert!(world.directory.resource(first.resource).is_none());
    assert!(world.directory.resource(second.resource).is_some());
    assert_eq!(world.sessions().count(), 1);
    for port in 6000..6004 {
        subscribe(&mut world, &alice, port).unwrap();
    }
    assert_eq!(code(subscribe(&mut world, &alice, 6004)), "too_many_subscriptions");
    subscribe(&mut world, &guest("bob"), 6004).unwrap();
    world.settle();
    world.check();
}

#[test]
fn replacing_alone_in_a_room_needs_no_new_right_and_keeps_working() {
    let mut world = World::new(1, 8);
    publish(&mut world, &guest("alice"), 5000).unwrap();
    let limited = Guest { privileges: 2 | 4, ..guest("alice") };
    publish(&mut world, &limited, 5000).unwrap();
    world.settle();
    world.check();
    assert_eq!(world.directory.totals().rooms, 1);
}

#[test]
fn a_room_has_one_substream_at_a_time() {
    let mut world = World::new(1, 16);
    let slides = offer(Role::Publish, 9, &["audio", "slides"]);
    let (alice, bob) = (guest("alice"), guest("bob"));
    let first = world.join(&alice.request(Role::Publish, &slides)).unwrap();
    assert_eq!(code(world.join(&bob.request(Role::Publish, &slides))), "substream_taken");
    // The holder may replace its own.
    let second = world.join(&alice.request(Role::Publish, &slides)).unwrap();
    assert_ne!(first.resource, second.resource);
    world.settle();
    let mut orders = Orders::default();
    world.directory.close_resource(second.resource, CloseReason::Left, &mut orders);
    world.obey(orders);
    world.settle();
    world.join(&bob.request(Role::Publish, &slides)).unwrap();
    world.settle();
    world.check();
}

#[test]
fn two_sessions_never_claim_one_address() {
    let mut world = World::new(2, 8);
    subscribe(&mut world, &guest("alice"), 5000).unwrap();
    assert_eq!(code(subscribe(&mut world, &guest("bob"), 5000)), "address_taken");
    let other_app = Guest { app: 2, ..guest("bob") };
    assert_eq!(code(subscribe(&mut world, &other_app, 5000)), "address_taken");
    // Publishers that name no port share the address until their packets tell.
    publish(&mut world, &guest("carol"), 9).unwrap();
    publish(&mut world, &guest("dave"), 9).unwrap();
    world.settle();
    world.check();
}

#[test]
fn quotas_of_one_app_leave_the_other_alone() {
    let mut world = World::new(1, 16);
    let quota = Quota { sessions: 2, rooms: 1, ..Quota::default() };
    world.directory.settings.apps.insert(SdkAppId(1), quota);
    let elsewhere = Guest { room: RoomId::text("other").unwrap(), ..guest("carol") };
    publish(&mut world, &guest("alice"), 9).unwrap();
    assert_eq!(code(publish(&mut world, &elsewhere, 9)), "app_rooms_quota");
    publish(&mut world, &guest("bob"), 9).unwrap();
    assert_eq!(code(publish(&mut world, &guest("carol"), 9)), "app_sessions_quota");
    for user in ["a", "b", "c"] {
        publish(&mut world, &Guest { app: 2, ..guest(user) }, 9).unwrap();
    }
    world.settle();
    let bob = world.open[1];
    let mut orders = Orders::default();
    world.directory.close_resource(bob, CloseReason::Left, &mut orders);
    world.obey(orders);
    world.settle();
    publish(&mut world, &guest("carol"), 9).unwrap();
}

#[test]
fn a_full_node_says_so_and_a_place_comes_back_only_when_the_shard_says_so() {
    let mut world = World::new(1, 1);
    let first = publish(&mut world, &guest("alice"), 9).unwrap();
    assert_eq!(code(publish(&mut world, &guest("bob"), 9)), "node_full");
    let mut orders = Orders::default();
    world.directory.close_resource(first.resource, CloseReason::Left, &mut orders);
    assert_eq!(code(publish(&mut world, &guest("bob"), 9)), "node_full");
    world.obey(orders);
    world.settle();
    let again = publish(&mut world, &guest("bob"), 9).unwrap();
    assert_ne!(again.sessions, first.sessions);
    world.settle();
    world.check();
}

#[test]
fn a_refused_session_or_room_takes_its_resource_with_it() {
    for about_room in [false, true] {
        let mut world = World::new(1, 8);
        let joined = publish(&mut world, &guest("alice"), 9).unwrap();
        let open = *world.sessions().next().unwrap();
        world.events.clear();
        world.shards[0].sessions.clear();
        let (session, room) =
            if about_room { (SessionId(0), open.room) } else { (open.session, open.room) };
        let mut orders = Orders::default();
        let event = Event::Refused { session, room, why: Refusal::Quota };
        let outcomes = world.directory.event(ShardId(0), &event, &mut orders);
        assert_eq!(outcomes, [Outcome::Refused(joined.resource, Refusal::Quota)]);
        world.obey(orders);
        world.settle();
        assert_eq!(world.directory.totals(), Totals::default());
    }
}

#[test]
fn ending_a_room_moves_its_epoch_and_closes_everybody() {
    let mut world = World::new(2, 16);
    publish(&mut world, &guest("alice"), 9).unwrap();
    for port in 5000..5005 {
        subscribe(&mut world, &guest(&format!("u{port}")), port).unwrap();
    }
    world.settle();
    let key = RoomKey { app: SdkAppId(1), room: RoomId::text("r").unwrap() };
    let old = world.directory.room(&key).unwrap();
    let mut orders = Orders::default();
    let sessions = world.directory.end_room(&key, &mut orders).unwrap();
    assert_eq!(sessions.len(), 6);
    let commands = orders.decode();
    let bumps = commands.iter().filter(|(_, command)| matches!(command, Command::BumpEpoch { .. }));
    assert_eq!(bumps.count(), 2, "one for each shard that has the room");
    assert!(world.directory.end_room(&key, &mut Orders::default()).is_none());
    let mut orders = Orders::default();
    for (shard, command) in commands {
        orders.push(shard, command);
    }
    world.obey(orders);
    world.settle();
    assert_eq!(world.directory.totals(), Totals::default());
    publish(&mut world, &guest("alice"), 9).unwrap();
    assert_ne!(world.directory.room(&key), Some(old), "room numbers are not used again");
}

#[test]
fn a_large_room_spreads_its_subscribers_and_relays_to_them() {
    let mut world = World::new(3, 64);
    publish(&mut world, &guest("alice"), 9).unwrap();
    for port in 5000..5008 {
        subscribe(&mut world, &guest(&format!("u{port}")), port).unwrap();
    }
    world.settle();
    world.check();
    let on = |shard: usize| world.shards[shard].sessions.len();
    assert_eq!((on(0), on(1), on(2)), (3, 3, 3));
    // A publisher goes home whatever its size, and is seen everywhere.
    publish(&mut world, &guest("bob"), 9).unwrap();
    world.settle();
    world.check();
    assert_eq!(world.shards[0].sessions.len(), 4);
    let away: Vec<_> = world.open.clone();
    for id in away {
        if world.directory.resource(id).is_some_and(|r| r.sessions[0].shard() != ShardId(0)) {
            let mut orders = Orders::default();
            world.directory.close_resource(id, CloseReason::Left, &mut orders);
            world.obey(orders);
            world.settle();
            world.check();
        }
    }
    assert!(world.shards[0].relays.is_empty(), "nothing is relayed to nobody");
}

#[test]
fn a_restarted_control_plane_knows_rooms_members_and_filters_again() {
    let mut world = World::new(2, 32);
    let joined = publish(&mut world, &guest("alice"), 5000).unwrap();
    let view = offer(Role::Subscribe, 6000, &["audio"]);
    let late = UserId::new("late").unwrap();
    let bob = guest("bob");
    let request = JoinRequest { publisher: Some(&late), ..bob.request(Role::Subscribe, &view) };
    world.join(&request).unwrap();
    world.settle();
    let before = world.directory.resource(joined.resource);
    world.restart_control(2, 32);
    world.check();
    assert_eq!(world.directory.resource(joined.resource), before);
    assert_eq!(code(subscribe(&mut world, &guest("carol"), 6000)), "address_taken");
    // The member that is waited for gets the number that it was promised.
    let expected = world.sessions().find_map(|open| open.slots.first()?.publisher).unwrap();
    let late = publish(&mut world, &guest("late"), 9).unwrap();
    let is_late = |open: &&OpenSession| open.session == late.sessions[0];
    assert_eq!(world.sessions().find(is_late).unwrap().member, expected);
    // And who was there can be replaced, kicked, left.
    publish(&mut world, &guest("alice"), 5000).unwrap();
    world.settle();
    assert!(world.directory.resource(joined.resource).is_none());
    world.check();
}

#[test]
fn a_restarted_data_plane_gets_everything_again_with_the_same_keys_and_numbers() {
    let mut world = World::new(2, 32);
    publish(&mut world, &guest("alice"), 9).unwrap();
    for port in 5000..5005 {
        subscribe(&mut world, &guest(&format!("u{port}")), port).unwrap();
    }
    world.settle();
    let renewed = world.open[1];
    let mut orders = Orders::default();
    assert!(world.directory.renew(renewed, Privileges(10), 2000, &mut orders));
    world.obey(orders);
    let before: Vec<OpenSession> = world.sessions().copied().collect();
    world.restart_data_plane(2, 32);
    world.check();
    let after: Vec<OpenSession> = world.sessions().copied().collect();
    assert_eq!(before.len(), after.len());
    for (old, new) in before.iter().zip(&after) {
        let grant = if world.directory.resource_of(new.session) == Some(renewed) {
            GrantWord::new(2000, 1, Privileges(10))
        } else {
            old.grant
        };
        assert_eq!(OpenSession { grant, ..*old }, *new);
    }
    // Without keys there is no replay: both dead, sessions end.
    world.restart_control(2, 32);
    world.restart_data_plane(2, 32);
    assert_eq!(world.directory.totals(), Totals::default());
}

#[test]
fn a_data_plane_without_the_ledger_gets_no_used_key_again() {
    let mut world = World::new(2, 32);
    publish(&mut world, &guest("alice"), 9).unwrap();
    world.settle();
    assert!(world.sessions().count() > 0);
    world.replace_data_plane(2, 32, false);
    assert_eq!(world.sessions().count(), 0, "a used key went to a data plane that starts at zero");
    assert_eq!(world.directory.totals(), Totals::default());
    publish(&mut world, &guest("alice"), 9).unwrap();
    world.settle();
    assert!(world.sessions().count() > 0, "she may join anew");
}

#[test]
fn a_smaller_data_plane_keeps_who_still_has_a_place() {
    let mut world = World::new(2, 8);
    for user in ["a", "b", "c", "d"] {
        let own_room = RoomId::text(user).unwrap();
        publish(&mut world, &Guest { room: own_room, ..guest(user) }, 9).unwrap();
    }
    world.settle();
    assert_eq!(world.shards[1].sessions.len(), 2);
    world.restart_data_plane(1, 1);
    world.check();
    assert_eq!(world.sessions().count(), 1);
    publish(&mut world, &guest("e"), 9).expect_err("it is full");
}

#[derive(Debug, Clone)]
enum Step {
    Join { app: usize, room: u8, user: u8, publish: bool, port: u16, kinds: usize },
    Leave(prop::sample::Index),
    Kick(prop::sample::Index),
    End { app: usize, room: u8 },
    TimeOut(prop::sample::Index),
    Settle,
    RestartControl,
    RestartDataPlane,
}

fn step() -> impl Strategy<Value = Step> {
    let join = (0..2usize, 0..3u8, 0..4u8, any::<bool>(), 0..12u16, 0..3usize).prop_map(
        |(app, room, user, publish, port, kinds)| Step::Join {
            app,
            room,
            user,
            publish,
            port,
            kinds,
        },
    );
    prop_oneof![
        12 => join,
        3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => any::<prop::sample::Index>().prop_map(Step::Kick),
        1 => (0..2usize, 0..3u8).prop_map(|(app, room)| Step::End { app, room }),
        1 => any::<prop::sample::Index>().prop_map(Step::TimeOut),
        4 => Just(Step::Settle),
        1 => Just(Step::RestartControl),
        1 => Just(Step::RestartDataPlane),
    ]
}

const SHARDS: u32 = 3;
const PLACES: u32 = 12;

fn carry_out(world: &mut World, step: &Step) {
    let mut orders = Orders::default();
    match step {
        Step::Join { app, room, user, publish, port, kinds } => {
            let kinds: &[&str] = [&["audio"][..], &["audio", "video"], &["slides"]][*kinds];
            let role = if *publish { Role::Publish } else { Role::Subscribe };
            let guest = Guest {
                app: APPS[*app],
                room: RoomId::number(u64::from(*room) + 1).unwrap(),
                ..guest(&format!("u{user}"))
            };
            let offer = offer(role, if *publish { 9 } else { 5000 + port }, kinds);
            let _ = world.join(&guest.request(role, &offer));
        }
        Step::Leave(index) if !world.open.is_empty() => {
            let id = *index.get(&world.open);
            world.directory.close_resource(id, CloseReason::Left, &mut orders);
        }
        Step::Kick(index) | Step::TimeOut(index) => {
            let sessions: Vec<_> = world.sessions().map(|open| open.session).collect();
            if sessions.is_empty() {
                return;
            }
            let session = *index.get(&sessions);
            if matches!(step, Step::Kick(_)) {
                world.directory.kick(session, &mut orders);
            } else {
                let shard = session.shard();
                world.shards[shard.0 as usize].sessions.remove(&session.slot());
                let (reason, rx_packets, tx_packets) = (CloseReason::TimedOut, 0, 0);
                let event = Event::Closed { session, reason, rx_packets, tx_packets };
                world.events.push((shard, event));
            }
        }
        Step::End { app, room } => {
            let room = RoomId::number(u64::from(*room) + 1).unwrap();
            world.directory.end_room(&RoomKey { app: SdkAppId(APPS[*app]), room }, &mut orders);
        }
        Step::RestartControl => {
            world.settle();
            world.restart_control(SHARDS, PLACES);
        }
        Step::RestartDataPlane => world.restart_data_plane(SHARDS, PLACES),
        Step::Settle | Step::Leave(_) => world.settle(),
    }
    world.obey(orders);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: the model shards never see a slot, an address, an SSRC or a key
    /// twice, no room belongs to two apps, every subscriber's shard knows every publication, and in the
    /// end nothing is left behind.
    #[test]
    fn no_order_of_events_breaks_the_directory(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(SHARDS, PLACES);
        for step in &steps {
            carry_out(&mut world, step);
        }
        world.settle();
        world.check();
        for id in world.open.clone() {
            let mut orders = Orders::default();
            world.directory.close_resource(id, CloseReason::Left, &mut orders);
            world.obey(orders);
        }
        world.settle();
        prop_assert_eq!(world.directory.totals(), Totals::default());
        prop_assert!(world.directory.ssrcs.is_empty() && world.directory.publications.is_empty());
        prop_assert!(world.directory.remotes.is_empty() && world.directory.rooms.is_empty());
        let vacant = world.directory.shards.iter().map(|shard| shard.slots.vacant());
        prop_assert_eq!(vacant.sum::<usize>(), (SHARDS * PLACES) as usize);
        prop_assert!(world.directory.shards.iter().all(|shard| shard.apps.is_empty()));
    }
}

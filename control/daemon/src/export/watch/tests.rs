//! Looks in order, and what is told of them.

use proto::counters::{ShardCounters, WorkerCounters};
use stats::{NodeFacts, ShardView};

use super::*;

/// A look at `seconds`, with so many drops of each reason.
fn seen(seconds: u64, instance: u64, drops: &[(DropReason, u64)], restarts: u64) -> Snapshot {
    let mut counters = ShardCounters::default();
    for (reason, count) in drops {
        counters.drops[*reason as usize] = *count;
    }
    let worker = WorkerCounters { restarts, ..Default::default() };
    let node = NodeFacts {
        pid: 1,
        instance,
        heartbeat_ns: 0,
        udp_base: 8000,
        shards: 1,
        sessions_max: 8,
        rooms_max: 8,
        about: String::new(),
    };
    let shards = vec![ShardView { shard: 0, counters: Some(counters), worker: Some(worker) }];
    Snapshot {
        taken_ns: seconds * 1_000_000_000,
        node,
        port: Default::default(),
        shards,
        rooms: vec![],
        sessions: vec![],
    }
}

fn outside(seconds: u64, step_ns: i64) -> Outside {
    let monotonic_ns = seconds * 1_000_000_000;
    let unix_ns = (1_800_000_000_000_000_000 + monotonic_ns).saturating_add_signed(step_ns);
    Outside { monotonic_ns, unix_ns, rate_limited: 0, elapsed_s: 1.0 }
}

fn names(security: &Security) -> Vec<&'static str> {
    security.recent().iter().map(|record| record.event.name()).collect()
}

#[test]
fn a_flood_begins_at_its_threshold_and_ends_after_some_calm() {
    let (mut watch, security) = (Watch::default(), Security::default());
    let mut junk = 0;
    let mut at = |seconds: u64, more: u64| {
        junk += more;
        let drops = [(DropReason::UnknownClass, junk)];
        watch.look(Some(seen(seconds, 1, &drops, 0)), outside(seconds, 0), &security);
        watch.floods[1].is_active
    };
    assert!(!at(1, 0) && !at(2, 999));
    assert!(at(3, 1000));
    for second in 4..4 + u64::from(FLOOD_ENDS_AFTER) - 1 {
        assert!(at(second, 0), "{second}");
    }
    assert!(!at(4 + u64::from(FLOOD_ENDS_AFTER), 0));
    assert_eq!(names(&security), ["data_plane_back", "flood_began", "flood_ended"]);
    assert_eq!(watch.floods[1].dropped, 1999);
}

#[test]
fn requests_above_their_rate_are_a_flood_as_well() {
    let (mut watch, security) = (Watch::default(), Security::default());
    for (seconds, rate_limited) in [(1, 0), (2, 40), (3, 40 + FLOOD_REQUESTS_PER_S as u64)] {
        watch.look(None, Outside { rate_limited, ..outside(seconds, 0) }, &security);
    }
    assert!(watch.floods[FLOODS.len()].is_active);
    assert_eq!(security.recent()[0].about, SIGNALLING);
}

#[test]
fn forged_replayed_and_crossing_packets_and_replaced_shards_are_told() {
    let (mut watch, security) = (Watch::default(), Security::default());
    watch.look(Some(seen(1, 1, &[], 0)), outside(1, 0), &security);
    let drops = [
        (DropReason::AuthFailed, FORGED_PACKETS_PER_S as u64),
        (DropReason::Replay, REPLAYED_PACKETS_PER_S as u64),
        (DropReason::ForeignRoom, 1),
    ];
    watch.look(Some(seen(2, 1, &drops, 1)), outside(2, 0), &security);
    let expected = [
        "data_plane_back",
        "media_forged",
        "media_replayed",
        "isolation_refused",
        "worker_replaced",
    ];
    assert_eq!(names(&security), expected);
    // The same counters again: nothing new.
    watch.look(Some(seen(3, 1, &drops, 1)), outside(3, 0), &security);
    assert_eq!(names(&security), expected);
}

#[test]
fn a_lost_data_plane_is_told_once_and_its_successor_counts_as_a_restart() {
    let (mut watch, security) = (Watch::default(), Security::default());
    for (second, instance) in [(1, Some(1)), (2, None), (3, None), (4, Some(2)), (5, Some(3))] {
        let now = instance.map(|instance| seen(second, instance, &[], 0));
        watch.look(now, outside(second, 0), &security);
    }
    let expected = [
        "data_plane_back",
        "data_plane_lost",
        "data_plane_back",
        "data_plane_lost",
        "data_plane_back",
    ];
    assert_eq!(names(&security), expected);
    assert_eq!(watch.lives, 3);
}

#[test]
fn a_clock_that_was_set_is_told_once_and_one_that_drifts_is_not() {
    let (mut watch, security) = (Watch::default(), Security::default());
    for (second, step_ns) in [(1, 0), (2, 900_000), (3, 3_000_000_000), (4, 3_000_000_100)] {
        watch.look(None, outside(second, step_ns), &security);
    }
    assert_eq!(names(&security), ["clock_stepped"]);
    assert_eq!(security.recent()[0].about, "+3.0 s");
    assert_eq!(watch.clock_step_ns, 3_000_000_000);
}

//! The misbehaving port: chances are kept, nothing is invented, one seed is one run, and no buffer
//! is lost.

use std::collections::BTreeMap;

use port::Port;
use port::fault::{Fault, Faults};
use port::sim::{SimConfig, SimPort, pair};
use roomlane_core::{Path, Pool, TxBurst};

use crate::support::*;

const NONE: Faults =
    Faults { loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 0, reorder_depth: 0, delay_packets: 0 };
const COUNT: u32 = 10_000;

fn there() -> Path {
    path((A4, 5000), (B4, 8000))
}

/// Sends numbers through a faulty sender and a faulty receiver; tells which arrived, in order.
fn run(tx: Faults, rx: Faults, seed: u64) -> (Vec<u32>, Fault<SimPort>, Fault<SimPort>) {
    let (a, b) = pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    let mut a = Fault::new(a, NONE, tx, seed);
    let mut b = Fault::new(b, rx, NONE, seed ^ 1);
    let mut got = Vec::new();
    let number = |(_, p): (Path, Vec<u8>)| u32::from_be_bytes(p.try_into().unwrap());
    for i in 0..COUNT {
        assert!(send(&mut a, START, there(), &i.to_be_bytes()));
        got.extend(receive(&mut b, START).into_iter().map(number));
    }
    for _ in 0..20 {
        a.release_held();
        b.release_held();
        receive(&mut a, START);
        got.extend(receive(&mut b, START).into_iter().map(number));
    }
    assert_eq!((a.in_use(), b.in_use()), (0, 0));
    (got, a, b)
}

#[test]
fn without_faults_everything_passes_in_order() {
    let (got, ..) = run(NONE, NONE, 1);
    assert!(got.into_iter().eq(0..COUNT));
}

#[test]
fn loss_is_as_likely_as_told_and_keeps_the_order() {
    for (tx, rx) in [(100_000, 0), (0, 100_000)] {
        let lossy = |loss_ppm| Faults { loss_ppm, ..NONE };
        let (got, a, b) = run(lossy(tx), lossy(rx), 2);
        assert!((8_800..9_200).contains(&got.len()), "{}", got.len());
        assert!(got.is_sorted_by(|x, y| x < y));
        let lost = a.fault_stats().1.lost + b.fault_stats().0.lost;
        assert_eq!(got.len() as u64 + lost, COUNT.into());
    }
}

#[test]
fn duplicates_are_copies_and_counted() {
    let (got, a, _) = run(Faults { duplicate_ppm: 50_000, ..NONE }, NONE, 3);
    let mut seen = BTreeMap::new();
    got.iter().for_each(|i| *seen.entry(*i).or_insert(0u32) += 1);
    assert_eq!(seen.len(), COUNT as usize);
    let twice = seen.values().filter(|n| **n == 2).count() as u64;
    assert!(seen.values().all(|n| *n <= 2) && (400..600).contains(&twice));
    assert_eq!(twice, a.fault_stats().1.duplicated);
}

#[test]
fn reordered_datagrams_fall_back_as_far_as_the_depth_and_no_further() {
    let (got, _, b) = run(NONE, Faults { reorder_ppm: 50_000, reorder_depth: 7, ..NONE }, 4);
    let mut sorted = got.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..COUNT));
    let fallen = |(at, i): (usize, &u32)| at as i64 - i64::from(*i);
    let worst = got.iter().enumerate().map(fallen).max().unwrap();
    assert_eq!(worst, 7);
    assert!(b.fault_stats().0.reordered > 400);
}

#[test]
fn a_delay_holds_each_datagram_until_later_ones_came() {
    let (a, b) = pair(SimConfig::new(A4.into()), SimConfig::new(B4.into()));
    let mut a = a;
    let mut b = Fault::new(b, Faults { delay_packets: 3, ..NONE }, NONE, 5);
    let arrivals: Vec<usize> = (0..6u32)
        .map(|i| {
            send(&mut a, START, there(), &i.to_be_bytes());
            receive(&mut b, START).len()
        })
        .collect();
    assert_eq!(arrivals, [0, 0, 0, 1, 1, 1]);
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let all = Faults {
        loss_ppm: 50_000,
        duplicate_ppm: 50_000,
        reorder_ppm: 50_000,
        reorder_depth: 9,
        delay_packets: 2,
    };
    let order = |seed| run(all, all, seed).0;
    assert_eq!(order(6), order(6));
    assert_ne!(order(6), order(7));
}

#[test]
fn what_a_full_port_refuses_waits_in_order() {
    let (a, b) =
        pair(SimConfig::new(A4.into()), SimConfig { queue_len: 2, ..SimConfig::new(B4.into()) });
    let (mut a, mut b) = (Fault::new(a, NONE, NONE, 8), b);
    let mut tx = TxBurst::new();
    for i in 0..5 {
        tx.push(datagram(&mut a, there(), &[i]));
    }
    assert_eq!(a.tx_burst(START, &mut tx), 5, "two on the way, three held");
    assert!(!send(&mut a, START, there(), &[9]), "nothing more while they are");
    let mut got = Vec::new();
    for _ in 0..3 {
        got.extend(receive(&mut b, START).into_iter().map(|(_, p)| p[0]));
        receive(&mut a, START);
    }
    assert_eq!(got, [0, 1, 2, 3, 4]);
    assert_eq!(a.in_use(), 0);
}

//! Rounds: one short sample of each lane, another lane first each time, so that whatever else the machine does
//! falls on all of them alike. A round that others disturbed is thrown away, while there is time for others.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::sample::{Cut, Probe, Summary};

/// Rounds that warm up and are forgotten.
const WARM_UP: u64 = 4;
/// Rounds that are enough.
const ENOUGH: usize = 400;
/// Rounds that a summary wants at least.
const FEW: usize = 15;

/// Something that can be measured: gives the nanoseconds of one packet in one sample.
pub type Lane<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// What the rounds gave.
pub struct Found {
    /// One summary per lane.
    pub lanes: Vec<Summary>,
    /// Rounds taken.
    pub taken: u64,
    /// Those of them that were disturbed.
    pub cut: u64,
}

/// Samples all lanes until there are enough rounds or `span` is over. Where hardly any round was left alone, the
/// disturbed ones are all there is, and their share says so.
///
/// # Panics
/// Without a lane.
pub fn take(lanes: &mut [Lane<'_>], probe: &mut Probe, span: Duration) -> Found {
    let found = take_by(lanes.len(), probe, span, |at| {
        let began = Cut::begin();
        let time = lanes[at]();
        Ok::<_, Infallible>((time, began.happened()))
    });
    found.unwrap_or_else(|never| match never {})
}

/// The same of `count` lanes that tell by themselves whether a sample was disturbed, or fail.
///
/// # Errors
/// The first one of a sample.
///
/// # Panics
/// Without a lane.
pub fn take_by<E>(
    count: usize,
    probe: &mut Probe,
    span: Duration,
    mut sample: impl FnMut(usize) -> Result<(f64, bool), E>,
) -> Result<Found, E> {
    let began = Instant::now();
    let (mut alone, mut disturbed) = (vec![vec![]; count], vec![vec![]; count]);
    let (mut taken, mut cut) = (0, 0);
    for round in 0.. {
        let is_over = began.elapsed() >= span;
        if alone[0].len() >= ENOUGH || (is_over && taken as usize >= FEW) {
            break;
        }
        let mut was_cut = !probe.is_alone();
        let mut times = vec![0.0; count];
        for turn in 0..count {
            let at = (round as usize + turn) % count;
            let is_cut;
            (times[at], is_cut) = sample(at)?;
            was_cut |= is_cut;
        }
        was_cut |= !probe.is_alone();
        if round < WARM_UP {
            continue;
        }
        taken += 1;
        cut += u64::from(was_cut);
        let into = if was_cut { &mut disturbed } else { &mut alone };
        into.iter_mut().zip(times).for_each(|(lane, time)| lane.push(time));
    }
    let lanes = alone.into_iter().zip(disturbed).map(|(mut alone, disturbed)| {
        if alone.len() < FEW {
            alone.extend(disturbed);
        }
        Summary::of(alone).expect("rounds were taken")
    });
    Ok(Found { lanes: lanes.collect(), taken, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_is_sampled_as_often_and_a_rounds_end_comes_in_time() {
        let mut counts = [0_u32; 3];
        let [a, b, c] = &mut counts;
        let mut lanes: Vec<Lane<'_>> = vec![];
        for (count, ns) in [(a, 1.0), (b, 2.0), (c, 3.0)] {
            lanes.push(Box::new(move || {
                *count += 1;
                ns
            }));
        }
        let found = take(&mut lanes, &mut Probe::new(), Duration::from_millis(20));
        drop(lanes);
        assert!(counts[0] >= FEW as u32 && counts.iter().all(|count| *count == counts[0]));
        let medians: Vec<f64> = found.lanes.iter().map(|lane| lane.median).collect();
        assert_eq!(medians, [1.0, 2.0, 3.0]);
    }
}

//! Which of a publication's SSRCs is forwarded. A simulcast brings up to three layers of one picture; until
//! subscribers can choose, all get the highest stable one, by what is measured: whatever the offer said,
//! the highest layer is the one that most bytes are spent on.
//!
//! Upwards the stream is changed at a keyframe of the better layer only, while the present one goes on. When
//! the present one falls silent, or its SSRC is replaced, there is nothing to lose, and it is changed at
//! once. In both cases every subscriber's segment ends.

use proto::MediaKind;
use srtp::Provider;

use crate::gate::Start;
use crate::ingress::Ingress;
use crate::limits::{LAYER_BETTER_PERCENT, LAYER_GAP, LAYER_GONE, LAYER_STEADY, PLI_INTERVAL};
use crate::report::request_keyframe;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Duration, Instant, Io, Now};

/// How an ingress stream has been flowing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rhythm {
    last: Instant,
    /// No gap has been longer than `LAYER_GAP` since.
    steady_since: Instant,
    window_start: Instant,
    window_bytes: u64,
    /// Bytes per second over the last whole window.
    rate: u64,
}

impl Rhythm {
    /// Takes note of an accepted packet of `bytes`.
    pub fn on_packet(&mut self, now: Instant, bytes: usize) {
        if now.since(self.last) > LAYER_GAP {
            *self = Rhythm { steady_since: now, window_start: now, ..Rhythm::default() };
        }
        self.last = now;
        let elapsed = now.since(self.window_start);
        if elapsed >= LAYER_STEADY {
            self.rate = self.window_bytes * 1_000_000_000 / elapsed.0;
            (self.window_start, self.window_bytes) = (now, 0);
        }
        self.window_bytes += bytes as u64;
    }

    /// Bytes per second over the last whole window; zero when it is silent.
    pub fn bytes_per_s(&self, now: Instant) -> u64 {
        if self.silent_for(now) > LAYER_GAP { 0 } else { self.rate }
    }

    fn silent_for(&self, now: Instant) -> Duration {
        now.since(self.last)
    }

    fn steady_for(&self, now: Instant) -> Duration {
        if self.silent_for(now) > LAYER_GAP { Duration(0) } else { now.since(self.steady_since) }
    }
}

/// Why another stream should take the place of the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    /// There is nothing to lose.
    AtOnce,
    /// It is a higher layer.
    AtKeyframe,
}

fn is_better(now: Instant, active: &Ingress, other: &Ingress) -> Option<Better> {
    let (old, new) = (&active.rhythm, &other.rhythm);
    let is_same_layer = active.role == other.role;
    let silence = old.silent_for(now);
    let is_gone = silence >= LAYER_GONE || silence > LAYER_GAP && new.steady_for(now) >= LAYER_GAP;
    if is_gone || is_same_layer && other.position > active.position {
        return Some(Better::AtOnce);
    }
    let is_higher = new.rate * 100 > old.rate * LAYER_BETTER_PERCENT;
    let is_up = !is_same_layer && is_higher && new.steady_for(now) >= LAYER_STEADY;
    is_up.then_some(Better::AtKeyframe)
}

/// A packet came on a stream that is not the active one: true when it is from now on, and the packet is to
/// be forwarded.
pub fn take_over<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    (publication, candidate): (u32, u32),
    start: Start,
) -> bool {
    let stream = &shard.publications[publication];
    let other = &shard.ingress[candidate];
    let has_audience = stream.fanout.len() > 0 || stream.relays != 0;
    match is_better(now.mono, &shard.ingress[stream.active], other) {
        None => {
            if stream.wanted == candidate {
                shard.publications[publication].wanted = NONE;
            }
            false
        }
        Some(Better::AtKeyframe) if has_audience => {
            let is_first = stream.wanted != candidate;
            if is_first && stream.wanted != NONE {
                let rival = &shard.ingress[stream.wanted].rhythm;
                if rival.steady_for(now.mono) > Duration(0) && rival.rate >= other.rhythm.rate {
                    return false;
                }
            }
            if matches!(start, Start::Keyframe | Start::Frame) {
                switch(shard, publication, candidate);
                return true;
            }
            shard.publications[publication].wanted = candidate;
            ask_again(shard, now, io, publication);
            false
        }
        Some(_) => {
            switch(shard, publication, candidate);
            request_keyframe(shard, now, io, publication);
            true
        }
    }
}

/// Asks for a keyframe unless one was asked for lately.
pub fn ask_again<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, publication: u32) {
    if now.mono.since(shard.publications[publication].pli_sent) >= PLI_INTERVAL {
        request_keyframe(shard, now, io, publication);
    }
}

fn switch<P: Provider>(shard: &mut Shard<P>, publication: u32, to: u32) {
    let stream = &mut shard.publications[publication];
    stream.active = to;
    stream.wanted = NONE;
    stream.report = shard.ingress[to].report;
    end_segments(shard, publication);
}

/// The next packet of a publication starts a segment for all its subscribers.
pub fn end_segments<P: Provider>(shard: &mut Shard<P>, publication: u32) {
    let mut cursor = shard.fanouts.start(&shard.publications[publication].fanout);
    while let Some(entry) = shard.fanouts.next(&mut cursor) {
        shard.slots[entry.slot].end_segment();
    }
}

/// The SSRC to ask for a keyframe: of the layer that is wanted while it flows, else of the active one.
pub fn keyframe_ssrc<P: Provider>(shard: &Shard<P>, now: Now, publication: u32) -> Option<u32> {
    let stream = &shard.publications[publication];
    if stream.active == NONE || stream.spec.kind == MediaKind::Audio {
        return None;
    }
    let flows = |index: &u32| shard.ingress[*index].rhythm.steady_for(now.mono) > Duration(0);
    let wanted = Some(stream.wanted).filter(|index| *index != NONE).filter(flows);
    Some(shard.ingress[wanted.unwrap_or(stream.active)].ssrc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::Role;

    fn flow(layer: u8, position: u8, from_ms: u64, to_ms: u64, bytes: usize) -> Ingress {
        let role = Role { layer, is_repair: false };
        let mut stream = Ingress { role, position, ..Ingress::default() };
        for ms in (from_ms..=to_ms).step_by(20) {
            stream.rhythm.on_packet(at(ms), bytes);
        }
        stream
    }

    fn at(ms: u64) -> Instant {
        Instant((10_000 + ms) * 1_000_000)
    }

    #[test]
    fn a_layer_is_better_once_it_was_measured_for_a_second() {
        let low = flow(0, 0, 0, 3000, 100);
        let judged = |to| is_better(at(to), &low, &flow(1, 1, 1500, to, 400));
        assert_eq!([judged(2480), judged(2520)], [None, Some(Better::AtKeyframe)]);
        assert_eq!(is_better(at(3000), &low, &flow(1, 1, 0, 3000, 120)), None, "hysteresis");
        assert_eq!(is_better(at(3000), &low, &flow(1, 1, 0, 2400, 400)), None, "it is silent");
    }

    #[test]
    fn a_silent_layer_is_left_at_once_for_one_that_flows() {
        let high = flow(0, 0, 0, 1000, 400);
        let low = |to| flow(1, 1, 0, to, 100);
        assert_eq!(is_better(at(1480), &high, &low(1480)), None);
        assert_eq!(is_better(at(1520), &high, &low(1520)), Some(Better::AtOnce));
        // Two layers that both pause often do not take turns, unless one never comes back.
        let rare = flow(1, 1, 1600, 1600, 100);
        assert_eq!(is_better(at(1600), &high, &rare), None);
        assert_eq!(is_better(at(3000), &high, &flow(1, 1, 3000, 3000, 100)), Some(Better::AtOnce));
    }

    #[test]
    fn the_newest_ssrc_of_a_layer_replaces_the_one_before_and_not_the_other_way_round() {
        let (old, new) = (flow(0, 0, 0, 3000, 400), flow(0, 1, 3000, 3000, 10));
        assert_eq!(is_better(at(3000), &old, &new), Some(Better::AtOnce));
        assert_eq!(is_better(at(3000), &new, &old), None);
    }
}

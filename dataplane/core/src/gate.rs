//! Where a segment may begin: a decoder that is given the middle of a picture, or a picture predicted from
//! one it never had, shows nothing or worse. So video starts at a keyframe, where that can be told.

use crate::Instant;
use crate::limits::KEYFRAME_WAIT;

/// What a packet is to somebody whom the stream has not reached yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// A decoder can begin with it. Every packet of sound is one.
    Keyframe,
    /// The first packet of a picture of which nobody can tell the kind: an unknown codec, or sealed from
    /// end to end.
    Frame,
    /// The first packet of a picture that is predicted from others.
    Delta,
    /// Any other packet.
    #[default]
    Inside,
}

impl Start {
    /// From the mark of the payload, where it has one, and whether a picture begins.
    pub fn of_video(is_keyframe: Option<bool>, begins: bool) -> Start {
        match (is_keyframe, begins) {
            (Some(true), _) => Start::Keyframe,
            (None, true) => Start::Frame,
            (Some(false), true) => Start::Delta,
            (_, false) => Start::Inside,
        }
    }
}

/// What a slot waits for before its next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Nothing: an earlier life of the shard had begun, and its receiver is in the middle of it.
    AtOnce,
    /// A keyframe.
    #[default]
    Keyframe,
    /// A keyframe, since this packet was kept back.
    Since(Instant),
}

impl Gate {
    /// Whether a segment may begin with a packet. Whoever has waited long enough takes any picture.
    pub fn admits(&mut self, now: Instant, start: Start) -> bool {
        match (*self, start) {
            (Gate::AtOnce, _) | (_, Start::Keyframe | Start::Frame) => return true,
            (Gate::Since(at), Start::Delta) if now.since(at) >= KEYFRAME_WAIT => return true,
            (Gate::Since(_), _) => {}
            (Gate::Keyframe, _) => *self = Gate::Since(now),
        }
        false
    }
}

/// Finds where pictures begin in one ingress stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    /// Highest index so far plus one; zero before the first packet.
    next: u64,
    timestamp: u32,
    marker: bool,
}

impl Frames {
    /// Takes note of a packet; true when a picture begins with it. Behind a gap nobody knows, but the very
    /// first packet is taken for a beginning.
    pub fn begins(&mut self, index: u64, timestamp: u32, marker: bool) -> bool {
        let is_next = index == self.next && (self.marker || timestamp != self.timestamp);
        let begins = self.next == 0 || is_next;
        if index >= self.next {
            *self = Frames { next: index + 1, timestamp, marker };
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Duration;

    #[test]
    fn a_gate_waits_for_a_keyframe_and_gives_up_at_a_picture() {
        let mut gate = Gate::Keyframe;
        let at = |ms| Instant(5_000_000_000) + Duration::from_ms(ms);
        assert!(!gate.admits(at(0), Start::Inside));
        assert!(!gate.admits(at(1999), Start::Delta));
        assert!(!gate.admits(at(2000), Start::Inside));
        assert!(gate.admits(at(2001), Start::Delta));
        assert!(Gate::Keyframe.admits(at(0), Start::Keyframe));
        assert!(Gate::Keyframe.admits(at(0), Start::Frame));
        assert!(Gate::AtOnce.admits(at(0), Start::Inside));
    }

    #[test]
    fn a_picture_begins_behind_a_marker_or_with_a_timestamp_but_not_behind_a_gap() {
        let mut frames = Frames::default();
        assert!(frames.begins(10, 1, false), "the first packet");
        assert!(!frames.begins(11, 1, true));
        assert!(frames.begins(12, 1, false), "behind a marker");
        assert!(frames.begins(13, 2, true), "another timestamp");
        assert!(!frames.begins(15, 3, false), "a gap");
        assert!(!frames.begins(14, 3, false), "late");
        assert!(!frames.begins(16, 3, true));
        assert!(frames.begins(17, 4, false));
    }
}

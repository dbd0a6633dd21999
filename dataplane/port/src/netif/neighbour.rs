//! Next hops and their MACs: a fixed table, filled only by answers to our own questions.
//!
//! The address is whatever peers on the link use, so an attacker there may choose it: the hash is
//! keyed, the number of places per address is fixed, and no memory is ever added.

use std::hash::Hasher;
use std::net::IpAddr;

use roomlane_core::Instant;
use siphasher::sip::SipHasher13;
use wire::Mac;

use super::bucket::Bucket;
use super::limits::{
    ANSWER_WINDOW, ASK_PAUSE, NEIGHBOUR_EXPIRY, NEIGHBOUR_PROBES_MAX, NEIGHBOUR_REFRESH,
    NEIGHBOURS_MAX,
};

#[derive(Debug, Clone, Copy)]
struct Slot {
    ip: IpAddr,
    /// The last answer and when it came.
    known: Option<(Mac, Instant)>,
    asked_at: Instant,
    /// A question is out that no answer came for.
    awaits_answer: bool,
}

impl Slot {
    fn mac(&self, now: Instant) -> Option<Mac> {
        self.known.filter(|(_, at)| now.since(*at) < NEIGHBOUR_EXPIRY).map(|(mac, _)| mac)
    }

    fn wants_asking(&self, now: Instant) -> bool {
        let fresh = self.known.is_some_and(|(_, at)| now.since(at) < NEIGHBOUR_REFRESH);
        !fresh && now.since(self.asked_at) >= ASK_PAUSE
    }

    /// Neither known nor waited for: another neighbour may have the place.
    fn is_idle(&self, now: Instant) -> bool {
        self.mac(now).is_none() && now.since(self.asked_at) >= ANSWER_WINDOW
    }
}

/// What is known of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lookup {
    /// Where to send, if known.
    pub(super) mac: Option<Mac>,
    /// The caller is to send a question now.
    pub(super) ask: bool,
}

/// The table.
#[derive(Debug)]
pub(super) struct Neighbours {
    slots: Box<[Option<Slot>]>,
    hash_key: [u8; 16],
    /// The place found last: most traffic goes to one gateway.
    last: usize,
}

impl Neighbours {
    pub(super) fn new(hash_key: [u8; 16]) -> Self {
        Neighbours { slots: vec![None; NEIGHBOURS_MAX].into_boxed_slice(), hash_key, last: 0 }
    }

    /// Looks a neighbour up; an unknown or old one is to be asked for when `asks` has a token.
    pub(super) fn lookup(&mut self, ip: IpAddr, now: Instant, asks: &mut Bucket) -> Lookup {
        let Some(index) = self.find(ip) else { return self.insert(ip, now, asks) };
        self.last = index;
        let Some(slot) = &mut self.slots[index] else { return Lookup { mac: None, ask: false } };
        let ask = slot.wants_asking(now) && asks.take(now);
        if ask {
            slot.asked_at = now;
            slot.awaits_answer = true;
        }
        Lookup { mac: slot.mac(now), ask }
    }

    /// Takes an answer. `false` when nobody asked, or too long ago.
    pub(super) fn learn(&mut self, ip: IpAddr, mac: Mac, now: Instant) -> bool {
        let Some(slot) = self.find(ip).and_then(|i| self.slots[i].as_mut()) else { return false };
        let is_asked_for = slot.awaits_answer && now.since(slot.asked_at) < ANSWER_WINDOW;
        if is_asked_for {
            slot.known = Some((mac, now));
            slot.awaits_answer = false;
        }
        is_asked_for
    }

    fn insert(&mut self, ip: IpAddr, now: Instant, asks: &mut Bucket) -> Lookup {
        let unknown = Lookup { mac: None, ask: false };
        let is_free = |slot: &Option<Slot>| slot.is_none_or(|slot| slot.is_idle(now));
        let Some(index) = self.probes(ip).find(|i| is_free(&self.slots[*i])) else {
            return unknown;
        };
        if !asks.take(now) {
            return unknown;
        }
        self.slots[index] = Some(Slot { ip, known: None, asked_at: now, awaits_answer: true });
        Lookup { mac: None, ask: true }
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        let is_it = |i: &usize| self.slots[*i].is_some_and(|slot| slot.ip == ip);
        Some(self.last).filter(is_it).or_else(|| self.probes(ip).find(is_it))
    }

    /// The places where `ip` may stand.
    fn probes(&self, ip: IpAddr) -> impl Iterator<Item = usize> + use<> {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        match ip {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        let start = hasher.finish() as usize;
        (0..NEIGHBOUR_PROBES_MAX).map(move |i| start.wrapping_add(i) % NEIGHBOURS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use roomlane_core::Duration;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const START: Instant = Instant(1_000_000_000_000);

    fn ip(last: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc612_0000 + last).into()
    }

    fn at(ms: u64) -> Instant {
        START + Duration::from_ms(ms)
    }

    fn plenty() -> Bucket {
        Bucket::new(1_000_000, 1_000_000)
    }

    fn look(table: &mut Neighbours, ms: u64) -> (bool, bool) {
        let found = table.lookup(ip(1), at(ms), &mut plenty());
        (found.mac.is_some(), found.ask)
    }

    #[test]
    fn a_neighbour_is_asked_for_once_a_second_and_known_after_its_answer() {
        let mut t = Neighbours::new([7; 16]);
        assert_eq!(look(&mut t, 0), (false, true));
        assert_eq!(look(&mut t, 999), (false, false));
        assert_eq!(look(&mut t, 1000), (false, true));
        assert!(t.learn(ip(1), MAC, at(1001)));
        assert_eq!(look(&mut t, 1002), (true, false));
    }

    #[test]
    fn only_the_first_answer_to_a_fresh_question_counts() {
        let mut t = Neighbours::new([7; 16]);
        assert!(!t.learn(ip(1), MAC, at(0)), "nobody asked");
        look(&mut t, 0);
        assert!(!t.learn(ip(2), MAC, at(1)), "asked for another");
        assert!(!t.learn(ip(1), MAC, at(3000)), "too late");
        look(&mut t, 3000);
        assert!(t.learn(ip(1), MAC, at(3001)));
        assert!(!t.learn(ip(1), Mac([2, 0, 0, 0, 0, 66]), at(3002)), "a second answer");
        assert_eq!(t.lookup(ip(1), at(3003), &mut plenty()).mac, Some(MAC));
    }

    #[test]
    fn a_neighbour_is_refreshed_while_used_and_expires_without_answer() {
        let mut t = Neighbours::new([7; 16]);
        look(&mut t, 0);
        t.learn(ip(1), MAC, at(0));
        assert_eq!(look(&mut t, 29_999), (true, false));
        assert_eq!(look(&mut t, 30_000), (true, true));
        assert_eq!(look(&mut t, 89_999), (true, true));
        assert_eq!(look(&mut t, 90_999), (false, true));
        t.learn(ip(1), MAC, at(91_000));
        assert_eq!(look(&mut t, 100_000), (true, false));
    }

    #[test]
    fn questions_stop_at_the_common_rate() {
        let mut t = Neighbours::new([7; 16]);
        let mut asks = Bucket::new(1, 3);
        let asked = (0..10).filter(|i| t.lookup(ip(*i), START, &mut asks).ask).count();
        assert_eq!(asked, 3);
    }

    #[test]
    fn a_full_table_keeps_whom_it_knows_and_frees_whom_nobody_answered_for() {
        let mut t = Neighbours::new([7; 16]);
        look(&mut t, 0);
        t.learn(ip(1), MAC, at(0));
        for i in 2..20_000 {
            t.lookup(ip(i), at(0), &mut plenty());
        }
        let used = |t: &Neighbours| t.slots.iter().flatten().count();
        assert!(used(&t) > NEIGHBOURS_MAX * 9 / 10);
        assert_eq!(look(&mut t, 1), (true, false));
        let newcomer = ip(30_000);
        let place_is_taken = t.probes(newcomer).all(|i| t.slots[i].is_some());
        assert!(place_is_taken && !t.lookup(newcomer, at(1), &mut plenty()).ask);
        assert!(t.lookup(newcomer, at(3000), &mut plenty()).ask);
        assert_eq!(look(&mut t, 3001), (true, false));
    }
}

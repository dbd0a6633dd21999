//! Numbers: unpredictable ones from an entropy source, and those that only grow.

use std::collections::HashSet;

use proto::{MemberNo, RoomNo};

/// Where unpredictable bytes come from: an argument, so that tests can repeat themselves.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The kernel's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
    }
}

/// A number of `N` bytes.
pub fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A 32-bit number that is neither zero nor in `taken`; it is taken afterwards.
pub fn fresh(entropy: &mut dyn Entropy, taken: &mut HashSet<u32>) -> u32 {
    loop {
        let number = u32::from_ne_bytes(random(entropy));
        if number != 0 && taken.insert(number) {
            return number;
        }
    }
}

/// A resource of the API. Whoever knows it may leave it, so it is not guessable; `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceId(pub [u8; 16]);

impl std::fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResourceId(hidden)")
    }
}

impl std::fmt::Display for ResourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for ResourceId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(|n| ResourceId(n.to_be_bytes())).map_err(|_| ())
    }
}

/// The event stream of a subscribing resource: whoever knows it may listen, so it is not guessable either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventsId(pub ResourceId);

impl std::fmt::Display for EventsId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for EventsId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(EventsId)
    }
}

/// Room and member numbers. They only grow, also over restarts of this process: each life starts at
/// its own second, with room for 2^24 numbers a second.
#[derive(Debug, Clone)]
pub struct Numbers {
    next: u64,
}

impl Numbers {
    /// A life that starts at this time, in Unix seconds.
    pub fn new(unix_s: u64) -> Self {
        Numbers { next: (unix_s << 24).max(1) }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A room number.
    pub fn room(&mut self) -> RoomNo {
        RoomNo(self.next())
    }

    /// A member number.
    pub fn member(&mut self) -> MemberNo {
        MemberNo(self.next())
    }

    /// Nothing at or below `seen` comes again: the clock went back between two lives.
    pub fn skip(&mut self, seen: u64) {
        self.next = self.next.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_id_reads_back_and_nothing_else_is_one() {
        let id = ResourceId(random(&mut SystemEntropy));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33), &"+".repeat(32)] {
            assert_eq!(bad.parse::<ResourceId>(), Err(()), "{bad}");
        }
        assert!(!format!("{id:?}").contains(&id.to_string()[..4]));
    }

    #[test]
    fn a_later_life_never_reaches_back() {
        let (mut first, mut second) = (Numbers::new(1000), Numbers::new(1001));
        assert!(first.room().0 < second.room().0);
        second.skip(u64::from(u32::MAX) << 32);
        assert!(second.room().0 > u64::from(u32::MAX) << 32);
    }
}

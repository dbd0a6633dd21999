//! Rooms and apps: who isolates whom.

use proto::{Label, Quota, RoomNo, SdkAppId};

use crate::Instant;
use crate::policer::{Bucket, Rate};
use crate::slab::NONE;

/// A tenant on this shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct App {
    /// Its number; quotas follow.
    pub id: SdkAppId,
    /// As told by the control plane.
    pub quota: Quota,
    /// Received packets.
    pub packets: Bucket,
    /// Received bytes.
    pub bytes: Bucket,
    /// Sessions open now.
    pub sessions: u32,
    /// Rooms open now.
    pub rooms: u32,
}

impl App {
    /// Packets per second, with a tenth of a second at once.
    pub fn packet_rate(&self) -> Rate {
        let per_s = self.quota.packets_per_s;
        Rate::new((per_s / 10).max(32), per_s)
    }

    /// Bytes per second, with a tenth of a second at once.
    pub fn byte_rate(&self) -> Rate {
        let per_s = self.quota.bytes_per_s;
        Rate::new((per_s / 10).max(64_000), per_s)
    }
}

/// A list threaded through its members' own links, in the order of their coming.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    /// The oldest.
    pub first: u32,
    /// The newest.
    pub last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Chain { first: NONE, last: NONE }
    }
}

/// A member's links in a chain.
#[derive(Debug, Clone, Copy)]
pub struct Links {
    /// The one before.
    pub previous: u32,
    /// The one after.
    pub next: u32,
}

impl Default for Links {
    fn default() -> Self {
        Links { previous: NONE, next: NONE }
    }
}

impl Chain {
    /// Appends `index`, whose links are reached by `links`.
    pub fn push<T>(
        &mut self,
        items: &mut T,
        index: u32,
        links: impl Fn(&mut T, u32) -> &mut Links,
    ) {
        *links(items, index) = Links { previous: self.last, next: NONE };
        match self.last {
            NONE => self.first = index,
            last => links(items, last).next = index,
        }
        self.last = index;
    }

    /// Takes `index` out.
    pub fn remove<T>(
        &mut self,
        items: &mut T,
        index: u32,
        links: impl Fn(&mut T, u32) -> &mut Links,
    ) {
        let Links { previous, next } = std::mem::take(links(items, index));
        match previous {
            NONE => self.first = next,
            previous => links(items, previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => links(items, next).previous = previous,
        }
    }
}

/// A room on this shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Its number; zero marks a free place.
    pub no: RoomNo,
    /// Index of its app.
    pub app: u32,
    /// Grant words must carry it.
    pub epoch: u32,
    /// Masked name.
    pub label: Label,
    /// Its sessions, in the order of joining.
    pub sessions: Chain,
    /// How many.
    pub session_count: u32,
    /// Its publications, in the order of publishing.
    pub publications: Chain,
    /// How many.
    pub publication_count: u32,
    /// Slots that show something.
    pub subscription_count: u32,
    /// When it was opened.
    pub opened: Instant,
    /// When its last session left; zero while there is one.
    pub empty_since: Instant,
    /// Packets accepted from members.
    pub rx_packets: u64,
    /// Packets sent to members.
    pub tx_packets: u64,
}

//! Captures of packet headers that operators asked for: few at a time, each bounded by packets, time and
//! a reader that stays. Addresses are masked as they come in, unless the operator may see them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use proto::capture::{CAPTURES_MAX, Head};
use proto::{CaptureOrder, Captured, Endpoint, RoomNo, SessionId, ShardId};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::limits::{CAPTURE_READER_GONE, CAPTURE_RECORDS_PER_ANSWER};

/// What an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Packets in all.
    pub count: u32,
    /// How long.
    pub seconds: u32,
    /// Addresses and names as they are.
    pub reveals: bool,
    /// Who asked.
    pub uid: u32,
}

/// Of whom packets are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    /// Tenant.
    pub app: u32,
    /// The room.
    pub room: RoomNo,
    /// Its name, masked.
    pub label: String,
    /// Only this session.
    pub session: Option<SessionId>,
}

struct Capture {
    number: u32,
    wanted: Wanted,
    of: Of,
    shards: Vec<ShardId>,
    /// Shards that tell nothing more.
    over: Vec<ShardId>,
    until_ns: u64,
    began_unix_ms: u64,
    told: u32,
    skipped: u64,
    waiting: VecDeque<Head>,
    last_read: Instant,
    /// The data plane that it ran on is gone.
    is_cut: bool,
}

struct State {
    last: u32,
    captures: Vec<Capture>,
}

/// See the module.
pub struct Captures {
    state: Mutex<State>,
    key: [u8; 32],
}

/// What is read of a capture at a time.
#[derive(Debug, Default)]
pub struct Taken {
    /// Headers, in the order they were told.
    pub heads: Vec<Head>,
    /// Nothing comes any more.
    pub is_over: bool,
    /// The data plane went away meanwhile.
    pub is_cut: bool,
    /// Packets that were not told.
    pub skipped: u64,
    /// Names may be shown.
    pub reveals: bool,
}

impl Captures {
    /// `key` makes pseudonyms of addresses.
    pub fn new(key: [u8; 32]) -> Captures {
        // Numbers of an earlier life of this process may still be on their way from a shard.
        let last = (shm::clock::unix_ns() / 1_000_000_000 % 100_000) as u32;
        Captures { state: Mutex::new(State { last, captures: vec![] }), key }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one on these shards; what they are to be told. `None` when there are as many as may be.
    pub fn start(&self, wanted: Wanted, of: Of, shards: Vec<ShardId>) -> Option<CaptureOrder> {
        let mut state = self.lock();
        if state.captures.iter().filter(|capture| !capture.is_over()).count() >= CAPTURES_MAX {
            return None;
        }
        // Zero means all.
        state.last = state.last.checked_add(1).unwrap_or(1);
        let until_ns = shm::clock::monotonic_ns() + u64::from(wanted.seconds) * 1_000_000_000;
        let (capture, room, session) = (state.last, of.room, of.session);
        let order = CaptureOrder { capture, room, session, count: wanted.count, until_ns };
        state.captures.push(Capture {
            number: capture,
            wanted,
            of,
            shards,
            over: vec![],
            until_ns,
            began_unix_ms: shm::clock::unix_ns() / 1_000_000,
            told: 0,
            skipped: 0,
            waiting: VecDeque::new(),
            last_read: Instant::now(),
            is_cut: false,
        });
        Some(order)
    }

    /// Takes in a record. With the last one, what the shards are to be told: one that has more would keep a
    /// place for it.
    pub fn told(&self, shard: ShardId, record: Captured) -> Option<(CaptureOrder, Vec<ShardId>)> {
        let mut state = self.lock();
        let number = match record {
            Captured::Packet(head) => head.capture,
            Captured::Over { capture, .. } => capture,
        };
        let captures = &mut state.captures;
        let capture = captures.iter_mut().find(|capture| capture.number == number)?;
        match record {
            Captured::Packet(mut head) if capture.told < capture.wanted.count => {
                if !capture.wanted.reveals {
                    head.path.local = self.masked(head.path.local);
                    head.path.remote = self.masked(head.path.remote);
                }
                capture.told += 1;
                capture.waiting.push_back(head);
                let is_last = capture.told == capture.wanted.count;
                is_last.then(|| (capture.end(), capture.shards.clone()))
            }
            Captured::Packet(_) => None,
            Captured::Over { skipped, .. } => {
                capture.skipped += u64::from(skipped);
                capture.over.push(shard);
                None
            }
        }
    }

    /// An address that cannot be taken for anybody's, the same for the same one on this node.
    fn masked(&self, endpoint: Endpoint) -> Endpoint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key");
        mac.update(&endpoint.ip);
        let hash = mac.finalize().into_bytes();
        let word = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"));
        let ip = match endpoint.as_v4() {
            Some(_) => IpAddr::V4(Ipv4Addr::from_bits(0xf000_0000 | (word >> 36) as u32)),
            None => IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(word))),
        };
        Endpoint::new(ip, endpoint.port)
    }

    /// Takes what waits; `None` when this user has no such capture. Once all was taken it is forgotten.
    pub fn take(&self, number: u32, uid: u32) -> Option<Taken> {
        let mut state = self.lock();
        let own = |capture: &Capture| capture.number == number && capture.wanted.uid == uid;
        let at = state.captures.iter().position(own)?;
        let capture = &mut state.captures[at];
        capture.last_read = Instant::now();
        let many = capture.waiting.len().min(CAPTURE_RECORDS_PER_ANSWER);
        let taken = Taken {
            heads: capture.waiting.drain(..many).collect(),
            is_over: capture.is_over() && capture.waiting.is_empty(),
            is_cut: capture.is_cut,
            skipped: capture.skipped,
            reveals: capture.wanted.reveals,
        };
        if taken.is_over {
            state.captures.remove(at);
        }
        Some(taken)
    }

    /// Ends one, or all; what the shards of each are to be told. Records that wait may still be read.
    pub fn stop(&self, only: Option<u32>) -> Vec<(CaptureOrder, Vec<ShardId>)> {
        let mut state = self.lock();
        let meant = |capture: &&mut Capture| {
            !capture.is_over() && only.is_none_or(|only| only == capture.number)
        };
        let stopped = state.captures.iter_mut().filter(meant).map(|capture| {
            capture.until_ns = 0;
            (capture.end(), capture.shards.clone())
        });
        stopped.collect()
    }

    /// Ends those that nobody reads any more; what their shards are to be told.
    pub fn sweep(&self) -> Vec<(CaptureOrder, Vec<ShardId>)> {
        let mut state = self.lock();
        let is_read = |capture: &Capture| capture.last_read.elapsed() < CAPTURE_READER_GONE;
        let left = state.captures.iter().filter(|capture| !is_read(capture));
        let ended = left.map(|capture| (capture.end(), capture.shards.clone())).collect();
        state.captures.retain(is_read);
        ended
    }

    /// The data plane is gone, and with it everything that it was to tell.
    pub fn cut(&self) {
        for capture in &mut self.lock().captures {
            capture.is_cut |= !capture.is_over();
        }
    }

    /// What runs, for operators.
    pub fn answer(&self) -> Value {
        let state = self.lock();
        let now_ns = shm::clock::monotonic_ns();
        let row = |capture: &Capture| {
            json!({
                "capture": capture.number, "uid": capture.wanted.uid, "sdkappid": capture.of.app,
                "room": capture.of.room.0, "room_label": capture.of.label,
                "session": capture.of.session.map(|session| session.to_string()),
                "packets": capture.told, "count": capture.wanted.count,
                "seconds_left": capture.until_ns.saturating_sub(now_ns).div_ceil(1_000_000_000),
                "skipped": capture.skipped, "reveals": capture.wanted.reveals,
                "began_unix_ms": capture.began_unix_ms,
            })
        };
        let running = state.captures.iter().filter(|capture| !capture.is_over());
        json!({ "captures": running.map(row).collect::<Vec<_>>() })
    }
}

impl Capture {
    fn is_over(&self) -> bool {
        self.is_cut
            || self.told >= self.wanted.count
            || self.over.len() >= self.shards.len()
            // A shard that is silent does not look at the clock.
            || shm::clock::monotonic_ns() >= self.until_ns
    }

    fn end(&self) -> CaptureOrder {
        let (capture, room) = (self.number, self.of.room);
        CaptureOrder { capture, room, ..CaptureOrder::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{List, Path};

    const SHARD: ShardId = ShardId(0);

    fn started(captures: &Captures, count: u32, reveals: bool) -> u32 {
        let wanted = Wanted { count, seconds: 60, reveals, uid: 7 };
        let (room, label) = (RoomNo(3), "d***".to_owned());
        let of = Of { app: 9, room, label, session: None };
        captures.start(wanted, of, vec![SHARD]).expect("a place").capture
    }

    fn head(capture: u32, remote: &str) -> Captured {
        let local = Endpoint::v4([198, 18, 7, 2], 8000);
        let path = Path { local, remote: remote.parse::<std::net::SocketAddr>().unwrap().into() };
        let bytes = List::from_slice(&[0x80; 12]).unwrap();
        Captured::Packet(Head { capture, path, len: 99, bytes, ..Head::default() })
    }

    #[test]
    fn addresses_are_pseudonyms_unless_they_may_be_seen() {
        let captures = Captures::new([3; 32]);
        let (masked, clear) = (started(&captures, 9, false), started(&captures, 9, true));
        for capture in [masked, clear] {
            captures.told(SHARD, head(capture, "203.0.113.9:5000"));
            captures.told(SHARD, head(capture, "203.0.113.9:5001"));
            captures.told(SHARD, head(capture, "[2001:db8:9::1]:5000"));
        }
        let of = |capture| -> Vec<String> {
            let taken = captures.take(capture, 7).unwrap();
            taken.heads.iter().map(|head| head.path.remote.socket_addr().to_string()).collect()
        };
        assert_eq!(of(clear), ["203.0.113.9:5000", "203.0.113.9:5001", "[2001:db8:9::1]:5000"]);
        let hidden = of(masked);
        assert!(hidden[0].starts_with("24") || hidden[0].starts_with("25"), "{hidden:?}");
        assert_eq!(hidden[0].replace(":5000", ""), hidden[1].replace(":5001", ""));
        assert!(hidden[2].starts_with("[2001:db8:") && !hidden[2].contains("2001:db8:9::1"));
        let elsewhere = Captures::new([4; 32]);
        let other = started(&elsewhere, 9, false);
        elsewhere.told(SHARD, head(other, "203.0.113.9:5000"));
        let there = elsewhere.take(other, 7).unwrap().heads[0].path.remote;
        assert_ne!(there.socket_addr().to_string(), hidden[0], "another node, another pseudonym");
    }

    #[test]
    fn a_capture_ends_with_its_count_its_shards_or_its_data_plane_and_is_its_users_alone() {
        let captures = Captures::new([0; 32]);
        let number = started(&captures, 2, false);
        let ends: Vec<bool> =
            (0..5).map(|_| captures.told(SHARD, head(number, "192.0.2.1:1")).is_some()).collect();
        assert_eq!(ends, [false, true, false, false, false], "its shards are told once");
        assert!(captures.take(number, 8).is_none(), "of another user");
        let taken = captures.take(number, 7).unwrap();
        assert_eq!((taken.heads.len(), taken.is_over, taken.is_cut), (2, true, false));
        assert!(captures.take(number, 7).is_none(), "it was taken");
        let stopped = started(&captures, 9, false);
        captures.told(SHARD, head(stopped, "192.0.2.1:1"));
        let orders = captures.stop(Some(stopped));
        assert_eq!((orders.len(), orders[0].0.count, &orders[0].1), (1, 0, &vec![SHARD]));
        assert_eq!(captures.answer()["captures"], json!([]));
        assert_eq!(captures.take(stopped, 7).unwrap().heads.len(), 1, "what came can be read");
        let told = started(&captures, 9, false);
        captures.told(SHARD, Captured::Over { capture: told, skipped: 4 });
        let taken = captures.take(told, 7).unwrap();
        assert_eq!((taken.is_over, taken.skipped), (true, 4));
        let cut = started(&captures, 9, false);
        captures.cut();
        let taken = captures.take(cut, 7).unwrap();
        assert!(taken.is_over && taken.is_cut);
    }

    #[test]
    fn so_many_run_at_a_time_and_those_without_a_reader_end() {
        let captures = Captures::new([0; 32]);
        (0..CAPTURES_MAX).for_each(|_| _ = started(&captures, 9, false));
        let wanted = Wanted { count: 1, seconds: 1, reveals: false, uid: 7 };
        let of = Of { app: 9, room: RoomNo(3), label: String::new(), session: None };
        assert_eq!(captures.start(wanted.clone(), of.clone(), vec![SHARD]), None);
        assert_eq!(captures.answer()["captures"].as_array().unwrap().len(), CAPTURES_MAX);
        assert!(captures.sweep().is_empty());
        captures.lock().captures[1].last_read -= CAPTURE_READER_GONE;
        assert_eq!(captures.sweep().len(), 1);
        assert!(captures.start(wanted, of, vec![SHARD]).is_some());
    }
}

//! Many peers on one thread: nothing in it waits but `epoll`.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtls::Identity;
use roomlane_peers::sdes::Api;
use rustix::event::epoll;
use rustix::time::Timespec;

use super::peer::{Peer, Plan};

/// How often peers without keys look whether a check or a repetition is due.
const TURN_TIME: Duration = Duration::from_millis(10);
/// How often the others do: of theirs only consent checks are left.
const REST_TIME: Duration = Duration::from_millis(250);
/// Events taken at a time.
const EVENTS: usize = 256;

/// Peers by their numbers.
pub struct Crowd<'a> {
    api: &'a Api,
    own: &'a Identity,
    epoll: OwnedFd,
    /// All of them.
    pub peers: HashMap<u32, Peer>,
    turn_due: Instant,
    rest_due: Instant,
}

/// What an event is about: the low bit says that it is a request's.
const fn key(number: u32, is_request: bool) -> epoll::EventData {
    epoll::EventData::new_u64((number as u64) << 1 | is_request as u64)
}

impl<'a> Crowd<'a> {
    /// Nobody yet.
    ///
    /// # Errors
    /// The host has no `epoll`.
    pub fn new(api: &'a Api, own: &'a Identity) -> Result<Crowd<'a>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let now = Instant::now();
        Ok(Crowd { api, own, epoll, peers: HashMap::new(), turn_due: now, rest_due: now })
    }

    /// Posts a peer's offer.
    ///
    /// # Errors
    /// As [`Peer::post`].
    pub fn post(&mut self, plan: Plan) -> Result<()> {
        let peer = Peer::post(self.api, plan)?;
        self.watch(&peer)?;
        self.peers.insert(peer.plan.number, peer);
        Ok(())
    }

    /// Takes peers over from another crowd.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn take_over(&mut self, peers: impl IntoIterator<Item = Peer>) -> Result<()> {
        for peer in peers {
            self.watch(&peer)?;
            self.peers.insert(peer.plan.number, peer);
        }
        Ok(())
    }

    fn watch(&self, peer: &Peer) -> Result<()> {
        let number = peer.plan.number;
        let add = |fd: &dyn AsFd, is_request| {
            let flags = epoll::EventFlags::IN;
            epoll::add(&self.epoll, fd.as_fd(), key(number, is_request), flags).context("epoll")
        };
        add(&peer.socket, false)?;
        peer.stream.as_ref().map_or(Ok(()), |stream| add(stream, true))
    }

    /// Gives peers away.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn give(&mut self, numbers: impl IntoIterator<Item = u32>) -> Result<Vec<Peer>> {
        let mut given = vec![];
        for number in numbers {
            let Some(peer) = self.peers.remove(&number) else { continue };
            epoll::delete(&self.epoll, &peer.socket).context("epoll")?;
            given.push(peer);
        }
        Ok(given)
    }

    /// Receives, sends what is due, and waits for the next of either, until `deadline` at the latest.
    ///
    /// # Errors
    /// A join was refused, or the host failed.
    pub fn step(&mut self, deadline: Instant) -> Result<()> {
        let on = self.peers.values().filter(|peer| peer.is_on).map(|peer| peer.due);
        let next = on.chain([deadline, self.turn_due]).min().unwrap_or(deadline);
        let wait = next.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let mut events = Vec::with_capacity(EVENTS);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.epoll, buffer, Some(&wait)).context("epoll")?;
        let mut heard = vec![];
        for event in &events {
            let (number, is_request) = ((event.data.u64() >> 1) as u32, event.data.u64() & 1 == 1);
            let Some(peer) = self.peers.get_mut(&number) else { continue };
            if is_request {
                peer.read(self.own)?;
            } else {
                peer.receive(|publisher| heard.push(publisher));
            }
        }
        for number in heard {
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.was_heard();
            }
        }
        let now = Instant::now();
        for peer in self.peers.values_mut().filter(|peer| peer.is_on) {
            peer.send(now)?;
        }
        if now >= self.turn_due {
            self.turn_due = now + TURN_TIME;
            let all = now >= self.rest_due;
            if all {
                self.rest_due = now + REST_TIME;
            }
            let due = |peer: &&mut Peer| all || peer.times.keyed.is_none();
            self.peers.values_mut().filter(due).for_each(Peer::turn);
        }
        Ok(())
    }

    /// Steps until `done`; how long that took. False when it was not within `timeout`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn until(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if done(self)? {
                return Ok(true);
            }
            self.step(deadline)?;
        }
        done(self)
    }
}

//! What the control plane says about a session's transport: its ICE credentials, the keys of its
//! finished handshake, and the datagrams of an unfinished one.

use std::hash::Hasher;

use proto::ufrag::UfragKey;
use proto::{
    DropReason, IceCredentials, KeyMaterial, MediaKind, OpenSession, Refusal, SessionId,
    SrtpProfile,
};
use siphasher::sip::SipHasher13;
use srtp::{Inbound, MasterKey, Outbound, Provider};
use zeroize::Zeroize;

use crate::commands::profile;
use crate::ice::Agent;
use crate::limits::CONSENT;
use crate::report::request_keyframe;
use crate::session::{Keys, Session, State};
use crate::shard::Shard;
use crate::slab::NONE;
use crate::stage::{drop_copy, dscp};
use crate::{Buf, Datagram, Io, Now};

impl<P: Provider> Shard<P> {
    /// Sends a datagram on behalf of the control plane: on the session's nominated path, or, before
    /// there is one, back to where its last DTLS datagram came from. What cannot be sent is counted.
    pub fn inject<I: Io>(&mut self, io: &mut I, session: SessionId, datagram: &[u8]) {
        if let Err(reason) = self.try_inject(io, session, datagram) {
            drop_copy(&mut self.counters, reason, session.slot());
        }
    }

    fn try_inject<I: Io>(
        &mut self,
        io: &mut I,
        id: SessionId,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let index = id.slot();
        let session = self.sessions.get_mut(index as usize).filter(|session| session.id == id);
        let session = session.ok_or(DropReason::NoSession)?;
        let agent = self.agents[index as usize].as_ref().ok_or(DropReason::NotServed)?;
        let is_nominated = session.has_consent && !session.path.remote.is_unset();
        let path = match session.state {
            // The goodbye of a session that was closed, to a peer that still listens: one.
            State::Closed(_) if !std::mem::take(&mut session.has_consent) => {
                return Err(DropReason::NoSession);
            }
            _ if is_nominated => session.path,
            _ => agent.punt_path,
        };
        if path.remote.is_unset() {
            return Err(DropReason::NoPath);
        }
        let mut buf = io.alloc().ok_or(DropReason::NoMbuf)?;
        let Some(out) = buf.append(datagram.len()) else {
            io.free(buf);
            return Err(DropReason::Oversize);
        };
        out.copy_from_slice(datagram);
        self.counters.injected += 1;
        self.capture_sent(index, path, buf.bytes());
        io.send(Datagram { path, dscp: dscp(MediaKind::Audio), buf });
        Ok(())
    }

    /// The present key comes first and the oldest is forgotten; the same key again changes nothing, since
    /// a control plane that connects anew says it again.
    pub(crate) fn set_ufrag_key(&mut self, key: UfragKey) -> Result<(), Refusal> {
        if self.ufrag_keys[0] != Some(key) {
            self.ufrag_keys.rotate_right(1);
            if let Some(mut oldest) = self.ufrag_keys[0].replace(key) {
                oldest.0.zeroize();
            }
        }
        Ok(())
    }

    pub(crate) fn restart_ice(
        &mut self,
        id: SessionId,
        ice: &IceCredentials,
    ) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let agent = self.agents[index as usize].as_mut().ok_or(Refusal::Invalid)?;
        if ice.password.is_empty() || !agent.restart(ice) {
            return Err(Refusal::Invalid);
        }
        Ok(())
    }

    /// Keys of a finished handshake. The same ones again change nothing. Others are taken only while
    /// nothing was protected or accepted under the present ones: a receiver counts rollovers anew under
    /// a new key, and indices that restart must never meet subscribers, here or on other shards, whose
    /// keys have seen them.
    pub(crate) fn install_keys<I: Io>(
        &mut self,
        now: Now,
        io: &mut I,
        id: SessionId,
        number: SrtpProfile,
        keys: (&KeyMaterial, &KeyMaterial),
    ) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let at = index as usize;
        let tag = key_tag(self.source_key, number, keys);
        let made = make_keys(&self.provider, number, keys)?;
        let agent = self.agents[at].as_mut().ok_or(Refusal::Invalid)?;
        let session = &mut self.sessions[at];
        if session.has_keys {
            let is_unused =
                session.rx_packets == 0 && session.tx_packets == 0 && session.rtcp_next == 0;
            if agent.keys_tag == tag {
                return Ok(());
            }
            if !(agent.keys_are_fresh && is_unused) {
                return Err(Refusal::Taken);
            }
        }
        agent.keys_tag = tag;
        agent.keys_are_fresh = true;
        session.profile = number;
        session.has_keys = true;
        self.set_keys(index, Some(made));
        wake_slots(self, now, io, index);
        Ok(())
    }

    /// Gives a session its keys, or takes them.
    pub(crate) fn set_keys(&mut self, index: u32, keys: Option<Keys<P>>) {
        let (inbound, outbound) = keys.map(|keys| (keys.inbound, keys.outbound)).unzip();
        self.inbound[index as usize] = inbound;
        self.outbound[index as usize] = outbound;
    }

    /// The agent of a session that is opened, with the path that an earlier life had nominated.
    pub(crate) fn open_agent(&mut self, now: Now, open: &OpenSession, ice: &IceCredentials) {
        let index = open.session.slot();
        let at = index as usize;
        let mut agent = Agent::new(ice);
        agent.keys_tag = key_tag(self.source_key, open.profile, (&open.rx_key, &open.tx_key));
        let session = &mut self.sessions[at];
        session.has_consent = false;
        // Without its address the session can still be found by its next check.
        let is_free = self.session_by_remote.get(&open.remote).is_none_or(|other| other == index);
        if open.remote.is_unset() || !is_free {
            session.path.remote = Default::default();
        } else {
            agent.resume(now.mono, session.path);
            session.path_heard = now.mono;
            session.has_consent = true;
        }
        self.agents[at] = Some(agent);
    }
}

impl<P: Provider> Drop for Shard<P> {
    /// Contexts wipe themselves.
    fn drop(&mut self) {
        self.ufrag_keys.iter_mut().flatten().for_each(|key| key.0.zeroize());
    }
}

/// Both contexts of a session; `None` when both keys are empty, which is for a handshake to fill.
pub(crate) fn open_keys<P: Provider>(
    provider: &P,
    open: &OpenSession,
) -> Result<Option<Keys<P>>, Refusal> {
    let is_keyless = open.rx_key.bytes.is_empty() && open.tx_key.bytes.is_empty();
    if open.ice.is_some() && is_keyless {
        return Ok(None);
    }
    make_keys(provider, open.profile, (&open.rx_key, &open.tx_key)).map(Some)
}

fn make_keys<P: Provider>(
    provider: &P,
    number: SrtpProfile,
    keys: (&KeyMaterial, &KeyMaterial),
) -> Result<Keys<P>, Refusal> {
    let profile = profile(number);
    let master =
        |key: &KeyMaterial| MasterKey::new(profile, &key.bytes).map_err(|_| Refusal::Invalid);
    Ok(Keys {
        inbound: Inbound::new(provider, &master(keys.0)?),
        outbound: Outbound::new(provider, &master(keys.1)?),
    })
}

/// Tells keys apart without keeping them.
fn key_tag(under: (u64, u64), number: SrtpProfile, keys: (&KeyMaterial, &KeyMaterial)) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(under.0, under.1);
    hasher.write_u8(number as u8);
    for key in [keys.0, keys.1] {
        hasher.write_usize(key.bytes.len());
        hasher.write(&key.bytes);
    }
    hasher.finish()
}

/// Whoever can be sent to at last wants pictures to begin with.
pub(crate) fn wake_slots<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    index: u32,
) {
    if shard.sessions[index as usize].may_send().is_err() {
        return;
    }
    let slots = shard.sessions[index as usize].slots;
    for slot in slots.iter() {
        let publication = shard.slots[*slot].publication;
        if publication != NONE {
            request_keyframe(shard, now, io, publication);
        }
    }
}

impl Session {
    /// Stops sending to a path whose peer was silent for too long (RFC 7675 5.1).
    pub(crate) fn check_consent(&mut self, now: Now) {
        if self.has_ice && now.mono.since(self.path_heard) >= CONSENT {
            self.has_consent = false;
        }
    }
}

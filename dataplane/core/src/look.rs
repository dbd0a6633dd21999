//! Tells what the shard knows of one session, for whoever looks for the place where media stops.

use proto::{Event, Look, SessionId, Transport};
use srtp::Provider;

use crate::Now;
use crate::gate::Gate;
use crate::shard::Shard;

impl<P: Provider> Shard<P> {
    /// Events with all of it, at most 26; of a session that is not there, `Done` alone.
    pub(crate) fn look(&mut self, now: Now, id: SessionId) {
        if let Ok(index) = self.find(id) {
            self.tell(id, Look::Transport(self.look_at_transport(now, index)));
            let (publications, slots) = {
                let session = &self.sessions[index as usize];
                (session.publications, session.slots)
            };
            for publication in publications.iter() {
                self.tell(id, self.look_at_stream(index, *publication));
            }
            for slot in slots.iter() {
                self.tell(id, self.look_at_slot(*slot));
            }
        }
        self.tell(id, Look::Done);
    }

    fn tell(&mut self, session: SessionId, look: Look) {
        self.emit(Event::Looked { session, look });
    }

    fn look_at_transport(&self, now: Now, index: u32) -> Transport {
        let session = &self.sessions[index as usize];
        Transport {
            at_ns: now.mono.0,
            grant: session.grant,
            epoch: self.rooms[session.room].epoch,
            has_keys: session.has_keys,
            has_path: !session.path.remote.is_unset() && session.has_consent,
            has_ice: session.has_ice,
            heard_ns: session.heard.0,
            rx_packets: session.rx_packets,
            auth_failures: session.auth_failures,
        }
    }

    fn look_at_stream(&self, session: u32, publication: u32) -> Look {
        let streams = &self.sessions[session as usize].streams;
        let parts = streams.iter().map(|(_, index)| &self.ingress[*index]);
        // Repairs are not counted in the loss that they repair.
        let media = parts.filter(|part| part.publication == publication && !part.role.is_repair);
        let counts = media.map(|part| (part.reception.received(), part.reception.lost()));
        let (received, lost) = counts.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Look::Stream {
            publication: self.publications[publication].spec.publication,
            received,
            lost,
        }
    }

    fn look_at_slot(&self, index: u32) -> Look {
        let slot = &self.slots[index];
        Look::Slot {
            place: slot.position,
            kind: slot.kind,
            state: self.slot_state(index),
            publisher: slot.publisher,
            sent: slot.tx_packets,
            awaits_keyframe: matches!(slot.gate, Gate::Since(_)),
            fraction_lost: slot.reported.fraction_lost,
        }
    }
}

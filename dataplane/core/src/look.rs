//! Tells what the shard knows of one session, for whoever looks for the place where media stops.

use proto::{Event, Look, SessionId, SlotOut, StreamIn, Transport};
use srtp::Provider;

use crate::Now;
use crate::gate::Gate;
use crate::shard::Shard;
use crate::slab::NONE;

impl<P: Provider> Shard<P> {
    /// Events with all of it, at most 42; of a session that is not there, `Done` alone.
    pub(crate) fn look(&mut self, now: Now, id: SessionId) {
        if let Ok(index) = self.find(id) {
            self.tell(id, Look::Transport(self.look_at_transport(now, index)));
            let (publications, slots) = {
                let session = &self.sessions[index as usize];
                (session.publications, session.slots)
            };
            for publication in publications.iter() {
                self.tell_streams(now, id, index, *publication);
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

    /// Every SSRC of a publication, or what was declared where none came yet.
    fn tell_streams(&mut self, now: Now, id: SessionId, session: u32, publication: u32) {
        let of = &self.publications[publication];
        let (spec, active, asked) = (of.spec, of.active, (of.nacks, of.plis));
        let declared = StreamIn {
            publication: spec.publication,
            ssrc: spec.ssrc,
            kind: spec.kind,
            codec: spec.codec,
            clock_rate: spec.clock_rate,
            nacks: asked.0,
            plis: asked.1,
            ..StreamIn::default()
        };
        let streams = self.sessions[session as usize].streams;
        let mut is_known = false;
        for (ssrc, index) in streams.iter() {
            let stream = &self.ingress[*index];
            if stream.publication != publication {
                continue;
            }
            is_known |= !stream.role.is_repair;
            // Only what is forwarded is asked for.
            let (nacks, plis) = if *index == active { asked } else { (0, 0) };
            let look = StreamIn {
                ssrc: *ssrc,
                layer: (spec.layers.len() > 1).then_some(stream.role.layer),
                is_repair: stream.role.is_repair,
                is_forwarded: *index == active,
                received: stream.reception.received(),
                lost: stream.reception.lost(),
                bytes_per_s: stream.rhythm.bytes_per_s(now.mono),
                jitter: stream.reception.jitter(),
                nacks,
                plis,
                rtt_us: stream.nack.rtt_us(),
                ..declared
            };
            self.tell(id, Look::Stream(look));
        }
        if !is_known {
            self.tell(id, Look::Stream(declared));
        }
    }

    fn look_at_slot(&self, index: u32) -> Look {
        let slot = &self.slots[index];
        let shown = (slot.publication != NONE).then(|| &self.publications[slot.publication]);
        let is_layered =
            |of: &&crate::publication::Publication| of.active != NONE && of.spec.layers.len() > 1;
        Look::Slot(SlotOut {
            place: slot.position,
            ssrc: slot.ssrc,
            kind: slot.kind,
            state: self.slot_state(index),
            publisher: slot.publisher,
            codec: shown.map(|of| of.spec.codec),
            clock_rate: shown.map_or(0, |of| of.spec.clock_rate),
            layer: shown.filter(is_layered).map(|of| self.ingress[of.active].role.layer),
            sent: slot.tx_packets,
            octets: slot.tx_octets,
            awaits_keyframe: matches!(slot.gate, Gate::Since(_)),
            fraction_lost: slot.reported.fraction_lost,
            jitter: slot.reported.jitter,
            rtt_us: slot.reported.rtt_us,
            nacks: slot.nacks,
            repairs: slot.sent_again,
            plis: slot.plis,
        })
    }
}

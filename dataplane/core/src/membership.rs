//! Who receives what: publications come and go, slots fill in the order of joining.

use proto::{Event, SlotCodec, SlotState};
use srtp::Provider;

use crate::fanout::Entry;
use crate::report::request_keyframe;
use crate::session::Reported;
use crate::shard::Shard;
use crate::slab::NONE;
use crate::{Io, Now};

/// Calls `each` with the other sessions of a session's resource: its neighbours in the room.
pub fn for_each_of_resource<P: Provider>(
    shard: &Shard<P>,
    session: u32,
    mut each: impl FnMut(u32),
) {
    let own = &shard.sessions[session as usize];
    let same = |other: u32| {
        let other = &shard.sessions[other as usize];
        other.member == own.member && other.resource == own.resource
    };
    let mut at = own.links.previous;
    while at != NONE && same(at) {
        each(at);
        at = shard.sessions[at as usize].links.previous;
    }
    at = own.links.next;
    while at != NONE && same(at) {
        each(at);
        at = shard.sessions[at as usize].links.next;
    }
}

/// What a free slot makes of a publication.
enum Fit {
    /// It takes it, under the payload types of this codec.
    Takes(SlotCodec),
    /// It would, but for the codec.
    Mismatch,
    /// It is not for this slot, or shown in another one.
    No,
}

/// Shows a new publication to the free slots of its room, oldest subscriber first.
pub fn show_publication<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    publication: u32,
) {
    let mut session = shard.rooms[shard.publications[publication].room].sessions.first;
    while session != NONE {
        let slots = shard.sessions[session as usize].slots;
        let mut mismatch = None;
        for slot in slots.iter().copied() {
            if shard.slots[slot].publication != NONE {
                continue;
            }
            match fit(shard, slot, publication) {
                Fit::Takes(codec) => {
                    if attach(shard, now, io, slot, publication, codec) {
                        mismatch = None;
                        break;
                    }
                }
                Fit::Mismatch => mismatch = mismatch.or(Some(slot)),
                Fit::No => {}
            }
        }
        if let Some(slot) = mismatch {
            tell_mismatch(shard, slot, publication);
        }
        session = shard.sessions[session as usize].links.next;
    }
}

/// Fills a free slot with the publication that waits longest.
pub fn fill_slot<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, slot: u32) {
    let session = shard.slots[slot].session;
    let mut publication = shard.rooms[shard.sessions[session as usize].room].publications.first;
    let mut mismatch = None;
    while publication != NONE {
        match fit(shard, slot, publication) {
            Fit::Takes(codec) => {
                if attach(shard, now, io, slot, publication, codec) {
                    return;
                }
            }
            Fit::Mismatch => mismatch = mismatch.or(Some(publication)),
            Fit::No => {}
        }
        publication = shard.publications[publication].links.next;
    }
    if let Some(publication) = mismatch {
        tell_mismatch(shard, slot, publication);
    }
}

fn fit<P: Provider>(shard: &Shard<P>, slot: u32, publication: u32) -> Fit {
    let slot = &shard.slots[slot];
    let stream = &shard.publications[publication];
    let session = &shard.sessions[slot.session as usize];
    let is_wanted = stream.live
        && stream.room == session.room
        && stream.spec.kind == slot.kind
        && stream.member != session.member
        && slot.publisher.is_none_or(|publisher| publisher == stream.member);
    if !is_wanted || is_shown(shard, slot.session, publication) {
        return Fit::No;
    }
    match slot.codecs.iter().find(|codec| codec.codec == stream.spec.codec) {
        Some(codec) => Fit::Takes(*codec),
        None => Fit::Mismatch,
    }
}

/// Says that a free slot cannot take the codec of a publication; of each publication once per resource,
/// and of each slot the first.
fn tell_mismatch<P: Provider>(shard: &mut Shard<P>, slot_index: u32, publication: u32) {
    let slot = &shard.slots[slot_index];
    let tells = |session: u32| {
        let slots = &shard.sessions[session as usize].slots;
        slots.iter().any(|slot| shard.slots[*slot].mismatch == publication)
    };
    let mut is_told = slot.mismatch != NONE || tells(slot.session);
    for_each_of_resource(shard, slot.session, |other| is_told |= tells(other));
    if !is_told {
        shard.slots[slot_index].mismatch = publication;
        tell_slot(shard, slot_index);
    }
}

/// Attaches a publication to a free slot; false when no memory is left for it.
fn attach<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    slot_index: u32,
    publication: u32,
    codec: SlotCodec,
) -> bool {
    let session = shard.slots[slot_index].session;
    let grant = shard.sessions[session as usize].grant;
    let entry = Entry { slot: slot_index, session, grant };
    if !shard.fanouts.push(&mut shard.publications[publication].fanout, entry) {
        return false;
    }
    let slot = &mut shard.slots[slot_index];
    slot.publication = publication;
    slot.payload_type = codec.payload_type;
    slot.repair_type = if slot.rtx_ssrc == 0 { 0 } else { codec.rtx_payload_type };
    let has_repairs = slot.repair_type != 0;
    slot.mismatch = NONE;
    slot.reported = Reported::default();
    shard.publications[publication].repair_slots += u32::from(has_repairs);
    let room = shard.publications[publication].room;
    shard.rooms[room].subscription_count += 1;
    shard.counters.subscriptions += 1;
    tell_slot(shard, slot_index);
    request_keyframe(shard, now, io, publication);
    true
}

fn tell_slot<P: Provider>(shard: &mut Shard<P>, slot_index: u32) {
    let slot = &shard.slots[slot_index];
    let (session, slot) = (shard.sessions[slot.session as usize].id, slot.position);
    let state = shard.slot_state(slot_index);
    shard.emit(Event::Slot { session, slot, state });
}

impl<P: Provider> Shard<P> {
    /// What a slot shows now.
    pub(crate) fn slot_state(&self, slot: u32) -> SlotState {
        let slot = &self.slots[slot];
        match (slot.publication, slot.mismatch) {
            (NONE, NONE) => SlotState::Off,
            (NONE, other) => SlotState::CodecMismatch { member: self.publications[other].member },
            (shown, _) => {
                let stream = &self.publications[shown];
                SlotState::On { member: stream.member, publication: stream.spec.publication }
            }
        }
    }
}

/// Whether a slot of the session's resource shows the publication.
fn is_shown<P: Provider>(shard: &Shard<P>, session: u32, publication: u32) -> bool {
    let shows = |session: u32| {
        let slots = &shard.sessions[session as usize].slots;
        slots.iter().any(|slot| shard.slots[*slot].publication == publication)
    };
    let mut found = shows(session);
    for_each_of_resource(shard, session, |other| found |= shows(other));
    found
}

/// Ends a slot's subscription; the slot stays free.
pub fn detach<P: Provider>(shard: &mut Shard<P>, slot_index: u32) {
    let slot = &mut shard.slots[slot_index];
    let publication = std::mem::replace(&mut slot.publication, NONE);
    if publication == NONE {
        return;
    }
    slot.end_segment();
    slot.munger.forget_origins();
    let has_repairs = std::mem::take(&mut slot.repair_type) != 0;
    let stream = &mut shard.publications[publication];
    if has_repairs {
        stream.repair_slots -= 1;
        if stream.repair_slots == 0 {
            shard.history.close_all(&mut stream.history);
        }
    }
    shard.fanouts.remove(&mut stream.fanout, slot_index);
    shard.rooms[stream.room].subscription_count -= 1;
    shard.counters.subscriptions -= 1;
}

/// Takes a publication out of its room; its slots go to whoever waits longest.
pub fn unpublish<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, publication: u32) {
    let stream = &mut shard.publications[publication];
    if !stream.live {
        return;
    }
    stream.live = false;
    stream.relays = 0;
    let (room, no) = (stream.room, stream.spec.publication);
    let is_remote = stream.home.is_some();
    let mut chain = shard.rooms[room].publications;
    chain.remove(&mut shard.publications, publication, |items, index| &mut items[index].links);
    shard.rooms[room].publications = chain;
    shard.rooms[room].publication_count -= 1;
    shard.counters.publications -= 1;
    if !is_remote {
        shard.emit(Event::Unpublished { room: shard.rooms[room].no, publication: no });
    }
    loop {
        let mut cursor = shard.fanouts.start(&shard.publications[publication].fanout);
        let Some(entry) = shard.fanouts.next(&mut cursor) else { break };
        detach(shard, entry.slot);
        refill(shard, now, io, entry.slot);
    }
    let mut session = shard.rooms[room].sessions.first;
    while session != NONE {
        let slots = shard.sessions[session as usize].slots;
        for slot in slots.iter().copied() {
            if shard.slots[slot].mismatch != publication {
                continue;
            }
            shard.slots[slot].mismatch = NONE;
            refill(shard, now, io, slot);
        }
        session = shard.sessions[session as usize].links.next;
    }
}

/// Fills a slot that shows nothing any more, or tells that it is off.
fn refill<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, slot: u32) {
    fill_slot(shard, now, io, slot);
    if shard.slot_state(slot) == SlotState::Off {
        tell_slot(shard, slot);
    }
}

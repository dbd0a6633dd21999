//! Who receives what: publications come and go, slots fill in the order of joining.

use proto::{Event, SlotState};
use srtp::Provider;

use crate::fanout::Entry;
use crate::report::request_keyframe;
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
        for slot in slots.iter() {
            if shard.slots[*slot].publication == NONE && offer(shard, now, io, *slot, publication) {
                break;
            }
        }
        session = shard.sessions[session as usize].links.next;
    }
}

/// Fills a free slot with the publication that waits longest.
pub fn fill_slot<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, slot: u32) {
    let session = shard.slots[slot].session;
    let mut publication = shard.rooms[shard.sessions[session as usize].room].publications.first;
    while publication != NONE {
        if offer(shard, now, io, slot, publication) {
            return;
        }
        publication = shard.publications[publication].links.next;
    }
}

/// Attaches a publication to a free slot if it may be shown there; true when it is shown now, or to
/// another slot of the same resource.
fn offer<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    slot_index: u32,
    publication: u32,
) -> bool {
    let slot = &shard.slots[slot_index];
    let stream = &shard.publications[publication];
    let session_index = slot.session;
    let session = &shard.sessions[session_index as usize];
    let is_wanted = stream.live
        && stream.room == session.room
        && stream.spec.kind == slot.spec.kind
        && stream.member != session.member
        && slot.spec.publisher.is_none_or(|publisher| publisher == stream.member);
    if !is_wanted || is_shown(shard, session_index, publication) {
        return false;
    }
    let position = slot.position;
    let (id, member) = (session.id, stream.member);
    let Some(codec) = slot.spec.codecs.iter().find(|codec| codec.codec == stream.spec.codec) else {
        if !slot.mismatch {
            shard.slots[slot_index].mismatch = true;
            let state = SlotState::CodecMismatch { member };
            shard.emit(Event::Slot { session: id, slot: position, state });
        }
        return false;
    };
    let payload_type = codec.payload_type;
    let no = stream.spec.publication;
    let entry = Entry { slot: slot_index, session: session_index, grant: session.grant };
    let room = session.room;
    if !shard.fanouts.push(&mut shard.publications[publication].fanout, entry) {
        return false;
    }
    let slot = &mut shard.slots[slot_index];
    slot.publication = publication;
    slot.payload_type = payload_type;
    slot.mismatch = false;
    slot.munger.end_segment();
    shard.rooms[room].subscription_count += 1;
    shard.counters.subscriptions += 1;
    let state = SlotState::On { member, publication: no };
    shard.emit(Event::Slot { session: id, slot: position, state });
    request_keyframe(shard, now, io, publication);
    true
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
    slot.munger.end_segment();
    let stream = &mut shard.publications[publication];
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
        let Some(entry) = shard.fanouts.next(&mut cursor) else { return };
        detach(shard, entry.slot);
        let slot = &shard.slots[entry.slot];
        let (id, position) = (shard.sessions[slot.session as usize].id, slot.position);
        fill_slot(shard, now, io, entry.slot);
        if shard.slots[entry.slot].publication == NONE {
            shard.emit(Event::Slot { session: id, slot: position, state: SlotState::Off });
        }
    }
}

//! The chain of steps that one kind of media takes from a publisher to a viewer, and what stops it.

use std::collections::HashMap;

use proto::{GrantRefusal, MediaKind, SessionId, SlotState};
use serde_json::{Value, json};

use super::{Watched, WatchedSlot};
use crate::directory::{Between, Held, Present};
use crate::signalling::Role;

/// Beyond this part of lost packets a leg is called lossy.
const LOSS: f64 = 0.02;
/// Authenticated so recently, a peer is there although it sends no media: RTCP comes every few seconds.
const HEARD_NS: u64 = 6_000_000_000;

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Passed.
    Fine,
    /// Passed, with loss.
    Lossy,
    /// Here it stops.
    Stops,
    /// Behind the stop.
    NotReached,
}

impl State {
    /// Its word in answers.
    pub fn name(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Lossy => "lossy",
            State::Stops => "stops",
            State::NotReached => "not_reached",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose: `node`, `publisher` or `viewer`.
    pub who: &'static str,
    /// What must hold.
    pub step: &'static str,
    /// Whether it does.
    pub state: State,
    /// What was found, in words.
    pub what: String,
}

/// What stops media, and what to do.
type Stop = (&'static str, String, &'static str);

/// All steps of one kind of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// `None` when nothing is published.
    pub kind: Option<MediaKind>,
    /// In the packet's order.
    pub steps: Vec<Step>,
    /// The first problem by its code, or `flows`.
    pub verdict: &'static str,
    /// What to do next; empty when there is nothing.
    pub next: &'static str,
    lossy: bool,
}

impl Chain {
    fn new(kind: Option<MediaKind>) -> Chain {
        Chain { kind, steps: Vec::new(), verdict: "flows", next: "", lossy: false }
    }

    fn stopped(&self) -> bool {
        self.verdict != "flows" && !self.lossy
    }

    /// Adds a step, unless media stopped before it: then its question is not asked.
    fn step(
        &mut self,
        (who, step): (&'static str, &'static str),
        ask: impl FnOnce() -> Result<String, Stop>,
    ) {
        if self.stopped() {
            let (state, what) = (State::NotReached, String::new());
            return self.steps.push(Step { who, step, state, what });
        }
        let (state, what) = match ask() {
            Ok(what) => (State::Fine, what),
            Err((code, what, next)) => {
                let state = if code == "loss" { State::Lossy } else { State::Stops };
                // Loss slows; a stop behind it is the answer.
                if state == State::Stops || !self.lossy {
                    (self.verdict, self.next) = (code, next);
                }
                self.lossy = state == State::Lossy;
                (state, what)
            }
        };
        self.steps.push(Step { who, step, state, what });
    }

    /// As it stands in answers.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "who": step.who, "step": step.step, "state": step.state.name(),
                    "what": step.what,
                })
            })
            .collect();
        json!({
            "kind": self.kind.map(MediaKind::name), "verdict": self.verdict, "next": self.next,
            "steps": steps,
        })
    }
}

/// A session with what was seen of it.
#[derive(Clone, Copy)]
struct Leg<'a> {
    held: &'a Held,
    seen: &'a Watched,
}

fn legs<'a>(
    member: Option<&'a Present>,
    role: Role,
    seen: &'a HashMap<SessionId, Watched>,
) -> Vec<Leg<'a>> {
    let sessions = member.map_or(&[][..], |member| &member.sessions);
    let of_role = sessions.iter().filter(|held| held.role == role);
    of_role.filter_map(|held| Some(Leg { held, seen: seen.get(&held.session)? })).collect()
}

/// Judges one kind of media.
pub fn judge(
    is_up: bool,
    is_self: bool,
    between: &Between,
    kind: Option<MediaKind>,
    seen: &HashMap<SessionId, Watched>,
) -> Chain {
    let mut chain = Chain::new(kind);
    chain.step(("node", "data plane"), || match is_up {
        true => Ok("up".into()),
        false => Err((
            "data_plane_down",
            "the data plane is down".into(),
            "roomlane up restarts it; see its log, and roomlane doctor",
        )),
    });
    chain.step(("publisher", "joined"), || joined(between.has_room, between.from.as_ref()));
    chain.step(("viewer", "joined"), || match is_self {
        true => Err((
            "own_media",
            "both are the same user".into(),
            "a user's own streams are not sent back to it; ask about two users",
        )),
        false => joined(between.has_room, between.to.as_ref()),
    });
    let sending = legs(between.from.as_ref(), Role::Publish, seen);
    let publishing = sending.iter().find_map(|leg| {
        let mut streams = leg.held.publications.iter();
        streams.find(|(_, of)| Some(*of) == kind).map(|(no, _)| (*leg, no.0))
    });
    chain.step(("publisher", "publishes"), || match (kind, publishing) {
        (Some(kind), Some(_)) => Ok(kind.name().into()),
        _ => Err((
            "not_publishing",
            "it has no stream in the room".into(),
            "its client must POST an offer to /whip/; or it joined a moment ago: ask again",
        )),
    });
    let Some((kind, (from, stream))) = kind.zip(publishing) else {
        return chain;
    };
    publisher_leg(&mut chain, kind, from, stream);
    viewer_leg(&mut chain, kind, (from, stream), between, seen);
    chain
}

fn publisher_leg(chain: &mut Chain, kind: MediaKind, from: Leg<'_>, stream: u32) {
    chain.step(("publisher", "grant"), || granted(from, kind.send_bit(), "send", kind));
    chain.step(("publisher", "path"), || path(from));
    chain.step(("publisher", "keys"), || keys(from));
    chain.step(("publisher", "packets"), || arriving(from, stream, kind));
}

fn viewer_leg(
    chain: &mut Chain,
    kind: MediaKind,
    (from, stream): (Leg<'_>, u32),
    between: &Between,
    seen: &HashMap<SessionId, Watched>,
) {
    let receiving = legs(between.to.as_ref(), Role::Subscribe, seen);
    let slots: Vec<(Leg<'_>, WatchedSlot)> = receiving
        .iter()
        .flat_map(|leg| leg.seen.slots.iter().map(move |slot| (*leg, *slot)))
        .filter(|(_, slot)| slot.kind == kind)
        .collect();
    let publisher = between.from.as_ref().map(|member| member.member);
    chain.step(("viewer", "asks"), || {
        let asks = |(_, slot): &&(Leg<'_>, WatchedSlot)| {
            slot.publisher.is_none() || slot.publisher == publisher
        };
        match slots.iter().filter(asks).count() {
            0 if slots.is_empty() => Err((
                "not_asking",
                format!("it has no receive section for {}", kind.name()),
                "its client must POST an offer with such a section to /whep/",
            )),
            0 => Err((
                "not_asking",
                "it asked for another publisher only (?publisher=)".into(),
                "its client must ask for this publisher, or for everybody",
            )),
            count => Ok(format!("{count} receive section{}", if count == 1 { "" } else { "s" })),
        }
    });
    let shows = |(_, slot): &&(Leg<'_>, WatchedSlot)| match slot.state {
        SlotState::On { publication, .. } => publication.0 == stream,
        _ => false,
    };
    let shown = slots.iter().find(shows).copied();
    let leg = shown.or(slots.first().copied()).map(|(leg, _)| leg);
    chain.step(("viewer", "grant"), || match leg {
        Some(leg) => granted(leg, kind.receive_bit(), "receive", kind),
        None => Ok(String::new()),
    });
    chain.step(("viewer", "slot"), || slot_of(&slots, shown.is_some(), publisher));
    let Some((leg, slot)) = shown.or(slots.first().copied()) else {
        for step in ["path", "keys", "packets"] {
            chain.step(("viewer", step), || Ok(String::new()));
        }
        return;
    };
    chain.step(("viewer", "path"), || path(leg));
    chain.step(("viewer", "keys"), || keys(leg));
    chain.step(("viewer", "packets"), || leaving(from, leg, slot));
}

fn joined(has_room: bool, member: Option<&Present>) -> Result<String, Stop> {
    if !has_room {
        return Err((
            "not_joined",
            "there is no such room now".into(),
            "check the room's name and its type (--room-type); rooms begin with the first join",
        ));
    }
    match member {
        Some(member) => Ok(format!(
            "{} session{}",
            member.sessions.len(),
            if member.sessions.len() == 1 { "" } else { "s" }
        )),
        None => Err((
            "not_joined",
            "it is not in the room".into(),
            "its client joins by POST to /whip/ or /whep/; roomlane token explain says why tokens fail",
        )),
    }
}

/// What its shard told of a session; without that nothing can be said.
fn transport(leg: Leg<'_>) -> Result<proto::Transport, Stop> {
    leg.seen.transport.ok_or((
        "not_joined",
        format!("the shard has no session {} now", leg.held.session),
        "it is opening or ended just now: ask again",
    ))
}

fn granted(leg: Leg<'_>, bit: u8, verb: &str, kind: MediaKind) -> Result<String, Stop> {
    let transport = transport(leg)?;
    let grant = transport.grant;
    let now_s = transport.at_ns / 1_000_000_000;
    match grant.check(now_s, transport.epoch, bit) {
        Ok(()) => {
            let left = u64::from(grant.deadline_s()).saturating_sub(now_s);
            Ok(format!("may {verb} {}, for {left} s", kind.name()))
        }
        Err(GrantRefusal::NoRight) => Err((
            "no_grant",
            format!("its tokens do not let it {verb} {} (privilege bit {bit})", kind.name()),
            "the app gives a PrivateMapKey with this bit, and its client renews by PATCH",
        )),
        Err(GrantRefusal::Expired) => Err((
            "no_grant",
            "its tokens have expired".into(),
            "its client renews with new tokens by PATCH, or joins again",
        )),
        Err(GrantRefusal::Revoked) => Err((
            "no_grant",
            "its grant was revoked".into(),
            "its client joins again with new tokens",
        )),
    }
}

fn path(leg: Leg<'_>) -> Result<String, Stop> {
    let transport = transport(leg)?;
    match (transport.has_path, transport.has_ice) {
        (true, true) => Ok("ICE connected".into()),
        (true, false) => Ok("address known".into()),
        (false, true) => Err((
            "no_path",
            "ICE is not connected: no address was validated, or consent was lost".into(),
            "check firewall and NAT towards the node's UDP ports, and port.advertise",
        )),
        (false, false) => Err((
            "no_path",
            "no address is known for it yet".into(),
            "check the address in its offer, and the firewall towards the node's UDP ports",
        )),
    }
}

fn keys(leg: Leg<'_>) -> Result<String, Stop> {
    match transport(leg)?.has_keys {
        true => Ok("installed".into()),
        false => Err((
            "no_keys",
            "the DTLS handshake is not finished".into(),
            "look for handshake lines in the control daemon's log; compare the fingerprint in the offer",
        )),
    }
}

fn arriving(leg: Leg<'_>, stream: u32, kind: MediaKind) -> Result<String, Stop> {
    let transport = transport(leg)?;
    let seconds = leg.seen.seconds.max(0.001);
    let (received, lost) = leg.seen.streams.get(&stream).copied().unwrap_or_default();
    if received > 0 {
        let part = lost as f64 / (received + lost) as f64;
        let rate = received as f64 / seconds;
        return match part > LOSS {
            false => Ok(format!("{rate:.0} packets/s")),
            true => Err((
                "loss",
                format!("{rate:.0} packets/s, {:.1} % lost on the way to the node", part * 100.0),
                "the publisher's uplink loses packets; roomlane show session says since when",
            )),
        };
    }
    let silence_ns = transport.at_ns.saturating_sub(transport.heard_ns);
    if leg.seen.failures > 0 {
        let what = format!("{} packets failed authentication meanwhile", leg.seen.failures);
        return Err((
            "auth_failures",
            what,
            "its keys differ from ours, or somebody else sends from its address: it joins again",
        ));
    }
    if transport.heard_ns == 0 || silence_ns > HEARD_NS {
        let what = match transport.heard_ns {
            0 => "nothing authentic has ever arrived".to_owned(),
            _ => format!("nothing authentic for {} s", silence_ns / 1_000_000_000),
        };
        return Err((
            "no_packets",
            what,
            "check its client, its network, and the firewall towards the node's UDP ports",
        ));
    }
    Err((
        "muted",
        format!("it is connected and sends no {}", kind.name()),
        "it is muted: microphone or camera is off, or its track has ended",
    ))
}

fn slot_of(
    slots: &[(Leg<'_>, WatchedSlot)],
    is_shown: bool,
    publisher: Option<proto::MemberNo>,
) -> Result<String, Stop> {
    if is_shown {
        return Ok("shows it".into());
    }
    let mismatch = |slot: &WatchedSlot| match slot.state {
        SlotState::CodecMismatch { member } => Some(member) == publisher,
        _ => false,
    };
    if slots.iter().any(|(_, slot)| mismatch(slot)) {
        return Err((
            "codec_mismatch",
            "its receive sections take none of the publisher's codecs".into(),
            "both clients must offer one codec in common",
        ));
    }
    let full = slots.iter().filter(|(_, slot)| matches!(slot.state, SlotState::On { .. })).count();
    Err((
        "no_slot",
        format!("{full} of {} receive sections show others", slots.len()),
        "its client offers more receive sections, or asks for this publisher with ?publisher=",
    ))
}

fn leaving(from: Leg<'_>, leg: Leg<'_>, slot: WatchedSlot) -> Result<String, Stop> {
    let rate = slot.sent as f64 / leg.seen.seconds.max(0.001);
    if slot.sent > 0 {
        return match slot.lost > LOSS {
            false => Ok(format!("{rate:.0} packets/s")),
            true => Err((
                "loss",
                format!("{rate:.0} packets/s, {:.1} % lost on the way to it", slot.lost * 100.0),
                "the viewer's downlink loses packets; a lower bitrate at the publisher helps",
            )),
        };
    }
    if slot.awaits_keyframe {
        return Err((
            "awaiting_keyframe",
            "packets are kept back until a picture starts".into(),
            "the publisher must answer picture-loss indications; roomlane show drops counts them",
        ));
    }
    Err((
        "not_sent",
        format!("{} packets came in and none went out", from.seen.accepted),
        "roomlane show drops names the reason on the way out",
    ))
}

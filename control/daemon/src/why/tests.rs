//! Each step of the chain, from states as shards tell them.

use proto::{GrantWord, MemberNo, Privileges, PublicationNo, ShardId};

use super::chain::judge;
use super::*;
use crate::directory::Held;
use crate::signalling::Role;

const STREAM: PublicationNo = PublicationNo(77);
const CAMERA: SessionId = SessionId::new(ShardId(0), 1, 1);
const VIEWER: SessionId = SessionId::new(ShardId(0), 2, 1);
const AUDIO: MediaKind = MediaKind::Audio;

fn transport(rx_packets: u64) -> Transport {
    Transport {
        at_ns: 100_000_000_000,
        grant: GrantWord::new(200, 1, Privileges::ALL),
        epoch: 1,
        has_keys: true,
        has_path: true,
        has_ice: true,
        heard_ns: 99_000_000_000,
        rx_packets,
        auth_failures: 0,
    }
}

/// A call in which everything flows.
fn call() -> (Between, HashMap<SessionId, Watched>) {
    let held = |session, role, publications| Held { session, role, publications };
    let present = |member, held| Some(Present { member: MemberNo(member), sessions: vec![held] });
    let between = Between {
        has_room: true,
        from: present(1, held(CAMERA, Role::Publish, vec![(STREAM, AUDIO)])),
        to: present(2, held(VIEWER, Role::Subscribe, vec![])),
    };
    let on = SlotState::On { member: MemberNo(1), publication: STREAM };
    let slot = WatchedSlot {
        kind: AUDIO,
        state: on,
        publisher: None,
        sent: 50,
        awaits_keyframe: false,
        lost: 0.0,
    };
    let camera = Watched {
        transport: Some(transport(50)),
        seconds: 1.0,
        accepted: 50,
        streams: [(STREAM.0, (50, 0))].into(),
        ..Watched::default()
    };
    let viewer = Watched {
        transport: Some(transport(1)),
        seconds: 1.0,
        slots: vec![slot],
        ..Watched::default()
    };
    (between, [(CAMERA, camera), (VIEWER, viewer)].into())
}

type Fault = fn(&mut Between, &mut HashMap<SessionId, Watched>);

fn verdict(fault: Fault) -> Chain {
    let (mut between, mut seen) = call();
    fault(&mut between, &mut seen);
    let kinds = kinds(&between);
    judge(true, false, &between, kinds[0], &seen)
}

fn of(seen: &mut HashMap<SessionId, Watched>, id: SessionId) -> &mut Watched {
    seen.get_mut(&id).unwrap()
}

fn tell(seen: &mut HashMap<SessionId, Watched>, id: SessionId, fault: impl FnOnce(&mut Transport)) {
    fault(of(seen, id).transport.as_mut().unwrap());
}

#[test]
fn every_fault_is_named_at_its_step_and_nothing_behind_it_is_judged() {
    let faults: &[(Fault, &str, (&str, &str))] = &[
        (|b, _| *b = Between::default(), "not_joined", ("publisher", "joined")),
        (|b, _| b.from = None, "not_joined", ("publisher", "joined")),
        (|b, _| b.to = None, "not_joined", ("viewer", "joined")),
        (
            |b, _| b.from.as_mut().unwrap().sessions[0].publications.clear(),
            "not_publishing",
            ("publisher", "publishes"),
        ),
        (
            |_, s| tell(s, CAMERA, |t| t.grant = GrantWord::new(200, 1, Privileges(3))),
            "no_grant",
            ("publisher", "grant"),
        ),
        (|_, s| tell(s, CAMERA, |t| t.epoch = 2), "no_grant", ("publisher", "grant")),
        (|_, s| tell(s, CAMERA, |t| t.at_ns *= 3), "no_grant", ("publisher", "grant")),
        (|_, s| tell(s, CAMERA, |t| t.has_path = false), "no_path", ("publisher", "path")),
        (|_, s| tell(s, CAMERA, |t| t.has_keys = false), "no_keys", ("publisher", "keys")),
        (|_, s| of(s, CAMERA).streams.clear(), "muted", ("publisher", "packets")),
        (
            |_, s| {
                of(s, CAMERA).streams.clear();
                tell(s, CAMERA, |t| t.heard_ns = 0);
            },
            "no_packets",
            ("publisher", "packets"),
        ),
        (
            |_, s| {
                of(s, CAMERA).streams.clear();
                of(s, CAMERA).failures = 9;
            },
            "auth_failures",
            ("publisher", "packets"),
        ),
        (|_, s| of(s, VIEWER).slots.clear(), "not_asking", ("viewer", "asks")),
        (
            |_, s| of(s, VIEWER).slots[0].publisher = Some(MemberNo(9)),
            "not_asking",
            ("viewer", "asks"),
        ),
        (
            |_, s| tell(s, VIEWER, |t| t.grant = GrantWord::new(200, 1, Privileges(7))),
            "no_grant",
            ("viewer", "grant"),
        ),
        (
            |_, s| {
                let (member, publication) = (MemberNo(3), PublicationNo(5));
                of(s, VIEWER).slots[0].state = SlotState::On { member, publication };
            },
            "no_slot",
            ("viewer", "slot"),
        ),
        (
            |_, s| {
                let member = MemberNo(1);
                of(s, VIEWER).slots[0].state = SlotState::CodecMismatch { member };
            },
            "codec_mismatch",
            ("viewer", "slot"),
        ),
        (|_, s| tell(s, VIEWER, |t| t.has_path = false), "no_path", ("viewer", "path")),
        (|_, s| tell(s, VIEWER, |t| t.has_keys = false), "no_keys", ("viewer", "keys")),
        (|_, s| of(s, VIEWER).slots[0].sent = 0, "not_sent", ("viewer", "packets")),
        (
            |_, s| {
                of(s, VIEWER).slots[0].sent = 0;
                of(s, VIEWER).slots[0].awaits_keyframe = true;
            },
            "awaiting_keyframe",
            ("viewer", "packets"),
        ),
    ];
    for (number, (fault, code, place)) in faults.iter().enumerate() {
        let chain = verdict(*fault);
        assert_eq!(chain.verdict, *code, "{number}: {chain:?}");
        assert!(!chain.next.is_empty(), "{number}");
        let at = chain.steps.iter().position(|step| step.state == State::Stops).unwrap();
        assert_eq!((chain.steps[at].who, chain.steps[at].step), *place, "{number}");
        assert!(chain.steps[..at].iter().all(|step| step.state == State::Fine), "{number}");
        assert!(chain.steps[at + 1..].iter().all(|step| step.state == State::NotReached));
    }
}

#[test]
fn what_flows_is_said_to_flow_with_its_rates_and_loss_is_no_stop() {
    let chain = verdict(|_, _| {});
    assert_eq!((chain.verdict, chain.next), ("flows", ""));
    assert!(chain.steps.iter().all(|step| step.state == State::Fine), "{chain:?}");
    assert_eq!(chain.steps.last().unwrap().what, "50 packets/s");

    let lossy = verdict(|_, s| {
        of(s, CAMERA).streams.insert(STREAM.0, (45, 5));
    });
    assert_eq!(lossy.verdict, "loss");
    assert!(lossy.steps.iter().all(|step| step.state != State::NotReached), "{lossy:?}");
    let both = verdict(|_, s| {
        of(s, CAMERA).streams.insert(STREAM.0, (45, 5));
        of(s, VIEWER).slots[0].sent = 0;
    });
    assert_eq!(both.verdict, "not_sent", "the stop is named, not the loss before it");
    let down = verdict(|_, s| of(s, VIEWER).slots[0].lost = 0.1);
    assert_eq!((down.verdict, down.steps.last().unwrap().state), ("loss", State::Lossy));
}

#[test]
fn without_a_data_plane_or_between_a_user_and_itself_that_is_the_answer() {
    let (between, seen) = call();
    assert_eq!(judge(false, false, &between, Some(AUDIO), &seen).verdict, "data_plane_down");
    assert_eq!(judge(true, true, &between, Some(AUDIO), &seen).verdict, "own_media");
}

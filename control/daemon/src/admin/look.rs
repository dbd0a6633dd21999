//! What a shard tells of one session, as an answer: numbers, no ids but its own.

use proto::{Look, SessionId, SlotState};
use serde_json::{Value, json};

/// An answer to `session.look`.
pub fn json(id: SessionId, parts: &[Look]) -> Value {
    let mut answer = json!({ "session": id.to_string(), "streams": [], "slots": [] });
    for part in parts {
        match *part {
            Look::Transport(transport) => {
                answer["transport"] = json!({
                    "has_keys": transport.has_keys, "has_path": transport.has_path,
                    "has_ice": transport.has_ice,
                    "is_of_this_epoch": transport.grant.epoch() == transport.epoch & 0xff_ffff,
                    "rx_packets": transport.rx_packets, "auth_failures": transport.auth_failures,
                });
            }
            Look::Stream { publication, received, lost } => push(
                &mut answer["streams"],
                json!({
                    "publication": publication.0, "received": received, "lost": lost,
                }),
            ),
            Look::Slot { place, kind, state, sent, awaits_keyframe, fraction_lost, .. } => {
                push(
                    &mut answer["slots"],
                    json!({
                        "place": place, "kind": kind.name(), "state": word(state), "sent": sent,
                        "awaits_keyframe": awaits_keyframe,
                        "fraction_lost": f64::from(fraction_lost) / 256.0,
                    }),
                );
            }
            Look::Done => {}
        }
    }
    answer
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn word(state: SlotState) -> String {
    match state {
        SlotState::Off => "off".to_owned(),
        SlotState::On { member, publication } => {
            format!("stream {} of member {}", publication.0, member.0)
        }
        SlotState::CodecMismatch { member } => {
            format!("member {} sends a codec that it cannot take", member.0)
        }
    }
}

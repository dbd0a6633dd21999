//! What shards tell of sessions, as answers: numbers, no ids but their own, names masked.

use proto::{CodecId, Look, SessionId, SlotOut, SlotState, StreamIn};
use serde_json::{Value, json};

use crate::directory::Seated;
use crate::limits::{LOOKS_AT_ONCE, STREAMS_ANSWER_MAX};
use crate::link::hub::Hub;

/// An answer to `session.look`.
pub fn json(id: SessionId, parts: &[Look]) -> Value {
    let mut answer = json!({ "session": id.to_string(), "streams": streams(id, parts) });
    let transport = parts.iter().find_map(|part| match part {
        Look::Transport(transport) => Some(transport),
        _ => None,
    });
    if let Some(transport) = transport {
        answer["transport"] = json!({
            "has_keys": transport.has_keys, "has_path": transport.has_path,
            "has_ice": transport.has_ice,
            "is_of_this_epoch": transport.grant.epoch() == transport.epoch & 0xff_ffff,
            "rx_packets": transport.rx_packets, "auth_failures": transport.auth_failures,
        });
    }
    answer
}

/// An answer to `stream.list`: the streams of these sessions, as many as fit into one. Few sessions are
/// asked at a time, so that the answers do not push other events of a shard aside.
pub async fn list(hub: &Hub, seated: Vec<Seated>) -> Value {
    let mut rows: Vec<Value> = vec![];
    let mut asked = 0;
    for few in seated.chunks(LOOKS_AT_ONCE) {
        if rows.len() >= STREAMS_ANSWER_MAX {
            break;
        }
        let looks =
            few.iter().map(|seated| async move { (seated, hub.look(seated.session).await) });
        for (seated, parts) in futures_util::future::join_all(looks).await {
            rows.extend(streams(seated.session, &parts).into_iter().map(|mut row| {
                row["room"] = seated.room.0.into();
                row["room_label"] = seated.room_label.as_str().into();
                row["user"] = seated.user.as_str().into();
                row["sdkappid"] = seated.app.0.into();
                row
            }));
        }
        asked += few.len();
    }
    json!({
        "streams": rows, "sessions": asked, "sessions_left_out": seated.len() - asked,
    })
}

/// A row for each SSRC in and each slot out. Both have the same members, null where one has no such thing.
fn streams(session: SessionId, parts: &[Look]) -> Vec<Value> {
    let at_ns = parts.iter().find_map(|part| match part {
        Look::Transport(transport) => Some(transport.at_ns),
        _ => None,
    });
    let row = |part: &Look| match part {
        Look::Stream(stream) => Some(row_in(stream)),
        Look::Slot(slot) => Some(row_out(slot)),
        Look::Transport(_) | Look::Done => None,
    };
    let with_session = |mut row: Value| {
        row["session"] = session.to_string().into();
        row["at_ns"] = at_ns.into();
        row
    };
    parts.iter().filter_map(row).map(with_session).collect()
}

fn row_in(stream: &StreamIn) -> Value {
    let all = stream.received + stream.lost;
    let state = match (stream.received, stream.is_repair, stream.is_forwarded) {
        (0, ..) => "nothing came yet",
        (_, true, _) => "repairs",
        (_, _, true) => "forwarded",
        _ => "waits as a layer",
    };
    json!({
        "direction": "in", "publication": stream.publication.0, "member": null, "slot": null,
        "ssrc": stream.ssrc, "kind": stream.kind.name(), "codec": codec(stream.codec),
        "layer": stream.layer, "repairs": stream.is_repair, "packets": stream.received,
        "octets": null, "bits_per_s": stream.bytes_per_s * 8, "lost": stream.lost,
        "loss_ratio": if all == 0 { 0.0 } else { stream.lost as f64 / all as f64 },
        "jitter_ms": milliseconds(stream.jitter, stream.clock_rate),
        "rtt_ms": round_trip(stream.rtt_us), "nacks": stream.nacks, "plis": stream.plis,
        "sent_again": null, "state": state,
    })
}

fn row_out(slot: &SlotOut) -> Value {
    let (publication, member, state) = match slot.state {
        SlotState::Off => (None, None, "shows nobody"),
        SlotState::On { member, publication } => {
            let state = if slot.awaits_keyframe { "awaits keyframe" } else { "flows" };
            (Some(publication.0), Some(member.0), state)
        }
        SlotState::CodecMismatch { member } => (None, Some(member.0), "codec mismatch"),
    };
    json!({
        "direction": "out", "publication": publication, "member": member, "slot": slot.place, "ssrc": slot.ssrc,
        "kind": slot.kind.name(), "codec": slot.codec.map(codec), "layer": slot.layer,
        "repairs": false, "packets": slot.sent, "octets": slot.octets, "bits_per_s": null,
        "lost": null, "loss_ratio": f64::from(slot.fraction_lost) / 256.0,
        "jitter_ms": milliseconds(slot.jitter, slot.clock_rate),
        "rtt_ms": round_trip(slot.rtt_us), "nacks": slot.nacks, "plis": slot.plis,
        "sent_again": slot.repairs, "state": state,
    })
}

/// Units of a clock; null while nobody knows its rate.
fn milliseconds(units: u32, clock_rate: u32) -> Option<f64> {
    (clock_rate > 0).then(|| f64::from(units) * 1000.0 / f64::from(clock_rate))
}

/// Null before the first.
fn round_trip(us: u32) -> Option<f64> {
    (us > 0).then(|| f64::from(us) / 1000.0)
}

fn codec(codec: CodecId) -> &'static str {
    match codec.format() {
        CodecId::OPUS => "opus",
        CodecId::PCMU => "pcmu",
        CodecId::PCMA => "pcma",
        CodecId::G722 => "g722",
        CodecId::VP8 => "vp8",
        CodecId::VP9 => "vp9",
        CodecId::AV1 => "av1",
        CodecId::H264 => "h264",
        CodecId::H265 => "h265",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{MediaKind, MemberNo, PublicationNo, ShardId, Transport};

    #[test]
    fn streams_in_and_out_have_the_same_members_and_units_for_people() {
        let kind = MediaKind::Video;
        let stream = StreamIn {
            publication: PublicationNo(7),
            ssrc: 0xabcd,
            kind,
            codec: CodecId::new(CodecId::VP8, 0),
            clock_rate: 90_000,
            received: 90,
            lost: 10,
            bytes_per_s: 1000,
            jitter: 180,
            rtt_us: 4500,
            is_forwarded: true,
            ..StreamIn::default()
        };
        let slot = SlotOut {
            place: 1,
            ssrc: 9,
            kind,
            state: SlotState::On { member: MemberNo(3), publication: PublicationNo(7) },
            publisher: None,
            codec: Some(stream.codec),
            clock_rate: 90_000,
            layer: None,
            sent: 80,
            octets: 8000,
            awaits_keyframe: true,
            fraction_lost: 64,
            jitter: 90,
            rtt_us: 0,
            nacks: 4,
            repairs: 3,
            plis: 2,
        };
        let transport = Transport { at_ns: 5, ..Transport::default() };
        let parts =
            [Look::Transport(transport), Look::Stream(stream), Look::Slot(slot), Look::Done];
        let rows = streams(SessionId::new(ShardId(0), 1, 1), &parts);
        let [one, other] = &rows[..] else { panic!("{rows:?}") };
        let members = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(one), members(other));
        let of = |row: &Value, keys: &[&str]| {
            keys.iter().map(|key| row[key].clone()).collect::<Vec<_>>()
        };
        let figures = ["bits_per_s", "loss_ratio", "jitter_ms", "rtt_ms", "codec", "state"];
        assert_eq!(
            of(one, &figures),
            of(
                &json!({"bits_per_s": 8000, "loss_ratio": 0.1,
            "jitter_ms": 2.0, "rtt_ms": 4.5, "codec": "vp8", "state": "forwarded"}),
                &figures
            )
        );
        assert_eq!(
            of(other, &figures),
            of(
                &json!({"bits_per_s": null, "loss_ratio": 0.25,
            "jitter_ms": 1.0, "rtt_ms": null, "codec": "vp8",
            "state": "awaits keyframe"}),
                &figures
            )
        );
    }
}

//! The packet trace that an operator asked for: one at a time, bounded, in memory alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::counters::STAGES;
use proto::{DropReason, Ended, RoomNo, ShardId, Traced};
use serde_json::{Map, Value, json};

use crate::limits::TRACE_RECORDS_MAX;

/// What was told so far.
#[derive(Clone)]
struct Trace {
    room: RoomNo,
    /// Masked.
    label: String,
    shards: Vec<ShardId>,
    over: Vec<ShardId>,
    records: Vec<(ShardId, Traced)>,
    skipped: u64,
}

/// See the module.
#[derive(Default)]
pub struct Traces(Mutex<Option<Trace>>);

impl Traces {
    fn lock(&self) -> MutexGuard<'_, Option<Trace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the trace before; records of these shards belong to this one.
    pub fn start(&self, room: RoomNo, label: String, shards: Vec<ShardId>) {
        let (over, records) = (Vec::new(), Vec::new());
        *self.lock() = Some(Trace { room, label, shards, over, records, skipped: 0 });
    }

    /// Where a trace is on: its room and shards.
    pub fn running(&self) -> Option<(RoomNo, Vec<ShardId>)> {
        self.lock().as_ref().map(|trace| (trace.room, trace.shards.clone()))
    }

    /// Takes in a record.
    pub fn told(&self, shard: ShardId, record: Traced) {
        let mut running = self.lock();
        let Some(trace) = running.as_mut().filter(|trace| trace.shards.contains(&shard)) else {
            return;
        };
        match record {
            Traced::Over { skipped } => {
                trace.skipped += u64::from(skipped);
                trace.over.push(shard);
            }
            _ if trace.records.len() < TRACE_RECORDS_MAX => trace.records.push((shard, record)),
            _ => trace.skipped += 1,
        }
    }

    /// The trace of now or the last one; `None` before the first.
    pub fn answer(&self) -> Option<Value> {
        // The link must not wait while the answer is made.
        let trace = self.lock().clone()?;
        let mut copies: HashMap<(ShardId, u32), Vec<Value>> = HashMap::new();
        for (shard, record) in &trace.records {
            if let Traced::Copy { number, to, dropped } = record {
                let copy = json!({"to": to.to_string(), "dropped": dropped.map(reason)});
                copies.entry((*shard, *number)).or_default().push(copy);
            }
        }
        let packets = trace.records.iter().filter_map(|(shard, record)| {
            let Traced::Packet { number, .. } = record else { return None };
            let copies = copies.remove(&(*shard, *number)).unwrap_or_default();
            Some(packet(*shard, record, copies))
        });
        let packets: Vec<Value> = packets.collect();
        Some(json!({
            "schema": "roomlane.trace.v1",
            "room": trace.label,
            "is_over": trace.over.len() >= trace.shards.len(),
            "skipped": trace.skipped,
            "packets": packets,
        }))
    }
}

fn packet(shard: ShardId, record: &Traced, copies: Vec<Value>) -> Value {
    let Traced::Packet { number, session, class, len, rtp, stage, ended } = *record else {
        return Value::Null;
    };
    let classes = ["stun", "dtls", "rtp", "rtcp"];
    let (ended, dropped) = match ended {
        Ended::Done => ("done", None),
        Ended::Forwarded => ("forwarded", None),
        Ended::Punted => ("punted", None),
        Ended::Dropped(why) => ("dropped", Some(reason(why))),
    };
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("shard", json!(shard.0));
    put("number", json!(number));
    put("session", json!(session.to_string()));
    put("class", json!(classes.get(usize::from(class)).unwrap_or(&"other")));
    put("len", json!(len));
    if class == 2 {
        put("payload_type", json!(rtp.0));
        put("sequence", json!(rtp.1));
        put("ssrc", json!(rtp.2));
    }
    put("stage", json!(STAGES.get(usize::from(stage)).unwrap_or(&"?")));
    put("ended", json!(ended));
    put("reason", json!(dropped));
    put("copies", Value::Array(copies));
    Value::Object(object)
}

fn reason(number: u8) -> &'static str {
    DropReason::ALL.get(usize::from(number)).map_or("?", |reason| reason.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::SessionId;

    #[test]
    fn copies_are_told_with_their_packet_and_what_does_not_fit_is_counted() {
        let traces = Traces::default();
        assert_eq!(traces.answer(), None);
        let shard = ShardId(0);
        traces.told(shard, Traced::Over { skipped: 1 });
        traces.start(RoomNo(7), "d***".into(), vec![shard]);
        let (session, to) = (SessionId::new(shard, 1, 1), SessionId::new(shard, 2, 1));
        let dropped = Some(DropReason::NoRight as u8);
        traces.told(shard, Traced::Copy { number: 3, to, dropped });
        let (class, len, rtp) = (2, 99, (111, 4, 5));
        let (stage, ended) = (8, Ended::Done);
        let packet = Traced::Packet { number: 3, session, class, len, rtp, stage, ended };
        traces.told(shard, packet);
        traces.told(ShardId(1), packet);
        let answer = traces.answer().unwrap();
        let copies = &answer["packets"][0]["copies"];
        assert_eq!(*copies, json!([{"to": "s0-2-1", "dropped": "no_right"}]));
        assert_eq!(answer["packets"].as_array().unwrap().len(), 1, "of its own shards alone");
        assert_eq!(
            (&answer["packets"][0]["stage"], &answer["is_over"]),
            (&json!("seal"), &json!(false))
        );
        for _ in 0..TRACE_RECORDS_MAX {
            traces.told(shard, Traced::Copy { number: 9, to, dropped: None });
        }
        traces.told(shard, Traced::Over { skipped: 4 });
        let answer = traces.answer().unwrap();
        assert_eq!((&answer["skipped"], &answer["is_over"]), (&json!(6), &json!(true)));
    }
}

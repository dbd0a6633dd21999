//! Acts about captures of packet headers: begin, read, end and list them.

use std::time::Duration;

use proto::SessionId;
use proto::capture::{CAPTURE_PACKETS_MAX, CAPTURE_SECONDS_MAX, Head};
use serde::Deserialize;
use serde_json::{Value, json};

use super::peer::Right;
use super::{RoomType, refused, room_key, session_id};
use crate::limits::CAPTURE_WAIT;
use crate::link::captures::{Of, Taken, Wanted};
use crate::link::hub::{Hub, Status};
use crate::mask;
use crate::running::Refused;

/// One request line.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", deny_unknown_fields)]
pub enum CaptureAct {
    #[serde(rename = "capture.start")]
    Start {
        #[serde(default)]
        sdkappid: u32,
        #[serde(default)]
        room: Option<String>,
        #[serde(default)]
        room_type: RoomType,
        #[serde(default)]
        session: Option<String>,
        count: u32,
        seconds: u32,
        #[serde(default)]
        reveal: bool,
    },
    #[serde(rename = "capture.read")]
    Read { capture: u32 },
    #[serde(rename = "capture.stop")]
    Stop {
        #[serde(default)]
        capture: Option<u32>,
    },
    #[serde(rename = "capture.list")]
    List {},
}

impl CaptureAct {
    /// The words of `act`, to tell these acts from others.
    pub const NAMES: [&'static str; 4] =
        ["capture.start", "capture.read", "capture.stop", "capture.list"];

    /// The word of `act`.
    pub fn name(&self) -> &'static str {
        let index = match self {
            CaptureAct::Start { .. } => 0,
            CaptureAct::Read { .. } => 1,
            CaptureAct::Stop { .. } => 2,
            CaptureAct::List {} => 3,
        };
        Self::NAMES[index]
    }

    /// What it needs.
    pub fn right(&self) -> Right {
        if matches!(self, CaptureAct::List {}) { Right::Read } else { Right::Act }
    }

    /// Whether it is written down: what is read belongs to what was begun.
    pub fn is_audited(&self) -> bool {
        matches!(self, CaptureAct::Start { .. } | CaptureAct::Stop { .. })
    }

    /// What it is about, masked, for the audit.
    pub fn target(&self) -> String {
        match self {
            CaptureAct::Start { sdkappid, room, session, reveal, .. } => {
                let of = match (session, room) {
                    (Some(session), _) => session
                        .parse::<SessionId>()
                        .map_or_else(|()| "?".into(), |id| id.to_string()),
                    (None, Some(room)) => format!("{sdkappid}/{}", mask::identity(room)),
                    (None, None) => "?".to_owned(),
                };
                of + if *reveal { " revealed" } else { "" }
            }
            CaptureAct::Stop { capture: Some(capture) } => capture.to_string(),
            CaptureAct::Stop { capture: None } => "all".to_owned(),
            CaptureAct::Read { .. } | CaptureAct::List {} => String::new(),
        }
    }

    /// Does it, for the user `uid`.
    pub async fn carry_out(&self, hub: &Hub, uid: u32) -> Result<Value, Refused> {
        match self {
            CaptureAct::Start { count, seconds, reveal, .. } => {
                if !(1..=CAPTURE_PACKETS_MAX).contains(count)
                    || !(1..=CAPTURE_SECONDS_MAX).contains(seconds)
                {
                    return refused("malformed", "a capture has 1 to 10000 packets, 1 to 3600 s");
                }
                if hub.status() == Status::Down {
                    return refused("unavailable", "there is no data plane to capture at");
                }
                let (count, seconds, reveals) = (*count, *seconds, *reveal);
                let of = self.of(hub)?;
                let label = of.label.clone();
                match hub.capture(Wanted { count, seconds, reveals, uid }, of) {
                    Some(capture) => Ok(json!({ "capture": capture, "room_label": label })),
                    None => refused("limit", "as many captures as may run do: see capture list"),
                }
            }
            CaptureAct::Read { capture } => read(hub, *capture, uid).await,
            CaptureAct::Stop { capture } => match hub.stop_captures(*capture) {
                stopped if stopped.is_empty() => refused("not_found", "no such capture runs"),
                stopped => Ok(json!({ "captures": stopped })),
            },
            CaptureAct::List {} => Ok(hub.captures.answer()),
        }
    }

    /// Whose packets are meant.
    fn of(&self, hub: &Hub) -> Result<Of, Refused> {
        let CaptureAct::Start { sdkappid, room, room_type, session, .. } = self else {
            return refused("malformed", "no capture is begun");
        };
        if let Some(session) = session {
            let id = session_id(session)?;
            let Some(seated) = hub.seated(Some(id), None).pop() else {
                return refused("not_found", format!("no session {id}"));
            };
            let (room, label) = (seated.room, seated.room_label);
            return Ok(Of { app: seated.app.0, room, label, session: Some(id) });
        }
        let Some(name) = room else {
            return refused("malformed", "a capture is of a room or of a session");
        };
        let key = room_key(hub, *sdkappid, name, *room_type)?;
        match hub.room_no(&key) {
            Some(no) => {
                Ok(Of { app: *sdkappid, room: no, label: mask::room(&key.room), session: None })
            }
            None => refused("not_found", "no such room"),
        }
    }
}

/// Waits for something to read, not for long.
async fn read(hub: &Hub, capture: u32, uid: u32) -> Result<Value, Refused> {
    let end = tokio::time::Instant::now() + CAPTURE_WAIT;
    loop {
        let Some(taken) = hub.captures.take(capture, uid) else {
            return refused("not_found", "no such capture of yours");
        };
        if taken.is_over || !taken.heads.is_empty() || tokio::time::Instant::now() >= end {
            return Ok(answer(hub, &taken));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn answer(hub: &Hub, taken: &Taken) -> Value {
    let mut sessions: Vec<SessionId> = taken.heads.iter().map(|head| head.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let named = hub.named(&sessions);
    let shown = |session: &SessionId| -> Value {
        let Some(named) = named.get(session) else { return Value::Null };
        match taken.reveals {
            true => named.user.as_str().into(),
            false => mask::identity(named.user.as_str()).into(),
        }
    };
    let packet = |head: &Head| {
        let bytes: String = head.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let end = |end: proto::Endpoint| json!([end.ip().to_string(), end.port]);
        json!({
            "session": head.session.to_string(), "user": shown(&head.session),
            "sent": head.is_sent, "unix_ns": head.unix_ns, "len": head.len, "head": bytes,
            "local": end(head.path.local), "remote": end(head.path.remote),
        })
    };
    json!({
        "schema": "roomlane.capture.v1",
        "packets": taken.heads.iter().map(packet).collect::<Vec<_>>(),
        "is_over": taken.is_over, "is_cut": taken.is_cut, "skipped": taken.skipped,
    })
}

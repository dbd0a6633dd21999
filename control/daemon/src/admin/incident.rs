//! Acts about incidents.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::peer::Right;
use crate::incidents::Incidents;
use crate::running::Refused;

/// One request line.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", deny_unknown_fields)]
pub enum IncidentAct {
    #[serde(rename = "incident.list")]
    List {},
    #[serde(rename = "incident.show")]
    Show { incident: u64 },
    #[serde(rename = "incident.ack")]
    Ack { incident: u64 },
    #[serde(rename = "incident.note")]
    Note { incident: u64, text: String },
    #[serde(rename = "incident.close")]
    Close {
        incident: u64,
        #[serde(default)]
        text: Option<String>,
    },
}

impl IncidentAct {
    /// The words of `act`, to tell these acts from others.
    pub const NAMES: [&'static str; 5] =
        ["incident.list", "incident.show", "incident.ack", "incident.note", "incident.close"];

    /// The word of `act`.
    pub fn name(&self) -> &'static str {
        let index = match self {
            IncidentAct::List {} => 0,
            IncidentAct::Show { .. } => 1,
            IncidentAct::Ack { .. } => 2,
            IncidentAct::Note { .. } => 3,
            IncidentAct::Close { .. } => 4,
        };
        Self::NAMES[index]
    }

    /// What it needs.
    pub fn right(&self) -> Right {
        match self {
            IncidentAct::List {} | IncidentAct::Show { .. } => Right::Read,
            _ => Right::Act,
        }
    }

    /// What it is about, for the audit; the words of notes are with the incident.
    pub fn target(&self) -> String {
        match self {
            IncidentAct::List {} => String::new(),
            IncidentAct::Show { incident }
            | IncidentAct::Ack { incident }
            | IncidentAct::Note { incident, .. }
            | IncidentAct::Close { incident, .. } => incident.to_string(),
        }
    }

    /// Does it, for the user `uid`, on a thread that may wait for the disk.
    pub async fn carry_out(self, incidents: &Arc<Incidents>, uid: u32) -> Result<Value, Refused> {
        let incidents = Arc::clone(incidents);
        let done = tokio::task::spawn_blocking(move || match self {
            IncidentAct::List {} => Ok(incidents.list()),
            IncidentAct::Show { incident } => incidents.show(incident),
            IncidentAct::Ack { incident } => incidents.ack(incident, uid),
            IncidentAct::Note { incident, text } => incidents.remark(incident, uid, &text),
            IncidentAct::Close { incident, text } => {
                incidents.close(incident, uid, text.as_deref())
            }
        });
        done.await
            .unwrap_or_else(|_| super::refused("failed", "the node failed; the fault is ours"))
    }
}

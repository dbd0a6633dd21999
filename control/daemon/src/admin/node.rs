//! Acts on the node as a whole: its configuration, its apps, whether it takes new sessions.

use std::path::PathBuf;
use std::sync::Arc;

use proto::SdkAppId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::peer::Right;
use crate::link::hub::Hub;
use crate::running::{self, NewApp, QuotaChange, Running};

/// One request line.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", deny_unknown_fields)]
pub enum NodeAct {
    #[serde(rename = "config.show")]
    Show {},
    #[serde(rename = "config.diff")]
    Diff {},
    #[serde(rename = "config.reload")]
    Reload {},
    #[serde(rename = "config.revert")]
    Revert {},
    #[serde(rename = "set")]
    Set { key: String, value: String },
    #[serde(rename = "app.list")]
    Apps {},
    #[serde(rename = "app.add")]
    Add(NewApp),
    #[serde(rename = "app.rotate_secret")]
    Rotate {
        sdkappid: u32,
        #[serde(default)]
        secret_file: Option<PathBuf>,
        #[serde(default)]
        finish: bool,
    },
    #[serde(rename = "app.suspend")]
    Suspend {
        sdkappid: u32,
        #[serde(default)]
        end_rooms: bool,
    },
    #[serde(rename = "app.resume")]
    Resume { sdkappid: u32 },
    #[serde(rename = "app.quota")]
    Quota { sdkappid: u32, quota: QuotaChange },
    #[serde(rename = "drain")]
    Drain {
        #[serde(default)]
        deadline_s: Option<u64>,
    },
    #[serde(rename = "undrain")]
    Undrain {},
    #[serde(rename = "drain.status")]
    Draining {},
}

impl NodeAct {
    /// The words of `act`, to tell these acts from others.
    pub const NAMES: [&'static str; 14] = [
        "config.show",
        "config.diff",
        "config.reload",
        "config.revert",
        "set",
        "app.list",
        "app.add",
        "app.rotate_secret",
        "app.suspend",
        "app.resume",
        "app.quota",
        "drain",
        "undrain",
        "drain.status",
    ];

    /// The word of `act`.
    pub fn name(&self) -> &'static str {
        let index = match self {
            NodeAct::Show {} => 0,
            NodeAct::Diff {} => 1,
            NodeAct::Reload {} => 2,
            NodeAct::Revert {} => 3,
            NodeAct::Set { .. } => 4,
            NodeAct::Apps {} => 5,
            NodeAct::Add(_) => 6,
            NodeAct::Rotate { .. } => 7,
            NodeAct::Suspend { .. } => 8,
            NodeAct::Resume { .. } => 9,
            NodeAct::Quota { .. } => 10,
            NodeAct::Drain { .. } => 11,
            NodeAct::Undrain {} => 12,
            NodeAct::Draining {} => 13,
        };
        Self::NAMES[index]
    }

    /// What it needs.
    pub fn right(&self) -> Right {
        match self {
            NodeAct::Show {} | NodeAct::Diff {} | NodeAct::Apps {} | NodeAct::Draining {} => {
                Right::Read
            }
            _ => Right::Act,
        }
    }

    /// What it is about, for the audit: ids of apps and keys are no personal data.
    pub fn target(&self) -> String {
        match self {
            NodeAct::Set { key, value } => {
                let plain = |c: &char| c.is_ascii_graphic();
                key.chars()
                    .chain(" = ".chars())
                    .chain(value.chars())
                    .filter(plain)
                    .take(80)
                    .collect()
            }
            NodeAct::Add(NewApp { sdkappid, .. })
            | NodeAct::Rotate { sdkappid, .. }
            | NodeAct::Suspend { sdkappid, .. }
            | NodeAct::Resume { sdkappid }
            | NodeAct::Quota { sdkappid, .. } => sdkappid.to_string(),
            NodeAct::Drain { deadline_s } => {
                deadline_s.map_or_else(|| "no deadline".to_owned(), |s| format!("in {s} s"))
            }
            _ => String::new(),
        }
    }

    /// Does it. Reads and writes files on a thread for that.
    pub async fn carry_out(
        self,
        running: &Arc<Running>,
        hub: &Hub,
    ) -> Result<Value, running::Refused> {
        let ended = match &self {
            NodeAct::Suspend { sdkappid, end_rooms: true } => Some(SdkAppId(*sdkappid)),
            _ => None,
        };
        let running = Arc::clone(running);
        let done = tokio::task::spawn_blocking(move || self.done(&running)).await;
        let mut answer = done.unwrap_or_else(|_| {
            let message = "the node failed; the fault is ours".to_owned();
            Err(running::Refused { code: "failed", message, errors: vec![] })
        })?;
        if let Some(app) = ended {
            let closing = hub.end_rooms(Some(app));
            answer["sessions"] = json!(closing.sessions.len());
            answer["confirmed"] = closing.finished().await.into();
        }
        Ok(answer)
    }

    fn done(self, running: &Running) -> Result<Value, running::Refused> {
        match self {
            NodeAct::Show {} => Ok(running.show()),
            NodeAct::Diff {} => running.diff(),
            NodeAct::Reload {} => running.reload(),
            NodeAct::Revert {} => running.revert(),
            NodeAct::Set { key, value } => running.set(&key, &value),
            NodeAct::Apps {} => Ok(running.apps()),
            NodeAct::Add(new) => running.add_app(&new),
            NodeAct::Rotate { sdkappid, secret_file, finish } => {
                running.rotate_secret(sdkappid, secret_file.as_deref(), finish)
            }
            NodeAct::Suspend { sdkappid, .. } => running.suspend(sdkappid, true),
            NodeAct::Resume { sdkappid } => running.suspend(sdkappid, false),
            NodeAct::Quota { sdkappid, quota } => running.set_quota(sdkappid, quota),
            NodeAct::Drain { deadline_s } => running.drain(deadline_s),
            NodeAct::Undrain {} => running.undrain(),
            NodeAct::Draining {} => Ok(running.draining()),
        }
    }
}

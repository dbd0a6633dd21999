//! `roomlane show version`: of this command, of the data plane and of control; they may differ while a node
//! is upgraded. It answers without a node, too.

use std::path::PathBuf;

use proto::region::LAYOUT_VERSION;
use serde_json::{Value, json};
use stats::{Stats, StatsError};

use super::{Shown, about, about_text, look, members};
use crate::act;
use crate::args::ShowArgs;
use crate::table::Table;

pub(super) fn show(dirs: &[PathBuf], args: &ShowArgs) -> Shown {
    let mut rows = vec![part("roomlane", env!("CARGO_PKG_VERSION"), None, layout())];
    rows.push(match Stats::find(dirs) {
        Ok(stats) => {
            let scene = look(&stats, args);
            let about = about(&scene);
            let detail = format!("port {}, {}", about_text(&about, "port"), layout());
            let pid = Some(scene.snapshot.node.pid);
            part("data plane", &about_text(&about, "version"), pid, detail)
        }
        Err(StatsError::NoNode { .. }) => part("data plane", "-", None, "not running".to_owned()),
        Err(error) => part("data plane", "-", None, error.to_string()),
    });
    rows.push(match act::ask(dirs, &json!({ "act": "status" })) {
        Ok(status) => {
            part("control", &super::word(&status["version"]), status["pid"].as_u64(), String::new())
        }
        Err(_) => part("control", "-", None, "does not answer".to_owned()),
    });
    let mut table = Table::new(&["part", "version", ">pid", "detail"]);
    for row in &rows {
        let keys = ["part", "version", "pid", "detail"];
        table.row(keys.iter().map(|key| super::word(&row[key])).collect());
        table.about(row.clone());
    }
    Shown { tables: vec![table], json: members(json!({ "versions": rows })) }
}

fn layout() -> String {
    format!("shared-memory layout {LAYOUT_VERSION}")
}

fn part(part: &str, version: &str, pid: Option<u64>, detail: String) -> Value {
    json!({ "part": part, "version": version, "pid": pid, "detail": detail })
}

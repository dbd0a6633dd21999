//! Apps that come, change and go while the node runs.

use std::collections::HashMap;

use proto::{Command, Quota, SdkAppId, ShardId};

use super::{Directory, Orders, RoomKey};

impl Directory {
    /// These are the apps from now on. Shards learn new ones and changed quotas; of an app that is gone
    /// nobody joins any more, and they may forget it at their next start.
    pub fn set_apps(&mut self, apps: HashMap<SdkAppId, Quota>, orders: &mut Orders) {
        let old = std::mem::replace(&mut self.settings.apps, apps);
        let changed = self.settings.apps.iter().filter(|(app, quota)| old.get(app) != Some(quota));
        for (app, quota) in changed {
            for shard in 0..self.shards.len() {
                let command = Command::SetApp { app: *app, quota: *quota };
                orders.push(ShardId(shard as u8), command);
            }
        }
    }

    /// Rooms and sessions by app, closing ones included.
    pub fn uses(&self) -> HashMap<SdkAppId, (usize, usize)> {
        let mut uses: HashMap<SdkAppId, (usize, usize)> = HashMap::new();
        for key in self.names.keys() {
            uses.entry(key.app).or_default().0 += 1;
        }
        for session in self.sessions.values() {
            uses.entry(session.app).or_default().1 += 1;
        }
        uses
    }

    /// Every room, or every room of an app.
    pub fn rooms_of(&self, app: Option<SdkAppId>) -> Vec<RoomKey> {
        let all = self.names.keys();
        all.filter(|key| app.is_none_or(|app| key.app == app)).cloned().collect()
    }

    /// Whether new sessions are refused.
    pub fn is_draining(&self) -> bool {
        self.draining
    }
}

//! What acts on the node as a whole ask of the hub.

use std::collections::HashMap;

use proto::{Quota, RoomNo, SdkAppId};

use super::{Closing, Hub};
use crate::directory::{Orders, RoomKey};

impl Hub {
    /// These are the apps from now on. Calls of an app that is gone go on until their grants end.
    pub fn set_apps(&self, apps: HashMap<SdkAppId, Quota>) {
        let mut state = self.lock();
        let mut orders = Orders::default();
        state.directory.set_apps(apps, &mut orders);
        self.dispatch(&mut state, orders);
    }

    /// Rooms and sessions by app.
    pub fn uses(&self) -> HashMap<SdkAppId, (usize, usize)> {
        self.lock().directory.uses()
    }

    /// Rooms and their names, or that of one.
    pub fn rooms(&self, only: Option<RoomNo>) -> Vec<(RoomNo, RoomKey)> {
        self.lock().directory.names(only)
    }

    /// The room that has this number.
    pub fn key_of(&self, room: RoomNo) -> Option<RoomKey> {
        self.lock().directory.key_of(room)
    }

    /// Refuses new sessions while on.
    pub fn set_draining(&self, draining: bool) {
        self.lock().directory.set_draining(draining);
    }

    /// Whether new sessions are refused.
    pub fn is_draining(&self) -> bool {
        self.lock().directory.is_draining()
    }

    /// Ends every room, or every room of an app.
    pub fn end_rooms(&self, app: Option<SdkAppId>) -> Closing {
        self.close(|directory, orders| {
            let rooms = directory.rooms_of(app);
            let ended = rooms.iter().filter_map(|key| directory.end_room(key, orders));
            ended.flatten().collect()
        })
    }
}

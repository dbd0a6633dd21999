//! Who waits for what a shard tells of a session.

use std::collections::HashMap;

use proto::{Look, SessionId};
use tokio::sync::oneshot;

/// Questions by session. There are no more than those who may ask: one per connection to the admin socket.
#[derive(Default)]
pub struct Looks(HashMap<SessionId, Asked>);

#[derive(Default)]
struct Asked {
    told: Vec<Look>,
    waiting: Vec<oneshot::Sender<Vec<Look>>>,
}

impl Looks {
    /// One more who waits; the shard is to be asked.
    pub fn wait(&mut self, session: SessionId) -> oneshot::Receiver<Vec<Look>> {
        // Those whose time is over.
        self.0.retain(|_, asked| {
            asked.waiting.retain(|waiting| !waiting.is_closed());
            !asked.waiting.is_empty()
        });
        let (done, wait) = oneshot::channel();
        self.0.entry(session).or_default().waiting.push(done);
        wait
    }

    /// Takes in one part of an answer; the last one goes to all who wait.
    pub fn told(&mut self, session: SessionId, look: Look) {
        match look {
            Look::Done => {
                let Some(asked) = self.0.remove(&session) else { return };
                for waiting in asked.waiting {
                    // The receiver is gone when its time was over just now.
                    let _ = waiting.send(asked.told.clone());
                }
            }
            part => {
                if let Some(asked) = self.0.get_mut(&session) {
                    // A transport begins an answer: what an earlier question left is old.
                    if matches!(part, Look::Transport(_)) {
                        asked.told.clear();
                    }
                    asked.told.push(part);
                }
            }
        }
    }
}

//! Datagrams that wait for their turn: sessions take turns, so that one that sends much delays itself
//! only.

use std::collections::{HashMap, VecDeque};

use proto::SessionId;

use crate::limits::{DTLS_QUEUE_MAX, DTLS_QUEUES_MAX};

/// See the module.
#[derive(Default)]
pub struct Queues {
    waiting: HashMap<SessionId, VecDeque<Vec<u8>>>,
    /// Sessions with datagrams, each once, in the order of their turns.
    turns: VecDeque<SessionId>,
    len: usize,
}

impl Queues {
    /// Appends a datagram; `false` when it was dropped, since too many wait.
    pub fn push(&mut self, session: SessionId, datagram: Vec<u8>) -> bool {
        if self.len >= DTLS_QUEUES_MAX {
            return false;
        }
        let queue = self.waiting.entry(session).or_default();
        if queue.len() >= DTLS_QUEUE_MAX {
            return false;
        }
        if queue.is_empty() {
            self.turns.push_back(session);
        }
        queue.push_back(datagram);
        self.len += 1;
        true
    }

    /// The next datagram, and whose it is.
    pub fn pop(&mut self) -> Option<(SessionId, Vec<u8>)> {
        let session = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&session)?;
        let datagram = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.waiting.remove(&session);
        } else {
            self.turns.push_back(session);
        }
        Some((session, datagram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: SessionId = SessionId(1);
    const QUIET: SessionId = SessionId(2);

    #[test]
    fn a_session_that_sends_much_delays_itself_only() {
        let mut queues = Queues::default();
        let taken = (0..100).filter(|_| queues.push(LOUD, vec![0])).count();
        assert_eq!(taken, DTLS_QUEUE_MAX);
        assert!(queues.push(QUIET, vec![1]) && queues.push(QUIET, vec![2]));
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).collect();
        assert_eq!(order.len(), DTLS_QUEUE_MAX + 2);
        assert_eq!((&order[1], &order[3]), (&(QUIET, vec![1]), &(QUIET, vec![2])));
        assert!(queues.push(LOUD, vec![3]), "what was worked off makes room");
    }

    #[test]
    fn all_together_are_bounded() {
        let mut queues = Queues::default();
        let taken = (0..10 * DTLS_QUEUES_MAX as u64).filter(|n| queues.push(SessionId(*n), vec![]));
        assert_eq!(taken.count(), DTLS_QUEUES_MAX);
        assert!(queues.pop().is_some() && queues.push(LOUD, vec![]) && !queues.push(QUIET, vec![]));
    }
}

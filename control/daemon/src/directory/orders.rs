//! Commands on their way to shards, encoded, so that keys lie in one place that is wiped.

use proto::codec::{self, MESSAGE_MAX};
use proto::{Command, OpenSession, ShardId};
use zeroize::{Zeroize, Zeroizing};

/// Encoded commands in the order in which each shard must get them.
#[derive(Default)]
pub struct Orders(Vec<(ShardId, Zeroizing<Vec<u8>>)>);

impl Orders {
    /// Appends a command; its keys are wiped here.
    pub fn push(&mut self, shard: ShardId, mut command: Command) {
        let bytes = encode(&command);
        if let Command::OpenSession(open) = &mut command {
            wipe(open);
        }
        self.0.push((shard, bytes));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes them all.
    pub fn drain(&mut self) -> impl Iterator<Item = (ShardId, Zeroizing<Vec<u8>>)> + '_ {
        self.0.drain(..)
    }

    /// Takes them all, decoded: for tests and simulations.
    pub fn decode(&mut self) -> Vec<(ShardId, Command)> {
        let decoded = self.0.drain(..).map(|(shard, bytes)| {
            (shard, codec::decode(&bytes).expect("what was encoded here decodes"))
        });
        decoded.collect()
    }
}

/// Wipes a session's keys.
pub fn wipe(open: &mut OpenSession) {
    open.rx_key.bytes.zeroize();
    open.tx_key.bytes.zeroize();
}

fn encode(command: &Command) -> Zeroizing<Vec<u8>> {
    let mut space = Zeroizing::new([0; MESSAGE_MAX]);
    let len = codec::encode(command, &mut space[..]).expect("the largest command fits a message");
    Zeroizing::new(space[..len].to_vec())
}

/// A session as it was ordered, kept to be ordered again from a new data plane.
pub struct Desired(Zeroizing<Vec<u8>>);

impl Desired {
    /// Keeps it.
    pub fn new(open: &OpenSession) -> Self {
        let mut space = Zeroizing::new([0; MESSAGE_MAX]);
        let len = codec::encode(open, &mut space[..]).expect("the largest session fits a message");
        Desired(Zeroizing::new(space[..len].to_vec()))
    }

    /// What was kept.
    pub fn open(&self) -> OpenSession {
        codec::decode(&self.0).expect("what was encoded here decodes")
    }
}

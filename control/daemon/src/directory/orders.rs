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
        match &mut command {
            Command::OpenSession(open) => wipe(open),
            Command::InstallKeys { rx_key, tx_key, .. } => {
                rx_key.bytes.zeroize();
                tx_key.bytes.zeroize();
            }
            Command::RestartIce { ice, .. } => ice.password.zeroize(),
            Command::SetUfragKey { key } => key.0.zeroize(),
            _ => {}
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

/// Wipes a session's keys and its ICE password.
pub fn wipe(open: &mut OpenSession) {
    open.rx_key.bytes.zeroize();
    open.tx_key.bytes.zeroize();
    if let Some(ice) = &mut open.ice {
        ice.password.zeroize();
    }
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

    /// Keeps what `change` makes of it.
    pub fn change(&mut self, change: impl FnOnce(&mut OpenSession)) {
        let mut open = self.open();
        change(&mut open);
        *self = Desired::new(&open);
        wipe(&mut open);
    }

    /// Whether its keys are there already: those of a handshake come later.
    pub fn has_keys(&self) -> bool {
        let mut open = self.open();
        let has_keys = !open.tx_key.bytes.is_empty();
        wipe(&mut open);
        has_keys
    }

    /// What was kept.
    pub fn open(&self) -> OpenSession {
        codec::decode(&self.0).expect("what was encoded here decodes")
    }
}

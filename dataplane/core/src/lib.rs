//! The shard core: a value that turns packets and commands into packets and events.

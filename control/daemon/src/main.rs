//! The control process: directory, signalling, admin socket.

fn main() {}

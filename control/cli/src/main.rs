//! The roomlane command.

fn main() {}

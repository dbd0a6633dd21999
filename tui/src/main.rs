//! The terminal dashboard.

fn main() {}

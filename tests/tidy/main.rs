//! Tidiness: rules of the tree that no compiler holds.

fn main() {}

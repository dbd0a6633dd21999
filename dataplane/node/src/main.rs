//! The data-plane process: workers, pins, rings, regions.

fn main() {}

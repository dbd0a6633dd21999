//! The load generator, the sink and the report.

fn main() {}

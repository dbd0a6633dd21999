//! How the property tests are run: with a fixed seed, so that a run means the same everywhere; with
//! `PROPTEST_CASES` set, that many cases with new seeds.

use proptest::test_runner::{Config, RngSeed};

/// The configuration for `cases` cases.
pub fn config(cases: u32) -> Config {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return Config::default();
    }
    Config { cases, rng_seed: RngSeed::Fixed(0x3711_7714), ..Config::default() }
}

//! The parts that need no node.

use super::*;

#[test]
fn the_hash_names_what_runs_and_no_secret() {
    let a = Config::default();
    let mut b = a.clone();
    assert_eq!(hash_of(&a), hash_of(&b));
    b.token_skew_s += 1;
    assert_ne!(hash_of(&a), hash_of(&b));
}

#[test]
fn problems_of_a_file_keep_their_places() {
    let errors = Config::parse("[port]\nmtu = 9\n[tokens]\nskew_s = 999\n", "n.toml").unwrap_err();
    let refused = Refused::from(errors);
    assert_eq!((refused.code, refused.errors.len()), ("config_invalid", 2));
    assert_eq!(refused.errors[0]["line"], 2);
    assert_eq!(refused.errors[1]["key"], "tokens.skew_s");
}

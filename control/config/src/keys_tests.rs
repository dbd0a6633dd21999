//! The list of keys against the sample, the checks and the model.

use super::*;
use crate::{sample, schema::schema};

/// `section.key` of every line of the sample, whether it is commented out or not.
fn sampled() -> Vec<String> {
    let mut section = String::new();
    let mut found = vec![];
    for line in sample().lines() {
        let plain = line.trim_start_matches('#');
        if let Some(rest) = plain.strip_prefix('[') {
            section = rest.trim_start_matches('[').split(']').next().unwrap().to_owned();
        } else if let Some((name, _)) = plain.split_once(" = ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            found.push(format!("{section}.{name}"));
        }
    }
    found
}

#[test]
fn every_key_of_the_sample_is_listed_in_its_order() {
    let listed: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(listed, sampled());
}

#[test]
fn bounds_and_words_are_those_of_the_checks() {
    let parse = |key: &Key, value: &str| {
        let (section, name) = key.name.split_once('.').unwrap();
        Config::parse(&format!("[{section}]\n{name} = {value}\n"), "t")
    };
    for key in KEYS.iter().filter(|key| !key.name.starts_with("app.")) {
        match key.kind {
            Kind::Number(min, max) => {
                for good in [min, max] {
                    assert!(parse(key, &good.to_string()).is_ok(), "{} = {good}", key.name);
                }
                if min > 0 {
                    assert!(parse(key, &(min - 1).to_string()).is_err(), "{} below", key.name);
                }
                assert!(parse(key, &(max + 1).to_string()).is_err(), "{} above", key.name);
            }
            Kind::Word(words) => {
                for word in words {
                    let errors = parse(key, &format!("{word:?}")).err();
                    let unknown = errors.is_some_and(|e| e.to_string().contains("unknown value"));
                    assert!(!unknown, "{} = {word}", key.name);
                }
                assert!(parse(key, "\"no-such-word\"").is_err(), "{}", key.name);
            }
            _ => {}
        }
    }
}

/// A configuration in which every key differs from the default.
fn other() -> Config {
    let text = "[node]\nname = \"n2\"\nrun_dir = \"/run/other\"\n[port]\ntype = \"uring\"\n\
        addresses = [\"127.0.0.2/8\"]\nadvertise = [\"192.0.2.1\"]\nudp_base = 9000\nmtu = 1400\n\
        [workers]\ncores = [1]\npoll = \"busy\"\n[limits]\nsessions_max = 7\nsource_joins_per_s = 7\n\
        [control]\nlisten = \"127.0.0.1:9\"\ndemo = true\ncors_origins = [\"*\"]\n\
        ice_servers = [{ url = \"stun:h\" }]\nredirect = \"http://127.0.0.1:1/x\"\nlog_level = \"debug\"\n\
        [sdes]\nallow = [\"10.0.0.0/8\"]\n[tokens]\nskew_s = 9\n\
        [[app]]\nsdkappid = 7\nsecret_files = [\"/s\"]\nquota = { rooms = 3 }\nsuspended = true\n";
    Config::parse(text, "t").unwrap()
}

#[test]
fn a_reload_takes_exactly_the_keys_that_it_says_it_takes() {
    let (old, new) = (Config::default(), other());
    let all = changes(&old, &new);
    assert!(all.len() > 20, "{all:?}");
    let next = old.reloaded(&new);
    let left = changes(&next, &new);
    assert!(left.iter().all(|change| change.effect != Effect::Reload), "{left:?}");
    let taken = changes(&old, &next);
    assert!(taken.iter().all(|change| change.effect == Effect::Reload), "{taken:?}");
    assert_eq!(taken.len() + left.len(), all.len());
    assert!(changes(&new, &new).is_empty());
}

#[test]
fn an_app_written_down_is_read_back() {
    let app = other().apps.remove(0);
    let again = Config::parse(&app.to_toml(), "t").unwrap().apps.remove(0);
    assert_eq!(app, again);
}

#[test]
fn the_schema_names_every_key_with_the_words_of_the_sample() {
    let schema = schema();
    for key in KEYS {
        let name = key.name.split_once('.').unwrap().1;
        assert!(schema.contains(&format!("{name:?}: {{ \"description\": \"")), "{}", key.name);
    }
    assert!(!schema.contains("\"description\": \"\""), "a key without a sentence");
    assert!(schema.contains("\"minimum\": 576, \"maximum\": 2000"));
}

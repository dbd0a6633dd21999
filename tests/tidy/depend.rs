//! Who may depend on whom: the table that makes a folder worth being a crate.

use crate::manifest::{Crate, crates};
use crate::rust::{Rust, has_word};
use crate::tree::Tree;

/// A crate, the crates of ours it may be built with, and the external ones; `*` is any.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    external: &'static [&'static str],
}

const ANY: &[&str] = &["*"];

const fn rule(
    name: &'static str,
    ours: &'static [&'static str],
    external: &'static [&'static str],
) -> Rule {
    Rule { name, ours, external }
}

/// External crates of the pure crates are listed one by one: none of them opens a socket, reads a
/// clock or draws a random number for us. (`ring` could; the shard never asks it to.)
const RULES: &[Rule] = &[
    rule("dpdk-sys", &[], ANY),
    rule("dpdk", &["dpdk-sys"], ANY),
    rule("uring", &[], ANY),
    rule("shm", &[], ANY),
    rule("roomlane-aead", &[], ANY),
    rule("roomlane-usdt", &[], &[]),
    rule("roomlane-wire", &[], &[]),
    rule(
        "roomlane-srtp",
        &["roomlane-wire", "roomlane-aead"],
        &[
            "ring",
            "aes-gcm",
            "aes",
            "arrayvec",
            "ctr",
            "hmac",
            "sha1",
            "subtle",
            "thiserror",
            "zeroize",
        ],
    ),
    rule(
        "roomlane-core",
        &["roomlane-wire", "roomlane-srtp", "roomlane-proto", "roomlane-usdt"],
        &["arrayvec", "siphasher", "zeroize"],
    ),
    rule(
        "roomlane-port",
        &["roomlane-wire", "roomlane-core", "roomlane-proto", "dpdk", "uring"],
        ANY,
    ),
    rule(
        "roomlane-node",
        &[
            "roomlane-core",
            "roomlane-srtp",
            "roomlane-port",
            "roomlane-proto",
            "shm",
            "roomlane-config",
            "roomlane-stats",
            "roomlane-usdt",
        ],
        ANY,
    ),
    rule("roomlane-proto", &[], &["bincode", "siphasher", "zerocopy"]),
    rule(
        "roomlane-token",
        &[],
        &["base64", "flate2", "hmac", "sha2", "subtle", "zeroize", "thiserror"],
    ),
    rule("roomlane-dtls", &[], &["openssl", "subtle", "thiserror", "zeroize"]),
    rule("roomlane-config", &[], ANY),
    rule("roomlane-stats", &["roomlane-proto", "shm"], ANY),
    rule(
        "roomlane-daemon",
        &[
            "roomlane-proto",
            "roomlane-token",
            "roomlane-dtls",
            "roomlane-config",
            "roomlane-stats",
            "shm",
            "uring",
        ],
        ANY,
    ),
    rule(
        "roomlane-cli",
        &["roomlane-proto", "roomlane-token", "roomlane-config", "roomlane-stats", "shm"],
        ANY,
    ),
    rule("roomlane-top", &["roomlane-proto", "roomlane-stats", "roomlane-config", "shm"], ANY),
    // What tests and tools join a node with; the core is nothing to it.
    rule(
        "roomlane-peers",
        &["roomlane-proto", "roomlane-dtls", "roomlane-wire", "roomlane-srtp", "roomlane-token"],
        ANY,
    ),
    // Tools and tests may see everything; nothing is built on them.
    rule("roomlane-perf", ANY, ANY),
    rule("roomlane-tests", ANY, ANY),
];

/// External crates that one crate of ours alone may use, its tests and those of the whole excepted.
const RESERVED: &[(&str, &str)] = &[("openssl", "roomlane-dtls"), ("openssl-sys", "")];

/// Crates whose tests must not reach the core either.
const STRANGERS_TO_CORE: &[&str] = &["roomlane-top", "roomlane-cli", "roomlane-daemon"];

/// Complaints about the workspace's manifests.
pub fn workspace(tree: &Tree) -> Vec<String> {
    match crates(tree) {
        Ok(crates) => check(&crates),
        Err(complaint) => vec![complaint],
    }
}

fn check(crates: &[Crate]) -> Vec<String> {
    let mut complaints = vec![];
    let is_ours = |name: &str| crates.iter().any(|known| known.name == name);
    for this in crates {
        let Some(rule) = RULES.iter().find(|rule| rule.name == this.name) else {
            complaints
                .push(format!("{}: crate {} has no rule in depend.rs", this.folder, this.name));
            continue;
        };
        for dependency in &this.dependencies {
            let allowed = if is_ours(dependency) { rule.ours } else { rule.external };
            if allowed != ANY && !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{}: must not depend on {dependency}", this.name));
            }
            let reserved = RESERVED.iter().find(|(external, _)| external == dependency);
            if reserved.is_some_and(|(_, user)| *user != this.name) {
                complaints.push(format!("{}: {dependency} is not for it to use", this.name));
            }
        }
        let core = |name: &String| name == "roomlane-core" || name == "roomlane-port";
        if STRANGERS_TO_CORE.contains(&rule.name) && this.dev_dependencies.iter().any(core) {
            complaints.push(format!("{}: its tests must not know the core", this.name));
        }
    }
    complaints
}

/// Folders of code that gets time, randomness and I/O as arguments only.
const PURE: &[&str] = &[
    "dataplane/core/src/",
    "dataplane/srtp/src/",
    "dataplane/wire/src/",
    "control/proto/src/",
    "control/token/src/",
    "control/dtls/src/",
];

/// The one file that may name `std::io`: the DTLS library reads and writes through its traits.
const MAY_NAME_IO: &str = "control/dtls/src/datagrams.rs";

/// Paths that are the machine's: clocks, sockets, files, threads, processes, randomness.
const MACHINE: &[&str] = &[
    "std::time",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::os",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "SystemTime",
    "SystemRandom",
    "RandomState",
    "getrandom",
    "libc",
    "tokio",
    "rustix",
];

/// What is shared between threads; a shard has none of it.
const SHARED: &[&str] =
    &["Arc", "Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "thread_local"];

/// Complaints about words in the code of pure crates. Tests may use the machine.
pub fn purity(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in tree.with("rs") {
        let code = || Rust::of(file).code_of(false);
        if PURE.iter().any(|folder| file.path.starts_with(folder)) {
            let code = code();
            let is_io = |word: &str| word == "std::io" && file.path == MAY_NAME_IO;
            for word in MACHINE.iter().filter(|word| !is_io(word)) {
                let found =
                    if word.contains("::") { code.contains(word) } else { has_word(&code, word) };
                if found {
                    complaints.push(format!("{}: {word} is the machine's", file.path));
                }
            }
        }
        if file.path.starts_with("dataplane/core/src/") {
            let code = code();
            let atomic = crate::rust::words(&code).find(|word| word.starts_with("Atomic"));
            for word in SHARED.iter().copied().filter(|word| has_word(&code, word)).chain(atomic) {
                complaints.push(format!("{}: {word} does not belong in a shard", file.path));
            }
        }
        if file.path != "control/proto/src/codec.rs"
            && ["bincode::encode", "bincode::decode"].iter().any(|call| code().contains(call))
        {
            complaints.push(format!("{}: calls bincode; proto/src/codec.rs alone may", file.path));
        }
    }
    complaints
}

const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Crates that deny.toml bans, as far as a name tells; cargo-deny is not everywhere.
const BANNED: &[&str] = &["aws-lc-sys", "rkyv", "serde_yaml", "webrtc-dtls"];

/// Complaints about what the lock file holds: other sources than crates.io, banned crates, the wrong
/// `bincode`.
pub fn lock(tree: &Tree) -> Vec<String> {
    let Some(lock) = tree.find("Cargo.lock") else { return vec!["Cargo.lock is missing".into()] };
    let mut complaints = vec![];
    let mut name = "";
    for line in lock.text.lines() {
        let value = |key: &str| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
        if let Some(found) = value("name") {
            name = found;
            if BANNED.contains(&name) {
                complaints.push(format!("Cargo.lock: {name} is banned in deny.toml"));
            }
        }
        if line.starts_with("source = ") && line != REGISTRY {
            complaints.push(format!("Cargo.lock: {name} is not from crates.io"));
        }
        if name == "bincode" && value("version").is_some_and(|version| version != "2.0.1") {
            complaints.push(format!("Cargo.lock: bincode must be 2.0.1: {line}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_sources_and_banned_crates_are_found() {
        let found = |text: &str| lock(&Tree::of(&[("Cargo.lock", text)])).len();
        let crate_of = |name: &str, version: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{source}\n")
        };
        assert_eq!(found(&crate_of("bincode", "2.0.1", REGISTRY)), 0);
        assert_eq!(found(&crate_of("bincode", "3.0.0", REGISTRY)), 1);
        assert_eq!(found(&crate_of("rkyv", "0.8.0", REGISTRY)), 1);
        assert_eq!(found(&crate_of("x", "1.0.0", "source = \"git+https://example.org/x\"")), 1);
    }

    fn named(name: &str, dependencies: &[&str], dev: &[&str]) -> Crate {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Crate {
            folder: name.into(),
            name: name.into(),
            dependencies: own(dependencies),
            dev_dependencies: own(dev),
            roots: vec![],
        }
    }

    #[test]
    fn forbidden_dependencies_are_found() {
        let wire = || named("roomlane-wire", &[], &[]);
        let bad = [
            named("roomlane-core", &["tokio"], &[]),
            named("roomlane-token", &["roomlane-wire"], &[]),
            named("roomlane-top", &["roomlane-core"], &[]),
            named("roomlane-daemon", &[], &["roomlane-core"]),
            named("roomlane-daemon", &["openssl"], &[]),
            named("roomlane-node", &["roomlane-dtls"], &[]),
            named("stranger", &[], &[]),
        ];
        for bad in bad {
            let name = bad.name.clone();
            let core = named("roomlane-core", &[], &[]);
            let dtls = named("roomlane-dtls", &["openssl"], &[]);
            assert_eq!(check(&[wire(), core, dtls, bad]).len(), 1, "{name}");
        }
        let good = named("roomlane-core", &["roomlane-wire", "arrayvec"], &["proptest"]);
        assert_eq!(check(&[wire(), good]), [""; 0]);
    }

    #[test]
    fn the_machine_is_found_in_pure_code_but_not_in_its_tests() {
        let found = |path, text| purity(&Tree::of(&[(path, text)])).len();
        assert_eq!(found("dataplane/core/src/a.rs", "use std::time::Instant;"), 1);
        assert_eq!(found("control/token/src/a.rs", "let s = UdpSocket::bind(a);"), 1);
        assert_eq!(found("dataplane/core/src/a.rs", "use std::sync::atomic::AtomicU64;"), 1);
        assert_eq!(found("dataplane/core/src/a.rs", "x: Arc<Mutex<u8>>"), 2);
        assert_eq!(found("control/daemon/src/a.rs", "bincode::encode_into_slice(m, o, C)"), 1);
        assert_eq!(
            found(
                "dataplane/core/src/a.rs",
                "// Arc, std::fs\n#[cfg(test)]\nmod t {\nlet t = std::time::Instant::now();\n}"
            ),
            0
        );
        assert_eq!(found("dataplane/port/src/a.rs", "use std::time::Instant;"), 0);
        assert_eq!(found(MAY_NAME_IO, "use std::io::Read;"), 0);
        assert_eq!(found(MAY_NAME_IO, "use std::time::Instant;"), 1);
        assert_eq!(found("control/dtls/src/a.rs", "use std::io::Read;"), 1);
    }
}

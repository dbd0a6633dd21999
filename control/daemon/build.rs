//! Tells the crate which commit it is built from: `ROOMLANE_COMMIT`, empty outside of a repository.

use std::process::Command;

fn main() {
    let git = |words: &[&str]| {
        let out =
            Command::new("git").args(words).output().ok().filter(|out| out.status.success())?;
        Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
    };
    let commit = std::env::var("ROOMLANE_COMMIT").ok();
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])).unwrap_or_default();
    println!("cargo:rustc-env=ROOMLANE_COMMIT={commit}");
    println!("cargo:rerun-if-env-changed=ROOMLANE_COMMIT");
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    } else {
        println!("cargo:rerun-if-changed=build.rs");
    }
}

//! Core dumps: there are none of the node's processes, where any other process leaves one.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use roomlane_tests::netns::{Lab, skip};
use roomlane_tests::node::{Node, NodeConfig};

use crate::tools::until;

/// Files in `folder` that a kernel may have dumped a process to.
fn dumps(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let is_dump = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    };
    paths.filter(is_dump).collect()
}

/// Whether a process that ends by SIGABRT in `folder` leaves a dump there; the dump is removed.
fn others_dump(folder: &Path) -> bool {
    let ended = Command::new("sh").args(["-c", "kill -ABRT $$"]).current_dir(folder).status();
    assert!(!ended.expect("there is a shell").success());
    let left = dumps(folder);
    left.iter().for_each(|path| std::fs::remove_file(path).expect("it is ours"));
    !left.is_empty()
}

#[test]
fn neither_process_of_a_node_leaves_a_core_dump() {
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    // Whatever starts now may dump as much as it likes.
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).expect("the limit is told");
    setrlimit(Resource::RLIMIT_CORE, hard, hard).expect("as high as it may be");
    let Some(node) = Node::start(&lab.node, &NodeConfig::port("udp")) else { return };
    let node = node.unwrap_or_else(|why| panic!("{why}"));
    if !others_dump(&node.dir) {
        return skip("this host lets no process leave a core dump in its folder (core_pattern)");
    }
    for name in ["roomlane-control", "roomlane-dataplane"] {
        let pid = node.pid(name).expect("it runs");
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("root may look");
        let before = dumps(&folder);
        node.signal(name, Signal::SIGABRT);
        until("it is started again", || node.pid(name).is_some_and(|now| now != pid));
        assert_eq!(dumps(&folder), before, "{name} left its memory on the disk");
    }
}

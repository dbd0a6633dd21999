//! The program itself: its start and end, the handshake, media over loopback, `kill -9` and what the next
//! one takes over.

mod support;

use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use object::{Object, ObjectSection};
use proto::region::ledger;
use proto::{Command, Event};
use shm::fdpass::PassError;
use stats::Stats;
use support::control::{Control, PATIENCE};
use support::process::{DataPlane, Folder, free_ports, program};
use support::room::Room;

fn udp_config(folder: &Folder, udp_base: u16, rest: &str) -> std::path::PathBuf {
    folder.config(&format!(
        "[port]\ntype = \"udp\"\nudp_base = {udp_base}\nmempool_buffers = 2048\n\
         [limits]\nsessions_max = 64\nrooms_max = 16\n{rest}"
    ))
}

#[test]
fn the_data_plane_has_every_probe() {
    let bytes = std::fs::read(program().get_program()).expect("the program");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let notes = file.section_by_name(".note.stapsdt").expect("notes of probes");
    let notes = notes.data().expect("their bytes");
    for name in usdt::NAMES {
        let named = format!("\0roomlane\0{name}\0");
        let has = notes.windows(named.len()).any(|bytes| bytes == named.as_bytes());
        assert!(has, "no probe {name}");
    }
}

#[test]
fn media_flows_through_the_process_and_consoles_see_it() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let node = DataPlane::start(&udp_config(&folder, base, ""));
    assert_eq!(node.ready["udp_base"], base);
    assert_eq!(node.ready["pid"], node.pid());
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    assert!(!control.welcome.resync && !control.welcome.adopted);
    assert_eq!(control.descriptors, 4);
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    room.play(100);

    let stats = Stats::connect(&folder.run_dir()).expect("a console");
    let end = Instant::now() + PATIENCE;
    let snapshot = loop {
        let snapshot = stats.snapshot();
        let rows = (snapshot.rooms.len(), snapshot.sessions.len());
        let seen = snapshot.totals().forwarded >= 100 && rows == (1, 2);
        if seen || Instant::now() > end {
            break snapshot;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let totals = snapshot.totals();
    assert_eq!((totals.forwarded, totals.rx_packets, totals.dropped()), (100, 100, 0));
    assert!(totals.balances());
    assert_eq!((snapshot.rooms.len(), snapshot.sessions.len()), (1, 2));
    assert!(snapshot.age_ns() < 5_000_000_000, "the heart beats");
    assert_eq!(snapshot.node.pid, u64::from(node.pid()));
    let about: serde_json::Value = serde_json::from_str(&snapshot.node.about).expect("JSON");
    assert_eq!((&about["port"], &about["udp_base"]), (&"udp".into(), &base.into()));
    assert!(!snapshot.node.about.contains("127.0.0.1"), "addresses are masked");
    assert!(node.stop().success());
    assert!(!folder.run_dir().join("dataplane.sock").exists(), "sockets are removed");
    assert!(!folder.run_dir().join("stats.sock").exists());
}

#[test]
fn an_io_uring_port_carries_media() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let config = folder
        .config(&format!("[port]\ntype = \"uring\"\nudp_base = {base}\nmempool_buffers = 4096\n"));
    let node = DataPlane::start(&config);
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    room.play(100);
    assert!(node.stop().success());
}

#[test]
fn a_killed_data_plane_leaves_a_ledger_and_the_next_repeats_no_index() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let config = udp_config(&folder, base, "");
    let node = DataPlane::start(&config);
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    room.play(200);
    let ceiling = control.ledger_word(0, 1, ledger::EGRESS);
    assert!(ceiling > *room.seen.last().expect("heard"), "everything sent was claimed");
    let (instance, old) = (control.welcome.instance, control.region_fd.try_clone().expect("dup"));
    node.kill();
    control.await_end();
    drop(control);

    // The socket files of the dead one are still there.
    assert!(folder.run_dir().join("dataplane.sock").exists());
    let node = DataPlane::start(&config);
    let mut control = Control::connect(&folder.run_dir(), Some(&old)).expect("greeted");
    assert!(control.welcome.adopted && !control.welcome.resync);
    assert_ne!(control.welcome.instance, instance);
    assert_eq!(control.ledger_word(0, 1, ledger::EGRESS), ceiling, "taken over before the answer");
    let last = *room.seen.last().expect("heard");
    room.open(&mut control);
    room.play(100);
    let first_new = *room.seen.range(last + 1..).next().expect("heard again");
    assert!(first_new >= ceiling, "{first_new} lies below the ceiling {ceiling}");
    assert!(first_new - last < 1 << 15, "receivers keep their ROC");
    assert!(node.stop().success());
}

#[test]
fn without_its_control_plane_media_goes_on_and_the_next_one_resyncs() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let node = DataPlane::start(&udp_config(&folder, base, ""));
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    room.play(10);
    let second = Control::connect(&folder.run_dir(), None);
    assert!(matches!(second, Err(PassError::Closed)), "one at a time");
    drop(control);
    room.play(10);
    let end = Instant::now() + PATIENCE;
    let mut control = loop {
        match Control::connect(&folder.run_dir(), None) {
            Ok(control) => break control,
            Err(error) if Instant::now() > end => panic!("{error}"),
            Err(_) => {}
        }
    };
    assert!(control.welcome.resync);
    control.tell(0, &Command::Resync);
    let told = control.await_event(0, |event| match event {
        Event::ResyncDone { sessions } => Some(*sessions),
        _ => None,
    });
    assert_eq!(told, 2);
    room.play(10);
    assert!(node.stop().success());
}

#[test]
fn a_control_plane_that_spoils_its_ring_is_let_go_and_the_next_one_finds_it_mended() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let node = DataPlane::start(&udp_config(&folder, base, ""));
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    control.spoil(0);
    control.await_end();
    room.play(10);
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted again");
    control.tell(0, &Command::Resync);
    let done = |event: &Event| matches!(event, Event::ResyncDone { sessions: 2 }).then_some(());
    control.await_event(0, done);
    assert!(node.stop().success());
}

#[test]
fn another_layout_version_is_told_ours_and_nothing_else() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let node = DataPlane::start(&udp_config(&folder, base, ""));
    let other = proto::region::LAYOUT_VERSION + 1;
    let refused = Control::connect_as(&folder.run_dir(), other, None);
    assert!(matches!(refused, Err(PassError::Closed)), "no descriptors");
    Control::connect(&folder.run_dir(), None).expect("our version is greeted");
    assert!(node.stop().success());
}

#[test]
fn a_second_node_in_the_folder_is_refused_and_names_the_first() {
    let (folder, base) = (Folder::new(), free_ports(2));
    let config = udp_config(&folder, base, "");
    let node = DataPlane::start(&config);
    let second = program().arg("--config").arg(&config).output().expect("run");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains(&format!("in use by process {}", node.pid())), "{text}");
    Control::connect(&folder.run_dir(), None).expect("the first is unharmed");
    assert!(node.stop().success());
}

#[test]
fn a_file_in_the_socket_s_place_is_not_touched() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let config = udp_config(&folder, base, "");
    std::fs::create_dir_all(folder.run_dir()).expect("made");
    let path = folder.run_dir().join("dataplane.sock");
    std::fs::write(&path, "mine").expect("written");
    let refused = program().arg("--config").arg(&config).output().expect("run");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "mine");
}

#[test]
fn a_stale_socket_is_replaced() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let config = udp_config(&folder, base, "");
    std::fs::create_dir_all(folder.run_dir()).expect("made");
    // A stream socket whose listener is gone: what another program's crash leaves.
    drop(UnixListener::bind(folder.run_dir().join("stats.sock")).expect("bound"));
    let node = DataPlane::start(&config);
    Stats::connect(&folder.run_dir()).expect("served");
    assert!(node.stop().success());
}

#[test]
fn bad_configurations_exit_3_and_bad_cores_say_which() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let run = |config: &std::path::Path| {
        let output = program().arg("--config").arg(config).output().expect("run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&folder.config("[port]\ntyp = \"udp\"\n"));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("node.toml:4:") && text.contains("typ"), "{text}");
    let (code, text) = run(&folder.path().join("absent.toml"));
    assert_eq!(code, Some(3), "{text}");
    let absent = udp_config(&folder, base, "[workers]\ncores = [900]\n");
    let (code, text) = run(&absent);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("worker 0 is to run on core 900"), "{text}");
    let foreign = folder.config("[port]\naddresses = [\"192.0.2.7/24\"]\n");
    let (code, text) = run(&foreign);
    assert_eq!(code, Some(1), "an address that is not ours: {text}");
    assert!(!folder.run_dir().join("dataplane.sock").exists(), "nothing is left behind");
}

#[test]
fn a_pinned_worker_runs_where_the_ready_line_says() {
    let (folder, base) = (Folder::new(), free_ports(1));
    let core = shm::affinity::cores().expect("cores").pop().expect("one at least");
    let rest = format!("[workers]\ncores = [{core}]\n");
    let node = DataPlane::start(&udp_config(&folder, base, &rest));
    assert_eq!(node.ready["workers"][0]["core"], core);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).expect("tasks");
    let status = tasks
        .map(|task| std::fs::read_to_string(task.expect("task").path().join("status")))
        .map(|status| status.expect("status"))
        .find(|status| status.starts_with("Name:\tworker0\n"))
        .expect("a thread of that name");
    assert!(status.contains(&format!("Cpus_allowed_list:\t{core}\n")), "{status}");
    assert!(node.stop().success());
}

#[test]
fn version_and_layout_are_printed_without_a_node() {
    let version = program().arg("--version").output().expect("run");
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(text.starts_with("roomlane-dataplane ") && text.contains("udp"), "{text}");
    let folder = Folder::new();
    let config = folder.config("");
    let layout = program().args(["--print-layout", "--config"]).arg(&config).output().expect("run");
    assert!(layout.status.success());
    assert!(String::from_utf8_lossy(&layout.stdout).contains("ledgers"));
    assert!(!folder.run_dir().exists(), "nothing was started");
}

/// Root alone can give its rights up.
#[test]
fn root_becomes_the_configured_user_on_every_thread() {
    if !node::privileges::is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let (folder, base) = (Folder::new(), free_ports(1));
    let config = udp_config(&folder, base, "[workers]\nuser = \"nobody\"\n");
    let nobody = node::privileges::Identity::of("nobody", None).expect("every Debian has it");
    let node = DataPlane::start_with(&config, Stdio::piped());
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).expect("tasks");
    let mut threads = 0;
    for task in tasks {
        let path = task.expect("task").path().join("status");
        let status = std::fs::read_to_string(path).expect("status");
        let uid = nobody.uid;
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
        assert!(status.contains("CapPrm:\t0000000000000000\n"), "{status}");
        threads += 1;
    }
    assert!(threads >= 4, "main, signals, worker, link: {threads}");
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::on_loopback(base);
    room.open(&mut control);
    room.play(20);
    node.signal(rustix::process::Signal::TERM);
    let errors = node.errors();
    assert!(errors.contains("\"cap_eff\":\"0000000000000000\""), "it is logged: {errors}");
    assert!(!folder.run_dir().join("dataplane.sock").exists(), "the user may remove the socket");
}

//! Every library publishes to every other through one node, and to peers with SDES keys as well.

use std::path::Path;
use std::time::{Duration, Instant};

use roomlane_tests::netns::{Lab, PEER_IP, run, skip};
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::Tokens;
use serde_json::Value;

use crate::media::{Clip, cb, hz};
use crate::members::{Members, Program, Role, client};
use crate::python::python;
use crate::str0m_members::Str0m;
use crate::tools::{self, Peer, video};
use crate::up;

/// How long media may take to reach everybody, on a host that does other things too.
const SOON: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pictures that every viewer decodes, how many of them move, and seconds of sound.
const ENOUGH: (u64, u64, f64) = (45, 30, 2.0);
/// The room of the publisher that is a GStreamer pipeline with SDES keys.
const SDES_ROOM: &str = "of-gst";

/// What the node and a library settle on.
const GCM: &str = "AEAD_AES_128_GCM";
const CM: &str = "AES_CM_128_HMAC_SHA1_80";

/// A library and its members.
struct Party<'a> {
    name: &'static str,
    members: Box<dyn Members + 'a>,
    /// The suite of its sessions.
    profile: &'static str,
    /// Whether its publisher has pictures.
    pictures: bool,
}

/// All that this host has; what it has not is said loudly.
fn parties<'a>(lab: &'a Lab, node: &Node) -> Vec<Party<'a>> {
    let mut all: Vec<Party> = vec![];
    let mut add = |name, members: Box<dyn Members + 'a>, profile, pictures| {
        all.push(Party { name, members, profile, pictures });
    };
    let program = |words: &[&str]| Box::new(Program::start(&lab.peers, words, &node.dir));
    let path = |name| client(name).to_string_lossy().into_owned();
    if let Some(python) = python() {
        let python = python.to_string_lossy();
        add("aiortc", program(&[&python, &path("aiortc_client.py")]), GCM, true);
        add("libsrtp", program(&[&python, &path("libsrtp_client.py"), PEER_IP]), GCM, false);
    }
    match has_wrtc() {
        Ok(()) => add("wrtc", program(&["node", &path("wrtc_client.mjs")]), CM, true),
        Err(why) => skip(&format!("no libwebrtc: {why}")),
    }
    match has_webrtcbin() {
        // Its DTLS knows no other suite.
        Ok(python) => add("webrtcbin", program(&[python, &path("gst_client.py")]), CM, true),
        Err(why) => skip(&format!("no webrtcbin: {why}")),
    }
    add("str0m", Box::new(Str0m::new(&lab.peers)), GCM, true);
    all
}

fn has_wrtc() -> Result<(), String> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/@roamhq/wrtc");
    run(&["node", "--version"])?;
    match packages.exists() {
        true => Ok(()),
        false => Err(format!("no {}; scripts/install test", packages.display())),
    }
}

/// The interpreter that Debian's bindings are made for.
fn has_webrtcbin() -> Result<&'static str, String> {
    const PYTHON: &str = "/usr/bin/python3";
    const IMPORT: &str = "import gi; gi.require_version('GstWebRTC', '1.0')";
    run(&[PYTHON, "-c", IMPORT])?;
    for part in ["webrtcbin", "nicesrc", "vp8enc", "opusenc"] {
        run(&["gst-inspect-1.0", part])?;
    }
    Ok(PYTHON)
}

/// Joins a member of `party`; its resource.
fn join(node: &Node, party: &mut Party, name: &str, role: Role, room: &str, clip: &Clip) -> String {
    let offer = party.members.join(name, role, clip);
    let (api, path) = (node.api(), format!("/{}/{APP}/{room}", role.verb()));
    let answer = api.request("POST", &path, &api.bearer(&Tokens::new(room, name)), &offer);
    assert_eq!(answer.status, 201, "{name}: {}\n{offer}\n{}", answer.body, node.log());
    party.members.answer(name, &answer.body);
    answer.location
}

/// Who publishes in a room.
struct Room {
    name: String,
    /// `None`: a test picture without a mark.
    mark: Option<u8>,
    pictures: bool,
}

/// What `told` still lacks of all that a viewer of `room` should have.
fn missing(name: &str, told: &Value, room: &Room) -> Option<String> {
    let number = |key: &str| told[key].as_f64().unwrap_or_default();
    assert_eq!(number("lost"), 0.0, "{name}: {told}");
    assert_ne!(told["state"], "failed", "{name}: {told}");
    let heard = number("seconds") >= ENOUGH.2;
    let seen = !room.pictures || number("frames") as u64 >= ENOUGH.0;
    // Tones are measured over half a second, in which one may begin.
    let is = |key: &str, wanted: Option<f64>, within: f64| match (told[key].as_f64(), wanted) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= within,
        _ => true,
    };
    let tone = is("hz", room.mark.map(|mark| f64::from(hz(mark))), 20.0);
    let colour = is("cb", room.mark.map(|mark| f64::from(cb(mark))), 6.0);
    let still = room.mark.is_some()
        && told["moved"].is_u64()
        && seen
        && room.pictures
        && (number("moved") as u64) < ENOUGH.1;
    let all = heard && seen && tone && colour && !still;
    (!all).then(|| format!("{name}: {told}"))
}

/// Waits until every viewer has enough.
fn watch(node: &Node, parties: &mut [Party], rooms: &[Room]) {
    let started = Instant::now();
    loop {
        let mut lacks = vec![];
        for party in parties.iter_mut() {
            let told = party.members.look();
            let refused = told["refused"].as_u64().unwrap_or_default();
            assert_eq!(refused, 0, "{} could not open: {told}", party.name);
            for room in rooms {
                let name = viewer(party.name, &room.name);
                lacks.extend(missing(&name, &told["members"][&name], room));
            }
        }
        if lacks.is_empty() {
            return println!("everybody sees and hears everybody after {:?}", started.elapsed());
        }
        let all = || format!("{}\n{}\n{}", lacks.join("\n"), node.all_drops(), node.log());
        assert!(started.elapsed() < SOON, "not within {SOON:?}:\n{}", all());
        std::thread::sleep(LOOK);
    }
}

fn viewer(party: &str, room: &str) -> String {
    format!("{party}-{room}")
}

/// What the node says of the sessions while all are there, and of what it dropped.
fn check(node: &Node, parties: &[Party], rooms: &[Room]) {
    let shown = node.show("session");
    let sessions = shown["sessions"].as_array().expect("a list");
    for session in sessions {
        assert_eq!(session["auth_failures"], 0, "{session}");
    }
    let members = |profile| parties.iter().filter(|party| party.profile == profile).count();
    let settled = |profile| sessions.iter().filter(|session| session["profile"] == profile).count();
    assert_eq!(settled(CM), members(CM) * (rooms.len() + 1), "{sessions:#?}");
    assert!(settled(GCM) >= members(GCM) * (rooms.len() + 1), "{sessions:#?}");
    // Multicasts and ICMP of the peers' kernel; libwebrtc's checks from ::1 over the cable; a peer whose
    // link address is not known yet; viewers not connected yet, or without a whole picture so far.
    const EXPLAINED: [&str; 6] =
        ["not_ours", "bad_ip", "no_neighbour", "no_path", "no_keys", "awaiting_keyframe"];
    let shown = node.show("drops");
    let dropped = shown["drops"].as_array().expect("a list").iter().filter(|row| {
        ["received", "outgoing", "port"].iter().any(|key| row[key].as_u64() > Some(0))
    });
    let strange: Vec<_> =
        dropped.filter(|row| !EXPLAINED.iter().any(|known| row["reason"] == *known)).collect();
    assert!(strange.is_empty(), "dropped without need: {strange:#?}");
}

#[test]
fn every_library_sees_and_hears_every_other() {
    // All of them come at once, and from one address.
    let more = "[limits]\nsource_joins_per_s = 200\n".to_owned();
    let config = NodeConfig { more, ..NodeConfig::port("net_af_packet0,iface=media0") };
    let Some((lab, node)) = up(&config) else { return };
    let mut parties = parties(&lab, &node);
    let (mut rooms, mut locations) = (vec![], vec![]);
    for (mark, party) in (0..).zip(&mut parties) {
        let clip = match Clip::new(mark) {
            Ok(clip) => clip,
            Err(why) => return skip(&why),
        };
        let room =
            Room { name: format!("of-{}", party.name), mark: Some(mark), pictures: party.pictures };
        locations.push(join(&node, party, party.name, Role::Publish, &room.name, &clip));
        rooms.push(room);
    }
    let sdes = tools::has_tools().then(|| Peer::start(&lab, &node, "publish", "gst", SDES_ROOM));
    if sdes.is_some() {
        rooms.push(Room { name: SDES_ROOM.to_owned(), mark: None, pictures: true });
    }
    for party in &mut parties {
        for room in &rooms {
            let name = viewer(party.name, &room.name);
            locations.push(join(&node, party, &name, Role::View, &room.name, &Clip::default()));
        }
    }
    let lit = rooms.iter().filter(|room| room.pictures && room.mark.is_some());
    let pipelines = lit.filter_map(|room| {
        sdes.as_ref().and_then(|_| Peer::start(&lab, &node, "view", "gst", &room.name))
    });
    let pipelines: Vec<_> = pipelines.collect();
    watch(&node, &mut parties, &rooms);
    for mut pipeline in pipelines {
        let line = pipeline.until(&node, |line| {
            video(line)["frames"].as_u64() >= Some(tools::FRAMES)
                && line["decoded_frames"].as_u64() >= Some(tools::DECODED)
        });
        assert_eq!(line["lost"], 0, "{line}\n{}", node.all_drops());
        assert!(pipeline.leave().success());
    }
    check(&node, &parties, &rooms);
    for location in locations {
        assert_eq!(
            node.api().request("DELETE", &location, "Bearer x", "").status,
            200,
            "{location}"
        );
    }
}

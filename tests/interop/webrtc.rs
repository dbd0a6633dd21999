//! Every library publishes to every other through one node, and to peers with SDES keys as well, in
//! rooms of their own and all in one.

use std::collections::BTreeMap;
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
const SOON: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pictures that every viewer decodes, how many of them move, and seconds of sound.
const ENOUGH: (u64, u64, f64) = (45, 30, 2.0);
/// Pictures and seconds of sound that come after everybody has enough.
const MORE: (u64, f64) = (15, 1.0);
/// Frames that the port may drop until a peer has told its link address, for each of its addresses.
const UNTIL_NEIGHBOUR: u64 = 100;
/// Packets that may not open while members join, in all: GStreamer seals under a random key until its
/// DTLS has told it the right one.
const UNTIL_KEYED: u64 = 100;

/// What the node and a library settle on.
const GCM: &str = "AEAD_AES_128_GCM";
const CM: &str = "AES_CM_128_HMAC_SHA1_80";

/// A library and its members.
struct Party<'a> {
    name: &'static str,
    members: Box<dyn Members + 'a>,
    /// The suite of its sessions.
    profile: &'static str,
    /// SDES keys and a session for each section, instead of ICE, DTLS and BUNDLE.
    plain: bool,
}

/// What one publisher publishes.
struct Source {
    room: String,
    /// Viewers want this publisher alone; `None`: the room has no other.
    user: Option<&'static str>,
    /// `None`: a test picture and tone of a pipeline's own.
    mark: Option<u8>,
    pictures: bool,
    /// Whether its packets of sound are those of its clip.
    verbatim: bool,
}

/// Who looks at what: indices of the party and of the source, and the member's name.
struct View {
    party: usize,
    source: usize,
    name: String,
}

/// A node, the parties, and who has joined.
struct Meeting<'a> {
    lab: &'a Lab,
    node: &'a Node,
    parties: Vec<Party<'a>>,
    clips: Vec<Clip>,
    sources: Vec<Source>,
    views: Vec<View>,
    locations: Vec<String>,
}

/// libsrtp with SDES keys of one suite.
fn libsrtp<'a>(
    name: &'static str,
    profile: &'static str,
    lab: &Lab,
    node: &Node,
) -> Option<Party<'a>> {
    let python = python()?.to_string_lossy();
    let script = client("libsrtp_client.py").to_string_lossy().into_owned();
    let words = [&*python, &script, PEER_IP, profile];
    let members = Box::new(Program::start(&lab.peers, name, &words, &node.dir));
    Some(Party { name, members, profile, plain: true })
}

fn aiortc<'a>(lab: &Lab, node: &Node) -> Option<Party<'a>> {
    let (name, python) = ("aiortc", python()?.to_string_lossy());
    let script = client("aiortc_client.py").to_string_lossy().into_owned();
    let members = Box::new(Program::start(&lab.peers, name, &[&*python, &script], &node.dir));
    Some(Party { name, members, profile: GCM, plain: false })
}

/// libwebrtc, which is what is inside Chromium.
fn wrtc<'a>(lab: &Lab, node: &Node) -> Option<Party<'a>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/@roamhq/wrtc");
    let has_it = run(&["node", "--version"]).and_then(|_| match package.exists() {
        true => Ok(()),
        false => Err("it is not in tests/browser/node_modules; scripts/install test".to_owned()),
    });
    has_it.map_err(|why| skip(&format!("no libwebrtc: {why}"))).ok()?;
    let (name, script) = ("wrtc", client("wrtc_client.mjs").to_string_lossy().into_owned());
    let members = Box::new(Program::start(&lab.peers, name, &["node", &script], &node.dir));
    Some(Party { name, members, profile: CM, plain: false })
}

fn webrtcbin<'a>(lab: &Lab, node: &Node) -> Option<Party<'a>> {
    // The interpreter that Debian's bindings are made for.
    const PYTHON: &str = "/usr/bin/python3";
    const IMPORT: &str = "import gi; gi.require_version('GstWebRTC', '1.0')";
    let imported = run(&[PYTHON, "-c", IMPORT]);
    let parts = ["webrtcbin", "nicesrc", "vp8enc", "opusenc"];
    let has_it = imported
        .and_then(|_| parts.iter().try_for_each(|part| run(&["gst-inspect-1.0", part]).map(drop)));
    has_it.map_err(|why| skip(&format!("no webrtcbin: {why}"))).ok()?;
    let (name, script) = ("webrtcbin", client("gst_client.py").to_string_lossy().into_owned());
    let members = Box::new(Program::start(&lab.peers, name, &[PYTHON, &script], &node.dir));
    // Its DTLS knows no other suite.
    Some(Party { name, members, profile: CM, plain: false })
}

/// str0m; it knows the sound of `clips` when it hears it.
fn str0m<'a>(lab: &'a Lab, clips: &[Clip]) -> Party<'a> {
    let mut members = Str0m::new(&lab.peers);
    members.known = clips.to_vec();
    Party { name: "str0m", members: Box::new(members), profile: GCM, plain: false }
}

impl<'a> Meeting<'a> {
    fn new(lab: &'a Lab, node: &'a Node, parties: Vec<Party<'a>>, clips: Vec<Clip>) -> Meeting<'a> {
        let (sources, views, locations) = (vec![], vec![], vec![]);
        Meeting { lab, node, parties, clips, sources, views, locations }
    }

    /// Joins a member of a party as `user`.
    fn join(&mut self, party: usize, name: &str, user: &str, role: Role, source: usize) {
        let (party, source) = (&mut self.parties[party], &self.sources[source]);
        let none = Clip::default();
        let clip = match (role, source.mark) {
            (Role::Publish, Some(mark)) => &self.clips[usize::from(mark)],
            _ => &none,
        };
        let offer = party.members.join(name, role, clip);
        let mut path = format!("/{}/{APP}/{}", role.verb(), source.room);
        if let (Role::View, Some(user)) = (role, source.user) {
            path += &format!("?publisher={user}");
        }
        let api = self.node.api();
        let answer =
            api.request("POST", &path, &api.bearer(&Tokens::new(&source.room, user)), &offer);
        let body = &answer.body;
        assert_eq!(answer.status, 201, "{name}: {body}\n{offer}\n{}", self.node.log());
        // Each is answered in its own way of keying, and in no other.
        let keyed = (body.contains("\r\na=crypto:"), body.contains("\r\na=fingerprint:"));
        assert_eq!(keyed, (party.plain, !party.plain), "{name}: {body}");
        party.members.answer(name, body);
        self.locations.push(answer.location);
    }

    /// Joins a publisher of every party: in its own room, or all of them in `room`.
    fn publish(&mut self, room: Option<&str>) {
        for at in 0..self.parties.len() {
            let Party { name, plain, .. } = self.parties[at];
            let verbatim = plain || name == "str0m";
            let user = room.map(|_| name);
            let room = room.map_or_else(|| format!("of-{name}"), str::to_owned);
            let mark = Some(at as u8);
            self.sources.push(Source { room, user, mark, pictures: !plain, verbatim });
            self.join(at, name, name, Role::Publish, self.sources.len() - 1);
        }
    }

    /// Joins a viewer of each party for each source; whoever is in one room with others sees the others.
    fn view(&mut self) {
        for party in 0..self.parties.len() {
            for source in 0..self.sources.len() {
                let mine = self.parties[party].name;
                let Source { user, ref room, .. } = self.sources[source];
                if user == Some(mine) {
                    continue;
                }
                let name = format!("{mine}-{room}-{source}");
                // In one room a member is one user, whatever it does there.
                let as_user = if user.is_some() { mine } else { &name };
                self.join(party, &name, as_user, Role::View, source);
                self.views.push(View { party, source, name });
            }
        }
    }

    /// A publishing pipeline with SDES keys.
    fn publish_pipeline(&mut self, room: &str, user: Option<&'static str>) -> Option<Peer> {
        let peer = Peer::start((self.lab, self.node), "publish", "gst", room, &[])?;
        let (room, mark) = (room.to_owned(), None);
        self.sources.push(Source { room, user, mark, pictures: true, verbatim: false });
        Some(peer)
    }

    /// Waits until every viewer has enough, and [`MORE`] than `before`; what each has then.
    fn watch(&mut self, before: &BTreeMap<String, (u64, f64)>) -> BTreeMap<String, (u64, f64)> {
        let started = Instant::now();
        loop {
            let (mut lacks, mut have) = (vec![], BTreeMap::new());
            let overrun = self.overrun();
            for (at, party) in self.parties.iter_mut().enumerate() {
                let all = party.members.look();
                opened_all(party.name, &all);
                for View { source, name, .. } in self.views.iter().filter(|view| view.party == at) {
                    let (told, source) = (&all["members"][name], &self.sources[*source]);
                    let before = before.get(name).copied();
                    lost_nothing(name, told, overrun);
                    lacks.extend(missing(party, name, told, source, before));
                    have.insert(name.clone(), amount(told));
                }
            }
            if lacks.is_empty() {
                println!("everybody sees and hears everybody after {:?}", started.elapsed());
                return have;
            }
            let all = || format!("{lacks:#?}\n{}\n{}", self.node.all_drops(), self.node.log());
            assert!(started.elapsed() < SOON, "not within {SOON:?}:\n{}", all());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for all there is to see: viewers, then `pipelines`, then more for all. What is dropped
    /// meanwhile must have its reason. The sessions by suite, while everybody is there.
    fn see(&mut self, mut pipelines: Vec<Peer>) -> BTreeMap<String, usize> {
        let (goal, node) = ((tools::FRAMES, tools::DECODED), self.node);
        let has = |line: &Value, frames, decoded| {
            video(line)["frames"].as_u64() >= Some(frames)
                && line["decoded_frames"].as_u64() >= Some(decoded)
        };
        self.watch(&BTreeMap::new());
        for pipeline in &mut pipelines {
            pipeline.until(node, |line| has(line, goal.0, goal.1));
        }
        let before = self.watch(&BTreeMap::new());
        let (joined, unopened) = (drops(node), self.unopened());
        println!("sessions that packets of theirs did not open for while joining: {unopened:?}");
        joining_explains(&joined);
        self.watch(&before);
        for pipeline in &mut pipelines {
            let line = pipeline.until(node, |line| has(line, goal.0 + MORE.0, goal.1 + MORE.0));
            assert!(line["lost"] == 0 || self.overrun() > 0, "{line}\n{}", node.all_drops());
            for section in line["sections"].as_array().expect("a list") {
                assert!(section["packets"].as_u64() > Some(0), "{line}");
            }
        }
        nothing_since(&joined, &drops(node));
        assert_eq!(self.unopened(), unopened, "did not open once all were there");
        let settled = self.settled();
        assert!(pipelines.into_iter().all(|pipeline| pipeline.leave().success()));
        settled
    }

    /// Datagrams that the peers' kernel dropped because nobody read them (RcvbufErrors of `Udp:`).
    fn overrun(&self) -> u64 {
        let text = self.lab.peers.exec(&["cat", "/proc/net/snmp"]).expect("the namespace lives");
        let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (udp.next().expect("names"), udp.next().expect("values"));
        let at = names.split(' ').position(|name| name == "RcvbufErrors").expect("Linux counts it");
        values.split(' ').nth(at).and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Sessions that have failed to open packets, by their masked label.
    fn unopened(&self) -> Vec<(String, u64)> {
        let shown = self.node.show("session");
        let rows = shown["sessions"].as_array().expect("a list").iter().map(|session| {
            let failures = session["auth_failures"].as_u64().expect("a count");
            (format!("{} {}", session["session"], session["label"]), failures)
        });
        rows.filter(|(_, failures)| *failures > 0).collect()
    }

    /// Sessions that have settled on each suite.
    fn settled(&self) -> BTreeMap<String, usize> {
        let shown = self.node.show("session");
        let mut counts = BTreeMap::new();
        for session in shown["sessions"].as_array().expect("a list") {
            let profile = session["profile"].as_str().expect("a name").to_owned();
            *counts.entry(profile).or_default() += 1;
        }
        counts
    }

    fn leave(self) {
        for location in &self.locations {
            let answer = self.node.api().request("DELETE", location, "Bearer x", "");
            assert_eq!(answer.status, 200, "{location}");
        }
    }
}

/// A library says how many packets it could not open.
fn opened_all(party: &str, all: &Value) {
    let refused = all["refused"].as_u64().unwrap_or_default();
    assert_eq!(refused, 0, "{party} could not open: {all}");
}

/// What a starved peer did not fetch from its socket in time is none of the node's loss.
fn lost_nothing(name: &str, told: &Value, overrun: u64) {
    let lost = told["lost"].as_f64().unwrap_or_default();
    assert!(lost == 0.0 || overrun > 0, "{name}: {told}");
}

/// Pictures and seconds of sound.
fn amount(told: &Value) -> (u64, f64) {
    (told["frames"].as_u64().unwrap_or_default(), told["seconds"].as_f64().unwrap_or_default())
}

/// What `told` still lacks of all that a viewer of `source` should have.
fn missing(
    party: &Party,
    name: &str,
    told: &Value,
    source: &Source,
    before: Option<(u64, f64)>,
) -> Option<String> {
    assert_ne!(told["state"], "failed", "{name}: {told}");
    let (frames, seconds) = amount(told);
    let goal = before.map_or((ENOUGH.0, ENOUGH.2), |it| (it.0 + MORE.0, it.1 + MORE.1));
    let seen = !source.pictures || frames >= goal.0;
    // The first half second of a tone may have begun in its middle: what is measured last counts.
    let is = |key: &str, wanted: f64, within: f64| {
        told[key].as_f64().is_some_and(|found| (found - wanted).abs() <= within)
    };
    let right = source.mark.is_none_or(|mark| {
        // str0m decodes no sound: it knows packets again that are published as they were encoded.
        let deaf = party.name == "str0m" && !source.verbatim;
        let moves = told["moved"].as_u64() >= Some(ENOUGH.1);
        (deaf || is("hz", f64::from(hz(mark)), 20.0))
            && (!source.pictures || moves && is("cb", f64::from(cb(mark)), 6.0))
    });
    let all = seen && seconds >= goal.1 && right;
    (!all).then(|| format!("{name}: {told}"))
}

/// Drops by reason: of received packets, of copies, and below UDP.
fn drops(node: &Node) -> BTreeMap<String, [u64; 3]> {
    let shown = node.show("drops");
    let rows = shown["drops"].as_array().expect("a list").iter().map(|row| {
        let counts = ["received", "outgoing", "port"].map(|key| row[key].as_u64().unwrap_or(0));
        (row["reason"].as_str().expect("a name").to_owned(), counts)
    });
    rows.filter(|(_, counts)| *counts != [0; 3]).collect()
}

/// Frames that are none of the node's business at any time: multicasts and ICMP of the peers' kernel, and
/// libwebrtc's checks from ::1, which go out on the cable.
fn is_stray(reason: &str, counts: [u64; 3]) -> bool {
    ["not_ours", "bad_ip"].contains(&reason) && counts[..2] == [0; 2]
}

/// While members join, copies have nowhere to go yet: a viewer's checks have not come (`no_path`), its
/// handshake is not done (`no_keys`), or no whole picture has begun (`awaiting_keyframe`). The first
/// frames to an address wait for its link address. Of what was received, a few packets may have come under
/// a key that is none (`auth_failed`).
fn joining_explains(dropped: &BTreeMap<String, [u64; 3]>) {
    let strange = dropped.iter().filter(|(reason, counts)| match reason.as_str() {
        "no_path" | "no_keys" | "awaiting_keyframe" => counts[0] + counts[2] > 0,
        "no_neighbour" => counts[0] + counts[1] > 0 || counts[2] > UNTIL_NEIGHBOUR,
        "auth_failed" => counts[1] + counts[2] > 0 || counts[0] > UNTIL_KEYED,
        reason => !is_stray(reason, **counts),
    });
    let strange: Vec<_> = strange.collect();
    assert!(strange.is_empty(), "dropped without need while joining: {strange:?}");
    println!("dropped while joining: {dropped:?}");
}

/// Once everybody is connected and sees a picture, nothing of theirs is dropped.
fn nothing_since(before: &BTreeMap<String, [u64; 3]>, after: &BTreeMap<String, [u64; 3]>) {
    let strange = after.iter().filter(|(reason, counts)| {
        !is_stray(reason, **counts) && before.get(*reason) != Some(*counts)
    });
    let strange: Vec<_> = strange.collect();
    assert!(strange.is_empty(), "dropped once all were there: {strange:?}, before: {before:?}");
}

fn clips(count: u8) -> Option<Vec<Clip>> {
    let made: Result<_, _> = (0..count).map(Clip::new).collect();
    made.map_err(|why| skip(&why)).ok()
}

/// All of them come at once, and from one address.
fn node() -> Option<(Lab, Node)> {
    let more = "[limits]\nsource_joins_per_s = 200\n".to_owned();
    up(&NodeConfig { more, ..NodeConfig::port("net_af_packet0,iface=media0") })
}

#[test]
fn every_library_sees_and_hears_every_other() {
    let Some(clips) = clips(5) else { return };
    let Some((lab, node)) = node() else { return };
    let (lab, node) = (&lab, &node);
    // What this host has not is said loudly.
    let others = [
        aiortc(lab, node),
        libsrtp("libsrtp", GCM, lab, node),
        wrtc(lab, node),
        webrtcbin(lab, node),
    ];
    let parties = others.into_iter().flatten().chain([str0m(lab, &clips)]).collect();
    let mut meeting = Meeting::new(lab, node, parties, clips);
    meeting.publish(None);
    let pipeline = tools::has_tools().then(|| meeting.publish_pipeline("of-gst", None)).flatten();
    meeting.view();
    let lit = meeting.sources.iter().filter(|source| source.pictures && source.mark.is_some());
    let viewers = lit
        .filter(|_| pipeline.is_some())
        .filter_map(|source| Peer::start((lab, node), "view", "gst", &source.room, &[]));
    let viewers: Vec<_> = viewers.collect();
    let pipelines = viewers.len() + usize::from(pipeline.is_some());
    let settled = meeting.see(viewers);
    let mut wanted = BTreeMap::new();
    for party in &meeting.parties {
        let sections =
            if party.plain { 1 + 2 * meeting.sources.len() } else { 1 + meeting.sources.len() };
        *wanted.entry(party.profile.to_owned()).or_default() += sections;
    }
    *wanted.entry(GCM.to_owned()).or_default() += 2 * pipelines;
    assert_eq!(settled, wanted);
    meeting.leave();
}

#[test]
fn plain_sdes_peers_and_webrtc_peers_meet_in_one_room_both_ways() {
    const ROOM: &str = "mixed";
    /// The user that the pipeline publishes as.
    const PIPELINE: &str = "publish-gst-mixed";
    if !tools::has_tools() {
        return;
    }
    let Some(clips) = clips(4) else { return };
    let Some((lab, node)) = node() else { return };
    let (lab, node) = (&lab, &node);
    let Some(plain_gcm) = libsrtp("plain-gcm", GCM, lab, node) else { return };
    let Some(plain_cm) = libsrtp("plain-cm", CM, lab, node) else { return };
    let Some(browser) = wrtc(lab, node) else { return };
    let parties = vec![plain_gcm, plain_cm, browser, str0m(lab, &clips)];
    let mut meeting = Meeting::new(lab, node, parties, clips);
    meeting.publish(Some(ROOM));
    let Some(pipeline) = meeting.publish_pipeline(ROOM, Some(PIPELINE)) else { return };
    meeting.view();
    // Pictures of both WebRTC peers, each opened under the other suite by a pipeline with SDES keys.
    let pairs = [("gst", "wrtc"), ("ffmpeg", "str0m")];
    let viewers = pairs.map(|(via, user)| {
        Peer::start((lab, node), "view", via, ROOM, &["--publisher", user]).expect("it was there")
    });
    let settled = meeting.see(viewers.into());
    // Everybody publishes once and sees four: one session each, or with SDES keys one for each section. The
    // pipelines have two sections each.
    let (plain, webrtc) = (1 + 2 * 4, 1 + 4);
    let wanted = [(GCM, plain + webrtc + 2 + 2), (CM, plain + webrtc + 2)];
    let wanted = wanted.map(|(profile, count)| (profile.to_owned(), count));
    assert_eq!(settled, BTreeMap::from(wanted));
    meeting.leave();
    assert!(pipeline.leave().success());
}

//! Reload, acts on apps and draining, over the admin socket and at the API, with calls under way.

mod support;

use std::path::Path;
use std::sync::Arc;

use config::Config;
use daemon::admin::Admin;
use daemon::admin::audit::Audit;
use daemon::daemon as parts;
use daemon::running::Running;
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

async fn act(socket: &Path, request: Value) -> Value {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// A node whose configuration lies in a folder of its own.
struct Node {
    dir: std::path::PathBuf,
    control: Control,
    peer: RingPeer,
    running: Arc<Running>,
    stop: watch::Sender<bool>,
}

impl Node {
    async fn up(name: &str) -> Node {
        let dir = folder(name);
        let peer = RingPeer::start(&dir, 1);
        private(&dir.join("secret"), &secret_text(APP));
        let node = |apps: &str| format!("[node]\nrun_dir = {:?}\n{apps}", dir.to_str().unwrap());
        std::fs::write(dir.join("node.toml"), node(&app_block(APP, "secret"))).unwrap();
        let file = dir.join("node.toml");
        let config = Config::load(&file).unwrap();
        let control = Control::start_live(&dir, |live| *live = parts::live(&config).unwrap());
        control.hub.set_apps(parts::quotas(&config));
        control.is_up().await;
        let running = Arc::new(Running::new(file, &config, Arc::clone(&control.api)));
        let audit = Arc::new(Audit::open(&dir.join("audit.jsonl")).unwrap());
        let admin = Admin::bind(&dir.join("control.sock"), Arc::clone(&control.hub), audit).await;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(admin.unwrap().with_node(Arc::clone(&running)).serve(stopped));
        Node { dir, control, peer, running, stop }
    }

    async fn act(&self, request: Value) -> Value {
        act(&self.dir.join("control.sock"), request).await
    }

    fn write(&self, apps: &str) {
        let text = format!("[node]\nrun_dir = {:?}\n{apps}", self.dir.to_str().unwrap());
        std::fs::write(self.dir.join("node.toml"), text).unwrap();
    }

    /// The status and code of a join with an official token of `app`'s secret in `file`.
    async fn join(&self, app: u32, room: &str) -> (u16, String) {
        let sig = user_sig(app, "alice");
        let request = ask("POST", &format!("/whip/{app}/{room}")).bearer(&sig);
        let reply = self.control.send(request.sdp(CHROMIUM_CAMERA)).await;
        let code = serde_json::from_str::<Value>(&reply.text).unwrap_or_default();
        (reply.status, code["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn app_block(app: u32, secret: &str) -> String {
    format!("[[app]]\nsdkappid = {app}\nsecret_files = [{secret:?}]\n")
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn states(answer: &Value) -> Vec<(&str, &str)> {
    let keys = answer["keys"].as_array().expect("keys").iter();
    keys.map(|key| (key["key"].as_str().unwrap(), key["state"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_applies_what_it_can_names_the_rest_and_changes_nothing_when_the_file_is_bad() {
    let node = Node::up("reload").await;
    assert_eq!(node.join(APP, "a").await.0, 201);
    assert_eq!(node.join(STRICT_APP, "a").await, (404, "app_unknown".into()));
    // Another app comes; a key of the port cannot be applied.
    private(&node.dir.join("other"), &secret_text(STRICT_APP));
    let both = app_block(APP, "secret") + &app_block(STRICT_APP, "other");
    node.write(&format!("[port]\nmtu = 1400\n[tokens]\nskew_s = 6\n{both}"));
    let diff = node.act(json!({"act": "config.diff"})).await;
    assert!(states(&diff).contains(&("tokens.skew_s", "reload applies it")), "{diff}");
    assert_eq!(node.join(STRICT_APP, "a").await.0, 404, "a diff applies nothing");
    let reloaded = node.act(json!({"act": "config.reload"})).await;
    let states = states(&reloaded);
    assert!(states.contains(&("port.mtu", "needs restart")), "{states:?}");
    assert!(states.contains(&("tokens.skew_s", "applied")), "{states:?}");
    assert_eq!(node.join(STRICT_APP, "a").await.0, 201);
    // A bad file: everything wrong with its place, and what ran goes on.
    let good = node.running.last_reload();
    node.write(&format!("[tokens]\nskew_s = 999\n[port]\nmtu = 1\n{}", app_block(APP, "secret")));
    let bad = node.act(json!({"act": "config.reload"})).await;
    assert_eq!((&bad["ok"], &bad["code"]), (&false.into(), &"config_invalid".into()));
    let errors = bad["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{bad}");
    assert!(errors.iter().all(|error| error["state"] == "rejected" && error["line"] != 0));
    let last = node.running.last_reload();
    assert!(good.successful && !last.successful);
    assert_eq!((good.hash, good.success_unix_s), (last.hash, last.success_unix_s));
    assert_eq!(node.join(STRICT_APP, "b").await.0, 201);
    // An app whose secret cannot be read is no reload either.
    node.write(&app_block(APP, "absent"));
    assert_eq!(node.act(json!({"act": "config.reload"})).await["code"], "config_invalid");
    // The app goes: its secret opens nothing any more, and the other's call is not touched.
    node.write(&app_block(APP, "secret"));
    let reloaded = node.act(json!({"act": "config.reload"})).await;
    assert_eq!(reloaded["ok"], true, "{reloaded}");
    assert_eq!(node.join(STRICT_APP, "c").await, (404, "app_unknown".into()));
    assert_eq!(node.join(APP, "b").await.0, 201);
    assert!(node.peer.with(|seen| seen.sessions.len()) >= 4, "calls go on");
    // And back: what ran before the last reload runs again, while the file says otherwise.
    assert_eq!(node.act(json!({"act": "config.revert"})).await["ok"], true);
    assert_eq!(node.join(STRICT_APP, "d").await.0, 201);
    assert_eq!(node.act(json!({"act": "config.revert"})).await["code"], "refused");
    let audit = std::fs::read_to_string(node.dir.join("audit.jsonl")).unwrap();
    assert_eq!(audit.matches("\"config.reload\"").count(), 4, "{audit}");
    assert!(!audit.contains(&secret_text(APP)));
    let shown = node.act(json!({"act": "config.show"})).await.to_string();
    assert!(shown.contains("secret_files") && !shown.contains(&secret_text(APP)), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_with_other_contents_is_told_and_the_old_one_opens_nothing() {
    let node = Node::up("contents").await;
    assert_eq!(node.join(APP, "a").await.0, 201);
    private(&node.dir.join("secret"), &secret_text(STRICT_APP));
    let reloaded = node.act(json!({"act": "config.reload"})).await;
    let key = format!("app.{APP}.secret_files");
    assert_eq!(states(&reloaded), [(key.as_str(), "applied")]);
    assert_eq!(node.join(APP, "b").await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_on_apps_hold_at_once_and_are_written_down_for_the_next_start() {
    use std::os::unix::fs::MetadataExt;
    let node = Node::up("apps").await;
    let load = || Config::load(&node.dir.join("node.toml")).unwrap();
    // Added with a secret that the node makes: a file of ours alone, never in the answer.
    let added = node.act(json!({"act": "app.add", "sdkappid": 77, "quota": {"rooms": 3}})).await;
    assert_eq!(added["ok"], true, "{added}");
    let app = load().app(77).unwrap().clone();
    assert_eq!((app.quota.rooms, app.quota.joins_per_s), (3, 100));
    let config::SecretFile::Path(first) = app.secret_files[0].clone() else { panic!() };
    assert_eq!(std::fs::metadata(&first).unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&first).unwrap();
    assert_eq!(text.trim_end().len(), 64);
    assert!(!added.to_string().contains(text.trim_end()));
    let drop_in = node.dir.join("conf.d/app-77.toml");
    assert_eq!(std::fs::metadata(drop_in).unwrap().mode() & 0o777, 0o600);
    let again = node.act(json!({"act": "app.add", "sdkappid": 77})).await;
    assert_eq!(again["code"], "refused");
    // Rotated: the new one first, the old one still verifies; then the old one goes.
    node.act(json!({"act": "app.rotate_secret", "sdkappid": 77})).await;
    let files = load().app(77).unwrap().secret_files.clone();
    assert_eq!(files.len(), 2);
    assert_eq!(files[1], config::SecretFile::Path(first));
    node.act(json!({"act": "app.rotate_secret", "sdkappid": 77, "finish": true})).await;
    assert_eq!(load().app(77).unwrap().secret_files, files[..1]);
    // An app of the file itself is suspended by a drop-in; the file is not edited.
    let before = std::fs::read_to_string(node.dir.join("node.toml")).unwrap();
    assert_eq!(node.join(APP, "a").await.0, 201);
    let suspended = json!({"act": "app.suspend", "sdkappid": APP, "end_rooms": true});
    let suspended = node.act(suspended).await;
    assert_eq!((&suspended["sessions"], &suspended["confirmed"]), (&1.into(), &true.into()));
    assert_eq!(node.join(APP, "a").await, (403, "app_suspended".into()));
    assert!(load().app(APP).unwrap().suspended);
    let listed = node.act(json!({"act": "app.list"})).await;
    let rows = listed["apps"].as_array().unwrap();
    let row = rows.iter().find(|row| row["sdkappid"] == APP).unwrap();
    assert_eq!((&row["state"], &row["sessions"]), (&"suspended".into(), &0.into()));
    node.act(json!({"act": "app.resume", "sdkappid": APP})).await;
    assert_eq!(node.join(APP, "a").await.0, 201);
    assert_eq!(std::fs::read_to_string(node.dir.join("node.toml")).unwrap(), before);
    // A quota holds in the shards at once.
    let quota = json!({"act": "app.quota", "sdkappid": APP, "quota": {"rooms": 1}});
    assert_eq!(node.act(quota).await["ok"], true);
    assert_eq!(node.join(APP, "b").await, (429, "app_rooms_quota".into()));
    let missing = node.act(json!({"act": "app.resume", "sdkappid": 5})).await;
    assert_eq!(missing["code"], "not_found");
    // What cannot be put in force is not left behind.
    let absent = json!({"act": "app.add", "sdkappid": 78, "secret_file": "/nonexistent/s"});
    assert_eq!(node.act(absent).await["code"], "config_invalid");
    assert!(!node.dir.join("conf.d/app-78.toml").exists());
    assert!(load().app(78).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_refuses_newcomers_keeps_calls_and_ends_them_at_the_deadline() {
    let node = Node::up("drain").await;
    assert_eq!(node.join(APP, "a").await.0, 201);
    let drained = node.act(json!({"act": "drain"})).await;
    assert_eq!((&drained["draining"], &drained["sessions"]), (&true.into(), &1.into()));
    assert_eq!(node.join(APP, "b").await, (503, "draining".into()));
    assert!(node.running.overdue().is_none(), "no deadline, no end");
    assert_eq!(node.control.hub.totals().sessions, 1);
    // A control process that is started again drains on.
    assert!(node.dir.join("draining").exists());
    node.act(json!({"act": "undrain"})).await;
    assert!(!node.dir.join("draining").exists());
    assert_eq!(node.join(APP, "b").await.0, 201);
    node.act(json!({"act": "drain", "deadline_s": 0})).await;
    let ended = node.running.overdue().expect("the deadline has passed");
    assert_eq!(ended.sessions.len(), 2);
    assert!(ended.finished().await);
    assert_eq!(node.control.hub.totals().rooms, 0);
    assert!(node.running.overdue().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_set_within_their_bounds_and_nothing_else_is() {
    let node = Node::up("set").await;
    let set = |key: &str, value: &str| json!({"act": "set", "key": key, "value": value});
    assert_eq!(node.act(set("tokens.skew_s", "7")).await["ok"], true);
    let shown = node.act(json!({"act": "config.show"})).await;
    assert_eq!(shown["settings"]["tokens.skew_s"], 7);
    for (key, value) in [
        ("tokens.skew_s", "301"),
        ("tokens.skew_s", "1\n[[app]]"),
        ("control.log_level", "loud"),
        ("node.environment", "production"),
        ("limits.source_joins_per_s", "0"),
    ] {
        assert_eq!(node.act(set(key, value)).await["code"], "invalid", "{key} {value}");
    }
    let shown = node.act(json!({"act": "config.show"})).await;
    assert_eq!(shown["settings"]["tokens.skew_s"], 7);
}

#[tokio::test]
async fn status_tells_consoles_what_runs_and_how_often_each_security_event_happened() {
    let node = Node::up("status").await;
    let before = node.act(json!({"act": "status"})).await;
    assert_eq!(before["pid"], std::process::id());
    assert_eq!(before["config_hash"], node.running.last_reload().hash.as_str());
    assert_eq!(before["config_reload_successful"], true);
    assert_eq!(before["security"]["tokens_refused"], Value::Null);
    let request = ask("POST", &format!("/whip/{APP}/a")).bearer("no-token");
    assert_eq!(node.control.send(request.sdp(CHROMIUM_CAMERA)).await.status, 401);
    node.act(json!({"act": "undrain"})).await;
    let after = node.act(json!({"act": "status"})).await;
    assert_eq!(after["security"]["tokens_refused"], 1);
    std::fs::write(node.dir.join("node.toml"), "nonsense").unwrap();
    assert_eq!(node.act(json!({"act": "config.reload"})).await["ok"], false);
    assert_eq!(node.act(json!({"act": "status"})).await["config_reload_successful"], false);
    let look = |id: &str| json!({"act": "session.look", "session": id});
    assert_eq!(node.act(look("alice")).await["code"], "session_invalid");
    assert_eq!(node.act(look("s0-9-9")).await["code"], "not_found");
    let list = |more: Value| {
        let mut request = json!({"act": "stream.list"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    assert_eq!(node.act(list(json!({"session": "alice"}))).await["code"], "session_invalid");
    assert_eq!(node.act(list(json!({"session": "s0-9-9"}))).await["code"], "not_found");
    assert_eq!(node.act(list(json!({"room": 99}))).await["code"], "not_found");
    let all = node.act(list(json!({}))).await;
    assert_eq!((&all["streams"], &all["sessions_left_out"]), (&json!([]), &json!(0)));
}

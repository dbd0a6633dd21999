//! A node, a browser, and people on pages of it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roomlane_tests::netns::Lab;
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::{Api, Tokens};
use serde_json::{Value, json};

use crate::chromium::{self, Chromium};

/// How long anything that should happen soon may take.
pub const SOON: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Everything a test needs, one test at a time: browsers are measured, and there are few cores.
pub struct Stage {
    browser: Chromium,
    /// The real node.
    pub node: Node,
    /// Its namespaces.
    pub lab: Lab,
    api: Api,
    _turn: MutexGuard<'static, ()>,
}

/// A stage with a node on a DPDK port; `None`, said loudly, where the host has no such thing.
pub fn stage() -> Option<Stage> {
    stage_with("")
}

/// The same with more sections in the configuration.
pub fn stage_with(more: &str) -> Option<Stage> {
    stage_on(NodeConfig { more: more.to_owned(), ..NodeConfig::port(&device()) })
}

/// The node's port: `ROOMLANE_BROWSER_PORT`, or af_packet.
pub fn device() -> String {
    let device = std::env::var("ROOMLANE_BROWSER_PORT");
    device.unwrap_or("net_af_packet0,iface=media0".to_owned())
}

/// The same with a configuration of the caller's.
pub fn stage_on(config: NodeConfig) -> Option<Stage> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !chromium::is_there() {
        return None;
    }
    let lab = Lab::new()?;
    lab.manage();
    if !device().starts_with("net_") {
        lab.kernel_owns_the_nodes_end();
    }
    let config = NodeConfig { https: true, ..config };
    let node = Node::start(&lab.node, &config)?;
    let node = node.unwrap_or_else(|why| panic!("the node did not start: {why}"));
    let browser = Chromium::start(&lab.peers);
    let api = node.api();
    Some(Stage { browser, node, lab, api, _turn: turn })
}

impl Stage {
    /// UserSig and PrivateMapKey.
    pub fn tokens(&self, tokens: &Tokens) -> (String, String) {
        self.api.tokens(tokens)
    }

    /// The demo page, filled in for `tokens`.
    pub fn page(&self, tokens: &Tokens) -> Page<'_> {
        let (user_sig, key) = self.tokens(tokens);
        let Tokens { user, room, .. } = tokens;
        let path = format!("/demo/#app={APP}&room={room}&user={user}&usersig={user_sig}&key={key}");
        let page = Page { stage: self, name: user.clone() };
        let answer = page.drive("open", &json!({ "url": self.node.url(&path) }));
        assert_eq!(answer["status"], 200, "{answer}");
        page
    }

    /// A person on a page who publishes a picture with the time and its number `id`, and a beep.
    pub fn publisher(&self, tokens: &Tokens, id: u8, more: &Value) -> Page<'_> {
        let page = self.page(tokens);
        page.publish(tokens, id, more);
        page
    }

    /// A person on a page who watches.
    pub fn viewer(&self, tokens: &Tokens, more: &Value) -> Page<'_> {
        let page = self.page(tokens);
        page.watch(tokens, more);
        page
    }

    /// Looks again and again until `look` finds something.
    pub fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> (T, Duration) {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return (found, started.elapsed());
            }
            let all = || format!("{}\n{}", self.node.all_drops(), self.browser.console());
            assert!(started.elapsed() < within, "not within {within:?}: {what}\n{}", all());
            std::thread::sleep(LOOK);
        }
    }

    /// Calls `look` every tenth of a second for so long.
    pub fn during(&self, time: Duration, mut look: impl FnMut()) {
        let started = Instant::now();
        while started.elapsed() < time {
            look();
            std::thread::sleep(LOOK);
        }
    }

    /// What pages wrote to their consoles.
    pub fn console(&self) -> String {
        self.browser.console()
    }
}

/// A person's page.
pub struct Page<'a> {
    stage: &'a Stage,
    /// The person.
    pub name: String,
}

/// What a picture on a page shows.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Tile {
    /// Its heading.
    pub user: String,
    /// What the page says about it.
    pub note: String,
    /// The number of who drew it; none where it cannot be read.
    pub id: Option<u8>,
    /// Milliseconds since it was drawn; none likewise.
    pub latency: Option<i32>,
}

impl Page<'_> {
    /// An act of the driver.
    pub fn drive(&self, act: &str, more: &Value) -> Value {
        let answer = self.stage.browser.ask(act, &self.name, more);
        answer.unwrap_or_else(|why| panic!("{why}\n{}", self.stage.browser.console()))
    }

    /// An act of `harness.js` on the page.
    pub fn act(&self, what: &str, with: &Value) -> Value {
        self.drive("do", &json!({ "what": what, "with": with }))
    }

    /// What `publish` and `watch` of `harness.js` take: what the person shows, and `more`.
    pub fn options(&self, tokens: &Tokens, name: &str, more: &Value) -> Value {
        let (user_sig, key) = self.stage.tokens(tokens);
        let mut options = json!({
            "name": name, "app": APP.to_string(), "room": tokens.room, "user": tokens.user,
            "userSig": user_sig, "key": key,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            options[key] = value.clone();
        }
        options
    }

    /// Publishes, or says why not: `{"refused": {status, code, message}}`.
    pub fn try_publish(&self, tokens: &Tokens, id: u8, more: &Value) -> Value {
        let mut options = self.options(tokens, "publish", more);
        options["source"]["label"] = json!(tokens.user);
        options["source"]["id"] = json!(id);
        self.act("publish", &options)
    }

    /// Watches, or says why not.
    pub fn try_watch(&self, tokens: &Tokens, more: &Value) -> Value {
        self.act("watch", &self.options(tokens, "watch", more))
    }

    /// Publishes.
    pub fn publish(&self, tokens: &Tokens, id: u8, more: &Value) {
        let answer = self.try_publish(tokens, id, more);
        assert!(
            answer.get("refused").is_none(),
            "{}: {answer}\n{}",
            self.name,
            self.stage.node.log()
        );
    }

    /// Watches.
    pub fn watch(&self, tokens: &Tokens, more: &Value) {
        let answer = self.try_watch(tokens, more);
        assert!(
            answer.get("refused").is_none(),
            "{}: {answer}\n{}",
            self.name,
            self.stage.node.log()
        );
    }

    /// What its publishing or watching call counts.
    pub fn figures(&self, call: &str) -> Figures {
        Figures(self.act("figures", &json!({ "name": call })))
    }

    /// The pictures of others on it.
    pub fn tiles(&self) -> Vec<Tile> {
        serde_json::from_value(self.act("tiles", &Value::Null)).expect("what harness.js makes")
    }

    /// Keeps a picture of the page for people to look at, and says where.
    pub fn screenshot(&self, name: &str) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        self.drive("screenshot", &json!({ "path": path }));
        println!("screenshot: {}", path.display());
    }

    /// Waits until `id`'s picture is there, fresh; how long that took.
    pub fn sees(&self, id: u8, within: Duration) -> Duration {
        let what = format!("{} sees picture {id}", self.name);
        let fresh = |tile: &Tile| tile.id == Some(id) && tile.latency < Some(1000);
        self.stage.until(&what, within, || self.tiles().into_iter().find(fresh)).1
    }
}

/// What a call counts: see `figuresOf` of the page.
pub struct Figures(pub Value);

impl Figures {
    /// A word about its transport.
    pub fn transport(&self, key: &str) -> &Value {
        &self.0["transport"][key]
    }

    /// The sum of a number over its streams of a kind; 0 where no stream has it.
    pub fn sum(&self, kind: &str, key: &str) -> f64 {
        let streams = self.0["streams"].as_array().into_iter().flatten();
        let of_kind = streams.filter(|stream| stream["kind"] == kind);
        of_kind.filter_map(|stream| stream[key].as_f64()).sum()
    }

    /// The same of what was sealed and opened: `sealed`, `opened`, `locked`, `refused`, `plain`.
    pub fn frames(&self, kind: &str, key: &str) -> u64 {
        let streams = self.0["streams"].as_array().into_iter().flatten();
        let of_kind = streams.filter(|stream| stream["kind"] == kind);
        of_kind.filter_map(|stream| stream["frames"][key].as_u64()).sum()
    }

    /// Milliseconds, Unix time.
    pub fn at_ms(&self) -> f64 {
        self.0["at"].as_f64().expect("what the page makes")
    }
}

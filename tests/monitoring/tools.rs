//! Prometheus and Alertmanager as processes inside a namespace, ended with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roomlane_tests::netns::{NetNs, run, skip};
use serde_json::Value;

/// How long anything that should happen soon may take.
pub const SOON: Duration = Duration::from_secs(60);

/// Where the samples and rules lie.
pub const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring");

/// Whether a program is here; says loudly when not.
pub fn is_here(program: &str) -> bool {
    let found = run(&[program, "--version"]).is_ok();
    if !found {
        skip(&format!("no {program}; scripts/install test installs Debian's package"));
    }
    found
}

/// Waits until `look` says true.
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !look() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A process that is ended by its id, and its folder.
pub struct Tool {
    child: Child,
    ns: String,
    base: String,
    dir: PathBuf,
}

impl Tool {
    /// Starts `program` in the namespace; `arguments` see the folder as `{dir}`.
    pub fn start(ns: &NetNs, program: &str, port: u16, dir: &Path, arguments: &[&str]) -> Tool {
        let dir = dir.join(program);
        std::fs::create_dir_all(&dir).expect("the folder takes a folder");
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let folder = dir.to_str().expect("its path is text");
        let mut command = ns.command(program.as_ref());
        command.args(arguments.iter().map(|word| word.replace("{dir}", folder)));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("ip is there, or no namespace would be");
        let base = format!("http://127.0.0.1:{port}");
        let tool = Tool { child, ns: ns.name.clone(), base, dir };
        until(&format!("{program} is ready"), || tool.fetch("/-/ready", &[]).is_ok());
        tool
    }

    /// An HTTP request from inside the namespace.
    pub fn fetch(&self, path: &str, arguments: &[&str]) -> Result<String, String> {
        let url = format!("{}{path}", self.base);
        let front = ["ip", "netns", "exec", &self.ns, "curl", "-sS", "--fail-with-body", "-m", "5"];
        run(&[&front[..], &[&url], arguments].concat())
    }

    /// The answer of an API, as JSON.
    pub fn ask(&self, path: &str, arguments: &[&str]) -> Value {
        let text =
            self.fetch(path, arguments).unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{path}: {why}: {text}"))
    }

    /// Samples that Prometheus answers a query with.
    pub fn query(&self, expr: &str) -> Vec<Value> {
        let query = format!("query={expr}");
        let answer = self.ask("/api/v1/query", &["--data-urlencode", &query]);
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program: the id is the program's own.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Runs a checker; its words on failure.
pub fn check(words: &[&str], input: Option<&str>) -> Result<String, String> {
    use std::io::Write;
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let fed = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    let out = child.wait_with_output().map_err(|error| error.to_string())?;
    fed.map_err(|error| error.to_string())?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(text) } else { Err(text) }
}

/// Prometheus over the node of its namespace, once a second, with these rules.
pub fn prometheus(ns: &NetNs, dir: &Path, rules: &str) -> Tool {
    let at = |name: &str| dir.join(name).to_str().expect("its path is text").to_owned();
    std::fs::write(at("roomlane.rules.yml"), rules).expect("writable");
    let sample = std::fs::read_to_string(format!("{MONITORING}/prometheus.yml")).expect("kept");
    let quick =
        sample.replace("_interval: 5s", "_interval: 1s").replace("timeout: 2s", "timeout: 1s");
    assert_ne!(quick, sample);
    std::fs::write(at("prometheus.yml"), quick).expect("writable");
    let config = format!("--config.file={}", at("prometheus.yml"));
    let words = [
        config.as_str(),
        "--storage.tsdb.path={dir}/data",
        "--web.listen-address=127.0.0.1:9090",
        "--log.level=warn",
    ];
    Tool::start(ns, "prometheus", 9090, dir, &words)
}

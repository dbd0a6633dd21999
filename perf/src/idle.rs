//! `idle`: CPU time of a node without work. Starts the real `roomlane-dataplane` on a UDP port of
//! loopback, once with `poll = "adaptive"` and once with `poll = "busy"`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use roomlane_peers::node::end;
use serde_json::json;

use crate::machine::process_ran_ns;
use crate::report::{Figure, Report};

/// The promise for `adaptive`, in percent of a core.
const IDLE_PERCENT_MAX: f64 = 5.0;
/// How long the node may take to say that it is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// What `idle` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The data plane's program; beside this one by default.
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Seconds to watch it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// First UDP port of the node.
    #[arg(long, default_value_t = 18_000)]
    udp_base: u16,
}

/// Measures both ways of polling.
///
/// # Errors
/// The program is missing or does not start.
pub fn run(options: &Options) -> Result<Report> {
    let bin = match &options.bin {
        Some(bin) => bin.clone(),
        None => beside("roomlane-dataplane")?,
    };
    let mut report = Report::new("idle", "udp");
    for (poll, bound) in [("adaptive", Some(IDLE_PERCENT_MAX)), ("busy", None)] {
        let percent = watch(&bin, options, poll)?;
        report.push(
            Figure::new(format!("idle_{poll}_cpu_percent"), percent, "%")
                .at_most(bound)
                .note(format!("of one core, over {} s", options.seconds))
                .detail(json!({ "seconds": options.seconds })),
        );
    }
    Ok(report)
}

/// The program of that name in this program's folder.
///
/// # Errors
/// There is none.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing: build it (cargo build --release), or name it with --bin",
            path.display()
        );
    }
    Ok(path)
}

fn watch(bin: &Path, options: &Options, poll: &str) -> Result<f64> {
    let folder = Folder::new()?;
    let file = folder.0.join("node.toml");
    let text = format!(
        "[node]\nrun_dir = \"{}\"\n\n[port]\ntype = \"udp\"\naddresses = [\"127.0.0.1/8\"]\n\
         udp_base = {}\n\n[workers]\npoll = \"{poll}\"\n",
        folder.0.display(),
        options.udp_base
    );
    std::fs::write(&file, text).context("the node's configuration")?;
    let mut node = Node::start(bin, &file)?;
    // The start itself is no idling.
    std::thread::sleep(Duration::from_millis(500));
    let ran = |pid: u32| process_ran_ns(pid).context("/proc has no schedstat of the node");
    let (began, before) = (Instant::now(), ran(node.0.id())?);
    std::thread::sleep(Duration::from_secs(options.seconds.into()));
    let after = ran(node.0.id())?;
    let span_s = began.elapsed().as_secs_f64();
    if let Some(status) = node.0.try_wait().context("the node")? {
        bail!("the node ended by itself: {status}");
    }
    Ok((after - before) as f64 / 1e9 / span_s * 100.0)
}

/// A running node; it is ended when this is dropped.
struct Node(Child);

impl Node {
    fn start(bin: &Path, config: &Path) -> Result<Node> {
        let mut child = Command::new(bin)
            .arg("--config")
            .arg(config)
            .env("ROOMLANE_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| bin.display().to_string())?;
        let out = child.stdout.take().context("the node's output")?;
        let node = Node(child);
        let (ready, is_ready) = std::sync::mpsc::channel();
        // Reads on, so that the node never writes into a full pipe; ends with it.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = ready.send(line);
            }
        });
        match is_ready.recv_timeout(START_MAX) {
            Ok(_) => Ok(node),
            Err(_) => bail!("{} did not get ready; its own words are above", bin.display()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.0, Duration::from_secs(5));
    }
}

/// A folder for one run, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let name = format!("roomlane-perf-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

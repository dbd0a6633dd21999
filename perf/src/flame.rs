//! `flame`: where the time goes, as a flame graph: a running node's, or that of the ladder's highest rung, which this
//! program then runs itself.
//!
//! The kernel's sampler does the work (`perf record`, package linux-perf), by the clock of the CPU, which virtual
//! machines have too. It walks the stack by frame pointers: builds of this tree have them. `inferno`, a program of
//! its own because of its licence, folds stacks and draws.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use roomlane_core::{BURST_MAX, Duration, TX_BURST_MAX};
use serde_json::{Value, json};

use crate::bed::{Bed, MemoryPort};
use crate::fanout::Order;
use crate::scenario::Shape;

/// The workload: what `ladder` calls `node`.
const ROOMS: u32 = 16;
/// Where the picture goes when nobody says.
const DEFAULT_OUT: &str = "roomlane-flame.svg";

/// How to get what draws; scripts/install has the same version.
const INSTALL: &str = "cargo install inferno --version 0.12.8 --locked";

/// What `flame` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds to sample.
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Sample this running process; without it, a shard of 16 rooms, over a port in
    /// memory, that this program runs meanwhile.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Bytes of RTP payload in that shard.
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(1..=1400))]
    payload: u16,
    /// Subscribers of each room in it.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    fanout: u32,
    /// Samples a second. An odd number stays out of step with what happens every millisecond.
    #[arg(long, default_value_t = 997, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    frequency: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Drawn {
    out: PathBuf,
    samples: u64,
    /// Share of samples in each stage of the packet's way, of those that have it.
    stages: Vec<(&'static str, f64)>,
}

/// Samples and draws into `out`: a file, or a folder.
///
/// # Errors
/// There is no `perf`, the kernel forbids it, there is no such process, or it did nothing.
pub fn run(options: &Options, out: Option<&Path>) -> Result<Drawn> {
    let out = match out {
        Some(folder) if folder.is_dir() => folder.join(DEFAULT_OUT),
        Some(file) => file.to_path_buf(),
        None => PathBuf::from(DEFAULT_OUT),
    };
    let folder = Scratch::make()?;
    let data = folder.0.join("perf.data");
    match options.pid {
        Some(pid) => record(options, pid, &data)?,
        None => {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let load = scope.spawn(|| work(options, &stop));
                let recorded = record(options, std::process::id(), &data);
                stop.store(true, Ordering::Relaxed);
                let packets = load.join();
                recorded?;
                ensure!(packets.is_ok_and(|packets| packets > 0), "the shard did no work");
                anyhow::Ok(())
            })?;
        }
    }
    let folded = fold(&script(&data)?)?;
    draw(&folded, options, &out)
}

/// Lets packets through a shard until told to stop; how many.
fn work(options: &Options, stop: &AtomicBool) -> u64 {
    let (fanout, payload) = (options.fanout, options.payload.into());
    let shape = Shape { rooms: ROOMS, fanout, payload, has_extension: false };
    let packets = 2 * BURST_MAX;
    let port = MemoryPort::new(packets + 2 * TX_BURST_MAX + BURST_MAX, packets);
    let mut bed = Bed::open(shape, port);
    let mut order = Order::new(shape.rooms as usize);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..packets {
            bed.arrive(order.next());
        }
        while bed.turn() > 0 {}
        bed.pass(Duration::from_ms(1));
    }
    bed.shard.counters().forwarded
}

/// Has `perf` sample a process.
fn record(options: &Options, pid: u32, data: &Path) -> Result<()> {
    ensure!(
        Path::new("/proc").join(pid.to_string()).exists(),
        "there is no process {pid}; roomlane show node has the data plane's"
    );
    // Without privileges the kernel tells of user space alone.
    let event = if rustix::process::geteuid().is_root() { "cpu-clock" } else { "cpu-clock:u" };
    let output = perf(&[
        "record",
        "--quiet",
        "--event",
        event,
        "--freq",
        &options.frequency.to_string(),
        "--call-graph",
        "fp",
        "--pid",
        &pid.to_string(),
        "--output",
        data.to_str().context("a path that is text")?,
        "--",
        "sleep",
        &options.seconds.to_string(),
    ])?;
    if output.status.success() && data.exists() {
        return Ok(());
    }
    bail!("{}", refusal(&output, &paranoid()))
}

/// What the kernel lets ordinary users measure; nothing where it does not say.
fn paranoid() -> String {
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    level.trim().to_owned()
}

/// Why `perf` failed and what to do, in our words where we know the reason.
fn refusal(output: &Output, paranoid: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let knows = |word: &str| said.to_lowercase().contains(word);
    if knows("perf_event_paranoid") || knows("permission") || knows("not permitted") {
        return format!(
            "the kernel forbids sampling this process (kernel.perf_event_paranoid is {paranoid}): run as root, or, \
             for a process of yours: sysctl kernel.perf_event_paranoid=2"
        );
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    format!("perf record failed ({}): {}", output.status, last.unwrap_or("it does not say why"))
}

/// Of a sample, as text: without its period, so that each counts one.
const FIELDS: &str = "comm,pid,tid,time,event,ip,sym,dso";

/// The samples as text.
fn script(data: &Path) -> Result<Vec<u8>> {
    let data = data.to_str().context("a path that is text")?;
    let output = perf(&["script", "--no-inline", "--fields", FIELDS, "--input", data])?;
    ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn perf(words: &[&str]) -> Result<Output> {
    let output = Command::new("perf").args(words).stdin(Stdio::null()).output();
    output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            anyhow::anyhow!("perf is not installed: apt-get install linux-perf")
        }
        _ => anyhow::Error::new(error).context("perf"),
    })
}

/// One of inferno's programs, given `input`; what it writes.
fn inferno(program: &str, words: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("{program} is not installed: {INSTALL}"),
        _ => anyhow::Error::new(error).context(program.to_owned()),
    })?;
    let mut stdin = child.stdin.take().context("its input is a pipe")?;
    let output = std::thread::scope(|scope| {
        // Beside reading, or both would wait for each other; a program that ends early is told by its status.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    })?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// One line a stack, with how often it was seen.
fn fold(script: &[u8]) -> Result<String> {
    let folded = inferno("inferno-collapse-perf", &[], script)?;
    let folded = String::from_utf8(folded).context("names that are text")?;
    Ok(folded.lines().map(|line| plain(line) + "\n").collect())
}

/// A stack whose names have no hashes of the compiler's.
fn plain(line: &str) -> String {
    let (stack, count) = line.rsplit_once(' ').unwrap_or((line, "0"));
    let names = stack.split(';').map(|name| match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    });
    format!("{} {count}", names.collect::<Vec<_>>().join(";"))
}

fn draw(folded: &str, options: &Options, out: &Path) -> Result<Drawn> {
    let samples_of = |line: &str| line.rsplit_once(' ').and_then(|(_, n)| n.parse::<u64>().ok());
    let samples: u64 = folded.lines().filter_map(samples_of).sum();
    ensure!(
        samples > 0,
        "no sample in {} s: the process was idle; sample it under load, or longer",
        options.seconds
    );
    let title = match options.pid {
        Some(pid) => format!("roomlane: process {pid}, {} s, {samples} samples", options.seconds),
        None => format!(
            "roomlane: shard 1:{}, {} B, {} s, {samples} samples",
            options.fanout, options.payload, options.seconds
        ),
    };
    let words = ["--title", &title, "--countname", "samples"];
    let picture = inferno("inferno-flamegraph", &words, folded.as_bytes())?;
    fs::write(out, picture).with_context(|| out.display().to_string())?;
    let share = |stage: &str| {
        let is_in = |line: &&str| line.contains(&format!("::stage::{stage}::{stage}"));
        let count: u64 = folded.lines().filter(is_in).filter_map(samples_of).sum();
        count as f64 / samples as f64
    };
    let stages =
        STAGES.iter().map(|stage| (*stage, share(stage))).filter(|(_, share)| *share > 0.0);
    Ok(Drawn { out: out.to_path_buf(), samples, stages: stages.collect() })
}

/// The packet's way, as functions are called.
const STAGES: &[&str] =
    &["classify", "lookup", "ice", "admit", "open", "inspect", "feedback", "route", "seal"];

impl Drawn {
    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "schema": "roomlane.perf.flame.v1",
            "file": self.out,
            "samples": self.samples,
            "stages": self.stages.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let share = |(stage, share): &(&str, f64)| format!("{stage} {:.1} %", share * 100.0);
        let stages: Vec<String> = self.stages.iter().map(share).collect();
        let stages =
            if stages.is_empty() { String::new() } else { format!("; {}", stages.join(", ")) };
        format!("{}: {} samples{stages}\n", self.out.display(), self.samples)
    }
}

/// A folder for what `perf` writes, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("roomlane-flame-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn failed(stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(255 << 8), stdout: vec![], stderr: stderr.into() }
    }

    #[test]
    fn a_kernel_that_forbids_sampling_is_told_apart_and_the_next_command_named() {
        let told = refusal(
            &failed(
                "Error:\nAccess to performance monitoring is limited.\nsee perf_event_paranoid",
            ),
            "3",
        );
        assert!(told.contains("paranoid is 3") && told.contains("sysctl kernel."), "{told}");
        let told = refusal(&failed("Couldn't create process\n\n"), "2");
        assert!(told.contains("Couldn't create process"), "{told}");
    }

    #[test]
    fn hashes_of_the_compiler_are_no_part_of_a_name() {
        assert_eq!(plain("a;b::c::h0123456789abcdef;d 7"), "a;b::c;d 7");
        assert_eq!(plain("a;b::hello 7"), "a;b::hello 7");
    }
}

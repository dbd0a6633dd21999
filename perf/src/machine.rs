//! What a figure must stand beside: the machine, its load, the commit, and whether it was quiet.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Cores that others may use before a run counts as noisy.
const OTHERS_MAX: f64 = 0.10;
/// Share of samples that may be disturbed before a run counts as noisy.
const CUT_MAX: f64 = 0.05;

/// The machine and the run.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Of the first processor.
    pub cpu: String,
    /// How many.
    pub cpus: usize,
    /// A virtual machine: its figures say nothing about a NIC, and neighbours are invisible.
    pub virtual_machine: bool,
    /// Kernel release.
    pub kernel: String,
    /// Frequency governor, or `none`.
    pub governor: String,
    /// libdpdk in this build, or `none`.
    pub dpdk: String,
    /// Of the working tree in the present folder; `-dirty` with changes of tracked files.
    pub commit: String,
    /// Unix time of the end, in seconds.
    pub unix_s: u64,
    /// One-minute load average at the start.
    pub load_start: f64,
    /// And at the end, this program included.
    pub load_end: f64,
    /// Cores' worth of time that other processes took meanwhile, on average.
    pub others_cores: f64,
    /// Share of the samples that were thrown away because others disturbed them.
    pub cut_share: f64,
    /// Not quiet enough to be compared with another run.
    pub noisy: bool,
}

/// Watches the machine from the start to the end of a run.
pub struct Watch {
    load: f64,
    began: Instant,
    busy_ticks: u64,
    own_ticks: u64,
}

impl Watch {
    /// Looks at the machine before the run.
    pub fn start() -> Watch {
        Watch {
            load: load(),
            began: Instant::now(),
            busy_ticks: busy_ticks(),
            own_ticks: own_ticks(),
        }
    }

    /// Looks again after it.
    pub fn end(self) -> Machine {
        let span_s = self.began.elapsed().as_secs_f64().max(1e-3);
        let all = busy_ticks().saturating_sub(self.busy_ticks);
        let own = own_ticks().saturating_sub(self.own_ticks);
        let others_cores = all.saturating_sub(own) as f64 / ticks_per_s() / span_s;
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            cpu: cpu_model(),
            cpus: read("/proc/cpuinfo").lines().filter(|l| l.starts_with("processor")).count(),
            virtual_machine: read("/proc/cpuinfo").contains(" hypervisor"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            governor: governor(),
            dpdk: port::dpdk::version().unwrap_or("none").to_owned(),
            commit: commit(),
            unix_s: unix.map_or(0, |span| span.as_secs()),
            load_start: self.load,
            load_end: load(),
            others_cores,
            cut_share: 0.0,
            noisy: others_cores > OTHERS_MAX,
        }
    }
}

impl Machine {
    /// Two lines for people.
    pub fn text(&self) -> String {
        format!(
            "{}{}, {} CPUs, kernel {}, governor {}, DPDK {}; commit {}\n\
             load {:.2} -> {:.2}, others took {:.2} cores, {:.1} % of samples disturbed: {}\n",
            self.cpu,
            if self.virtual_machine { " in a VM" } else { "" },
            self.cpus,
            self.kernel,
            self.governor,
            self.dpdk,
            self.commit,
            self.load_start,
            self.load_end,
            self.others_cores,
            self.cut_share * 100.0,
            if self.noisy { "NOISY, no baseline" } else { "quiet" },
        )
    }

    /// Takes note of how many samples were cut.
    pub fn cut(&mut self, share: f64) {
        self.cut_share = share;
        self.noisy |= share > CUT_MAX;
    }

    /// Takes note that there were fewer CPUs than threads that wanted one each.
    pub fn crowded(&mut self) {
        self.noisy = true;
    }
}

/// Keeps this thread, and those it starts, on one CPU.
///
/// # Errors
/// There is no such CPU for this process.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("CPU {cpu} is not to be had"))
}

/// The CPUs that this process may use.
///
/// # Errors
/// The kernel does not say.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("the CPUs of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps this thread, and those it starts, and all threads of `processes` that are not on `cpu` alone, off
/// that CPU.
///
/// # Errors
/// There is no other CPU, or a process is not ours.
pub fn leave_alone(cpu: usize, processes: &[i32]) -> Result<()> {
    let all = sched_getaffinity(None).context("the CPUs of this process")?;
    anyhow::ensure!(cpu < CpuSet::MAX_CPU && all.is_set(cpu), "there is no CPU {cpu}");
    let mut others = all;
    others.unset(cpu);
    anyhow::ensure!(others.count() > 0, "there is no CPU besides {cpu}");
    sched_setaffinity(None, &others).context("this thread's CPUs")?;
    for process in processes {
        for task in fs::read_dir(format!("/proc/{process}/task")).context("a process's threads")? {
            let name = task.context("a process's threads")?.file_name();
            let thread = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            let thread = thread.context("a thread's number")?;
            let now = sched_getaffinity(Some(thread)).context("a thread's CPUs")?;
            if !(now.is_set(cpu) && now.count() == 1) {
                sched_setaffinity(Some(thread), &others).context("a thread's CPUs")?;
            }
        }
    }
    Ok(())
}

/// Keeps all threads of `processes`, and those they start, on one CPU.
///
/// # Errors
/// There is no such CPU, or a process is not ours.
pub fn stay_on(cpu: usize, processes: &[i32]) -> Result<()> {
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    let mut set = CpuSet::new();
    set.set(cpu);
    for process in processes {
        for task in fs::read_dir(format!("/proc/{process}/task")).context("a process's threads")? {
            let name = task.context("a process's threads")?.file_name();
            let thread = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            let thread = thread.context("a thread's number")?;
            sched_setaffinity(Some(thread), &set)
                .with_context(|| format!("CPU {cpu} is not to be had"))?;
        }
    }
    Ok(())
}

/// Nanoseconds that this thread was ready to run and did not run; `None` where the kernel does not
/// say.
pub fn run_delay_ns() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Resident bytes of this process, by the kernel's exact count.
///
/// # Errors
/// `/proc` is not what it should be.
pub fn rss_bytes() -> Result<u64> {
    // Linux's own numbers are positive.
    rss_bytes_of(std::process::id() as i32)
}

/// The same of another process.
///
/// # Errors
/// It is gone, or not ours.
pub fn rss_bytes_of(pid: i32) -> Result<u64> {
    let at = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&at).with_context(|| at.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
    kib.map(|kib: u64| kib * 1024).with_context(|| format!("{at} has no Rss"))
}

/// Bytes that can be had without swapping.
pub fn available_bytes() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}

/// Clock ticks per second of the counters in `/proc`.
fn ticks_per_s() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// User and system ticks of this process, its threads and its ended children included.
fn own_ticks_read() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold anything, so count from behind its parenthesis: 14 to 17 are utime, stime and
    // the same of children.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// Nanoseconds that all threads of a process have run, exactly; `None` when it is gone or the kernel does
/// not count them.
pub fn process_ran_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let ran = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.map(|task| task.ok().and_then(ran)).sum()
}

fn own_ticks() -> u64 {
    own_ticks_read().unwrap_or(0)
}

/// Ticks of all CPUs but idle and waiting ones; steal counts as others' work.
fn busy_ticks() -> u64 {
    let text = read("/proc/stat");
    let Some(line) = text.lines().next() else { return 0 };
    let mut ticks = line.split_whitespace().skip(1).map(|n| n.parse::<u64>().unwrap_or(0));
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    ticks.by_ref().take(3).sum::<u64>() + ticks.skip(2).take(3).sum::<u64>()
}

fn load() -> f64 {
    read("/proc/loadavg").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

fn cpu_model() -> String {
    let text = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("?", |(_, value)| value.trim())
    };
    format!(
        "{} (family {} model {} stepping {})",
        field("model name"),
        field("cpu family"),
        field("model\t"),
        field("stepping")
    )
}

fn governor() -> String {
    let text = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if text.is_empty() { "none".to_owned() } else { text.trim().to_owned() }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "?".to_owned() };
    let watched = ["status", "--porcelain", "-uno", "--", "dataplane", "bindings", "perf"];
    match git(&watched).as_deref() {
        Some("") => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_who_it_is_and_own_work_is_not_anothers() {
        let watch = Watch::start();
        let began = Instant::now();
        while began.elapsed().as_millis() < 300 {
            std::hint::spin_loop();
        }
        let own = own_ticks();
        assert!(own >= (0.2 * ticks_per_s()) as u64, "{own} ticks of our own");
        let machine = watch.end();
        assert!(!machine.cpu.starts_with('?') && machine.cpus > 0, "{machine:?}");
        assert!(machine.kernel.contains('.'), "{machine:?}");
        assert!(machine.others_cores <= machine.cpus as f64, "{machine:?}");
        assert!(rss_bytes().unwrap() > 100_000);
    }
}

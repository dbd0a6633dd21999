//! The drill that fills the file system of the audit file: media and answers must not mind, and acts that
//! cannot be written must be told.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::counters::LATENCY_BUCKETS;
use rustix::fs::{FallocateFlags, fallocate, fstatfs, fstatvfs};
use rustix::io::Errno;
use serde_json::json;

use super::{Drill, SETTLE, ms};
use crate::exit::{Exit, Failure};
use crate::{act, audit_cmd};

/// Steps in which space is taken, the largest first.
const STEP_BYTES: u64 = 1 << 30;
/// The smallest.
const BLOCK_BYTES: u64 = 4096;
/// A promise.
const UNWRITTEN: &str = "an act that cannot be written down is told";
/// Acts that are tried until one cannot be written.
const ACTS_MAX: usize = 64;
/// A file system whose space is the host's memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The disk is full for a while.
pub fn full(drill: &mut Drill<'_>) -> Result<(), Failure> {
    let status = drill.status().unwrap_or_default();
    drill.report.version("control", &status["version"]);
    // Control may see other file systems than this shell does.
    let audit = audit_file(status["pid"].as_u64());
    let beside = || audit.as_deref().and_then(Path::parent).map(Path::to_owned);
    let none = || Failure::new(Exit::Refused, "the audit file was not found; name a --folder");
    let folder = drill.args.folder.clone().or_else(beside).ok_or_else(none)?;
    let idle = drill.watch.seen();
    let before = drill.baseline()?;
    drill.watch.mark();
    let began = Instant::now();
    let failed_before = failed_acts(drill);
    let filling = Filling::new(&folder)?;
    let (mib, hold) = (filling.bytes >> 20, drill.args.hold);
    drill.did(format!("took {mib} MiB, all that was free, for {} s", hold.as_secs_f64()));
    let mut slowest = Duration::ZERO;
    let mut silent = 0;
    // What was set aside for the audit file lasts for some lines still.
    for _ in 0..ACTS_MAX {
        let refused = act::ask(&drill.dirs, &act()).is_err();
        if failed_acts(drill) > failed_before {
            break;
        }
        silent += u32::from(refused);
    }
    while began.elapsed() < hold {
        let asked = Instant::now();
        silent += u32::from(drill.status().is_none());
        slowest = slowest.max(asked.elapsed());
        drill.pass(Duration::from_millis(50))?;
    }
    let failed = failed_acts(drill).saturating_sub(failed_before);
    let full = drill.watch.seen();
    drop(filling);
    drill.did("gave the space back");
    act::ask(&drill.dirs, &act())?;
    drill.pass(SETTLE)?;
    let failed_after = failed_acts(drill).saturating_sub(failed_before + failed);
    let (after, gap) = (drill.watch.seen(), drill.watch.gap());
    let lost = before.lost(&after, began.elapsed());
    let sessions = before.seen.sessions.saturating_sub(drill.watch.sessions_least());
    let report = &mut drill.report;
    report.figure("longest time without a packet sent (ms)", ms(Some(gap)).unwrap_or_default());
    report.figure("p99 of turns before, at most (us)", p99_us(&idle.turns, &before.seen.turns));
    report.figure("p99 of turns meanwhile, at most (us)", p99_us(&before.seen.turns, &full.turns));
    match before.has_media() {
        true => report.promise("no packet is lost on the data plane", "packets", 0.0, Some(lost)),
        false => report.unmeasured("no packet is lost on the data plane", "no media flowed"),
    }
    // Turns are counted in buckets of powers of two.
    report
        .unmeasured("p99 of turns rises by 5 % at most", "too fine for the counters; see figures");
    report.promise("sessions stay", "sessions lost", 0.0, Some(sessions as f64));
    report.promise("control answers meanwhile", "refusals", 0.0, Some(f64::from(silent)));
    report.promise("control's slowest answer", "ms", 1000.0, ms(Some(slowest)));
    match audit.as_deref().filter(|audit| is_inside(audit, &folder)) {
        Some(audit) => {
            match failed {
                0 => report.unmeasured(UNWRITTEN, "all could be"),
                _ => report.promise(UNWRITTEN, "untold", 0.0, Some(0.0)),
            }
            let again = failed_after as f64;
            report.promise("acts are written again afterwards", "not written", 0.0, Some(again));
            let faults = audit_cmd::faults(audit)? as f64;
            report.promise("the audit file's chain holds", "faults", 0.0, Some(faults));
        }
        None => report.unmeasured(UNWRITTEN, "the audit file is on another disk"),
    }
    Ok(())
}

fn act() -> serde_json::Value {
    json!({ "act": "drill", "fault": "disk-full" })
}

/// Acts that control could not write down, as it counts them.
fn failed_acts(drill: &Drill<'_>) -> u64 {
    let status = drill.status().unwrap_or_default();
    status["security"]["audit_failed"].as_u64().unwrap_or_default()
}

/// The file that control has open, as it is seen from there.
fn audit_file(control: Option<u64>) -> Option<PathBuf> {
    let control = PathBuf::from(format!("/proc/{}", control?));
    let files = std::fs::read_dir(control.join("fd")).ok()?;
    let mut targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|it| it == audit_cmd::AUDIT_FILE);
    let path = targets.find(is_it)?;
    Some(control.join("root").join(path.strip_prefix("/").ok()?))
}

/// Whether both are on one file system.
fn is_inside(file: &Path, folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(file).is_some() && device(file) == device(folder)
}

/// The upper bound of the bucket that holds the 99th of a hundred turns between two looks.
fn p99_us(old: &[u64; LATENCY_BUCKETS], new: &[u64; LATENCY_BUCKETS]) -> f64 {
    let turns: Vec<u64> = old.iter().zip(new).map(|(old, new)| new.saturating_sub(*old)).collect();
    let (mut left, mut bucket) = (turns.iter().sum::<u64>() / 100, turns.len() - 1);
    while bucket > 0 && turns[bucket] <= left {
        left -= turns[bucket];
        bucket -= 1;
    }
    (1u64 << bucket) as f64
}

/// All free space of a file system, in a file without a name: it is free again when this value goes, or its
/// process dies.
#[derive(Debug)]
struct Filling {
    bytes: u64,
    _file: File,
}

impl Filling {
    fn new(folder: &Path) -> Result<Filling, Failure> {
        let path = folder.join(format!(".roomlane-drill-{}", std::process::id()));
        let failed =
            |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        spare_memory(&file, folder)?;
        let (mut bytes, mut step) = (0, STEP_BYTES);
        while step >= BLOCK_BYTES {
            match fallocate(&file, FallocateFlags::empty(), bytes, step) {
                Ok(()) => bytes += step,
                Err(Errno::NOSPC) => step /= 2,
                Err(Errno::OPNOTSUPP) => break,
                Err(error) => return Err(failed(error.into())),
            }
        }
        // What is left, and all of it where space cannot be reserved.
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(bytes)).map_err(failed)?;
        let block = [0u8; BLOCK_BYTES as usize];
        loop {
            match file.write(&block) {
                Ok(written) => bytes += written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Filling { bytes, _file: file })
    }
}

/// A tmpfs that could take most of the host's memory is not filled.
fn spare_memory(file: &File, folder: &Path) -> Result<(), Failure> {
    let kind = fstatfs(file).map_err(std::io::Error::from)?;
    if kind.f_type as i64 != TMPFS_MAGIC {
        return Ok(());
    }
    let space = fstatvfs(file).map_err(std::io::Error::from)?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let available = kib.unwrap_or_default() * 1024;
    if space.f_bavail * space.f_frsize > available / 2 {
        let text = format!("{}: filling it would take the host's memory", folder.display());
        return Err(Failure::new(Exit::Refused, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_the_bucket_of_the_slowest_hundredth() {
        let old = [0; LATENCY_BUCKETS];
        let mut new = old;
        new[3] = 990;
        new[9] = 10;
        assert_eq!(p99_us(&old, &new), 8.0);
        new[9] = 11;
        assert_eq!(p99_us(&old, &new), 512.0);
        assert_eq!(p99_us(&old, &old), 1.0);
    }
}

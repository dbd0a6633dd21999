//! Drills that kill a process: who must not notice, and how soon the others are whole again.

use std::time::Instant;

use serde_json::Value;

use super::process::{self, Supervisor, Target};
use super::{Drill, SETTLE, ms};
use crate::exit::Failure;
use crate::programs;

/// Control is killed: nothing of the data plane changes.
pub fn control(drill: &mut Drill<'_>) -> Result<(), Failure> {
    let status = drill.status().unwrap_or_default();
    let target = Target::of(programs::CONTROL, status["pid"].as_u64())?;
    drill.report.version("control", &status["version"]);
    let before = drill.baseline()?;
    drill.watch.mark();
    let killed = strike(drill, &target)?;
    let is_new =
        |status: &Value| status["pid"].as_u64().is_some_and(|pid| pid != target.pid() as u64);
    let back = drill.until(killed, |drill| drill.status().is_some_and(|status| is_new(&status)))?;
    let whole = drill.until(killed, |drill| {
        let sessions = drill.watch.seen().sessions;
        drill.status().is_some_and(|status| {
            is_new(&status)
                && status["data_plane"] == "up"
                && status["sessions"].as_u64() == Some(sessions)
        })
    })?;
    drill.pass(SETTLE)?;
    let (after, gap) = (drill.watch.seen(), drill.watch.gap());
    let lost = before.lost(&after, killed.elapsed());
    let sessions = before.seen.sessions.saturating_sub(drill.watch.sessions_least());
    let lives = u8::from(after.instance != before.seen.instance);
    let report = &mut drill.report;
    report.figure("longest time without a packet sent (ms)", ms(Some(gap)).unwrap_or_default());
    match before.has_media() {
        true => report.promise("no packet is lost on the data plane", "packets", 0.0, Some(lost)),
        false => report.unmeasured("no packet is lost on the data plane", "no media flowed"),
    }
    report.promise("sessions stay", "sessions lost", 0.0, Some(sessions as f64));
    report.promise("the data plane runs on", "restarts", 0.0, Some(f64::from(lives)));
    report.promise("control answers again", "ms", 1000.0, ms(back));
    report.promise("control knows the node's sessions again", "ms", 1000.0, ms(whole));
    Ok(())
}

/// The data plane is killed: its sessions go on without new handshakes.
pub fn dataplane(drill: &mut Drill<'_>) -> Result<(), Failure> {
    let before = drill.baseline()?;
    let target = Target::of(programs::DATAPLANE, Some(before.seen.pid))?;
    let control = drill.status().unwrap_or_default();
    drill.report.version("control", &control["version"]);
    drill.watch.mark();
    let killed = strike(drill, &target)?;
    let old = before.seen.instance;
    let back = drill.until(killed, |drill| drill.watch.seen().instance != old)?;
    let sessions = before.seen.sessions;
    let whole = drill.until(killed, |drill| {
        let seen = drill.watch.seen();
        seen.instance != old && seen.sessions >= sessions
    })?;
    let forwards = match before.has_media() {
        true => Some(drill.until(killed, |drill| {
            let seen = drill.watch.seen();
            seen.instance != old && seen.sessions >= sessions && seen.tx > 0
        })?),
        false => None,
    };
    drill.pass(SETTLE)?;
    let (after, gap) = (drill.watch.seen(), drill.watch.gap());
    let same = drill.status().is_some_and(|status| status["pid"] == control["pid"]);
    let report = &mut drill.report;
    if let Some(back) = ms(back) {
        report.figure("the next data plane was there after (ms)", back);
    }
    report.figure("longest time without a packet sent (ms)", ms(Some(gap)).unwrap_or_default());
    // Nobody counted while nobody was there.
    let missed = before.tx_pps * gap.as_secs_f64();
    report.figure("packets not sent meanwhile, by the rate before", missed.round());
    report.figure("packets dropped by the next data plane", after.lost as f64);
    match forwards {
        Some(time) => report.promise("sessions forward again", "ms", 2000.0, ms(time)),
        None => report.unmeasured("sessions forward again", "no media flowed"),
    }
    report.promise("every session is back without its peer", "ms", 2000.0, ms(whole));
    let restarts = f64::from(u8::from(!same));
    report.promise("control runs on", "restarts", 0.0, Some(restarts));
    Ok(())
}

/// Kills, and sees to it that somebody starts it again.
fn strike(drill: &mut Drill<'_>, target: &Target) -> Result<Instant, Failure> {
    let supervisor = Supervisor::of(&drill.run_dir, target);
    let words = supervisor.words();
    let killed = Instant::now();
    target.kill()?;
    drill.did(format!("killed pid {} by SIGKILL; it is supervised by {words}", target.pid()));
    match &drill.args.restart_command {
        Some(command) => {
            process::start(command)?;
            drill.did("ran the restart command");
        }
        None if supervisor == Supervisor::Nobody => {
            let seconds = drill.args.timeout.as_secs();
            drill.did(format!("nobody starts it again: do it now; waiting for {seconds} s"));
        }
        None => {}
    }
    Ok(killed)
}

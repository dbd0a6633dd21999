//! `peers`: Roomlane and other engines on the same cable, in turn.
//!
//! One pair of namespaces; each run starts one engine at the node's end, joins the same sessions, sends the
//! same packets and ends it again. Rounds go through all engines, so that what drifts drifts for all. A run
//! that lost more than a hundredth is thrown away. Figures are medians of CPU time per packet that reached a
//! subscriber; ratios are of those medians.

mod bencode;
mod daemon;
mod floor;
mod janus;
mod rtpengine;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use roomlane_peers::netns::Lab;
use serde_json::{Value, json};

use crate::load::fleet::Engine;
use crate::load::roomlane::Roomlane;
use crate::load::scenario::Scenario;
use crate::load::{Bench, Cpus, Run, guarded, lab, median};
use crate::report::{Figure, Report};
use floor::Floor;
use janus::Janus;
use rtpengine::Rtpengine;

/// Runs that lost more are not used.
const LOSS_MAX: f64 = 0.01;
/// Subscribers of the one publisher.
const FANOUT: u32 = 50;
/// The data path behind DPDK's memory port, in process.
const RING: &str = "roomlane_net_ring";
/// Bytes of the payloads.
const PAYLOADS: [usize; 2] = [160, 1200];
/// The promises: a share of rtpengine's CPU time per forwarded packet, of the same run. In memory, by payload;
const RING_SHARE_MAX: [f64; 2] = [1.0 / 100.0, 1.0 / 60.0];
/// on the same cable, in all and outside the kernel;
const CABLE_SHARE_MAX: (f64, f64) = (1.0 / 2.0, 1.0 / 20.0);
/// and on sockets.
const URING_SHARE_MAX: f64 = 0.6;

/// What `peers` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Roomlane's DPDK ports on the cable.
    #[arg(long, value_name = "DEVICE", default_values_t = [
        "net_af_xdp0,iface=media0,busy_budget=0".to_owned(),
        "net_af_packet0,iface=media0,qdisc_bypass=1".to_owned(),
    ])]
    port: Vec<String>,
    /// Rounds; each runs every engine once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds of a run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Packets a second of the publisher. The default is about what rtpengine takes without loss, and does not
    /// go into a timer tick of 4 ms: user time is known by such ticks alone.
    #[arg(long, default_value_t = 2905, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pps: u32,
    /// Only this payload.
    #[arg(long, value_name = "BYTES")]
    payload: Option<usize>,
    /// Leave out engines whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    without: Vec<String>,
    #[command(flatten)]
    cpus: Cpus,
}

/// An engine at the node's end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Roomlane on a DPDK device, which has the interface for itself.
    Cable(String),
    /// Roomlane on sockets, by io_uring.
    Uring,
    /// rtpengine on sockets.
    Rtpengine,
    /// Janus on sockets, everybody with ICE and DTLS.
    Janus,
    /// A copy and a `sendto`.
    Floor,
}

impl Kind {
    fn name(&self) -> String {
        match self {
            Kind::Cable(device) => {
                let device = device.split(',').next().unwrap_or(device);
                format!("roomlane_{}", device.trim_end_matches(|c: char| c.is_ascii_digit()))
            }
            Kind::Uring => "roomlane_uring".to_owned(),
            Kind::Rtpengine => "rtpengine".to_owned(),
            Kind::Janus => "janus".to_owned(),
            Kind::Floor => "floor".to_owned(),
        }
    }

    fn start(&self, lab: &Lab, cpu: usize) -> Result<Box<dyn Engine + Send>> {
        Ok(match self {
            Kind::Cable(device) => Box::new(Roomlane::start(lab, device, "adaptive", cpu)?),
            Kind::Uring => Box::new(Roomlane::start(lab, "uring", "adaptive", cpu)?),
            Kind::Rtpengine => Box::new(Rtpengine::start(lab, cpu)?),
            Kind::Janus => Box::new(Janus::start(lab, cpu)?),
            Kind::Floor => Box::new(Floor::start(lab, cpu)?),
        })
    }
}

/// What one engine gave for one payload.
#[derive(Debug, Default)]
struct Runs {
    total_ns: Vec<f64>,
    user_ns: Vec<f64>,
    rate: Vec<f64>,
    p50_us: Vec<f64>,
    rejected: u32,
}

impl Runs {
    fn take(&mut self, run: &Run) {
        let tally = &run.outcome.tally;
        if tally.loss() > LOSS_MAX || tally.wrong > 0 {
            eprintln!("rejected: {:.2} % lost, {} wrong", tally.loss() * 100.0, tally.wrong);
            self.rejected += 1;
            return;
        }
        let (total_ns, user_ns) = run.ns_per_packet();
        self.total_ns.push(total_ns);
        self.user_ns.push(user_ns);
        self.rate.push(run.outcome.received_per_s());
        self.p50_us.push(run.outcome.latency.value_at_quantile(0.5) as f64 / 1000.0);
    }
}

/// Runs all engines.
///
/// # Errors
/// The host has no namespaces, or an engine does not start or forward.
pub fn run(options: &Options) -> Result<Report> {
    options.cpus.check()?;
    let mut kinds: Vec<_> = options.port.iter().cloned().map(Kind::Cable).collect();
    kinds.extend([Kind::Uring, Kind::Floor]);
    let mut about = "veth".to_owned();
    for (kind, version) in
        [(Kind::Rtpengine, rtpengine::version()), (Kind::Janus, janus::version())]
    {
        let name = kind.name();
        about += &format!("; {name} {}", version.as_deref().unwrap_or("missing"));
        match version {
            Some(_) => kinds.push(kind),
            None => eprintln!("SKIPPED {name}: it is not installed; run perf/peers/install"),
        }
    }
    let is_wanted = |name: &str| !options.without.iter().any(|text| name.contains(text));
    kinds.retain(|kind| is_wanted(&kind.name()));
    let mut report = Report::new("peers", about);
    for (payload, ring_max) in PAYLOADS.into_iter().zip(RING_SHARE_MAX) {
        if options.payload.is_some_and(|only| only != payload) {
            continue;
        }
        let mut all: Vec<Runs> = kinds.iter().map(|_| Runs::default()).collect();
        let mut ring = vec![];
        for round in 0..options.rounds {
            for (kind, runs) in kinds.iter().zip(&mut all) {
                eprintln!("{payload} B, round {round}: {}", kind.name());
                runs.take(&guarded(|| once(kind, payload, options))?);
            }
            if is_wanted(RING) {
                ring.push(in_memory(payload, options.cpus.node_cpu)?);
            }
        }
        tell(&mut report, payload, &kinds, &all, (ring, ring_max));
    }
    Ok(report)
}

fn once(kind: &Kind, payload: usize, options: &Options) -> Result<Run> {
    let scenario = Scenario {
        name: kind.name(),
        rooms: 1,
        publishers: 1,
        subscribers: FANOUT,
        payload_bytes: payload,
        packets_per_s: options.pps.into(),
        seconds: options.seconds.into(),
        profile: srtp::Profile::AeadAes128Gcm.to_string(),
        port: match kind {
            Kind::Cable(device) => device.clone(),
            _ => "uring".to_owned(),
        },
        verify_every: 4,
        loss_percent_max: None,
        latency_p99_us_max: None,
    };
    let lab = lab(&scenario.port)?;
    let mut engine = kind.start(&lab, options.cpus.node_cpu)?;
    lab.peers.within(|| {
        let mut bench = Bench::new(&scenario, &mut *engine, options.cpus)?;
        bench.measure(&mut *engine, scenario.packets_per_s, scenario.seconds)
    })
}

/// Nanoseconds per copy of the whole node's data path behind DPDK's memory port, from another process of
/// this program: DPDK can be opened once in a process.
fn in_memory(payload: usize, cpu: usize) -> Result<f64> {
    let own = std::env::current_exe().context("this program's own path")?;
    let fanout = format!("{FANOUT}");
    let out = Command::new(own)
        .args(["dpdk", "--json", "--rounds", "500", "--fanout", &fanout, "--payload"])
        .args([payload.to_string(), "--cpu".to_owned(), cpu.to_string()])
        .output()
        .context("this program as `dpdk`")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(!out.stdout.is_empty(), "`roomlane-perf dpdk`: {said}");
    let report: Value = serde_json::from_slice(&out.stdout).context("what `dpdk` says")?;
    let figures = report["figures"].as_array().context("figures of `dpdk`")?;
    let per_packet = figures
        .iter()
        .find_map(|figure| figure["detail"]["core_ns_per_packet_in"]["median"].as_f64())
        .context("`dpdk` says no time per packet")?;
    Ok(per_packet / f64::from(FANOUT))
}

fn tell(
    report: &mut Report,
    payload: usize,
    kinds: &[Kind],
    all: &[Runs],
    (ring, ring_max): (Vec<f64>, f64),
) {
    for (kind, runs) in kinds.iter().zip(all) {
        let name = format!("{}_payload_{payload}", kind.name());
        let used = runs.total_ns.len() as u64;
        report.sampled(used + u64::from(runs.rejected), runs.rejected.into());
        if used == 0 {
            let why = "each run lost more than 1 %: give a lower --pps";
            let rejected = f64::from(runs.rejected);
            let figure = Figure::new(format!("{name}_rejected_runs"), rejected, "");
            report.push(figure.at_most(Some(0.0)).note(why.to_owned()));
            continue;
        }
        let (rate, p50_us) = (median(runs.rate.clone()), median(runs.p50_us.clone()));
        for (what, values) in [("cpu", &runs.total_ns), ("cpu_user", &runs.user_ns)] {
            report.push(
                Figure::new(format!("{name}_{what}_ns"), median(values.clone()), "ns")
                    .note(format!(
                        "{rate:.0}/s out, p50 {p50_us:.0} us, {used} runs, {} rejected",
                        runs.rejected
                    ))
                    .detail(json!({ "runs_ns": values })),
            );
        }
    }
    let in_memory = (!ring.is_empty()).then(|| median(ring.clone()));
    if let Some(in_memory) = in_memory {
        report.push(
            Figure::new(format!("{RING}_payload_{payload}_cpu_ns"), in_memory, "ns")
                .note("in memory, no system call in it".to_owned())
                .detail(json!({ "runs_ns": ring })),
        );
    }
    for peer in [Kind::Rtpengine, Kind::Janus] {
        let ring_max = (peer == Kind::Rtpengine).then_some(ring_max);
        compare(report, payload, (kinds, all), &peer, (in_memory, ring_max));
    }
}

/// Shares of what another engine uses, of those that were not left out. What is promised is promised against
/// rtpengine, `ring_max` with it.
fn compare(
    report: &mut Report,
    payload: usize,
    (kinds, all): (&[Kind], &[Runs]),
    peer: &Kind,
    (in_memory, ring_max): (Option<f64>, Option<f64>),
) {
    let runs_of = |wanted: &Kind| kinds.iter().position(|kind| kind == wanted).map(|at| &all[at]);
    let Some(runs) = runs_of(peer).filter(|runs| !runs.total_ns.is_empty()) else { return };
    let (peer_ns, peer_user_ns) = (median(runs.total_ns.clone()), median(runs.user_ns.clone()));
    let peer = peer.name();
    let promised = |max: f64| ring_max.map(|_| max);
    let mut share = |what: &str, value: f64, max: Option<f64>| {
        let name = format!("{what}_over_{peer}_payload_{payload}");
        let times = format!("{peer} uses {:.1} times as much", 1.0 / value);
        report.push(Figure::new(name, value, "x").at_most(max).note(times));
    };
    if let Some(in_memory) = in_memory {
        share("net_ring", in_memory / peer_ns, ring_max);
    }
    // Of several ports on the cable the promise is for the best.
    let cable = |pick: fn(&Runs) -> &Vec<f64>| {
        let of_cable = kinds.iter().zip(all).filter(|(kind, _)| matches!(kind, Kind::Cable(_)));
        of_cable.map(|(_, runs)| median(pick(runs).clone())).fold(f64::NAN, f64::min)
    };
    if kinds.iter().any(|kind| matches!(kind, Kind::Cable(_))) {
        let (total, user) = (cable(|runs| &runs.total_ns), cable(|runs| &runs.user_ns));
        share("cable", total / peer_ns, promised(CABLE_SHARE_MAX.0));
        share("cable_user", user / peer_user_ns, promised(CABLE_SHARE_MAX.1));
    }
    for (kind, max) in [(Kind::Uring, promised(URING_SHARE_MAX)), (Kind::Floor, None)] {
        if let Some(runs) = runs_of(&kind) {
            let name = kind.name();
            let name = name.trim_start_matches("roomlane_");
            share(name, median(runs.total_ns.clone()) / peer_ns, max);
        }
    }
}

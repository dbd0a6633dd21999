//! `joins`: WebRTC sessions join the real programs while others exchange media.
//!
//! Two namespaces with a cable between them, the node's port at one end. Members are in already: rooms
//! of one publisher and its viewers, on a thread of their own, and each packet must arrive. Pairs join
//! rooms in which somebody waits: a publisher, whose first packet that person sees, and a viewer, who
//! hears the publisher. Windows without joins and with them take turns in one run, and the worker's own
//! count of its turns' CPU time is read at their ends.

mod crowd;
mod figures;
pub mod peer;
mod turns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use dtls::Identity;
use roomlane_peers::netns::Lab;
use roomlane_peers::node::{Node, NodeConfig};
use roomlane_peers::sdes::Api;
use roomlane_peers::webrtc::identity;

use crate::machine::leave_alone;
use crate::report::Report;
use crowd::Crowd;
use peer::{PACKET_TIME, Peer, Plan, Tally, Times};
use turns::Turns;

/// Members of the first setting join so many a second.
const SETUP_PER_S: u32 = 40;
/// What joins too late has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing is measured for so long after a change, so that what it left behind is over, and counters are
/// published meanwhile.
const SETTLE: Duration = Duration::from_millis(1500);
/// Share of `--seconds` in which joins are posted; the last one needs time as well.
const PACED: f64 = 0.97;

/// What `joins` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The node's port: a DPDK device, or `uring` or `udp`.
    #[arg(long, default_value = "net_af_packet0,iface=media0")]
    port: String,
    /// The worker's core: it stays there, and everything else of this run stays away from it.
    #[arg(long, value_name = "CPU")]
    core: Option<usize>,
    /// Whether the worker polls when nothing comes: `adaptive` or `busy`.
    #[arg(long, default_value = "adaptive", value_parser = ["adaptive", "busy"])]
    poll: String,
    /// Sessions that join in a round; half of them publish.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=1000))]
    sessions: u32,
    /// Seconds in which they join, and seconds of the window without joins.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Rounds, each of a window without joins and one with them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Rooms that exchange media all the time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    rooms: u32,
    /// Viewers of each of them.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=200))]
    viewers: u32,
}

/// Measures.
///
/// # Errors
/// The host has no namespaces, the programs are missing or do not start, or a session cannot join.
pub fn run(options: &Options) -> Result<Report> {
    // The peers are those of the tests and panic where a test would fail.
    std::panic::catch_unwind(|| measure(options)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(anyhow!(text.unwrap_or_else(|| "a peer panicked".to_owned())))
    })
}

fn measure(options: &Options) -> Result<Report> {
    let lab = Lab::new().context("no namespaces: this needs root")?;
    if !options.port.starts_with("net_") {
        lab.kernel_owns_the_nodes_end();
    }
    let cores = options.core.map(|core| format!("cores = [{core}]\n")).unwrap_or_default();
    let config = NodeConfig {
        workers: format!("time_turns = true\npoll = \"{}\"\n{cores}", options.poll),
        more: "[limits]\nsource_joins_per_s = 1000000\n".to_owned(),
        ..NodeConfig::port(&options.port)
    };
    let node = Node::start(&lab.node, &config).context("the programs are not built")?;
    let node = node.map_err(|why| anyhow!("the node did not start: {why}"))?;
    if let Some(core) = options.core {
        let pid = |name| node.pid(name).with_context(|| format!("{name} does not run"));
        leave_alone(core, &[pid("roomlane-control")?, pid("roomlane-dataplane")?])?;
    }
    let (api, own, stop) = (node.api(), identity(), AtomicBool::new(false));
    lab.peers.within(|| {
        let mut scene = Scene::new(options, &node, &api, &own)?;
        let members = scene.set_up()?;
        std::thread::scope(|scope| {
            let media = scope.spawn(|| exchange(members, (&api, &own), &stop));
            let found = scene.rounds();
            stop.store(true, Ordering::Relaxed);
            let tallies = media.join().map_err(|_| anyhow!("the members' thread panicked"))??;
            Ok(figures::report(options, &found?, &tallies))
        })
    })
}

/// The members' thread: media until `stop`; then what each viewer got.
fn exchange(
    members: Vec<Peer>,
    (api, own): (&Api, &Identity),
    stop: &AtomicBool,
) -> Result<Vec<Tally>> {
    let mut crowd = Crowd::new(api, own)?;
    // Each publisher has its own phase, as devices have.
    let publishers = members.iter().filter(|peer| peer.plan.publishes).count() as u32;
    let (mut phase, now) = (0, Instant::now());
    let mut members = members;
    for peer in members.iter_mut().filter(|peer| peer.plan.publishes) {
        (peer.is_on, peer.due) = (true, now + PACKET_TIME * phase / publishers.max(1));
        phase += 1;
    }
    crowd.take_over(members)?;
    let tick = Duration::from_millis(100);
    while !stop.load(Ordering::Relaxed) {
        crowd.until(tick, |_| Ok(false))?;
    }
    crowd.peers.values_mut().for_each(|peer| peer.is_on = false);
    // What is under way arrives.
    crowd.until(SETTLE, |_| Ok(false))?;
    let last = |room| {
        let mut publishers = crowd.peers.values().filter(|peer| peer.plan.publishes);
        publishers.find(|peer| peer.plan.room == room).and_then(Peer::last_index)
    };
    let viewers = crowd.peers.values().filter(|peer| !peer.plan.publishes);
    let tallies = viewers.map(|peer| {
        let mut tally = peer.tally;
        tally.end(last(peer.plan.room).context("a room without a publisher")?);
        Ok(tally)
    });
    tallies.collect()
}

/// The joiners' thread.
struct Scene<'a> {
    options: &'a Options,
    node: &'a Node,
    api: &'a Api,
    own: &'a Identity,
    crowd: Crowd<'a>,
    numbers: u32,
}

/// What the rounds found.
#[derive(Debug, Default)]
struct Found {
    publishers: Vec<Times>,
    viewers: Vec<Times>,
    /// Seconds from the first POST to the last one's media, of each round.
    spans_s: Vec<f64>,
    quiet: Vec<Turns>,
    joins: Vec<Turns>,
    /// Those of `joins` that did something for the control plane.
    control: Vec<Turns>,
}

impl<'a> Scene<'a> {
    fn new(
        options: &'a Options,
        node: &'a Node,
        api: &'a Api,
        own: &'a Identity,
    ) -> Result<Scene<'a>> {
        let crowd = Crowd::new(api, own)?;
        Ok(Scene { options, node, api, own, crowd, numbers: 0 })
    }

    fn plan(&mut self, room: u32, publishes: bool) -> Plan {
        self.numbers += 1;
        Plan::new(self.api, self.own, (self.numbers, room), publishes)
    }

    /// Members join, and those who wait for the pairs. The members come back, without media yet.
    fn set_up(&mut self) -> Result<Vec<Peer>> {
        let (rooms, pairs) = (self.options.rooms, self.options.sessions / 2);
        let mut plans = vec![];
        for room in 0..rooms {
            plans.push(self.plan(room, true));
            plans.extend((0..self.options.viewers).map(|_| self.plan(room, false)));
        }
        let members: Vec<u32> = plans.iter().map(|plan| plan.number).collect();
        plans.extend((rooms..rooms + pairs).map(|room| self.plan(room, false)));
        eprintln!("{} sessions set the scene", plans.len());
        let (count, gap) = (plans.len(), Duration::from_secs(1) / SETUP_PER_S);
        self.join(plans, gap, |peers, number| {
            let Some(peer) = peers.get_mut(&number) else { return false };
            // Their media begins when all are there.
            peer.is_on = false;
            peer.times.keyed.is_some()
        })
        .with_context(|| format!("{count} sessions that set the scene"))?;
        self.crowd.give(members)
    }

    /// Posts the plans, one every `gap`, and waits until `is_in` says so of each.
    fn join(
        &mut self,
        plans: Vec<Plan>,
        gap: Duration,
        mut is_in: impl FnMut(&mut HashMap<u32, Peer>, u32) -> bool,
    ) -> Result<f64> {
        let began = Instant::now();
        let mut waiting: Vec<u32> = vec![];
        let mut plans = plans.into_iter();
        let mut due = began;
        while plans.len() > 0 || !waiting.is_empty() {
            if Instant::now() >= due
                && let Some(plan) = plans.next()
            {
                waiting.push(plan.number);
                self.crowd.post(plan)?;
                due += gap;
            }
            let next = if plans.len() > 0 { due } else { Instant::now() + PACKET_TIME };
            self.crowd.step(next)?;
            let peers = &mut self.crowd.peers;
            waiting.retain(|number| !is_in(peers, *number));
            ensure!(
                plans.len() > 0 || due.elapsed() < PATIENCE,
                "{} sessions have not joined: {}\n{}\n{}",
                waiting.len(),
                waiting.iter().map(|n| format!("{:?} ", peers[n].times)).collect::<String>(),
                self.node.all_drops(),
                self.node.log()
            );
        }
        Ok(began.elapsed().as_secs_f64())
    }

    fn rounds(&mut self) -> Result<Found> {
        let mut found = Found::default();
        let window = Duration::from_secs(self.options.seconds.into());
        for round in 0..self.options.rounds {
            self.rest(SETTLE)?;
            let (before, _) = self.turns()?;
            self.rest(window)?;
            found.quiet.push(self.turns()?.0.since(&before));
            let numbers = self.round(window, &mut found)?;
            let joins = found.joins.last().map_or(f64::NAN, |turns| turns.percentile_us(99.9));
            let quiet = found.quiet.last().map_or(f64::NAN, |turns| turns.percentile_us(99.9));
            eprintln!("round {round}: turns p99.9 {quiet:.1} us, with joins {joins:.1} us");
            for number in &numbers {
                if let Some(peer) = self.crowd.peers.get_mut(number) {
                    peer.close()?;
                }
            }
            self.crowd.give(numbers)?;
        }
        Ok(found)
    }

    /// One window with joins; the numbers of who joined.
    fn round(&mut self, window: Duration, found: &mut Found) -> Result<Vec<u32>> {
        let (rooms, pairs) = (self.options.rooms, self.options.sessions / 2);
        let mut plans = vec![];
        for room in rooms..rooms + pairs {
            plans.push(self.plan(room, true));
            plans.push(self.plan(room, false));
        }
        let gap = window.mul_f64(PACED) / plans.len() as u32;
        let of_kind = |publishes| {
            let chosen = plans.iter().filter(move |plan| plan.publishes == publishes);
            chosen.map(|plan| plan.number).collect::<Vec<_>>()
        };
        let (publishers, viewers) = (of_kind(true), of_kind(false));
        self.rest(SETTLE)?;
        let (before, began) = (self.turns()?, Instant::now());
        found.spans_s.push(self.join(plans, gap, has_media)?);
        // Both windows are equally long.
        self.rest(window.saturating_sub(began.elapsed()))?;
        let (all, control) = self.turns()?;
        found.joins.push(all.since(&before.0));
        found.control.push(control.since(&before.1));
        let times = |numbers: &[u32]| {
            numbers.iter().map(|number| self.crowd.peers[number].times).collect::<Vec<_>>()
        };
        found.publishers.extend(times(&publishers));
        found.viewers.extend(times(&viewers));
        Ok([publishers, viewers].concat())
    }

    fn rest(&mut self, time: Duration) -> Result<()> {
        self.crowd.until(time, |_| Ok(false)).map(|_| ())
    }

    /// What the workers have counted: all turns, and those that did something for the control plane.
    fn turns(&self) -> Result<(Turns, Turns)> {
        let shown = self.node.show("worker");
        Ok((Turns::read(&shown, "turn_cpu_ns")?, Turns::read(&shown, "turn_cpu_control_ns")?))
    }
}

/// Whether media came from or to the peer. A publisher falls silent when both viewers of its room have
/// heard it, so that the members' media stays what the worker does; the viewer of a pair has the number
/// behind its publisher's.
fn has_media(peers: &mut HashMap<u32, Peer>, number: u32) -> bool {
    let peer = &peers[&number];
    let has_media = peer.times.media.is_some();
    if peer.plan.publishes || !has_media {
        return has_media;
    }
    let Some(publisher) = peers.get_mut(&(number - 1)) else { return false };
    publisher.is_on = publisher.times.media.is_none();
    !publisher.is_on
}

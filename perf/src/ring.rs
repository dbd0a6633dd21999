//! `dpdk`: the shard behind a DPDK memory port, beside the same port without the core.
//!
//! The device is `net_ring0`: what it sends it receives, through a ring in DPDK's memory, so all of
//! DPDK's and netif's work is in the figure and no NIC is. A far end on the same ring makes the frames,
//! answers ARP, and takes what was sent; its work is not measured. Turns with the core and turns that
//! only echo alternate in one run.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrayvec::ArrayVec;
use clap::Args;
use port::dpdk::{Dpdk, DpdkBuf, DpdkConfig, DpdkDevice};
use port::netif::Netif;
use port::{EtherCaps, EtherDevice, Frame, Port, PortConfig};
use roomlane_core::{BURST_MAX, Buf, Burst, Duration, Pool, TX_BURST_MAX, TxBurst};
use serde_json::json;
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, FrameRepr};
use wire::ipv4::Ipv4Repr;
use wire::udp::UdpRepr;
use wire::{Mac, Protocol};

use crate::bed::{Bed, LOCAL, Stream};
use crate::report::{Figure, Report};
use crate::sample::{Cut, Probe, Summary};
use crate::scenario::Shape;

/// Link address of the far end.
const FAR: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;
/// Frames that the device's ring holds, less one.
const RING: u32 = 1023;
/// Turns without a measurement, while neighbours are found.
const WARM_UP: u32 = 16;

/// What `dpdk` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// The device: one whose sent frames come back.
    #[arg(long, default_value = "net_ring0")]
    device: String,
    /// Turns of each kind, 32 packets each, or as many as have copies that fit the device.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    rounds: u32,
    /// One shape instead of four: subscribers of the publisher,
    #[arg(long, requires = "payload", value_parser = clap::value_parser!(u32).range(1..=1000))]
    fanout: Option<u32>,
    /// and bytes of its payload.
    #[arg(long, requires = "fanout", value_parser = clap::value_parser!(u32).range(1..=1400))]
    payload: Option<u32>,
}

/// Runs 1:1 and 1:10, for sound and pictures.
///
/// # Errors
/// No DPDK in this build, or a device that does not start or loses packets.
pub fn run(options: &Options) -> Result<Report> {
    let config = DpdkConfig { telemetry: false, ..DpdkConfig::new(&options.device) };
    let (dpdk, devices) = Dpdk::open(&config).context("the DPDK device")?;
    let device = devices.into_iter().next().context("the device has no queue")?;
    let _lcore = device.register_thread()?;
    let mut report = Report::new("dpdk", format!("dpdk {} ({})", options.device, dpdk.memory()));
    let mut probe = Probe::new();
    let shared = Shared(Rc::new(RefCell::new(device)));
    let shapes = match (options.fanout, options.payload) {
        (Some(fanout), Some(payload)) => vec![(fanout, payload as usize)],
        _ => vec![(1, 160), (10, 160), (1, 1200), (10, 1200)],
    };
    for (fanout, payload) in shapes {
        let shape = Shape { rooms: 16, fanout, payload, has_extension: false };
        measure(shape, &shared, options, &mut probe, &mut report)?;
    }
    Ok(report)
}

fn measure(
    shape: Shape,
    shared: &Shared,
    options: &Options,
    probe: &mut Probe,
    report: &mut Report,
) -> Result<()> {
    let port = PortConfig {
        addresses: vec!["198.18.0.2/15".parse()?],
        gateways: vec![],
        advertise: vec![],
        udp_base: LOCAL.port,
        shards: 1,
        vlan: 0,
        mtu: 1500,
    };
    let netif = Netif::new(shared.clone(), &port, [7; 16])?;
    let mut bed = Bed::open(shape, netif);
    // A turn's copies fit the ring.
    let burst = BURST_MAX.min((RING / shape.fanout) as usize);
    let mut far = FarEnd { device: shared.clone(), to: Mac(shared.mac()), room: 0, burst };
    far.take(&mut bed)?;
    let (mut with_core, mut echoed) = (vec![], vec![]);
    let mut cut_rounds = 0;
    for round in 0..options.rounds + WARM_UP {
        let (cut, alone) = (Cut::begin(), probe.is_alone());
        far.send_burst(&mut bed.streams, shape.payload)?;
        let core_ns = turn(&mut bed);
        let copies = far.take(&mut bed)?;
        far.send_burst(&mut bed.streams, shape.payload)?;
        let echo_ns = echo(&mut bed);
        let echoes = far.take(&mut bed)?;
        let was_cut = cut.happened() || !alone || !probe.is_alone();
        bed.pass(Duration::from_ms(1));
        far.take(&mut bed)?;
        if round < WARM_UP {
            continue;
        }
        // Housekeeping may add a report to a turn; it may not take a copy away.
        let expected = shape.fanout as usize * burst;
        ensure!(copies >= expected, "of {expected} copies {copies} left");
        ensure!(echoes == burst, "of {burst} datagrams {echoes} were echoed");
        if was_cut {
            cut_rounds += 1;
            continue;
        }
        with_core.push(core_ns / burst as f64);
        echoed.push(echo_ns / burst as f64);
    }
    report.sampled(options.rounds.into(), cut_rounds);
    ensure!(bed.io.port.in_use() == 0, "{} buffers leaked", bed.io.port.in_use());
    tell(shape, with_core, echoed, report)
}

fn tell(shape: Shape, with_core: Vec<f64>, echoed: Vec<f64>, report: &mut Report) -> Result<()> {
    let name = format!("fanout_{}_payload_{}_dpdk", shape.fanout, shape.payload);
    let everything_cut = || format!("{name}: no round was left alone");
    let with_core = Summary::of(with_core).with_context(everything_cut)?;
    let echoed = Summary::of(echoed).with_context(everything_cut)?;
    let out_per_s = 1e9 / with_core.median * f64::from(shape.fanout);
    let echo_per_s = 1e9 / echoed.median;
    report.push(
        Figure::new(format!("{name}_out_pps"), out_per_s, "/s")
            .note(format!("of one core; echo alone {echo_per_s:.0}/s"))
            .detail(json!({ "core_ns_per_packet_in": with_core, "echo_ns_per_packet": echoed })),
    );
    let per_copy = with_core.median / f64::from(shape.fanout);
    report.push(
        Figure::new(format!("{name}_over_echo"), per_copy / echoed.median, "x")
            .note(format!("{per_copy:.0} ns against {:.0} ns a datagram sent", echoed.median)),
    );
    Ok(())
}

type DpdkBed = Bed<Netif<Shared>>;

fn turn(bed: &mut DpdkBed) -> f64 {
    let began = Instant::now();
    bed.turn();
    began.elapsed().as_nanos() as f64
}

/// The same turn without a shard: every datagram goes back where it came from.
fn echo(bed: &mut DpdkBed) -> f64 {
    let (mut rx, mut tx) = (Burst::new(), TxBurst::new());
    let (now, port) = (bed.now.mono, &mut bed.io.port);
    let began = Instant::now();
    port.rx_burst(now, &mut rx);
    tx.extend(rx.drain(..));
    port.tx_burst(now, &mut tx);
    let span = began.elapsed().as_nanos() as f64;
    tx.drain(..).for_each(|datagram| port.free(datagram.buf));
    span
}

/// The device, for netif above it and for the far end beside it; on one thread.
#[derive(Clone)]
struct Shared(Rc<RefCell<DpdkDevice>>);

impl Pool for Shared {
    type Buf = DpdkBuf;

    #[inline]
    fn alloc(&mut self) -> Option<DpdkBuf> {
        self.0.borrow_mut().alloc()
    }

    #[inline]
    fn free(&mut self, buf: DpdkBuf) {
        self.0.borrow_mut().free(buf);
    }

    fn in_use(&self) -> usize {
        self.0.borrow().in_use()
    }
}

impl EtherDevice for Shared {
    fn mac(&self) -> [u8; 6] {
        self.0.borrow().mac()
    }

    fn ether_caps(&self) -> EtherCaps {
        self.0.borrow().ether_caps()
    }

    #[inline]
    fn rx_frames(&mut self, rx: &mut ArrayVec<Frame<DpdkBuf>, BURST_MAX>) -> usize {
        self.0.borrow_mut().rx_frames(rx)
    }

    #[inline]
    fn tx_frames(&mut self, tx: &mut ArrayVec<DpdkBuf, TX_BURST_MAX>) -> usize {
        self.0.borrow_mut().tx_frames(tx)
    }

    fn wait(&mut self, timeout_ns: u64) {
        self.0.borrow_mut().wait(timeout_ns);
    }
}

/// The host of all publishers and subscribers.
struct FarEnd {
    device: Shared,
    to: Mac,
    room: usize,
    burst: usize,
}

impl FarEnd {
    /// Puts a burst of sealed packets on the ring, of one room after the other.
    fn send_burst(&mut self, streams: &mut [Stream], payload: usize) -> Result<()> {
        let mut frames = ArrayVec::new();
        for _ in 0..self.burst {
            self.room = (self.room + 1) % streams.len();
            let stream = &mut streams[self.room];
            let mut buf = self.device.alloc().context("no buffer for the far end")?;
            let space = buf.append(HEADERS + 1500).context("room for a frame")?;
            let len = stream.seal_next(payload, &mut space[HEADERS..]);
            buf.truncate(HEADERS + len);
            self.write_headers(stream, &mut buf)?;
            frames.push(buf);
        }
        self.put(frames)
    }

    fn write_headers(&self, stream: &Stream, buf: &mut DpdkBuf) -> Result<()> {
        let (from, to) = (stream.remote(), LOCAL);
        let v4 = |address: proto::Endpoint| address.as_v4().context("IPv4").map(Into::into);
        let (src, dst): (std::net::Ipv4Addr, std::net::Ipv4Addr) = (v4(from)?, v4(to)?);
        let (link, rest) = buf.bytes_mut().split_at_mut(14);
        let (ip, datagram) = rest.split_at_mut(20);
        FrameRepr { dst: self.to, src: FAR, vlan: None, ethertype: EtherType::IPV4 }.emit(link)?;
        let (protocol, payload_len) = (Protocol::UDP, datagram.len());
        let (ident, dont_fragment, ttl, dscp) = (0, true, 64, 0);
        Ipv4Repr { src, dst, protocol, payload_len, ident, dont_fragment, ttl, dscp }.emit(ip)?;
        let ports = UdpRepr { src_port: from.port, dst_port: to.port };
        Ok(ports.emit(src.into(), dst.into(), datagram)?)
    }

    /// Takes everything off the ring and returns how many datagrams there were. A question for a link
    /// address is answered, and the answer given to the node at once.
    fn take(&mut self, bed: &mut DpdkBed) -> Result<usize> {
        let mut datagrams = 0;
        loop {
            let mut frames = ArrayVec::new();
            if self.device.rx_frames(&mut frames) == 0 {
                return Ok(datagrams);
            }
            let mut answers = ArrayVec::new();
            for frame in frames {
                match question(frame.buf.bytes()) {
                    Some(arp) => answers.push(self.answer(&arp)?),
                    None => datagrams += 1,
                }
                self.device.free(frame.buf);
            }
            if !answers.is_empty() {
                // What still lies before the answers is counted first.
                let mut left = ArrayVec::<Frame<DpdkBuf>, BURST_MAX>::new();
                while self.device.rx_frames(&mut left) > 0 {
                    datagrams += left.len();
                    left.drain(..).for_each(|frame| self.device.free(frame.buf));
                }
                self.put(answers)?;
                bed.turn();
            }
        }
    }

    fn answer(&mut self, asked: &Arp) -> Result<DpdkBuf> {
        let mut buf = self.device.alloc().context("no buffer for an answer")?;
        let space = buf.append(60).context("room for an answer")?;
        space.fill(0);
        let (link, rest) = space.split_at_mut(14);
        FrameRepr { dst: self.to, src: FAR, vlan: None, ethertype: EtherType::ARP }.emit(link)?;
        let answer = Arp {
            operation: Operation::Reply,
            sender_mac: FAR,
            sender_ip: asked.target_ip,
            target_mac: asked.sender_mac,
            target_ip: asked.sender_ip,
        };
        answer.emit(rest)?;
        Ok(buf)
    }

    fn put(&mut self, mut frames: ArrayVec<DpdkBuf, TX_BURST_MAX>) -> Result<()> {
        self.device.tx_frames(&mut frames);
        ensure!(frames.is_empty(), "the ring is full");
        Ok(())
    }
}

fn question(frame: &[u8]) -> Option<Arp> {
    let view = wire::ethernet::Frame::new_checked(frame).ok()?;
    let is_arp = view.ethertype() == EtherType::ARP;
    let arp = is_arp.then(|| Arp::parse(view.payload()).ok())??;
    (arp.operation == Operation::Request).then_some(arp)
}

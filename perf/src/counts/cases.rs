//! What `counts` counts: each case sets the scene, hands its packets over to be counted, and looks whether they ended
//! where they should.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use arrayvec::ArrayVec;
use port::netif::Netif;
use port::sim::ether;
use port::{Port, PortConfig, Prefix};
use proto::{Command, DropReason, Endpoint, Path, RoomNo};
use roomlane_core::{
    BURST_MAX, Buf, Burst, Datagram, Duration, Instant, Pool, TX_BURST_MAX, TxBurst,
};
use srtp::{FanoutProvider, NullProvider};

use crate::bed::{Bed, LOCAL, MemoryPort};
use crate::cores;
use crate::fanout::Order;
use crate::ladder::STRANGE_TYPE;
use crate::scenario::Shape;
use crate::seal::Counted;

/// Whoever counts what is done in a call.
pub type Counter<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// One step.
pub struct Case {
    /// Its name in the file.
    pub name: &'static str,
    /// What the total is divided by.
    pub packets: usize,
    /// Sets the scene, calls the counter once, and looks at what came of it.
    pub run: fn(Counter<'_>) -> Result<()>,
}

const fn case(name: &'static str, packets: usize, run: fn(Counter<'_>) -> Result<()>) -> Case {
    Case { name, packets, run }
}

/// All of them, as a packet meets them.
pub const CASES: &[Case] = &[
    case("classify", PACKETS, classify),
    case("lookup", PACKETS, |counter| walk(Rung::Lookup, counter)),
    case("open", PACKETS, |counter| walk(Rung::Open, counter)),
    case("route", PACKETS, |counter| walk(Rung::Route, counter)),
    case("seal", COPIES, |counter| walk(Rung::Seal, counter)),
    case("worker", COPIES, worker),
    case("egress", PACKETS, egress),
    case("aead_seal_100", COPIES, |counter| aead(100, false, counter)),
    case("aead_seal_1200", COPIES, |counter| aead(1200, false, counter)),
    case("aead_open_100", BURST_MAX, |counter| aead(100, true, counter)),
    case("aead_open_1200", BURST_MAX, |counter| aead(1200, true, counter)),
];

const PACKETS: usize = 512;
const ROOMS: u32 = 4;
const FANOUT: u32 = 50;
/// Packets that become copies, and the copies.
const FORWARDED: usize = 64;
const COPIES: usize = FORWARDED * FANOUT as usize;
const PAYLOAD: usize = 100;

fn shape(fanout: u32) -> Shape {
    Shape { rooms: ROOMS, fanout, payload: PAYLOAD, has_extension: false }
}

fn bed(fanout: u32) -> Bed<MemoryPort, NullProvider> {
    let port = MemoryPort::new(PACKETS + 2 * TX_BURST_MAX + BURST_MAX, PACKETS);
    Bed::open_with(NullProvider, shape(fanout), port)
}

/// A first byte of neither STUN, DTLS nor RTP (RFC 7983).
const UNKNOWN: u8 = 100;

fn classify(counter: Counter<'_>) -> Result<()> {
    let mut bed = bed(0);
    for _ in 0..PACKETS {
        let path = Path { local: LOCAL, remote: bed.streams[0].remote() };
        let arrived = bed.io.port.arrive(path, |out| {
            out[..PAYLOAD].fill(UNKNOWN);
            PAYLOAD
        });
        ensure!(arrived, "no buffer");
    }
    counter(&mut || while bed.turn() > 0 {});
    let ended = bed.shard.counters().drops[DropReason::UnknownClass as usize];
    ensure!(ended == PACKETS as u64, "{ended} packets ended at classify");
    Ok(())
}

/// How far packets go.
#[derive(Clone, Copy, PartialEq)]
enum Rung {
    Lookup,
    Open,
    Route,
    Seal,
}

fn walk(rung: Rung, counter: Counter<'_>) -> Result<()> {
    let (fanout, packets) = if rung == Rung::Seal { (FANOUT, FORWARDED) } else { (0, PACKETS) };
    let mut bed = bed(fanout);
    match rung {
        // Every grant is of an older epoch from now on.
        Rung::Lookup => (1..=u64::from(ROOMS))
            .for_each(|room| bed.command(&Command::BumpEpoch { room: RoomNo(room), epoch: 2 })),
        Rung::Open => {
            bed.streams.iter_mut().for_each(|stream| stream.set_payload_type(STRANGE_TYPE))
        }
        Rung::Route | Rung::Seal => {}
    }
    let mut order = Order::new(ROOMS as usize);
    // The first packets of a stream bind and claim; they are let through before.
    for round in 0..2 {
        let packets = if round == 0 { BURST_MAX } else { packets };
        for _ in 0..packets {
            ensure!(bed.arrive(order.next()), "no buffer");
        }
        if round == 0 {
            while bed.turn() > 0 {}
            bed.pass(Duration::from_ms(1));
        }
    }
    counter(&mut || while bed.turn() > 0 {});
    let counters = bed.shard.counters();
    let ended = match rung {
        Rung::Lookup => counters.drops[DropReason::Revoked as usize],
        Rung::Open => counters.drops[DropReason::PayloadType as usize],
        Rung::Route => counters.done,
        Rung::Seal => counters.tx_packets / u64::from(FANOUT),
    };
    ensure!(ended == (packets + BURST_MAX) as u64, "{ended} packets ended where they should");
    Ok(())
}

/// Turns of a node's worker, at a time that stands still.
fn worker(counter: Counter<'_>) -> Result<()> {
    let mut lone = cores::Lone::new(shape(FANOUT));
    lone.store(BURST_MAX);
    lone.turns();
    lone.store(FORWARDED);
    let before = lone.sunk();
    counter(&mut || lone.turns());
    let copies = lone.sunk() - before;
    ensure!(copies == COPIES as u64, "{copies} copies came");
    Ok(())
}

/// Sealed datagrams to one next hop, through the headers below UDP.
fn egress(counter: Counter<'_>) -> Result<()> {
    let devices = ether::pair([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], PACKETS, 1500, 2 * PACKETS);
    let mut number = 0;
    let [mut near, mut far] = devices.map(|device| {
        number += 1;
        let prefix = Prefix { ip: IpAddr::from([198, 18, 0, number]), len: 24 };
        let config = PortConfig {
            addresses: vec![prefix],
            gateways: vec![],
            advertise: vec![],
            udp_base: 8000,
            shards: 1,
            vlan: 0,
            mtu: 1500,
        };
        Netif::new(device, &config, [number; 16]).expect("a configuration that holds")
    });
    let now = Instant(1_000_000_000);
    let path = Path {
        local: Endpoint::v4([198, 18, 0, 1], 8000),
        remote: Endpoint::v4([198, 18, 0, 2], 5000),
    };
    let made = |near: &mut Netif<ether::SimEther>| -> Result<ArrayVec<_, TX_BURST_MAX>> {
        let mut tx = TxBurst::new();
        for _ in 0..TX_BURST_MAX {
            let mut buf = near.alloc().ok_or_else(|| anyhow::anyhow!("no buffer"))?;
            let room = buf.append(12 + PAYLOAD + 16);
            room.ok_or_else(|| anyhow::anyhow!("no room"))?.fill(0x5a);
            tx.push(Datagram { path, dscp: 46, buf });
        }
        Ok(tx)
    };
    // The first ones are lost, and ask for the neighbour's address; then question and answer.
    let mut tx = made(&mut near)?;
    near.tx_burst(now, &mut tx);
    let mut rx = Burst::new();
    far.rx_burst(now, &mut rx);
    near.rx_burst(now, &mut rx);
    let mut bursts = vec![];
    for _ in 0..PACKETS / TX_BURST_MAX {
        bursts.push(made(&mut near)?);
    }
    let mut sent = 0;
    counter(&mut || {
        for tx in &mut bursts {
            sent += near.tx_burst(now, tx);
        }
    });
    ensure!(sent == PACKETS, "{sent} datagrams left");
    Ok(())
}

/// The kernel's narrow path, which is on every CPU that has AES instructions.
fn aead(payload: usize, opens: bool, counter: Counter<'_>) -> Result<()> {
    let provider = FanoutProvider::with_path("aesni")?;
    let mut counted = Counted::new(provider, payload);
    match opens {
        true => counted.open(counter),
        false => counted.seal(FORWARDED, counter),
    }
    Ok(())
}

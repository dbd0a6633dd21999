//! Devices that need nothing of the host: null and ring.
#![cfg(dpdk)]

mod support;

use arrayvec::ArrayVec;
use dpdk::{
    DevConfig, Devargs, Eal, Error, EthDev, Lcore, Mbuf, Mempool, PoolConfig, RxQueue, Step,
    TxQueue,
};
use support::{in_child, start};

fn pool(eal: &Eal, mbufs: u32) -> Mempool {
    Mempool::new(eal, &PoolConfig { mbufs, ..PoolConfig::default() }).expect("the pool fits")
}

fn probe(eal: &Eal, devargs: &str) -> EthDev {
    let devargs = Devargs::parse(devargs).unwrap();
    EthDev::probe(eal, &devargs).unwrap_or_else(|error| panic!("{error}"))
}

fn start_single(eal: &Eal, devargs: &str, pool: &Mempool) -> (EthDev, RxQueue, TxQueue) {
    let mut dev = probe(eal, devargs);
    let mut queues = dev.start(&DevConfig::default(), pool).expect("it starts");
    let (rx, tx) = queues.pop().expect("one pair");
    (dev, rx, tx)
}

#[test]
fn a_ring_returns_every_frame_once_in_order_and_unchanged() {
    in_child("a_ring_returns_every_frame_once_in_order_and_unchanged", || {
        let eal = start(64);
        let _lcore = Lcore::register(&eal).unwrap();
        let pool = pool(&eal, 2047);
        let (dev, mut rx, mut tx) = start_single(&eal, "net_ring0", &pool);
        let (mut sent, mut seen) = (0u64, 0u64);
        while seen < 100_000 {
            let mut frames: ArrayVec<Mbuf, 64> = ArrayVec::new();
            assert!(pool.alloc_bulk(48, &mut frames));
            for frame in &mut frames {
                frame.append(60).unwrap()[..8].copy_from_slice(&sent.to_be_bytes());
                sent += 1;
            }
            assert_eq!(tx.burst(&mut frames), 48);
            assert!(frames.is_empty());
            // An odd limit: what the device gave beyond it waits in the queue.
            while rx.burst(7, |mbuf| {
                assert_eq!(mbuf.bytes()[..8], seen.to_be_bytes());
                seen += 1;
            }) > 0
            {}
        }
        assert_eq!(seen, sent);
        let stats = dev.stats().unwrap();
        assert_eq!((stats.rx_packets, stats.tx_packets), (seen, sent));
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn what_a_full_ring_does_not_take_stays_with_the_caller() {
    in_child("what_a_full_ring_does_not_take_stays_with_the_caller", || {
        let eal = start(64);
        let pool = pool(&eal, 4095);
        let (_dev, mut rx, mut tx) = start_single(&eal, "net_ring0", &pool);
        let mut taken = 0;
        let rest = loop {
            let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
            assert!(pool.alloc_bulk(32, &mut frames));
            frames.iter_mut().for_each(|frame| assert!(frame.append(60).is_some()));
            taken += tx.burst(&mut frames);
            if !frames.is_empty() {
                break frames;
            }
        };
        assert_eq!(pool.in_use(), taken + rest.len());
        drop(rest);
        assert_eq!(pool.in_use(), taken);
        let mut received = 0;
        while rx.burst(32, drop) > 0 {
            received = taken;
        }
        assert_eq!((received, pool.in_use()), (taken, 0));
    });
}

#[test]
fn buffers_left_in_a_queue_come_back_when_it_is_dropped() {
    in_child("buffers_left_in_a_queue_come_back_when_it_is_dropped", || {
        let eal = start(64);
        let pool = pool(&eal, 1023);
        let (dev, mut rx, tx) = start_single(&eal, "net_null0,size=64", &pool);
        assert_eq!(rx.burst(5, drop), 5);
        assert_eq!(pool.in_use(), 27, "a burst of 32 less the five");
        drop((rx, tx, dev));
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn null_gives_frames_of_its_size_and_swallows_what_is_sent() {
    in_child("null_gives_frames_of_its_size_and_swallows_what_is_sent", || {
        let eal = start(64);
        let pool = pool(&eal, 1023);
        let (dev, mut rx, mut tx) = start_single(&eal, "net_null0,size=300", &pool);
        let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
        assert_eq!(rx.burst(32, |mbuf| frames.push(mbuf)), 32);
        assert!(frames.iter().all(|frame| frame.len() == 300));
        assert_eq!(tx.burst(&mut frames), 32);
        assert_eq!(pool.in_use(), 0);
        let xstats = dev.xstats().unwrap();
        let good = |name| xstats.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
        assert_eq!(good("rx_good_packets"), Some(32));
        assert_eq!(good("tx_good_packets"), Some(32));
        assert_eq!(good("no_such_counter"), None);
    });
}

#[test]
fn a_device_ends_with_its_last_handle_and_can_then_come_again() {
    in_child("a_device_ends_with_its_last_handle_and_can_then_come_again", || {
        let eal = start(64);
        let pool = pool(&eal, 1023);
        let devargs = Devargs::parse("net_null0").unwrap();
        let (dev, rx, tx) = start_single(&eal, "net_null0", &pool);
        let in_use = || EthDev::probe(&eal, &devargs).unwrap_err();
        assert_eq!(in_use(), Error::InUse { device: "net_null0".into() });
        drop((dev, tx));
        assert_eq!(in_use(), Error::InUse { device: "net_null0".into() }, "a queue is left");
        drop(rx);
        let (dev, ..) = start_single(&eal, "net_null0", &pool);
        assert_eq!(dev.info().unwrap().driver, "net_null");
    });
}

#[test]
fn what_a_device_cannot_do_is_refused_before_it_is_asked() {
    in_child("what_a_device_cannot_do_is_refused_before_it_is_asked", || {
        let eal = start(64);
        let pool = pool(&eal, 1023);
        let mut dev = probe(&eal, "net_ring0");
        let max = dev.info().unwrap().queues_max;
        for asked in [0, max + 1] {
            let config = DevConfig { queues: asked, ..DevConfig::default() };
            let error = dev.start(&config, &pool).unwrap_err();
            assert_eq!(error, Error::Queues { device: "net_ring0".into(), asked, max });
        }
        let config = DevConfig { mtu: Some(2027), ..DevConfig::default() };
        let error = dev.start(&config, &pool).unwrap_err();
        assert!(matches!(error, Error::Mtu { asked: 2027, max: 2026, .. }), "{error}");
        let config = DevConfig { mtu: Some(1501), ..DevConfig::default() };
        let mut fixed = probe(&eal, "net_ring1");
        let error = fixed.start(&config, &pool).unwrap_err();
        assert!(matches!(error, Error::Start { step: Step::Mtu, .. }), "{error}");
        let config = DevConfig { mtu: Some(1400), ..DevConfig::default() };
        assert!(dev.start(&config, &pool).is_ok());
        assert_eq!(dev.info().unwrap().mtu, 1500, "fixed, and large enough");
        let again = dev.start(&DevConfig::default(), &pool).unwrap_err();
        assert!(matches!(again, Error::InUse { .. }));
    });
}

#[test]
fn failures_carry_dpdks_own_words() {
    in_child("failures_carry_dpdks_own_words", || {
        let eal = start(64);
        let devargs = Devargs::parse("net_nosuch0,iface=x").unwrap();
        let error = EthDev::probe(&eal, &devargs).unwrap_err();
        assert!(matches!(error, Error::Probe { .. }));
        assert!(error.to_string().contains("net_nosuch0"), "{error}");
        let devargs = Devargs::parse("net_af_packet0,iface=nosuch0").unwrap();
        let error = EthDev::probe(&eal, &devargs).unwrap_err().to_string();
        assert!(error.contains("the driver refused"), "{error}");
        assert!(error.contains("No such device"), "{error}");
        let mut dev = probe(&eal, "net_ring0");
        let tiny =
            PoolConfig { name: "tiny".into(), mbufs: 7, data_room: 64, ..Default::default() };
        let tiny = Mempool::new(&eal, &tiny).unwrap();
        let error = dev.start(&DevConfig::default(), &tiny).unwrap_err();
        assert!(matches!(error, Error::Mtu { .. }), "{error}");
        assert_ne!(Step::Mtu.to_string(), "");
    });
}

#[test]
fn two_queues_carry_two_threads() {
    in_child("two_queues_carry_two_threads", || {
        let eal = start(64);
        let pool = pool(&eal, 4095);
        let mut dev = probe(&eal, "net_null0,size=64");
        let config = DevConfig { queues: 2, ..DevConfig::default() };
        let queues = dev.start(&config, &pool).unwrap();
        assert_eq!(queues.len(), 2);
        std::thread::scope(|scope| {
            for (mut rx, mut tx) in queues {
                let eal = &eal;
                scope.spawn(move || {
                    let _lcore = Lcore::register(eal).unwrap();
                    for _ in 0..10_000 {
                        let mut frames: ArrayVec<Mbuf, 32> = ArrayVec::new();
                        rx.burst(32, |mbuf| frames.push(mbuf));
                        while !frames.is_empty() {
                            tx.burst(&mut frames);
                        }
                    }
                });
            }
        });
        let stats = dev.stats().unwrap();
        assert_eq!((stats.rx_packets, stats.tx_packets), (640_000, 640_000));
        drop(dev);
        assert_eq!(pool.in_use(), 0);
    });
}

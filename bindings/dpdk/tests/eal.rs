//! EAL's life: memory, one start per process, lcores, and buffers that outlive everything else.
#![cfg(dpdk)]

mod support;

use std::thread;

use arrayvec::ArrayVec;
use dpdk::{Eal, EalConfig, Error, Lcore, Mbuf, Memory, MemoryMode, Mempool, PoolConfig};
use support::{in_child, no_huge, start};

fn pool(eal: &Eal, mbufs: u32) -> Mempool {
    Mempool::new(eal, &PoolConfig { mbufs, ..PoolConfig::default() }).expect("the pool fits")
}

fn free_pages() -> u32 {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(path).map_or(0, |text| text.trim().parse().unwrap())
}

#[test]
fn without_hugepages_it_runs_on_ordinary_pages() {
    in_child("without_hugepages_it_runs_on_ordinary_pages", || {
        let eal = start(64);
        assert!(!eal.has_hugepages());
        assert!(matches!(eal.memory(), MemoryMode::NoHuge { mib: 64, .. }));
        assert_eq!(pool(&eal, 4095).capacity(), 4095);
    });
}

#[test]
fn auto_takes_hugepages_exactly_when_enough_are_free() {
    in_child("auto_takes_hugepages_exactly_when_enough_are_free", || {
        let free = free_pages();
        let config = EalConfig { memory: Memory::Auto, memory_mib: 64, ..no_huge(64) };
        let eal = Eal::start(&config).expect("EAL starts");
        assert_eq!(eal.has_hugepages(), free >= 32, "{}", eal.memory());
        println!("memory: {}", eal.memory());
        drop(pool(&eal, 4095));
    });
}

#[test]
fn hugepages_that_are_not_there_refuse_the_start_with_dpdks_words() {
    in_child("hugepages_that_are_not_there_refuse_the_start_with_dpdks_words", || {
        if free_pages() > 0 {
            eprintln!("SKIPPED: this host has free hugepages");
            return;
        }
        let config = EalConfig { memory: Memory::Hugepages, ..no_huge(64) };
        let error = Eal::start(&config).unwrap_err();
        assert!(matches!(error, Error::Eal { .. }));
        let text = error.to_string().to_lowercase();
        assert!(text.contains("hugepage") || text.contains("memory"), "{text}");
    });
}

#[test]
fn the_second_start_is_refused_also_after_the_first_ended() {
    in_child("the_second_start_is_refused_also_after_the_first_ended", || {
        let eal = start(32);
        assert_eq!(Eal::start(&no_huge(32)).unwrap_err(), Error::AlreadyStarted);
        drop(eal);
        let error = Eal::start(&no_huge(32)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "EAL was started in this process before; it can start only once"
        );
    });
}

fn allowed_cpus() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list"));
    line.unwrap().to_owned()
}

#[test]
fn the_starting_thread_and_its_children_keep_their_cpus() {
    in_child("the_starting_thread_and_its_children_keep_their_cpus", || {
        let before = allowed_cpus();
        let _eal = start(32);
        assert_eq!(allowed_cpus(), before);
        assert_eq!(thread::spawn(allowed_cpus).join().unwrap(), before);
    });
}

#[test]
fn a_thread_becomes_an_lcore_once_and_its_cached_buffers_come_back_when_it_ends() {
    in_child(
        "a_thread_becomes_an_lcore_once_and_its_cached_buffers_come_back_when_it_ends",
        || {
            let eal = start(64);
            let pool = pool(&eal, 1023);
            let lcore = Lcore::register(&eal).unwrap();
            assert!(matches!(Lcore::register(&eal), Err(Error::Lcore { .. })));
            let id = lcore.id();
            let other = eal.clone();
            let other = thread::spawn(move || Lcore::register(&other).unwrap().id());
            assert_ne!(other.join().unwrap(), id);
            drop(lcore);
            let lcore = Lcore::register(&eal).unwrap();
            assert_eq!(lcore.id(), id);
            drop(pool.alloc().unwrap());
            drop(lcore);
            // All 1,023 are reachable from a thread without a cache only when none stayed in one.
            let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
            assert_eq!(all.len(), 1023);
        },
    );
}

#[test]
fn a_pools_name_is_free_again_only_when_its_last_buffer_is_back() {
    in_child("a_pools_name_is_free_again_only_when_its_last_buffer_is_back", || {
        let eal = start(64);
        let config = PoolConfig { mbufs: 255, ..PoolConfig::default() };
        let mbuf = Mempool::new(&eal, &config).unwrap().alloc().unwrap();
        let error = Mempool::new(&eal, &config).unwrap_err();
        assert!(error.to_string().contains("File exists"), "{error}");
        drop(mbuf);
        // Retired pools are looked at when something else of DPDK's goes.
        drop(Lcore::register(&eal).unwrap());
        Mempool::new(&eal, &config).unwrap();
    });
}

#[test]
fn a_buffer_may_outlive_its_pool_and_eal() {
    in_child("a_buffer_may_outlive_its_pool_and_eal", || {
        let eal = start(64);
        let pool = pool(&eal, 255);
        let mut mbuf = pool.alloc().unwrap();
        drop((pool, eal));
        mbuf.append(1200).unwrap().fill(0xab);
        assert!(mbuf.bytes().iter().all(|byte| *byte == 0xab));
        let moved = thread::spawn(move || mbuf.len());
        assert_eq!(moved.join().unwrap(), 1200);
    });
}

#[test]
fn a_pool_larger_than_memory_says_so() {
    in_child("a_pool_larger_than_memory_says_so", || {
        let eal = start(32);
        let config = PoolConfig { mbufs: 1 << 20, ..PoolConfig::default() };
        let error = Mempool::new(&eal, &config).unwrap_err();
        assert!(error.to_string().contains("Cannot allocate memory"), "{error}");
    });
}

#[test]
fn a_buffer_grows_and_shrinks_within_its_room() {
    in_child("a_buffer_grows_and_shrinks_within_its_room", || {
        let eal = start(32);
        let pool = pool(&eal, 63);
        let mut mbuf = pool.alloc().unwrap();
        assert_eq!((mbuf.headroom(), mbuf.len(), mbuf.tailroom()), (128, 0, 2048));
        mbuf.append(4).unwrap().copy_from_slice(b"body");
        mbuf.prepend(2).unwrap().copy_from_slice(b"h:");
        assert_eq!(mbuf.bytes(), b"h:body");
        assert!(mbuf.prepend(127).is_none() && mbuf.append(2045).is_none());
        mbuf.truncate(5);
        mbuf.advance(2);
        assert_eq!(mbuf.bytes(), b"bod");
        mbuf.bytes_mut()[0] = b'g';
        assert_eq!(mbuf.bytes(), b"god");
        mbuf.truncate(100);
        mbuf.advance(100);
        assert!(mbuf.is_empty());
        assert_eq!(mbuf.headroom() + mbuf.tailroom(), 2176);
        assert!(mbuf.append(mbuf.tailroom()).is_some());
        assert!(mbuf.prepend(mbuf.headroom()).is_some());
        assert_eq!(mbuf.len(), 2176);
    });
}

#[test]
fn bulk_allocation_is_all_or_nothing() {
    in_child("bulk_allocation_is_all_or_nothing", || {
        let eal = start(32);
        let pool = pool(&eal, 63);
        let mut out: ArrayVec<Mbuf, 64> = ArrayVec::new();
        assert!(!pool.alloc_bulk(64, &mut out), "the pool has 63");
        assert_eq!(pool.in_use(), 0);
        assert!(pool.alloc_bulk(40, &mut out));
        assert!(!pool.alloc_bulk(25, &mut out), "neither room nor buffers");
        assert_eq!((out.len(), pool.in_use()), (40, 40));
        drop(out);
        assert_eq!(pool.in_use(), 0);
    });
}

//! One test per shim function, against the software drivers. EAL starts once per process: the tests
//! share it and take turns, because DPDK's control functions are not made for several threads at
//! once.
#![cfg(dpdk)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Read;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use dpdk_sys::*;

static LOG: Mutex<Vec<(c_int, String)>> = Mutex::new(Vec::new());

extern "C" fn log(level: c_int, text: *const c_char, len: usize) {
    // SAFETY: the shim passes `len` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    LOG.lock().unwrap().push((level, String::from_utf8_lossy(bytes).into_owned()));
}

fn prefix() -> String {
    format!("roomlane-shim-{}", std::process::id())
}

/// Where EAL of a root process keeps its sockets.
fn runtime_dir() -> String {
    format!("/var/run/dpdk/{}", prefix())
}

/// Waits for this test's turn; starts EAL once, without hugepages, on a thread of its own (it pins
/// the thread it runs on).
fn eal() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    static EAL: OnceLock<c_int> = OnceLock::new();
    let rc = *EAL.get_or_init(|| {
        // SAFETY: the callback lives as long as the process.
        assert_eq!(unsafe { rl_log_open(log) }, 0);
        let prefix = format!("--file-prefix={}", prefix());
        let args =
            ["shim", "--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--lcores=0@0", &prefix];
        let args: Vec<_> = args.iter().map(|arg| CString::new(*arg).unwrap()).collect();
        thread::spawn(move || {
            let argv: Vec<_> = args.into_iter().map(CString::into_raw).collect();
            let argc = argv.len() as c_int;
            // SAFETY: argv is leaked, as EAL asks.
            unsafe { rl_eal_init(argc, argv.leak().as_mut_ptr()) }
        })
        .join()
        .unwrap()
    });
    assert!(rc >= 0, "{rc}: {:?}", LOG.lock().unwrap());
    turn
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn pool(name: &str, mbufs: u32, cache: u32) -> *mut RteMempool {
    let mut error = 0;
    // SAFETY: EAL is up; the name is NUL-terminated.
    let pool = unsafe { rl_pool_create(c(name).as_ptr(), mbufs, cache, 2176, -1, &mut error) };
    assert!(!pool.is_null(), "{name}: {error}");
    pool
}

fn alloc(pool: *mut RteMempool) -> *mut RteMbuf {
    // SAFETY: a live pool.
    unsafe { rl_mbuf_alloc(pool) }
}

fn free(mbuf: *mut RteMbuf) {
    // SAFETY: every caller owns what it passes.
    unsafe { rl_mbuf_free(mbuf) }
}

fn in_use(pool: *mut RteMempool) -> u32 {
    // SAFETY: a live pool.
    unsafe { rl_pool_in_use(pool) }
}

fn is_whole(pool: *mut RteMempool) -> bool {
    // SAFETY: a live pool.
    unsafe { rl_pool_is_whole(pool) == 1 }
}

fn probe(devargs: &str) -> u16 {
    // SAFETY: EAL is up.
    let rc = unsafe { rl_eth_probe(c(devargs).as_ptr()) };
    assert_eq!(rc, 0, "{devargs}: {:?}", LOG.lock().unwrap().last());
    find(devargs.split(',').next().unwrap()).try_into().unwrap()
}

fn find(name: &str) -> c_int {
    // SAFETY: EAL is up; the name is NUL-terminated.
    unsafe { rl_eth_find(c(name).as_ptr()) }
}

fn start(port: u16, pool: *mut RteMempool) {
    let conf = RlEthConf { queues: 1, rx_desc: 128, tx_desc: 128, ..Default::default() };
    let mut step = -1;
    // SAFETY: a probed device and a live pool.
    let rc = unsafe { rl_eth_start(port, &conf, pool, &mut step) };
    assert_eq!((rc, step), (0, RL_STEP_NONE));
}

fn rx(port: u16, refused: &mut u64) -> Vec<*mut RteMbuf> {
    let mut mbufs = [null_mut(); 32];
    // SAFETY: the device is started and only this thread polls it.
    let n = unsafe { rl_rx_burst(port, 0, mbufs.as_mut_ptr(), 32, refused) };
    mbufs[..n.into()].to_vec()
}

fn tx(port: u16, mbufs: &mut [*mut RteMbuf]) -> u16 {
    // SAFETY: the device is started, the caller owns the buffers and only this thread sends.
    unsafe { rl_tx_burst(port, 0, mbufs.as_mut_ptr(), mbufs.len() as u16) }
}

fn close(port: u16) {
    // SAFETY: nobody polls the device any more.
    assert_eq!(unsafe { rl_eth_close(port) }, 0);
}

fn free_pool(pool: *mut RteMempool) {
    assert!(is_whole(pool));
    // SAFETY: every buffer is back and no thread uses the pool.
    unsafe { rl_pool_free(pool) }
}

#[test]
fn rl_eal_init_refuses_the_second_start() {
    let _turn = eal();
    let mut argv = [c("again").into_raw()];
    // SAFETY: argv is leaked.
    assert!(unsafe { rl_eal_init(1, argv.as_mut_ptr()) } < 0);
}

#[test]
fn rl_runtime_dir_is_where_the_file_prefix_says() {
    let _turn = eal();
    // SAFETY: EAL is up.
    let dir = unsafe { rl_runtime_dir() };
    // SAFETY: a static, NUL-terminated string.
    let dir = unsafe { CStr::from_ptr(dir) }.to_str().unwrap();
    assert_eq!(dir, runtime_dir());
}

#[test]
fn rl_has_hugepages_is_false_with_no_huge() {
    let _turn = eal();
    // SAFETY: EAL is up.
    assert_eq!(unsafe { rl_has_hugepages() }, 0);
}

#[test]
fn rl_strerror_takes_either_sign() {
    for error in [19, -19] {
        // SAFETY: no precondition; read before the next call.
        let text = unsafe { rl_strerror(error) };
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(text) }.to_str(), Ok("No such device"));
    }
}

#[test]
fn rl_tsc_hz_is_a_plausible_clock() {
    let _turn = eal();
    // SAFETY: EAL is up.
    let hz = unsafe { rl_tsc_hz() };
    assert!((500_000_000..10_000_000_000).contains(&hz), "{hz}");
}

#[test]
fn rl_log_reaches_the_callback_with_its_level() {
    let _turn = eal();
    let line = c("a line for the callback");
    // SAFETY: NUL-terminated.
    assert!(unsafe { rl_log(RTE_LOG_ERR, line.as_ptr()) } > 0);
    let log = LOG.lock().unwrap();
    assert!(log.iter().any(|(level, text)| {
        *level == RTE_LOG_ERR as c_int && text.contains("a line for the callback")
    }));
}

#[test]
fn rl_thread_register_gives_an_lcore_and_unregister_takes_it_and_flushes_its_cache() {
    let _turn = eal();
    let pool = pool("lcore", 511, 64);
    thread::spawn(move || {}).join().unwrap();
    let address = pool as usize;
    thread::spawn(move || {
        let pool = address as *mut RteMempool;
        // SAFETY: EAL is up.
        assert_eq!(unsafe { rl_lcore_id() }, -1);
        // SAFETY: as above.
        let id = unsafe { rl_thread_register() };
        assert!(id > 0, "{id}");
        // SAFETY: as above.
        assert_eq!(unsafe { rl_lcore_id() }, id);
        free(alloc(pool));
        assert_eq!(in_use(pool), 0);
        assert!(!is_whole(pool), "the buffer lies in the thread's cache");
        // SAFETY: this thread is registered.
        unsafe { rl_thread_unregister() };
        assert!(is_whole(pool));
        // SAFETY: EAL is up.
        assert_eq!(unsafe { rl_lcore_id() }, -1);
    })
    .join()
    .unwrap();
    free_pool(pool);
}

#[test]
fn rl_pool_create_says_why_it_failed() {
    let _turn = eal();
    let mut error = 0;
    // SAFETY: EAL is up.
    let pool = unsafe { rl_pool_create(c("huge").as_ptr(), 1 << 24, 0, 2176, -1, &mut error) };
    assert!(pool.is_null());
    assert_eq!(error, -12, "ENOMEM");
}

#[test]
fn rl_pool_in_use_and_is_whole_follow_alloc_and_free() {
    let _turn = eal();
    let pool = pool("follow", 63, 0);
    let mbuf = alloc(pool);
    assert_eq!((in_use(pool), is_whole(pool)), (1, false));
    free(mbuf);
    assert_eq!((in_use(pool), is_whole(pool)), (0, true));
    free_pool(pool);
}

/// net_af_xdp tells the kernel of as much memory as one buffer's size times the buffers; what lies beyond is lost
/// to it. And who was freed last is the next.
#[test]
fn rl_pool_create_packs_its_buffers_and_hands_out_the_warmest() {
    const MBUFS: usize = 1023;
    /// A header of the pool's, an mbuf, its room, and padding to whole cache lines.
    const SIZE: usize = 64 + 128 + 2176;
    let _turn = eal();
    let pool = pool("packed", MBUFS as u32, 0);
    let all: Vec<_> = (0..MBUFS).map(|_| alloc(pool)).collect();
    let places = || all.iter().map(|mbuf| mbuf.addr());
    let span = places().max().unwrap() - places().min().unwrap();
    assert!(span <= (MBUFS - 1) * SIZE, "{} bytes each", span / (MBUFS - 1));
    free(all[7]);
    free(all[500]);
    assert_eq!([alloc(pool), alloc(pool)], [all[500], all[7]]);
    all.iter().for_each(|mbuf| free(*mbuf));
    assert!(is_whole(pool));
    free_pool(pool);
}

#[test]
fn rl_pool_free_makes_the_name_free_again() {
    let _turn = eal();
    free_pool(pool("again", 63, 0));
    free_pool(pool("again", 63, 0));
}

#[test]
fn rl_mbuf_alloc_gives_an_empty_buffer_with_headroom_until_the_pool_is_empty() {
    let _turn = eal();
    let pool = pool("alloc", 3, 0);
    let mbufs: Vec<_> = (0..3).map(|_| alloc(pool)).collect();
    // SAFETY: a fresh buffer we own.
    let m = unsafe { &*mbufs[0] };
    assert_eq!((m.data_off, m.data_len, m.pkt_len), (RTE_PKTMBUF_HEADROOM, 0, 0));
    assert_eq!((m.buf_len, m.nb_segs, m.refcnt), (2176, 1, 1));
    assert!(alloc(pool).is_null());
    mbufs.into_iter().for_each(free);
    free_pool(pool);
}

#[test]
fn rl_mbuf_alloc_bulk_is_all_or_nothing_and_free_bulk_takes_them_back() {
    let _turn = eal();
    let pool = pool("bulk", 7, 0);
    let mut mbufs = [null_mut(); 8];
    // SAFETY: a live pool and room for eight.
    assert!(unsafe { rl_mbuf_alloc_bulk(pool, mbufs.as_mut_ptr(), 8) } < 0);
    assert_eq!(in_use(pool), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { rl_mbuf_alloc_bulk(pool, mbufs.as_mut_ptr(), 7) }, 0);
    assert_eq!(in_use(pool), 7);
    // SAFETY: we own the seven.
    unsafe { rl_mbuf_free_bulk(mbufs.as_mut_ptr(), 7) };
    free_pool(pool);
}

#[test]
fn rl_eth_find_knows_devices_by_name_only() {
    let _turn = eal();
    let port = probe("net_null_find,size=64");
    assert_eq!(find("net_null_find"), port.into());
    assert_eq!(find("net_null_nobody"), -19, "ENODEV");
    close(port);
}

#[test]
fn rl_eth_probe_refuses_an_unknown_driver_and_says_so_in_the_log() {
    let _turn = eal();
    // SAFETY: EAL is up.
    assert!(unsafe { rl_eth_probe(c("net_nosuch0").as_ptr()) } < 0);
    assert!(LOG.lock().unwrap().iter().any(|(_, text)| text.contains("net_nosuch0")));
}

#[test]
fn rl_eth_info_names_the_driver_and_its_limits() {
    let _turn = eal();
    let port = probe("net_ring_info");
    // SAFETY: all-zero is a valid value of the structure.
    let mut info: RlEthInfo = unsafe { std::mem::zeroed() };
    // SAFETY: a probed device.
    assert_eq!(unsafe { rl_eth_info(port, &mut info) }, 0);
    // SAFETY: the shim NUL-terminates names.
    assert_eq!(unsafe { CStr::from_ptr(info.driver.as_ptr()) }.to_str(), Ok("net_ring"));
    // SAFETY: as above.
    assert_eq!(unsafe { CStr::from_ptr(info.name.as_ptr()) }.to_str(), Ok("net_ring_info"));
    assert!(info.rx_queues_max >= 1 && info.tx_queues_max >= 1);
    assert_eq!(info.mtu, 1500);
    close(port);
    // SAFETY: any number may be asked.
    assert!(unsafe { rl_eth_info(port, &mut info) } < 0);
}

#[test]
fn rl_eth_start_says_at_which_step_it_failed() {
    let _turn = eal();
    let pool = pool("step", 255, 0);
    let port = probe("net_ring_step");
    let conf = RlEthConf { queues: 4096, rx_desc: 64, tx_desc: 64, ..Default::default() };
    let mut step = -1;
    // SAFETY: a probed device and a live pool.
    assert!(unsafe { rl_eth_start(port, &conf, pool, &mut step) } < 0);
    assert_eq!(step, RL_STEP_CONFIGURE);
    close(port);
    free_pool(pool);
}

#[test]
fn rl_tx_burst_and_rl_rx_burst_move_a_frame_through_a_ring_and_rl_eth_stats_counts_it() {
    let _turn = eal();
    let pool = pool("ring", 255, 0);
    let port = probe("net_ring_loop");
    start(port, pool);
    let mbuf = alloc(pool);
    // SAFETY: a fresh buffer we own.
    let m = unsafe { &mut *mbuf };
    (m.data_len, m.pkt_len) = (60, 60);
    assert_eq!(tx(port, &mut [mbuf]), 1);
    let mut refused = 0;
    let got = rx(port, &mut refused);
    assert_eq!(got, [mbuf], "a ring hands over the same buffer");
    assert_eq!(refused, 0);
    let mut stats = RlEthStats::default();
    // SAFETY: a started device.
    assert_eq!(unsafe { rl_eth_stats(port, &mut stats) }, 0);
    assert_eq!((stats.rx_packets, stats.tx_packets), (1, 1));
    free(mbuf);
    close(port);
    free_pool(pool);
}

#[test]
fn rl_rx_burst_frees_and_counts_what_has_two_segments_or_two_owners() {
    let _turn = eal();
    let pool = pool("chain", 255, 0);
    let port = probe("net_ring_chain");
    start(port, pool);
    let (head, tail, shared, plain) = (alloc(pool), alloc(pool), alloc(pool), alloc(pool));
    // SAFETY: both are fresh and ours; the tail becomes the head's.
    assert_eq!(unsafe { rl_mbuf_chain(head, tail) }, 0);
    // SAFETY: ours.
    unsafe { (*shared).refcnt = 2 };
    assert_eq!(tx(port, &mut [head, shared, plain]), 3);
    let mut refused = 0;
    assert_eq!(rx(port, &mut refused), [plain]);
    assert_eq!(refused, 2);
    assert_eq!(in_use(pool), 2, "plain, and shared with its other owner");
    free(shared);
    free(plain);
    close(port);
    free_pool(pool);
}

#[test]
fn rl_eth_xstats_names_its_values_and_asks_for_room() {
    let _turn = eal();
    let pool = pool("xstats", 1023, 0);
    let port = probe("net_null_xstats,size=60");
    start(port, pool);
    let mut refused = 0;
    rx(port, &mut refused).into_iter().for_each(free);
    // SAFETY: nothing is written to no room.
    let count = unsafe { rl_eth_xstats(port, null_mut(), 0) };
    assert!(count >= 8, "{count}");
    let blank = RlXstat { name: [0; RL_NAME_MAX], value: 0 };
    let mut xstats = vec![blank; count as usize];
    // SAFETY: room for `count`.
    assert_eq!(unsafe { rl_eth_xstats(port, xstats.as_mut_ptr(), count as u32) }, count);
    let received = xstats.iter().find(|xstat| {
        // SAFETY: the shim NUL-terminates names.
        unsafe { CStr::from_ptr(xstat.name.as_ptr()) }.to_bytes() == b"rx_good_packets"
    });
    assert_eq!(received.unwrap().value, 32);
    close(port);
    free_pool(pool);
}

#[test]
fn rl_eth_close_unplugs_so_that_the_name_can_come_again() {
    let _turn = eal();
    close(probe("net_null_close"));
    assert!(find("net_null_close") < 0);
    close(probe("net_null_close"));
}

extern "C" fn answer(cmd: *const c_char, params: *const c_char, out: *mut RteTelData) -> c_int {
    // SAFETY: telemetry passes a NUL-terminated command.
    let cmd = unsafe { CStr::from_ptr(cmd) };
    if cmd.to_bytes() == b"/roomlane/text" {
        // SAFETY: both are live for the call.
        return unsafe {
            rl_tel_string(out, if params.is_null() { c"none".as_ptr() } else { params })
        };
    }
    // SAFETY: `out` is the answer of this call.
    assert_eq!(unsafe { rl_tel_dict(out) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { rl_tel_dict_u64(out, c"rooms".as_ptr(), 7) }, 0);
    // SAFETY: as above.
    unsafe { rl_tel_dict_string(out, c"state".as_ptr(), c"up".as_ptr()) }
}

/// The official client speaks to the same socket: one command per message, JSON back.
fn ask(command: &str) -> String {
    let script = format!(
        "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n\
         s.connect('{}/dpdk_telemetry.v2')\ns.recv(1024)\ns.send(b'{command}')\n\
         sys.stdout.write(s.recv(16384).decode())",
        runtime_dir()
    );
    let mut child = std::process::Command::new("python3")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    text
}

#[test]
fn rl_telemetry_register_answers_with_strings_and_dictionaries_on_the_socket() {
    let _turn = eal();
    for cmd in [c"/roomlane/text", c"/roomlane/dict"] {
        // SAFETY: NUL-terminated; the callback is a function.
        let rc = unsafe { rl_telemetry_register(cmd.as_ptr(), c"a test".as_ptr(), answer) };
        assert_eq!(rc, 0);
    }
    assert_eq!(ask("/roomlane/text,hello"), r#"{"/roomlane/text":"hello"}"#);
    assert_eq!(ask("/roomlane/dict"), r#"{"/roomlane/dict":{"rooms":7,"state":"up"}}"#);
    // Nothing else needs the socket; EAL leaves the directory behind.
    std::fs::remove_dir_all(runtime_dir()).unwrap();
}

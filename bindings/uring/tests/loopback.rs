//! Real datagrams over the loopback interface: content, addresses, limits, threads, signals, ends.
//!
//! One test makes a network namespace for its own thread and needs root; without, it says so.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uring::{Arrival, CAPACITY_BYTES, Config, Departure, Packet, SendError, UdpRing};

/// Held by whoever starts processes, and by whoever needs a port to be free at once: between fork and
/// exec a child has copies of all sockets.
static FORKS: Mutex<()> = Mutex::new(());

fn no_forks() -> MutexGuard<'static, ()> {
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn ring(at: &str) -> UdpRing {
    UdpRing::bind(&Config::new(vec![address(at)])).expect("bind")
}

fn local(ring: &UdpRing) -> SocketAddr {
    ring.local_addresses().next().expect("one socket")
}

fn to(remote: SocketAddr, local: SocketAddr) -> Departure {
    Departure { remote, local, dscp: 0 }
}

fn filled(ring: &mut UdpRing, bytes: &[u8]) -> Packet {
    let mut packet = ring.alloc().expect("a packet");
    packet.append(bytes.len()).expect("room").copy_from_slice(bytes);
    packet
}

/// Receives until there are `count` datagrams, for at most five seconds.
fn receive(ring: &mut UdpRing, count: usize) -> Vec<(Packet, Arrival)> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut all = Vec::new();
    while all.len() < count && Instant::now() < end {
        ring.wait(Duration::from_millis(100)).expect("wait");
        ring.recv_burst(32, |packet, arrival| all.push((packet, arrival))).expect("receive");
    }
    all
}

/// Bytes that depend on `seed` in every position (xorshift).
fn noise(mut seed: u64, len: usize) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..len).map(|_| next()).collect()
}

/// `count` datagrams of every length there and back; what comes back is what was sent, in order.
fn echo(at: &str, count: u64) {
    let (mut client, mut server) = (ring(at), ring(at));
    let (here, there) = (local(&client), local(&server));
    let mut expected = VecDeque::new();
    let (mut sent, mut returned) = (0, 0);
    let end = Instant::now() + Duration::from_secs(60);
    while returned < count {
        assert!(Instant::now() < end, "{returned} of {count}, {:?} {:?}", client, server.stats());
        while sent < count && expected.len() < 64 {
            let bytes = noise(sent + 1, (sent * 37 % (CAPACITY_BYTES as u64 + 1)) as usize);
            let packet = filled(&mut client, &bytes);
            client.send(packet, to(there, here)).expect("room");
            expected.push_back(bytes);
            sent += 1;
        }
        client.submit().expect("submit");
        let mut got = Vec::new();
        server.recv_burst(32, |packet, arrival| got.push((packet, arrival))).expect("receive");
        for (packet, arrival) in got {
            assert_eq!(arrival, Arrival { remote: here, local: there });
            server.send(packet, to(arrival.remote, arrival.local)).expect("room");
        }
        server.submit().expect("submit");
        let mut got = Vec::new();
        client.recv_burst(32, |packet, _| got.push(packet)).expect("receive");
        for packet in got {
            assert_eq!(packet.bytes(), expected.pop_front().expect("sent"));
            client.free(packet);
            returned += 1;
        }
    }
    for ring in [&client, &server] {
        let stats = ring.stats();
        assert_eq!((stats.rx_packets, stats.tx_packets), (count, count));
        assert_eq!(stats.rx_bytes, stats.tx_bytes);
        assert_eq!(ring.in_use(), 0);
        assert_eq!(ring.kernel_drops().expect("drops"), 0);
    }
}

#[test]
fn ten_thousand_datagrams_go_there_and_back_unchanged() {
    echo("127.0.0.1:0", 10_000);
}

#[test]
fn ten_thousand_datagrams_go_there_and_back_unchanged_over_ipv6() {
    echo("[::1]:0", 10_000);
}

#[test]
fn a_wildcard_socket_tells_the_local_address_and_replies_from_it() {
    for (at, ip) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")] {
        let mut ring = ring(at);
        let port = local(&ring).port();
        let there = SocketAddr::new(ip.parse().expect("ip"), port);
        let any = if there.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let peer = UdpSocket::bind(any).expect("peer");
        // A connected socket hears only the address it is connected to.
        peer.connect(there).expect("connect");
        peer.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        peer.send(b"ping").expect("send");
        let (packet, arrival) = receive(&mut ring, 1).pop().expect("one");
        assert_eq!(arrival.local, there);
        assert_eq!(arrival.remote, peer.local_addr().expect("address"));
        ring.send(packet, to(arrival.remote, arrival.local)).expect("room");
        ring.submit().expect("submit");
        let mut reply = [0; 8];
        assert_eq!(peer.recv(&mut reply).expect("reply"), 4);
        assert_eq!(&reply[..4], b"ping");
    }
}

#[test]
fn one_ring_serves_both_families_and_refuses_foreign_sources() {
    let config = Config::new(vec![address("127.0.0.1:0"), address("[::1]:0")]);
    let mut ring = UdpRing::bind(&config).expect("bind");
    let ours: Vec<_> = ring.local_addresses().collect();
    for (at, any) in ours.iter().zip(["127.0.0.1:0", "[::1]:0"]) {
        let peer = UdpSocket::bind(any).expect("peer");
        peer.send_to(b"hello", at).expect("send");
        let (packet, arrival) = receive(&mut ring, 1).pop().expect("one");
        assert_eq!((packet.bytes(), arrival.local), (&b"hello"[..], *at));
    }
    let packet = ring.alloc().expect("one");
    let (packet, error) = ring.send(packet, to(ours[0], ours[1])).expect_err("mixed families");
    assert_eq!(error, SendError::NoSocket);
    let stranger = address("127.0.0.3:9");
    let (_, error) = ring.send(packet, to(stranger, stranger)).expect_err("not our address");
    assert_eq!(error, SendError::NoSocket);
}

#[test]
fn a_taken_port_is_refused_by_name() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let _holder = UdpSocket::bind(taken).expect("bind again");
    let error = UdpRing::bind(&Config::new(vec![taken])).expect_err("taken");
    assert_eq!(error.to_string(), format!("cannot bind UDP {taken}"));
}

#[test]
fn a_port_is_free_again_once_the_ring_is_dropped() {
    let _alone = no_forks();
    let mut at = address("127.0.0.1:0");
    for round in 0..20 {
        let mut ring = UdpRing::bind(&Config::new(vec![at])).expect("free");
        at = local(&ring);
        let bytes = noise(round + 1, 100);
        // In flight in every way: being received, delivered and held, queued and never submitted.
        for _ in 0..3 {
            let packet = filled(&mut ring, &bytes);
            ring.send(packet, to(at, at)).expect("room");
        }
        let held = {
            ring.submit().expect("submit");
            receive(&mut ring, 1)
        };
        let packet = filled(&mut ring, &bytes);
        ring.send(packet, to(at, at)).expect("room");
        drop(ring);
        // At once: a plain socket does not try again as a ring does.
        drop(UdpSocket::bind(at).expect("free"));
        // The slab outlives its ring.
        assert_eq!(held[0].0.bytes(), bytes);
    }
}

/// The child: holds a port with everything running until it is killed.
#[test]
fn holder_child() {
    let Some(at) = std::env::var_os("URING_TEST_ADDRESS") else { return };
    let mut ring = ring(at.to_str().expect("address"));
    let at = local(&ring);
    println!("bound {at}");
    loop {
        let packet = filled(&mut ring, &[0; 100]);
        ring.send(packet, to(at, at)).expect("room");
        ring.wait(Duration::from_millis(10)).expect("wait");
        ring.recv_burst(32, |_, _| ()).expect("receive");
    }
}

#[test]
fn a_killed_process_does_not_keep_its_successor_out() {
    use std::io::BufRead;
    let _alone = no_forks();
    let mut at = address("127.0.0.1:0");
    for _ in 0..10 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "holder_child", "--nocapture"])
            .env("URING_TEST_ADDRESS", at.to_string())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("child");
        let lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
        let bound = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("bound ").map(|(_, at)| at.parse().expect("address")));
        at = bound.expect("the child binds");
        // SIGKILL; the kernel takes the ring apart in its own time.
        child.kill().expect("kill");
        child.wait().expect("wait");
        drop(UdpRing::bind(&Config::new(vec![at])).expect("free"));
    }
}

#[test]
fn without_buffers_datagrams_wait_in_the_socket_and_none_is_lost() {
    let config = Config {
        rx_buffers: 16,
        pool_buffers: 32,
        tx_slots: 8,
        ..Config::new(vec![address("127.0.0.1:0")])
    };
    let mut ring = UdpRing::bind(&config).expect("bind");
    let at = local(&ring);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for i in 0..100u8 {
        peer.send_to(&[i; 50], at).expect("send");
    }
    let mut held = VecDeque::new();
    while ring.recv_burst(32, |packet, _| held.push_back(packet)).expect("receive") > 0
        || ring.wait(Duration::from_millis(50)).expect("wait")
    {}
    assert_eq!((held.len(), ring.in_use()), (32, 32));
    assert!(ring.alloc().is_none());
    assert!(ring.stats().rx_starved > 0);
    let mut next = 0;
    let end = Instant::now() + Duration::from_secs(5);
    while next < 100 && Instant::now() < end {
        while let Some(packet) = held.pop_front() {
            assert_eq!(packet.bytes(), [next; 50], "in order, none missing");
            next += 1;
            // Both ways of giving back.
            if next % 2 == 0 { ring.free(packet) } else { drop(packet) }
        }
        ring.recv_burst(32, |packet, _| held.push_back(packet)).expect("receive");
    }
    assert_eq!((next, ring.in_use()), (100, 0));
    // A few stops, not one per call: a receive is started again only once there are buffers.
    assert!(ring.stats().rx_starved < 20, "{:?}", ring.stats());
    assert_eq!(ring.kernel_drops().expect("drops"), 0);
}

#[test]
fn a_polled_ring_takes_what_is_there_and_finds_nothing_without_complaint() {
    let config = Config { polled: true, ..Config::new(vec![address("127.0.0.1:0")]) };
    let mut ring = UdpRing::bind(&config).expect("bind");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for round in 0..20u8 {
        // More often than a socket may fail in a row.
        for _ in 0..10 {
            assert_eq!(ring.recv_burst(32, |_, _| ()).expect("nothing"), 0);
        }
        for i in 0..50 {
            peer.send_to(&[round, i], local(&ring)).expect("send");
        }
        let mut next = 0;
        while next < 50 {
            let mut got = Vec::new();
            ring.recv_burst(32, |packet, _| got.push(packet)).expect("receive");
            assert!(!got.is_empty(), "sent to loopback, it is there");
            for packet in got {
                assert_eq!(packet.bytes(), [round, next]);
                next += 1;
                ring.free(packet);
            }
        }
    }
    let stats = ring.stats();
    assert_eq!((stats.rx_packets, stats.rx_errors, stats.rx_starved), (1000, 0, 0));
    assert_eq!(ring.in_use(), 0);
}

#[test]
fn an_overflowing_socket_counts_what_it_dropped() {
    let config = Config { socket_buffer_bytes: 4096, ..Config::new(vec![address("127.0.0.1:0")]) };
    let mut ring = UdpRing::bind(&config).expect("bind");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for _ in 0..100 {
        peer.send_to(&[0; 1000], local(&ring)).expect("send");
    }
    let dropped = ring.kernel_drops().expect("drops");
    assert!((1..100).contains(&dropped), "{dropped}");
    assert_eq!(receive(&mut ring, 100 - dropped as usize).len(), 100 - dropped as usize);
}

#[test]
fn a_datagram_larger_than_a_buffer_is_dropped_and_counted() {
    let mut ring = ring("127.0.0.1:0");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    for len in [CAPACITY_BYTES + 1, 60_000, CAPACITY_BYTES] {
        peer.send_to(&vec![7; len], local(&ring)).expect("send");
    }
    let got = receive(&mut ring, 1);
    assert_eq!(got[0].0.bytes(), [7; CAPACITY_BYTES]);
    assert_eq!(ring.stats().rx_oversize, 2);
    drop(got);
    assert_eq!(ring.in_use(), 0);
}

#[test]
fn a_full_transmit_queue_gives_the_packet_back() {
    let config = Config { tx_slots: 4, ..Config::new(vec![address("127.0.0.1:0")]) };
    let mut ring = UdpRing::bind(&config).expect("bind");
    let at = local(&ring);
    for i in 0..4 {
        assert_eq!(ring.tx_room(), 4 - usize::from(i));
        let packet = filled(&mut ring, &[i]);
        ring.send(packet, to(at, at)).expect("room");
    }
    let packet = filled(&mut ring, &[4]);
    let (packet, error) = ring.send(packet, to(at, at)).expect_err("full");
    assert_eq!((packet.bytes(), error), (&[4][..], SendError::Full));
    ring.submit().expect("submit");
    assert_eq!(ring.tx_room(), 4);
    ring.send(packet, to(at, at)).expect("room again");
    ring.submit().expect("submit");
    let got: Vec<u8> = receive(&mut ring, 5).iter().map(|(packet, _)| packet.bytes()[0]).collect();
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn an_unreachable_receiver_is_counted() {
    let mut ring = ring("127.0.0.1:0");
    let at = local(&ring);
    // From a loopback address there is no way out.
    let packet = filled(&mut ring, b"x");
    ring.send(packet, to(address("192.0.2.1:9"), at)).expect("room");
    ring.submit().expect("submit");
    assert_eq!((ring.stats().tx_errors, ring.stats().tx_packets, ring.in_use()), (1, 0, 0));
}

#[test]
fn each_datagram_carries_its_own_dscp() {
    use std::os::fd::AsRawFd;
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    peer.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    rustix::net::sockopt::set_ip_recvtos(&peer, true).expect("recvtos");
    let mut ring = ring("127.0.0.1:0");
    let at = local(&ring);
    for dscp in [46, 0, 34] {
        let packet = filled(&mut ring, &[dscp]);
        let remote = peer.local_addr().expect("address");
        ring.send(packet, Departure { remote, local: at, dscp }).expect("room");
    }
    ring.submit().expect("submit");
    for dscp in [46u8, 0, 34] {
        let (mut byte, mut control) = ([0u8], [0u64; 8]);
        let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        // SAFETY: null pointers and zero lengths are a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: everything the header points to lives through the call.
        let got = unsafe { libc::recvmsg(peer.as_raw_fd(), &raw mut header, 0) };
        assert_eq!((got, byte[0]), (1, dscp));
        // One message: length, level and type, then the byte.
        assert_eq!(control[1], (libc::IP_TOS as u64) << 32);
        assert_eq!(control[2] as u8, dscp << 2);
    }
}

#[test]
fn a_ring_may_move_before_its_first_use_and_not_after() {
    let mut moved = ring("127.0.0.1:0");
    let at = local(&moved);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
    peer.send_to(b"early", at).expect("send");
    let mut moved = std::thread::spawn(move || {
        assert_eq!(receive(&mut moved, 1).len(), 1);
        moved
    })
    .join()
    .expect("thread");
    peer.send_to(b"late", at).expect("send");
    assert!(moved.wait(Duration::from_millis(50)).is_err(), "a foreign thread is refused");
    // Its end is sound here too (it gives up its memory instead of waiting for ever).
    let start = Instant::now();
    drop(moved);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_signal_does_not_end_a_wait() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing; SIGUSR2 is used by nobody else here.
    let old = unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    assert_ne!(old, libc::SIG_ERR);
    let mut ring = ring("127.0.0.1:0");
    // SAFETY: takes no arguments.
    let waiter = unsafe { libc::pthread_self() };
    let end = Instant::now() + Duration::from_millis(300);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while Instant::now() < end {
                // SAFETY: the waiting thread outlives this scope.
                let sent = unsafe { libc::pthread_kill(waiter, libc::SIGUSR2) };
                assert_eq!(sent, 0);
                std::thread::yield_now();
            }
        });
        assert!(!ring.wait(Duration::from_millis(200)).expect("no error"));
        assert!(Instant::now() + Duration::from_millis(100) >= end, "it waited its time");
        // And a burst under fire arrives.
        let at = local(&ring);
        for i in 0..32 {
            let packet = filled(&mut ring, &[i]);
            ring.send(packet, to(at, at)).expect("room");
        }
        ring.submit().expect("submit");
        assert_eq!(receive(&mut ring, 32).len(), 32);
    });
}

#[test]
fn a_datagram_larger_than_the_mtu_is_refused_and_counted() {
    let ran = std::thread::spawn(|| {
        // SAFETY: affects this thread alone, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return false;
        }
        let _alone = no_forks();
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up", "mtu", "1280"])
            .status();
        if !up.is_ok_and(|status| status.success()) {
            return false;
        }
        let mut ring = ring("127.0.0.1:0");
        let at = local(&ring);
        for len in [1280 - 28 + 1, 1280 - 28] {
            let packet = filled(&mut ring, &vec![1; len]);
            ring.send(packet, to(at, at)).expect("room");
        }
        ring.submit().expect("submit");
        assert_eq!(receive(&mut ring, 1)[0].0.bytes().len(), 1280 - 28);
        assert_eq!((ring.stats().tx_oversize, ring.stats().tx_packets), (1, 1));
        true
    });
    if !ran.join().expect("thread") {
        eprintln!("SKIPPED: needs root (a network namespace) and the ip command");
    }
}

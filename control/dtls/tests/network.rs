//! Handshakes over networks that lose, repeat, reorder and lie.

mod common;

use std::time::{Duration, Instant};

use common::{ALL_PROFILES, Client, Credentials, Junk, Link, MTU, PATIENCE, To, identity, record};
use dtls::{Handshake, limits};

fn link() -> (Credentials, Link) {
    let peer = Credentials::ecdsa();
    let link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &[peer.sha256()]);
    (peer, link)
}

fn chromium() -> [Vec<u8>; 2] {
    let read = |line: &str| {
        let pairs = line.as_bytes().chunks_exact(2).map(|pair| str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<u8>>()
    };
    let lines = include_str!("vectors/chromium156_clienthello.hex").lines();
    lines.map(read).collect::<Vec<_>>().try_into().unwrap()
}

fn sent(server: &mut Handshake) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| server.poll_transmit()).collect()
}

/// The extension use_srtp of a ServerHello that chose AEAD_AES_128_GCM, without an MKI.
const CHOSE_GCM_128: &[u8] = &[0, 14, 0, 5, 0, 2, 0, 7, 0];

#[test]
fn chromiums_client_hello_in_two_datagrams_is_answered_in_any_order_and_with_duplicates() {
    let [first, second] = chromium();
    for order in [
        vec![&first, &second],
        vec![&second, &first],
        vec![&first, &first, &second],
        vec![&second, &second, &first],
    ] {
        let print = Credentials::ecdsa().sha256();
        let mut server = Handshake::server(&identity(), &[print], MTU).unwrap();
        let (last, before) = order.split_last().unwrap();
        for datagram in before {
            server.receive(datagram).unwrap();
            assert!(server.poll_transmit().is_none(), "half a ClientHello is not answered");
        }
        server.receive(last).unwrap();
        let flight = sent(&mut server);
        assert!(flight[0].windows(CHOSE_GCM_128.len()).any(|bytes| bytes == CHOSE_GCM_128));
        assert!(flight.iter().all(|datagram| datagram.len() <= MTU.into()));
    }
}

#[test]
fn fragments_of_another_client_hello_do_not_spoil_this_one() {
    let [first, second] = chromium();
    let print = Credentials::ecdsa().sha256();
    let mut server = Handshake::server(&identity(), &[print], MTU).unwrap();
    // The beginning of one that claims another length and random.
    let mut other = first.clone();
    other[16] ^= 1;
    other[30] ^= 0xff;
    server.receive(&other).unwrap();
    server.receive(&second).unwrap();
    server.receive(&first).unwrap();
    server.receive(&second).unwrap();
    assert!(!sent(&mut server).is_empty());
}

#[test]
fn small_fragments_in_reverse_order_and_twice_are_put_together() {
    let peer = Credentials::rsa(4096);
    let mut link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &[peer.sha256()]);
    // As many datagrams as records, each twice; at first in reverse. What overtook too far comes
    // again by the client's timer.
    let (mut turns, mut largest) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while !link.is_done() {
        assert!(Instant::now() < deadline);
        let mut records: Vec<_> = link.client.sends().iter().flat_map(|d| split(d)).collect();
        if records.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        } else {
            turns += 1;
            largest = largest.max(records.len());
        }
        if turns < 6 {
            records.reverse();
        }
        for record in records {
            link.give(&record);
            link.give(&record);
        }
        link.exchange(&mut |_, _, datagram| vec![datagram.to_vec(), datagram.to_vec()]);
        assert_eq!(link.refused, None);
    }
    assert!(largest > 4, "the client's flight came in {largest} pieces");
    link.assert_equal_keys();
}

/// The records of a datagram, each a datagram of its own.
fn split(mut datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut records = vec![];
    while let [_, _, _, _, _, _, _, _, _, _, _, high, low, ..] = *datagram {
        let length = 13 + usize::from(u16::from_be_bytes([high, low]));
        records.push(datagram[..length].to_vec());
        datagram = &datagram[length..];
    }
    records
}

#[test]
fn every_datagram_may_be_lost_once() {
    let (_, mut whole) = link();
    whole.run();
    let datagrams = whole.seen.len();
    assert!(datagrams >= 4, "{datagrams}");
    let lose = |lost: usize| {
        let (_, mut link) = link();
        link.run_over(|_, at, datagram| if at == lost { vec![] } else { vec![datagram.to_vec()] });
        assert_eq!(link.refused, None, "datagram {lost}");
        link.assert_equal_keys();
        assert!(link.seen.len() > lost, "datagram {lost} was never sent");
    };
    std::thread::scope(|scope| {
        for lost in 0..datagrams {
            scope.spawn(move || lose(lost));
        }
    });
}

#[test]
fn a_lost_flight_is_repeated_when_the_library_s_timer_says_so_and_not_before() {
    let (_, mut link) = link();
    for datagram in link.client.sends() {
        link.give(&datagram);
    }
    let begin = Instant::now();
    assert!(!sent(&mut link.server).is_empty());
    let again = loop {
        assert!(begin.elapsed() < PATIENCE);
        link.server.on_timeout().unwrap();
        let again = sent(&mut link.server);
        if !again.is_empty() {
            break again;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // OpenSSL's first timeout is one second.
    assert!(begin.elapsed() > Duration::from_millis(900), "{:?}", begin.elapsed());
    link.client.tls.get_mut().incoming.extend(again);
    link.run();
    link.assert_equal_keys();
}

#[test]
fn a_repeated_client_hello_is_answered_at_once_but_not_forever() {
    let (_, mut link) = link();
    let hello = link.client.sends();
    hello.iter().for_each(|datagram| link.give(datagram));
    let flight = sent(&mut link.server);
    for _ in 0..limits::REPEATS_MAX {
        hello.iter().for_each(|datagram| link.give(datagram));
        assert_eq!(sent(&mut link.server), flight);
    }
    hello.iter().for_each(|datagram| link.give(datagram));
    assert!(sent(&mut link.server).is_empty());
    link.client.tls.get_mut().incoming.extend(flight);
    link.run();
    link.assert_equal_keys();
}

#[test]
fn a_repeated_finished_is_answered_after_the_handshake() {
    let (_, mut link) = link();
    let deadline = Instant::now() + PATIENCE;
    let mut lost = 0;
    while !link.is_done() {
        assert!(Instant::now() < deadline);
        let was_done = link.keys.is_some();
        link.exchange(&mut |to, _, datagram| {
            vec![datagram.to_vec()].into_iter().filter(|_| to == To::Server || was_done).collect()
        });
        lost += usize::from(link.keys.is_some() && !was_done);
        if link.keys.is_none() {
            // It was our first flight, which may pass.
            let first: Vec<_> =
                link.seen.iter().filter(|(to, _)| *to == To::Client).cloned().collect();
            link.client.tls.get_mut().incoming.extend(first.into_iter().map(|(_, bytes)| bytes));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(lost, 1, "the last flight was lost once");
    link.assert_equal_keys();
}

#[test]
fn a_second_client_hello_neither_ends_nor_replaces_an_association() {
    let (peer, mut link) = link();
    let hello = || Client::new(Some(&peer), ALL_PROFILES).sends().remove(0);
    for datagram in link.client.sends() {
        link.give(&datagram);
    }
    let flight = sent(&mut link.server);
    for _ in 0..100 {
        link.give(&hello());
        let numbered = renumbered(hello(), 1);
        link.give(&numbered);
    }
    assert!(sent(&mut link.server).is_empty(), "another ClientHello is not answered");
    link.client.tls.get_mut().incoming.extend(flight);
    link.run();
    link.assert_equal_keys();
    for _ in 0..100 {
        link.give(&hello());
        link.give(&renumbered(hello(), 1));
    }
    assert!(sent(&mut link.server).is_empty());
    assert!(!link.server.is_over() && link.refused.is_none());
    link.client.tls.shutdown().unwrap();
    link.exchange(&mut |_, _, datagram| vec![datagram.to_vec()]);
    assert!(link.is_closed, "the association still lives");
}

/// A message under another message number.
fn renumbered(mut datagram: Vec<u8>, number: u16) -> Vec<u8> {
    datagram[17..19].copy_from_slice(&number.to_be_bytes());
    datagram
}

/// What anybody could send who does not know the handshake.
fn lie(junk: &mut Junk, real: &[u8]) -> Vec<u8> {
    const FATAL: &[u8] = &[2, 40];
    let number = junk.next() >> 16;
    match junk.next() % 8 {
        0 => junk.bytes(1500),
        1 => record(junk.next() as u8, junk.next() as u16, number, &junk.bytes(200)),
        2 => record(21, 0, number, FATAL),
        3 => record(20, 0, number, &[1]),
        4 => record(22, 1, number, &junk.bytes(100)),
        5 => record(21, 1, number, &junk.bytes(40)),
        6 => real[..junk.next() as usize % real.len()].to_vec(),
        _ => record(22, 0, number, &junk.bytes(300)),
    }
}

#[test]
fn ten_thousand_junk_datagrams_at_each_step_are_neither_answered_nor_end_it() {
    let (_, mut link) = link();
    let mut junk = Junk(0x9e37_79b9_7f4a_7c15);
    let flood = |link: &mut Link, junk: &mut Junk, real: &[u8]| {
        for _ in 0..10_000 {
            let lie = lie(junk, real);
            link.give(&lie);
            assert!(link.refused.is_none() && !link.is_closed, "{lie:02x?}");
            assert!(sent(&mut link.server).is_empty(), "answered {lie:02x?}");
        }
    };
    let deadline = Instant::now() + PATIENCE;
    while !link.is_done() {
        assert!(Instant::now() < deadline);
        for datagram in link.client.sends() {
            flood(&mut link, &mut junk, &datagram);
            link.give(&datagram);
            let answer = sent(&mut link.server);
            link.client.tls.get_mut().incoming.extend(answer);
            flood(&mut link, &mut junk, &datagram);
        }
    }
    link.assert_equal_keys();
    assert_eq!(link.refused, None);
    link.client.tls.shutdown().unwrap();
    link.exchange(&mut |_, _, datagram| vec![datagram.to_vec()]);
    assert!(link.is_closed);
}

#[test]
fn junk_between_the_records_of_a_datagram_is_skipped() {
    let (_, mut link) = link();
    let junk = [record(21, 0, u64::MAX >> 16, &[2, 0]), record(25, 7, 3, &[0; 40])].concat();
    link.run_over(|to, _, datagram| match to {
        To::Server => vec![[&junk[..], datagram, &junk[..], &[0x16, 0xfe]].concat()],
        To::Client => vec![datagram.to_vec()],
    });
    assert_eq!(link.refused, None);
    link.assert_equal_keys();
}

#[test]
fn everything_sent_twice_gives_keys_once() {
    let (_, mut link) = link();
    link.run_over(|_, _, datagram| vec![datagram.to_vec(); 2]);
    link.assert_equal_keys();
    let seen: Vec<_> = link.seen.clone();
    for (_, datagram) in seen {
        link.give(&datagram);
    }
    assert!(link.refused.is_none() && !link.is_closed);
}

#[test]
fn a_datagram_beyond_the_limit_is_dropped() {
    let (_, mut link) = link();
    let mut hello = link.client.sends().remove(0);
    hello.resize(limits::DATAGRAM_BYTES_MAX + 1, 0);
    link.give(&hello);
    assert!(sent(&mut link.server).is_empty());
    hello.truncate(limits::DATAGRAM_BYTES_MAX);
    link.give(&hello);
    assert!(!sent(&mut link.server).is_empty());
}

/// Prints what a handshake costs the server: `cargo test --release … -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_handshake() {
    let (peer, identity) = (Credentials::ecdsa(), identity());
    let mut costs: Vec<Duration> = vec![];
    for _ in 0..2000 {
        let mut client = Client::new(Some(&peer), ALL_PROFILES);
        let begin = Instant::now();
        let mut server = Handshake::server(&identity, &[peer.sha256()], MTU).unwrap();
        let mut cost = begin.elapsed();
        let mut is_done = false;
        while !is_done {
            for datagram in client.sends() {
                let begin = Instant::now();
                let progress = server.receive(&datagram).unwrap();
                let flight = sent(&mut server);
                cost += begin.elapsed();
                is_done |= matches!(progress, dtls::Progress::Done(_));
                client.tls.get_mut().incoming.extend(flight);
            }
        }
        costs.push(cost);
    }
    costs.sort();
    println!("server, per handshake: median {:?}, p10 {:?}", costs[1000], costs[200]);
}

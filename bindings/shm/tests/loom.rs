//! The ring and the snapshot cell under the loom model checker: every interleaving of two threads
//! and every value a weakly ordered load may return.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shm --release --test loom`
#![cfg(loom)]

use loom::thread;
use shm::ring::{Consumer, Producer, PushError, RingSpec};
use shm::seqlock::{ReadError, SnapshotReader, SnapshotWriter, cell_words};
use shm::words::WordsMut;

fn model(preemption_bound: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemption_bound);
    builder.check(check);
}

fn pop(consumer: &mut Consumer) -> Option<[u8; 8]> {
    let mut out = [0; 8];
    consumer.pop(&mut out).expect("sound").map(|len| {
        assert_eq!(len, 8);
        out
    })
}

/// Three messages through a ring with room for two: published data is seen whole and in order, and
/// room is reused only after it was read.
fn messages_arrive_whole_and_in_order(spec: RingSpec) {
    let words = WordsMut::in_memory(spec.len_words());
    let mut producer = Producer::attach(words.clone(), spec).expect("fresh");
    let mut consumer = Consumer::attach(words, spec).expect("fresh");
    let writer = thread::spawn(move || {
        for i in 1..=3u8 {
            while let Err(error) = producer.push(&[i; 8]) {
                assert_eq!(error, PushError::Full);
                thread::yield_now();
            }
        }
    });
    for i in 1..=3u8 {
        let message = loop {
            match pop(&mut consumer) {
                Some(message) => break message,
                None => thread::yield_now(),
            }
        };
        assert_eq!(message, [i; 8]);
    }
    writer.join().expect("writer");
    assert_eq!(pop(&mut consumer), None);
}

#[test]
fn ring_messages_arrive_whole_and_in_order() {
    model(3, || messages_arrive_whole_and_in_order(RingSpec::new(32, 8)));
}

#[test]
fn secret_ring_messages_arrive_whole_and_in_order() {
    model(3, || messages_arrive_whole_and_in_order(RingSpec::new(32, 8).secret()));
}

#[test]
fn a_sleeping_consumer_is_never_forgotten() {
    model(4, || {
        let spec = RingSpec::new(32, 8);
        let words = WordsMut::in_memory(spec.len_words());
        let mut producer = Producer::attach(words.clone(), spec).expect("fresh");
        let mut consumer = Consumer::attach(words, spec).expect("fresh");
        let writer = thread::spawn(move || {
            producer.push(&[1; 8]).expect("room");
            producer.needs_wake()
        });
        let sleeps = consumer.arm().expect("sound");
        let woken = writer.join().expect("writer");
        assert!(!sleeps || woken, "asleep with a message and nobody to tell");
        assert_eq!(pop(&mut consumer), Some([1; 8]));
    });
}

#[test]
fn a_snapshot_is_never_mixed() {
    model(4, || {
        let words = WordsMut::in_memory(cell_words::<[u64; 2]>(1));
        let reader = SnapshotReader::<[u64; 2]>::attach(words.view()).with_tries(2);
        let mut writer = SnapshotWriter::<[u64; 2]>::attach(words);
        let writer = thread::spawn(move || {
            writer.write(&[1, 1]);
            writer.write(&[2, 2]);
        });
        match reader.read() {
            Ok([a, b]) => assert!(a == b && (1..=2).contains(&a), "mixed: {a} {b}"),
            Err(ReadError::Empty | ReadError::Torn) => {}
        }
        writer.join().expect("writer");
        assert_eq!(reader.read(), Ok([2, 2]));
    });
}

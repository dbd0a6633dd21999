//! What the ring delivers, and what it refuses from its peer.

use super::*;

const SPEC: RingSpec = RingSpec::new(128, 40);

fn ends(spec: RingSpec) -> (WordsMut, Producer, Consumer) {
    let words = WordsMut::in_memory(spec.len_words());
    let producer = Producer::attach(words.clone(), spec).expect("fresh");
    let consumer = Consumer::attach(words.clone(), spec).expect("fresh");
    (words, producer, consumer)
}

fn pop(consumer: &mut Consumer) -> Option<Vec<u8>> {
    let mut out = [0; 40];
    let len = consumer.pop(&mut out).expect("sound")?;
    Some(out[..len].to_vec())
}

#[test]
fn full_is_reported_and_nothing_is_lost() {
    let (_, mut producer, mut consumer) = ends(SPEC);
    for i in 0..8 {
        assert_eq!(producer.push(&[i]), Ok(()));
    }
    assert_eq!(producer.push(&[8]), Err(PushError::Full));
    assert_eq!(producer.push(&[]), Err(PushError::Full));
    assert_eq!(pop(&mut consumer), Some(vec![0]));
    assert_eq!(producer.push(&[8]), Ok(()));
    for i in 1..9 {
        assert_eq!(pop(&mut consumer), Some(vec![i]));
    }
    assert_eq!(pop(&mut consumer), None);
    assert_eq!(producer.push(&[0; 41]), Err(PushError::TooLong { len_bytes: 41 }));
}

#[test]
fn a_small_buffer_leaves_the_message() {
    let (_, mut producer, mut consumer) = ends(SPEC);
    producer.push(&[7; 40]).expect("room");
    assert_eq!(consumer.pop(&mut [0; 39]), Err(PopError::TooSmall { needed_bytes: 40 }));
    assert_eq!(pop(&mut consumer), Some(vec![7; 40]));
}

#[test]
fn a_secret_ring_holds_zeros_once_read() {
    let (words, mut producer, mut consumer) = ends(SPEC.secret());
    for round in 0..20 {
        producer.push(&[0xaa; 33]).expect("room");
        assert!((DATA..words.len()).any(|i| words.load(i) != 0), "round {round}");
        assert_eq!(pop(&mut consumer), Some(vec![0xaa; 33]));
        assert!((DATA..words.len()).all(|i| words.load(i) == 0), "round {round}");
    }
}

#[test]
fn a_consumer_that_died_wiping_is_finished_by_the_next() {
    let (words, mut producer, consumer) = ends(SPEC.secret());
    producer.push(&[0xaa; 24]).expect("room");
    producer.push(&[0xbb; 8]).expect("room");
    drop(consumer);
    // What a kill in the middle of `wipe_to` leaves: taken set, two of four words zeroed.
    words.store(AT_TAKEN, 4);
    words.store(DATA, 0);
    words.store(DATA + 1, 0);
    let mut next = Consumer::attach(words.clone(), SPEC.secret()).expect("sound");
    assert!((DATA..DATA + 4).all(|i| words.load(i) == 0));
    assert_eq!(pop(&mut next), Some(vec![0xbb; 8]));
    assert_eq!(pop(&mut next), None);
}

#[test]
fn new_ends_go_on_where_the_old_ones_stopped() {
    let (words, mut producer, mut consumer) = ends(SPEC);
    producer.push(b"one").expect("room");
    producer.push(b"two").expect("room");
    assert_eq!(pop(&mut consumer), Some(b"one".to_vec()));
    drop((producer, consumer));
    let mut consumer = Consumer::attach(words.clone(), SPEC).expect("sound");
    let mut producer = Producer::attach(words, SPEC).expect("sound");
    producer.push(b"three").expect("room");
    assert_eq!(pop(&mut consumer), Some(b"two".to_vec()));
    assert_eq!(pop(&mut consumer), Some(b"three".to_vec()));
}

#[test]
fn indexes_may_wrap_around_the_integer() {
    let words = WordsMut::in_memory(SPEC.len_words());
    for at in [AT_HEAD, AT_TAIL, AT_TAKEN] {
        words.store(at, u64::MAX - 5);
    }
    let mut producer = Producer::attach(words.clone(), SPEC.secret()).expect("sound");
    let mut consumer = Consumer::attach(words, SPEC.secret()).expect("sound");
    for i in 0..50 {
        producer.push(&[i; 17]).expect("room");
        assert_eq!(pop(&mut consumer), Some(vec![i; 17]));
    }
}

#[test]
fn a_corrupt_tail_is_refused_by_the_consumer() {
    let (words, mut producer, mut consumer) = ends(SPEC);
    producer.push(b"x").expect("room");
    assert_eq!(pop(&mut consumer), Some(b"x".to_vec()));
    for tail in [0, 2 + 17, u64::MAX, 1 << 63] {
        words.store(AT_TAIL, tail);
        assert_eq!(consumer.pop(&mut [0; 40]), Err(PopError::Corrupt(Corrupt)), "tail {tail}");
        assert_eq!(consumer.arm(), Err(Corrupt));
        assert_eq!(Consumer::attach(words.clone(), SPEC).err(), Some(Corrupt));
    }
}

#[test]
fn a_corrupt_head_is_refused_by_the_producer() {
    let (words, mut producer, mut consumer) = ends(SPEC);
    for i in 0..8 {
        producer.push(&[i]).expect("room");
    }
    pop(&mut consumer);
    assert_eq!(producer.push(&[9]), Ok(()));
    // Behind what was seen (it was 2), ahead of the tail (18), far away.
    for head in [1, 19, u64::MAX, 1 << 63] {
        words.store(AT_HEAD, head);
        assert_eq!(producer.push(&[9]), Err(PushError::Corrupt(Corrupt)), "head {head}");
    }
    words.store(AT_HEAD, 19);
    assert_eq!(Producer::attach(words, SPEC).err(), Some(Corrupt));
}

#[test]
fn a_corrupt_length_is_refused() {
    let (words, mut producer, mut consumer) = ends(SPEC);
    producer.push(&[1; 8]).expect("room");
    // Longer than a message may be; longer than what the tail vouches for; absurd.
    for len in [41, 9, u64::MAX] {
        words.store(DATA, len);
        assert_eq!(consumer.pop(&mut [0; 40]), Err(PopError::Corrupt(Corrupt)), "length {len}");
    }
    words.store(DATA, 8);
    assert_eq!(pop(&mut consumer), Some(vec![1; 8]));
}

#[test]
fn a_sleeper_is_woken_once_per_sleep() {
    let (words, producer, mut consumer) = ends(SPEC);
    let event = Event::new().expect("eventfd");
    let mut producer = producer.with_event(event.try_clone().expect("dup"));
    producer.push(b"a").expect("room");
    assert!(!producer.wake().expect("wake"), "nobody sleeps");
    assert_eq!(consumer.arm(), Ok(false), "there is a message");
    pop(&mut consumer);
    assert_eq!(consumer.arm(), Ok(true));
    producer.push(b"b").expect("room");
    assert!(producer.wake().expect("wake"));
    assert!(!producer.wake().expect("wake"), "told already");
    assert_eq!(event.drain().expect("drain"), 1);
    pop(&mut consumer);
    // A new consumer's first sleep is not mistaken for the one signalled before.
    let mut consumer = Consumer::attach(words, SPEC).expect("sound");
    assert_eq!(consumer.arm(), Ok(true));
    producer.push(b"c").expect("room");
    assert!(producer.wake().expect("wake"));
    assert!(consumer.wait(&event, core::time::Duration::ZERO).expect("wait"));
}

//! The ring against a queue: any sequence of pushes, pops and re-attached ends.
#![cfg(not(loom))]

use std::collections::VecDeque;

use proptest::prelude::*;
use shm::ring::{Consumer, PopError, Producer, PushError, RingSpec};
use shm::words::WordsMut;

const MESSAGE_BYTES_MAX: usize = 100;
const CAPACITY_BYTES: usize = 256;

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>),
    Pop,
    PopInto(usize),
    NewProducer,
    NewConsumer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => proptest::collection::vec(any::<u8>(), 0..=MESSAGE_BYTES_MAX + 1).prop_map(Step::Push),
        5 => Just(Step::Pop),
        1 => (0..MESSAGE_BYTES_MAX).prop_map(Step::PopInto),
        1 => Just(Step::NewProducer),
        1 => Just(Step::NewConsumer),
    ]
}

fn stored_bytes(queue: &VecDeque<Vec<u8>>) -> usize {
    queue.iter().map(|message| 8 + message.len().next_multiple_of(8)).sum()
}

fn run(spec: RingSpec, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let words = WordsMut::in_memory(spec.len_words());
    let mut producer = Producer::attach(words.clone(), spec).expect("fresh");
    let mut consumer = Consumer::attach(words.clone(), spec).expect("fresh");
    let mut queue = VecDeque::new();
    for step in steps {
        match step {
            Step::Push(message) => {
                let needed = 8 + message.len().next_multiple_of(8);
                let expected = if message.len() > MESSAGE_BYTES_MAX {
                    Err(PushError::TooLong { len_bytes: message.len() })
                } else if stored_bytes(&queue) + needed > CAPACITY_BYTES {
                    Err(PushError::Full)
                } else {
                    Ok(())
                };
                prop_assert_eq!(producer.push(&message), expected);
                if expected.is_ok() {
                    queue.push_back(message);
                }
            }
            Step::Pop => {
                let mut out = [0; MESSAGE_BYTES_MAX];
                let len = consumer.pop(&mut out).expect("sound");
                prop_assert_eq!(len.map(|len| out[..len].to_vec()), queue.pop_front());
            }
            Step::PopInto(len_bytes) => {
                let mut out = vec![0; len_bytes];
                match (consumer.pop(&mut out), queue.front()) {
                    (Ok(None), None) => {}
                    (Ok(Some(len)), Some(front)) => {
                        prop_assert_eq!(&out[..len], &front[..]);
                        queue.pop_front();
                    }
                    (Err(PopError::TooSmall { needed_bytes }), Some(front)) => {
                        prop_assert_eq!(needed_bytes, front.len());
                        prop_assert!(needed_bytes > len_bytes);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            Step::NewProducer => producer = Producer::attach(words.clone(), spec).expect("sound"),
            Step::NewConsumer => consumer = Consumer::attach(words.clone(), spec).expect("sound"),
        }
    }
    Ok(())
}

/// Overwrites random words while both ends work: they may return anything, but return.
fn vandalise(spec: RingSpec, acts: Vec<(u8, usize, u64)>) {
    let words = WordsMut::in_memory(spec.len_words());
    let mut producer = Producer::attach(words.clone(), spec).expect("fresh");
    let mut consumer = Consumer::attach(words.clone(), spec).expect("fresh");
    let mut out = [0; MESSAGE_BYTES_MAX];
    for (act, at, value) in acts {
        match act {
            0 => drop(producer.push(&value.to_ne_bytes())),
            1 => drop(consumer.pop(&mut out)),
            2 => drop(consumer.arm()),
            3 => drop(producer.needs_wake()),
            4 => drop(Consumer::attach(words.clone(), spec).map(|new| consumer = new)),
            5 => drop(Producer::attach(words.clone(), spec).map(|new| producer = new)),
            // The first words of the three headers matter most.
            6 => words.store((at % 3) * 16 + at % 2, value),
            _ => words.store(at % words.len(), value),
        }
    }
}

fn hostile_value() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, any::<u64>(), Just(u64::MAX), (0..64u32).prop_map(|bit| 1 << bit)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_is_a_bounded_queue(steps in proptest::collection::vec(step(), 0..200)) {
        let spec = RingSpec::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX);
        run(spec, steps.clone())?;
        run(spec.secret(), steps)?;
    }

    #[test]
    fn no_vandal_makes_an_end_panic_or_hang(
        acts in proptest::collection::vec((0..8u8, 0..1_000usize, hostile_value()), 0..200),
    ) {
        let spec = RingSpec::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX);
        vandalise(spec, acts.clone());
        vandalise(spec.secret(), acts);
    }
}

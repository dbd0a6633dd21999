//! What passes over a socket, and what does not.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::event::Event;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("shm-{name}-{}.sock", std::process::id()))
}

#[test]
fn descriptors_arrive_in_order_and_closed_on_exec() {
    let (a, b) = pair().expect("pair");
    let events: Vec<_> = (0..FDS_MAX).map(|_| Event::new().expect("eventfd")).collect();
    let borrowed: Vec<_> = events.iter().map(AsFd::as_fd).collect();
    send(&a, b"eight", &borrowed).expect("send");
    let mut buffer = [0; 16];
    let received = recv(&b, &mut buffer).expect("receive");
    assert_eq!(&buffer[..received.len_bytes], b"eight");
    assert_eq!(received.descriptors.len(), FDS_MAX);
    for (i, fd) in received.descriptors.into_iter().enumerate() {
        let flags = rustix::io::fcntl_getfd(&fd).expect("flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let event = Event::from_fd(fd);
        (0..=i).for_each(|_| event.signal().expect("signal"));
    }
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event.drain().expect("drain"), i as u64 + 1);
    }
}

#[test]
fn long_messages_and_too_many_descriptors_are_refused() {
    let (a, b) = pair().expect("pair");
    let event = Event::new().expect("eventfd");
    assert!(matches!(send(&a, b"x", &[event.as_fd(); 9]), Err(PassError::Misuse)));
    assert!(matches!(send(&a, b"", &[]), Err(PassError::Misuse)));
    send(&a, b"too long", &[event.as_fd()]).expect("send");
    assert!(matches!(recv(&b, &mut [0; 3]), Err(PassError::Truncated)));
    // A peer that sends more descriptors than we take, past our own check.
    let nine = [event.as_fd(); 9];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(9))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&nine)));
    sendmsg(&a, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("send");
    let before = open_descriptors();
    assert!(matches!(recv(&b, &mut [0; 3]), Err(PassError::Truncated)));
    // Other tests open a few meanwhile; a leak of eight per message over 100 would show.
    for _ in 0..100 {
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&nine)));
        sendmsg(&a, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("send");
        assert!(matches!(recv(&b, &mut [0; 3]), Err(PassError::Truncated)));
    }
    assert!(open_descriptors() < before + 400, "refused descriptors must be closed");
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

#[test]
fn a_closed_peer_is_told_apart_from_a_silent_one() {
    let (a, b) = pair().expect("pair");
    limit_waiting(&b, Duration::from_millis(1)).expect("timeout");
    let silent = recv(&b, &mut [0; 3]);
    assert!(
        matches!(&silent, Err(PassError::Host(error)) if error.kind() == io::ErrorKind::WouldBlock),
        "{silent:?}"
    );
    drop(a);
    assert!(matches!(recv(&b, &mut [0; 3]), Err(PassError::Closed)));
    assert!(matches!(send(&b, b"x", &[]), Err(PassError::Closed)));
}

#[test]
fn the_kernel_tells_who_connected() {
    let at = path("cred");
    let listener = Listener::bind(&at, 0o660).expect("bind");
    let mode = std::fs::metadata(&at).expect("path").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let client = connect(&at).expect("connect");
    let server = listener.accept().expect("accept");
    let peer = peer_credentials(&server).expect("credentials");
    assert_eq!(peer.pid, std::process::id());
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    drop((client, listener));
    assert!(!at.exists(), "the path goes with the listener");
}

#[test]
fn a_living_listener_is_kept_and_a_dead_ones_path_is_reused() {
    let at = path("stale");
    let living = Listener::bind(&at, 0o600).expect("bind");
    assert_eq!(Listener::bind(&at, 0o600).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    // What a kill -9 leaves: the file, without a socket behind it.
    let gone = path("gone");
    std::fs::rename(&at, &gone).expect("rename");
    drop(living);
    std::fs::rename(&gone, &at).expect("rename");
    let next = Listener::bind(&at, 0o600).expect("stale path is reused");
    connect(&at).expect("connect");
    drop(next);
    std::fs::write(&at, b"a file").expect("write");
    assert!(Listener::bind(&at, 0o600).is_err(), "a file is not ours to remove");
    assert!(at.exists());
    std::fs::remove_file(&at).expect("clean up");
}

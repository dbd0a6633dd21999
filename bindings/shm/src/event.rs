//! An eventfd: wakes a thread, here or in another process, that sleeps in `poll`.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::time::Timespec;

/// An eventfd, non-blocking and closed on exec.
#[derive(Debug)]
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// The host's.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// One that a peer handed over. If it is no eventfd, later calls fail; nothing worse.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Another handle of the same eventfd.
    ///
    /// # Errors
    /// The host's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Wakes whoever waits.
    ///
    /// # Errors
    /// The host's.
    pub fn signal(&self) -> io::Result<()> {
        match retry_on_intr(|| write(&self.fd, &1u64.to_ne_bytes())) {
            // The counter is at its end: it is signalled all right.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes all signals back and returns how many there were.
    ///
    /// # Errors
    /// The host's.
    pub fn drain(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        match retry_on_intr(|| read(&self.fd, &mut count)) {
            Ok(8) => Ok(u64::from_ne_bytes(count)),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sleeps until signalled or until `timeout` passed; returns whether signalled. A caught signal
    /// of the process (DPDK's tap device raises them) does not end the sleep.
    ///
    /// # Errors
    /// The host's.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let end_ns = crate::clock::monotonic_ns().saturating_add(timeout.as_nanos() as u64);
        loop {
            let left_ns = end_ns.saturating_sub(crate::clock::monotonic_ns());
            let left = Timespec {
                tv_sec: (left_ns / 1_000_000_000) as i64,
                tv_nsec: (left_ns % 1_000_000_000) as i64,
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn signals_add_up_and_are_drained() {
        let event = Event::new().expect("eventfd");
        assert!(!event.wait(Duration::ZERO).expect("wait"));
        assert_eq!(event.drain().expect("drain"), 0);
        let other = event.try_clone().expect("dup");
        other.signal().expect("signal");
        other.signal().expect("signal");
        assert!(event.wait(Duration::from_secs(5)).expect("wait"));
        assert_eq!(event.drain().expect("drain"), 2);
        assert!(!event.wait(Duration::ZERO).expect("wait"));
    }

    #[test]
    fn a_full_counter_is_still_signalled() {
        let event = Event::new().expect("eventfd");
        write(&event.fd, &(u64::MAX - 1).to_ne_bytes()).expect("fill");
        event.signal().expect("signal");
        assert!(event.wait(Duration::ZERO).expect("wait"));
    }

    #[test]
    fn a_wait_ends_after_its_timeout() {
        let event = Event::new().expect("eventfd");
        let start = crate::clock::monotonic_ns();
        assert!(!event.wait(Duration::from_millis(20)).expect("wait"));
        assert!(crate::clock::monotonic_ns() - start >= 20_000_000);
    }
}

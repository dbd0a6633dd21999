//! The library's view of the network: a stream whose reads and writes are whole datagrams. This is
//! the only file here that knows `std::io`, and no more of it than the traits the library asks for.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};

use crate::limits::OUTGOING_MAX;

/// One datagram in, a few out.
#[derive(Default)]
pub(crate) struct Datagrams {
    incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    /// Whether the library asked for more than there was.
    pub(crate) is_starved: bool,
}

impl Datagrams {
    /// What the next read yields; an unread one is replaced.
    pub(crate) fn offer(&mut self, datagram: Vec<u8>) {
        self.incoming = Some(datagram);
    }

    /// The oldest datagram written.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }
}

impl Read for Datagrams {
    /// Yields one datagram, cut to the buffer as a socket would.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            self.is_starved = true;
            return Err(Error::from(ErrorKind::WouldBlock));
        };
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Datagrams {
    /// Takes one datagram, or loses it if too many wait already.
    fn write(&mut self, datagram: &[u8]) -> Result<usize> {
        if self.outgoing.len() < OUTGOING_MAX {
            self.outgoing.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

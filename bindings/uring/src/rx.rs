//! Datagrams on their way in: the buffers the kernel has, and those it gave back.

use std::collections::VecDeque;

use io_uring::cqueue;
use io_uring::types::RecvMsgOut;

use crate::bufring::BufRing;
use crate::packet::{HEADROOM_BYTES, Pool, SLOT_BYTES};
use crate::ring::{Arrival, RingStats};
use crate::socket::{Socket, read_local, read_name};
use crate::tx::empty_header;
use crate::{CAPACITY_BYTES, Packet};

/// The kernel puts a header, the name and the control messages in front of a received payload.
const RX_HEADER_BYTES: usize = 16;
const RX_NAME_BYTES: usize = 32;
const RX_CONTROL_BYTES: usize = HEADROOM_BYTES - RX_HEADER_BYTES - RX_NAME_BYTES;
const _: () = assert!(RX_CONTROL_BYTES.is_multiple_of(8) && RX_CONTROL_BYTES >= 40);

/// Receives of a socket that may fail in a row before the ring gives up on it.
const RX_ERRORS_MAX: u32 = 64;

/// A datagram in a buffer, not yet delivered.
pub(crate) struct Got {
    buffer: u16,
    len_bytes: usize,
    socket: u8,
}

/// The receiving half, without the queues.
pub(crate) struct Rx {
    bufring: BufRing,
    /// The packet behind each buffer id, while the kernel or the backlog has it.
    pub(crate) packets: Vec<Option<Packet>>,
    /// Buffer ids without a packet.
    pub(crate) bare: Vec<u16>,
    /// Buffers the kernel may receive into.
    pub(crate) offered: usize,
    pub(crate) backlog: VecDeque<Got>,
    /// What a receive tells the kernel; read when it is submitted.
    pub(crate) header: Box<libc::msghdr>,
    pub(crate) armed: Vec<bool>,
    errors_in_row: u32,
    pub(crate) fatal: Option<i32>,
}

// SAFETY: the only pointers are those of `header`, all null.
unsafe impl Send for Rx {}

impl Rx {
    pub(crate) fn new(bufring: BufRing, sockets: usize) -> Self {
        let len = bufring.len();
        let mut header = Box::new(empty_header());
        header.msg_namelen = RX_NAME_BYTES as u32;
        header.msg_controllen = RX_CONTROL_BYTES as _;
        Self {
            bufring,
            packets: (0..len).map(|_| None).collect(),
            bare: (0..len).rev().collect(),
            offered: 0,
            backlog: VecDeque::with_capacity(usize::from(len)),
            header,
            armed: vec![false; sockets],
            errors_in_row: 0,
            fatal: None,
        }
    }

    /// Offers the kernel a packet for every bare buffer id, as far as the pool has any.
    pub(crate) fn refill(&mut self, pool: &mut Pool) {
        let before = self.offered;
        while let Some(&id) = self.bare.last() {
            let Some(packet) = pool.alloc() else { break };
            self.bare.pop();
            self.bufring.add(packet.slot_ptr(), SLOT_BYTES as u32, id);
            self.packets[usize::from(id)] = Some(packet);
            self.offered += 1;
        }
        if self.offered > before {
            self.bufring.publish();
        }
    }

    pub(crate) fn complete(&mut self, socket: u8, result: i32, flags: u32, stats: &mut RingStats) {
        if !cqueue::more(flags) {
            self.armed[usize::from(socket)] = false;
        }
        if let Some(buffer) = cqueue::buffer_select(flags) {
            self.offered -= 1;
            let len_bytes = usize::try_from(result).unwrap_or(0);
            self.backlog.push_back(Got { buffer, len_bytes, socket });
            self.errors_in_row = 0;
        } else if result == -libc::ENOBUFS {
            stats.rx_starved += 1;
        } else if result == -libc::EAGAIN {
            // A polled socket is empty.
        } else if result < 0 {
            stats.rx_errors += 1;
            self.errors_in_row += 1;
            let hopeless = matches!(-result, libc::EINVAL | libc::EBADF | libc::EOPNOTSUPP);
            if hopeless || self.errors_in_row > RX_ERRORS_MAX {
                self.fatal = Some(-result);
            }
        }
    }

    /// Takes a datagram's packet, and its addresses out of the packet's headroom.
    pub(crate) fn open(
        &mut self,
        got: &Got,
        sockets: &[Socket],
    ) -> (Packet, Result<Arrival, Refused>) {
        let mut packet = self.packets[usize::from(got.buffer)].take().expect("the kernel had it");
        self.bare.push(got.buffer);
        let opened = self.parse(&packet, got.len_bytes, &sockets[usize::from(got.socket)]);
        if let Ok((_, payload_bytes)) = opened {
            packet.set_payload(HEADROOM_BYTES, payload_bytes);
        }
        (packet, opened.map(|(arrival, _)| arrival))
    }

    fn parse(
        &self,
        packet: &Packet,
        len_bytes: usize,
        socket: &Socket,
    ) -> Result<(Arrival, usize), Refused> {
        let filled = packet.slot_bytes().get(..len_bytes).ok_or(Refused::Nonsense)?;
        let out = RecvMsgOut::parse(filled, &self.header).map_err(|()| Refused::Nonsense)?;
        if out.is_payload_truncated() {
            return Err(Refused::Oversize);
        }
        let remote = read_name(out.name_data()).ok_or(Refused::Nonsense)?;
        let mut local = socket.local;
        if local.ip().is_unspecified() {
            local.set_ip(read_local(out.control_data()).ok_or(Refused::Nonsense)?);
        }
        debug_assert!(out.payload_data().len() <= CAPACITY_BYTES);
        Ok((Arrival { remote, local }, out.payload_data().len()))
    }
}

pub(crate) enum Refused {
    Oversize,
    Nonsense,
}

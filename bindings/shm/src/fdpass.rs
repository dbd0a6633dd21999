//! Descriptors and credentials over a Unix socket.
//!
//! Sockets are `SOCK_SEQPACKET`, so that a message and its descriptors arrive together or not at
//! all. Received descriptors are closed on exec. What they are is for the receiver to check:
//! [`crate::region`] does it for regions.

use core::mem::MaybeUninit;
use core::time::Duration;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod, fchmod};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect as connect_fd, listen, recvmsg, sendmsg, socket_with, socketpair,
    sockopt,
};

/// Most descriptors of one message.
pub const FDS_MAX: usize = 8;

const BACKLOG: i32 = 16;

/// Why a message did not go through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The peer is gone.
    #[error("the peer closed the socket")]
    Closed,
    /// Peer: more bytes or descriptors than this side takes. All were dropped.
    #[error("the peer's message was longer than allowed")]
    Truncated,
    /// Bug: more descriptors than [`FDS_MAX`], or no bytes to carry them.
    #[error("a message must have bytes and at most {FDS_MAX} descriptors")]
    Misuse,
    /// The host's, among them `WouldBlock` after a timeout.
    #[error("the Unix socket failed")]
    Host(#[from] io::Error),
}

impl From<Errno> for PassError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::Host(errno.into()),
        }
    }
}

/// Who is at the other end, by the kernel's word, at the time it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Sends bytes and descriptors as one message.
///
/// # Errors
/// See [`PassError`].
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), PassError> {
    if bytes.is_empty() || descriptors.len() > FDS_MAX {
        return Err(PassError::Misuse);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let sent = retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(fits);
        }
        sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    // Only a stream socket can send a part; the rest would lack its descriptors.
    if sent == bytes.len() { Ok(()) } else { Err(PassError::Truncated) }
}

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the caller's buffer.
    pub len_bytes: usize,
    /// Descriptors, at most [`FDS_MAX`], in the sender's order.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives one message into `buffer`.
///
/// # Errors
/// See [`PassError`].
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, PassError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry_on_intr(|| {
        let mut into = [IoSliceMut::new(buffer)];
        recvmsg(socket.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    // The control buffer is aligned upwards, so one more descriptor than asked for may fit.
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        || descriptors.len() > FDS_MAX
    {
        return Err(PassError::Truncated);
    }
    if message.bytes == 0 {
        return Err(PassError::Closed);
    }
    Ok(Received { len_bytes: message.bytes, descriptors })
}

/// Who is at the other end of a connected Unix socket.
///
/// # Errors
/// The host's.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<Credentials> {
    let peer = sockopt::socket_peercred(socket)?;
    let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
    Ok(Credentials { pid, uid: peer.uid.as_raw(), gid: peer.gid.as_raw() })
}

/// Two connected sockets.
///
/// # Errors
/// The host's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Connects to a [`Listener`].
///
/// # Errors
/// The host's: `NotFound` or `ConnectionRefused` when nobody listens.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    retry_on_intr(|| connect_fd(&fd, &SocketAddrUnix::new(path)?))?;
    Ok(fd)
}

/// Lets receives and sends on a socket fail with `WouldBlock` after `timeout`.
///
/// # Errors
/// The host's.
pub fn limit_waiting(socket: impl AsFd, timeout: Duration) -> io::Result<()> {
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Recv, Some(timeout))?;
    Ok(sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(timeout))?)
}

/// A listening socket at a path, which goes when this does.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path` with permission bits `mode`. What a killed process left there is removed.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, or it is something else than a socket.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let fd =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mode = Mode::from_raw_mode(mode);
        // Before bind as well, so that the path never exists with wider permissions.
        fchmod(&fd, mode)?;
        let address = SocketAddrUnix::new(path)?;
        if bind(&fd, &address) == Err(Errno::ADDRINUSE) {
            if !is_stale(path) {
                return Err(Errno::ADDRINUSE.into());
            }
            std::fs::remove_file(path)?;
            bind(&fd, &address)?;
        }
        let listener = Self { fd, path: path.to_owned() };
        // After bind too: the umask has taken bits away.
        chmod(path, mode)?;
        listen(&listener.fd, BACKLOG)?;
        Ok(listener)
    }

    /// The next peer.
    ///
    /// # Errors
    /// The host's.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        Ok(retry_on_intr(|| accept_with(&self.fd, SocketFlags::CLOEXEC))?)
    }
}

/// A socket file that refuses connections has no process behind it any more.
fn is_stale(path: &Path) -> bool {
    connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        && std::fs::symlink_metadata(path)
            .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing to be done if it is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;

//! UDP sockets: options, and addresses in the form the kernel reads and writes them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt,
};

/// Sockets of one ring: one per address it listens on.
pub const SOCKETS_MAX: usize = 8;

/// Bytes of a `sockaddr_in6`, the longer of the two.
pub(crate) const NAME_BYTES: usize = 28;

const CMSG_HEADER_BYTES: usize = 16;

/// Room for what goes along with a sent datagram: source address and traffic class.
pub(crate) const CONTROL_BYTES: usize = 64;

const _: () = assert!(cmsg_space(size_of::<libc::in6_pktinfo>()) + cmsg_space(4) <= CONTROL_BYTES);

const fn cmsg_space(data_bytes: usize) -> usize {
    CMSG_HEADER_BYTES + data_bytes.next_multiple_of(8)
}

/// A bound UDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    /// As bound, with the port that the kernel chose if none was asked for.
    pub(crate) local: SocketAddr,
}

impl Socket {
    pub(crate) fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::UDP))?;
        set_buffers(&fd, buffer_bytes)?;
        // Datagrams are never fragmented: what exceeds the interface's MTU is refused. A path MTU that
        // somebody claims by ICMP is not believed.
        if address.is_ipv4() {
            sockopt::set_ip_mtu_discover(&fd, sockopt::Ipv4PathMtuDiscovery::PROBE)?;
        } else {
            sockopt::set_ipv6_mtu_discover(&fd, sockopt::Ipv6PathMtuDiscovery::PROBE)?;
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        if address.ip().is_unspecified() {
            let (level, name) = match address {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            set_flag(fd.as_fd(), level, name)?;
        }
        bind(&fd, &address)?;
        let local = SocketAddr::try_from(getsockname(&fd)?)?;
        Ok(Self { fd, local })
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether a datagram from `local` to `remote` leaves here.
    pub(crate) fn serves(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.local.port() == local.port()
            && self.local.is_ipv4() == remote.is_ipv4()
            && self.local.is_ipv4() == local.is_ipv4()
            && (self.local.ip() == local.ip() || self.local.ip().is_unspecified())
    }

    /// Datagrams the kernel dropped because its receive buffer was full.
    pub(crate) fn kernel_drops(&self) -> io::Result<u32> {
        // SO_MEMINFO: an array of 9 numbers, the last is the drops (linux/sock_diag.h).
        let mut info = [0u32; 9];
        let mut len = size_of_val(&info) as libc::socklen_t;
        let (fd, into) = (self.fd.as_raw_fd(), info.as_mut_ptr().cast());
        // SAFETY: `into` has room for `len` bytes; both live through the call.
        let done =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, into, &mut len) };
        if done == 0 { Ok(info[8]) } else { Err(io::Error::last_os_error()) }
    }
}

fn set_buffers(fd: &OwnedFd, bytes: usize) -> io::Result<()> {
    // FORCE goes past rmem_max and needs CAP_NET_ADMIN; without it the kernel's limit must do.
    if sockopt::set_socket_recv_buffer_size_force(fd, bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(fd, bytes)?;
    }
    if sockopt::set_socket_send_buffer_size_force(fd, bytes).is_err() {
        sockopt::set_socket_send_buffer_size(fd, bytes)?;
    }
    Ok(())
}

fn set_flag(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` lives through the call and is `len` bytes long.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const on).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes `address` as a `sockaddr`; returns its length in bytes.
pub(crate) fn write_name(address: SocketAddr, name: &mut [u8; NAME_BYTES]) -> u32 {
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            name[8..16].fill(0);
            16
        }
        SocketAddr::V6(v6) => {
            name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            28
        }
    }
}

/// Reads a `sockaddr` that the kernel wrote.
pub(crate) fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

/// The local address a datagram came to, from control messages that the kernel wrote.
pub(crate) fn read_local(mut control: &[u8]) -> Option<IpAddr> {
    while control.len() >= CMSG_HEADER_BYTES {
        let field = |at: usize| Some(i32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
        let len = usize::from_ne_bytes(*control.first_chunk()?);
        let data = control.get(CMSG_HEADER_BYTES..len)?;
        match (field(8)?, field(12)?) {
            // in_pktinfo: interface, our address, header's destination
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let ip: [u8; 4] = data.get(4..8)?.try_into().ok()?;
                return Some(Ipv4Addr::from(ip).into());
            }
            // in6_pktinfo: destination, interface
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip: [u8; 16] = data.get(..16)?.try_into().ok()?;
                return Some(Ipv6Addr::from(ip).into());
            }
            _ => control = control.get(len.next_multiple_of(8)..)?,
        }
    }
    None
}

/// Writes control messages; returns their length in bytes.
pub(crate) fn write_control(
    source: Option<IpAddr>,
    dscp: u8,
    is_ipv4: bool,
    control: &mut [u8; CONTROL_BYTES],
) -> usize {
    let mut used = 0;
    let mut push = |level: i32, kind: i32, data: &[u8]| {
        let at = &mut control[used..used + cmsg_space(data.len())];
        at.fill(0);
        at[..8].copy_from_slice(&(CMSG_HEADER_BYTES + data.len()).to_ne_bytes());
        at[8..12].copy_from_slice(&level.to_ne_bytes());
        at[12..16].copy_from_slice(&kind.to_ne_bytes());
        at[16..16 + data.len()].copy_from_slice(data);
        used += at.len();
    };
    match source {
        Some(IpAddr::V4(ip)) => {
            let mut data = [0; size_of::<libc::in_pktinfo>()];
            data[4..8].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        }
        Some(IpAddr::V6(ip)) => {
            let mut data = [0; size_of::<libc::in6_pktinfo>()];
            data[..16].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
        }
        None => {}
    }
    if dscp != 0 {
        // The DSCP is the upper six bits of the traffic class (RFC 2474 3).
        let class = (i32::from(dscp & 0x3f) << 2).to_ne_bytes();
        match is_ipv4 {
            true => push(libc::IPPROTO_IP, libc::IP_TOS, &class),
            false => push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for text in ["192.0.2.1:9", "[2001:db8::7]:65535"] {
            let address: SocketAddr = text.parse().expect("address");
            let mut name = [0xff; NAME_BYTES];
            let len = write_name(address, &mut name);
            assert_eq!(read_name(&name[..len as usize]), Some(address));
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("ip"), 1, 0, 3).into();
        let mut name = [0; NAME_BYTES];
        write_name(scoped, &mut name);
        assert_eq!(read_name(&name), Some(scoped));
        assert_eq!(read_name(&[]), None);
        assert_eq!(read_name(&name[..20]), None);
        assert_eq!(read_name(&[0; 16]), None);
    }

    #[test]
    fn control_messages_read_back_behind_others() {
        for text in ["192.0.2.1", "2001:db8::7"] {
            let ip: IpAddr = text.parse().expect("ip");
            let mut control = [0; CONTROL_BYTES];
            let len = write_control(Some(ip), 46, ip.is_ipv4(), &mut control);
            assert_eq!(read_local(&control[..len]), Some(ip));
            let mut class = [0; CONTROL_BYTES];
            let class_len = write_control(None, 46, ip.is_ipv4(), &mut class);
            assert_eq!(class_len, 24);
            assert_eq!(class[16], 46 << 2);
            let both = [&class[..class_len], &control[..len]].concat();
            assert_eq!(read_local(&both), Some(ip));
            for cut in 0..class_len + CMSG_HEADER_BYTES {
                assert_eq!(read_local(&both[..cut]), None);
            }
        }
        let mut control = [0; CONTROL_BYTES];
        assert_eq!(write_control(None, 0, true, &mut control), 0);
    }
}

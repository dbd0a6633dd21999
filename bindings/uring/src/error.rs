//! Why a ring could not be made, in words an operator can act on.

use std::io;
use std::net::SocketAddr;

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UringError {
    /// Host: io_uring is switched off or filtered.
    #[error("io_uring is not permitted here: {reason}")]
    NotPermitted {
        /// The switch that forbids it, and how to change it.
        reason: String,
    },
    /// Host: the kernel lacks something this crate needs; 6.1 has all of it.
    #[error("the kernel's io_uring is too old (Linux 6.1 or newer is needed): no {missing}")]
    TooOld {
        /// What is missing.
        missing: &'static str,
    },
    /// Operator: the address is taken, not ours, or needs privileges.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Host: memory for buffers or queues was refused.
    #[error("cannot {act} for io_uring")]
    Host {
        /// What was tried.
        act: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Bug: a size that cannot be; says which.
    #[error("impossible size: {0}")]
    Config(&'static str),
}

pub(crate) fn host(act: &'static str) -> impl Fn(io::Error) -> UringError {
    move |source| UringError::Host { act, source }
}

/// Explains why `io_uring_setup` failed.
pub(crate) fn explain_setup(source: io::Error) -> UringError {
    let switch = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    explain(source, switch.as_deref().map(str::trim))
}

fn explain(source: io::Error, switch: Option<&str>) -> UringError {
    let reason = match (source.raw_os_error(), switch) {
        (Some(libc::EPERM), Some("2")) => {
            "kernel.io_uring_disabled is 2; set it to 0 (sysctl -w kernel.io_uring_disabled=0)"
        }
        (Some(libc::EPERM), Some("1")) => {
            "kernel.io_uring_disabled is 1, so only members of the group kernel.io_uring_group or \
             processes with CAP_SYS_ADMIN may use it; set it to 0 or add this user to that group"
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp filter or security module denies it (containers often do); allow the system \
             calls io_uring_setup, io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOSYS), _) => {
            "the kernel was built without it, or a seccomp filter hides it (containers often do)"
        }
        (Some(libc::EINVAL), _) => {
            return UringError::TooOld { missing: "deferred task work for a single issuer" };
        }
        _ => return UringError::Host { act: "set up queues", source },
    };
    UringError::NotPermitted { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(errno: i32, switch: Option<&str>) -> String {
        explain(io::Error::from_raw_os_error(errno), switch).to_string()
    }

    #[test]
    fn a_refusal_names_the_switch_to_turn() {
        assert!(reason(libc::EPERM, Some("2")).contains("kernel.io_uring_disabled is 2"));
        assert!(reason(libc::EPERM, Some("1")).contains("kernel.io_uring_group"));
        assert!(reason(libc::EPERM, Some("0")).contains("seccomp"));
        assert!(reason(libc::EPERM, None).contains("seccomp"));
        assert!(reason(libc::ENOSYS, None).contains("built without it"));
        assert!(reason(libc::EINVAL, Some("0")).contains("Linux 6.1"));
        assert!(reason(libc::ENOMEM, Some("0")).contains("set up queues"));
    }

    #[test]
    fn a_seccomp_filter_is_recognised() {
        // A filter of this thread alone: io_uring_setup answers EPERM, the rest passes.
        let refused = std::thread::spawn(|| {
            deny_io_uring_setup();
            crate::UdpRing::bind(&crate::Config::new(vec!["127.0.0.1:0".parse().expect("address")]))
                .err()
        });
        let error = refused.join().expect("thread").expect("refused");
        assert!(
            matches!(&error, UringError::NotPermitted { reason } if reason.contains("seccomp"))
        );
    }

    fn deny_io_uring_setup() {
        let statement = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut filter = [
            statement(0x20, 0, 0, 0), // load the system call's number
            statement(0x15, 0, 1, libc::SYS_io_uring_setup as u32),
            statement(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
            statement(0x06, 0, 0, 0x7fff_0000),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: sets a flag of this thread, takes no pointers.
        let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(done, 0);
        // SAFETY: the program and its four statements live through the call.
        let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}

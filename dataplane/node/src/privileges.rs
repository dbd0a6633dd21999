//! Drops to an unprivileged user on all threads, and proves it by reading every thread's status.
//!
//! The C library carries the change to every thread that exists, those of DPDK included. With the
//! user id go all capabilities: sockets, queues and devices that are open keep working without any.

use std::io;

use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group, the only one.
    pub gid: u32,
}

/// Why this process did not become somebody else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Operator: the host does not know the name.
    #[error("there is no {kind} {name:?} on this host")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// As configured.
        name: String,
    },
    /// Host: a system call failed.
    #[error("the host refused to {call}")]
    Host {
        /// What was tried.
        call: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Host: a thread kept what it should have lost.
    #[error("thread {tid} ({name}) still has uid {uid}, effective capabilities {cap_eff:#x}")]
    Kept {
        /// Its id.
        tid: u32,
        /// Its name.
        name: String,
        /// One of its user ids.
        uid: u32,
        /// Its effective capabilities.
        cap_eff: u64,
    },
}

fn host(call: &'static str) -> impl FnOnce(nix::errno::Errno) -> IdentityError {
    move |errno| IdentityError::Host { call, source: errno.into() }
}

impl Identity {
    /// Looks names up; without a group it is the user's own.
    ///
    /// # Errors
    /// A name that the host does not know.
    pub fn of(user: &str, group: Option<&str>) -> Result<Self, IdentityError> {
        let unknown = |kind, name: &str| IdentityError::Unknown { kind, name: name.to_owned() };
        let found = User::from_name(user).map_err(host("look a user up"))?;
        let found = found.ok_or_else(|| unknown("user", user))?;
        let gid = match group {
            None => found.gid,
            Some(name) => {
                let group = Group::from_name(name).map_err(host("look a group up"))?;
                group.ok_or_else(|| unknown("group", name))?.gid
            }
        };
        Ok(Identity { uid: found.uid.as_raw(), gid: gid.as_raw() })
    }

    /// Becomes this identity for good, on every thread of the process, and checks each.
    ///
    /// # Errors
    /// The host's; a process in that state must not go on.
    pub fn assume(self) -> Result<Vec<Thread>, IdentityError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&[gid]).map_err(host("leave all groups"))?;
        setresgid(gid, gid, gid).map_err(host("change the group"))?;
        setresuid(uid, uid, uid).map_err(host("change the user"))?;
        let threads = threads().map_err(|source| IdentityError::Host {
            call: "tell the threads of this process",
            source,
        })?;
        for thread in &threads {
            let foreign = thread.uids.iter().copied().find(|uid| *uid != self.uid);
            let keeps = self.uid != 0 && thread.cap_eff != 0;
            if foreign.is_some() || keeps || thread.gids != [self.gid; 4] {
                return Err(IdentityError::Kept {
                    tid: thread.tid,
                    name: thread.name.clone(),
                    uid: foreign.unwrap_or(self.uid),
                    cap_eff: thread.cap_eff,
                });
            }
        }
        Ok(threads)
    }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// One thread of this process, as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Real, effective, saved and file-system user id.
    pub uids: [u32; 4],
    /// The same of the group.
    pub gids: [u32; 4],
    /// Effective capabilities.
    pub cap_eff: u64,
}

/// Every thread of this process.
///
/// # Errors
/// The host's.
pub fn threads() -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let path = entry?.path().join("status");
        match std::fs::read_to_string(&path) {
            Ok(status) => threads.push(parse(&status).ok_or(io::ErrorKind::InvalidData)?),
            // It ended between the two reads.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(threads)
}

fn parse(status: &str) -> Option<Thread> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let four = |text: &str| {
        let ids: Vec<u32> = text.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        <[u32; 4]>::try_from(ids).ok()
    };
    Some(Thread {
        tid: field("Pid")?.parse().ok()?,
        name: field("Name")?.to_owned(),
        uids: four(field("Uid")?)?,
        gids: four(field("Gid")?)?,
        cap_eff: u64::from_str_radix(field("CapEff")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_of_this_process_is_listed_with_its_ids() {
        let (tell, done) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        let thread = std::thread::Builder::new().name("listed".to_owned()).spawn(move || {
            tell.0.send(()).expect("told");
            let _ = done.1.recv();
        });
        tell.1.recv().expect("it runs");
        let threads = threads().expect("threads");
        assert!(threads.iter().any(|t| t.tid == std::process::id() || t.tid > 0));
        let listed = threads.iter().find(|t| t.name == "listed").expect("the other thread");
        assert_eq!(listed.uids, [Uid::effective().as_raw(); 4]);
        drop(done.0);
        thread.expect("spawned").join().expect("joined");
    }

    #[test]
    fn an_unknown_user_or_group_is_named() {
        let refused = Identity::of("no-such-user-here", None).expect_err("unknown");
        assert_eq!(refused.to_string(), "there is no user \"no-such-user-here\" on this host");
        let refused = Identity::of("root", Some("no-such-group-here")).expect_err("unknown");
        assert_eq!(refused.to_string(), "there is no group \"no-such-group-here\" on this host");
        assert_eq!(Identity::of("root", None).expect("root"), Identity { uid: 0, gid: 0 });
    }

    #[test]
    fn a_status_without_its_fields_is_no_thread() {
        let status =
            "Name:\tx\nPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nCapEff:\t000000000000000f\n";
        let thread = parse(status).expect("complete");
        assert_eq!((thread.tid, thread.uids, thread.cap_eff), (7, [1, 2, 3, 4], 15));
        for field in ["Name", "Pid", "Uid", "Gid", "CapEff"] {
            assert_eq!(parse(&status.replace(field, "Other")), None, "{field}");
        }
    }
}

//! DPDK's environment: started once per process, on a thread of its own because EAL pins the thread
//! that starts it and everything that thread spawns.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use dpdk_sys::RteMempool;

use crate::error::reason;
use crate::{Devargs, Error, Memory, MemoryMode, log, memory};

/// How to start EAL.
#[derive(Debug, Clone)]
pub struct EalConfig {
    /// Which memory.
    pub memory: Memory,
    /// Memory in MiB: the whole amount without hugepages, what must be free with them.
    pub memory_mib: u32,
    /// Keeps two processes apart; names the directory of the telemetry socket.
    pub file_prefix: String,
    /// The CPU of EAL's own thread, which only sleeps; the first allowed one by default.
    pub main_cpu: Option<usize>,
    /// Devices that will be attached: PCI is scanned only when one of them is a PCI device.
    pub devices: Vec<Devargs>,
    /// Whether to open the telemetry socket (a directory for root alone).
    pub telemetry: bool,
    /// Further EAL arguments.
    pub extra_args: Vec<String>,
    /// All EAL arguments, instead of everything above.
    pub eal_args: Option<Vec<String>>,
}

impl Default for EalConfig {
    fn default() -> Self {
        EalConfig {
            memory: Memory::Auto,
            memory_mib: 128,
            file_prefix: format!("roomlane-{}", std::process::id()),
            main_cpu: None,
            devices: vec![],
            telemetry: true,
            extra_args: vec![],
            eal_args: None,
        }
    }
}

impl EalConfig {
    /// The arguments EAL gets on a host with `free_pages` free hugepages of 2 MiB and `first_cpu`
    /// as the first CPU this process may use; the program's name is not among them.
    pub fn args(&self, free_pages: u32, first_cpu: usize) -> (Vec<String>, MemoryMode) {
        if let Some(args) = &self.eal_args {
            return (args.clone(), MemoryMode::Explicit);
        }
        let mode = MemoryMode::choose(self.memory, self.memory_mib, free_pages);
        let mut args = mode.args();
        if self.devices.iter().any(Devargs::shares_memory) {
            args.push("--single-file-segments".into());
        }
        let pci: Vec<_> = self.devices.iter().filter(|device| device.is_pci()).collect();
        if pci.is_empty() {
            args.push("--no-pci".into());
        }
        for device in pci {
            args.extend(["-a".into(), device.as_str().into()]);
        }
        // One lcore for EAL itself; workers register themselves.
        args.push(format!("--lcores=0@{}", self.main_cpu.unwrap_or(first_cpu)));
        args.push(format!("--file-prefix={}", self.file_prefix));
        if !self.telemetry {
            args.push("--no-telemetry".into());
        }
        args.extend(self.extra_args.iter().cloned());
        (args, mode)
    }
}

/// A started EAL; a handle that can be cloned. It ends when the last handle and everything made
/// from it are gone, and can then not start again in this process.
#[derive(Debug, Clone)]
pub struct Eal {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    control: Mutex<Control>,
    memory: MemoryMode,
    args: Vec<String>,
    stop: Sender<Cleanup>,
    thread: Option<JoinHandle<()>>,
}

/// What the one lock over DPDK's control functions guards.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Devices that have a handle.
    pub(crate) ports: Vec<u16>,
    /// Pools whose handles are gone but some of whose buffers were out.
    pub(crate) retired: Vec<Retired>,
}

/// A pool that nobody can allocate from any more.
#[derive(Debug)]
pub(crate) struct Retired(pub(crate) NonNull<RteMempool>);

// SAFETY: nobody else has the pointer, and DPDK's pools belong to no thread.
unsafe impl Send for Retired {}

/// Whether EAL may unmap its memory.
struct Cleanup(bool);

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL.
    ///
    /// # Errors
    /// [`Error::Absent`] without libdpdk, [`Error::AlreadyStarted`] on every call but the first of
    /// a process, [`Error::Eal`] with DPDK's own words when it refuses.
    pub fn start(config: &EalConfig) -> Result<Eal, Error> {
        if !dpdk_sys::AVAILABLE {
            return Err(Error::Absent);
        }
        let (args, memory) = config.args(memory::free_pages(), first_cpu());
        let argv = argv(&args)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyStarted);
        }
        log::open();
        let mark = log::mark();
        let (started, is_started) = channel();
        let (stop, stops) = channel();
        let thread = thread::Builder::new()
            .name("eal".into())
            .spawn(move || run(argv, &started, &stops))
            .map_err(|error| Error::Host { what: "EAL's thread", reason: error.to_string() })?;
        match is_started.recv() {
            Ok(rc) if rc >= 0 => {
                let control = Mutex::default();
                let thread = Some(thread);
                Ok(Eal { inner: Arc::new(Inner { control, memory, args, stop, thread }) })
            }
            Ok(rc) => Err(Error::Eal { reason: reason(rc), detail: log::since(mark) }),
            Err(_) => {
                Err(Error::Eal { reason: "its thread died".into(), detail: log::since(mark) })
            }
        }
    }

    /// The memory it runs on, and why.
    pub fn memory(&self) -> &MemoryMode {
        &self.inner.memory
    }

    /// Whether it really runs on hugepages.
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: EAL is up while a handle exists.
        unsafe { dpdk_sys::rl_has_hugepages() != 0 }
    }

    /// The arguments it was started with, without the program's name.
    pub fn args(&self) -> &[String] {
        &self.inner.args
    }
}

impl Inner {
    /// The lock under which DPDK's control functions are called. A panic under it leaves nothing
    /// half done on our side, so a poisoned lock is used on.
    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Frees the retired pools that have all their buffers back.
    pub(crate) fn free_retired(&mut self) {
        self.retired.retain(|pool| {
            // SAFETY: a retired pool is live until freed below.
            if unsafe { dpdk_sys::rl_pool_is_whole(pool.0.as_ptr()) } == 0 {
                return true;
            }
            // SAFETY: nobody can allocate from it, every buffer lies in its ring, and the last word
            // a thread writes when it puts a buffer there is the one that was just read.
            unsafe { dpdk_sys::rl_pool_free(pool.0.as_ptr()) };
            false
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let clean = {
            let mut control = self.control();
            control.free_retired();
            control.retired.is_empty()
        };
        // Without the thread there is nothing to end.
        let _ = self.stop.send(Cleanup(clean));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// EAL's thread: starts it, sleeps, ends it.
fn run(argv: Vec<CString>, started: &Sender<c_int>, stop: &Receiver<Cleanup>) {
    let argv: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
    let (argc, argv) = (argv.len() as c_int, argv.leak());
    // SAFETY: argv and its strings are leaked, because EAL may keep pointers; STARTED makes this
    // the only call of the process.
    let rc = unsafe { dpdk_sys::rl_eal_init(argc, argv.as_mut_ptr()) };
    let failed = rc < 0 || started.send(rc).is_err();
    if failed {
        let _ = started.send(rc);
        return;
    }
    let dir = runtime_dir();
    if let Ok(Cleanup(true)) = stop.recv() {
        // SAFETY: the last handle is gone, and with it every device; every pool was freed, so no
        // buffer points into the memory that is unmapped now. With a buffer still out the memory
        // stays.
        let rc = unsafe { dpdk_sys::rl_eal_cleanup() };
        debug_assert_eq!(rc, 0, "rte_eal_cleanup: {}", reason(rc));
    }
    // EAL leaves the directory behind. It stays while another process or the telemetry socket uses
    // it.
    let _ = fs::remove_dir(dir);
}

/// The directory of EAL's sockets.
fn runtime_dir() -> PathBuf {
    // SAFETY: called on EAL's thread while EAL is up.
    let dir = unsafe { dpdk_sys::rl_runtime_dir() };
    // SAFETY: a NUL-terminated string that lives as long as the process.
    let dir = unsafe { CStr::from_ptr(dir) };
    PathBuf::from(OsStr::from_bytes(dir.to_bytes()))
}

fn argv(args: &[String]) -> Result<Vec<CString>, Error> {
    let words = std::iter::once("roomlane").chain(args.iter().map(String::as_str));
    words.map(CString::new).collect::<Result<_, _>>().map_err(|_| Error::Eal {
        reason: "an argument contains a NUL byte".into(),
        detail: String::new(),
    })
}

/// The first CPU this process may run on.
fn first_cpu() -> usize {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.unwrap_or_default().trim().split([',', '-']).next().unwrap_or_default();
    first.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EalConfig {
        EalConfig { file_prefix: "n1".into(), telemetry: false, ..EalConfig::default() }
    }

    #[test]
    fn arguments_follow_memory_and_devices() {
        let (args, _) = config().args(0, 3);
        let expected =
            "--no-huge --no-shconf -m 128 --no-pci --lcores=0@3 --file-prefix=n1 --no-telemetry";
        assert_eq!(args.join(" "), expected);

        let pci = Devargs::parse("0000:03:00.0").unwrap();
        let user = Devargs::parse("net_virtio_user0,path=/tmp/s").unwrap();
        let config = EalConfig { devices: vec![pci, user], main_cpu: Some(1), ..config() };
        let (args, mode) = config.args(64, 3);
        assert_eq!(mode, MemoryMode::InMemory { free_pages: 64 });
        let expected = "--in-memory --single-file-segments -a 0000:03:00.0 --lcores=0@1 \
                        --file-prefix=n1 --no-telemetry";
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn eal_args_replace_everything() {
        let config = EalConfig { eal_args: Some(vec!["--no-huge".into()]), ..config() };
        assert_eq!(config.args(64, 0), (vec!["--no-huge".to_owned()], MemoryMode::Explicit));
    }

    #[test]
    fn the_first_cpu_is_one_this_process_may_use() {
        let cpus = fs::read_to_string("/sys/devices/system/cpu/present").unwrap();
        let last: usize = cpus.trim().rsplit('-').next().unwrap().parse().unwrap();
        assert!(first_cpu() <= last);
    }

    #[cfg(not(dpdk))]
    #[test]
    fn without_libdpdk_the_start_says_what_to_install() {
        let error = Eal::start(&config()).unwrap_err();
        assert_eq!(error.to_string(), "DPDK is not in this build: install libdpdk-dev and rebuild");
    }
}

//! A region: one sealed memfd with a header, and what both sides check about it.
//!
//! The writer creates, sizes, maps and seals it; the descriptor then travels by [`crate::fdpass`].
//! Sealed against shrinking and growing, its size can be trusted after one `fstat`. A stats region is
//! sealed against future writing too, once its writer has mapped it: whoever gets the descriptor
//! can map it for reading only, and no `mprotect` changes that.
//!
//! Header, in words: 0 magic (stored last), 1 kind, 2 layout version, 3 size in bytes, 4 writer's
//! pid, 5 epoch, 16 heartbeat (on its own line, because it is stored often).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

use crate::mapping::Mapping;
use crate::words::{Span, Words, WordsMut};
use crate::{LINE_WORDS, WORD_BYTES};

/// "roomlane" in ASCII: what the first word of every region holds.
pub const MAGIC: u64 = u64::from_be_bytes(*b"roomlane");

/// Words of the header; the payload starts behind them.
pub const HEADER_WORDS: usize = 2 * LINE_WORDS;

/// Largest region accepted, in bytes. A wrong or hostile size must not eat the address space.
pub const REGION_BYTES_MAX: u64 = 4 << 30;

const PAGE_BYTES: usize = 4096;

const AT_MAGIC: usize = 0;
const AT_KIND: usize = 1;
const AT_VERSION: usize = 2;
const AT_SIZE: usize = 3;
const AT_PID: usize = 4;
const AT_EPOCH: usize = 5;
const AT_HEARTBEAT: usize = LINE_WORDS;

/// Who may write a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Both sides write: rings and the ledger. Given to the owner only.
    Control = 1,
    /// Its creator writes, everybody else reads: counters and snapshots.
    Stats = 2,
}

impl Kind {
    fn seals(self) -> SealFlags {
        let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        match self {
            Self::Control => fixed,
            Self::Stats => fixed | SealFlags::FUTURE_WRITE,
        }
    }
}

/// What the creator of a region decides.
#[derive(Debug, Clone, Copy)]
pub struct RegionSpec<'a> {
    /// Shown in `/proc/PID/maps` behind `memfd:`.
    pub name: &'a str,
    /// Who may write it.
    pub kind: Kind,
    /// Version of the layout of the payload; both sides must mean the same one.
    pub layout_version: u64,
    /// Bytes behind the header, see [`crate::words::Layout::payload_bytes`].
    pub payload_bytes: usize,
    /// Counts restarts of the writer; readers drop what they derived from an older epoch.
    pub epoch: u64,
}

/// Why a region could not be made or was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The host refused a system call.
    #[error("the host refused to {call} shared memory")]
    Host {
        /// What was tried.
        call: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Peer: the descriptor is no memfd, or lacks a seal that makes it safe to map.
    #[error("the peer's memory lacks the seals {missing}")]
    Unsealed {
        /// Names of the seals that are missing.
        missing: String,
    },
    /// Peer: the size is impossible, or is not what the header says.
    #[error("the peer's memory has {actual_bytes} bytes, its header says {header_bytes}")]
    Size {
        /// What `fstat` says.
        actual_bytes: u64,
        /// What the header says, 0 if there is no room for one.
        header_bytes: u64,
    },
    /// Peer: no region of ours.
    #[error("the peer's memory is no region of this kind")]
    Magic,
    /// Peer: a different release.
    #[error("the peer's memory has layout version {found}, this program needs {wanted}")]
    Version {
        /// What the header says.
        found: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// Bug: the span lies outside the region.
    #[error("words {offset_words}+{len_words} lie outside the region")]
    Span {
        /// First word asked for.
        offset_words: usize,
        /// Number of words asked for.
        len_words: usize,
    },
}

fn host(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> RegionError {
    move |errno| RegionError::Host { call, source: errno.into() }
}

/// What a region says about its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version of the payload's layout.
    pub layout_version: u64,
    /// Size of the whole region in bytes.
    pub size_bytes: u64,
    /// Process id of the last writer that claimed the region. A claim, not a proof: the kernel's word
    /// about the peer is [`crate::fdpass::peer_credentials`].
    pub writer_pid: u64,
    /// Counts restarts of the writer.
    pub epoch: u64,
    /// When the writer last lived, in nanoseconds of the monotonic clock.
    pub heartbeat_ns: u64,
}

fn header_of(words: &Words) -> Header {
    Header {
        layout_version: words.load(AT_VERSION),
        size_bytes: words.load(AT_SIZE),
        writer_pid: words.load(AT_PID),
        epoch: words.load(AT_EPOCH),
        heartbeat_ns: words.load(AT_HEARTBEAT),
    }
}

const HEADER: Span = Span { offset_words: 0, len_words: HEADER_WORDS };

/// A span of the payload, as a span of the whole region.
fn behind_header(span: Span) -> Span {
    Span { offset_words: span.offset_words.saturating_add(HEADER_WORDS), ..span }
}

fn outside(span: Span) -> RegionError {
    RegionError::Span { offset_words: span.offset_words, len_words: span.len_words }
}

/// A region mapped for reading and writing.
#[derive(Debug)]
pub struct Region {
    fd: OwnedFd,
    words: WordsMut,
    mapping: Arc<Mapping>,
}

impl core::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mapping")
    }
}

impl Region {
    /// Makes a region of zeros with a header, maps it and seals it.
    ///
    /// # Errors
    /// [`RegionError::Size`] above [`REGION_BYTES_MAX`], [`RegionError::Host`] otherwise.
    pub fn create(spec: RegionSpec<'_>) -> Result<Self, RegionError> {
        let size_bytes = spec
            .payload_bytes
            .checked_add(HEADER_WORDS * WORD_BYTES)
            .and_then(|bytes| bytes.checked_next_multiple_of(PAGE_BYTES))
            .filter(|&bytes| bytes as u64 <= REGION_BYTES_MAX)
            .ok_or(RegionError::Size {
                actual_bytes: spec.payload_bytes as u64,
                header_bytes: 0,
            })?;
        let fd = memfd(spec.name).map_err(host("create"))?;
        ftruncate(&fd, size_bytes as u64).map_err(host("size"))?;
        let region = Self::map_words(fd, size_bytes)?;
        region.words.store(AT_KIND, spec.kind as u64);
        region.words.store(AT_VERSION, spec.layout_version);
        region.words.store(AT_SIZE, size_bytes as u64);
        region.claim(spec.epoch);
        region.words.store_release(AT_MAGIC, MAGIC);
        // Last: FUTURE_WRITE lets the mapping above live on, and no later one be writable.
        fcntl_add_seals(&region.fd, spec.kind.seals()).map_err(host("seal"))?;
        Ok(region)
    }

    /// Maps a control region that a peer handed over, after checking size, seals and header.
    ///
    /// # Errors
    /// The first check that fails, see [`RegionError`].
    pub fn map(fd: OwnedFd, layout_version: u64) -> Result<Self, RegionError> {
        let size_bytes = check_descriptor(fd.as_fd(), Kind::Control)?;
        let region = Self::map_words(fd, size_bytes)?;
        check_header(&region.words, Kind::Control, layout_version, size_bytes)?;
        Ok(region)
    }

    fn map_words(fd: OwnedFd, size_bytes: usize) -> Result<Self, RegionError> {
        let mapping = Arc::new(Mapping::new(fd.as_fd(), size_bytes, true).map_err(host("map"))?);
        // SAFETY: the slice is the whole mapping, readable and writable; the mapping is alive as
        // long as the view holds its `Arc`, and this crate reaches it through views only.
        let words = unsafe { WordsMut::over_mapping(mapping.slice(), Arc::clone(&mapping)) };
        Ok(Self { fd, words, mapping })
    }

    /// Writes this process and `epoch` into the header: done by a writer that takes a region over.
    pub fn claim(&self, epoch: u64) {
        self.words.store(AT_PID, u64::from(std::process::id()));
        self.words.store(AT_EPOCH, epoch);
        self.beat(crate::clock::monotonic_ns());
    }

    /// Tells readers that the writer is alive. `now_ns` is of the monotonic clock.
    pub fn beat(&self, now_ns: u64) {
        self.words.store_release(AT_HEARTBEAT, now_ns);
    }

    /// A handle that only beats the heart, for the thread that does it.
    #[must_use]
    pub fn heart(&self) -> Heart {
        Heart { words: self.words.slice(HEADER).expect("every region has a header") }
    }

    /// The header as it stands.
    #[must_use]
    pub fn header(&self) -> Header {
        header_of(&self.words)
    }

    /// Words of the payload.
    ///
    /// # Errors
    /// [`RegionError::Span`] when they lie outside.
    pub fn words(&self, span: Span) -> Result<WordsMut, RegionError> {
        self.words.slice(behind_header(span)).ok_or_else(|| outside(span))
    }

    /// Keeps the pages in memory and out of core dumps: for regions that carry keys.
    ///
    /// # Errors
    /// [`RegionError::Host`], mostly because `RLIMIT_MEMLOCK` is smaller than the region.
    pub fn lock(&self) -> Result<(), RegionError> {
        self.mapping.lock().map_err(host("lock"))
    }

    /// Zero the whole region when this process drops its last view of it.
    ///
    /// Not for a region that a restarted peer shall find again.
    pub fn wipe_on_drop(&self) {
        self.mapping.wipe_on_drop();
    }
}

impl AsFd for Region {
    /// The descriptor to hand over.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Beats a region's heart, see [`Region::heart`].
#[derive(Debug)]
pub struct Heart {
    words: WordsMut,
}

impl Heart {
    /// Tells readers that the writer is alive. `now_ns` is of the monotonic clock.
    pub fn beat(&self, now_ns: u64) {
        self.words.store_release(AT_HEARTBEAT, now_ns);
    }
}

/// A region mapped for reading only.
#[derive(Debug)]
pub struct ReadRegion {
    words: Words,
}

impl ReadRegion {
    /// Maps a stats region that a writer handed over, after checking size, seals and header.
    ///
    /// # Errors
    /// The first check that fails, see [`RegionError`].
    pub fn map(fd: impl AsFd, layout_version: u64) -> Result<Self, RegionError> {
        let size_bytes = check_descriptor(fd.as_fd(), Kind::Stats)?;
        let mapping = Arc::new(Mapping::new(fd.as_fd(), size_bytes, false).map_err(host("map"))?);
        // SAFETY: the slice is the whole mapping, readable, alive as long as the view holds its
        // `Arc`, and reached through views only.
        let words = unsafe { Words::over_mapping(mapping.slice(), mapping) };
        check_header(&words, Kind::Stats, layout_version, size_bytes)?;
        Ok(Self { words })
    }

    /// The header as it stands.
    #[must_use]
    pub fn header(&self) -> Header {
        header_of(&self.words)
    }

    /// Words of the payload.
    ///
    /// # Errors
    /// [`RegionError::Span`] when they lie outside.
    pub fn words(&self, span: Span) -> Result<Words, RegionError> {
        self.words.slice(behind_header(span)).ok_or_else(|| outside(span))
    }
}

fn memfd(name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know that memory can be barred from being executed.
        Err(rustix::io::Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// Size and seals, before anything is mapped. Returns the size in bytes.
fn check_descriptor(fd: BorrowedFd<'_>, kind: Kind) -> Result<usize, RegionError> {
    let wanted = kind.seals();
    // EINVAL: not a memfd at all, so nothing is sealed.
    let seals = fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
    if !seals.contains(wanted) {
        let missing = wanted.difference(seals).iter_names().map(|(name, _)| name);
        return Err(RegionError::Unsealed { missing: missing.collect::<Vec<_>>().join("|") });
    }
    let actual_bytes = u64::try_from(fstat(fd).map_err(host("measure"))?.st_size).unwrap_or(0);
    let smallest = (HEADER_WORDS * WORD_BYTES) as u64;
    if !(smallest..=REGION_BYTES_MAX).contains(&actual_bytes)
        || !actual_bytes.is_multiple_of(PAGE_BYTES as u64)
    {
        return Err(RegionError::Size { actual_bytes, header_bytes: 0 });
    }
    Ok(actual_bytes as usize)
}

fn check_header(words: &Words, kind: Kind, version: u64, size: usize) -> Result<(), RegionError> {
    if words.load_acquire(AT_MAGIC) != MAGIC || words.load(AT_KIND) != kind as u64 {
        return Err(RegionError::Magic);
    }
    let header = header_of(words);
    if header.layout_version != version {
        return Err(RegionError::Version { found: header.layout_version, wanted: version });
    }
    if header.size_bytes != size as u64 {
        let (actual_bytes, header_bytes) = (size as u64, header.size_bytes);
        return Err(RegionError::Size { actual_bytes, header_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! What a region refuses, and what its seals hold.

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

use super::*;

fn spec(kind: Kind) -> RegionSpec<'static> {
    RegionSpec { name: "test", kind, layout_version: 7, payload_bytes: 10_000, epoch: 3 }
}

fn dup(region: &Region) -> OwnedFd {
    region.as_fd().try_clone_to_owned().expect("dup")
}

const SPAN: Span = Span { offset_words: 1, len_words: 2 };

#[test]
fn both_sides_of_a_control_region_see_each_others_words() {
    let a = Region::create(spec(Kind::Control)).expect("create");
    let b = Region::map(dup(&a), 7).expect("map");
    a.words(SPAN).expect("span").store(1, 42);
    assert_eq!(b.words(SPAN).expect("span").load(1), 42);
    b.words(SPAN).expect("span").store(0, 43);
    assert_eq!(a.words(SPAN).expect("span").load(0), 43);
    let header = b.header();
    assert_eq!((header.layout_version, header.epoch, header.size_bytes), (7, 3, 12_288));
    assert_eq!(header.writer_pid, u64::from(std::process::id()));
    b.claim(4);
    assert_eq!(a.header().epoch, 4);
    a.heart().beat(99);
    assert_eq!(b.header().heartbeat_ns, 99);
}

#[test]
fn a_reader_sees_what_the_writer_of_a_stats_region_stores() {
    let writer = Region::create(spec(Kind::Stats)).expect("create");
    let reader = ReadRegion::map(writer.as_fd(), 7).expect("map");
    writer.words(SPAN).expect("span").store_release(0, 11);
    assert_eq!(reader.words(SPAN).expect("span").load_acquire(0), 11);
    writer.beat(5);
    assert_eq!(reader.header().heartbeat_ns, 5);
}

#[test]
fn a_stats_region_cannot_be_mapped_for_writing() {
    let writer = Region::create(spec(Kind::Stats)).expect("create");
    let refused = Region::map(dup(&writer), 7);
    assert!(
        matches!(&refused, Err(RegionError::Host { call: "map", source })
            if source.kind() == io::ErrorKind::PermissionDenied),
        "{refused:?}"
    );
    assert!(rustix::io::pwrite(writer.as_fd(), b"x", 0).is_err(), "write(2) must be sealed too");

    let len = writer.header().size_bytes as usize;
    // SAFETY: the kernel chooses the address.
    let map = unsafe {
        mmap(core::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, writer.as_fd(), 0)
    }
    .expect("a read-only mapping");
    // SAFETY: our own mapping, not referenced by anything.
    let upgraded = unsafe { mprotect(map, len, MprotectFlags::READ | MprotectFlags::WRITE) };
    assert_eq!(upgraded, Err(rustix::io::Errno::ACCESS), "mprotect must not upgrade it");
    // SAFETY: our own mapping, not referenced by anything.
    unsafe { munmap(map, len) }.expect("unmap");
}

#[test]
fn a_control_region_is_refused_as_stats_and_a_foreign_file_as_either() {
    let control = Region::create(spec(Kind::Control)).expect("create");
    let refused = ReadRegion::map(control.as_fd(), 7);
    assert!(
        matches!(&refused, Err(RegionError::Unsealed { missing }) if missing == "FUTURE_WRITE"),
        "{refused:?}"
    );
    let null = std::fs::File::open("/dev/null").expect("null");
    assert!(matches!(ReadRegion::map(&null, 7), Err(RegionError::Unsealed { .. })));
    let unsealed = memfd("unsealed").expect("memfd");
    ftruncate(&unsealed, 4096).expect("size");
    assert!(matches!(Region::map(unsealed, 7), Err(RegionError::Unsealed { .. })));
}

#[test]
fn nobody_can_shrink_or_grow_a_region() {
    let region = Region::create(spec(Kind::Control)).expect("create");
    assert_eq!(ftruncate(region.as_fd(), 0), Err(rustix::io::Errno::PERM));
    assert_eq!(ftruncate(region.as_fd(), 1 << 20), Err(rustix::io::Errno::PERM));
    assert!(fcntl_add_seals(region.as_fd(), SealFlags::WRITE).is_err());
}

/// A memfd sealed as a control region with the given size and header words.
fn forged(size_bytes: u64, header: [u64; 4]) -> OwnedFd {
    let fd = memfd("forged").expect("memfd");
    ftruncate(&fd, size_bytes).expect("size");
    for (i, word) in header.into_iter().enumerate() {
        let _ = rustix::io::pwrite(&fd, &word.to_ne_bytes(), (i * WORD_BYTES) as u64);
    }
    ftruncate(&fd, size_bytes).expect("size");
    fcntl_add_seals(&fd, Kind::Control.seals()).expect("seal");
    fd
}

#[test]
fn forged_headers_and_sizes_are_refused() {
    let control = Kind::Control as u64;
    assert!(Region::map(forged(4096, [MAGIC, control, 7, 4096]), 7).is_ok());
    let map = |size, header| Region::map(forged(size, header), 7).expect_err("refused");
    assert!(matches!(map(0, [0; 4]), RegionError::Size { .. }));
    assert!(matches!(map(100, [MAGIC, control, 7, 100]), RegionError::Size { .. }));
    assert!(matches!(map(4097, [MAGIC, control, 7, 4097]), RegionError::Size { .. }));
    let huge = REGION_BYTES_MAX + 4096;
    assert!(matches!(map(huge, [MAGIC, control, 7, huge]), RegionError::Size { .. }));
    assert!(matches!(map(4096, [MAGIC, control, 7, 8192]), RegionError::Size { .. }));
    assert!(matches!(map(4096, [MAGIC + 1, control, 7, 4096]), RegionError::Magic));
    assert!(matches!(map(4096, [MAGIC, 2, 7, 4096]), RegionError::Magic));
    assert!(matches!(
        map(4096, [MAGIC, control, 8, 4096]),
        RegionError::Version { found: 8, wanted: 7 }
    ));
}

#[test]
fn words_outside_the_region_are_refused() {
    let region = Region::create(spec(Kind::Control)).expect("create");
    let words = region.header().size_bytes as usize / WORD_BYTES - HEADER_WORDS;
    assert!(region.words(Span { offset_words: 0, len_words: words }).is_ok());
    for (offset_words, len_words) in [(0, words + 1), (words, 1), (usize::MAX, 1), (1, usize::MAX)]
    {
        assert!(region.words(Span { offset_words, len_words }).is_err());
    }
    let too_big = RegionSpec { payload_bytes: usize::MAX, ..spec(Kind::Control) };
    assert!(matches!(Region::create(too_big), Err(RegionError::Size { .. })));
}

#[test]
fn a_locked_region_is_locked_kept_out_of_dumps_and_wiped() {
    let region = Region::create(spec(Kind::Control)).expect("create");
    let keeper = dup(&region);
    region.lock().expect("three pages fit every memlock limit");
    let words = region.words(SPAN).expect("span");
    words.store(0, u64::MAX);
    let flags = vm_flags("memfd:test");
    assert!(flags.contains(&"lo".to_owned()), "locked: {flags:?}");
    assert!(flags.contains(&"dd".to_owned()), "not dumped: {flags:?}");
    region.wipe_on_drop();
    drop(region);
    assert_eq!(words.load(0), u64::MAX, "a view keeps the mapping");
    drop(words);
    let mut first = [0xff; 12_288];
    assert_eq!(rustix::io::pread(&keeper, &mut first, 0), Ok(12_288));
    assert!(first.iter().all(|&byte| byte == 0));
}

/// The flags of those of this process's mappings of that name that are locked, from smaps.
fn vm_flags(name: &str) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut inside = false;
    let mut flags = Vec::new();
    for line in smaps.lines() {
        if line.contains('-') && line.split(' ').count() > 4 && !line.contains("kB") {
            inside = line.contains(name);
        } else if let Some(list) = line.strip_prefix("VmFlags: ").filter(|_| inside)
            && list.contains(" lo")
        {
            flags.extend(list.split_whitespace().map(str::to_owned));
        }
    }
    flags
}

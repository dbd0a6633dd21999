//! The kernel touches nothing but its packets and its plaintext: each of them ends, and then begins, where the
//! next page may not be touched, so that a byte too far is a fault of the whole process.

use aead::{Kernel, Path, Record, TAG};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const PAGE: usize = 4096;

/// A page of memory between two that may not be touched.
struct Fenced(*mut u8);

impl Fenced {
    fn new() -> Fenced {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at =
            unsafe { mmap_anonymous(core::ptr::null_mut(), 3 * PAGE, access, MapFlags::PRIVATE) };
        let at = at.expect("three pages").cast::<u8>();
        for page in [0, 2] {
            let fence = at.wrapping_add(page * PAGE);
            // SAFETY: a page of our own that nobody refers to.
            unsafe { mprotect(fence.cast(), PAGE, MprotectFlags::empty()) }.expect("a fence");
        }
        Fenced(at.wrapping_add(PAGE))
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: one page that is mapped for reading and writing and lent out through `self` alone.
        unsafe { core::slice::from_raw_parts_mut(self.0, PAGE) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        let freed = unsafe { munmap(self.0.wrapping_sub(PAGE).cast(), 3 * PAGE) };
        freed.expect("our own mapping");
    }
}

/// The first or the last `len` bytes of the page.
fn at_fence(page: &mut Fenced, len: usize, at_end: bool) -> &mut [u8] {
    let bytes = page.bytes();
    if at_end { &mut bytes[PAGE - len..] } else { &mut bytes[..len] }
}

#[test]
fn nothing_beyond_packets_and_plaintext_is_touched() {
    let (mut plain, mut one, mut two) = (Fenced::new(), Fenced::new(), Fenced::new());
    for kernel in Path::ALL.into_iter().filter_map(Kernel::with) {
        let context = kernel.aes_128(&[7; 16]);
        for len in 0..=1500 {
            for (at_end, header) in [(true, 12), (false, 12), (true, 16 + len % 65), (false, 80)] {
                let total = header + len + TAG;
                let plaintext = at_fence(&mut plain, len, at_end);
                let packets = [&mut one, &mut two].map(|page| at_fence(page, total, at_end));
                let mut jobs =
                    packets.map(|packet| Record::new(&context, [1; 12], header, packet).unwrap());
                kernel.seal(plaintext, &mut jobs);
                let packets = [&mut one, &mut two].map(|page| at_fence(page, total, at_end));
                let mut jobs =
                    packets.map(|packet| Record::new(&context, [1; 12], header, packet).unwrap());
                kernel.open(&mut jobs);
                assert!(jobs.iter().all(|job| job.is_authentic), "{kernel:?} {len} {header}");
                let packet = at_fence(&mut one, total, at_end);
                let mut job = Record::new(&context, [1; 12], header, packet).unwrap();
                kernel.seal_in_place(len, &mut job);
            }
        }
    }
}

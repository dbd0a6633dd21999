//! What the compiler made of the kernel: nothing that is secret leaves the vector registers, where no branch and no
//! address can be made of it. What a node runs is compiled where its jobs are: dataplane/srtp/tests/assembly.rs.

mod machine_code;

use aead::{Kernel, Path, Record};
use machine_code::{count, is_of_lengths, seal_and_open};

/// Everything that the kernel has, so that it is in this program.
fn use_everything() {
    for kernel in Path::ALL.into_iter().filter_map(Kernel::with) {
        let (small, large) = (kernel.aes_128(&[1; 16]), kernel.aes_256(&[2; 32]));
        let mut packet = [0; 100];
        kernel.seal(&[3; 72], &mut [Record::new(&small, [0; 12], 12, &mut packet).unwrap()]);
        kernel.open(&mut [Record::new(&small, [0; 12], 12, &mut packet).unwrap()]);
        kernel.seal_in_place(72, &mut Record::new(&large, [0; 12], 12, &mut packet).unwrap());
        kernel.open(&mut [Record::new(&large, [0; 12], 12, &mut packet).unwrap()]);
        kernel.seal(&[3; 72], &mut [Record::new(&large, [0; 12], 12, &mut packet).unwrap()]);
        kernel.seal_in_place(72, &mut Record::new(&small, [0; 12], 12, &mut packet).unwrap());
    }
}

#[test]
fn nothing_secret_leaves_the_vector_registers_but_whether_a_tag_held() {
    use_everything();
    let Some((sealing, opening)) = seal_and_open() else { return };
    // Three paths, two sizes of keys, and a way for each length of a tail.
    assert!(sealing >= 2 * 2 * 3 * 3 + 2 && opening >= 2 * 3 * 3, "{sealing} {opening}");
}

#[test]
fn a_leak_is_found() {
    let leaks = |text: &str| count(&[text]).0.len();
    assert_eq!(leaks("  1:\tvpextrq $0x1,%xmm0,%rax"), 1);
    assert_eq!(leaks("  1:\tvmovq  %xmm0,%rax"), 1);
    assert_eq!(leaks("  1:\tvmovd  %xmm3,%ecx"), 1);
    assert_eq!(leaks("  1:\tvptest %ymm0,%ymm0"), 1);
    assert!(is_of_lengths("  1:\tvpcmpltuq %zmm1,%zmm2,%k1"));
    assert!(!is_of_lengths("  1:\tvptestnmq %xmm1,%xmm1,%k1"));
    assert_eq!(leaks("  1:\tvptestnmq %zmm1,%zmm1,%k1"), 1);
    assert_eq!(leaks("  1:\tvpcmpeqb %xmm1,%xmm2,%k1"), 1);
    assert_eq!(leaks("  1:\tvpcmpeqb %xmm1,%xmm2,%xmm1"), 0);
    assert_eq!(leaks("  1:\tvmovq  %rax,%xmm0"), 0);
    assert_eq!(leaks("  1:\tkmovb  %eax,%k1"), 0);
    assert_eq!(leaks("  1:\tvmovq  %xmm0,(%rax)"), 0);
    assert_eq!(leaks("  1:\tvpxor  %xmm0,%xmm1,%xmm2"), 0);
    assert_eq!(count(&["  1:\tdiv    %rcx"]).1.len(), 1);
    assert_eq!(count(&["  1:\tvpgatherdd %ymm1,(%rax,%ymm0,4),%ymm2"]).1.len(), 1);
}

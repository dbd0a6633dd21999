//! What the compiler made of the kernel for the jobs of the provider, which is what a node runs, with a release's
//! optimisation: nothing that is secret leaves the vector registers.

#[path = "../../../bindings/aead/tests/machine_code/mod.rs"]
#[allow(dead_code)]
mod machine_code;

use srtp::{
    EgressIndex, FanoutProvider, Inbound, MasterKey, OpenJob, Outbound, PacketIndex, Plaintext,
    Profile, Provider, SealJob,
};

/// Seals and opens by the provider, so that what it is compiled to is in this program.
fn use_everything() {
    let Ok(provider) = FanoutProvider::detect() else { return };
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm] {
        let master = MasterKey::new(profile, &vec![7; profile.master_len()]).unwrap();
        let (outbound, inbound) =
            (Outbound::new(&provider, &master), Inbound::new(&provider, &master));
        for plaintext in [Plaintext::Shared(&[3; 72]), Plaintext::InPlace(72)] {
            let mut packet = [0; 12 + 72 + 16];
            let index = PacketIndex::from_parts(0, 0);
            let mut jobs = [SealJob::new(&outbound, 0, EgressIndex::new(index), 12, &mut packet)];
            provider.seal_many(plaintext, &mut jobs);
            assert_eq!(jobs[0].result, Ok(100));
            let mut jobs = [OpenJob::new(&inbound, 0, index, 12, &mut packet)];
            provider.open_many(&mut jobs);
            assert_eq!(jobs[0].result, Ok(72));
        }
    }
}

#[test]
fn nothing_secret_leaves_the_vector_registers_in_what_a_node_runs_but_whether_a_tag_held() {
    use_everything();
    let Some((sealing, opening)) = machine_code::seal_and_open() else { return };
    // Three paths, two sizes of keys, and a way for each length of a tail.
    assert!(sealing >= 2 * 2 * 3 * 3 && opening >= 2 * 3 * 3, "{sealing} {opening}");
}

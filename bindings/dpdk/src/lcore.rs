//! Registration of ordinary threads as lcores: without it DPDK works, but every buffer goes through
//! the pool's shared stack instead of the thread's own cache.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::reason;
use crate::{Eal, Error, eal};

/// This thread's registration as an lcore; it ends on drop and cannot leave the thread.
///
/// ```compile_fail
/// fn leave(lcore: dpdk::Lcore) {
///     std::thread::spawn(move || drop(lcore));
/// }
/// ```
#[derive(Debug)]
pub struct Lcore {
    id: u32,
    eal: Arc<eal::Inner>,
    _bound_to_its_thread: PhantomData<*const ()>,
}

impl Lcore {
    /// Registers the calling thread.
    ///
    /// # Errors
    /// [`Error::Lcore`] when the thread is registered already or no lcore id is left.
    pub fn register(eal: &Eal) -> Result<Lcore, Error> {
        let control = eal.inner.control();
        // SAFETY: EAL is up while a handle exists.
        if unsafe { dpdk_sys::rl_lcore_id() } >= 0 {
            return Err(Error::Lcore { reason: "it is one already".into() });
        }
        // SAFETY: as above.
        let id = unsafe { dpdk_sys::rl_thread_register() };
        drop(control);
        let eal = Arc::clone(&eal.inner);
        match u32::try_from(id) {
            Ok(id) => Ok(Lcore { id, eal, _bound_to_its_thread: PhantomData }),
            Err(_) => Err(Error::Lcore { reason: reason(id) }),
        }
    }

    /// Its number, below DPDK's limit of lcores.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        let mut control = self.eal.control();
        // SAFETY: this thread registered itself and the value never left it.
        unsafe { dpdk_sys::rl_thread_unregister() };
        // The thread's cached buffers went back to their stacks just now.
        control.free_retired();
    }
}

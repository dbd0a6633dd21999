//! The floor: a thread that receives a datagram, copies it once per subscriber and sends the copies, one
//! system call each. No cipher, no rooms, no checks: what kernel sockets cost by themselves.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::KeyMaterial;
use roomlane_peers::netns::{Lab, NODE_IP};

use crate::load::cpu::CpuTime;
use crate::load::fleet::{Engine, Lane};
use crate::machine::pin;

/// A running thread; it is ended when this is dropped.
pub struct Floor {
    local: SocketAddr,
    /// What publishers seal with is what subscribers open with: nothing is done to packets.
    key: Option<KeyMaterial>,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    changed: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread_id: Arc<AtomicI32>,
    thread: Option<JoinHandle<()>>,
}

impl Floor {
    /// Starts one in the node's namespace, on `cpu`.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn start(lab: &Lab, cpu: usize) -> Result<Floor> {
        let socket = lab.node.within(|| UdpSocket::bind((NODE_IP, 0))).context("a socket")?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).context("a timeout")?;
        let local = socket.local_addr().context("a socket's address")?;
        let targets = Arc::new(Mutex::new(vec![]));
        let (changed, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread_id = Arc::new(AtomicI32::new(0));
        let (to, new) = (Arc::clone(&targets), Arc::clone(&changed));
        let (end, id) = (Arc::clone(&stop), Arc::clone(&thread_id));
        let thread = std::thread::spawn(move || {
            if pin(cpu).is_ok() {
                id.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
                forward(&socket, &to, &new, &end);
            }
        });
        let floor =
            Floor { local, key: None, targets, changed, stop, thread_id, thread: Some(thread) };
        Ok(floor)
    }
}

fn forward(socket: &UdpSocket, to: &Mutex<Vec<SocketAddr>>, new: &AtomicBool, end: &AtomicBool) {
    let (mut packet, mut copy) = ([0; 2048], [0; 2048]);
    let mut targets = vec![];
    while !end.load(Ordering::Relaxed) {
        if new.swap(false, Ordering::Acquire) {
            targets = to.lock().map(|all| all.clone()).unwrap_or_default();
        }
        let Ok(len) = socket.recv(&mut packet) else { continue };
        for target in &targets {
            copy[..len].copy_from_slice(&packet[..len]);
            // What is not sent is missing at the sink, which counts.
            let _ = socket.send_to(&copy[..len], target);
        }
    }
}

impl Engine for Floor {
    fn publish(&mut self, _: u32, _: u32, lane: &Lane) -> Result<(SocketAddr, KeyMaterial)> {
        self.key = Some(lane.key);
        Ok((self.local, lane.key))
    }

    fn subscribe(&mut self, _: u32, _: u32, lane: &Lane) -> Result<KeyMaterial> {
        self.targets.lock().expect("nobody panics with it").push(lane.local);
        self.changed.store(true, Ordering::Release);
        self.key.context("the publisher comes first")
    }

    fn cpu(&self) -> Result<CpuTime> {
        CpuTime::of_thread(self.thread_id.load(Ordering::Acquire))
    }

    fn complaint(&self) -> String {
        "a copy and a sendto".to_owned()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! How many bytes a process may hold in memory for the processes that connected through its doors: for all with the
//! same certificate, and for all together. A message that needs more waits until others are done. A connection that
//! makes no progress while others wait is closed.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// The unit in which bytes are counted.
const UNIT: usize = 1 << 10;

/// How many bytes are read at once. A message that is longer needs capacity for all of it.
pub(crate) const STEP: usize = 64 << 10;

/// How much memory there is, and when a connection loses its part.
#[derive(Clone, Copy, Debug)]
pub struct CapacityLimits {
    /// The most bytes held for all connections together: large messages that arrive or leave, and bytes that are served
    /// and not taken.
    pub bytes: usize,
    /// The most bytes held for connections with the same certificate.
    pub bytes_per_certificate: usize,
    /// How long a peer may neither send nor take anything. A peer that reads may have reasons to be slow.
    pub idle: Duration,
    /// The same limit while others wait for the memory that the connection holds.
    pub pressed: Duration,
}

impl Default for CapacityLimits {
    fn default() -> Self {
        CapacityLimits {
            bytes: 2 * tryworks_base::MAX_MESSAGE,
            bytes_per_certificate: tryworks_base::MAX_MESSAGE,
            idle: Duration::from_secs(600),
            pressed: Duration::from_secs(5),
        }
    }
}

/// The capacity of a process for messages of its doors. Clones are the same capacity: doors with clones of one share
/// it.
#[derive(Clone)]
pub struct Capacity {
    all: Arc<Pot>,
    /// The capacity of each certificate in use.
    own: Arc<Mutex<HashMap<Arc<[u8]>, Weak<Pot>>>>,
    limits: CapacityLimits,
}

struct Pot {
    free: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
}

impl Pot {
    fn new(bytes: usize) -> Arc<Self> {
        let size = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Arc::new(Pot { free: Arc::new(Semaphore::new(size)), size, waiting: AtomicUsize::new(0) })
    }

    /// A request for more than the whole capacity takes all of it, and no other connection has any then.
    fn units(&self, bytes: usize) -> u32 {
        bytes.div_ceil(UNIT).min(self.size) as u32
    }

    fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.units(bytes)).ok()
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if let Some(taken) = self.try_take(bytes) {
            return Some(taken);
        }
        let _waiting = Waiting::new(&self.waiting);
        // The semaphore is never closed.
        self.free.clone().acquire_many_owned(self.units(bytes)).await.ok()
    }
}

/// Counts a waiting task for as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Capacity {
    /// A separate capacity.
    pub fn new(limits: CapacityLimits) -> Self {
        Capacity { all: Pot::new(limits.bytes), own: Arc::default(), limits }
    }

    /// How many bytes are held now.
    pub fn held(&self) -> usize {
        (self.all.size - self.all.free.available_permits()) * UNIT
    }

    /// The share of a connection with this certificate.
    pub(crate) fn share(&self, certificate: &Arc<[u8]>) -> Share {
        let mut known = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, pot| pot.strong_count() > 0);
        let own = known.get(certificate).and_then(Weak::upgrade).unwrap_or_else(|| {
            let pot = Pot::new(self.limits.bytes_per_certificate);
            known.insert(certificate.clone(), Arc::downgrade(&pot));
            pot
        });
        Share { own, all: self.all.clone(), limits: self.limits }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity::new(CapacityLimits::default())
    }
}

impl std::fmt::Debug for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capacity").field("held", &self.held()).field("limits", &self.limits).finish()
    }
}

/// The capacity that a connection may use: that of its certificate, and that of all.
#[derive(Clone)]
pub struct Share {
    own: Arc<Pot>,
    all: Arc<Pot>,
    limits: CapacityLimits,
}

/// Capacity that was taken. Dropping this returns it.
#[derive(Debug)]
pub struct Held {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Takes capacity for `bytes` bytes, and waits while there is none.
    pub async fn take(&self, bytes: usize) -> Held {
        // The order matters: a connection that waits for others with its certificate must not delay the rest.
        let _own = self.own.take(bytes).await;
        Held { _own, _all: self.all.take(bytes).await }
    }

    /// The same for a message that is passed on. A short one needs no capacity.
    pub async fn take_long(&self, bytes: usize) -> Option<Held> {
        match bytes {
            ..=STEP => None,
            _ => Some(self.take(bytes).await),
        }
    }

    /// Takes capacity for `bytes` bytes, if there is enough.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        let own = self.own.try_take(bytes)?;
        Some(Held { _own: Some(own), _all: Some(self.all.try_take(bytes)?) })
    }

    /// How long a peer may do nothing.
    pub(crate) fn idle(&self) -> Duration {
        self.limits.idle
    }

    /// Runs `work`, which depends on the peer. The peer may make no progress for as long as `idle` allows; or for less,
    /// while others wait for capacity.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut), when the peer made no progress for too long.
    pub async fn patiently<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = pin!(work);
        let begun = Instant::now();
        loop {
            let left = self.limits.idle.saturating_sub(begun.elapsed());
            if let Ok(done) = timeout(self.limits.pressed.min(left), &mut work).await {
                return Ok(done);
            }
            if self.own.waiting.load(Relaxed) + self.all.waiting.load(Relaxed) > 0
                || begun.elapsed() >= self.limits.idle
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let free = |pot: &Pot| pot.free.available_permits() * UNIT;
        f.debug_struct("Share").field("own", &free(&self.own)).field("all", &free(&self.all)).finish()
    }
}

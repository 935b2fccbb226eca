//! How many bytes a process may hold in memory for those who have come in by its doors: for all with the same certificate,
//! and for all. Who needs more waits until others are done; and who stands still while others wait is sent away.

use crate::frame::STEP;
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

/// How much there is, and who loses it.
#[derive(Clone, Copy, Debug)]
pub struct CapacityLimits {
    /// How many bytes may be held of all connections together: of large messages that are coming or going, and of what is
    /// given out and not taken.
    pub bytes: usize,
    /// How many of those with the same certificate.
    pub bytes_per_certificate: usize,
    /// How long an end may neither give nor take. Who reads may have reasons to be slow.
    pub idle: Duration,
    /// The same while others wait for the room that it has.
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

/// The room behind the doors of a process. Clones are the same room: doors that have clones of one share it.
#[derive(Clone)]
pub struct Capacity {
    all: Arc<Pot>,
    /// Those whose certificates are in use.
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

    /// What is more than there is at all is all of it, and nobody else then has any.
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
        // It is never closed.
        self.free.clone().acquire_many_owned(self.units(bytes)).await.ok()
    }
}

/// Counted for as long as this lives.
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
    /// A room of its own.
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

/// What a connection may take room from: that of its certificate, and of all.
#[derive(Clone)]
pub struct Share {
    own: Arc<Pot>,
    all: Arc<Pot>,
    limits: CapacityLimits,
}

/// Room that was taken. It is given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Takes room for so many bytes, and waits while there is none.
    pub async fn take(&self, bytes: usize) -> Held {
        // In this order: who waits for others of its own holds nobody else up.
        let _own = self.own.take(bytes).await;
        Held { _own, _all: self.all.take(bytes).await }
    }

    /// The same for a message that passes. A short one needs no room.
    pub async fn take_long(&self, bytes: usize) -> Option<Held> {
        match bytes {
            ..=STEP => None,
            _ => Some(self.take(bytes).await),
        }
    }

    /// Takes room for so many bytes, if there is some.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        let own = self.own.try_take(bytes)?;
        Some(Held { _own: Some(own), _all: Some(self.all.try_take(bytes)?) })
    }

    /// How long an end may do nothing.
    pub(crate) fn idle(&self) -> Duration {
        self.limits.idle
    }

    /// Does what depends on the other end, which may stand still for as long as the room allows; or for less, while others
    /// wait for room.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut), when it stood still for too long.
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

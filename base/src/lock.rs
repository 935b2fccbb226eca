//! Locks for quick work. Waits, requests to another process and functions of the user's call [`none_held`] first. In a
//! debug build it panics if the calling thread holds a lock, whether or not another thread happens to want that lock.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

thread_local! {
    /// How many locks this thread has, counted in debug builds.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// Call this before anything that may take long: in a debug build it panics if this thread holds a lock.
///
/// ```
/// use tryworks_base::lock::{Lock, none_held};
/// let count = Lock::new(0);
/// *count.lock() += 1;
/// none_held("asking a process");
/// # #[cfg(debug_assertions)]
/// assert!(std::panic::catch_unwind(|| {
///     let _held = count.lock();
///     none_held("asking a process");
/// }).is_err());
/// assert_eq!(*count.lock(), 1);
/// ```
#[inline(always)]
#[track_caller]
pub fn none_held(what: &str) {
    debug_assert!(HELD.get() == 0 || std::thread::panicking(), "{what} while a lock is held");
}

/// Counts a lock for as long as it is held.
struct Count;

impl Count {
    #[inline(always)]
    fn one() -> Self {
        if cfg!(debug_assertions) {
            HELD.set(HELD.get() + 1);
        }
        Count
    }
}

impl Drop for Count {
    #[inline(always)]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HELD.set(HELD.get() - 1);
        }
    }
}

/// A value that one thread at a time may use. A panic in a thread that held the lock does not affect the next one.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

/// Access to a locked value.
pub struct Held<'a, T> {
    guard: MutexGuard<'a, T>,
    count: Count,
}

impl<T> Lock<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        Lock(Mutex::new(value))
    }

    /// Waits for access to the value.
    pub fn lock(&self) -> Held<'_, T> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Held { guard, count: Count::one() }
    }
}

impl<'a, T> Held<'a, T> {
    /// Unlocks the value until `told` is notified.
    #[must_use]
    #[track_caller]
    pub fn wait(self, condvar: &Condvar) -> Self {
        let guard = self.let_go();
        let guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Held { guard, count: Count::one() }
    }

    /// The same, but not for longer than this.
    #[must_use]
    #[track_caller]
    pub fn wait_for(self, condvar: &Condvar, time: Duration) -> Self {
        let guard = self.let_go();
        let guard = condvar.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0;
        Held { guard, count: Count::one() }
    }

    #[track_caller]
    fn let_go(self) -> MutexGuard<'a, T> {
        let Held { guard, count } = self;
        drop(count);
        none_held("waiting for news");
        guard
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A value that many threads may read at the same time.
#[derive(Debug, Default)]
pub struct ReadLock<T>(RwLock<T>);

/// Shared access to a value: other threads may be reading it.
pub struct Reading<'a, T> {
    guard: RwLockReadGuard<'a, T>,
    _count: Count,
}

/// Exclusive access to a value.
pub struct Writing<'a, T> {
    guard: RwLockWriteGuard<'a, T>,
    _count: Count,
}

impl<T> ReadLock<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        ReadLock(RwLock::new(value))
    }

    /// Waits until no thread is writing the value.
    pub fn read(&self) -> Reading<'_, T> {
        let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Reading { guard, _count: Count::one() }
    }

    /// Waits for exclusive access to the value.
    pub fn write(&self) -> Writing<'_, T> {
        let guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Writing { guard, _count: Count::one() }
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Work that one thread at a time does for each key, without holding a lock. A second thread waits, and finds the work
/// done.
#[derive(Debug)]
pub struct Turns<K> {
    taken: Lock<Vec<K>>,
    left: Condvar,
}

/// A thread's turn, until it is dropped.
pub struct Turn<'a, K: PartialEq> {
    turns: &'a Turns<K>,
    key: K,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Turns { taken: Lock::new(Vec::new()), left: Condvar::new() }
    }
}

impl<K: PartialEq + Clone> Turns<K> {
    /// Waits until no other thread works for this key.
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use tryworks_base::lock::Turns;
    /// let (turns, made) = (Turns::default(), OnceLock::new());
    /// std::thread::scope(|scope| {
    ///     for number in 0..4 {
    ///         let (turns, made) = (&turns, &made);
    ///         scope.spawn(move || {
    ///             let _turn = turns.take("whale");
    ///             assert!(made.get().is_some() || made.set(number).is_ok());
    ///         });
    ///     }
    /// });
    /// assert!(made.get().is_some());
    /// ```
    #[track_caller]
    pub fn take(&self, key: K) -> Turn<'_, K> {
        let mut taken = self.taken.lock();
        while taken.contains(&key) {
            taken = taken.wait(&self.left);
        }
        taken.push(key.clone());
        Turn { turns: self, key }
    }
}

impl<K: PartialEq> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock();
        taken.retain(|key| *key != self.key);
        self.turns.left.notify_all();
    }
}

//! The names of things: numbers in types of their own, plain data that every process may hold.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty) shown as $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $letter, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// One action of a driver. Of two jobs, the one with the smaller number was submitted earlier and is served first.
    JobId(u64) shown as "job "
}
id! {
    /// What a wide stage makes: the blocks of one shuffle. Jobs that name the same output share it.
    OutputId(u64) shown as "output "
}
id! {
    /// One *session* of an engine. An engine that was lost and comes back gets another number, so that late messages of
    /// the old session can be recognised.
    EngineId(u32) shown as "engine "
}

id! {
    /// One driver's stay at a hub. It survives a lost connection and a restart of the hub.
    SessionId(u32) shown as "session "
}

id! {
    /// A driver's own number of a shuffle. Each driver counts its own, from 1.
    ExchangeId(u64) shown as "exchange "
}
id! {
    /// A driver's own number of a cached dataset. Each driver counts its own, from 1.
    CacheId(u64) shown as "cache "
}
id! {
    /// The number by which a cluster knows a cached dataset: its session and the driver's own number.
    GlobalCacheId(u64) shown as "cache "
}

/// The bits of a number of a cluster that hold the driver's own one; the session is above them.
const OWN: u64 = u32::MAX as u64;

impl SessionId {
    /// The number by which the cluster knows the output of a driver's shuffle.
    pub fn output(self, exchange: ExchangeId) -> OutputId {
        OutputId(self.global(exchange.0))
    }

    /// All outputs of a session.
    pub fn outputs(self) -> RangeInclusive<OutputId> {
        OutputId(self.global(0))..=OutputId(self.global(OWN))
    }

    /// The number by which the cluster knows a driver's cached dataset.
    pub fn cache(self, cache: CacheId) -> GlobalCacheId {
        GlobalCacheId(self.global(cache.0))
    }

    /// All cached datasets of a session.
    pub fn caches(self) -> RangeInclusive<GlobalCacheId> {
        GlobalCacheId(self.global(0))..=GlobalCacheId(self.global(OWN))
    }

    fn global(self, own: u64) -> u64 {
        u64::from(self.0) << 32 | own & OWN
    }
}

impl OutputId {
    /// The session of its driver.
    pub fn session(self) -> SessionId {
        SessionId((self.0 >> 32) as u32)
    }

    /// The driver's own number of the shuffle.
    pub fn exchange(self) -> ExchangeId {
        ExchangeId(self.0 & OWN)
    }
}

impl GlobalCacheId {
    /// The session of its driver.
    pub fn session(self) -> SessionId {
        SessionId((self.0 >> 32) as u32)
    }

    /// The driver's own number of the dataset.
    pub fn own(self) -> CacheId {
        CacheId(self.0 & OWN)
    }
}

/// One launch of one task; no launch ever gets the number of another one.
///
/// The upper 40 bits count launches. The lower 24 bits say where the scheduler keeps the attempt while it runs, so that
/// finding it costs one comparison and no hashing. For all other code the id is one opaque number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

impl AttemptId {
    const SEAT_BITS: u32 = 24;

    /// The attempt that is the `sequence`th launch and sits in `seat`.
    pub fn new(sequence: u64, seat: u32) -> Self {
        debug_assert!(seat < 1 << Self::SEAT_BITS);
        Self(sequence << Self::SEAT_BITS | u64::from(seat))
    }

    /// How many launches came before this one.
    pub fn sequence(self) -> u64 {
        self.0 >> Self::SEAT_BITS
    }

    /// Where the scheduler keeps it.
    pub fn seat(self) -> u32 {
        (self.0 & ((1 << Self::SEAT_BITS) - 1)) as u32
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.sequence())
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_its_place_in_the_sequence() {
        let attempt = AttemptId::new(7, 3);
        assert_eq!((attempt.sequence(), attempt.seat()), (7, 3));
        assert!(attempt < AttemptId::new(8, 0), "later launches have larger numbers wherever they sit");
        assert_eq!(format!("{attempt} of {}", JobId(2)), "attempt 7 of job 2");
    }
}

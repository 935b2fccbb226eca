//! Numbers that are never given out twice, whatever dies: they are reserved in chunks ahead of their use.

use super::queue::{Item, Queue};
use rusqlite::Transaction;
use std::sync::Arc;
use tryworks_base::ids::{EngineId, JobId, SessionId};
use tryworks_base::lock::Lock;
use tryworks_base::{Error, Result};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Jobs,
    Sessions,
    Engines,
    Launches,
}

impl Counter {
    pub const ALL: [Counter; 4] = [Counter::Jobs, Counter::Sessions, Counter::Engines, Counter::Launches];

    pub fn name(self) -> &'static str {
        match self {
            Counter::Jobs => "jobs",
            Counter::Sessions => "sessions",
            Counter::Engines => "engines",
            Counter::Launches => "launches",
        }
    }

    /// How many are reserved at a time: more than are used while the next ones are being reserved.
    fn chunk(self) -> u64 {
        match self {
            Counter::Jobs | Counter::Sessions | Counter::Engines => 256,
            Counter::Launches => 1 << 20,
        }
    }
}

#[derive(Clone, Copy)]
struct Range {
    /// The last number that was given out.
    used: u64,
    /// The last number that a reservation was asked for.
    asked: u64,
}

/// The counters of one hub.
pub(super) struct Numbers {
    ranges: Lock<[Range; 4]>,
    queue: Arc<Queue>,
}

impl Numbers {
    /// Reserves the first chunks, on top of whatever was reserved before. The caller commits `opening`.
    pub fn reserve(opening: &Transaction<'_>) -> rusqlite::Result<[u64; 4]> {
        let mut used = [0; 4];
        for counter in Counter::ALL {
            let sql = "SELECT coalesce(max(reserved), 0) FROM counters WHERE name = ?";
            let before = opening.query_row(sql, [counter.name()], |row| row.get::<_, i64>(0))?.cast_unsigned();
            used[counter as usize] = before;
            write(opening, counter, before + counter.chunk())?;
        }
        Ok(used)
    }

    pub fn new(used: [u64; 4], queue: Arc<Queue>) -> Self {
        let ranges = Counter::ALL.map(|counter| {
            let (used, asked) = (used[counter as usize], used[counter as usize] + counter.chunk());
            queue.reserved(counter, asked);
            Range { used, asked }
        });
        Numbers { ranges: Lock::new(ranges), queue }
    }

    pub fn next_job(&self) -> Result<JobId> {
        self.claim(Counter::Jobs, |used| used + 1).map(JobId)
    }

    pub fn next_session(&self) -> Result<SessionId> {
        small(self.claim(Counter::Sessions, |used| used + 1)?).map(SessionId)
    }

    pub fn next_engine(&self) -> Result<EngineId> {
        small(self.claim(Counter::Engines, |used| used + 1)?).map(EngineId)
    }

    pub fn launched(&self, count: u64) -> Result<()> {
        self.claim(Counter::Launches, |used| used.max(count)).map(drop)
    }

    /// What was really used: a hub that ends in order gives the rest back.
    pub fn used(&self) -> [u64; 4] {
        self.ranges.lock().map(|range| range.used)
    }

    fn claim(&self, counter: Counter, next: impl Fn(u64) -> u64) -> Result<u64> {
        let mut waited = false;
        loop {
            let mut ranges = self.ranges.lock();
            let range = &mut ranges[counter as usize];
            let claimed = next(range.used);
            if claimed + counter.chunk() / 2 > range.asked {
                range.asked = claimed + counter.chunk();
                self.queue.push(Item::Reserve(counter, range.asked));
            }
            if claimed <= self.queue.reserved_to(counter) {
                range.used = claimed;
                return Ok(claimed);
            }
            if waited {
                return Err(Error::Bug(format!("{} up to {claimed} are not reserved", counter.name())));
            }
            drop(ranges);
            // Rare: a whole chunk was used up while the writer was busy. One that cannot write is not waited for.
            match self.queue.health().error {
                Some(error) => return Err(error),
                None => self.queue.sync()?,
            }
            waited = true;
        }
    }
}

/// Writes down that numbers up to `end` may be in use.
pub(super) fn write(to: &Transaction<'_>, counter: Counter, end: u64) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT OR REPLACE INTO counters (name, reserved) VALUES (?, ?)")?
        .execute((counter.name(), end.cast_signed()))
        .map(drop)
}

fn small(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| {
        Error::limit("numbers of sessions", u32::MAX.into(), "one more session", "begin anew with an empty journal")
    })
}

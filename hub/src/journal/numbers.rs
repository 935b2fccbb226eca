//! Numbers that are never given out twice, even after a crash: they are reserved on the disk in chunks before use.

use rusqlite::Transaction;

/// What is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Jobs.
    Jobs,
    /// Sessions of drivers.
    Sessions,
    /// Sessions of engines.
    Engines,
    /// Launches of tasks.
    Launches,
}

impl Counter {
    /// All counters.
    pub const ALL: [Counter; 4] = [Counter::Jobs, Counter::Sessions, Counter::Engines, Counter::Launches];

    fn name(self) -> &'static str {
        match self {
            Counter::Jobs => "jobs",
            Counter::Sessions => "sessions",
            Counter::Engines => "engines",
            Counter::Launches => "launches",
        }
    }

    /// How many numbers are reserved at a time: more than are used while the next chunk is being reserved.
    fn chunk(self) -> u64 {
        match self {
            Counter::Jobs | Counter::Sessions | Counter::Engines => 256,
            Counter::Launches => 1 << 20,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Range {
    /// The last number that was given out.
    used: u64,
    /// The end of the latest reservation that was ordered.
    asked: u64,
    /// The end of the latest reservation that is committed.
    written: u64,
}

/// The numbers of one hub: the last ones given out, and the last ones that the journal has reserved. A larger number
/// must not leave the hub, because the next hub might give it out again.
///
/// ```
/// use tryworks_hub::journal::{Counter, Numbers};
///
/// let mut numbers = Numbers::after([7, 0, 0, 0]);
/// let (first, _) = numbers.next(Counter::Jobs);
/// assert!(first == 8 && numbers.are_written(Counter::Jobs));
/// let asked = (0..128).find_map(|_| numbers.next(Counter::Jobs).1).unwrap();
/// numbers.claim(Counter::Jobs, asked);
/// assert!(!numbers.are_written(Counter::Jobs), "too many at once: they wait for the journal");
/// numbers.written(Counter::Jobs, asked);
/// assert!(numbers.are_written(Counter::Jobs));
/// ```
#[derive(Clone, Debug)]
pub struct Numbers {
    ranges: [Range; 4],
}

impl Numbers {
    /// The numbers of a hub whose journal ended with `used`, in the order of [`Counter::ALL`]. The first chunk of each
    /// counter is already reserved.
    #[must_use]
    pub fn after(used: [u64; 4]) -> Self {
        let ranges = Counter::ALL.map(|counter| {
            let used = used[counter as usize];
            let written = used + counter.chunk();
            Range { used, asked: written, written }
        });
        Numbers { ranges }
    }

    /// The next number, and the number up to which to reserve now, if any.
    pub fn next(&mut self, counter: Counter) -> (u64, Option<u64>) {
        let next = self.used(counter) + 1;
        (next, self.claim(counter, next))
    }

    /// Notes that numbers up to `last` are used. Returns the number up to which to reserve now, if any.
    pub fn claim(&mut self, counter: Counter, last: u64) -> Option<u64> {
        let range = &mut self.ranges[counter as usize];
        range.used = range.used.max(last);
        let ahead = range.used + counter.chunk() / 2 > range.asked;
        ahead.then(|| {
            range.asked = range.used + counter.chunk();
            range.asked
        })
    }

    /// Notes that the journal has reserved numbers up to `end`.
    pub fn written(&mut self, counter: Counter, end: u64) {
        let range = &mut self.ranges[counter as usize];
        range.written = range.written.max(end);
    }

    /// Whether the journal has reserved all numbers that were given out.
    #[must_use]
    pub fn are_written(&self, counter: Counter) -> bool {
        let range = &self.ranges[counter as usize];
        range.used <= range.written
    }

    /// Whether the journal has reserved the next number.
    #[must_use]
    pub fn has_next(&self, counter: Counter) -> bool {
        let range = &self.ranges[counter as usize];
        range.used < range.written
    }

    /// The last number that the journal has reserved.
    #[must_use]
    pub fn reserved(&self, counter: Counter) -> u64 {
        self.ranges[counter as usize].written
    }

    /// The last number that was given out.
    #[must_use]
    pub fn used(&self, counter: Counter) -> u64 {
        self.ranges[counter as usize].used
    }
}

/// Reserves the first chunk of each counter, after all numbers that were ever reserved. The caller commits `opening`.
pub(super) fn reserve(opening: &Transaction<'_>) -> rusqlite::Result<Numbers> {
    let mut used = [0; 4];
    for counter in Counter::ALL {
        let sql = "SELECT coalesce(max(reserved), 0) FROM counters WHERE name = ?";
        let before = opening.query_row(sql, [counter.name()], |row| row.get::<_, i64>(0))?.cast_unsigned();
        used[counter as usize] = before;
        write(opening, counter, before + counter.chunk())?;
    }
    Ok(Numbers::after(used))
}

/// Writes that numbers up to `end` may be in use.
pub(super) fn write(to: &Transaction<'_>, counter: Counter, end: u64) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT OR REPLACE INTO counters (name, reserved) VALUES (?, ?)")?
        .execute((counter.name(), end.cast_signed()))
        .map(drop)
}

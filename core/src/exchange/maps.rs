//! Which map tasks have given their outputs to a running fold.

use std::collections::BTreeSet;

/// How many outputs wait before they are folded. A shard's table is then brought into the CPU's caches once for all of
/// them.
const TOGETHER: u32 = 4;

/// The map tasks whose outputs a running fold has, wholly or in part.
#[derive(Default)]
pub(crate) struct Maps {
    /// The outputs of all map tasks before this one are there.
    whole: u32,
    /// How far they were folded when they were folded last.
    folded: u32,
    /// Tasks after that, whose outputs are being added.
    adding: BTreeSet<u32>,
    /// Tasks after that, whose outputs are there.
    there: BTreeSet<u32>,
}

impl Maps {
    /// Whether the output of a map task is there or is being added.
    pub(crate) fn has(&self, map: u32) -> bool {
        map < self.whole || self.adding.contains(&map) || self.there.contains(&map)
    }

    /// Notes that the output of a map task is being added.
    pub(crate) fn begin(&mut self, map: u32) {
        self.adding.insert(map);
    }

    /// Notes that the output of a map task is there. If enough outputs wait to be folded, returns the map task up to
    /// which there is no gap.
    pub(crate) fn end(&mut self, map: u32) -> Option<u32> {
        self.adding.remove(&map);
        self.there.insert(map);
        while self.there.remove(&self.whole) {
            self.whole += 1;
        }
        let due = self.whole - self.folded >= TOGETHER;
        due.then(|| {
            self.folded = self.whole;
            self.whole
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_folded_together_and_not_beyond_a_gap() {
        let mut maps = Maps::default();
        let mut add = |map| {
            assert!(!maps.has(map));
            maps.begin(map);
            assert!(maps.has(map));
            let due = maps.end(map);
            assert!(maps.has(map));
            due
        };
        assert_eq!([1, 2, 3, 4, 6].map(&mut add), [None; 5]);
        assert_eq!(add(0), Some(5));
        assert_eq!([7, 8, 9].map(&mut add), [None; 3]);
        assert_eq!(add(5), Some(10));
        assert_eq!(add(10), None);
    }
}

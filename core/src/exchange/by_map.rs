//! Values by the number of a map task. The search tree holds numbers only, so it is compiled once. A tree of rows would
//! be compiled for every shuffle of a program.

use std::collections::BTreeMap;

/// A map from the numbers of map tasks to values.
pub(crate) struct ByMap<T> {
    places: Places,
    values: Vec<Option<T>>,
}

/// The position of a map task's value.
#[derive(Default)]
struct Places {
    of: BTreeMap<u32, usize>,
    /// Positions whose value was removed.
    free: Vec<usize>,
}

impl Places {
    /// The position for a map task's value: its own, a free one, or the one after `values` positions.
    fn insert(&mut self, map: u32, values: usize) -> usize {
        let next = self.free.last().copied().unwrap_or(values);
        let place = *self.of.entry(map).or_insert(next);
        if self.free.last() == Some(&place) {
            self.free.pop();
        }
        place
    }

    /// Removes and returns the position of a map task's value.
    fn remove(&mut self, map: u32) -> Option<usize> {
        let place = self.of.remove(&map)?;
        self.free.push(place);
        Some(place)
    }
}

impl<T> Default for ByMap<T> {
    fn default() -> Self {
        ByMap { places: Places::default(), values: Vec::new() }
    }
}

impl<T> ByMap<T> {
    /// Inserts a value, and returns the previous one.
    pub(crate) fn insert(&mut self, map: u32, value: T) -> Option<T> {
        let place = self.places.insert(map, self.values.len());
        if place < self.values.len() {
            return self.values[place].replace(value);
        }
        self.values.push(Some(value));
        None
    }

    pub(crate) fn contains(&self, map: u32) -> bool {
        self.places.of.contains_key(&map)
    }

    pub(crate) fn get(&self, map: u32) -> Option<&T> {
        self.values[*self.places.of.get(&map)?].as_ref()
    }

    /// Removes a value.
    pub(crate) fn remove(&mut self, map: u32) -> Option<T> {
        let place = self.places.remove(map)?;
        self.values[place].take()
    }

    /// Changes every value, in the order of the map tasks.
    pub(crate) fn map<U>(mut self, mut change: impl FnMut(T) -> U) -> ByMap<U> {
        let mut changed = ByMap::default();
        for (map, place) in std::mem::take(&mut self.places.of) {
            if let Some(value) = self.values[place].take() {
                changed.insert(map, change(value));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::ByMap;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_a_search_tree_holds() {
        let (mut ours, mut theirs) = (ByMap::default(), BTreeMap::new());
        let mut seed = 7u64;
        for step in 0..5_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (map, puts) = ((seed >> 33) as u32 % 40, seed >> 60 < 9);
            match puts {
                true => assert_eq!(ours.insert(map, step), theirs.insert(map, step)),
                false => assert_eq!(ours.remove(map), theirs.remove(&map)),
            }
            assert_eq!((ours.get(map), ours.contains(map)), (theirs.get(&map), theirs.contains_key(&map)));
        }
        let mut order = Vec::new();
        let doubled = ours.map(|step| {
            order.push(step);
            2 * step
        });
        assert_eq!(order, theirs.values().copied().collect::<Vec<_>>());
        assert!((0..40).all(|map| doubled.get(map).copied() == theirs.get(&map).map(|step| 2 * step)));
    }
}

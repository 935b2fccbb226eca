//! Values by the number of a map task. The search tree holds numbers only, so it is compiled once. A tree of rows would
//! be compiled for every shuffle of a program.

use std::collections::BTreeMap;

/// A map from the numbers of map tasks to values.
pub(crate) struct ByMap<T> {
    /// The position of each map task's value.
    places: BTreeMap<u32, usize>,
    values: Vec<T>,
}

impl<T> Default for ByMap<T> {
    fn default() -> Self {
        ByMap { places: BTreeMap::new(), values: Vec::new() }
    }
}

impl<T> ByMap<T> {
    /// The value of a map task. If it has none, `new` makes it.
    pub(crate) fn entry(&mut self, map: u32, new: impl FnOnce() -> T) -> &mut T {
        let place = *self.places.entry(map).or_insert(self.values.len());
        if place == self.values.len() {
            self.values.push(new());
        }
        &mut self.values[place]
    }

    pub(crate) fn get(&self, map: u32) -> Option<&T> {
        Some(&self.values[*self.places.get(&map)?])
    }

    /// Changes every value.
    pub(crate) fn map<U>(self, mut change: impl FnMut(T) -> U) -> ByMap<U> {
        let mut values = Vec::with_capacity(self.values.len());
        for value in self.values {
            values.push(change(value));
        }
        ByMap { places: self.places, values }
    }
}

#[cfg(test)]
mod tests {
    use super::ByMap;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_a_search_tree_holds() {
        let (mut ours, mut theirs) = (ByMap::default(), BTreeMap::new());
        for step in 0..500u32 {
            let map = step * step % 41;
            let value = ours.entry(map, || step);
            assert_eq!(value, theirs.entry(map).or_insert(step));
            *value += 1;
            *theirs.get_mut(&map).unwrap() += 1;
        }
        let doubled = ours.map(|value| 2 * value);
        assert!((0..50).all(|map| doubled.get(map).copied() == theirs.get(&map).map(|value| 2 * value)));
    }
}

//! A dense table whose rows keep their number while they live, and the keys of the table of stages.

use tryworks_base::ids::JobId;

/// The row of a stage in the scheduler's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StageKey(pub u32);

/// Within a pool, stages are served in this order: the job submitted first, its earlier stage.
pub(super) type Rank = (JobId, u32, StageKey);

#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// The row of the next insertion.
    pub fn next_row(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.rows.len() as u32)
    }

    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(row) => {
                self.rows[row as usize] = Some(value);
                row
            }
            None => {
                self.rows.push(Some(value));
                self.rows.len() as u32 - 1
            }
        }
    }

    pub fn remove(&mut self, row: u32) -> Option<T> {
        let value = self.rows.get_mut(row as usize)?.take()?;
        self.free.push(row);
        Some(value)
    }

    pub fn get(&self, row: u32) -> Option<&T> {
        self.rows.get(row as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, row: u32) -> Option<&mut T> {
        self.rows.get_mut(row as usize)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.rows.iter().enumerate().filter_map(|(row, value)| Some((row as u32, value.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.rows.iter_mut().enumerate().filter_map(|(row, value)| Some((row as u32, value.as_mut()?)))
    }

    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Option<T>>() + self.free.capacity() * 4
    }
}

/// For keys that live as long as their row: if the row is missing, the scheduler has a bug.
impl<T> std::ops::Index<StageKey> for Slab<T> {
    type Output = T;

    fn index(&self, key: StageKey) -> &T {
        self.get(key.0).expect("a stage key does not outlive its stage")
    }
}

impl<T> std::ops::IndexMut<StageKey> for Slab<T> {
    fn index_mut(&mut self, key: StageKey) -> &mut T {
        self.get_mut(key.0).expect("a stage key does not outlive its stage")
    }
}

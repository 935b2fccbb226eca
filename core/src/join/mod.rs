//! Joining by key: a task puts the rows of the right side into a table, and looks up the rows of the left side in it. A
//! right side that does not fit into memory is read once for each run of left rows.

mod cursor;
mod run;
mod table;

use crate::exchange::Side;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::ship;
use crate::task::TaskContext;
use cursor::JoinCursor;
use tryworks_base::Result;

/// The pipe of [`Dataset::join`].
pub struct Join<K, V, W> {
    pub(crate) left: Side<(K, V)>,
    pub(crate) right: Side<(K, W)>,
}

impl<K: Clone, V: Clone, W: Clone> Clone for Join<K, V, W> {
    fn clone(&self) -> Self {
        Join { left: self.left.clone(), right: self.right.clone() }
    }
}

ship!([K: Send + 'static, V: Send + 'static, W: Send + 'static] Join<K, V, W> { left: ship, right: ship });

impl<K: Key, V: Row, W: Row> Pipe for Join<K, V, W> {
    type Item = (K, (V, W));
    type Cursor = JoinCursor<K, V, W>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        JoinCursor::open(&self.left, &self.right, partition, task)
    }
}

//! Joining by key: a task puts the rows of the right side into a table, and looks up the rows of the left side in it. A
//! right side that does not fit into memory is read once for each run of left rows.

mod cursor;
mod kinds;
mod run;
mod table;

use crate::exchange::Side;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::ship;
use crate::task::TaskContext;
use cursor::JoinCursor;
pub(crate) use kinds::{Anti, Inner, Kind, Outer, Semi};
use std::marker::PhantomData;
use tryworks_base::Result;

/// The pipe of a join of the kind `J`.
pub struct Join<J, K, V, W> {
    pub(crate) left: Side<(K, V)>,
    pub(crate) right: Side<(K, W)>,
    pub(crate) kind: PhantomData<fn() -> J>,
}

impl<J, K: Clone, V: Clone, W: Clone> Clone for Join<J, K, V, W> {
    fn clone(&self) -> Self {
        Join { left: self.left.clone(), right: self.right.clone(), kind: PhantomData }
    }
}

ship!([J, K: Send + 'static, V: Send + 'static, W: Send + 'static] Join<J, K, V, W> {
    left: ship, right: ship, kind: none
});

impl<J: Kind<V, W>, K: Key, V: Row, W: Row> Pipe for Join<J, K, V, W> {
    type Item = (K, J::Out);
    type Cursor = JoinCursor<J, K, V, W>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        JoinCursor::open(&self.left, &self.right, partition, task)
    }
}

//! The hub of a cluster: who is there, what runs, and what is remembered of it.

pub mod journal;

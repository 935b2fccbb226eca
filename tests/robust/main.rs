//! What must hold whatever happens: the same answers, within the memory there is, and nothing left behind.

mod child;
mod codec;
mod lost;
mod out_of_core;
mod same_answers;
mod shipping;
mod spilling;
mod support;

//! The authority, the gateway and the data port over real sockets of this machine, with good peers and bad ones.

mod authority;
mod budgets;
mod data;
mod gateway;
mod hostile;
mod process;
mod shelf;
mod strangers;
mod support;
mod unread;

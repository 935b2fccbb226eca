//! What waits to leave the hub: orders, messages, and connections to hang up.

use super::orders::{Level, Order};
use crate::journal::Entry;
use bytes::Bytes;
use std::collections::BTreeMap;
use tryworks_base::ids::{EngineId, SessionId};
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::ToEngine;
use tryworks_transport::PeerId;

/// What leaves the hub. The fields are carried out from the first to the last.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What takes I/O, in this order.
    pub orders: Vec<Order>,
    /// Messages to drivers and administrators.
    pub to_clients: Vec<(PeerId, Bytes)>,
    /// Messages to engines.
    pub to_engines: Vec<(PeerId, Bytes)>,
    /// Drivers and administrators to hang up on, after all messages are sent.
    pub hang_up_clients: Vec<PeerId>,
    /// Engines to hang up on, after all messages are sent.
    pub hang_up_engines: Vec<PeerId>,
}

/// Collects what leaves the hub, until [`Hub::leaving`](super::Hub::leaving) takes it.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) orders: Vec<Order>,
    /// Welcomes and answers, already encoded: they go before all other messages.
    pub(crate) to_clients: Vec<(PeerId, Vec<u8>)>,
    pub(crate) to_engines: Vec<(PeerId, Vec<u8>)>,
    pub(crate) hang_up_clients: Vec<PeerId>,
    pub(crate) hang_up_engines: Vec<PeerId>,
    pub(crate) for_drivers: BTreeMap<SessionId, Vec<ToDriver>>,
    pub(crate) for_engines: BTreeMap<EngineId, Vec<ToEngine>>,
}

impl Outbox {
    pub(crate) fn order(&mut self, order: Order) {
        self.orders.push(order);
    }

    pub(crate) fn note(&mut self, entry: Entry) {
        self.orders.push(Order::Note(entry));
    }

    pub(crate) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.orders.push(Order::Log(level, text.into()));
    }

    /// Sends a client its last message, such as a refusal, and hangs up.
    pub(crate) fn dismiss_client(&mut self, peer: PeerId, last: Vec<u8>) {
        self.to_clients.push((peer, last));
        self.hang_up_clients.push(peer);
    }

    pub(crate) fn dismiss_engine(&mut self, peer: PeerId, last: Vec<u8>) {
        self.to_engines.push((peer, last));
        self.hang_up_engines.push(peer);
    }

    /// An engine is gone: drops what was queued for it and hangs up.
    pub(crate) fn drop_engine(&mut self, id: EngineId, peer: PeerId) {
        self.for_engines.remove(&id);
        self.hang_up_engines.push(peer);
    }
}

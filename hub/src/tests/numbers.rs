//! A number leaves the hub only when the journal has reserved it. While the journal cannot be written, the hub refuses
//! what needs further numbers.

use super::*;
use crate::journal::Counter;
use tryworks_base::Error;

fn accepted(said: &[ToDriver]) -> usize {
    said.iter().filter(|message| matches!(message, ToDriver::Accepted { .. })).count()
}

impl World {
    /// Takes what leaves the hub, without a journal. Returns the reservations that the hub ordered.
    fn leave(&mut self) -> Vec<(Counter, u64)> {
        let out = self.hub.outgoing(self.now);
        for (peer, bytes) in out.to_clients.into_iter().chain(out.to_engines) {
            self.sent.entry(peer).or_default().push(bytes.to_vec());
        }
        let reserves = out.orders.into_iter().filter_map(|order| match order {
            Order::Reserve { counter, end } => Some((counter, end)),
            _ => None,
        });
        reserves.collect()
    }

    fn heard<M: serde::de::DeserializeOwned>(&mut self, peer: PeerId) -> Vec<M> {
        self.sent.remove(&peer).unwrap_or_default().iter().flat_map(|bytes| decode(bytes).unwrap()).collect()
    }
}

#[test]
fn jobs_beyond_the_reserved_numbers_wait_for_the_journal() {
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (engine, _) = world.engine(offer("one", &directory)).unwrap();
    let (driver, welcome) = world.driver(None);
    world.turn();
    world.sent.clear();
    for ticket in 1..=300 {
        world.drive(driver, &[FromDriver::Submit(Box::new(job(ticket, welcome.session, 1, None, None)))]);
    }
    let asked = world.leave();
    let (_, end) = *asked.iter().filter(|(counter, _)| *counter == Counter::Jobs).max_by_key(|(_, end)| *end).unwrap();
    assert!(end >= 300, "{asked:?}");
    assert!(world.sent.is_empty(), "the next hub would give these numbers out again if this one died now");
    world.hub.order_done(world.now, OrderOutcome::Reserved { counter: Counter::Jobs, end });
    world.leave();
    assert_eq!(accepted(&world.heard::<ToDriver>(driver)), 300);
    let launches = world.heard::<ToEngine>(engine).into_iter();
    assert!(launches.filter(|message| matches!(message, ToEngine::Launch { .. })).count() > 0);
}

#[test]
fn without_a_journal_the_hub_uses_the_reserved_numbers_and_refuses_further_jobs() {
    let mut world = World::new();
    let (driver, welcome) = world.driver(None);
    world.turn();
    world.sent.clear();
    let full = Error::Bug("the disk is full".into());
    world.hub.order_done(world.now, OrderOutcome::Health(Some(full.clone())));
    for ticket in 1..=300 {
        world.drive(driver, &[FromDriver::Submit(Box::new(job(ticket, welcome.session, 1, None, None)))]);
    }
    world.leave();
    let said = world.heard::<ToDriver>(driver);
    assert_eq!(accepted(&said), 256);
    let refused = |message: &&ToDriver| matches!(message, ToDriver::Ended { end: Err(error), .. } if *error == full);
    assert_eq!(said.iter().filter(refused).count(), 300 - 256);
    // The journal can be written again.
    world.hub.order_done(world.now, OrderOutcome::Health(None));
    world.hub.order_done(world.now, OrderOutcome::Reserved { counter: Counter::Jobs, end: 512 });
    world.drive(driver, &[FromDriver::Submit(Box::new(job(301, welcome.session, 1, None, None)))]);
    world.leave();
    assert_eq!(accepted(&world.heard::<ToDriver>(driver)), 1);
}

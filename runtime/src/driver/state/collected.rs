//! Detached jobs that the program has collected: the hub is told so until it is known to have heard it.

use tryworks_protocol::driver::FromDriver;

/// A detached job whose results were all given out. If the hub did not hear of it, it would keep the job and its results.
pub(super) struct Collected {
    /// Asks for the job by its number.
    claim: FromDriver,
    /// The hub does not know the job's ticket.
    unasked: bool,
    /// The hub answers in order. If it accepts this ticket or a later one, it was told before.
    known_by: u64,
}

impl Collected {
    pub(super) fn new(claim: FromDriver, unasked: bool, next_ticket: u64) -> Self {
        Collected { claim, unasked, known_by: next_ticket }
    }

    /// What the hub is told.
    pub(super) fn said(&self, ticket: u64) -> impl Iterator<Item = FromDriver> + use<> {
        self.unasked.then(|| self.claim.clone()).into_iter().chain([FromDriver::Close { ticket }])
    }

    /// A hub was met, and is told before anything else. `is_new` says whether it knows no ticket of before.
    pub(super) fn again(&mut self, ticket: u64, is_new: bool) -> impl Iterator<Item = FromDriver> + use<> {
        self.unasked |= is_new;
        self.known_by = 0;
        self.said(ticket)
    }

    /// Whether the hub has heard it, since it now accepts the job of `ticket`.
    pub(super) fn is_known_by(&self, ticket: u64) -> bool {
        ticket >= self.known_by
    }
}

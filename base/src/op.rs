//! The operator that a task works for, and which operator to blame for a panic.

use crate::lock::none_held;
use crate::{Error, Site, TaskSite, UserError, UserFault};
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// The name of an operator and the call that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The operator, as its method is named.
    pub name: &'static str,
    /// The call in the program.
    pub site: Site,
}

thread_local! {
    static BLAMED: Cell<Option<Op>> = const { Cell::new(None) };
}

impl Op {
    /// An operator called by the caller's caller.
    #[track_caller]
    pub fn here(name: &'static str) -> Self {
        Op { name, site: Site::caller() }
    }

    /// Calls a function of the user's, and puts a panic in it down to this operator. Costs nothing when there is no
    /// panic.
    #[inline(always)]
    pub fn call<R>(&self, function: impl FnOnce() -> R) -> R {
        struct Blame<'a>(&'a Op);
        impl Drop for Blame<'_> {
            #[cold]
            fn drop(&mut self) {
                // This runs only while unwinding. The innermost operator is the one to blame.
                BLAMED.with(|blamed| blamed.set(blamed.get().or(Some(*self.0))));
            }
        }
        none_held("calling a function of the user's");
        let blame = Blame(self);
        let value = function();
        std::mem::forget(blame);
        value
    }

    /// Takes the operator that the last panic on this thread came from.
    pub fn take_blamed() -> Option<Op> {
        BLAMED.take()
    }

    /// A mistake in the plan at this call.
    pub fn fault(&self, message: impl Into<String>) -> Error {
        Error::Plan { message: message.into(), site: self.site }
    }

    /// The error of a user function that returned an error.
    #[cold]
    pub fn failed(&self, error: UserError, place: TaskSite) -> Error {
        Error::User(Box::new(UserFault {
            message: error.to_string(),
            panicked: false,
            operator: self.name.into(),
            site: self.site,
            source: Some(error.source_site()),
            place,
            engine: None,
            attempts: 1,
            backtrace: None,
        }))
    }
}

impl Serialize for Op {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        (self.name, self.site).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let (name, site) = <(String, Site)>::deserialize(from)?;
        Ok(Op { name: crate::intern(&name), site })
    }
}

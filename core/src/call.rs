//! Calling user functions: with the items alone, or with a value from `.with` first.

use crate::ship::{Decoder, Encoder, NoCaptures, Plain, Ship, conjure, ship};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use tryworks_base::lock::Turns;
use tryworks_base::{Op, Result, TaskSite, UserError};

/// A function that operators call. It travels with them.
pub trait Callable: Ship + Clone + Send + Sync + 'static {
    /// Makes what the first call needs. It must be called in each process before the first call, in tasks and on the
    /// driver, and may be called again.
    ///
    /// # Errors
    /// What the user's `with_init` function returned.
    fn ready(&self, _op: &Op, _place: TaskSite) -> Result<()> {
        Ok(())
    }
}

/// A function of one argument.
pub trait Call1<A>: Callable {
    /// The type that it returns.
    type Out;
    /// Calls it.
    fn call(&self, a: A) -> Self::Out;
}

/// A function of two arguments.
pub trait Call2<A, B>: Callable {
    /// The type that it returns.
    type Out;
    /// Calls it.
    fn call(&self, a: A, b: B) -> Self::Out;
}

impl<F: NoCaptures> Callable for Plain<F> {}

impl<F: Fn(A) -> O + NoCaptures, A, O> Call1<A> for Plain<F> {
    type Out = O;
    #[inline(always)]
    fn call(&self, a: A) -> O {
        (self.0)(a)
    }
}

impl<F: Fn(A, B) -> O + NoCaptures, A, B, O> Call2<A, B> for Plain<F> {
    type Out = O;
    #[inline(always)]
    fn call(&self, a: A, b: B) -> O {
        (self.0)(a, b)
    }
}

/// A value that the program gave explicitly; the next operator's function gets it as its first argument.
pub trait Env: Ship + Clone + Send + Sync + 'static {
    /// The value's type.
    type Value;
    /// Makes the value if this process has not made it yet. It must be called before [`get`](Env::get), in tasks and on
    /// the driver.
    ///
    /// # Errors
    /// The error of the user's `with_init` function.
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()>;
    /// The value. [`ready`](Env::ready) must have succeeded in this process before.
    fn get(&self) -> &Self::Value;
}

/// A user function together with the value that it gets.
#[derive(Clone)]
pub struct Given<E, F> {
    pub(crate) env: E,
    pub(crate) function: F,
}

ship!([E: Env, F: NoCaptures] Given<E, F> { env: ship, function: code });

impl<E: Env, F: NoCaptures> Callable for Given<E, F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.env.ready(op, place)
    }
}

impl<E: Env, F: Fn(&E::Value, A) -> O + NoCaptures, A, O> Call1<A> for Given<E, F> {
    type Out = O;
    #[inline(always)]
    fn call(&self, a: A) -> O {
        (self.function)(self.env.get(), a)
    }
}

impl<E: Env, F: Fn(&E::Value, A, B) -> O + NoCaptures, A, B, O> Call2<A, B> for Given<E, F> {
    type Out = O;
    #[inline(always)]
    fn call(&self, a: A, b: B) -> O {
        (self.function)(self.env.get(), a, b)
    }
}

/// A serde value from `.with(value)`: sent once per stage and worker.
pub struct Value<V>(pub(crate) Arc<V>);

impl<V> Clone for Value<V> {
    fn clone(&self) -> Self {
        Value(self.0.clone())
    }
}

impl<V: Serialize + DeserializeOwned> Ship for Value<V> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&*self.0)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Value(Arc::new(from.given()?)))
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Env for Value<V> {
    type Value = V;

    fn ready(&self, _: &Op, _: TaskSite) -> Result<()> {
        Ok(())
    }

    #[inline(always)]
    fn get(&self) -> &V {
        &self.0
    }
}

/// In place of a value, for functions that get none.
#[derive(Clone, Copy)]
pub struct NoValue;

ship!([] NoValue {});

impl Env for NoValue {
    type Value = ();

    fn ready(&self, _: &Op, _: TaskSite) -> Result<()> {
        Ok(())
    }

    #[inline(always)]
    fn get(&self) -> &() {
        &()
    }
}

/// A value that an operator was given, such as a first value, beside the one that its functions get.
pub struct Beside<V, E> {
    pub(crate) own: Value<V>,
    pub(crate) env: E,
}

impl<V, E: Clone> Clone for Beside<V, E> {
    fn clone(&self) -> Self {
        Beside { own: self.own.clone(), env: self.env.clone() }
    }
}

ship!([V: Serialize + DeserializeOwned, E: Env] Beside<V, E> { own: ship, env: ship });

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static, E: Env> Env for Beside<V, E> {
    type Value = Self;

    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.env.ready(op, place)
    }

    #[inline(always)]
    fn get(&self) -> &Self {
        self
    }
}

/// A value from `.with_init(config, make)`: made from a serde configuration, once per stage and worker.
pub struct Init<C, F, V, X> {
    config: Arc<C>,
    make: F,
    made: Arc<Made<V>>,
    error: PhantomData<fn() -> X>,
}

/// The value, and the turn to make it: of tasks that begin together, the first makes the value and the others wait.
struct Made<V> {
    value: OnceLock<V>,
    making: Turns<()>,
}

impl<C, F: Copy, V, X> Clone for Init<C, F, V, X> {
    fn clone(&self) -> Self {
        Init { config: self.config.clone(), make: self.make, made: self.made.clone(), error: PhantomData }
    }
}

impl<C, F: NoCaptures, V, X> Init<C, F, V, X> {
    pub(crate) fn new(config: C, make: F) -> Self {
        let made = Arc::new(Made { value: OnceLock::new(), making: Turns::default() });
        Init { config: Arc::new(config), make, made, error: PhantomData }
    }
}

impl<C: Serialize + DeserializeOwned, F: NoCaptures, V, X> Ship for Init<C, F, V, X> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&*self.config)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Init::new(from.given()?, conjure()?))
    }
}

impl<C, F, V, X> Env for Init<C, F, V, X>
where
    C: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(&C) -> Result<V, X> + NoCaptures,
    V: Send + Sync + 'static,
    X: Into<UserError> + 'static,
{
    type Value = V;

    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        if self.made.value.get().is_some() {
            return Ok(());
        }
        // If a task panicked while it made the value, there is none, and the next task tries.
        let _making = self.made.making.take(());
        if self.made.value.get().is_none() {
            let made = op.call(|| (self.make)(&self.config)).map_err(|error| op.failed(error.into(), place))?;
            let _ = self.made.value.set(made);
        }
        Ok(())
    }

    fn get(&self) -> &V {
        self.made.value.get().unwrap_or_else(|| unreachable!("made when the partition was opened"))
    }
}

//! Closures without captures, and the one place that makes a closure from its type.

use super::ship;
use std::ptr::NonNull;
use tryworks_base::{Error, Result};

/// A closure or function that captures nothing, so that its type alone is its code. Every operator takes one.
///
/// If a closure needs a value, give it explicitly, by `.with(value)` or `.with_init(config, make)`:
///
/// ```text
/// words.with(stop_words).filter(|stop, word| !stop.contains(word))
/// ```
#[diagnostic::on_unimplemented(
    message = "this closure captures something, so it cannot be sent to where the data is",
    label = "captures a variable of the function around it",
    note = "pass what it needs explicitly: `dataset.with(value).map(|value, item| ..)`",
    note = "for what serde cannot carry: `dataset.with_init(config, |config| make(config)).map(|made, item| ..)`"
)]
pub trait NoCaptures: Copy + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Copy + Send + Sync + 'static> NoCaptures for F {}

/// A user's function that is called with the items alone.
#[derive(Clone, Copy)]
pub struct Plain<F>(pub(crate) F);

ship!([F: NoCaptures] Plain<F> { 0: code });

/// The compiler's message about a closure that captures something, where `with` helps.
pub const GIVE_IT: &str = "this closure captures something: pass the value by `.with(value)`";

/// Stops the build with the message `why` if `F` captures something. Every method that takes a user's function calls
/// this in its own `const` block. The compiler then shows the line that calls the method.
#[track_caller]
pub const fn captures_nothing<F>(why: &'static str) {
    if size_of::<F>() != 0 {
        panic!("{}", why);
    }
}

/// Makes a zero-sized closure from its type.
#[allow(unsafe_code)]
pub(crate) fn conjure<F: NoCaptures>() -> Result<F> {
    // `captures_nothing` stopped the build where the function was given, so this never happens in a program that
    // builds.
    if size_of::<F>() != 0 {
        return Err(Error::Bug("a function that captures something was sent".into()));
    }
    // SAFETY: F has no bytes, so any aligned pointer may be read for it, and `F: Copy` means that any number of values
    // of it may exist. That one may exist at all is known, because this is only reached while a parcel is decoded: only
    // this crate makes decoders. An instance of the same program made the parcel from a value of this very type.
    Ok(unsafe { NonNull::<F>::dangling().read() })
}

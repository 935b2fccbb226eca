//! Errors that user code returns and meets, as errors of Tryworks.

use crate::{Error, Site};
use std::fmt;

/// The error of a fallible user function (`try_map` and the like). `?` makes it from any error that is `Send + Sync`,
/// from a message, and from a `Box<dyn Error + Send + Sync>`. A plain `Box<dyn Error>` has to become a message first:
/// `.map_err(|error| error.to_string())?`.
///
/// ```
/// use tryworks_base::UserError;
/// fn parse(text: &str) -> Result<u32, UserError> {
///     if text.is_empty() {
///         Err("there is nothing in it")?;
///     }
///     Ok(text.parse::<u32>()?)
/// }
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
/// assert_eq!(parse("").unwrap_err().to_string(), "there is nothing in it");
/// ```
pub struct UserError {
    message: String,
    source: Site,
}

impl UserError {
    /// An error with only a message.
    ///
    /// ```
    /// # use tryworks_base::UserError;
    /// assert_eq!(UserError::msg(format!("{} is too large", 7)).to_string(), "7 is too large");
    /// ```
    #[track_caller]
    pub fn msg(message: impl fmt::Display) -> Self {
        UserError { message: message.to_string(), source: Site::caller() }
    }

    /// The place in the user's code that made it.
    pub fn source_site(&self) -> Site {
        self.source
    }
}

/// The message of an error, and those of its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}

/// Anything that can be boxed as an error: errors, `&str`, `String`, and boxed errors.
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for UserError {
    #[track_caller]
    fn from(error: E) -> Self {
        UserError { message: whole(&*error.into()), source: Site::caller() }
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<UserError> for Error {
    fn from(UserError { message, source: site }: UserError) -> Self {
        Error::Program { message, site }
    }
}

/// One by one, since [`Error`] is an error itself: a rule for all errors would conflict with the conversion from
/// itself.
macro_rules! met_by_programs {
    ($($met:ty)*) => {$(
        impl From<$met> for Error {
            #[track_caller]
            fn from(met: $met) -> Self {
                UserError::from(met).into()
            }
        }
    )*};
}

met_by_programs! {
    &str
    String
    Box<dyn std::error::Error + Send + Sync>
    std::io::Error
    fmt::Error
    std::env::VarError
    std::num::ParseIntError
    std::num::ParseFloatError
    std::num::TryFromIntError
    std::char::ParseCharError
    std::str::ParseBoolError
    std::str::Utf8Error
    std::string::FromUtf8Error
    std::net::AddrParseError
    std::time::SystemTimeError
    std::path::StripPrefixError
}

/// Boxed errors that may not leave their thread.
impl From<Box<dyn std::error::Error>> for Error {
    #[track_caller]
    fn from(met: Box<dyn std::error::Error>) -> Self {
        Error::Program { message: whole(&*met), site: Site::caller() }
    }
}

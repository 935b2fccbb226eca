//! The error of the serializer and the decoder. It is a pointer, so that the results that they return for each field are
//! small.

use super::DECODE_LIMIT;
use std::fmt;

/// Why a value was not written or not read.
#[derive(Debug)]
pub(super) struct Fault(Box<Kind>);

#[derive(Debug)]
pub(super) enum Kind {
    /// The type's own `Serialize` or `Deserialize` failed with this message.
    Told(String),
    /// The type asks for the kind of the next value (`deserialize_any`), which the format does not have.
    Asks,
    /// The bytes end too early; at least this many are missing.
    End(u64),
    /// The value takes more bytes than the limit.
    Limit,
    /// An integer is too large for its type.
    Integer,
    /// The byte of a `bool` or an `Option` is neither 0 nor 1.
    Flag(u8),
    Char,
    Text(std::str::Utf8Error),
    /// The value takes more bytes than the caller wanted to count.
    Counted,
}

impl Fault {
    #[cold]
    #[inline(never)]
    pub(super) fn new(kind: Kind) -> Self {
        Fault(Box::new(kind))
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }

    /// The message of a type's own `Serialize` or `Deserialize`.
    #[cold]
    #[inline(never)]
    pub(super) fn told(message: fmt::Arguments<'_>) -> Self {
        Fault::new(Kind::Told(message.to_string()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Told(why) => f.write_str(why),
            Kind::Asks => f.write_str("it asks the bytes what they are"),
            Kind::End(missing) => write!(f, "the bytes end too early: at least {missing} are missing"),
            Kind::Limit => write!(f, "a value has more than {DECODE_LIMIT} bytes"),
            Kind::Integer => f.write_str("an integer is too large for its type"),
            Kind::Flag(byte) => write!(f, "a flag is {byte}, and has to be 0 or 1"),
            Kind::Char => f.write_str("a character is not valid UTF-8"),
            Kind::Text(why) => write!(f, "a text is not UTF-8: {why}"),
            Kind::Counted => f.write_str("it takes more bytes than were to be counted"),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Fault::told(format_args!("{message}"))
    }
}

impl serde::de::Error for Fault {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Fault::told(format_args!("{message}"))
    }

    // Every derived `Deserialize` calls these. They are not inlined, so that a program has one copy of each.
    #[cold]
    #[inline(never)]
    fn invalid_length(len: usize, expected: &dyn serde::de::Expected) -> Self {
        Fault::told(format_args!("invalid length {len}, expected {expected}"))
    }

    #[cold]
    #[inline(never)]
    fn invalid_type(unexpected: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Fault::told(format_args!("invalid type: {unexpected}, expected {expected}"))
    }

    #[cold]
    #[inline(never)]
    fn invalid_value(unexpected: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Fault::told(format_args!("invalid value: {unexpected}, expected {expected}"))
    }
}

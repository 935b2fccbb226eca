//! Short strings, such as words.

use bytemuck::NoUninit;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::ops::Deref;

/// An immutable string that holds up to 23 bytes without an allocation, made for words and other short keys.
///
/// Making, comparing and hashing a short one works on a fixed number of machine words, with no call and no loop. These
/// operations take most of the time of a word count.
///
/// ```
/// use tryworks_core::Str;
/// assert_eq!(Str::lower("Call me ISHMAEL"), "call me ishmael");
/// assert!(Str::new("whale").starts_with("wh"));
/// ```
#[derive(Clone)]
pub struct Str(Form);

/// A text of up to [`SHORT`] bytes must always have the short form, so that equal texts have equal forms.
#[derive(Clone)]
enum Form {
    Short(Words),
    Long(Box<str>),
}

const SHORT: usize = 23;

/// Up to 23 bytes, padded with zeros, as numbers. Numbers stay in registers; an array would go through memory.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Words {
    first: u64,
    second: u64,
    /// Seven bytes, and in the highest byte the length plus one. So it is never zero, and the compiler uses zero to
    /// tell the forms apart.
    last: NonZeroU64,
}

/// The position of the length in the last word, in bits.
const LEN: u32 = 56;

/// The bits of three words that belong to a text, by its length.
const KEEP: [[u64; 3]; SHORT + 1] = {
    let mut keep = [[0; 3]; SHORT + 1];
    let mut len = 0;
    while len <= SHORT {
        let mut byte = 0;
        while byte < len {
            keep[len][byte / 8] |= 0xff << (8 * (byte % 8));
            byte += 1;
        }
        len += 1;
    }
    keep
};

impl Words {
    /// Makes the words of a text, and changes each by `change`, which must leave zero bytes as they are. `None` if the
    /// text is too long.
    #[inline(always)]
    fn new(text: &[u8], change: impl Fn(u64) -> u64) -> Option<Words> {
        if text.len() > SHORT {
            return None;
        }
        let len = NonZeroU64::new((text.len() as u64 + 1) << LEN)?;
        let (head, tail) = text.split_at(text.len().min(8));
        let first = change(word(head));
        if tail.is_empty() {
            // Most words of a text end here.
            return Some(Words { first, second: 0, last: len });
        }
        let (middle, tail) = tail.split_at(tail.len().min(8));
        Some(Words { first, second: change(word(middle)), last: len | change(word(tail)) })
    }

    /// Makes the words of the first `len` bytes of a window. `len` is at most [`SHORT`].
    #[inline(always)]
    fn cut(window: &[u8; 24], len: usize) -> Words {
        let [first, second, last] = *window.as_chunks::<8>().0 else { unreachable!() };
        let keep = &KEEP[len];
        let last = u64::from_le_bytes(last) & keep[2];
        // A number with a set bit is not zero.
        let len = NonZeroU64::MIN.saturating_add(len as u64);
        let len = NonZeroU64::new(len.get() << LEN).unwrap_or(NonZeroU64::MIN);
        Words {
            first: u64::from_le_bytes(first) & keep[0],
            second: u64::from_le_bytes(second) & keep[1],
            last: len | last,
        }
    }

    #[inline(always)]
    fn lowered(self) -> Words {
        // The length in the highest byte is no letter, and no byte becomes zero.
        let last = NonZeroU64::new(lower_word(self.last.get())).unwrap_or(self.last);
        Words { first: lower_word(self.first), second: lower_word(self.second), last }
    }

    #[inline(always)]
    fn as_bytes(&self) -> &[u8] {
        &bytemuck::bytes_of(self)[..(self.last.get() >> LEN) as usize - 1]
    }
}

impl PartialEq for Words {
    /// Compares all three numbers at once: a branch for each would sometimes be mispredicted.
    #[inline(always)]
    fn eq(&self, other: &Words) -> bool {
        self.first ^ other.first | self.second ^ other.second | self.last.get() ^ other.last.get() == 0
    }
}

/// Up to eight bytes as a little-endian number, by two reads that overlap.
#[inline(always)]
fn word(text: &[u8]) -> u64 {
    let len = text.len();
    if let Some(all) = text.first_chunk::<8>() {
        return u64::from_le_bytes(*all);
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (len - 4));
    }
    // Of one to three bytes, the first, the middle and the last are all.
    let Some(last) = len.checked_sub(1) else { return 0 };
    let byte = |at: usize| u64::from(text[at]) << (8 * at);
    byte(0) | byte(len / 2) | byte(last)
}

/// Lower-cases the ASCII letters of eight bytes at once (Hacker's Delight, 2-1). In `upper`, the high bit of a byte
/// says that it is one of `A` to `Z`. Shifted right by two, this bit is 0x20, the difference between the cases.
#[inline(always)]
fn lower_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let after_z = low + EACH * (0x7f - b'Z' as u64);
    let upper = from_a & !after_z & !word & (EACH * 0x80);
    word | upper >> 2
}

#[cfg(not(target_endian = "little"))]
compile_error!("short strings are read as little-endian words");

impl Str {
    /// Makes a `Str` of this text.
    #[inline]
    pub fn new(text: &str) -> Self {
        match Words::new(text.as_bytes(), |word| word) {
            Some(words) => Str(Form::Short(words)),
            None => Str(Form::Long(text.into())),
        }
    }

    /// The text with ASCII letters in lower case.
    #[inline]
    pub fn lower(text: &str) -> Self {
        match Words::new(text.as_bytes(), lower_word) {
            Some(words) => Str(Form::Short(words)),
            None => Str(Form::Long(text.to_ascii_lowercase().into())),
        }
    }

    /// The text from `begin` to `end`. A short one is made without a loop or a branch on its length.
    #[inline(always)]
    pub(crate) fn part(text: &str, begin: usize, end: usize) -> Self {
        let len = end - begin;
        match text.as_bytes()[begin..].first_chunk() {
            Some(window) if len <= SHORT => Str(Form::Short(Words::cut(window, len))),
            _ => Str::new(&text[begin..end]),
        }
    }

    /// This text with ASCII letters in lower case.
    ///
    /// ```
    /// use tryworks_core::Str;
    /// assert_eq!(Str::new("ISHMAEL").lowered(), "ishmael");
    /// ```
    #[inline]
    pub fn lowered(self) -> Self {
        match self.0 {
            Form::Short(words) => Str(Form::Short(words.lowered())),
            Form::Long(mut text) => {
                text.make_ascii_lowercase();
                Str(Form::Long(text))
            }
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was UTF-8 when it came in. Checking again is cheap, and unsafe code is not worth the gain.
            Form::Short(words) => std::str::from_utf8(words.as_bytes()).unwrap_or_default(),
            Form::Long(text) => text,
        }
    }

    /// The bytes of the text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Short(words) => words.as_bytes(),
            Form::Long(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for Str {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Short(words), Form::Short(other)) => words == other,
            (Form::Long(text), Form::Long(other)) => text == other,
            _ => false,
        }
    }
}

impl Eq for Str {}

impl Hash for Str {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Form::Short(words) => {
                // Always two numbers, whatever the length: a branch on the length would be mispredicted half of the
                // time.
                let rest = words.second.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ words.last.get();
                state.write_u64(words.first);
                state.write_u64(rest);
            }
            Form::Long(text) => hash_long(text, state),
        }
    }
}

/// A separate function, so that hashing a short text is small enough to be inlined into the caller's loop.
#[cold]
fn hash_long<H: Hasher>(text: &str, state: &mut H) {
    text.hash(state);
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Default for Str {
    fn default() -> Self {
        Str::new("")
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Str::new(text)
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        if text.len() > SHORT { Str(Form::Long(text.into())) } else { Str::new(&text) }
    }
}

impl From<Str> for String {
    fn from(text: Str) -> Self {
        match text.0 {
            Form::Long(text) => text.into(),
            Form::Short(_) => text.as_str().into(),
        }
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl Serialize for Str {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Str {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Str;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Str, E> {
                Ok(Str::new(text))
            }
        }
        from.deserialize_str(Text)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_the_text_at_every_length() {
        let hash = |text: &Str| crate::exchange::hash_of(text);
        for len in 0..40 {
            let text: String = ('A'..='z').cycle().take(len).collect();
            let short = Str::new(&text);
            assert_eq!(short, text.as_str());
            assert_eq!(short.clone(), Str::from(text.clone()));
            assert_eq!(hash(&short), hash(&Str::from(text.clone())));
            assert_eq!(Str::lower(&text), text.to_ascii_lowercase().as_str());
            assert_eq!(String::from(short.clone()), text);
            let mut bytes = Vec::new();
            tryworks_base::codec::encode(&short, &mut bytes).unwrap();
            assert_eq!(tryworks_base::codec::decode::<Str>(&bytes).unwrap(), (short.clone(), bytes.len()));
            assert_eq!(short.cmp(&Str::new("Bcd")), text.as_str().cmp("Bcd"));
            // A text that differs only in its last byte, and one that is longer by a zero byte.
            assert_ne!(Str::new(&format!("{text}x")), Str::new(&format!("{text}y")));
            assert_ne!(Str::new(&format!("{text}\0")), short);
        }
        assert_eq!(Str::lower("ÄÖ Ü"), "ÄÖ Ü");
        for code in 0..=127u8 {
            for len in [1, 5, 8, 9, 23, 24] {
                let text = String::from(char::from(code)).repeat(len);
                assert_eq!(Str::lower(&text), text.to_ascii_lowercase().as_str());
            }
        }
        assert_eq!(size_of::<Str>(), 24);
    }
}

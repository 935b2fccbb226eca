//! How the tables of map tasks keep their keys: as they are, or a `String` as a `Str`, which needs no allocation if it
//! is short.

use super::hash::hash_of;
use crate::row::Key;
use crate::str::Str;
use std::any::{Any, TypeId};

/// A way to keep keys of type `K`.
pub(crate) trait Keep<K>: Send + Sync + 'static {
    /// What is kept. It must be equal for equal keys and different for different keys, and `key` must reverse `keep`.
    type Kept: Key;

    fn keep(key: K) -> Self::Kept;
    fn key(kept: Self::Kept) -> K;
    /// The hash of the original key, which decides its bucket. It must equal `hash_of` of the key.
    fn key_hash(kept: &Self::Kept) -> u64;
}

/// Keys as they are.
pub(crate) struct AsItIs;

impl<K: Key> Keep<K> for AsItIs {
    type Kept = K;

    #[inline(always)]
    fn keep(key: K) -> K {
        key
    }

    #[inline(always)]
    fn key(kept: K) -> K {
        kept
    }

    #[inline(always)]
    fn key_hash(kept: &K) -> u64 {
        hash_of(kept)
    }
}

/// A [`String`] as a [`Str`]: looking up a short word then follows no pointer, and the `String`'s memory is freed at
/// once.
pub(crate) struct AsStr;

impl AsStr {
    /// False for most types of keys, at compile time, so that nothing is compiled for them in vain.
    pub(crate) const fn might_keep<K>() -> bool {
        size_of::<K>() == size_of::<String>() && std::mem::needs_drop::<K>()
    }

    /// Whether keys of type `K` can be kept as a [`Str`].
    pub(crate) fn can_keep<K: 'static>() -> bool {
        TypeId::of::<K>() == TypeId::of::<String>()
    }
}

impl<K: Key> Keep<K> for AsStr {
    type Kept = Str;

    #[inline(always)]
    fn keep(key: K) -> Str {
        Str::from(the_same::<K, String>(key))
    }

    #[inline(always)]
    fn key(kept: Str) -> K {
        the_same::<String, K>(kept.into())
    }

    #[inline(always)]
    fn key_hash(kept: &Str) -> u64 {
        hash_of(&kept.as_str())
    }
}

/// Converts a value to `B`, which must be the same type as `A`.
#[inline(always)]
fn the_same<A: 'static, B: 'static>(value: A) -> B {
    let mut value = Some(value);
    let same = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>();
    same.and_then(Option::take).unwrap_or_else(|| unreachable!("only strings are kept as short strings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_go_where_they_would() {
        assert!(AsStr::might_keep::<String>() && AsStr::can_keep::<String>());
        assert!(!AsStr::can_keep::<Str>() && !AsStr::can_keep::<Vec<u8>>());
        for text in ["", "whale", "exactly twenty-three by", "Antidisestablishmentarianism", "\u{c9}t\u{e9}"] {
            let kept = <AsStr as Keep<String>>::keep(text.to_owned());
            assert_eq!(<AsStr as Keep<String>>::key_hash(&kept), hash_of(&text.to_owned()));
            assert_eq!(<AsStr as Keep<String>>::key(kept), text);
        }
    }
}

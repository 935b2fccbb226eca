//! The lesser and the greater of two values; of equal values the first, whatever comes later.

/// The lesser of two values; `a` if they are equal.
pub(crate) fn least<T: Ord>(a: T, b: T) -> T {
    if b.cmp(&a).is_lt() { b } else { a }
}

/// The greater of two values; `a` if they are equal.
pub(crate) fn greatest<T: Ord>(a: T, b: T) -> T {
    if b.cmp(&a).is_gt() { b } else { a }
}

//! The kinds of joins: what comes out for a left row and its matches, and for one without.

/// What comes out of a join for a left row.
pub trait Kind<V, W>: Send + Sync + 'static {
    /// What comes out, beside the key.
    type Out: Send + 'static;
    /// Whether one match counts, however many there are.
    const ONCE: bool = false;

    /// What comes out for a left row and one of its matches.
    fn met(value: &V, other: &W) -> Option<Self::Out>;

    /// What comes out for a left row without a match.
    fn alone(value: &V) -> Option<Self::Out>;
}

/// Pairs of left rows and their matches.
pub struct Inner;

impl<V: Clone + Send + 'static, W: Clone + Send + 'static> Kind<V, W> for Inner {
    type Out = (V, W);

    #[inline(always)]
    fn met(value: &V, other: &W) -> Option<(V, W)> {
        Some((value.clone(), other.clone()))
    }

    #[inline(always)]
    fn alone(_: &V) -> Option<(V, W)> {
        None
    }
}

/// Pairs as those of [`Inner`], and left rows without a match.
pub struct Outer;

impl<V: Clone + Send + 'static, W: Clone + Send + 'static> Kind<V, W> for Outer {
    type Out = (V, Option<W>);

    #[inline(always)]
    fn met(value: &V, other: &W) -> Option<Self::Out> {
        Some((value.clone(), Some(other.clone())))
    }

    #[inline(always)]
    fn alone(value: &V) -> Option<Self::Out> {
        Some((value.clone(), None))
    }
}

/// Left rows that have a match, each once.
pub struct Semi;

impl<V: Clone + Send + 'static, W> Kind<V, W> for Semi {
    type Out = V;
    const ONCE: bool = true;

    #[inline(always)]
    fn met(value: &V, _: &W) -> Option<V> {
        Some(value.clone())
    }

    #[inline(always)]
    fn alone(_: &V) -> Option<V> {
        None
    }
}

/// Left rows that have no match.
pub struct Anti;

impl<V: Clone + Send + 'static, W> Kind<V, W> for Anti {
    type Out = V;
    const ONCE: bool = true;

    #[inline(always)]
    fn met(_: &V, _: &W) -> Option<V> {
        None
    }

    #[inline(always)]
    fn alone(value: &V) -> Option<V> {
        Some(value.clone())
    }
}

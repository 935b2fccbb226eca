//! Sizes in bytes and spans of time as people write them, in settings and on command lines.

use std::time::Duration;

/// The form of a size, for messages about a wrong one.
pub const FORM: &str = "a size such as 256MiB, 4G or a number of bytes";

/// A size with an optional unit: `K`, `M`, `G` or `T`, each a power of 1024, with or without `iB` or `B`.
///
/// ```
/// assert_eq!(tryworks_base::size::bytes("256MiB"), Some(256 << 20));
/// ```
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let power = match text[digits.len()..].trim().to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << (10 * power))
}

/// The form of a span of time, for messages about a wrong one.
pub const TIME_FORM: &str = "a time such as 500ms, 30s or 5m";

/// A span of time with its unit: `ms`, `s`, `m` or `h`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(tryworks_base::size::time("500ms"), Some(Duration::from_millis(500)));
/// assert_eq!(tryworks_base::size::time("5"), None);
/// ```
pub fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("256MiB"), Some(256 << 20));
        assert_eq!(bytes("4 G"), Some(4 << 30));
        assert_eq!(bytes("1kb"), Some(1024));
        assert_eq!(bytes("much"), None);
        assert_eq!(bytes("99999999T"), None);
    }
}

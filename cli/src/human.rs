//! Bytes and times as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Such as `512 B` or `3.4 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    // A value that would be rounded to 1024.0 is shown as 1.0 of the next unit.
    let fits = |power: &usize| (bytes as f64) < 1023.95 * 1024f64.powi(*power as i32);
    let power = (0..UNITS.len()).find(fits).unwrap_or(UNITS.len() - 1);
    match power {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / 1024f64.powi(power as i32), UNITS[power]),
    }
}

/// Such as `850 us`, `350 ms`, `2.3 s`, `4 min 5 s` or `2 d 3 h`.
pub fn time(time: Duration) -> String {
    let (us, s) = (time.as_micros(), time.as_secs());
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        // Whole minutes begin where one decimal would show 60.0.
        1_000_000..59_950_000 => format!("{:.1} s", time.as_secs_f64()),
        _ if s < 60 => "1 min 0 s".into(),
        _ if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        _ if s < 86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Now, in microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// The time between two moments in microseconds; until now if there is no second one.
pub fn between(from: u64, to: Option<u64>) -> String {
    time(Duration::from_micros(to.unwrap_or_else(now).saturating_sub(from)))
}

/// `1 engine`, `2 engines`.
pub fn count(n: impl Into<u64>, what: &str) -> String {
    let n = n.into();
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let of = |us| time(Duration::from_micros(us));
        assert_eq!(of(999), "999 us");
        assert_eq!(of(350_900), "350 ms");
        assert_eq!(of(2_340_000), "2.3 s");
        assert_eq!(of(59_960_000), "1 min 0 s");
        assert_eq!(of(245_000_000), "4 min 5 s");
        assert_eq!(of(2 * 3_600_000_000), "2 h 0 min");
        assert_eq!(of(51 * 3_600_000_000), "2 d 3 h");
        assert_eq!(between(5, Some(3)), "0 us", "clocks of two machines may differ");
    }
}

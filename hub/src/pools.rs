//! Pools as people write them, such as `etl=weight:2,min:1,priority:5`.

use std::fmt;
use std::str::FromStr;
use tryworks_base::home::check_label;
use tryworks_scheduler::PoolSpec;

/// A pool that jobs can be in.
///
/// ```
/// let pool: tryworks_hub::Pool = "etl=weight:2,min:1".parse().unwrap();
/// assert_eq!((pool.name.as_str(), pool.spec.weight, pool.spec.min_share), ("etl", 2, 1));
/// assert_eq!(pool.to_string(), "etl=weight:2,min:1,priority:0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its weight, its guaranteed slots and its priority.
    pub spec: PoolSpec,
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a pool: write NAME=weight:2,min:1,priority:5; each part after the name is optional"
            )
        };
        let (name, parts) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ',') {
            return Err(form());
        }
        check_label("a pool", name).map_err(|error| error.to_string())?;
        let mut spec = PoolSpec::default();
        for part in parts.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once(':').ok_or_else(form)?;
            match key {
                "weight" => spec.weight = value.parse().ok().filter(|weight| *weight > 0).ok_or_else(form)?,
                "min" => spec.min_share = value.parse().map_err(|_| form())?,
                "priority" => spec.priority = value.parse().map_err(|_| form())?,
                _ => return Err(form()),
            }
        }
        Ok(Pool { name: name.into(), spec })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolSpec { weight, min_share, priority } = self.spec;
        write!(f, "{}=weight:{weight},min:{min_share},priority:{priority}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_pool_is_refused_with_the_right_form() {
        for text in ["", "=weight:1", "a b", "etl=weight:0", "etl=heavy:2", "etl=min:x", "etl=weight"] {
            assert!(text.parse::<Pool>().unwrap_err().contains("NAME=weight:2"), "{text}");
        }
        for name in ["../evil", ".", "-x", "7", "a\u{1b}b"] {
            assert!(name.parse::<Pool>().unwrap_err().contains("is no name for a pool"), "{name}");
        }
        let pool: Pool = "night=priority:-3".parse().unwrap();
        assert_eq!(pool.spec, PoolSpec { priority: -3, ..PoolSpec::default() });
        assert_eq!(pool.to_string().parse::<Pool>(), Ok(pool));
    }
}

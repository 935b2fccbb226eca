//! Which source files belong to Tryworks.

use crate::Site;

/// The Tryworks crates whose code runs in tasks and in a user's program.
const CRATES: [&str; 6] = ["base", "core", "io", "planner", "runtime", "store"];

/// Whether a place is in one of the Tryworks crates whose code runs in tasks, and so not in a user's program.
///
/// ```
/// use tryworks_base::{Site, is_ours};
/// assert!(!is_ours(Site { file: "src/main.rs", line: 1, column: 1 }));
/// ```
pub fn is_ours(site: Site) -> bool {
    of_one_of(site.file, file!())
}

/// `this` is the path of this file as the compiler names it. It is `base/src/sources.rs` after the directory that holds
/// the crates, or a path like `tryworks-base-0.1.0/src/sources.rs` if they come from a registry.
fn of_one_of(file: &str, this: &str) -> bool {
    let Some((above, rest)) = this.rsplit_once("base") else { return false };
    let Some(behind) = rest.strip_suffix("sources.rs") else { return false };
    let Some(inside) = file.strip_prefix(above) else { return false };
    CRATES.iter().any(|name| inside.strip_prefix(name).is_some_and(|inside| inside.starts_with(behind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_crates_are_ours_wherever_they_are() {
        let here = "base/src/sources.rs";
        for ours in ["base/src/codec/mod.rs", "core/src/ops/map.rs", "io/src/text/bytes.rs", "runtime/src/execute.rs"] {
            assert!(of_one_of(ours, here), "{ours}");
        }
        for theirs in
            ["src/main.rs", "examples/word_count.rs", "core/tests/it.rs", "/home/ann/core/src/lib.rs", "iota/src/a.rs"]
        {
            assert!(!of_one_of(theirs, here), "{theirs}");
        }
        let there = "/home/ann/.cargo/registry/src/index/tryworks-base-0.1.0/src/sources.rs";
        assert!(of_one_of("/home/ann/.cargo/registry/src/index/tryworks-core-0.1.0/src/ops/map.rs", there));
        assert!(!of_one_of("core/src/main.rs", there), "a user may have a crate of this name");
        assert!(!of_one_of("/home/ann/.cargo/registry/src/index/serde-1.0.0/src/lib.rs", there));
        assert!(is_ours(Site::caller()));
    }
}

//! Names that live as long as the program: operators' names and source files that arrive from another process.

use crate::lock::Lock;
use std::collections::BTreeSet;

/// The same text with the life of the program. Each distinct text is kept once, so what is kept is bounded by the
/// names in the program.
pub fn intern(text: &str) -> &'static str {
    static NAMES: Lock<BTreeSet<&'static str>> = Lock::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(name) = names.get(text) {
        return name;
    }
    let name: &'static str = Box::leak(text.into());
    names.insert(name);
    name
}

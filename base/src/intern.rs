//! Names that live as long as the program: names of operators and of source files that arrive from another process.

use crate::lock::Lock;
use std::collections::BTreeSet;

/// The most bytes of names that are kept: several hundred thousand names. The bound matters because a hub hears the
/// names of all programs that ever ran on it, and an engine could make names up.
const MOST: usize = 8 << 20;

/// The longest name that is kept, in bytes; paths are not longer either.
const LONGEST: usize = 4 << 10;

/// Stands for a name that is not kept.
const UNKNOWN: &str = "(a name that was not kept)";

/// The same text, living as long as the program. Each distinct text is kept once. Beyond what one program can need,
/// texts are not kept: errors then do not name the place.
pub fn intern(text: &str) -> &'static str {
    static NAMES: Lock<Names> = Lock::new(Names { kept: BTreeSet::new(), left: MOST });
    NAMES.lock().get(text)
}

struct Names {
    kept: BTreeSet<&'static str>,
    /// How many bytes of names may still be added.
    left: usize,
}

impl Names {
    fn get(&mut self, text: &str) -> &'static str {
        if let Some(name) = self.kept.get(text) {
            return name;
        }
        // The set's own bytes for each name count too, else empty names would be free.
        let bytes = text.len() + 2 * size_of::<&str>();
        if text.len() > LONGEST || bytes > self.left {
            return UNKNOWN;
        }
        self.left -= bytes;
        let name: &'static str = Box::leak(text.into());
        self.kept.insert(name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_only_so_many_are() {
        let mut names = Names { kept: BTreeSet::new(), left: 1000 };
        let first = names.get("src/main.rs");
        assert!(std::ptr::eq(first, names.get(&String::from("src/main.rs"))));
        let all: Vec<_> = (0..10_000).map(|n| names.get(&format!("{n}.rs"))).collect();
        assert!(names.kept.len() > 10 && names.kept.iter().map(|name| name.len()).sum::<usize>() < 1000);
        assert_eq!((all[0], all[9_999]), ("0.rs", UNKNOWN));
        assert_eq!(names.get("src/main.rs"), "src/main.rs", "what is kept stays");
        assert_eq!(names.get(&"x".repeat(LONGEST + 1)), UNKNOWN);
    }

    #[test]
    fn the_names_that_a_program_has_are_kept() {
        assert_eq!(intern("src/a file of mine.rs"), "src/a file of mine.rs");
        assert!(intern(&"long".repeat(100_000)).len() < 100);
    }
}

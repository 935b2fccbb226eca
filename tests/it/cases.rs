//! Every operator and every action has a case that runs on every deployment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The text of all Rust files below a directory of the repository, without files of one name.
fn texts(directory: &str, without: &str) -> String {
    let mut text = String::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension() {
                _ if path.is_dir() => directories.push(path),
                Some(end) if end == "rs" && path.file_name() != Some(without.as_ref()) => {
                    text += &fs::read_to_string(path).unwrap()
                }
                _ => {}
            }
        }
    }
    text
}

#[test]
fn every_operator_and_action_has_a_case() {
    // Methods are indented by four spaces. Those in `job.rs` are methods of a running job.
    let sources = texts("core/src/ops", "") + &texts("core/src/actions", "job.rs");
    let names = sources.lines().filter_map(|line| line.strip_prefix("    pub fn ")?.split(['(', '<']).next());
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > 35 && names.contains("map") && names.contains("collect"), "{names:?}");
    let cases = texts("testing/src/cases", "");
    let called = |name: &str| [".", "::"].iter().any(|before| cases.contains(&format!("{before}{name}(")));
    let without: Vec<_> = names.into_iter().filter(|name| !called(name)).collect();
    assert!(without.is_empty(), "these have no case in `testing/src/cases`: {without:?}");
}

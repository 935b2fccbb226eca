//! Pins the bytes of all messages with `golden.txt`: a change to them must raise the number of the protocol.

use super::examples::{self, Cases};
use super::{PROTOCOL, welcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use tryworks_base::{Error, codec};

/// The examples by name, as hexadecimal digits.
#[derive(Default)]
struct Pinned(BTreeMap<String, Vec<String>>);

impl Pinned {
    fn one(&mut self, name: String, bytes: &[u8]) {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.entry(name).or_default().push(digits);
    }

    fn value<T: Serialize>(&mut self, name: String, value: &T) {
        let mut bytes = Vec::new();
        codec::encode(value, &mut bytes).unwrap();
        self.one(name, &bytes);
    }

    /// Adds examples of an enum, which must cover all of its cases.
    fn cases<T: Serialize + Cases>(&mut self, name: &str, examples: &[T]) {
        for case in T::ALL {
            assert!(examples.iter().any(|example| example.case() == *case), "there is no example of {name}::{case}");
        }
        for example in examples {
            self.value(format!("{name}::{}", example.case()), example);
        }
    }

    fn text(&self) -> String {
        let mut text = format!("protocol {PROTOCOL}\n");
        for (name, examples) in &self.0 {
            for digits in examples {
                let _ = writeln!(text, "{name} {digits}");
            }
        }
        text
    }
}

fn pinned() -> Pinned {
    let mut all = Pinned::default();
    all.cases("FromDriver", &examples::from_driver());
    all.cases("ToDriver", &examples::to_driver());
    all.cases("FromEngine", &examples::from_engine());
    all.cases("ToEngine", &examples::to_engine());
    all.cases("FromWorker", &examples::from_worker());
    all.cases("ToWorker", &examples::to_worker());
    all.cases("Purpose", &examples::purposes());
    all.cases("Question", &examples::questions());
    all.cases("Answer", &examples::answers());
    all.cases("Sought", &examples::sought());
    all.cases("Part", &examples::parts());
    all.cases("CodeBytes", &examples::codes());
    all.cases("CodeId", &examples::code_ids());
    all.cases("ResultPart", &examples::result_parts());
    all.cases("Piece", &examples::pieces());
    all.cases("BlockPart", &examples::block_parts());
    all.cases("Sealed", &examples::sealed());
    all.cases("Failure", &examples::failures());
    all.cases("Packing", &examples::packings());
    all.cases("Why", &examples::whys());
    for error in examples::errors() {
        all.value("Error".into(), &error);
    }
    for purpose in examples::purposes() {
        all.one("Hello".into(), &examples::hello(purpose).to_bytes().unwrap());
    }
    all.one("driver::Welcome".into(), &welcome(&examples::driver_welcome()).unwrap());
    all.one("engine::Welcome".into(), &welcome(&examples::engine_welcome()).unwrap());
    all.one("worker::Welcome".into(), &welcome(&examples::worker_welcome()).unwrap());
    all.one("refusal".into(), &super::refusal("no"));
    all
}

/// The bytes of the protocol are those in `golden.txt`. To change them, raise `PROTOCOL` and run this test with
/// `TRYWORKS_GOLDEN=write`.
#[test]
fn the_bytes_of_messages_change_with_the_number_of_the_protocol_alone() {
    let (path, now) = (concat!(env!("CARGO_MANIFEST_DIR"), "/golden.txt"), pinned().text());
    let before = std::fs::read_to_string(path).unwrap_or_default();
    if now == before {
        return;
    }
    let raised = now.lines().next() != before.lines().next();
    if raised && std::env::var_os("TRYWORKS_GOLDEN").is_some_and(|what| what == "write") {
        return std::fs::write(path, now).unwrap();
    }
    let changed = now.lines().filter(|line| !before.lines().any(|known| known == *line));
    let gone = before.lines().filter(|line| !now.lines().any(|known| known == *line));
    let names = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
    let mut names: Vec<String> = changed.chain(gone).map(names).collect();
    names.dedup();
    panic!(
        "these messages have other bytes than in {path}: {names:?}\n  what to do: {}",
        match raised {
            true => "run this test with TRYWORKS_GOLDEN=write",
            false =>
                "raise PROTOCOL in protocol/src/lib.rs, say why there, and run this test with TRYWORKS_GOLDEN=write",
        }
    );
}

/// Other crates may add cases to errors, and have no list of cases here. So this checks that no case follows the last
/// example.
#[test]
fn every_error_has_an_example() {
    let examples = examples::errors();
    for (case, error) in (0u8..).zip(&examples) {
        let mut bytes = Vec::new();
        codec::encode(error, &mut bytes).unwrap();
        assert_eq!(bytes[0], case, "{error}");
        assert_eq!(codec::decode::<Error>(&bytes).unwrap().0, *error);
    }
    let mut next = vec![0; 64];
    next[0] = examples.len() as u8;
    assert!(codec::decode::<Error>(&next).is_err(), "an error without an example here");
}

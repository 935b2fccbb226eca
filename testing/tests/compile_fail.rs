//! What must not compile, with what the compiler says about it: the text is for the user, so it is tested.
//!
//! The test is in this package since `trybuild` builds all that its package depends on once more, for itself: here that is a
//! program without a cluster.

#[test]
fn programs_that_must_not_compile_fail_with_the_reason() {
    let cases = trybuild::TestCases::new();
    // One passing case makes trybuild build the other cases, not only check them: captures of `Copy` values are found
    // by a build.
    cases.pass("tests/compile_fail/passes.rs");
    cases.compile_fail("tests/compile_fail/captures_*.rs");
    cases.compile_fail("tests/compile_fail/not_*.rs");
    cases.compile_fail("tests/compile_fail/unused.rs");
}

//! Programs that must not compile, with the compiler's message: the text is for the user, so it is tested.

#[test]
fn what_must_not_compile_says_why() {
    let cases = trybuild::TestCases::new();
    // One passing case makes trybuild build the other cases, not only check them: captures of `Copy` values are found
    // by a build.
    cases.pass("tests/compile_fail/passes.rs");
    cases.compile_fail("tests/compile_fail/captures_*.rs");
    cases.compile_fail("tests/compile_fail/not_*.rs");
    cases.compile_fail("tests/compile_fail/unused.rs");
}

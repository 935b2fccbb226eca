//! Settings at their limits: each is obeyed, or is an error that says why not.

use crate::support::plan_error;
use tryworks::prelude::*;

/// A job that sorts, shuffles and returns results.
fn job(cx: &Context) -> Result<Vec<(u64, u64)>> {
    cx.range_in(0..5_000, 8).map(|n| (n % 100, n)).reduce_by_key(|a, b| a + b).sort_by_key().collect()
}

#[test]
fn the_least_and_the_most_that_a_context_may_have_give_the_same_answer() -> Result<()> {
    let expected = job(&Context::local(2)?)?;
    assert_eq!(expected.len(), 100);
    assert_eq!(expected[7], (7, (0..50).map(|k| k * 100 + 7).sum()));
    let builder = || Context::builder().threads(2).progress(false);
    let all = [
        ("hardly any memory", builder().memory(32 << 10)),
        ("all memory", builder().memory(u64::MAX)),
        ("more threads than partitions", builder().threads(100)),
        ("any number of attempts", builder().max_attempts(u32::MAX)),
        ("no space for spill files, which are not needed", builder().memory(1 << 30).spill_quota(0)),
        ("all results", builder().max_result_bytes(u64::MAX)),
    ];
    for (what, builder) in all {
        assert_eq!(job(&builder.build()?)?, expected, "{what}");
    }
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_obeyed_is_an_error_at_its_call() -> Result<()> {
    let (message, site) = plan_error(Context::builder().threads(1_000_000).build());
    assert!(message.contains("`threads` asks for 1000000 threads; ask for 1 to 4096"), "{message}");
    assert!(site.file.ends_with("settings.rs"), "{site}");
    let (message, site) = plan_error(Context::local(0));
    assert!(message.contains("`threads` asks for 0 threads") && site.file == file!(), "{message}, {site}");
    let (message, _) = plan_error(Context::builder().spill_dir("").build());
    assert!(message.contains("spill files"), "{message}");
    let (message, _) = plan_error(Context::builder().speculation(200, 0).build());
    assert!(message.contains("200 %") && message.contains("never begins"), "the first is told: {message}");
    let none = Context::builder().threads(2).progress(false).max_result_bytes(0).build()?;
    assert!(matches!(job(&none), Err(Error::Limit { ref name, value: 0, .. }) if name == "max_result_bytes"));
    let (message, site) = plan_error(Context::builder().max_attempts(0).build());
    assert!(message.contains("0 attempts") && site.file.ends_with("settings.rs"), "{message}");
    let little = Context::builder().threads(2).progress(false).memory(1).build()?;
    let error = job(&little).unwrap_err();
    assert!(matches!(&error, Error::Limit { name, value: 1, .. } if name == "memory"), "{error}");
    let small = Context::builder().threads(2).progress(false).memory(256 << 10).spill_quota(0).build()?;
    let error = small.range_in(0..200_000, 4).map(|n| (n ^ 0x5555, n)).sort_by_key().count().unwrap_err();
    assert!(matches!(&error, Error::Limit { name, value: 0, .. } if name == "spill_quota"), "{error}");
    Ok(())
}

/// An engine sets this variable for its workers. A user who sets it by hand is told so before `main` starts.
#[test]
fn a_worker_that_no_engine_has_started_says_so_and_ends() {
    const ROLE: &str = "TRYWORKS_TEST_ROLE";
    if std::env::var_os(ROLE).is_some() {
        let cx = Context::init();
        println!("went on: {}", cx.is_ok());
        return;
    }
    for name in ["", "yes", "@", "1", "x@/nowhere", "-1@/nowhere", "7@/nowhere/at/all", "7@", "18446744073709551616@/x"]
    {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "settings::a_worker_that_no_engine_has_started_says_so_and_ends", "--nocapture"]);
        let done = child.env(ROLE, "child").env("TRYWORKS_WORKER", name).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(70), "`{name}`: {out}{err}");
        assert!(!out.contains("went on"), "`{name}`: {out}");
        let told =
            if name.starts_with("7@") { "the engine that started this worker is gone" } else { "TRYWORKS_WORKER" };
        assert!(err.contains(told) && !err.contains("panicked"), "`{name}`: {err}");
    }
}

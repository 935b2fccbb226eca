//! The arguments that workers are started with: the driver's own. In a test harness, whose tests may each be a driver, they
//! name the one test, since all others would run in every worker as well.

use tryworks_base::{Error, Result};

/// By this a harness runs the tests whose whole names follow, and no others.
const EXACT: &str = "--exact";

/// What workers get, the name that the program was called by first.
pub(super) fn arguments() -> Result<Vec<String>> {
    let own: Vec<_> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    // A harness runs each test on a thread that has the test's name.
    let main = rustix::thread::gettid() == rustix::process::getpid();
    let chosen = own.iter().any(|argument| argument == EXACT);
    if main || chosen || !tryworks_store::program::is_test_harness()? {
        return Ok(own);
    }
    let thread = std::thread::current();
    let Some(test) = thread.name() else {
        return Err(Error::cluster(
            "a test asks for a cluster on a thread that it has started: workers could not tell which test it was",
            "make the context on the test's own thread",
        ));
    };
    let one = [EXACT, test, "--include-ignored", "--nocapture", "--test-threads=1"].map(String::from);
    Ok(own.into_iter().take(1).chain(one).collect())
}

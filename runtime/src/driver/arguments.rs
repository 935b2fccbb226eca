//! The arguments for workers: the driver's own. In a test harness, each test may be a driver. There the arguments name
//! only that test, since otherwise every worker would run all the others as well.

use tryworks_base::{Error, Result};

/// With this, a harness runs only the tests whose full names follow.
const EXACT: &str = "--exact";

/// The arguments for workers, beginning with the name the program was called by.
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

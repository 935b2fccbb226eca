//! Waiting for a future on a thread of its own: the caller's may be inside another runtime, as under `#[tokio::main]`,
//! where none may be waited for.

use std::io;
use tokio::runtime::Builder;
use tryworks_base::lock::none_held;

/// Runs the future that `make` makes to its end, with a runtime of its own.
///
/// # Errors
/// If the system gives no thread, or no runtime.
pub(crate) fn block_on<T: Send, F: Future<Output = T>>(make: impl FnOnce() -> F + Send) -> io::Result<T> {
    none_held("waiting for another thread");
    std::thread::scope(|scope| {
        let inside = || Builder::new_current_thread().enable_all().build().map(|runtime| runtime.block_on(make()));
        let thread = std::thread::Builder::new().name("tryworks-apart".into()).spawn_scoped(scope, inside)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_be_waited_for_inside_another_runtime() {
        let outer = Builder::new_current_thread().build().unwrap();
        let got = outer.block_on(async {
            let word = String::from("both");
            block_on(|| async { tokio::task::yield_now().await }).unwrap();
            block_on(|| async { word.len() }).unwrap()
        });
        assert_eq!(got, 4);
    }
}

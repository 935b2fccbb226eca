//! Waits for a future on a separate thread. The caller's thread may belong to another runtime, as under
//! `#[tokio::main]`, where waiting is not allowed.

use std::io;
use tokio::runtime::Builder;
use tryworks_base::lock::none_held;

/// Runs the future that `make` returns to its end, on a runtime of its own.
///
/// # Errors
/// If the system provides no thread, or no runtime can be created.
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

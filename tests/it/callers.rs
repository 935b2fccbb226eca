//! Who may run jobs: the program and its threads, but no task, nor a thread or process that a task has started.

use crate::support::{cx, fault};
use std::sync::OnceLock;
use tryworks::prelude::*;

#[test]
fn a_dataset_used_inside_a_task_is_an_error_that_explains() -> Result<()> {
    static INNER: OnceLock<Data<u64>> = OnceLock::new();
    let cx = cx();
    let _ = INNER.set(cx.range(0..10).boxed());
    let nested = cx.range(0..3).try_map(|n| Ok(INNER.get().map_or(Ok(0), |inner| inner.count())? + n));
    let fault = fault(nested.collect().unwrap_err());
    assert_eq!(fault.operator, "try_map");
    assert!(fault.message.contains("inside a task") && fault.message.contains(".with(value)"), "{}", fault.message);
    // Making a context inside a task does not help.
    let nested = cx.range(0..3).try_map(|n| Ok(Context::local(1)?.range(0..n).count()?));
    assert!(nested.collect().unwrap_err().to_string().contains("inside a task"));
    assert_eq!(cx.range(0..3).count()?, 3);
    Ok(())
}

/// The task occupies the only slot. The job of its thread would wait for the task, and the task for the job.
#[test]
fn a_job_of_a_thread_that_a_task_has_started_is_an_error_that_explains() -> Result<()> {
    static INNER: OnceLock<Data<u64>> = OnceLock::new();
    let cx = Context::local(1)?;
    let _ = INNER.set(cx.range(0..10).boxed());
    fn count() -> Result<u64> {
        INNER.get().map_or(Ok(0), |inner| inner.count())
    }
    let in_a_thread = cx.range(0..3).try_map(|n| Ok(std::thread::spawn(count).join().unwrap()? + n));
    let in_a_scope =
        cx.range(0..3).try_map(|n| Ok(std::thread::scope(|scope| scope.spawn(count).join().unwrap())? + n));
    let in_its_child = cx.range(0..3).try_map(|n| {
        let outer = std::thread::spawn(|| std::thread::spawn(count).join().unwrap());
        Ok(outer.join().unwrap()? + n)
    });
    let in_a_named_thread = cx.range(0..3).try_map(|n| {
        let named = std::thread::Builder::new().name("mine".into()).spawn(count);
        Ok(named?.join().unwrap()? + n)
    });
    let in_a_child_of_a_named_one = cx.range(0..3).try_map(|n| {
        let outer = std::thread::Builder::new().name("outer".into());
        let outer = outer.spawn(|| std::thread::Builder::new().name("inner".into()).spawn(count).unwrap().join());
        Ok(outer?.join().unwrap().unwrap()? + n)
    });
    let in_a_pool = cx.range(0..3).try_map(|n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).thread_name(|at| format!("pool-{at}")).build()?;
        Ok(pool.install(count)? + n)
    });
    let in_a_runtime = cx.range(0..3).try_map(|n| {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(runtime.block_on(runtime.spawn_blocking(count))?? + n)
    });
    let tried = [
        in_a_thread.collect(),
        in_a_scope.collect(),
        in_its_child.collect(),
        in_a_named_thread.collect(),
        in_a_child_of_a_named_one.collect(),
        in_a_pool.collect(),
        in_a_runtime.collect(),
    ];
    for (at, error) in tried.into_iter().enumerate() {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`count` was called inside a task, or on a thread that"), "{at}: {error}");
    }
    // A thread of the program's own does not belong to a task.
    assert_eq!(std::thread::spawn(count).join().unwrap(), Ok(10));
    let named = std::thread::Builder::new().name("mine".into()).spawn(count).unwrap();
    assert_eq!(named.join().unwrap(), Ok(10));
    // Nor do threads of the process's global pool, even if a task is the first to use it.
    let shared = cx.range(0..3).map(|n| rayon::join(|| n, || 1).0);
    assert_eq!(shared.sum()?, 3);
    let (sender, counted) = std::sync::mpsc::channel();
    rayon::spawn(move || sender.send(count()).unwrap());
    assert_eq!(counted.recv().unwrap(), Ok(10));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(count), Ok(10));
    Ok(())
}

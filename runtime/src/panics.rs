//! Panics of user code: a worker catches them, notes where they came from, and does not print them.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use tryworks_base::lock::none_held;
use tryworks_base::{Error, Op, Result, Site, TaskSite, UserFault, outlet};

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static DROPPING: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// What the message of a panic ends with if no operator's function is to blame.
const IN_NO_FUNCTION: &str = "\n  this was in no function given to an operator, but in code that runs inside the stage, such as an `Ord`, `Hash`, \
     `Clone` or serde implementation of a type that it handles";

struct Caught {
    source: Option<Site>,
    backtrace: Option<String>,
}

/// Whether this thread is running a task.
pub(crate) fn in_task() -> bool {
    IN_TASK.get()
}

/// Runs a task's code. A panic in it becomes an error that names the operator whose function panicked, or `stage` if
/// the panic was in no operator's function.
pub(crate) fn catch<R>(stage: Op, place: TaskSite, code: impl FnOnce() -> Result<R>) -> Result<R> {
    none_held("running a task");
    install();
    let before = IN_TASK.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    IN_TASK.set(before);
    result.unwrap_or_else(|payload| {
        let error = error(stage, place, &*payload);
        discard(payload);
        Err(error)
    })
}

/// Calls `code`, which calls the user's code on the driver for a job.
pub(crate) fn guard(op: Op, place: TaskSite, code: &mut dyn FnMut()) -> Result<()> {
    catch(op, place, || {
        code();
        Ok(())
    })
}

/// The same before there is a job, for a value that the program gives to `op`. A panic is a mistake in the plan.
pub(crate) fn catch_given<R>(op: Op, code: impl FnOnce() -> Result<R>) -> Result<R> {
    catch(op, TaskSite::default(), code).map_err(|error| match error {
        Error::User(fault) if fault.panicked => {
            let what = fault.message.strip_suffix(IN_NO_FUNCTION).unwrap_or(&fault.message);
            let at = fault.source.map_or_else(String::new, |site| format!(" at {site}"));
            op.fault(format!(
                "code of a type that `{}` was given panicked{at}: {what}\n  the program's own process calls a type's \
                 serde, `Clone` and `Drop` code, to see whether its values can be sent to tasks",
                op.name
            ))
        }
        other => other,
    })
}

/// Drops what values of the user's types may be in, where no task catches what they do. That one panicked is said once.
pub(crate) fn catch_drop<T>(what: T) {
    none_held("dropping values");
    install();
    let before = DROPPING.replace(true);
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(what)));
    DROPPING.set(before);
    let Err(payload) = dropped else { return };
    let source = LAST.take().and_then(|caught| caught.source);
    let message = text(&*payload);
    discard(payload);
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let at = source.map_or_else(String::new, |site| format!(" at {site}"));
        let advice = "no answer depends on it, and the rest goes on; it is said only once";
        outlet::ERR.write(format!("tryworks: a `Drop` panicked{at}: {message}\n  {advice}\n").as_bytes());
    });
}

/// Drops what a panic left. It may be of the user's, and its own drop may panic: then it stays.
fn discard(payload: Box<dyn Any + Send>) {
    if !payload.is::<&str>() && !payload.is::<String>() {
        std::mem::forget(payload);
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_string());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
    message.unwrap_or_else(|| "a value that is not text".into())
}

fn error(stage: Op, place: TaskSite, payload: &(dyn Any + Send)) -> Error {
    let mut message = text(payload);
    let caught = LAST.take();
    let source = caught.as_ref().and_then(|caught| caught.source);
    let op = match (Op::take_blamed(), source) {
        (Some(op), _) => op,
        // A panic that was resumed from elsewhere, for example from another thread, has no location.
        (None, source) if source.is_none_or(|site| !tryworks_base::is_ours(site)) => {
            message.push_str(IN_NO_FUNCTION);
            stage
        }
        _ => {
            let at = source.map_or_else(String::new, |site| format!(" at {site}"));
            return Error::Bug(format!("a task panicked outside of user code{at}: {message} ({place})"));
        }
    };
    Error::User(Box::new(UserFault {
        message,
        panicked: true,
        operator: op.name.into(),
        site: op.site,
        source,
        place,
        engine: None,
        attempts: 1,
        backtrace: caught.and_then(|caught| caught.backtrace),
    }))
}

/// Installs a hook that notes panics of tasks instead of printing them. Panics of other threads are handled as before.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| if in_task() || DROPPING.get() { note(info) } else { before(info) }));
    });
}

fn note(info: &PanicHookInfo) {
    // Clears the blame for an earlier panic, which user code caught itself.
    Op::take_blamed();
    let source = info.location().map(|at| {
        // The location of a panic is static, although its type does not say so.
        Site { file: tryworks_base::intern(at.file()), line: at.line(), column: at.column() }
    });
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    LAST.set(Some(Caught { source, backtrace }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_our_own_is_our_bug() {
        let error = catch(Op::here("count"), TaskSite::default(), || -> Result<()> { panic!("ours") }).unwrap_err();
        assert!(matches!(&error, Error::Bug(message) if message.contains("ours")), "{error}");
        let error = catch(Op::here("count"), TaskSite::default(), || -> Result<()> {
            Op::here("map").call(|| panic!("theirs"))
        });
        assert!(matches!(&error, Err(Error::User(fault)) if fault.operator == "map"), "{error:?}");
    }
}

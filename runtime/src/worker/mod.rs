//! The worker: a driver's own program, which an engine starts to run tasks and which ends with the engine.

mod blocks;
mod host;
mod questions;
mod surroundings;

use crate::caller::task_thread;
use crate::execute::{OpenedStage, Product, at_the_call, execute, failure, site};
use crate::queue::TaskQueue;
use crate::shielded::Shielded;
use crate::{apart, caller, panics, ship};
use bytes::Bytes;
use host::WorkerHost;
use serde_bytes::ByteBuf;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use surroundings::WorkerSurroundings;
use tokio::sync::Notify;
use tryworks_base::ids::{AttemptId, ExchangeId};
use tryworks_base::lock::{Lock, ReadLock, Turns};
use tryworks_base::{Error, Result, codec, outlet};
use tryworks_core::host::Host;
use tryworks_core::surroundings::surround;
use tryworks_protocol as protocol;
use tryworks_protocol::engine::{Assignment, CodeBytes, CodeId, ResultPart};
use tryworks_protocol::worker::{FromWorker, ToWorker, VARIABLE, Welcome};
use tryworks_protocol::{Hello, Opening, Purpose};
use tryworks_scheduler::Failure;
use tryworks_store::blocks::BlockWriter;
use tryworks_store::running::RunningFile;
use tryworks_transport::{Link, LinkReceiver, LinkSender};

/// The stack of a thread that runs tasks, as in the local runtime.
const STACK_BYTES: usize = 64 << 20;
/// How long a report waits to be sent together with others, while more tasks wait.
const GATHER: Duration = Duration::from_millis(1);
/// How often the worker tells the engine that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// The largest result that goes with a report. A larger one becomes a block.
const RESULT_BYTES: usize = 1 << 20;
/// The most bytes of results in one report. The others become blocks.
const REPORT_BYTES: usize = 16 << 20;

/// Serves tasks if this process was started as a worker; then it does not return. If it cannot serve, it writes why to
/// its error output and ends the process.
pub fn serve_if_asked() {
    if caller::is_worker() {
        // A task has made a context. It gets an error when it uses the context.
        return;
    }
    let Some(name) = std::env::var_os(VARIABLE) else { return };
    let name = name.to_string_lossy();
    let served =
        name.split_once('@').and_then(|(number, socket)| Some((number.parse::<u64>().ok()?, socket.to_string())));
    let result = match served {
        Some((number, socket)) => {
            caller::become_worker();
            let served = apart::block_on(|| serve(number, Path::new(&socket)));
            served.unwrap_or_else(|error| Err(Error::storage("starting the worker", &socket, &error)))
        }
        None => Err(Error::Setting {
            name: VARIABLE.into(),
            message: format!("is `{name}`: only an engine sets it, for a worker that it starts; unset it"),
        }),
    };
    if let Err(error) = result {
        outlet::ERR.write(format!("{error}\n").as_bytes());
        std::process::exit(70);
    }
    std::process::exit(0);
}

async fn serve(number: u64, socket: &Path) -> Result<()> {
    let lost = |error| Error::cluster(error, "the engine that started this worker is gone");
    let (to, mut from) = Link::unix(socket).await.map_err(lost)?;
    let purpose = Purpose::Work { worker: number, program: tryworks_store::program::program_id()? };
    let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: tryworks_protocol::host::here(), purpose };
    to.send(hello.to_bytes()?.into()).map_err(lost)?;
    match protocol::opening::<Welcome>(&from.recv().await.map_err(lost)?)? {
        Opening::Welcome(welcome) => work(welcome, to, from).await,
        Opening::Refused(why) => Err(Error::cluster(
            why,
            format!("this process ends; a task that starts a program takes {VARIABLE} out of its environment"),
        )),
    }
}

/// What the threads of a worker share.
struct Bench {
    queue: Lock<TaskQueue<Assignment>>,
    work: Condvar,
    codes: ReadLock<HashMap<CodeId, Arc<Sent>>>,
    /// The code that a thread is opening: other threads wait for it.
    opening: Turns<CodeId>,
    host: Arc<WorkerHost>,
    surroundings: Arc<WorkerSurroundings>,
    /// Leads to the thread that drops values.
    garbage: mpsc::Sender<Box<dyn Send>>,
    running: Option<RunningFile>,
    done: Lock<Vec<FromWorker>>,
    /// Notified when there is something in `done`.
    finished: Notify,
}

/// The code of a stage: the bytes as they came, and the opened stage.
struct Sent {
    bytes: Lock<Option<CodeBytes>>,
    opened: OnceLock<Result<OpenedStage>>,
}

async fn work(welcome: Welcome, to: LinkSender, mut from: LinkReceiver) -> Result<()> {
    let slots = welcome.slots;
    let surroundings = WorkerSurroundings::new(&welcome, to.clone());
    surround(Box::new(surroundings::Shared(surroundings.clone())));
    let running = RunningFile::create(Path::new(&welcome.running)).ok();
    let (garbage, gone) = mpsc::channel();
    let failed = |error| Error::storage("starting a thread", "this worker", &error);
    let sweeper = std::thread::Builder::new().name("tryworks-sweeper".into());
    sweeper.spawn(move || gone.into_iter().for_each(panics::catch_drop::<Box<dyn Send>>)).map_err(failed)?;
    let bench = Arc::new(Bench {
        queue: Lock::default(),
        work: Condvar::new(),
        codes: ReadLock::default(),
        opening: Turns::default(),
        host: Arc::new(WorkerHost::new(welcome, to.clone())),
        surroundings,
        garbage,
        running,
        done: Lock::default(),
        finished: Notify::new(),
    });
    for slot in 0..slots {
        let bench = bench.clone();
        let thread = std::thread::Builder::new().name(task_thread(slot)).stack_size(STACK_BYTES);
        thread.spawn(move || bench.run(u64::from(slot))).map_err(failed)?;
    }
    tokio::spawn(report(bench.clone(), to.clone()));
    // When the engine is gone, this process ends, whatever its tasks are doing.
    let beat = Bytes::from(protocol::encode(&[FromWorker::Beat])?);
    let mut beats = tokio::time::interval(BEAT);
    loop {
        let heard = tokio::select! {
            biased;
            heard = from.recv() => heard,
            // The beats come from the loop that reads the engine's messages. If that loop hangs, the beats stop.
            _ = beats.tick() => match to.send(beat.clone()) {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
        };
        let Ok(bytes) = heard else { break };
        let mut next = Some(bytes);
        while let Some(bytes) = next {
            for message in protocol::decode::<ToWorker>(&bytes)? {
                bench.hear(message);
            }
            next = from.ready();
        }
    }
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() == own {
        // The engine made this process the leader of a group, so that processes started by its tasks end with it.
        let _ = rustix::process::kill_process_group(own, rustix::process::Signal::KILL);
    }
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    Ok(())
}

/// Makes clear to the user that the error text of a task is too large for a message.
fn named(what: &FromWorker, mut error: Error) -> Error {
    if let (FromWorker::Failed { .. }, Error::Limit { name, advice, .. }) = (what, &mut error) {
        *name = "the error of a task, in a message".into();
        *advice = "make an error with a shorter text".into();
    }
    error
}

/// Sends reports: at once when no task waits, or else several together.
async fn report(bench: Arc<Bench>, to: LinkSender) {
    loop {
        bench.finished.notified().await;
        let done = std::mem::take(&mut *bench.done.lock());
        if done.is_empty() {
            continue;
        }
        let mut failed = Vec::new();
        let refused = &mut |what: &FromWorker, error: Error| match what {
            FromWorker::Done { attempt, span, .. } | FromWorker::Failed { attempt, span, .. } => {
                let failure = Failure::Final(named(what, error));
                failed.push(FromWorker::Failed { attempt: *attempt, failure, span: *span });
            }
            _ => outlet::ERR.write(format!("a message to the engine could not be sent: {error}\n").as_bytes()),
        };
        let said = protocol::messages(&done, refused).into_iter().try_for_each(|bytes| to.send(bytes));
        for failed in failed {
            bench.tell(failed);
        }
        if said.is_err() {
            // The loop that reads the engine's messages notices this too, and ends the process.
            return;
        }
        let is_more_to_come = bench.queue.lock().waiting().len() > 0;
        if is_more_to_come {
            tokio::time::sleep(GATHER).await;
        }
    }
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

impl Bench {
    fn hear(&self, message: ToWorker) {
        match message {
            ToWorker::Code { code, bytes } => {
                let sent = Arc::new(Sent { bytes: Lock::new(Some(bytes)), opened: OnceLock::new() });
                let before = self.codes.write().insert(code, sent);
                self.sweep(before);
            }
            ToWorker::ForgetCode { code } => {
                let gone = self.codes.write().remove(&code);
                self.sweep(gone);
            }
            ToWorker::Peer { engine, store } => self.host.blocks.meet(engine, *store),
            ToWorker::Places { output, places } => self.host.blocks.place(output, places),
            ToWorker::Launch { tasks, quota } => {
                self.host.blocks.set_quota(quota);
                let many = tasks.len() > 1;
                let mut queue = self.queue.lock();
                tasks.into_iter().for_each(|task| queue.add(task.task.attempt, task));
                drop(queue);
                if many { self.work.notify_all() } else { self.work.notify_one() }
            }
            ToWorker::Kill { attempt } => self.kill(attempt),
            ToWorker::DeleteOutput { output } => self.sweep(self.host.blocks.forget(output)),
            ToWorker::DeleteCache { cache } => self.sweep(Some(self.host.caches.forget(cache.own()))),
            ToWorker::File { number, path } => self.surroundings.questions.answered(number, path),
            ToWorker::Fetched { number, answer } => self.host.blocks.questions.answered(number, answer),
        }
    }

    /// Gives a value to another thread to drop, because the value may be large or of a user's type.
    fn sweep<T: Send + 'static>(&self, gone: Option<T>) {
        if let Some(gone) = gone {
            // The thread lives as long as the bench. If it had ended, this would drop the value here.
            drop(self.garbage.send(Box::new(gone)));
        }
    }

    fn kill(&self, attempt: AttemptId) {
        let had_not_begun = self.queue.lock().stop(attempt);
        if had_not_begun {
            self.tell(FromWorker::Failed { attempt, failure: Failure::Killed, span: (0, 0) });
        }
    }

    fn tell(&self, message: FromWorker) {
        self.done.lock().push(message);
        self.finished.notify_one();
    }

    /// The loop of a thread that runs tasks.
    fn run(&self, slot: u64) {
        loop {
            let mut queue = self.queue.lock();
            let (assignment, cancelled) = loop {
                if let Some(next) = queue.next(self.host.memory()) {
                    break next;
                }
                queue = queue.wait(&self.work);
            };
            drop(queue);
            let attempt = assignment.task.attempt;
            if let Some(running) = &self.running {
                running.note(slot, attempt);
            }
            let message = self.run_one(&assignment, &cancelled);
            let is_idle = self.queue.lock().ended(attempt);
            if is_idle {
                self.work.notify_all();
            }
            self.tell(message);
        }
    }

    fn run_one(&self, assignment: &Assignment, cancelled: &Arc<AtomicBool>) -> FromWorker {
        let Assignment { task, code, .. } = assignment;
        let begun = micros();
        let attempt = task.attempt;
        self.host.begin(attempt, *code);
        let result = self.make(assignment, cancelled);
        // An unfinished line would otherwise stay in the buffer of a process that is killed later.
        let _ = std::io::stdout().flush();
        self.host.end(attempt);
        let span = (begun, micros());
        match result {
            Ok(mut message) => {
                if let FromWorker::Done { span: whole, .. } = &mut message {
                    *whole = span;
                }
                message
            }
            Err(Error::Fetch { exchange, map, .. }) if !cancelled.load(Relaxed) => {
                let failure = Failure::Fetch(self.host.blocks.missing(exchange, map));
                FromWorker::Failed { attempt, failure, span }
            }
            Err(_) if cancelled.load(Relaxed) => FromWorker::Failed { attempt, failure: Failure::Killed, span },
            Err(error) => FromWorker::Failed { attempt, failure: failure(error), span },
        }
    }

    /// The code of a stage. The first task that runs it opens it: that decodes the user's values, which may take long.
    fn code(&self, id: CodeId) -> Result<OpenedStage> {
        let sent = self.codes.read().get(&id).cloned();
        let sent = sent.ok_or_else(|| Error::Bug(format!("the code {id:?} was not sent")))?;
        if let Some(code) = sent.opened.get() {
            return code.clone();
        }
        let _turn = self.opening.take(id);
        let Some(bytes) = sent.bytes.lock().take() else {
            return sent.opened.get().cloned().unwrap_or_else(|| Err(Error::Bug(format!("{id:?} was not opened"))));
        };
        let opened = match bytes {
            CodeBytes::Here(bytes) => open(&bytes),
            CodeBytes::AtHub { id, bytes } => match self.surroundings.get(&id, bytes) {
                Ok(bytes) => open(&bytes),
                Err(error) => {
                    // The next task tries again.
                    *sent.bytes.lock() = Some(CodeBytes::AtHub { id, bytes });
                    return Err(error);
                }
            },
        };
        sent.opened.get_or_init(|| opened).clone()
    }

    fn make(&self, assignment: &Assignment, cancelled: &Arc<AtomicBool>) -> Result<FromWorker> {
        let Assignment { task, code: id, .. } = assignment;
        let code = self.code(*id)?;
        let host: Arc<dyn Host> = self.host.clone();
        let Product { report, results, blocks } = execute(task, &code, &host, cancelled)?;
        let mut sealed = Vec::with_capacity(blocks.len());
        for (partition, block) in blocks {
            let CodeId::Output(output) = id else { return Err(Error::Bug("a block of a result stage".into())) };
            sealed.push((*output, partition, block.into_inner().sealed()?));
        }
        let (mut parts, mut here) = (Vec::with_capacity(results.len()), 0);
        for (partition, value) in results {
            let mut bytes = Vec::new();
            let encoded = panics::catch(code.op, site(task, partition), || value.encode(&mut bytes));
            encoded.map_err(|error| at_the_call(error, code.op))?;
            drop(value);
            // All results that go with a task's report have to fit into one message.
            if bytes.len() <= RESULT_BYTES && here + bytes.len() <= REPORT_BYTES {
                here += bytes.len();
                parts.push((partition, ResultPart::Here(bytes)));
                continue;
            }
            let (output, len) = (protocol::results_of(task.job), bytes.len() as u64);
            let mut writer = self.host.blocks.writer(output, partition, task.attempt);
            write_result(&mut writer, &bytes)?;
            sealed.push((output, partition, writer.seal(&[])?));
            parts.push((partition, ResultPart::Kept(len)));
        }
        let kept = self.host.newly_kept();
        Ok(FromWorker::Done { attempt: task.attempt, report, blocks: sealed, results: parts, kept, span: (0, 0) })
    }
}

/// Writes a large result as one sequence of frames of one mebibyte.
fn write_result(writer: &mut BlockWriter, bytes: &[u8]) -> Result<()> {
    writer.sequence()?;
    bytes.chunks(RESULT_BYTES).try_for_each(|piece| writer.frame(piece))
}

/// The code of a stage as a driver sends it.
pub(crate) fn pack(code: &OpenedStage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stage = ByteBuf::from(ship::send(std::slice::from_ref(&*code.stage))?);
    codec::encode(&(code.exchange, code.op, code.checks_rows, stage), &mut bytes)?;
    Ok(bytes)
}

fn open(bytes: &[u8]) -> Result<OpenedStage> {
    let ((exchange, op, checks_rows, stage), _) = codec::decode::<(Option<ExchangeId>, _, _, ByteBuf)>(bytes)?;
    let opened = panics::catch(op, tryworks_base::TaskSite::default(), || ship::open(&stage));
    let opened = opened.map_err(|error| at_the_call(error, op))?;
    match opened.into_iter().next() {
        Some(stage) => Ok(OpenedStage { stage: Shielded::new(stage), exchange, op, checks_rows }),
        None => Err(Error::Bug("a code without a stage was sent".into())),
    }
}

//! The driver's own thread: it keeps the connection to the hub, and reconnects when it is lost.

use super::arguments::arguments;
use super::output::Printer;
use super::shared::{Port, Shared};
use super::state::{BEAT, Unmet};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tryworks_base::time::Clock;
use tryworks_base::{Error, Result, codec};
use tryworks_protocol as protocol;
use tryworks_protocol::driver::{FromDriver, ToDriver, Welcome};
use tryworks_protocol::environment;
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, Opening, Purpose};
use tryworks_transport::dial;
use tryworks_transport::{Connection, LinkError, LinkReceiver, LinkSender, Role, chunks};

/// How often the driver tries to reach a hub that is gone.
const KNOCK: Duration = Duration::from_millis(100);
/// How long leaving may take.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long a hub may take to answer a hello.
const ANSWER: Duration = Duration::from_secs(10);

/// This program in the form in which workers run it, with the part of its environment that they get.
pub(super) fn program(named: &[String]) -> Result<Program> {
    let path = std::env::current_exe().map_err(|error| Error::storage("looking for", "this program", &error))?;
    Ok(Program {
        id: tryworks_store::program::program_id()?,
        bytes: std::fs::metadata("/proc/self/exe").map_or(0, |file| file.len()),
        path: path.display().to_string(),
        arguments: arguments()?,
        environment: environment::chosen(named)?,
        directory: std::env::current_dir().map_or_else(|_| "/".into(), |dir| dir.display().to_string()),
    })
}

/// What the driver's own thread owns.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) connection: Connection,
    pub(super) program: Program,
    pub(super) printer: Printer,
}

struct Link {
    to: LinkSender,
    from: LinkReceiver,
}

impl From<Error> for Unmet {
    fn from(error: Error) -> Self {
        Unmet::ForGood(error)
    }
}

impl Driver {
    pub(super) async fn run(mut self, ready: std::sync::mpsc::Sender<Result<()>>) {
        let met = self.meet().await;
        self.shared.spool.drained();
        let mut link = match met {
            Ok(link) => {
                let _ = ready.send(Ok(()));
                link
            }
            Err(error) => return drop(ready.send(Err(error))),
        };
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let shared = self.shared.clone();
            let lost = tokio::select! {
                biased;
                message = link.from.recv() => match message {
                    Ok(bytes) => self.hear_all(&mut link, bytes).err(),
                    Err(error) => Some(error.to_string()),
                },
                () = shared.outgoing.notified() => None,
                _ = beat.tick() => {
                    shared.lock().beat();
                    None
                }
            };
            if let Some(why) = lost {
                match self.reconnect(&why).await {
                    Some(again) => link = again,
                    None => return,
                }
            }
            let (batch, stopped) = {
                let mut state = self.shared.lock();
                (state.messages(), state.is_stopped())
            };
            let said = self.say(&link, &batch);
            if stopped {
                if said.is_ok() {
                    // The hub hangs up when it has received the message.
                    let bye = async { while link.from.recv().await.is_ok() {} };
                    let _ = tokio::time::timeout(FAREWELL, bye).await;
                }
                self.printer.finish();
                return;
            }
            // Messages that are lost with a connection need no retry: after the next hello, the state sends what is
            // missing.
            if let Err(error) = said {
                match self.reconnect(&error.to_string()).await {
                    Some(again) => link = again,
                    None => return,
                }
            }
        }
    }

    /// Connects to the hub for the first time, and waits for a hub that is restarting.
    async fn meet(&mut self) -> Result<Link> {
        let mut told = false;
        loop {
            let unmet = match self.greet().await {
                Ok(link) => return Ok(link),
                Err(unmet) => unmet,
            };
            // The connection file may have been rewritten by another hub since it was read.
            if matches!(unmet, Unmet::ForGood(_)) && self.read_again() {
                continue;
            }
            let (Unmet::ForNow(error) | Unmet::ForGood(error)) = &unmet;
            let first = error.to_string().lines().next().unwrap_or_default().to_string();
            self.shared.lock().unmet(self.clock.now(), unmet)?;
            if !std::mem::replace(&mut told, true) {
                let patience = self.shared.settings.patience;
                self.printer.note(&format!("{first}; trying again for up to {patience:?}"));
            }
            tokio::time::sleep(KNOCK).await;
            self.read_again();
        }
    }

    /// Reads the connection file again, and returns whether it has changed: a restarted hub may have other ports and
    /// other certificates.
    fn read_again(&mut self) -> bool {
        // The file may be in the middle of being rewritten. Until it can be read, the old content serves.
        let Ok(now) = Connection::read(&self.shared.settings.connection) else { return false };
        if now == self.connection {
            return false;
        }
        *self.shared.port.lock() = Port::of(&now);
        self.connection = now;
        true
    }

    /// Sends messages to the hub. A job that is too large for a message fails.
    fn say(&self, link: &Link, batch: &[FromDriver]) -> Result<(), LinkError> {
        let refused = &mut |what: &FromDriver, error: Error| {
            let job = self.shared.lock().unsaid(what, &error);
            match job {
                true => self.shared.news.notify_all(),
                false => self.printer.note(&format!("a message to the hub could not be sent: {error}")),
            }
        };
        protocol::messages(batch, refused).into_iter().try_for_each(|bytes| link.to.send(bytes))
    }

    /// Connects to the hub and says hello.
    async fn greet(&self) -> Result<Link, Unmet> {
        let advice = "is the cluster running? `tryworks cluster list` shows those of this machine";
        let unreachable = |error: LinkError| {
            let what = format!("the cluster `{}` cannot be reached: {error}", self.connection.cluster);
            let later = !matches!(error, LinkError::Distrust { .. } | LinkError::Credentials { .. });
            let error = Error::cluster(what, advice);
            if later { Unmet::ForNow(error) } else { Unmet::ForGood(error) }
        };
        let (to, mut from) = dial(&self.connection, "drivers.sock").await.map_err(unreachable)?;
        let again = self.shared.lock().again(&self.connection.cluster_id);
        let purpose = Purpose::Drive { again, program: self.program.clone() };
        let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: tryworks_protocol::host::here(), purpose };
        to.send(hello.to_bytes()?.into()).map_err(unreachable)?;
        let answer = tokio::time::timeout(ANSWER, from.recv()).await;
        let silent = |_| Unmet::ForNow(Error::cluster("the hub does not answer", advice));
        let answer = answer.map_err(silent)?.map_err(unreachable)?;
        let welcome = match protocol::opening::<Welcome>(&answer)? {
            Opening::Welcome(welcome) => welcome,
            Opening::Refused(why) => {
                return Err(Unmet::ForGood(Error::cluster(format!("the hub refused: {why}"), "see above")));
            }
        };
        if let Some(warning) = &welcome.warning {
            self.printer.note(warning);
        }
        if welcome.send_program {
            self.send_program().await?;
        }
        self.shared.lock().welcomed(&self.connection.cluster_id, &welcome);
        self.shared.news.notify_all();
        self.shared.outgoing.notify_one();
        Ok(Link { to, from })
    }

    /// Uploads this program to the hub's data port, where engines can fetch it.
    async fn send_program(&self) -> Result<(), Unmet> {
        let advice = "is the address of the hub's data port in the connection file reachable from here?";
        let Some(Port { client, address }) = self.shared.port.lock().clone() else {
            let error = Error::cluster("the connection file has no certificate", "copy it again from the cluster");
            return Err(Unmet::ForGood(error));
        };
        let mut request = Vec::new();
        codec::encode(&self.program.id, &mut request)?;
        let own = std::fs::File::open("/proc/self/exe");
        let own = own.map_err(|error| Error::storage("reading", &self.program.path, &error))?;
        let put = client.put(&address, Role::Hub, &request, self.program.bytes, chunks(own));
        put.await.map_err(|error| {
            let later = error.may_pass();
            let error = Error::cluster(error, advice);
            if later { Unmet::ForNow(error) } else { Unmet::ForGood(error) }
        })
    }

    /// Tries to reach the hub again. Returns `None` if the context was stopped or patience ran out.
    async fn reconnect(&mut self, why: &str) -> Option<Link> {
        self.shared.lock().link_lost(self.clock.now(), why);
        loop {
            if self.shared.lock().is_stopped() {
                return None;
            }
            let unmet = match self.greet().await {
                Ok(link) => return Some(link),
                Err(unmet) => unmet,
            };
            if self.shared.lock().unmet(self.clock.now(), unmet).is_err() {
                self.shared.news.notify_all();
                return None;
            }
            tokio::time::sleep(KNOCK).await;
            self.read_again();
        }
    }

    fn hear_all(&mut self, link: &mut Link, first: Bytes) -> Result<(), String> {
        let mut next = Some(first);
        while let Some(bytes) = next {
            let batch = protocol::decode::<ToDriver>(&bytes).map_err(|error| error.to_string())?;
            // The output of a job comes before its end.
            for message in &batch {
                self.show(message);
            }
            let mut state = self.shared.lock();
            for message in batch {
                state.hear(message);
            }
            drop(state);
            self.shared.news.notify_all();
            next = link.from.ready();
        }
        Ok(())
    }

    /// Prints a message from the hub, if it is one for the user.
    fn show(&mut self, message: &ToDriver) {
        match message {
            ToDriver::Output(written) => self.printer.output(written),
            ToDriver::Notice(text) => self.printer.note(text),
            _ => {}
        }
    }
}

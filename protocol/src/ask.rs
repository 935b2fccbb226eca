//! Asking and controlling a hub, as the command line does.

use crate::admin::{Answer, Question};
use crate::driver::{FromDriver, ToDriver, Welcome};
use crate::{Hello, Opening, Purpose};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tryworks_transport::{LinkReceiver, LinkSender};

/// How long a hub may be silent before the client gives up. This is less than the limit for a greeting when dialling,
/// so that the error names the silence.
const SILENCE: Duration = Duration::from_secs(9);

/// Why a hub did not answer. The first line of the text says what happened, the second what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Nothing answers there.
    #[error(
        "the hub of {place} cannot be reached: {why}\n  what to do: is the cluster running? `tryworks cluster list` \
         shows those of this machine, `tryworks cluster start` starts one"
    )]
    Unreachable {
        /// The cluster's directory or connection file.
        place: String,
        /// What the connection reported.
        why: String,
    },
    /// The hub accepts the connection but says nothing.
    #[error(
        "the hub of {place} has said nothing for {} s\n  what to do: try again; if that does not help, look into \
         logs/hub.log in the cluster's directory",
        SILENCE.as_secs()
    )]
    Silent {
        /// The cluster's directory or connection file.
        place: String,
    },
    /// The hub refuses the connection.
    #[error("the hub of {place} refuses: {why}")]
    Refused {
        /// The cluster's directory or connection file.
        place: String,
        /// The hub's own words.
        why: String,
    },
}

/// A connection to a hub, for questions and commands.
#[derive(Debug)]
pub struct Admin {
    place: String,
    to: LinkSender,
    from: LinkReceiver,
    asked: u64,
    // Last, since the ends of the link must be dropped while the runtime exists.
    runtime: Runtime,
}

impl Admin {
    /// Connects to the hub of the cluster with this directory or connection file, and waits for its welcome.
    ///
    /// # Errors
    /// If the hub cannot be reached, says nothing, or refuses.
    pub fn connect(place: &Path) -> Result<Admin, AdminError> {
        let name = place.display().to_string();
        let unreachable = |why: String| AdminError::Unreachable { place: name.clone(), why };
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| unreachable(error.to_string()))?;
        let dial = tryworks_transport::dial_place(place, "drivers.sock");
        let (to, mut from) = runtime.block_on(in_time(&name, async { dial.await.map_err(unreachable) }))?;
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").into(),
            host: crate::host::here(),
            purpose: Purpose::Administer,
        };
        let hello = hello.to_bytes().map_err(|error| unreachable(error.to_string()))?;
        to.send(hello.into()).map_err(|error| unreachable(error.to_string()))?;
        let answer = runtime
            .block_on(in_time(&name, async { from.recv().await.map_err(|error| unreachable(error.to_string())) }))?;
        match crate::opening::<Welcome>(&answer).map_err(|error| unreachable(error.to_string()))? {
            Opening::Welcome(_) => Ok(Admin { place: name, to, from, asked: 0, runtime }),
            Opening::Refused(why) => Err(AdminError::Refused { place: name, why }),
        }
    }

    /// Asks a question and waits for the answer.
    ///
    /// # Errors
    /// If the hub is gone or says nothing.
    pub fn ask(&mut self, question: Question) -> Result<Answer, AdminError> {
        let Admin { place, to, from, asked, runtime } = self;
        let unreachable = |why: String| AdminError::Unreachable { place: place.clone(), why };
        *asked += 1;
        let message = crate::encode(&[FromDriver::Ask { number: *asked, question }])
            .map_err(|error| unreachable(error.to_string()))?;
        to.send(message.into()).map_err(|error| unreachable(error.to_string()))?;
        runtime.block_on(async {
            loop {
                let message =
                    in_time(place, async { from.recv().await.map_err(|error| unreachable(error.to_string())) }).await?;
                let batch = crate::decode::<ToDriver>(&message).map_err(|error| unreachable(error.to_string()))?;
                let ours = batch.into_iter().find_map(|message| match message {
                    ToDriver::Answer { number, answer } if number == *asked => Some(*answer),
                    _ => None,
                });
                if let Some(answer) = ours {
                    return Ok(answer);
                }
            }
        })
    }
}

async fn in_time<T>(place: &str, what: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    tokio::time::timeout(SILENCE, what).await.unwrap_or_else(|_| Err(AdminError::Silent { place: place.into() }))
}

//! The first message of a gateway. In TLS 1.3 the client is done before the server has checked its certificate. So the
//! client waits for this message to know that it was accepted.

use crate::error::LinkError;
use crate::frame::{FrameError, FrameReader, write_frame};
use crate::role::Role;
use crate::tls::{DIAL_TIME, tls_failed};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

const WELCOME: &[u8] = b"tryworks messages 1";
const REFUSED: &[u8] = b"refused: ";

/// The most bytes that a greeting may have.
const MAX_GREETING: usize = 1 << 10;

/// Tells the client that it may send messages.
///
/// # Errors
/// If the connection fails.
pub async fn welcome<W: AsyncWrite + Unpin>(to: &mut W) -> io::Result<()> {
    write_frame(to, &[WELCOME]).await?;
    to.flush().await
}

/// Tells the client why it may send none, and ends the connection.
///
/// # Errors
/// If the connection fails.
pub async fn refuse<W: AsyncWrite + Unpin>(to: &mut W, why: &str) -> io::Result<()> {
    let why = why.as_bytes();
    write_frame(to, &[REFUSED, &why[..why.len().min(MAX_GREETING - REFUSED.len())]]).await?;
    to.flush().await?;
    to.shutdown().await
}

/// Waits for the hub's greeting; if the hub refuses, returns the reason.
pub(crate) async fn greeted<R: AsyncRead + Unpin>(from: &mut FrameReader<R>, address: &str) -> Result<(), LinkError> {
    let failed = |message: String| Err(LinkError::dial(address, Role::Hub, message));
    match tokio::time::timeout(DIAL_TIME, from.next(MAX_GREETING)).await {
        Err(_) => failed(format!("it did not greet within {DIAL_TIME:?}")),
        Ok(Err(FrameError::Io { kind: io::ErrorKind::InvalidData, message })) => {
            Err(LinkError::distrust(address, Role::Hub, tls_failed(&message)))
        }
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(None)) => failed("it closed the connection".into()),
        Ok(Ok(Some(greeting))) if greeting == WELCOME => Ok(()),
        Ok(Ok(Some(greeting))) => match greeting.strip_prefix(REFUSED) {
            Some(why) => failed(String::from_utf8_lossy(why).into_owned()),
            None => failed("it does not speak our protocol; are both of the same version?".into()),
        },
    }
}

/// The text of a failure. TLS reports problems with certificates, which come from connection files.
pub(crate) fn why(error: &FrameError) -> String {
    match error {
        FrameError::Io { kind: io::ErrorKind::InvalidData, message } => tls_failed(message),
        other => other.to_string(),
    }
}

//! A file of the driver's, as all processes describe it.

use serde::{Deserialize, Serialize};

/// A file of the driver's that tasks on other machines can get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The machine that has the file: tasks there read the file itself.
    pub host: String,
    /// The hash of its bytes.
    pub id: [u8; 32],
    /// How many bytes it has.
    pub bytes: u64,
}

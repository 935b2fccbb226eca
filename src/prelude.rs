//! The names that nearly every program uses: `use tryworks::prelude::*;`.

pub use crate::{Context, Error, Result};
pub use tryworks_base::UserError;
pub use tryworks_core::data::Data;
pub use tryworks_core::pipe::Pipe;
pub use tryworks_core::row::{Key, Row};
pub use tryworks_core::{Dataset, Emitter, Job, Record, StorageLevel, Str, Total, total};
pub use tryworks_io::Sources;
pub use tryworks_io::records::records;
pub use tryworks_io::text::{SaveText, text};

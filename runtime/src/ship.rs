//! Sends stages to another process of the same program, and refuses stages of another program.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tryworks_base::{Error, Result, codec};
use tryworks_core::ship::{Parcel, Segments};
use tryworks_core::stage::Stage;
use tryworks_core::stage::receive;
use tryworks_store::program::{maps, program_id};

/// Stages as they travel: the hash of their program, then each stage.
#[derive(Serialize, Deserialize)]
struct Sent {
    program: [u8; 32],
    parcels: Vec<Parcel>,
}

/// Encodes stages for another process of this program.
///
/// # Errors
/// If a value in a stage refuses to be encoded, or a stage's code is in a shared library.
pub fn send(stages: &[Arc<dyn Stage>]) -> Result<Vec<u8>> {
    let segments = Segments::from_maps(&maps()?);
    let parcels = stages.iter().map(|stage| {
        let parcel = stage.ship()?;
        parcel.check(&segments)?;
        Ok(parcel)
    });
    let parcels: Vec<Parcel> = parcels.collect::<Result<_>>()?;
    // With what lies around them they are one value for the codec.
    let (bytes, most) = (parcels.iter().map(Parcel::len).sum::<usize>(), codec::DECODE_LIMIT - (1 << 20));
    if bytes > most {
        let needed = format!("the values that one stage captures take {bytes} bytes together");
        let advice = "smaller values, or files that tasks read (`ship_file`)";
        return Err(Error::limit("what a stage captures", most as u64, needed, advice));
    }
    let sent = Sent { program: program_id()?, parcels };
    let mut bytes = Vec::new();
    codec::encode(&sent, &mut bytes)?;
    Ok(bytes)
}

/// Decodes stages that [`send`] encoded in another process of this program.
///
/// # Errors
/// If they come from another program, or are not what was sent.
pub fn open(bytes: &[u8]) -> Result<Vec<Arc<dyn Stage>>> {
    let (sent, _) = codec::decode::<Sent>(bytes)?;
    let own = program_id()?;
    if sent.program != own {
        let hex = |id: [u8; 32]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        return Err(Error::Plan {
            message: format!(
                "the stages were refused: they come from another program\n  driver  {}\n  worker  {}\n  driver and \
                 worker have to be the same executable: was it rebuilt in between?",
                hex(sent.program),
                hex(own)
            ),
            site: tryworks_base::Site::caller(),
        });
    }
    let segments = Segments::from_maps(&maps()?);
    sent.parcels.iter().map(|parcel| receive(parcel, &segments)).collect()
}

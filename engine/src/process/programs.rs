//! Programs: a driver's executable, found or fetched by its hash, so that workers run the very same one.

use super::arrive::{Arrival, Expected};
use crate::protocol::driver::Program;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks_core::{Error, Result, codec};
use tryworks_transport::{DataClient, DataError, Role};

/// Where a program is in a directory of programs.
pub fn place(directory: &Path, id: &[u8; 32]) -> PathBuf {
    directory.join(name_of(id))
}

/// The name that a program has in a directory of programs.
pub fn name_of(id: &[u8; 32]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name for a program that is not whole yet. Several may be getting the same one at once.
fn arriving(directory: &Path, id: &[u8; 32]) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    directory.join(format!("{}.{}.new", name_of(id), COUNT.fetch_add(1, Relaxed)))
}

/// The program that has this name.
pub fn named(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    let id = digits.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (name_of(&id) == name).then_some(id)
}

/// Puts a program that this machine has into `directory`, by a link where that can be: it takes no room, and stays what
/// it is when the program is built again. `driver` is its process.
///
/// # Errors
/// If it is not there, or not what it was.
pub fn link(directory: &Path, program: &Program, driver: u32) -> Result<PathBuf> {
    let place = place(directory, &program.id);
    if place.exists() {
        return Ok(place);
    }
    let failed = |error: &io::Error| Error::storage("getting the program", &program.path, error);
    fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    let new = arriving(directory, &program.id);
    // The driver itself is still what it was, whatever has become of its path.
    let own = PathBuf::from(format!("/proc/{driver}/exe"));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it is not there");
    for (from, linked) in [(Path::new(&program.path), true), (Path::new(&program.path), false), (&own, false)] {
        let _ = fs::remove_file(&new);
        let got = if linked { fs::hard_link(from, &new) } else { fs::copy(from, &new).map(drop) };
        if let Err(error) = got.and_then(|()| check(&new, &program.id)) {
            // A link cannot go to another disk, and the driver is seldom of this process's own: what the copy said counts.
            // That it is another file says more than that it is nowhere else.
            let says_more = from != own && !linked && last.kind() != io::ErrorKind::InvalidData;
            if says_more || error.kind() == io::ErrorKind::InvalidData {
                last = error;
            }
            continue;
        }
        if !linked {
            fs::set_permissions(&new, Permissions::from_mode(0o700)).map_err(|error| failed(&error))?;
        }
        fs::rename(&new, &place).map_err(|error| failed(&error))?;
        return Ok(place);
    }
    let _ = fs::remove_file(&new);
    Err(failed(&last))
}

/// Fetches a program that another machine has from the hub's data port.
pub(super) async fn fetch(
    directory: &Path,
    program: &Program,
    data: Option<&DataClient>,
    address: Option<&str>,
) -> Result<PathBuf> {
    let place = place(directory, &program.id);
    if place.exists() {
        return Ok(place);
    }
    let advice = "can this machine reach the hub? start the cluster with `--listen` and an address that others reach";
    let (Some(data), Some(address)) = (data, address) else {
        return Err(Error::cluster("the driver's program is on another machine, and the hub has no data port", advice));
    };
    let lost = |error: DataError| Error::cluster(error, advice);
    let mut request = Vec::new();
    codec::encode(&program.id, &mut request)?;
    let mut stream = data.get(address, Role::Hub, &request).await.map_err(lost)?;
    let arrival = Arrival::begin(Expected {
        new: arriving(directory, &program.id),
        place: place.clone(),
        mode: 0o700,
        hash: program.id,
        other: ANOTHER,
    });
    while let Some(chunk) = stream.next_chunk().await.map_err(lost)? {
        arrival.write(chunk).await;
    }
    let failed = |error: io::Error| Error::storage("fetching the program", directory, &error);
    arrival.finish().await.map_err(failed)?;
    Ok(place)
}

/// What is said of a file that is not the program of its hash.
const ANOTHER: &str = "its hash is not that of the driver's program: was it built again?";

/// Refuses a file that is not the program of this hash.
fn check(path: &Path, id: &[u8; 32]) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => {
                hasher.update(&chunk[..read]);
            }
        }
    }
    if hasher.finalize().as_bytes() == id {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, ANOTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path, bytes: &[u8]) -> Program {
        Program { id: *blake3::hash(bytes).as_bytes(), path: path.display().to_string(), ..Program::default() }
    }

    #[test]
    fn a_program_is_linked_and_survives_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, b"one").unwrap();
        let programs = dir.path().join("programs");
        let linked = link(&programs, &program(&path, b"one"), 0).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read(&linked).unwrap(), b"one");
        assert_eq!(link(&programs, &program(&path, b"one"), 0).unwrap(), linked, "it is there already");
    }

    #[test]
    fn a_program_of_another_hash_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, b"two").unwrap();
        let programs = dir.path().join("programs");
        let error = link(&programs, &program(&path, b"one"), u32::MAX).unwrap_err().to_string();
        assert!(error.contains("getting the program"), "{error}");
        assert_eq!(fs::read_dir(&programs).unwrap().count(), 0, "nothing is left");
    }
}

//! Which program this process runs: the hash of its executable, and where that is mapped.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;
use tryworks_base::{Error, Result};

/// The blake3 hash of the executable that this process runs: two processes with the same one run the same program.
///
/// It is read from `/proc/self/exe`, which stays the same when the file at the program's path is built again. It is
/// computed on the first call.
///
/// # Errors
/// If `/proc` is not there.
///
/// ```
/// # fn main() -> tryworks_base::Result<()> {
/// assert_eq!(tryworks_store::program::program_id()?, tryworks_store::program::program_id()?);
/// # Ok(())
/// # }
/// ```
pub fn program_id() -> Result<[u8; 32]> {
    static ID: OnceLock<Result<[u8; 32]>> = OnceLock::new();
    ID.get_or_init(|| {
        hash("/proc/self/exe").map_err(|error| Error::storage("hashing the program", "/proc/self/exe", &error))
    })
    .clone()
}

/// Whether this process runs a test harness: an executable that `cargo test` built with the tests of a crate.
///
/// # Errors
/// If `/proc` is not there.
///
/// ```
/// assert!(tryworks_store::program::is_test_harness().is_ok());
/// ```
pub fn is_test_harness() -> Result<bool> {
    // Only the harness of the standard library contains the name of this variable. As one literal it would be in every
    // program that contains this code.
    let mark = ["RUST_TEST", "SHUFFLE", "SEED"].join("_");
    let failed = |error: std::io::Error| Error::storage("looking into the program", "/proc/self/exe", &error);
    let mut file = File::open("/proc/self/exe").map_err(failed)?;
    let mut chunk = vec![0; 256 * 1024];
    let mut kept = 0;
    loop {
        let read = match file.read(&mut chunk[kept..]) {
            Ok(0) => return Ok(false),
            Ok(read) => kept + read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if memchr::memmem::find(&chunk[..read], mark.as_bytes()).is_some() {
            return Ok(true);
        }
        // The mark may lie across two chunks.
        kept = read.min(mark.len() - 1);
        chunk.copy_within(read - kept..read, 0);
    }
}

/// The blake3 hash of a file.
///
/// # Errors
/// If it cannot be read.
pub fn hash(path: impl AsRef<Path>) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(read) => drop(hasher.update(&chunk[..read])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What this process has mapped where: the text of `/proc/self/maps`.
///
/// # Errors
/// If `/proc` is not there.
///
/// ```
/// assert!(tryworks_store::program::maps().unwrap().contains("r--p"));
/// ```
pub fn maps() -> Result<String> {
    fs::read_to_string("/proc/self/maps")
        .map_err(|error| Error::storage("reading what is mapped", "/proc/self/maps", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_is_a_test_harness() {
        assert!(is_test_harness().unwrap());
    }

    #[test]
    fn the_id_is_the_hash_of_the_file() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(program_id().unwrap(), *blake3::hash(&bytes).as_bytes());
    }
}

//! Programs: drivers' executables, copied or fetched by their hashes, so that workers run exactly the bytes that were
//! hashed.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tryworks_base::private::private_dir;
use tryworks_base::{Error, Result, disk};

/// How much is read and hashed at once.
const CHUNK: usize = 1 << 20;

/// The file name of a program in a directory of programs.
pub fn name_of(id: &[u8; 32]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The program with this file name.
pub fn named(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    let id = digits.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (name_of(&id) == name).then_some(id)
}

/// How long a process that needs a program waits for others that are copying or hashing one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks again in that time.
const PAUSE: Duration = Duration::from_millis(2);

/// Creates a directory of programs, which only this user may enter, or checks the existing one.
///
/// # Errors
/// If it belongs to another user, others can enter it, or the file system refuses.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    private_dir(directory).map(drop).map_err(io::Error::other)
}

/// A directory of programs that only this user may write. Each program is a copy, under the name of its hash: a link to
/// the driver's file would change with it. Beside it lies its seal, by which the hashed file is recognised. So engines
/// that share a directory copy and hash a program only once.
pub struct Programs {
    directory: PathBuf,
    patience: Duration,
}

/// By which a file is recognised: device, number, length, and the times of its last write and change. Every write to a
/// file gives it another time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let number = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
        let [device, inode, size] = number;
        Stamp([device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

impl Programs {
    /// The programs in this directory, which need not exist yet.
    pub fn new(directory: PathBuf) -> Self {
        Programs { directory, patience: PATIENCE }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where this program is, or will be.
    pub fn place(&self, id: &[u8; 32]) -> PathBuf {
        self.directory.join(name_of(id))
    }

    /// Removes a program and its seal, if they exist.
    pub fn remove(&self, id: &[u8; 32]) {
        // A file that stays is checked again before it is run.
        let _ = fs::remove_file(self.seal(id));
        let _ = fs::remove_file(self.place(id));
    }

    /// Where a program's seal is.
    fn seal(&self, id: &[u8; 32]) -> PathBuf {
        self.directory.join(format!("{}.seal", name_of(id)))
    }

    /// A program whose file is the one that was hashed last.
    fn sealed(&self, id: &[u8; 32]) -> Option<PathBuf> {
        let place = self.place(id);
        let stamp = Stamp::of(&fs::metadata(&place).ok()?);
        (fs::read(self.seal(id)).ok()? == stamp.bytes()).then_some(place)
    }

    /// A program that is in the directory. If its bytes do not have the hash of its name, it is deleted.
    fn here(&self, id: &[u8; 32]) -> io::Result<Option<PathBuf>> {
        let place = self.place(id);
        let mut file = match File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = Stamp::of(&file.metadata()?);
        let mut hasher = blake3::Hasher::new();
        pour(&mut file, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        if hasher.finalize().as_bytes() == id && Stamp::of(&file.metadata()?) == stamp {
            self.remember(id, stamp);
            return Ok(Some(place));
        }
        tracing::warn!(
            "{} does not have the hash in its name, and is deleted: did another program change it?",
            place.display()
        );
        let _ = fs::remove_file(self.seal(id));
        fs::remove_file(&place)?;
        Ok(None)
    }

    /// Copies the program with the hash `id` and this many bytes from `path` on this machine. No other process writes
    /// to the copy: it stays the same when the program is built again, or overwritten in place. `driver` is the
    /// program's process, if it is known.
    ///
    /// # Errors
    /// If the file does not exist, or has changed.
    pub fn take(&self, id: &[u8; 32], bytes: u64, path: &Path, driver: Option<u32>) -> Result<PathBuf> {
        let failed = |error: io::Error| match disk::is_full(&error) {
            // The disk of the copy is full.
            true => disk::storage("copying the program", &self.directory, bytes, &error),
            false => Error::storage("getting the program", path, &error),
        };
        make_directory(&self.directory).map_err(failed)?;
        let turn = File::open(&self.directory).map_err(failed)?;
        let until = Instant::now() + self.patience;
        loop {
            if let Some(place) = self.sealed(id) {
                return Ok(place);
            }
            // A stopped process that has the lock must not delay others for ever, nor must a file system without locks.
            // To do the work twice does no harm: the result is the same.
            match turn.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                _ => break,
            }
        }
        if let Some(place) = self.here(id).map_err(failed)? {
            return Ok(place);
        }
        self.copy(id, path).or_else(|error| {
            // The driver's own executable is still the same, whatever has become of its path.
            let own = driver.map(|driver| self.copy(id, Path::new(&format!("/proc/{driver}/exe"))));
            own.and_then(io::Result::ok).ok_or_else(|| failed(error))
        })
    }

    /// A name for a program that is not complete yet. Several processes may be copying the same one at once.
    pub fn unfinished(&self, id: &[u8; 32]) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        self.directory.join(format!("{}.{process}.{number}.new", name_of(id)))
    }

    fn copy(&self, id: &[u8; 32], from: &Path) -> io::Result<PathBuf> {
        let (new, place) = (self.unfinished(id), self.place(id));
        let copied = copy(from, &new).and_then(|hash| match hash == *id {
            true => fs::rename(&new, &place),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, ANOTHER)),
        });
        copied.inspect_err(|_| drop(fs::remove_file(&new)))?;
        self.arrived(id)?;
        Ok(place)
    }

    /// A program that was hashed while it arrived has been put in its place.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn arrived(&self, id: &[u8; 32]) -> io::Result<()> {
        self.remember(id, Stamp::of(&fs::metadata(self.place(id))?));
        Ok(())
    }

    /// Records that this file was hashed. If that cannot be written, the file will be hashed again.
    fn remember(&self, id: &[u8; 32], stamp: Stamp) {
        let seal = self.seal(id);
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&seal);
        if let Err(error) = open.and_then(|mut file| file.write_all(&stamp.bytes())) {
            tracing::warn!("{} could not be written: {error}", seal.display());
        }
    }
}

/// Describes a file whose hash is not that of the program.
pub const ANOTHER: &str = "its hash is not that of the driver's program: was it built again?";

/// Copies a file, and returns the hash of the copy. Where the file system can, the two share their disk blocks until
/// one of them is written to. The copy is closed then: a file that is open for writing cannot be run.
fn copy(from: &Path, to: &Path) -> io::Result<blake3::Hash> {
    let mut from = File::open(from)?;
    let mut to = File::options().read(true).write(true).create_new(true).mode(0o500).open(to)?;
    let mut hasher = blake3::Hasher::new();
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        // The bytes of the copy are what counts.
        pour(&mut to, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
    } else {
        pour(&mut from, |bytes| {
            hasher.update(bytes);
            to.write_all(bytes)
        })?;
    }
    Ok(hasher.finalize())
}

/// Reads all of a file.
fn pour(from: &mut File, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => to(&chunk[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn id(bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(bytes).as_bytes()
    }

    /// A directory with this program in it, and the programs beside it.
    fn with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, Programs) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, bytes).unwrap();
        let programs = Programs::new(dir.path().join("programs"));
        (dir, path, programs)
    }

    #[test]
    fn a_program_is_a_copy_that_survives_whatever_becomes_of_its_path() {
        let (_dir, path, programs) = with(b"one");
        let one = id(b"one");
        let taken = programs.take(&one, 3, &path, None).unwrap();
        // Overwritten in place: the same file now has other bytes.
        fs::write(&path, b"two").unwrap();
        assert_eq!(programs.take(&one, 3, &path, None).unwrap(), taken, "it is there already");
        assert_eq!(fs::read(&taken).unwrap(), b"one");
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read(programs.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&taken), mode(taken.parent().unwrap())), (0o500, 0o700));
        assert_eq!(fs::metadata(&taken).unwrap().nlink(), 1);
    }

    #[test]
    fn a_program_that_was_changed_in_the_store_is_replaced() {
        let (_dir, path, programs) = with(b"one");
        let one = id(b"one");
        let taken = programs.take(&one, 3, &path, None).unwrap();
        let spoil = |bytes: &[u8]| {
            fs::set_permissions(&taken, Permissions::from_mode(0o700)).unwrap();
            fs::write(&taken, bytes).unwrap();
        };
        // With the same length: for a store that has hashed it, and for one that finds it there.
        spoil(b"two");
        assert_eq!(fs::read(programs.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        spoil(b"on");
        let next = Programs::new(programs.directory.clone());
        assert_eq!(fs::read(next.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        // If the program cannot be had again, there is an error.
        spoil(b"two");
        fs::remove_file(&path).unwrap();
        let error = next.take(&one, 3, &path, None).unwrap_err().to_string();
        assert!(error.contains("getting the program") && error.contains("No such file"), "{error}");
        assert_eq!(fs::read_dir(&next.directory).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_program_of_another_hash_is_refused() {
        let (_dir, path, programs) = with(b"two");
        let error = programs.take(&id(b"one"), 3, &path, Some(u32::MAX)).unwrap_err().to_string();
        assert!(error.contains("getting the program") && error.contains("its hash is not"), "{error}");
        assert_eq!(fs::read_dir(&programs.directory).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_driver_whose_path_has_another_program_by_now_is_copied_from_its_process() {
        let (_dir, path, programs) = with(b"built again");
        let own = fs::read("/proc/self/exe").unwrap();
        let taken = programs.take(&id(&own), 3, &path, Some(std::process::id())).unwrap();
        assert!(fs::read(taken).unwrap() == own);
    }

    #[test]
    fn many_take_one_program_at_once() {
        let (_dir, path, programs) = with(&vec![7; 3 * CHUNK + 5]);
        let id = id(&vec![7; 3 * CHUNK + 5]);
        std::thread::scope(|scope| {
            let taken: Vec<_> = (0..8).map(|_| scope.spawn(|| programs.take(&id, 3, &path, None).unwrap())).collect();
            taken.into_iter().for_each(|taken| drop(taken.join().unwrap()));
        });
        assert_eq!(fs::read_dir(&programs.directory).unwrap().count(), 2, "it and its seal");
        assert_eq!(blake3::hash(&fs::read(programs.place(&id)).unwrap()).as_bytes(), &id);
        programs.remove(&id);
        assert_eq!(fs::read_dir(&programs.directory).unwrap().count(), 0, "nothing of it is left");
    }

    #[test]
    fn engines_that_share_a_directory_copy_and_hash_a_program_once() {
        let (_dir, path, programs) = with(b"one");
        let one = id(b"one");
        let taken = programs.take(&one, 3, &path, None).unwrap();
        let inode = fs::metadata(&taken).unwrap().ino();
        let other = Programs::new(programs.directory.clone());
        assert_eq!(fs::metadata(other.take(&one, 3, &path, None).unwrap()).unwrap().ino(), inode);
        // A sealed file is trusted: hashing would detect the change.
        fs::set_permissions(&taken, Permissions::from_mode(0o700)).unwrap();
        fs::write(&taken, b"two").unwrap();
        programs.remember(&one, Stamp::of(&fs::metadata(&taken).unwrap()));
        assert_eq!(fs::read(other.take(&one, 3, &path, None).unwrap()).unwrap(), b"two");
        // A damaged seal does not count.
        fs::write(programs.seal(&one), b"").unwrap();
        assert_eq!(fs::read(other.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
    }

    #[test]
    fn waiting_for_another_process_has_an_end() {
        let (_dir, path, mut programs) = with(b"one");
        let one = id(b"one");
        make_directory(&programs.directory).unwrap();
        let stopped = File::open(&programs.directory).unwrap();
        stopped.lock().unwrap();
        // By a process that has the lock for another program, only until this one exists.
        programs.patience = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| programs.take(&one, 3, &path, None).unwrap());
            let copied = programs.copy(&one, &path).unwrap();
            assert_eq!(waiting.join().unwrap(), copied);
        });
        fs::remove_file(programs.place(&one)).unwrap();
        programs.patience = Duration::from_millis(10);
        assert_eq!(fs::read(programs.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        drop(stopped);
    }

    #[test]
    fn a_directory_that_others_can_enter_is_not_used() {
        let (_dir, path, programs) = with(b"one");
        make_directory(&programs.directory).unwrap();
        fs::set_permissions(&programs.directory, Permissions::from_mode(0o755)).unwrap();
        let error = programs.take(&id(b"one"), 3, &path, None).unwrap_err().to_string();
        assert!(error.contains("others can enter it"), "{error}");
    }
}

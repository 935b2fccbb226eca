//! Programs: a driver's executable, copied or fetched by its hash, so that workers run the very bytes that were hashed.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tryworks_base::private::private_dir;
use tryworks_base::{Error, Result, disk};

/// What is read and hashed at once.
const CHUNK: usize = 1 << 20;

/// The name that a program has in a directory of programs.
pub fn name_of(id: &[u8; 32]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The program that has this name.
pub fn named(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    let id = digits.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (name_of(&id) == name).then_some(id)
}

/// How long who needs a program waits for others that are copying or hashing one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes a directory of programs, which only this user may enter, or checks the one that is there.
///
/// # Errors
/// If it is somebody else's, others can enter it, or the file system refuses.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    private_dir(directory).map(drop).map_err(io::Error::other)
}

/// A directory of programs that only this user may write. Each is a copy of its own, under the name of its hash: a link to the
/// driver's file would change with it. Beside it lies its seal: by what the file is known again that was hashed. So engines
/// that share a directory copy and hash a program once.
pub struct Programs {
    directory: PathBuf,
    patience: Duration,
}

/// By what a file is known again: device, number, length, and the times of its last write and change. Whatever writes to a
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
    /// The programs in this directory, which need not be there yet.
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

    /// Removes a program, if it is there, with its seal.
    pub fn remove(&self, id: &[u8; 32]) {
        // What stays is looked at again before it is run.
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

    /// A program that is here already. One whose bytes are others than its name says is deleted.
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
        tracing::warn!("{} is not what its name says, and is deleted: who has changed it?", place.display());
        let _ = fs::remove_file(self.seal(id));
        fs::remove_file(&place)?;
        Ok(None)
    }

    /// The program of hash `id` and this many bytes that this machine has at `path`, as a copy that nobody else writes to:
    /// it stays what it is when the program is built again, or written over in place. `driver` is its process, if that is known.
    ///
    /// # Errors
    /// If it is not there, or not what it was.
    pub fn take(&self, id: &[u8; 32], bytes: u64, path: &Path, driver: Option<u32>) -> Result<PathBuf> {
        let failed = |error: io::Error| match disk::is_full(&error) {
            // It is the copy that has no room.
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
            // One that was stopped meanwhile holds nobody up for ever, nor does a file system that knows no locks: what is
            // done twice is the same.
            match turn.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                _ => break,
            }
        }
        if let Some(place) = self.here(id).map_err(failed)? {
            return Ok(place);
        }
        self.copy(id, path).or_else(|error| {
            // The driver itself is still what it was, whatever has become of its path.
            let own = driver.map(|driver| self.copy(id, Path::new(&format!("/proc/{driver}/exe"))));
            own.and_then(io::Result::ok).ok_or_else(|| failed(error))
        })
    }

    /// A name for a program that is not whole yet. Several may be getting the same one at once.
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

    /// A program that came whole, and was hashed while it came, is at its place.
    ///
    /// # Errors
    /// If it is not there.
    pub fn arrived(&self, id: &[u8; 32]) -> io::Result<()> {
        self.remember(id, Stamp::of(&fs::metadata(self.place(id))?));
        Ok(())
    }

    /// This file was hashed. Where that cannot be written down, it will be hashed again.
    fn remember(&self, id: &[u8; 32], stamp: Stamp) {
        let seal = self.seal(id);
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&seal);
        if let Err(error) = open.and_then(|mut file| file.write_all(&stamp.bytes())) {
            tracing::warn!("{} could not be written: {error}", seal.display());
        }
    }
}

/// What is said of a file that is not the program of its hash.
pub const ANOTHER: &str = "its hash is not that of the driver's program: was it built again?";

/// Copies a file, and gives the hash of the copy. Where the file system can, the two share their blocks until one of them is
/// written to. The copy is closed then: what is open for writing cannot be run.
fn copy(from: &Path, to: &Path) -> io::Result<blake3::Hash> {
    let mut from = File::open(from)?;
    let mut to = File::options().read(true).write(true).create_new(true).mode(0o500).open(to)?;
    let mut hasher = blake3::Hasher::new();
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        // What counts is what the copy has.
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
        // Written over in place: the same file has other bytes now.
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
    fn what_was_changed_in_the_store_is_not_run() {
        let (_dir, path, programs) = with(b"one");
        let one = id(b"one");
        let taken = programs.take(&one, 3, &path, None).unwrap();
        let spoil = |bytes: &[u8]| {
            fs::set_permissions(&taken, Permissions::from_mode(0o700)).unwrap();
            fs::write(&taken, bytes).unwrap();
        };
        // Of the same length, to one that has hashed it, and to one that finds it there.
        spoil(b"two");
        assert_eq!(fs::read(programs.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        spoil(b"on");
        let next = Programs::new(programs.directory.clone());
        assert_eq!(fs::read(next.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
        // And where it cannot be had again, that is told.
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
        // What is sealed is believed: if this were hashed, it would be found out.
        fs::set_permissions(&taken, Permissions::from_mode(0o700)).unwrap();
        fs::write(&taken, b"two").unwrap();
        programs.remember(&one, Stamp::of(&fs::metadata(&taken).unwrap()));
        assert_eq!(fs::read(other.take(&one, 3, &path, None).unwrap()).unwrap(), b"two");
        // A seal that is damaged seals nothing.
        fs::write(programs.seal(&one), b"").unwrap();
        assert_eq!(fs::read(other.take(&one, 3, &path, None).unwrap()).unwrap(), b"one");
    }

    #[test]
    fn who_waits_for_another_is_not_held_up_for_ever() {
        let (_dir, path, mut programs) = with(b"one");
        let one = id(b"one");
        make_directory(&programs.directory).unwrap();
        let stopped = File::open(&programs.directory).unwrap();
        stopped.lock().unwrap();
        // By one that has it for another program, only until this one is there.
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

//! Checkpoints in a job's scratch folder: written whole or not at all, verified when read.
//!
//! A checkpoint's file name holds the steps done and the digest of its bytes. A torn or damaged one no longer fits its name
//! and is passed over for the one before, so the newest two are kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ablate_stage::cache::Digest;
use ablate_stage::{BadArtifact, StageError, Tensors};

/// Wall time between checkpoints within an epoch, and least time before one at its end: short epochs would spend more time on
/// writing than on training. A kill loses about this much work; bits do not depend on it.
const WITHIN_EPOCH: Duration = Duration::from_secs(10);
const AT_EPOCH_END: Duration = Duration::from_secs(1);
const KEPT: usize = 2;

/// The checkpoints of one action.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    written: Instant,
}

impl Checkpoints {
    /// Those in `folder`, which exists.
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), written: Instant::now() }
    }

    /// What `load` makes of the newest whole checkpoint it accepts; `None` where there is none. Whatever cannot be used is
    /// removed: scratch folders belong to one action, so it is damage and not somebody else's.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn newest<T>(
        &self,
        mut load: impl FnMut(&Tensors) -> Result<T, BadArtifact>,
    ) -> Result<Option<T>, StageError> {
        for path in self.newest_first()? {
            if is_whole(&path)
                && let Ok(state) = Tensors::read(&path).and_then(|tensors| load(&tensors))
            {
                return Ok(Some(state));
            }
            fs::remove_file(&path).map_err(StageError::io(&path))?;
        }
        Ok(None)
    }

    /// Whether the last one is long enough ago.
    pub fn due(&self, epoch_ends: bool) -> bool {
        self.written.elapsed() >= if epoch_ends { AT_EPOCH_END } else { WITHIN_EPOCH }
    }

    /// Writes the state after `steps` steps.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&mut self, steps: u64, state: &Tensors) -> Result<(), StageError> {
        let unnamed = self.folder.join("writing");
        state.write(&unnamed)?;
        let digest =
            sync(&unnamed).and_then(|()| Digest::of_file(&unnamed)).map_err(StageError::io(&unnamed))?;
        let path = self.folder.join(format!("{steps:012}-{}.safetensors", digest.to_hex()));
        fs::rename(&unnamed, &path).map_err(StageError::io(&path))?;
        sync(&self.folder).map_err(StageError::io(&self.folder))?;
        for old in self.newest_first()?.into_iter().skip(KEPT) {
            fs::remove_file(&old).map_err(StageError::io(&old))?;
        }
        self.written = Instant::now();
        Ok(())
    }

    fn newest_first(&self) -> Result<Vec<PathBuf>, StageError> {
        let entries = fs::read_dir(&self.folder).map_err(StageError::io(&self.folder))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<_> = paths.collect::<io::Result<_>>().map_err(StageError::io(&self.folder))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        paths.sort_unstable_by(|a, b| b.cmp(a));
        Ok(paths)
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn is_whole(path: &Path) -> bool {
    let named = path.file_stem().and_then(|stem| stem.to_str()?.split_once('-')?.1.parse::<Digest>().ok());
    named.is_some_and(|named| Digest::of_file(path).is_ok_and(|found| found == named))
}

#[cfg(test)]
mod tests {
    use ablate_stage::TensorData;

    use super::*;

    fn state(value: f32) -> Tensors {
        Tensors::new().with("x", &[1], TensorData::F32(vec![value]))
    }

    fn newest(checkpoints: &Checkpoints) -> Option<f32> {
        checkpoints.newest(|tensors| Ok(tensors.f32("x")?[0])).unwrap()
    }

    #[test]
    fn the_newest_whole_one_counts_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(dir.path());
        assert_eq!(newest(&checkpoints), None);
        for steps in 1..=4 {
            checkpoints.save(steps, &state(steps as f32)).unwrap();
        }
        assert_eq!(checkpoints.newest_first().unwrap().len(), 2);
        assert_eq!(newest(&checkpoints), Some(4.0));
    }

    #[test]
    fn damage_falls_back_to_the_one_before_and_then_to_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(dir.path());
        checkpoints.save(1, &state(1.0)).unwrap();
        checkpoints.save(2, &state(2.0)).unwrap();
        let [second, first] = <[PathBuf; 2]>::try_from(checkpoints.newest_first().unwrap()).unwrap();
        let mut bytes = fs::read(&second).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&second, &bytes).unwrap();
        assert_eq!(newest(&checkpoints), Some(1.0));
        let bytes = fs::read(&first).unwrap();
        fs::write(&first, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(newest(&checkpoints), None);
        assert_eq!(checkpoints.newest_first().unwrap(), [] as [PathBuf; 0], "what cannot be used is gone");
    }

    #[test]
    fn a_half_written_one_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("writing"), b"half").unwrap();
        assert_eq!(newest(&Checkpoints::open(dir.path())), None);
    }
}

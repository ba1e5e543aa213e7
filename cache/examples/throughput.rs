//! How fast files are hashed, cached and verified, beside `b3sum`, with the files in the page cache:
//! one of 1 GiB, and 10,000 of 10 KiB.
//!
//! ```sh
//! cargo install b3sum
//! cargo run --release -p ablate-cache --example throughput -- "$(which b3sum)" FOLDER
//! ```
//!
//! FOLDER is made, needs 3 GiB, and is removed. Each time is the best of five rounds in which all take turns, so that
//! a noisy machine is as noisy to one as to another; with fsync there is one round, as it can take minutes. What b3sum
//! takes to start is part of its time. Hashing and caching go file by file, verifying goes on all cores.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ablate_cache::{Digest, Durability, OnDamage, Store};

const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [b3sum, folder] = arguments.as_slice() else {
        eprintln!("usage: throughput B3SUM FOLDER");
        return ExitCode::from(2);
    };
    let folder = PathBuf::from(folder);
    let outcome = measure(b3sum, &folder).and_then(|()| Ok(fs::remove_dir_all(&folder)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(b3sum: &str, folder: &Path) -> Outcome<()> {
    fs::create_dir(folder)?;
    for (label, count, size) in
        [("1 file of 1 GiB", 1, 1 << 30), ("10,000 files of 10 KiB", 10_000, 10 << 10)]
    {
        let files = write_files(&folder.join("files"), count, size)?;
        println!("{label}");
        let bytes = (count * size) as f64;
        let mut best = [Duration::MAX; 5];
        for round in 0..ROUNDS {
            let times = measure_round(b3sum, folder, &files, round == 0)?;
            for (best, time) in best.iter_mut().zip(times) {
                *best = time.min(*best);
            }
        }
        let names = ["b3sum", "hash", "verify", "cache, no fsync", "cache, fsync"];
        for (name, time) in names.iter().zip(best) {
            let (seconds, ratio) = (time.as_secs_f64(), best[0].as_secs_f64() / time.as_secs_f64());
            println!("  {name:16} {seconds:8.3} s {:7.2} GB/s  {ratio:5.2}× b3sum", bytes / seconds / 1e9);
        }
        fs::remove_dir_all(folder.join("files"))?;
    }
    Ok(())
}

/// The times of b3sum, of hashing, of verifying a store of these files, and of inserting them without and, in the first
/// round, with waiting for the disk.
fn measure_round(b3sum: &str, folder: &Path, files: &[PathBuf], first: bool) -> Outcome<[Duration; 5]> {
    let began = Instant::now();
    let output = Command::new(b3sum).arg("--no-names").args(files).output()?;
    let theirs = began.elapsed();
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()).into());
    }

    let began = Instant::now();
    let digests = files.iter().map(|path| Digest::of_file(path)).collect::<io::Result<Vec<_>>>()?;
    let hashing = began.elapsed();
    if first {
        let printed: Vec<String> = digests.iter().map(Digest::to_hex).collect();
        assert_eq!(String::from_utf8(output.stdout)?.lines().collect::<Vec<_>>(), printed);
    }

    let root = folder.join("store");
    let mut caching = [Duration::MAX; 2];
    let mut verifying = Duration::MAX;
    let durabilities = [Durability::None, Durability::Sync].into_iter().take(if first { 2 } else { 1 });
    for (time, durability) in caching.iter_mut().zip(durabilities) {
        let store = Store::open(&root)?.with_durability(durability);
        let copies = copy_files(files, &folder.join("copies"))?;
        let began = Instant::now();
        for path in &copies {
            store.insert_file(path)?;
        }
        *time = began.elapsed();
        let began = Instant::now();
        assert!(store.verify(OnDamage::Report, &|_| {})?.is_empty());
        verifying = verifying.min(began.elapsed());
        fs::remove_dir_all(&root)?;
        fs::remove_dir_all(folder.join("copies"))?;
    }

    Ok([theirs, hashing, verifying, caching[0], caching[1]])
}

/// Files of bytes that no two share.
fn write_files(folder: &Path, count: usize, size: usize) -> io::Result<Vec<PathBuf>> {
    fs::create_dir(folder)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; size.min(1 << 20)];
    let mut paths = Vec::with_capacity(count);
    for index in 0..count {
        let path = folder.join(index.to_string());
        let mut file = File::create(&path)?;
        for _ in 0..size / piece.len() {
            for word in piece.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&piece)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn copy_files(files: &[PathBuf], folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir(folder)?;
    let copy = |path: &PathBuf| {
        let copy = folder.join(path.file_name().expect("a file has a name"));
        fs::copy(path, &copy).map(|_| copy)
    };
    files.iter().map(copy).collect()
}

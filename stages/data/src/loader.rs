//! Batches of views, made ahead on threads of their own.
//!
//! What is in a batch depends on the seed, the epoch and the step, never on the threads: see [`crate::random`]. A run
//! that goes on from a step gets the batches an unbroken run would have got from there.

use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use thiserror::Error;

use crate::augment::Augmentation;
use crate::random::{Draws, Key, permutation};
use crate::{ChannelStats, ImageError, ImageSet};

/// Batches each thread makes ahead.
const AHEAD: usize = 2;

/// Most memory for batches that nobody has taken yet; there are fewer threads where batches are larger. The ImageNet crops of
/// a batch of 256, in two views, are 300 MB.
const MAX_AHEAD_BYTES: usize = 2 << 30;

/// What batches are made of.
#[derive(Clone, Debug)]
pub struct Loading {
    /// The images.
    pub set: Arc<ImageSet>,
    /// The rows of `set` an epoch goes through.
    pub rows: Vec<u32>,
    /// Rows in a batch.
    pub batch: usize,
    /// Whether an epoch ends before a batch that would be smaller than the others.
    pub drop_last: bool,
    /// Whether each epoch has an order of its own; otherwise every one has that of `rows`.
    pub shuffle: bool,
    /// The views of each image in a batch.
    pub views: Vec<Augmentation>,
    /// What the views are normalised by.
    pub stats: ChannelStats,
    /// The seed of orders and views.
    pub seed: u64,
}

/// Images and settings that give no batches.
#[derive(Debug, Error)]
pub enum LoaderError {
    /// There would be no step in an epoch.
    #[error("{rows} images make no batch of {batch}{}", if *.drop_last { " (an incomplete one is dropped)" } else { "" })]
    NoStep {
        /// Rows an epoch goes through.
        rows: usize,
        /// Rows in a batch.
        batch: usize,
        /// Whether incomplete batches are dropped.
        drop_last: bool,
    },
    /// A row is not in the data set.
    #[error("row {row} of a data set of {len} images")]
    NoRow {
        /// The row.
        row: u32,
        /// Images in the set.
        len: usize,
    },
    /// The statistics are for another number of channels.
    #[error("the images have {images} channels, the statistics {stats}")]
    Channels {
        /// Of the images.
        images: usize,
        /// Of the statistics.
        stats: usize,
    },
    /// A view cannot be made of images of this size.
    #[error("{0}")]
    Size(String),
    /// The lists of neighbours are not of so many for every row.
    #[error("{found} neighbours are listed for {rows} rows of {each}")]
    Lists {
        /// Neighbours listed.
        found: usize,
        /// Rows of the data set.
        rows: usize,
        /// Neighbours a row should list.
        each: usize,
    },
}

/// Views of neighbours, beside those of the images themselves: one a pick, after the others in a batch.
#[derive(Clone, Debug)]
pub struct NeighbourViews {
    /// The rows that each row of the data set lists, `[N, each]`.
    pub lists: Arc<[u32]>,
    /// Rows listed by each.
    pub each: usize,
    /// Which of them is shown, for each view.
    pub picks: Vec<Pick>,
    /// How it is shown.
    pub augmentation: Augmentation,
}

/// A choice among the rows an image lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one in this place, from 0.
    Listed(usize),
    /// Any, drawn anew for each image and epoch.
    Random,
}

/// Makes batches.
#[derive(Clone, Debug)]
pub struct Loader {
    loading: Arc<Loading>,
    sizes: Vec<(usize, usize)>,
    neighbours: Option<(NeighbourViews, (usize, usize))>,
}

/// Where in a training run a batch belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 0.
    pub epoch: u32,
    /// Within the epoch, from 0.
    pub step: usize,
}

/// Some images, in several views. `B` images, `C` channels, `H`×`W` pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Where it belongs.
    pub position: Position,
    /// The rows of its images in the data set, `[B]`.
    pub rows: Vec<u32>,
    /// Each view of all the images.
    pub views: Vec<BatchView>,
}

/// One view of each image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchView {
    /// `[B, C, H, W]`.
    pub shape: [usize; 4],
    /// The normalised numbers, row-major.
    pub data: Vec<f32>,
}

impl NeighbourViews {
    /// The row shown for `row`.
    fn pick(&self, row: u32, pick: Pick, draws: &mut Draws) -> u32 {
        let place = match pick {
            Pick::Listed(place) => place,
            Pick::Random => draws.below(self.each as u32) as usize,
        };
        self.lists[row as usize * self.each + place]
    }
}

impl BatchView {
    /// The numbers of the image at a place in the batch.
    fn of_mut(&mut self, at: usize) -> &mut [f32] {
        let len = self.shape[1..].iter().product::<usize>();
        &mut self.data[at * len..][..len]
    }
}

impl Loader {
    /// Checks that batches can be made.
    ///
    /// # Errors
    /// [`LoaderError`].
    pub fn new(loading: Loading) -> Result<Self, LoaderError> {
        let Loading { set, rows, batch, drop_last, views, stats, .. } = &loading;
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= set.len()) {
            return Err(LoaderError::NoRow { row, len: set.len() });
        }
        if stats.mean.len() != set.channels() || stats.std.len() != set.channels() {
            return Err(LoaderError::Channels { images: set.channels(), stats: stats.mean.len() });
        }
        if *batch == 0 || rows.is_empty() || (*drop_last && rows.len() < *batch) {
            return Err(LoaderError::NoStep { rows: rows.len(), batch: *batch, drop_last: *drop_last });
        }
        let extent = set.extent();
        let sizes = views.iter().map(|view| view.output_size(extent));
        let sizes = sizes.collect::<Result<_, _>>().map_err(LoaderError::Size)?;
        Ok(Self { loading: Arc::new(loading), sizes, neighbours: None })
    }

    /// One whose batches have these views too.
    ///
    /// # Errors
    /// Where the lists do not fit the data set, or the view its images.
    ///
    /// # Panics
    /// When a pick is of a place beyond the lists.
    pub fn with_neighbours(&self, neighbours: NeighbourViews) -> Result<Self, LoaderError> {
        let NeighbourViews { lists, each, picks, augmentation } = &neighbours;
        let set = &self.loading.set;
        if lists.len() != set.len() * each {
            return Err(LoaderError::Lists { found: lists.len(), rows: set.len(), each: *each });
        }
        if let Some(&row) = lists.iter().find(|&&row| row as usize >= set.len()) {
            return Err(LoaderError::NoRow { row, len: set.len() });
        }
        let within = |pick: &Pick| match *pick {
            Pick::Listed(place) => place < *each,
            Pick::Random => *each > 0,
        };
        assert!(picks.iter().all(within), "picks {picks:?} of {each} neighbours");
        let size = augmentation.output_size(set.extent()).map_err(LoaderError::Size)?;
        Ok(Self { neighbours: Some((neighbours, size)), ..self.clone() })
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        let Loading { rows, batch, drop_last, .. } = &*self.loading;
        if *drop_last { rows.len() / batch } else { rows.len().div_ceil(*batch) }
    }

    /// The rows of an epoch, in its order.
    fn order(&self, epoch: u32) -> Vec<u32> {
        let Loading { rows, shuffle, seed, .. } = &*self.loading;
        if *shuffle {
            let n = u32::try_from(rows.len()).expect("rows are u32, and so is their count");
            permutation(*seed, epoch, n).into_iter().map(|at| rows[at as usize]).collect()
        } else {
            rows.clone()
        }
    }

    /// The batch at a position, made on this thread; `order` is that of its epoch.
    fn make(&self, position: Position, order: &[u32]) -> Result<Batch, ImageError> {
        let Loading { set, batch, views, stats, seed, .. } = &*self.loading;
        let start = position.step * batch;
        let rows = order[start..order.len().min(start + batch)].to_vec();
        let numbers = |&(height, width): &(usize, usize)| {
            let shape = [rows.len(), set.channels(), height, width];
            BatchView { shape, data: vec![0.0; shape.iter().product()] }
        };
        let mut seen: Vec<BatchView> = self.sizes.iter().map(numbers).collect();
        for (at, &row) in rows.iter().enumerate() {
            let image = set.image(row as usize)?;
            for (view, (augmentation, seen)) in (0..).zip(views.iter().zip(&mut seen)) {
                let key = Key { seed: *seed, epoch: position.epoch, sample: row, view };
                augmentation.apply(&image, &mut key.draws()).normalise_into(stats, seen.of_mut(at));
            }
        }
        if let Some((neighbours, size)) = &self.neighbours {
            for (view, pick) in (views.len() as u32..).zip(&neighbours.picks) {
                let mut shown = numbers(size);
                for (at, &row) in rows.iter().enumerate() {
                    // Keyed by the row that lists the neighbour; the pick is drawn first.
                    let mut draws = Key { seed: *seed, epoch: position.epoch, sample: row, view }.draws();
                    let image = set.image(neighbours.pick(row, *pick, &mut draws) as usize)?;
                    let view = neighbours.augmentation.apply(&image, &mut draws);
                    view.normalise_into(stats, shown.of_mut(at));
                }
                seen.push(shown);
            }
        }
        Ok(Batch { position, rows, views: seen })
    }

    /// The batches from a position on up to the end of the epoch before `epochs`, in order. They are made ahead on
    /// `threads` threads (at least one), which are not those of any pool: a job that computes on all of its pool's
    /// threads while it takes batches cannot hold them up. Large batches are made on fewer, to bound the memory they take.
    pub fn batches(&self, from: Position, epochs: u32, threads: usize) -> Batches {
        let threads = threads.min(self.most_threads(MAX_AHEAD_BYTES)).max(1);
        let steps = self.steps();
        let positions = u64::from(epochs) * steps as u64;
        let first = u64::from(from.epoch) * steps as u64 + from.step as u64;
        let (receivers, workers) = (0..threads)
            .map(|thread| {
                let (sender, receiver) = sync_channel(AHEAD);
                let loader = self.clone();
                let mine = (first + thread as u64..positions).step_by(threads);
                (receiver, thread::spawn(move || loader.send(mine, &sender)))
            })
            .unzip();
        Batches { remaining: positions.saturating_sub(first), next: 0, receivers, workers }
    }

    /// How many threads there may be for their batches, made and being made, to take at most `bytes`.
    fn most_threads(&self, bytes: usize) -> usize {
        let Loading { set, rows, batch, .. } = &*self.loading;
        let neighbours =
            self.neighbours.iter().map(|(views, (height, width))| views.picks.len() * height * width);
        let pixels: usize = self.sizes.iter().map(|(height, width)| height * width).chain(neighbours).sum();
        let of_a_batch = rows.len().min(*batch) * set.channels() * pixels * size_of::<f32>();
        bytes / ((AHEAD + 1) * of_a_batch).max(1)
    }

    /// Makes and sends batches, counted through all epochs, until nobody takes them any more.
    fn send(&self, batches: impl Iterator<Item = u64>, sender: &SyncSender<Result<Batch, ImageError>>) {
        let steps = self.steps() as u64;
        let mut order = (0, self.order(0));
        for batch in batches {
            let position = Position { epoch: (batch / steps) as u32, step: (batch % steps) as usize };
            if order.0 != position.epoch {
                order = (position.epoch, self.order(position.epoch));
            }
            let batch = self.make(position, &order.1);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }
}

/// Batches in order, up to the first that has an image that cannot be read. Dropped early, it stops the threads and waits until
/// they have ended.
#[derive(Debug)]
pub struct Batches {
    remaining: u64,
    /// Thread that has the next batch: they take turns.
    next: usize,
    receivers: Vec<Receiver<Result<Batch, ImageError>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Iterator for Batches {
    type Item = Result<Batch, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let Ok(batch) = self.receivers[self.next].recv() else {
            let worker = self.workers.swap_remove(self.next);
            panic::resume_unwind(
                worker.join().expect_err("a thread ends before its last batch only by a panic"),
            );
        };
        self.next = (self.next + 1) % self.receivers.len();
        self.remaining = if batch.is_ok() { self.remaining - 1 } else { 0 };
        Some(batch)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Without receivers the threads' next send fails.
        self.receivers.clear();
        for worker in self.workers.drain(..) {
            // A thread that panicked has said so itself; dropping is no place to do it again.
            drop(worker.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use ablate_stage::Split;
    use rayon::prelude::*;

    use super::*;
    use crate::{Pixels, Stored, Views};

    fn pixels(bytes: Vec<u8>) -> Stored {
        Stored::Pixels(Pixels { height: 6, width: 5, channels: 3, bytes })
    }

    fn set(n: usize) -> Arc<ImageSet> {
        Arc::new(ImageSet {
            name: "noise".into(),
            classes: vec!["one".into()],
            labels: vec![0; n],
            split: vec![Split::Train; n],
            names: None,
            images: pixels((0..n * 90).map(|at| (at * at / 7 % 256) as u8).collect()),
        })
    }

    fn loading(n: usize) -> Loading {
        let set = set(n);
        Loading {
            rows: (0..n as u32).collect(),
            batch: 4,
            drop_last: true,
            shuffle: true,
            views: Views::default().augmentations(2),
            stats: set.channel_stats(),
            seed: 11,
            set,
        }
    }

    fn all(batches: Batches) -> Vec<Batch> {
        batches.map(Result::unwrap).collect()
    }

    fn loader(n: usize) -> Loader {
        Loader::new(loading(n)).unwrap()
    }

    #[test]
    fn batches_do_not_depend_on_threads_nor_on_where_a_run_goes_on() {
        let loader = loader(19);
        let whole = all(loader.batches(Position::default(), 3, 1));
        assert_eq!(whole.len(), 3 * 4);
        assert_eq!(whole, all(loader.batches(Position::default(), 3, 2)));
        assert_eq!(whole, all(loader.batches(Position::default(), 3, 5)));
        let from = Position { epoch: 1, step: 3 };
        assert_eq!(whole[7..], all(loader.batches(from, 3, 2)));
        assert_eq!(loader.batches(Position { epoch: 3, step: 0 }, 3, 2).count(), 0);
    }

    #[test]
    fn an_epoch_takes_every_row_once_in_an_order_of_its_own() {
        let loader = Loader::new(Loading { drop_last: false, ..loading(10) }).unwrap();
        let batches = all(loader.batches(Position::default(), 2, 2));
        let sizes: Vec<_> = batches.iter().map(|batch| batch.rows.len()).collect();
        assert_eq!(sizes, [4, 4, 2, 4, 4, 2]);
        assert_eq!(batches[2].views[1].shape, [2, 3, 6, 5]);
        let epoch =
            |at: usize| batches[at..at + 3].iter().flat_map(|batch| batch.rows.clone()).collect::<Vec<_>>();
        assert_ne!(epoch(0), epoch(3));
        let mut rows = epoch(3);
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_view_is_that_of_its_seed_epoch_sample_and_view() {
        let loading = loading(8);
        let loader = Loader::new(loading.clone()).unwrap();
        let batch = loader.batches(Position { epoch: 5, step: 1 }, 6, 1).next().unwrap().unwrap();
        let mut expected = vec![0.0; 90];
        let key = Key { seed: 11, epoch: 5, sample: batch.rows[2], view: 1 };
        let image = loading.set.image(batch.rows[2] as usize).unwrap();
        loading.views[1].apply(&image, &mut key.draws()).normalise_into(&loading.stats, &mut expected);
        assert_eq!(batch.views[1].data[180..270], expected);
    }

    #[test]
    fn views_of_neighbours_come_after_the_others_and_are_keyed_by_the_row_that_lists_them() {
        let loading = loading(8);
        // Every row lists itself, and the two after it.
        let lists: Vec<u32> = (0..8).flat_map(|row| [row, (row + 1) % 8, (row + 2) % 8]).collect();
        let neighbours = NeighbourViews {
            lists: lists.into(),
            each: 3,
            picks: vec![Pick::Listed(2), Pick::Random, Pick::Random],
            augmentation: loading.views[0].clone(),
        };
        let plain = Loader::new(loading.clone()).unwrap();
        let loader = plain.with_neighbours(neighbours.clone()).unwrap();
        let from = Position { epoch: 2, step: 1 };
        let batch = loader.batches(from, 3, 1).next().unwrap().unwrap();
        assert_eq!(batch.views[..2], plain.batches(from, 3, 2).next().unwrap().unwrap().views);
        let mut picked = Vec::new();
        for (at, &row) in batch.rows.iter().enumerate() {
            for view in 2..5 {
                let mut draws = Key { seed: 11, epoch: 2, sample: row, view }.draws();
                let place = if view == 2 { 2 } else { draws.below(3) };
                let mut expected = vec![0.0; 90];
                let image = loading.set.image(((row + place) % 8) as usize).unwrap();
                loading.views[0].apply(&image, &mut draws).normalise_into(&loading.stats, &mut expected);
                assert_eq!(batch.views[view as usize].data[at * 90..][..90], expected);
                picked.push(place);
            }
        }
        assert!((0..3).all(|place| picked.contains(&place)), "{picked:?}");
        let too_few = NeighbourViews { each: 4, picks: vec![], ..neighbours };
        let error = plain.with_neighbours(too_few).unwrap_err();
        assert_eq!(error.to_string(), "24 neighbours are listed for 8 rows of 4");
    }

    #[test]
    fn threads_are_as_many_as_memory_allows() {
        // A batch is 4 images of 90 numbers of 4 bytes in 2 views, and each thread holds three.
        let loader = loader(64);
        assert_eq!([0, 8639, 8640, 30_000].map(|bytes| loader.most_threads(bytes)), [0, 0, 1, 3]);
    }

    #[test]
    fn dropping_batches_early_ends_their_threads() {
        let loader = loader(64);
        for taken in 0..4 {
            let mut batches = loader.batches(Position::default(), 1000, 3);
            assert_eq!(batches.by_ref().take(taken).count(), taken);
        }
        // Only the loader itself still holds what the threads were given.
        assert_eq!(Arc::strong_count(&loader.loading), 1);
    }

    #[test]
    fn a_pool_of_one_thread_can_take_batches() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let taken = pool.install(|| {
            let batches = loader(16).batches(Position::default(), 2, 1);
            batches.map(|batch| batch.unwrap().rows.par_iter().count()).sum::<usize>()
        });
        assert_eq!(taken, 2 * 16);
    }

    #[test]
    fn images_are_normalised_by_the_train_split() {
        let set = ImageSet {
            images: pixels(
                [[0, 102, 255].repeat(30), [255, 102, 255].repeat(30), [9, 9, 9].repeat(30)].concat(),
            ),
            split: vec![Split::Train, Split::Train, Split::Test],
            ..(*set(3)).clone()
        };
        let stats = set.channel_stats();
        assert_eq!(stats, ChannelStats { mean: vec![0.5, 0.4, 1.0], std: vec![0.5, 1.0, 1.0] });
        let plain = Loading {
            set: Arc::new(set.clone()),
            rows: vec![1],
            batch: 1,
            drop_last: false,
            shuffle: false,
            views: Views::PLAIN.augmentations(1),
            stats,
            seed: 0,
        };
        let batch = Loader::new(plain).unwrap().batches(Position::default(), 1, 1).next().unwrap().unwrap();
        assert_eq!(batch.views[0].data, [[1.0; 30], [0.0; 30], [0.0; 30]].concat());
        let without_train =
            ImageSet { split: vec![Split::Test, Split::Unlabelled, Split::Unlabelled], ..set.clone() };
        let the_same_for_training = ImageSet { split: vec![Split::Train; 2], ..set.clone().select(&[1, 2]) };
        assert_eq!(without_train.channel_stats(), the_same_for_training.channel_stats());
    }

    #[test]
    fn what_gives_no_batch_is_refused() {
        let error = |loading: Loading| Loader::new(loading).unwrap_err().to_string();
        assert_eq!(error(loading(3)), "3 images make no batch of 4 (an incomplete one is dropped)");
        assert_eq!(
            error(Loading { drop_last: false, batch: 0, ..loading(3) }),
            "3 images make no batch of 0"
        );
        assert_eq!(error(Loading { rows: vec![0, 9], ..loading(8) }), "row 9 of a data set of 8 images");
        let stats = ChannelStats { mean: vec![0.5], std: vec![1.0] };
        assert_eq!(error(Loading { stats, ..loading(8) }), "the images have 3 channels, the statistics 1");
        let views = Views::Strong { size: Some(8), ops: 1, cutout: 1 }.augmentations(1);
        assert_eq!(
            error(Loading { views, ..loading(8) }),
            "`RandomCrop` of 8×8 from 6×5 pixels with a padding of 0"
        );
    }
}

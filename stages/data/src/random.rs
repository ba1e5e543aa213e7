//! Random numbers that depend on what they are for, and on nothing else.
//!
//! The generator is counter-based: a [`Key`] names a use (this view of this sample in this epoch under this seed), and
//! its [`Draws`] are a function of the key. No state is carried from one use to the next, so results do not depend on
//! which thread does what, in which order, or from where a killed run goes on.

use std::f64::consts::TAU;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Views from here on are no views of an image but other uses of the generator.
const NAMED: u32 = u32::MAX;
const ORDER: u32 = u32::MAX - 1;

/// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [low, high] = [0, 2].map(|at| u64::from(MULTIPLIERS[at / 2]) * u64::from(counter[at]));
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// What random numbers are drawn for. Different keys give independent streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// The trial's seed.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Row of the sample in its data set.
    pub sample: u32,
    /// Which view of the sample, from 0. The two highest values are taken by [`Draws::named`] and [`permutation`].
    pub view: u32,
}

impl Key {
    /// The stream of this key, from its start.
    pub fn draws(self) -> Draws {
        Draws {
            key: [self.seed as u32, (self.seed >> 32) as u32],
            counter: [0, self.view, self.sample, self.epoch],
            block: [0; 4],
            used: 4,
        }
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Draws {
    /// The stream for a use that has a name rather than an epoch and a sample, as the initial values of the weight
    /// `backbone.conv1.weight`.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Key { seed, epoch: (hash >> 32) as u32, sample: hash as u32, view: NAMED }.draws()
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in \[0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let bits = u64::from(self.bits()) << 32 | u64::from(self.bits());
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in \[0, 1), with 24 random bits.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1_u32 << 24) as f32
    }

    /// Uniform in \[`low`, `high`); `low` where the two are equal.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Uniform in `0..n`, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "there is no number below 0");
        let reject_below = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.bits()) * u64::from(n);
            if product as u32 >= reject_below {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal (Box and Muller 1958, the cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Puts the items into uniformly random order (Fisher and Yates, from the last).
    ///
    /// # Panics
    /// When there are 2³² items or more.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u32::try_from(last + 1).expect("fewer than 2^32 items are shuffled");
            items.swap(last, self.below(bound) as usize);
        }
    }
}

/// A seed of its own for a use that has a name, so that two uses of one seed do not draw the same numbers for the same epoch,
/// sample and view.
pub fn derived(seed: u64, name: &str) -> u64 {
    let mut draws = Draws::named(seed, name);
    u64::from(draws.bits()) << 32 | u64::from(draws.bits())
}

/// The numbers `0..n` in the random order of an epoch.
pub fn permutation(seed: u64, epoch: u32, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    Key { seed, epoch, sample: 0, view: ORDER }.draws().shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        // `kat_vectors` of Random123: philox4x32, 10 rounds.
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn a_key_names_its_stream() {
        let key = Key { seed: 1 << 40, epoch: 2, sample: 3, view: 1 };
        let stream = |key: Key| {
            let mut draws = key.draws();
            [(); 9].map(|()| draws.bits())
        };
        assert_eq!(stream(key), stream(key));
        let others = [
            Key { seed: 0, ..key },
            Key { epoch: 3, ..key },
            Key { sample: 2, ..key },
            Key { view: 0, ..key },
        ];
        for other in others {
            assert_ne!(stream(key), stream(other));
        }
        assert_eq!(Draws::named(7, "conv1.weight").bits(), Draws::named(7, "conv1.weight").bits());
        assert_ne!(Draws::named(7, "conv1.weight").bits(), Draws::named(7, "conv2.weight").bits());
        assert_eq!(derived(7, "Pretrain"), derived(7, "Pretrain"));
        assert_ne!(derived(7, "Pretrain"), derived(7, "SelfLabel"));
        assert_ne!(derived(7, "Pretrain"), derived(8, "Pretrain"));
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut draws = Key { seed: 5, ..Key::default() }.draws();
        let n = 40_000;
        let mut moments = |draw: fn(&mut Draws) -> f64| {
            let values: Vec<f64> = (0..n).map(|_| draw(&mut draws)).collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let check = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.02, "mean {mean}, expected {}", expected.0);
            assert!(
                (variance / expected.1 - 1.0).abs() < 0.03,
                "variance {variance}, expected {}",
                expected.1
            );
        };
        check(moments(Draws::uniform), (0.5, 1.0 / 12.0));
        check(moments(|draws| f64::from(draws.uniform_f32())), (0.5, 1.0 / 12.0));
        check(moments(|draws| draws.range(-1.0, 2.0)), (0.5, 9.0 / 12.0));
        check(moments(Draws::normal), (0.0, 1.0));
        check(moments(|draws| f64::from(draws.below(3))), (1.0, 2.0 / 3.0));
        check(moments(|draws| f64::from(u8::from(draws.chance(0.25)))), (0.25, 0.1875));
    }

    #[test]
    fn a_permutation_holds_every_number_once_in_an_order_of_its_epoch() {
        let first = permutation(9, 0, 1000);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(first, permutation(9, 0, 1000));
        assert_ne!(first, permutation(9, 1, 1000));
        assert_ne!(first, permutation(8, 0, 1000));
        assert_eq!(permutation(9, 0, 0), [0; 0]);
    }
}

//! Decoded images of one size, in memory.

use std::collections::TryReserveError;

use rayon::prelude::*;

use crate::Image;

/// `N` images of one size and channel count, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// Height of every image, in pixels.
    pub height: usize,
    /// Width of every image, in pixels.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[N, height, width, channels]`.
    pub bytes: Vec<u8>,
}

impl Pixels {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.image_len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of one image: `height` · `width` · `channels`.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of the image in a row, `[height, width, channels]`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn of(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.image_len()..][..self.image_len()]
    }

    /// A copy of the image in a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn image(&self, row: usize) -> Image {
        Image::new(self.height, self.width, self.channels, self.of(row).to_vec())
    }

    /// The images of the given rows, in the given order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(self, rows: &[u32]) -> Self {
        if rows.len() == self.len() && rows.iter().zip(0..).all(|(&row, at)| row == at) {
            return self;
        }
        let bytes = rows.iter().flat_map(|&row| self.of(row as usize)).copied().collect();
        Self { bytes, ..self }
    }

    /// Each image changed by the same function to images of one size.
    ///
    /// # Errors
    /// Where there is not enough memory for them.
    ///
    /// # Panics
    /// When `change` gives images of other sizes or channels than `height`, `width` and those of the images.
    pub fn map(
        self,
        height: usize,
        width: usize,
        change: impl Fn(Image) -> Image + Sync,
    ) -> Result<Self, TryReserveError> {
        let mut changed = Self { height, width, channels: self.channels, bytes: Vec::new() };
        let bytes = self.len().saturating_mul(changed.image_len());
        changed.bytes.try_reserve_exact(bytes)?;
        changed.bytes.resize(bytes, 0);
        let len = changed.image_len();
        changed.bytes.par_chunks_exact_mut(len).enumerate().for_each(|(row, out)| {
            let image = change(self.image(row));
            assert_eq!((image.height(), image.width(), image.channels()), (height, width, self.channels));
            out.copy_from_slice(image.pixels());
        });
        Ok(changed)
    }
}

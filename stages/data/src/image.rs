//! One image.

/// An image of bytes: rows top to bottom, pixels left to right, channels innermost (`[height, width, channels]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// From pixels `[height, width, channels]`.
    ///
    /// # Panics
    /// When there are no pixels, their count does not fit the sizes, or `channels` is neither 1 nor 3.
    pub fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Self {
        assert!(channels == 1 || channels == 3, "an image has 1 or 3 channels, not {channels}");
        assert!(height > 0 && width > 0, "an image has pixels");
        assert_eq!(pixels.len(), height * width * channels, "pixels do not fit {height}×{width}×{channels}");
        Self { height, width, channels, pixels }
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.width
    }

    /// 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The pixels, `[height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels, to be changed in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The channels of the pixel at `row`, `column`.
    ///
    /// # Panics
    /// When there is no such pixel.
    pub fn pixel(&self, row: usize, column: usize) -> &[u8] {
        assert!(row < self.height && column < self.width, "no pixel at row {row}, column {column}");
        let at = (row * self.width + column) * self.channels;
        &self.pixels[at..at + self.channels]
    }
}

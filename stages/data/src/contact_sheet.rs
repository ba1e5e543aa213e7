//! Sheets of small pictures, to look at.

use ablate_stage::{Split, StageError};

use crate::random::Key;
use crate::{Augmentation, Image, ImageSet, Resizing};

/// White pixels between pictures.
pub(crate) const GAP: usize = 2;

/// Most pixels of a sheet.
pub(crate) const MAX_PIXELS: usize = 1 << 28;

/// Pictures in rows, each in a square cell.
#[derive(Clone, Debug)]
pub struct ContactSheet {
    side: usize,
    rows: Vec<Vec<Image>>,
    description: Option<&'static str>,
}

impl ContactSheet {
    /// An empty sheet with cells of `side` pixels.
    ///
    /// # Panics
    /// When `side` is 0.
    pub fn new(side: usize) -> Self {
        assert!(side > 0, "a cell has pixels");
        Self { side, rows: Vec::new(), description: None }
    }

    /// With a text that says what its rows are, in Latin-1, which a report shows with it.
    #[must_use]
    pub fn described(self, text: &'static str) -> Self {
        Self { description: Some(text), ..self }
    }

    /// A picture as it will stand in a cell.
    pub(crate) fn fit(&self, image: Image) -> Image {
        fit(image, self.side)
    }

    /// Adds a row. Pictures larger than a cell are made smaller, with their aspect ratio; in smaller ones each pixel becomes as
    /// large a square as fits.
    pub fn push(&mut self, images: impl IntoIterator<Item = Image>) {
        let row = images.into_iter().map(|image| fit(image, self.side)).collect();
        self.rows.push(row);
    }

    /// The sheet as PNG: red, green and blue, pictures in the middle of their cells, on white.
    ///
    /// # Errors
    /// Where there is no picture, or the sheet is too large to be encoded.
    pub fn png(&self) -> Result<Vec<u8>, StageError> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |count: usize| count * (self.side + GAP) + GAP;
        let (width, height) = (cells(columns), cells(self.rows.len()));
        if columns == 0 {
            return Err(StageError::Failed("there is no image to show".to_owned()));
        }
        if width.saturating_mul(height) > MAX_PIXELS {
            let found =
                format!("a sheet of {height}×{width} pixels is too large; ask for fewer or smaller images");
            return Err(StageError::Failed(found));
        }
        let mut pixels = vec![255; width * height * 3];
        for (row, images) in self.rows.iter().enumerate() {
            for (column, image) in images.iter().enumerate() {
                let top = GAP + row * (self.side + GAP) + (self.side - image.height()) / 2;
                let left = GAP + column * (self.side + GAP) + (self.side - image.width()) / 2;
                for y in 0..image.height() {
                    for x in 0..image.width() {
                        let at = ((top + y) * width + left + x) * 3;
                        let pixel = image.pixel(y, x);
                        // A grey value is all three.
                        pixels[at..at + 3]
                            .iter_mut()
                            .zip(pixel.iter().cycle())
                            .for_each(|(to, &from)| *to = from);
                    }
                }
            }
        }
        self.encoded(&pixels, width, height)
            .map_err(|error| StageError::Failed(format!("the sheet cannot be encoded: {error}")))
    }

    fn encoded(&self, pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if let Some(text) = self.description {
            encoder.add_text_chunk("Description".to_owned(), text.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(pixels)?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// A sheet (PNG) of some images, evenly spread over those that are not held out, and what training with this seed sees of
/// them: the image, then its views in the first epochs.
///
/// # Errors
/// Where there is no image, one cannot be read, or a view cannot be made of images of this size.
pub fn views_sheet(images: &ImageSet, views: &[Augmentation], seed: u64) -> Result<Vec<u8>, StageError> {
    const IMAGES: usize = 10;
    const EPOCHS: u32 = 4;
    const SIDE: usize = 96;
    for view in views {
        view.output_size(images.extent()).map_err(|error| StageError::input("images", error))?;
    }
    let seen: Vec<usize> = (0..images.len()).filter(|&row| images.split[row] != Split::Test).collect();
    let shown = IMAGES.min(seen.len());
    let mut sheet = ContactSheet::new(SIDE);
    for row in (0..shown).map(|at| seen[at * seen.len() / shown]) {
        let image = images.image(row).map_err(|error| StageError::input("images", error))?;
        let view = |epoch: u32, view: usize| {
            let key = Key { seed, epoch, sample: row as u32, view: view as u32 };
            views[view].apply(&image, &mut key.draws()).blanked()
        };
        let each = (0..EPOCHS).flat_map(|epoch| (0..views.len()).map(move |at| (epoch, at)));
        let each: Vec<Image> = each.map(|(epoch, at)| view(epoch, at)).collect();
        sheet.push([image].into_iter().chain(each));
    }
    sheet.png()
}

/// The image within a square of `side` pixels.
fn fit(image: Image, side: usize) -> Image {
    let longer = image.height().max(image.width());
    if longer <= side {
        return magnified(&image, side / longer);
    }
    let scaled = |length: usize| (length * side / longer).max(1);
    Resizing::Stretch(scaled(image.height()), scaled(image.width())).apply(&image)
}

/// The image with each pixel a square of `factor` pixels.
fn magnified(image: &Image, factor: usize) -> Image {
    let (height, width) = (image.height() * factor, image.width() * factor);
    let places = (0..height).flat_map(|row| (0..width).map(move |column| (row / factor, column / factor)));
    let pixels = places.flat_map(|(row, column)| image.pixel(row, column)).copied().collect();
    Image::new(height, width, image.channels(), pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn pictures_stand_in_the_middle_of_their_cells() {
        let mut sheet = ContactSheet::new(4);
        sheet.push([Image::new(1, 2, 1, vec![10, 20]), Image::new(8, 4, 3, [1, 2, 3].repeat(32))]);
        sheet.push([Image::new(4, 4, 3, vec![7; 48])]);
        let found = decode(&sheet.png().unwrap()).unwrap();
        assert_eq!((found.height(), found.width()), (14, 14));
        let at = |row, column| found.pixel(row, column).to_vec();
        // Two pixels become two squares of two.
        assert_eq!([at(2, 2), at(3, 2), at(4, 3), at(4, 5)], [[255; 3], [10; 3], [10; 3], [20; 3]]);
        // Eight rows of four columns become four of two.
        assert_eq!([at(2, 8), at(2, 9), at(5, 10), at(2, 11)], [[255; 3], [1, 2, 3], [1, 2, 3], [255; 3]]);
        assert_eq!([at(8, 2), at(11, 5), at(8, 8)], [[7; 3], [7; 3], [255; 3]]);
        assert_eq!(ContactSheet::new(4).png().unwrap_err().to_string(), "there is no image to show");
    }
}

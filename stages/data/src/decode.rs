//! Encoded images to pixels.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};

use crate::Image;

/// Extensions of the formats read, in lower case.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Most pixels of an image. A header that promises more is taken for a lie: nothing is allocated by its word.
const MAX_PIXELS: u64 = 1 << 26;

/// Most bytes a decoder may take beside the pixels themselves.
const MAX_WORK_BYTES: u64 = 1 << 30;

/// An encoded image as red, green and blue, by its content, whatever its name says. JPEG, PNG, WebP and BMP are read; grey
/// becomes three equal channels, alpha is dropped, 16 bits become 8, and the orientation a camera noted is not applied, all
/// as torchvision's `ImageFolder` reads images.
///
/// # Errors
/// What is wrong with it, as a clause.
pub fn decode(bytes: &[u8]) -> Result<Image, String> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => format,
        Ok(other) => return Err(format!("it is {other:?}; JPEG, PNG, WebP and BMP are read")),
        Err(_) if bytes.is_empty() => return Err("it is empty".to_owned()),
        Err(_) => return Err("it is no image: JPEG, PNG, WebP and BMP are read".to_owned()),
    };
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(|error| error.to_string())?;
    if width == 0 || height == 0 {
        return Err(format!("it has {height}×{width} pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("its header says {height}×{width} pixels, and at most {MAX_PIXELS} are read"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_WORK_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| error.to_string())?.into_rgb8();
    Ok(Image::new(image.height() as usize, image.width() as usize, 3, image.into_raw()))
}

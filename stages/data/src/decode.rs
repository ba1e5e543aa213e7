//! Encoded images to pixels.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits};

use crate::{Image, Resizing};

/// Extensions of the formats read, in lower case.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Most pixels of an image. A header that promises more is taken for a lie: nothing is allocated by its word.
const MAX_PIXELS: u64 = 1 << 26;

/// Most bytes of a file that is taken for an image.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Most bytes a decoder may take beside the pixels themselves.
const MAX_WORK_BYTES: u64 = 1 << 30;

/// The bytes of an encoded image's file.
///
/// # Errors
/// Where it cannot be read, or is too large to be an image, as a clause.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("it has more than {MAX_FILE_BYTES} bytes, too many for an image")),
        false => Ok(bytes),
    }
}

/// An encoded image, at the size it is brought to.
///
/// # Errors
/// As [`decode`], and where that size is absurd, as of an image of one row.
pub(crate) fn decode_resized(bytes: &[u8], resize: Option<Resizing>) -> Result<(Image, [u32; 2]), String> {
    let image = decode(bytes)?;
    let size = [image.height() as u32, image.width() as u32];
    let Some(resize) = resize else { return Ok((image, size)) };
    // What is cropped away afterwards is made before.
    let scaled = resize.largest(image.height(), image.width());
    if scaled > MAX_PIXELS {
        return Err(format!("its {}×{} pixels would become {scaled} by `resize`", size[0], size[1]));
    }
    Ok((resize.apply(&image), size))
}

/// An encoded image as red, green and blue, by its content, whatever its name says. JPEG, PNG, WebP and BMP are read; grey
/// becomes three equal channels, alpha is dropped, and the orientation a camera noted is not applied, as torchvision's
/// `ImageFolder` reads images; 16 bits are scaled to 8.
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

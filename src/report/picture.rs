//! Pictures that stages drew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::shown;

/// A picture, whole in the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Whose.
    pub title: String,
    /// PNG.
    pub png: Vec<u8>,
}

impl Picture {
    /// As a `figure` element.
    pub fn to_html(&self) -> String {
        let title = shown(&self.title);
        let data = STANDARD.encode(&self.png);
        let description =
            description(&self.png).map(|text| format!("<p class=\"note\">{}</p>\n", shown(&text)));
        format!(
            "<figure class=\"picture\"><figcaption>{title}</figcaption>\n{}\
             <img alt=\"{title}\" src=\"data:image/png;base64,{data}\"></figure>\n",
            description.unwrap_or_default()
        )
    }
}

const SIGNATURE_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;

/// What a PNG file says of itself: its text chunk `Description` (PNG, third edition, 11.3.3.2), in Latin-1.
fn description(png: &[u8]) -> Option<String> {
    let mut rest = png.get(SIGNATURE_BYTES..)?;
    loop {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (kind, tail) = tail.split_first_chunk::<4>()?;
        let (data, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if kind == b"tEXt"
            && let Some(text) = data.strip_prefix(b"Description\0")
        {
            return Some(text.iter().copied().map(char::from).collect());
        }
        rest = tail.get(CHECKSUM_BYTES..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_shown_with_what_it_says_of_itself() {
        let chunk = |kind: &[u8], data: &[u8]| {
            [&(data.len() as u32).to_be_bytes(), kind, data, &[0; CHECKSUM_BYTES]].concat()
        };
        let whole = [
            b"\x89PNG\r\n\x1a\n".to_vec(),
            chunk(b"IHDR", &[0; 13]),
            chunk(b"tEXt", b"Author\0x"),
            chunk(b"tEXt", b"Description\0a row <is> a cluster \xb1"),
            chunk(b"IEND", b""),
        ]
        .concat();
        let html = Picture { title: "t".to_owned(), png: whole.clone() }.to_html();
        assert!(html.contains("<p class=\"note\">a row &lt;is&gt; a cluster ±</p>"), "{html}");
        // Whatever is cut off, nothing is made up.
        for end in 0..whole.len() {
            let found = description(&whole[..end]);
            assert!(
                found.is_none() || found.as_deref() == Some("a row <is> a cluster ±"),
                "{end}: {found:?}"
            );
        }
    }
}

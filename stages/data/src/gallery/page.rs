//! A page with a contact sheet for each cluster, whole in itself.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = "\
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.4 }\n\
body { margin: 0 auto; max-width: 60rem; padding: 1rem }\n\
nav a { display: inline-block; margin-right: .75rem; padding: .25rem 0 }\n\
h2 { margin: 2rem 0 .25rem }\n\
p { margin: .25rem 0 .5rem }\n\
img { max-width: 100%; height: auto; image-rendering: pixelated; border: 1px solid gray }\n";

/// The page so far.
pub(super) struct Page {
    title: String,
    images: usize,
    links: String,
    sections: String,
    clusters: usize,
}

impl Page {
    /// Of the clusters of so many images of a data set.
    pub(super) fn new(name: &str, images: usize) -> Self {
        let title = format!("Clusters of {}", escaped(name));
        Self { title, images, links: String::new(), sections: String::new(), clusters: 0 }
    }

    /// Adds a cluster: how many images it has, the class most of them have with its share, and a sheet of `shown` of them.
    pub(super) fn cluster(
        &mut self,
        cluster: usize,
        images: usize,
        majority: Option<(&str, f64)>,
        shown: usize,
        sheet: Option<&[u8]>,
    ) {
        self.clusters += 1;
        let mut add =
            |text: std::fmt::Arguments<'_>| self.sections.write_fmt(text).expect("a string takes all");
        add(format_args!(
            "<section id=\"c{cluster}\">\n<h2>Cluster {cluster}</h2>\n<p>{}",
            counted(images, "image")
        ));
        if let Some((class, share)) = majority {
            add(format_args!("; most often <em>{}</em> ({:.0} %)", escaped(class), 100.0 * share));
        }
        if shown < images {
            add(format_args!("; the {shown} most typical"));
        }
        add(format_args!("</p>\n"));
        if let Some(png) = sheet {
            let data = STANDARD.encode(png);
            let alt = format!("Contact sheet of {} of cluster {cluster}", counted(shown, "image"));
            add(format_args!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">\n"));
        }
        add(format_args!("</section>\n"));
        self.links.push_str(&format!("<a href=\"#c{cluster}\">{cluster} ({images})</a>\n"));
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        let Self { title, images, links, sections, clusters } = self;
        let counts = format!("{} in {}", counted(images, "image"), counted(clusters, "cluster"));
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{counts}</p>\n\
             <nav aria-label=\"Clusters\">\n{links}</nav>\n{sections}</body>\n</html>\n"
        )
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_section_for_each_cluster_and_escapes_names() {
        let mut page = Page::new("cats & <dogs>", 7);
        page.cluster(0, 6, Some(("\"tabby\"", 0.5)), 2, Some(b"png"));
        page.cluster(1, 1, None, 1, Some(b"png"));
        page.cluster(2, 0, None, 0, None);
        let page = page.finish();
        let body = &page[page.find("<h1>").unwrap()..];
        let expected = "<h1>Clusters of cats &amp; &lt;dogs&gt;</h1>\n<p>7 images in 3 clusters</p>\n\
            <nav aria-label=\"Clusters\">\n<a href=\"#c0\">0 (6)</a>\n<a href=\"#c1\">1 (1)</a>\n<a href=\"#c2\">2 (0)</a>\n</nav>\n\
            <section id=\"c0\">\n<h2>Cluster 0</h2>\n<p>6 images; most often <em>&quot;tabby&quot;</em> (50 %); the 2 most typical</p>\n\
            <img alt=\"Contact sheet of 2 images of cluster 0\" src=\"data:image/png;base64,cG5n\">\n</section>\n\
            <section id=\"c1\">\n<h2>Cluster 1</h2>\n<p>1 image</p>\n\
            <img alt=\"Contact sheet of 1 image of cluster 1\" src=\"data:image/png;base64,cG5n\">\n</section>\n\
            <section id=\"c2\">\n<h2>Cluster 2</h2>\n<p>0 images</p>\n</section>\n</body>\n</html>\n";
        assert_eq!(body, expected);
    }
}

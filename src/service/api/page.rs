//! The page: files that are part of the program. They hold nothing of anybody's, so nobody needs a token for them; what the
//! page shows it asks for as every program does.

use std::io::Write as _;

use axum::Router;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_64;

use super::Shared;

/// Where a file is asked for, what it is, and its text.
type File = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: [File; 12] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/favicon.svg", "image/svg+xml", include_str!("../page/favicon.svg")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
    ("/page.js", SCRIPT, include_str!("../page/page.js")),
    ("/actions.js", SCRIPT, include_str!("../page/actions.js")),
    ("/client.js", SCRIPT, include_str!("../page/client.js")),
    ("/graph.js", SCRIPT, include_str!("../page/graph.js")),
    ("/layout.js", SCRIPT, include_str!("../page/layout.js")),
    ("/list.js", SCRIPT, include_str!("../page/list.js")),
    ("/pipeline.js", SCRIPT, include_str!("../page/pipeline.js")),
    ("/show.js", SCRIPT, include_str!("../page/show.js")),
    ("/trouble.js", SCRIPT, include_str!("../page/trouble.js")),
];

/// Each file at its path.
pub fn routes() -> Router<Shared> {
    FILES.iter().fold(Router::new(), |router, file| {
        let ready = Ready::new(file);
        router.route(file.0, get(async move |headers: HeaderMap| ready.answer(&headers)))
    })
}

/// A file as it is sent.
#[derive(Clone)]
struct Ready {
    media: &'static str,
    text: &'static str,
    packed: Bytes,
    /// Changes with the text. Weak: packed or not, it is the same file.
    tag: String,
}

impl Ready {
    fn new(&(_, media, text): &File) -> Ready {
        let tag = format!("W/\"{:016x}\"", xxh3_64(text.as_bytes()));
        Ready { media, text, packed: packed(text).into(), tag }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        // Another version of the program has other files: each is asked about before it is used again.
        let kept = [(CACHE_CONTROL, "no-cache"), (VARY, ACCEPT_ENCODING.as_str()), (ETAG, &self.tag)];
        if says(headers, IF_NONE_MATCH, |known| known == self.tag || known == "*") {
            return (StatusCode::NOT_MODIFIED, kept).into_response();
        }
        let media = [(CONTENT_TYPE, self.media)];
        if says(headers, ACCEPT_ENCODING, |coding| coding == "gzip") {
            return (kept, media, [(CONTENT_ENCODING, "gzip")], self.packed.clone()).into_response();
        }
        (kept, media, self.text).into_response()
    }
}

/// Whether one of the values of a header, with commas between, is such a one.
fn says(headers: &HeaderMap, name: HeaderName, is: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| is(value.trim()))
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: this cannot fail.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default()
}
